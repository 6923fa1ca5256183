/** Who takes a column: the planner's rule of who lacks most, among a few. */
import { NOBODY, type PlacementDraft } from '../../src/shards/placement-draft.ts'
import type { Random } from '../../test/sim/random.ts'

/** Time of what does not happen. */
export const NEVER: number = Number.POSITIVE_INFINITY
/** Peers that are compared, and how many are drawn at most until there are as many that fit. */
const COMPARED = 4
const DRAWN_MAX = 16

/**
 * Of some peers that fit into the row, the one that lacks most of its quota; `NOBODY` where none is left.
 *
 * @param failsAt - by peer; `NEVER`: it has failed already, and isn't there.
 */
export function takerOf(draft: PlacementDraft, group: number, failsAt: Float64Array, random: Random): number {
  const size = draft.peers.length
  let best = NOBODY
  let compared = 0
  for (let drawn = 0; drawn < DRAWN_MAX && compared < COMPARED; drawn++) {
    const peer = Math.floor(random.unit() * size)
    if (!canTake(draft, group, peer, failsAt)) continue
    compared++
    best = better(draft, best, peer)
  }
  if (best !== NOBODY) return best
  for (let peer = 0; peer < size; peer++) if (canTake(draft, group, peer, failsAt)) best = better(draft, best, peer)
  return best
}

export const lackRatio = (draft: PlacementDraft, peer: number): number => draft.lacks(peer) / draft.quota(peer)

function canTake(draft: PlacementDraft, group: number, peer: number, failsAt: Float64Array): boolean {
  return failsAt[peer] !== NEVER && draft.quota(peer) > 0 && draft.fits(group, peer)
}

function better(draft: PlacementDraft, best: number, peer: number): number {
  return best === NOBODY || lackRatio(draft, peer) > lackRatio(draft, best) ? peer : best
}
