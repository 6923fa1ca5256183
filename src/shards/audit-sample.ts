/**
 * Which leaves a peer is asked for in an audit: 64 bytes drawn by the beacon, uniformly over all that the peer has confirmed, and the leaves
 * that they lie in. The same on every peer that has the ledger, so a committee asks for the same leaves.
 *
 * @see docs/spec/audits.md; docs/decisions/0098-audits.md
 */
import type { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import { AUDIT_LEAF_BYTES, AUDIT_SAMPLES } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import { auditLeaves } from '../domain/audit-proof.ts'
import { uint16Bytes } from '../domain/storage-state.ts'
import type { ExtentMap, Shard } from './extent-map.ts'

/** One column that the ledger says the audited peer holds. */
export interface HeldColumn {
  readonly manifest: CID
  readonly index: number
  readonly column: number
  readonly bytes: number
}

/** A byte of a column that was drawn. */
export interface SampledByte {
  readonly held: HeldColumn
  /** Within the column's shards, one behind the other. */
  readonly offset: number
}

const LABEL = new TextEncoder().encode('apotheca/audit-sample/1')

/**
 * @param number - storage number of the audited peer.
 * @param columns - all that it holds, in the order of the ledger's lists.
 * @returns none where it holds no byte.
 */
export function sampledBytes(beacon: Uint8Array, number: number, columns: readonly HeldColumn[]): SampledByte[] {
  const ends: number[] = []
  let total = 0
  for (const { bytes } of columns) {
    total += bytes
    ends.push(total)
  }
  if (total === 0) return []
  return Array.from({ length: AUDIT_SAMPLES }, (_, at) => {
    const hash = sha256(concat([LABEL, beacon, uint16Bytes(number), uint16Bytes(at)]))
    const drawn = new DataView(hash.buffer, hash.byteOffset).getBigUint64(0)
    // 64 bits times at most 2^53 bytes: no byte is likelier than another by more than 2^-11 of its chance.
    const position = Number((drawn * BigInt(total)) >> 64n)
    const first = firstAbove(ends, position)
    const held = columns[first] as HeldColumn
    return { held, offset: position - ((ends[first] ?? 0) - held.bytes) }
  })
}

/** The shard and the leaf that hold a byte of a column; `undefined` where the map's column is shorter. */
export function leafAt(
  map: ExtentMap,
  column: number,
  offset: number,
): { readonly shard: Shard; readonly leaf: number } | undefined {
  let start = 0
  for (const shard of map.shardsOfColumn(column)) {
    if (offset < start + shard.bytes) {
      return { shard, leaf: Math.min(Math.floor((offset - start) / AUDIT_LEAF_BYTES), auditLeaves(shard.bytes) - 1) }
    }
    start += shard.bytes
  }
  return undefined
}

/** The first of ascending ends that is above. */
function firstAbove(ends: readonly number[], position: number): number {
  let low = 0
  let high = ends.length - 1
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((ends[middle] ?? 0) > position) high = middle
    else low = middle + 1
  }
  return low
}
