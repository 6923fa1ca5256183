/**
 * Chains of moves: where a row has a hole and everybody who fits into it is full, one of those goes there and gives up a place in
 * another row, to someone who fits there; and so on, to one with room. Breadth first, so the chain is a shortest one; a chain that is no
 * shortest could put two of one institution into a row.
 */
import { NOBODY, type Place, type PlacementDraft } from './placement-draft.ts'

/** How a peer comes into a chain: by taking this place from `from`; without `from` the place is a hole. */
interface Step extends Place {
  readonly from: number
}

/** Fills every hole that is left, and takes from peers what is more than the chain accepts. */
export function resolveStuck(draft: PlacementDraft): void {
  for (let group = 0; group < draft.groups; group++) {
    for (const column of draft.holes(group)) fill(draft, { group, column })
  }
  for (let peer = 0; peer < draft.peers.length; peer++) {
    while (draft.room(peer) < 0 && relieve(draft, peer));
  }
}

function fill(draft: PlacementDraft, hole: Place): void {
  const starts = new Map<number, Step>()
  for (let peer = 0; peer < draft.peers.length; peer++) {
    if (draft.quota(peer) > 0 && draft.fits(hole.group, peer)) starts.set(peer, { ...hole, from: NOBODY })
  }
  followToRoom(draft, starts)
}

const relieve = (draft: PlacementDraft, peer: number): boolean => followToRoom(draft, new Map([[peer, undefined]]))

/** To a peer within its quota where a chain leads there, else to one within what the ledger accepts. */
function followToRoom(draft: PlacementDraft, starts: ReadonlyMap<number, Step | undefined>): boolean {
  const isLacking = follow(draft, starts, (peer) => draft.lacks(peer) > 0)
  return isLacking || follow(draft, starts, (peer) => draft.room(peer) > 0)
}

/** Carries out a shortest chain that ends at a peer for which `isEnd` holds. @returns whether there was one. */
function follow(
  draft: PlacementDraft,
  starts: ReadonlyMap<number, Step | undefined>,
  isEnd: (peer: number) => boolean,
): boolean {
  const steps = new Map(starts)
  const queue = [...starts.keys()]
  const beyond = new Set([...draft.peers.keys()].filter((peer) => draft.quota(peer) > 0 && !starts.has(peer)))
  let end = queue.find(isEnd)
  for (let at = 0; at < queue.length && end === undefined; at++) {
    const from = queue[at] ?? NOBODY
    for (const [peer, step] of takersOf(draft, from, beyond)) {
      steps.set(peer, step)
      queue.push(peer)
      if (isEnd(peer)) end ??= peer
    }
  }
  if (end === undefined) return false
  const chain: { readonly peer: number; readonly step: Step }[] = []
  for (let peer = end, step = steps.get(peer); step !== undefined; peer = step.from, step = steps.get(peer)) {
    chain.push({ peer, step })
  }
  for (const { step } of chain) draft.clear(step.group, step.column)
  for (const { peer, step } of chain) draft.put(step.group, step.column, peer)
  return true
}

/** Who can take a place of this peer, of those beyond what was reached; they count as reached then. */
function takersOf(draft: PlacementDraft, from: number, beyond: Set<number>): Map<number, Step> {
  const found = new Map<number, Step>()
  for (const { column, group } of draft.placesOf(from)) {
    if (beyond.size === 0) break
    for (const peer of beyond) {
      if (!draft.fits(group, peer, from)) continue
      found.set(peer, { group, column, from })
      beyond.delete(peer)
    }
  }
  return found
}
