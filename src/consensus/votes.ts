/**
 * Signing votes. Each kind of vote has its own domain, so a signature made to notarize can't be passed off as one
 * to finalize.
 *
 * @see docs/spec/vote.md, certificate.md
 */
import { CodedError } from '../core/coded-error.ts'
import type { ChainId } from '../core/ids.ts'
import type { Signer } from '../core/ports.ts'
import { equals } from 'uint8arrays/equals'
import { signMessage } from '../crypto/signatures.ts'
import type { ValidatorSet } from '../ledger/validators.ts'
import { type Ballot, type Vote, ballotBytes } from '../ledger/vote.ts'
import type { VoteFault } from '../ledger/vote-check.ts'

export type SigningFault =
  | Extract<VoteFault, { code: 'VOTE_EPOCH_WRONG' }>
  | { code: 'VOTE_NOT_VALIDATOR'; epoch: number }
export class VoteError extends CodedError<SigningFault> {}

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
