/**
 * Transactions: what an account asks the ledger to do.
 *
 * The id is the hash of the body's bytes, so it doesn't depend on the signatures; the signatures cover the body's bytes
 * under the domain `apotheca/tx/1` and the chain. A body travels as bytes inside its envelope: what was signed is what is
 * hashed, and nothing is encoded again on the way.
 *
 * @see docs/spec/transaction.md; test/vectors/ledger-transaction.json
 */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { encodeCanonical, viewCanonical } from '../core/codec.ts'
import { type AccountId, type ChainId, type InstitutionId, type TxId, txIdOf } from '../core/ids.ts'
import { STATE_KEY_BYTES_MAX, TX_LARGE_BYTES_MAX, TX_PRECONDITIONS_MAX, TX_SIGNATURES_MAX } from '../core/limits.ts'
import type { Signer } from '../core/ports.ts'
import {
  type Decoder,
  byteString,
  integer,
  list,
  literal,
  nullable,
  object,
  optional,
  shapeFault,
  text,
} from '../core/schema.ts'
import { sha256 } from '../crypto/hash.ts'
import { leafHash } from '../crypto/merkle.ts'
import { signMessage } from '../crypto/signatures.ts'
import {
  accountId,
  cborLink,
  chainIdOfLink,
  institutionId,
  parseLink,
  signatureBytes,
  signingKey,
  timeMs,
} from './fields.ts'

export const TX_VERSION = 1

/** Lanes, most urgent first: 0 evidence, membership, revocation; 1 clinical; 2 claims, supply; 3 storage. */
export type Lane = 0 | 1 | 2 | 3
export const LANES: readonly Lane[] = [0, 1, 2, 3]

/** Compare-and-set: the key must have been written last at height `version`, or be absent (`null`). */
export interface Precondition {
  readonly namespace: string
  readonly key: Uint8Array
  readonly version: number | null
}

export interface TxBody {
  readonly version: typeof TX_VERSION
  /** The chain: CID of its genesis. */
  readonly chain: CID
  /** Home institution of the account. */
  readonly org: InstitutionId
  readonly account: AccountId
  readonly lane: Lane
  /** 1 for the first transaction of this account in this lane, then one more each time. */
  readonly seq: number
  /** Block time from which the transaction is void; at most 24 h ahead. */
  readonly expiresMs: number
  /** Names the rule that applies it, such as `record.add`. */
  readonly type: string
  /** Whatever the type's own schema says. */
  readonly payload: unknown
  readonly pre?: readonly Precondition[]
}

/** What a client says of a transaction before it is bound to a chain, an account's turn and an expiry. */
export type DraftTx = Pick<TxBody, 'lane' | 'type' | 'payload'>

export interface TxSignature {
  readonly key: Uint8Array
  readonly alg: 'ed25519'
  readonly sig: Uint8Array
}

export interface Envelope {
  /** Canonical bytes of a `TxBody`. */
  readonly body: Uint8Array
  /** In the order that the type asks for: the account first, then who signs beside it. */
  readonly sigs: readonly TxSignature[]
}

/** A transaction as it came, with all that is derived from its bytes. Nothing is verified yet. */
export interface SignedTx {
  readonly id: TxId
  /** SHA-256 of `bodyBytes`: the id as raw bytes. */
  readonly hash: Uint8Array
  readonly body: TxBody
  readonly bodyBytes: Uint8Array
  readonly sigs: readonly TxSignature[]
  /** The whole envelope. */
  readonly bytes: Uint8Array
  /** Hash of the envelope as a leaf of a block's `txRoot`: no two envelopes have one. */
  readonly leaf: Uint8Array
}

/** Why a transaction can't be in a block at all. Such a transaction leaves no receipt. */
export type TxFault =
  | { code: 'TX_TOO_LARGE'; bytes: number; bytesMax: number }
  | { code: 'TX_WRONG_CHAIN'; chain: string }
  | { code: 'TX_TYPE_UNKNOWN'; type: string }
  | { code: 'TX_LANE_WRONG'; lane: number; expected: number }
  | { code: 'TX_EXPIRED'; expiresMs: number; blockTimeMs: number }
  | { code: 'TX_EXPIRES_TOO_FAR'; expiresMs: number; latestMs: number }
  | { code: 'TX_ORG_UNKNOWN'; org: string }
  | { code: 'TX_ACCOUNT_UNKNOWN'; account: string }
  | { code: 'TX_ACCOUNT_NOT_OF_ORG'; account: string; org: string }
  | { code: 'TX_SEQ_USED'; seq: number; next: number }
  | { code: 'TX_SEQ_AHEAD'; seq: number; next: number }
  | { code: 'TX_QUOTA_EXHAUSTED'; org: string; fitsMs: number }
  | { code: 'TX_SIGNATURE_COUNT'; signatures: number; expected: number }
  | { code: 'TX_SIGNATURE_KEY_WRONG'; index: number }
  | { code: 'TX_SIGNATURE_INVALID'; index: number }

