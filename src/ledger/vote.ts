/**
 * Votes: what a validator signs about a view.
 *
 * A vote signs `{ epoch, view, block? }` under the domain of its kind (`apotheca/notarize/1`, …), so a notarize vote is
 * never a finalize vote. A leader's proposal carries no signature of its own: it travels with the leader's notarize vote.
 *
 * @see docs/spec/vote.md
 */
import type { CID } from 'multiformats/cid'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { VALIDATORS_MAX } from '../core/limits.ts'
import { type Decoder, integer, literal, object, optional, shapeFault } from '../core/schema.ts'
import { cborLink, signatureBytes } from './fields.ts'

export type VoteKind = 'notarize' | 'nullify' | 'finalize'

/** What is voted on: a block in a view, or (nullify) the view itself. */
export interface Ballot {
  readonly epoch: number
  readonly view: number
  readonly kind: VoteKind
  /** The block; absent in a nullify ballot, present in all others. */
  readonly block?: CID
}

export interface Vote extends Ballot {
  /** Index of the validator in the epoch's list. */
  readonly signer: number
  readonly sig: Uint8Array
}

/** Two votes of one validator in one view that the rules forbid together. */
export interface Evidence {
  readonly first: Vote
  readonly second: Vote
}

const VOTE_BYTES_MAX = 512

export const ballotFields = {
  epoch: integer(0),
  view: integer(1),
  kind: literal('notarize', 'nullify', 'finalize'),
  block: optional(cborLink),
} as const

/** Refuses a nullify ballot with a block, and any other without. */
export function checkBallotBlock(ballot: Ballot, path: string): void {
  if (ballot.kind === 'nullify' && ballot.block !== undefined) throw shapeFault(`${path}.block`, 'no block to nullify')
  if (ballot.kind !== 'nullify' && ballot.block === undefined) throw shapeFault(`${path}.block`, 'the block voted for')
}

const voteFields = object({ ...ballotFields, signer: integer(0, VALIDATORS_MAX - 1), sig: signatureBytes })

export const vote: Decoder<Vote> = (value, path) => {
  const decoded = voteFields(value, path)
  checkBallotBlock(decoded, path)
  return decoded
}

export const evidence: Decoder<Evidence> = object({ first: vote, second: vote })

/** The bytes that a vote's signature covers, after the domain of its kind and the chain. */
export function ballotBytes(ballot: Ballot): Uint8Array {
  const { epoch, view, block } = ballot
  return encodeCanonical(block === undefined ? { epoch, view } : { epoch, view, block })
}

export function encodeVote(value: Vote): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeVote(bytes: Uint8Array): Vote {
  return vote(decodeCanonical(bytes, VOTE_BYTES_MAX), 'vote')
}
