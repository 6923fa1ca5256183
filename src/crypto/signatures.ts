/**
 * Signatures with domain separation: `signed bytes = utf8("apotheca/<type>/1") || utf8(chain id) || message`.
 *
 * The prefix names the purpose and the chain, so that no signature made for one is valid for another. Types hold no `/`, and
 * all chain ids are CIDs of one length (59 characters), so the parts can't be cut in two ways.
 *
 * @see docs/spec/signatures.md; ed25519.ts for the rule of verification
 */
import { ed25519PublicKey, ed25519Signer, randomBytes } from '#native'
import { ed25519 } from '@noble/curves/ed25519.js'
import { concat } from 'uint8arrays/concat'
import { CodedError } from '../core/coded-error.ts'
import type { ChainId } from '../core/ids.ts'
import { VERIFICATIONS_AT_ONCE, VERIFICATIONS_HERE_MAX } from '../core/limits.ts'
import type { Signer } from '../core/ports.ts'
import { keyEncodingAllowed, PUBLIC_KEY_BYTES, verifyStrict, verifyStrictAside } from './ed25519.ts'

export type SignatureFault =
  | { code: 'SIGNATURE_KEY_INVALID'; reason: 'length' | 'encoding-or-small-order' | 'not-on-curve' }
  | { code: 'SIGNATURE_SEED_INVALID'; bytes: number; expectedBytes: number }
export class SignatureError extends CodedError<SignatureFault> {}

/** What a signature can be for. A new purpose is a new type, never a reused one. */
export type MessageType =
  | 'tx'
  | 'proposal'
  | 'notarize'
  | 'nullify'
  | 'finalize'
  | 'receipt'
  | 'membership'
  | 'erasure'
  | 'audit'
  | 'access-log'
  | 'attestation'
  | 'api-challenge'

const SEED_BYTES = 32
const utf8 = new TextEncoder()

/** A new Ed25519 key pair; the private key is the 32-byte seed of RFC 8032. */
export function generateSigningKey(): { privateKey: Uint8Array; publicKey: Uint8Array } {
  const privateKey = randomBytes(SEED_BYTES)
  return { privateKey, publicKey: ed25519PublicKey(privateKey) }
}

/**
 * A signer whose key is in memory.
 *
 * @param privateSeed - 32 bytes; copied, so the caller may zero its own.
 * @throws {SignatureError} `SIGNATURE_SEED_INVALID`
 */
export function softwareSigner(privateSeed: Uint8Array): Signer {
  if (privateSeed.length !== SEED_BYTES) {
    throw new SignatureError({
      code: 'SIGNATURE_SEED_INVALID',
      bytes: privateSeed.length,
      expectedBytes: SEED_BYTES,
    })
  }
  const sign = ed25519Signer(privateSeed)
  return { publicKey: ed25519PublicKey(privateSeed), sign: async (message) => sign(message) }
}

/** @returns the signature, 64 bytes. */
export function signMessage(
  signer: Signer,
  type: MessageType,
  chain: ChainId,
  message: Uint8Array,
): Promise<Uint8Array> {
  return signer.sign(signedBytes(type, chain, message))
}

/**
 * Whether `signature` is the key's signature of this message, for this purpose, on this chain. Every input is untrusted;
 * nothing throws.
 */
export function verifyMessage(
  publicKey: Uint8Array,
  signature: Uint8Array,
  type: MessageType,
  chain: ChainId,
  message: Uint8Array,
): boolean {
  return verifyStrict(publicKey, signature, signedBytes(type, chain, message))
}

/** One signature to verify: the arguments of `verifyMessage`. */
export interface SignatureCheck {
  readonly publicKey: Uint8Array
  readonly signature: Uint8Array
  readonly type: MessageType
  readonly chain: ChainId
  readonly message: Uint8Array
}

/**
 * The verdicts of `verifyMessage`, in order, found off this thread where the platform can. A few at a time: the pool that does
 * it also syncs the disk, and a vote must not wait behind a thousand signatures.
 */
export async function verifyMany(items: readonly SignatureCheck[]): Promise<readonly boolean[]> {
  // A quorum of a few: on a busy machine, waiting for another thread's turn takes longer than they do.
  if (items.length <= VERIFICATIONS_HERE_MAX) {
    return items.map(({ publicKey, signature, type, chain, message }) =>
      verifyMessage(publicKey, signature, type, chain, message),
    )
  }
  const verdicts: boolean[] = items.map(() => false)
  const waiting = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, { publicKey, signature, type, chain, message }] of waiting) {
      verdicts[index] = await verifyStrictAside(publicKey, signature, signedBytes(type, chain, message))
    }
  }
  await Promise.all(Array.from({ length: Math.min(VERIFICATIONS_AT_ONCE, items.length) }, worker))
  return verdicts
}

/**
 * Refuses a public key under which no signature would ever verify. Checked where a key enters the ledger; verification
 * doesn't need it.
 *
 * @throws {SignatureError} `SIGNATURE_KEY_INVALID`
 */
export function checkPublicKey(publicKey: Uint8Array): void {
  if (publicKey.length !== PUBLIC_KEY_BYTES) {
    throw new SignatureError({ code: 'SIGNATURE_KEY_INVALID', reason: 'length' })
  }
  if (!keyEncodingAllowed(publicKey)) {
    throw new SignatureError({ code: 'SIGNATURE_KEY_INVALID', reason: 'encoding-or-small-order' })
  }
  try {
    ed25519.Point.fromBytes(publicKey)
  } catch (error) {
    throw new SignatureError({ code: 'SIGNATURE_KEY_INVALID', reason: 'not-on-curve' }, { cause: error })
  }
}

/** Whether `checkPublicKey` has nothing against it. */
export function isPublicKey(publicKey: Uint8Array): boolean {
  try {
    checkPublicKey(publicKey)
    return true
  } catch (error) {
    if (!(error instanceof SignatureError)) throw error
    return false
  }
}

/** The bytes that a signer signs. */
export function signedBytes(type: MessageType, chain: ChainId, message: Uint8Array): Uint8Array {
  return concat([utf8.encode(`apotheca/${type}/1${chain}`), message])
}
