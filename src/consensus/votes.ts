/**
 * Signing and checking votes. Each kind of vote has its own domain, so a signature made to notarize can't be passed off as one
 * to finalize.
 *
 * @see docs/spec/vote.md, certificate.md
 */
import { CodedError } from '../core/coded-error.ts'
import type { ChainId } from '../core/ids.ts'
import type { Signer } from '../core/ports.ts'
import { equals } from 'uint8arrays/equals'
import { signMessage, verifyMessage } from '../crypto/signatures.ts'
import type { ValidatorSet } from '../ledger/validators.ts'
import { type Ballot, type Evidence, type Vote, ballotBytes } from '../ledger/vote.ts'

export type VoteFault =
  | { code: 'VOTE_EPOCH_WRONG'; epoch: number; expected: number }
  | { code: 'VOTE_SIGNER_UNKNOWN'; signer: number; validators: number }
  | { code: 'VOTE_SIGNATURE_INVALID'; signer: number }
  | { code: 'VOTE_NOT_VALIDATOR'; epoch: number }
  | { code: 'EVIDENCE_NOT_CONFLICTING' }
export class VoteError extends CodedError<VoteFault> {}

/** Index of the validator that has this key. @throws {VoteError} `VOTE_NOT_VALIDATOR` */
export function validatorIndex(set: ValidatorSet, key: Uint8Array): number {
  const index = set.validators.findIndex((validator) => equals(validator.key, key))
  if (index === -1) throw new VoteError({ code: 'VOTE_NOT_VALIDATOR', epoch: set.epoch })
  return index
}

/**
 * Signs a vote. Whoever calls this has stored durably what it votes on.
 *
 * @throws {VoteError} `VOTE_NOT_VALIDATOR`, `VOTE_EPOCH_WRONG`
 */
export async function signVote(signer: Signer, chain: ChainId, set: ValidatorSet, ballot: Ballot): Promise<Vote> {
  if (ballot.epoch !== set.epoch) {
    throw new VoteError({ code: 'VOTE_EPOCH_WRONG', epoch: ballot.epoch, expected: set.epoch })
  }
  const index = validatorIndex(set, signer.publicKey)
  return { ...ballot, signer: index, sig: await signMessage(signer, ballot.kind, chain, ballotBytes(ballot)) }
}

/** @returns the first fault of a vote, or `undefined` if it counts. */
export function voteFault(vote: Vote, chain: ChainId, set: ValidatorSet): VoteFault | undefined {
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
 * and finalized another, or finalized a view that it nullified.
 *
 * @returns the first fault of the evidence, or `undefined` if it holds.
 */
export function evidenceFault(evidence: Evidence, chain: ChainId, set: ValidatorSet): VoteFault | undefined {
  const { first, second } = evidence
  const fault = voteFault(first, chain, set) ?? voteFault(second, chain, set)
  if (fault !== undefined) return fault
  const isSamePlace = first.signer === second.signer && first.view === second.view
  const isConflict =
    first.kind === 'nullify' || second.kind === 'nullify'
      ? first.kind === 'finalize' || second.kind === 'finalize'
      : first.block?.toString() !== second.block?.toString()
  return isSamePlace && isConflict ? undefined : { code: 'EVIDENCE_NOT_CONFLICTING' }
}
