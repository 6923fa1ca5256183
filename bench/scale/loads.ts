/** How much lies in a group, and on a peer. */
import { NOBODY, type PlacementDraft } from '../../src/shards/placement-draft.ts'
import type { Random } from '../../test/sim/random.ts'
import type { PoolOptions } from './run.ts'

/** Sizes of all objects of a group: their number is random, and each size. */
export function bytesOfGroup(options: PoolOptions, random: Random): number {
  const { objectBytes, objectBytesSpread, objectsPerGroup } = options
  const deviation = objectBytes * Math.sqrt(objectsPerGroup * (1 + objectBytesSpread ** 2))
  const normal = Math.sqrt(-2 * Math.log(1 - random.unit())) * Math.cos(2 * Math.PI * random.unit())
  return Math.max(0, objectsPerGroup * objectBytes + deviation * normal)
}

/** Of those who are there: what one holds, over its part of what they hold together; the largest. */
export function largestLoad(
  draft: PlacementDraft,
  isAlive: (peer: number) => boolean,
  weightOf: (group: number) => number,
): number {
  const { columns, peers, rows } = draft
  const loads = new Float64Array(peers.length)
  for (let cell = 0; cell < rows.length; cell++) {
    const peer = rows[cell] ?? NOBODY
    if (peer !== NOBODY) loads[peer] = (loads[peer] ?? 0) + weightOf(Math.floor(cell / columns))
  }
  const there = [...peers.keys()].filter((peer) => isAlive(peer) && draft.quota(peer) > 0)
  const load = there.reduce((sum, peer) => sum + (loads[peer] ?? 0), 0)
  const quota = there.reduce((sum, peer) => sum + draft.quota(peer), 0)
  return Math.max(...there.map((peer) => ((loads[peer] ?? 0) * quota) / load / draft.quota(peer)))
}
