import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AUDIT_LEAF_BYTES } from '../../../src/core/limits.ts'
import { merkleRoot } from '../../../src/crypto/merkle.ts'
import { auditRoot } from '../../../src/shards/audit-tree.ts'

/** By the definition, with the tree of the ledger. */
function byDefinition(shard: Uint8Array): Uint8Array {
  const leaves: Uint8Array[] = []
  for (let at = 0; at < shard.length || at === 0; at += AUDIT_LEAF_BYTES) {
    leaves.push(shard.subarray(at, at + AUDIT_LEAF_BYTES))
  }
  return merkleRoot(leaves)
}

test('the audit root of a shard is the RFC 6962 root over its 16 KiB pieces, whatever its length', () => {
  for (const leaves of [0, 1, 2, 3, 5, 8, 63, 64]) {
    for (const extra of [0, 1, AUDIT_LEAF_BYTES - 1]) {
      const shard = Uint8Array.from({ length: leaves * AUDIT_LEAF_BYTES + extra }, (_, at) => at * 31 + (at >> 8))
      expect(auditRoot(shard)).toEqual(byDefinition(shard))
    }
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 5 * AUDIT_LEAF_BYTES }), (shard) => {
      expect(auditRoot(shard)).toEqual(byDefinition(shard))
    }),
    { numRuns: 50 },
  )
})
