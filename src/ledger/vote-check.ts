/**
 * Checking votes, and pairs of votes that the rules forbid together. Pure: consensus asks before it counts a vote, the evidence
 * machine before it suspends a key.
 *
 * @see docs/spec/vote.md
 */
import type { ChainId } from '../core/ids.ts'
import { verifyMessage } from '../crypto/signatures.ts'
import type { ValidatorSet } from './validators.ts'
import { type Evidence, type Vote, ballotBytes } from './vote.ts'

export type VoteFault =
  | { code: 'VOTE_EPOCH_WRONG'; epoch: number; expected: number }
  | { code: 'VOTE_SIGNER_UNKNOWN'; signer: number; validators: number }
  | { code: 'VOTE_SIGNATURE_INVALID'; signer: number }
  | { code: 'EVIDENCE_NOT_CONFLICTING' }

/** Whose votes count: the validators of an epoch. */
export type Voters = Pick<ValidatorSet, 'epoch' | 'validators'>

/** @returns the first fault of a vote, or `undefined` if it counts. */
export function voteFault(vote: Vote, chain: ChainId, set: Voters): VoteFault | undefined {
  const { epoch, kind, sig, signer } = vote
  if (epoch !== set.epoch) return { code: 'VOTE_EPOCH_WRONG', epoch, expected: set.epoch }
  const key = set.validators[signer]?.key
  if (key === undefined) return { code: 'VOTE_SIGNER_UNKNOWN', signer, validators: set.validators.length }
  return verifyMessage(key, sig, kind, chain, ballotBytes(vote))
    ? undefined
    : { code: 'VOTE_SIGNATURE_INVALID', signer }
}

/**
 * Whether two votes prove that a validator broke the rules: it notarized or finalized two blocks in one view, notarized one
 * and finalized another, or finalized a view that it nullified. The same block in several views proves nothing: the last block of
 * an epoch is proposed again until it is final.
 *
 * @returns the first fault of the evidence, or `undefined` if it holds.
 */
export function evidenceFault(evidence: Evidence, chain: ChainId, set: Voters): VoteFault | undefined {
  const { first, second } = evidence
  // Signatures last: they cost the most.
  if (!isConflict(first, second)) return { code: 'EVIDENCE_NOT_CONFLICTING' }
  return voteFault(first, chain, set) ?? voteFault(second, chain, set)
}

function isConflict(first: Vote, second: Vote): boolean {
  const isSamePlace = first.signer === second.signer && first.epoch === second.epoch && first.view === second.view
  if (!isSamePlace) return false
  if (first.kind === 'nullify' || second.kind === 'nullify')
    return first.kind === 'finalize' || second.kind === 'finalize'
  return first.block?.toString() !== second.block?.toString()
}
