/**
 * Questions and answers of an audit between a committee member and the audited peer, `/apotheca/audit/1`: leaf numbers for bytes and paths.
 *
 * @see docs/spec/audit-request.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { AUDIT_ASKED_MAX, AUDIT_LEAF_BYTES, AUDIT_PATH_MAX } from '../core/limits.ts'
import { type Decoded, byteString, list, nullable, object } from '../core/schema.ts'
import { namedLeaf } from '../domain/audit-standing.ts'
import { digest } from '../ledger/fields.ts'

const question = object({ leaves: list(namedLeaf, 1, AUDIT_ASKED_MAX) })
const shownLeaf = object({
  bytes: byteString(0, AUDIT_LEAF_BYTES),
  /** From the leaf to the shard's audit root. */
  path: list(digest, 0, AUDIT_PATH_MAX),
})
const answer = object({
  /** In the order of the question; null: not here. */
  leaves: list(nullable(shownLeaf), 1, AUDIT_ASKED_MAX),
})

export type AuditQuestion = Decoded<typeof question>
export type ShownLeaf = Decoded<typeof shownLeaf>
export type AuditAnswer = Decoded<typeof answer>

export function encodeAuditQuestion(given: AuditQuestion): Uint8Array {
  return encodeCanonical(given)
}

/** @throws {CodecError} */
export function decodeAuditQuestion(bytes: Uint8Array): AuditQuestion {
  return question(decodeCanonical(bytes), 'audit-question')
}

export function encodeAuditAnswer(given: AuditAnswer): Uint8Array {
  return encodeCanonical(given)
}

/** @throws {CodecError} */
export function decodeAuditAnswer(bytes: Uint8Array): AuditAnswer {
  return answer(decodeCanonical(bytes), 'audit-answer')
}
