/** Who votes in an epoch, how many are enough, and who leads which view. */
import { concat } from 'uint8arrays/concat'
import { compare } from 'uint8arrays/compare'
import { equals } from 'uint8arrays/equals'
import type { InstitutionId } from '../core/ids.ts'
import { VALIDATORS_MAX } from '../core/limits.ts'
import { type Decoder, list, object } from '../core/schema.ts'
import { sha256 } from '../crypto/hash.ts'
import { institutionId, signingKey } from './fields.ts'

/** One institution, one vote. */
export interface Validator {
  readonly institution: InstitutionId
  /** Its consensus key: raw Ed25519, 32 bytes. */
  readonly key: Uint8Array
}

export interface ValidatorSet {
  readonly epoch: number
  /** SHA-256 of the block that the epoch starts from: the last of the epoch before, or the genesis. */
  readonly seed: Uint8Array
  /** In the order of their indexes. */
  readonly validators: readonly Validator[]
}

const LEADER_LABEL = new TextEncoder().encode('apotheca/leader/1')

export const validatorList: Decoder<readonly Validator[]> = list(
  object({ institution: institutionId, key: signingKey }),
  1,
  VALIDATORS_MAX,
)

/** How many of `n` validators may be faulty: the largest f with n >= 3f + 1. */
export const faultyMax = (n: number): number => Math.floor((n - 1) / 3)

/** How many signatures a certificate has: n - f, so that two certificates share an honest signer. */
export const quorumOf = (n: number): number => n - faultyMax(n)

/** Whether two lists have the same institutions with the same keys in the same order. */
export function sameValidators(a: readonly Validator[], b: readonly Validator[]): boolean {
  if (a.length !== b.length) return false
  return a.every((one, index) => {
    const other = b[index]
    return other !== undefined && one.institution === other.institution && equals(one.key, other.key)
  })
}

/**
 * The order in which validators lead: indexes sorted by SHA-256(label || seed || index).
 *
 * Nobody can choose a place in it: the seed is fixed before the epoch's first view, by a block that was final already.
 */
export function leaderOrder(set: ValidatorSet): number[] {
  const tickets = set.validators.map((_validator, index) => ({
    index,
    ticket: sha256(concat([LEADER_LABEL, set.seed, new Uint8Array([index >> 8, index & 0xff])])),
  }))
  return tickets.sort((a, b) => compare(a.ticket, b.ticket)).map(({ index }) => index)
}

/** Index of the validator that leads a view. */
export function leaderOf(set: ValidatorSet, view: number): number {
  return leaderOrder(set)[view % set.validators.length] ?? 0
}