/** Why an admitted transaction changed nothing; stands in its receipt. */
export type TxRefusal =
  | { code: 'TX_PRECONDITION_FAILED'; index: number; found: number | string }
  | { code: 'TX_PAYLOAD_MALFORMED'; path: string; expected: string }

const lane: Decoder<Lane> = literal(...LANES)

export const namespaceName: Decoder<string> = text(1, 32, /^[a-z][a-z0-9-]*$/)
export const stateKeyBytes: Decoder<Uint8Array> = byteString(1, STATE_KEY_BYTES_MAX)

/** Any canonical value: its kind and depth were checked by the codec, its shape is checked by the type's machine. */
const anyValue: Decoder<unknown> = (value) => value

const txBody: Decoder<TxBody> = object({
  version: literal(TX_VERSION),
  chain: cborLink,
  org: institutionId,
  account: accountId,
  lane,
  seq: integer(1),
  expiresMs: timeMs,
  type: text(3, 64, /^[a-z][a-z0-9-]*\.[a-z][a-z0-9-]*$/),
  payload: anyValue,
  pre: optional(
    list(
      object({ namespace: namespaceName, key: stateKeyBytes, version: nullable(integer(0)) }),
      1,
      TX_PRECONDITIONS_MAX,
    ),
  ),
})

const envelope: Decoder<Envelope> = object({
  body: byteString(1, TX_LARGE_BYTES_MAX),
  sigs: list(object({ key: signingKey, alg: literal('ed25519'), sig: signatureBytes }), 1, TX_SIGNATURES_MAX),
})

export function encodeTxBody(body: TxBody): Uint8Array {
  return encodeCanonical(body)
}

export function encodeEnvelope(value: Envelope): Uint8Array {
  return encodeCanonical(value)
}

/**
 * Decodes an envelope and the body in it. Signatures and all that needs the state are not looked at; see `admission.ts`.
 *
 * @param bytes - untrusted; at most `TX_LARGE_BYTES_MAX`. They must not change afterwards: the transaction is made of views of them.
 * @param leaf - of these bytes, where it is known. @default hashed
 * @throws {CodecError} any of its codes, with paths that start at `tx`.
 */
export function decodeEnvelope(bytes: Uint8Array, leaf: Uint8Array = leafHash(bytes)): SignedTx {
  const { body: bodyBytes, sigs } = envelope(viewCanonical(bytes, TX_LARGE_BYTES_MAX), 'tx')
  const body = txBody(viewCanonical(bodyBytes, TX_LARGE_BYTES_MAX), 'tx.body')
  for (const [index, { key }] of sigs.entries()) {
    if (sigs.slice(0, index).some((earlier) => equals(earlier.key, key))) {
      throw shapeFault(`tx.sigs[${index}].key`, 'a key that has not signed already')
    }
  }
  const hash = sha256(bodyBytes)
  return { id: txIdOf(hash), hash, body, bodyBytes, sigs, bytes, leaf }
}

/** The body of a transaction: a draft, bound to its chain, account, turn and expiry. */
export function txBodyOf(
  draft: DraftTx,
  at: {
    readonly chain: ChainId
    readonly org: InstitutionId
    readonly account: AccountId
    readonly seq: number
    readonly expiresMs: number
    readonly pre?: readonly Precondition[]
  },
): TxBody {
  const { account, chain, expiresMs, org, pre, seq } = at
  const { lane, payload, type } = draft
  const body = {
    version: TX_VERSION,
    chain: parseLink(chain),
    org,
    account,
    lane,
    seq,
    expiresMs,
    type,
    payload,
  } as const
  return pre === undefined ? body : { ...body, pre }
}

/**
 * Signs a transaction.
 *
 * @param signers - the account's, then those who must sign beside it, in the order the type asks for.
 * @returns the transaction, ready to be sent: `bytes` is the envelope.
 */
export async function signTx(body: TxBody, signers: readonly Signer[]): Promise<SignedTx> {
  const bodyBytes = encodeTxBody(body)
  const chain = chainIdOfLink(body.chain)
  const sigs: TxSignature[] = []
  for (const signer of signers) {
    sigs.push({ key: signer.publicKey, alg: 'ed25519', sig: await signMessage(signer, 'tx', chain, bodyBytes) })
  }
  return decodeEnvelope(encodeEnvelope({ body: bodyBytes, sigs }))
}
