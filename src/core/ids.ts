/** Branded ids: parsed once at the edge, never mixed up afterwards. */
import { CID } from 'multiformats/cid'
import { CodedError } from './coded-error.ts'

declare const brand: unique symbol
export type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** SHA-256 of an account's first public keys, in base32 (RFC 4648 lower case, no padding, 52 characters) after `acc1`. */
export type AccountId = Brand<string, 'AccountId'>
/** Short name of an institution within its consortium: `[a-z0-9-]{1,32}`. */
export type InstitutionId = Brand<string, 'InstitutionId'>
/** CID of the genesis, as text: names the chain in every signature. */
export type ChainId = Brand<string, 'ChainId'>
/** Hash of a transaction's body, in base32 after `tx1`. */
export type TxId = Brand<string, 'TxId'>
/** Id of a record: the hash of the transaction that added it, in base32 after `rec1`. */
export type RecordId = Brand<string, 'RecordId'>

export type IdFault =
  | { code: 'ID_MALFORMED'; kind: string; expected: string }
  | { code: 'CID_MALFORMED'; expected: string }
export class IdError extends CodedError<IdFault> {}

const HASH_BYTES = 32
/** RFC 4648, lower case. */
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'
const BASE32_BITS = 5
const HASH_CHARACTERS = 52
/** 260 bits for 256: the last character holds one bit and four of padding. Only one spelling of an id is accepted. */
const HASH_PATTERN = /^[a-z2-7]{51}[aq]$/
/** By character code. */
const VALUE_OF_CODE = new Uint8Array(128)
for (let value = 0; value < BASE32.length; value++) VALUE_OF_CODE[BASE32.charCodeAt(value)] = value

const INSTITUTION_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/

function hashId<T extends string>(prefix: string, hash: Uint8Array): T {
  let text = prefix
  let held = 0
  let bits = 0
  for (const byte of hash) {
    held = (held << 8) | byte
    bits += 8
    for (; bits >= BASE32_BITS; bits -= BASE32_BITS) text += BASE32[(held >> (bits - BASE32_BITS)) & 31]
    held &= 31
  }
  return (bits === 0 ? text : text + BASE32[(held << (BASE32_BITS - bits)) & 31]) as T
}

function parseHashId<T extends string>(kind: string, prefix: string, value: string): T {
  const isId =
    value.length === prefix.length + HASH_CHARACTERS &&
    value.startsWith(prefix) &&
    HASH_PATTERN.test(value.slice(prefix.length))
  if (!isId) throw new IdError({ code: 'ID_MALFORMED', kind, expected: `${prefix} and 52 characters a-z2-7` })
  return value as T
}

export const accountIdOf = (hash: Uint8Array): AccountId => hashId('acc1', hash)
export const txIdOf = (hash: Uint8Array): TxId => hashId('tx1', hash)
export const recordIdOf = (hash: Uint8Array): RecordId => hashId('rec1', hash)
/** @throws {IdError} `ID_MALFORMED` */
export const parseAccountId = (value: string): AccountId => parseHashId('account', 'acc1', value)
/** @throws {IdError} `ID_MALFORMED` */
export const parseTxId = (value: string): TxId => parseHashId('transaction', 'tx1', value)
/** @throws {IdError} `ID_MALFORMED` */
export const parseRecordId = (value: string): RecordId => parseHashId('record', 'rec1', value)

/** @throws {IdError} `ID_MALFORMED` */
export function parseInstitutionId(value: string): InstitutionId {
  if (!INSTITUTION_PATTERN.test(value)) {
    throw new IdError({ code: 'ID_MALFORMED', kind: 'institution', expected: '1 to 32 of a-z, 0-9 and -' })
  }
  return value as InstitutionId
}

/** The raw 32 bytes behind an id of hash form. */
export function idHash(id: AccountId | TxId | RecordId): Uint8Array {
  const hash = new Uint8Array(HASH_BYTES)
  let held = 0
  let bits = 0
  let at = 0
  for (let index = id.length - HASH_CHARACTERS; index < id.length; index++) {
    held = (held << BASE32_BITS) | (VALUE_OF_CODE[id.charCodeAt(index)] ?? 0)
    bits += BASE32_BITS
    if (bits < 8) continue
    bits -= 8
    hash[at++] = held >> bits
    held &= 0xff
  }
  return hash
}

/**
 * Parses a CID of either version.
 *
 * @param value - at most 128 characters; a leading `/ipfs/` is not accepted.
 * @throws {IdError} `CID_MALFORMED`
 */
export function parseCid(value: string): CID {
  const fault = { code: 'CID_MALFORMED', expected: 'a CID such as bafybei… or bafkrei…' } as const
  if (value.length > 128) throw new IdError(fault)
  try {
    return CID.parse(value)
  } catch (error) {
    throw new IdError(fault, { cause: error })
  }
}
