/**
 * A leaf of an audit tree, as a peer shows it: the bytes, the path to its shard's audit root, and the path from the shard to the
 * extent's root that the ledger has. Whoever has that root can judge it, without the extent map.
 *
 * @see docs/spec/audits.md; docs/spec/extent-map.md, "Audit tree"
 */
import { encodeCanonical } from '../core/codec.ts'
import { AUDIT_LEAF_BYTES, AUDIT_PATH_MAX, COLUMNS_MAX, EXTENT_SEGMENTS, SEGMENT_BYTES } from '../core/limits.ts'
import { type Decoded, byteString, integer, list, object } from '../core/schema.ts'
import { leafHash, verifyInclusion } from '../crypto/merkle.ts'
import { digest } from '../ledger/fields.ts'
import { column } from './shard-receipt.ts'

const path = list(digest, 0, AUDIT_PATH_MAX)

export const stripeNumber = integer(0, EXTENT_SEGMENTS - 1)
export const leafNumber = integer(0, SEGMENT_BYTES / AUDIT_LEAF_BYTES - 1)

export const leafProof = object({
  stripe: stripeNumber,
  column,
  /** Of the shard. */
  shardBytes: integer(0, SEGMENT_BYTES),
  /** Audit root of the shard. */
  audit: digest,
  /** Number of the shard among those of the extent, and how many there are. */
  shard: integer(0, EXTENT_SEGMENTS * COLUMNS_MAX - 1),
  shards: integer(1, EXTENT_SEGMENTS * COLUMNS_MAX),
  /** From the shard to the extent's root. */
  shardPath: path,
  /** Number of the leaf within the shard. */
  leaf: leafNumber,
  bytes: byteString(0, AUDIT_LEAF_BYTES),
  /** From the leaf to the shard's audit root. */
  leafPath: path,
})
export type LeafProof = Decoded<typeof leafProof>

/** Whether these bytes are that leaf of the extent with this root. Every input is untrusted. */
export function isProven(root: Uint8Array, proof: LeafProof): boolean {
  const { audit, bytes, leaf, leafPath, shardBytes, shardPath } = proof
  const leaves = auditLeaves(shardBytes)
  if (leaf >= leaves || bytes.length !== leafBytes(shardBytes, leaf)) return false
  // The number of shards is the prover's word: leaves and inner nodes are hashed apart, so no other tree has this root.
  const entry = leafHash(shardEntry({ ...proof, bytes: shardBytes }))
  return (
    verifyInclusion(audit, leaves, leaf, leafHash(bytes), leafPath) &&
    verifyInclusion(root, proof.shards, proof.shard, entry, shardPath)
  )
}

/** Leaves of a shard's audit tree: an empty shard has one, which is empty. */
export function auditLeaves(shardBytes: number): number {
  return Math.max(1, Math.ceil(shardBytes / AUDIT_LEAF_BYTES))
}

/** Bytes of one leaf: all have `AUDIT_LEAF_BYTES` but the last. */
export function leafBytes(shardBytes: number, leaf: number): number {
  return Math.min(AUDIT_LEAF_BYTES, shardBytes - leaf * AUDIT_LEAF_BYTES)
}

/** What stands for a shard in the tree behind an extent's root. */
export function shardEntry(shard: {
  readonly stripe: number
  readonly column: number
  readonly bytes: number
  readonly audit: Uint8Array
}): Uint8Array {
  return encodeCanonical([shard.stripe, shard.column, shard.bytes, shard.audit])
}
