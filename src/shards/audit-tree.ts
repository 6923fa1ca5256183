/**
 * The audit tree of one shard: the Merkle tree of RFC 6962 (see crypto/merkle.ts) over its pieces of `AUDIT_LEAF_BYTES`. Its root stands in
 * the extent map, so that a peer which says that it holds the shard can be asked for any piece of it.
 *
 * @see docs/spec/extent-map.md
 */
import { AUDIT_LEAF_BYTES } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import { auditLeaves } from '../domain/audit-proof.ts'

const HASH_BYTES = 32
const LEAF_PREFIX = 0x00
const NODE_PREFIX = 0x01

/** Used again for each leaf: one copy within the first-level cache costs less than a buffer each. */
const leaf = new Uint8Array(1 + AUDIT_LEAF_BYTES)
leaf[0] = LEAF_PREFIX
const node = new Uint8Array(1 + 2 * HASH_BYTES)
node[0] = NODE_PREFIX

/** @param shard - up to 1 MiB: 64 leaves. */
export function auditRoot(shard: Uint8Array): Uint8Array {
  const level: Uint8Array[] = []
  for (let at = 0; at < auditLeaves(shard.length); at++) {
    const piece = shard.subarray(at * AUDIT_LEAF_BYTES, (at + 1) * AUDIT_LEAF_BYTES)
    leaf.set(piece, 1)
    level.push(sha256(leaf.subarray(0, 1 + piece.length)))
  }
  return rootOf(level)
}

/** Pairs from the left, an odd one carried up as it is: the same tree as splitting at the largest power of two. */
function rootOf(level: Uint8Array[]): Uint8Array {
  let nodes = level
  while (nodes.length > 1) {
    const above: Uint8Array[] = []
    for (let at = 0; at < nodes.length; at += 2) {
      const [left, right] = [nodes[at], nodes[at + 1]]
      if (left === undefined) break
      if (right === undefined) {
        above.push(left)
        break
      }
      node.set(left, 1)
      node.set(right, 1 + HASH_BYTES)
      above.push(sha256(node))
    }
    nodes = above
  }
  return nodes[0] ?? new Uint8Array(HASH_BYTES)
}
