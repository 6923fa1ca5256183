/**
 * Key envelopes: a 32-byte secret wrapped to one recipient. HPKE base mode (RFC 9180), single shot, HKDF-SHA256 and
 * AES-256-GCM, with one of two KEMs:
 *
 * - `x-wing` (0x647a): ML-KEM-768 and X25519 together; safe as long as either holds. The default: records outlive today's
 *   public-key cryptography.
 * - `x25519` (0x0020): DHKEM(X25519, HKDF-SHA256), for those who must.
 *
 * `info = "apotheca/envelope/1" || context` binds the envelope to what the secret is for: moved to another place, it doesn't
 * open. Base mode doesn't say who wrapped: that is the signature's business around it.
 *
 * @see docs/spec/envelope.md; RFC 9180; draft-connolly-cfrg-xwing-kem; test/vectors/x-wing.json
 */
import { AEAD_AES_256_GCM, CipherSuite, KDF_HKDF_SHA256, KEM_DHKEM_X25519_HKDF_SHA256, KEM_MLKEM768_X25519 } from 'hpke'
import { concat } from 'uint8arrays/concat'
import { CodedError } from '../core/coded-error.ts'
import { byteString, type Decoder, literal, object, shapeFault } from '../core/schema.ts'

export type WrapProfile = 'x-wing' | 'x25519'

export type EnvelopeFault =
  | { code: 'ENVELOPE_KEY_INVALID'; wrap: WrapProfile }
  | { code: 'ENVELOPE_SECRET_LENGTH'; bytes: number; expectedBytes: number }
  | { code: 'ENVELOPE_NOT_FOR_KEY'; wrap: WrapProfile }
export class EnvelopeError extends CodedError<EnvelopeFault> {}

/** The public half of an encryption key, as it stands on the ledger. */
export interface EncryptionPublicKey {
  readonly wrap: WrapProfile
  readonly publicKey: Uint8Array
}

/** The private half: the X-Wing seed, or the X25519 scalar, 32 bytes each. */
export interface EncryptionPrivateKey {
  readonly wrap: WrapProfile
  readonly privateKey: Uint8Array
}

export interface WrappedKey {
  readonly wrap: WrapProfile
  /** The KEM's ciphertext: 1,120 bytes for X-Wing, 32 for X25519. */
  readonly enc: Uint8Array
  /** The secret and its tag: 48 bytes. */
  readonly sealed: Uint8Array
}

interface WrapLengths {
  readonly publicKeyBytes: number
  readonly encBytes: number
}

const SECRET_BYTES = 32
const SEALED_BYTES = SECRET_BYTES + 16
const PRIVATE_KEY_BYTES = 32
const INFO_PREFIX = new TextEncoder().encode('apotheca/envelope/1')

export const WRAP_LENGTHS: Readonly<Record<WrapProfile, WrapLengths>> = {
  'x-wing': { publicKeyBytes: 1216, encBytes: 1120 },
  x25519: { publicKeyBytes: 32, encBytes: 32 },
}

const wrapProfile = literal('x-wing', 'x25519')
const wrappedKeyFields = object({
  wrap: wrapProfile,
  enc: byteString(WRAP_LENGTHS.x25519.encBytes, WRAP_LENGTHS['x-wing'].encBytes),
  sealed: byteString(SEALED_BYTES),
})
const publicKeyFields = object({
  wrap: wrapProfile,
  publicKey: byteString(WRAP_LENGTHS.x25519.publicKeyBytes, WRAP_LENGTHS['x-wing'].publicKeyBytes),
})

/** Decodes a wrapped key; the length of `enc` must be its profile's. */
export const wrappedKey: Decoder<WrappedKey> = (value, path) => {
  const decoded = wrappedKeyFields(value, path)
  const { encBytes } = WRAP_LENGTHS[decoded.wrap]
  if (decoded.enc.length !== encBytes) throw shapeFault(`${path}.enc`, `${encBytes} bytes`)
  return decoded
}

/** Decodes an encryption public key; its length must be its profile's. */
export const encryptionPublicKey: Decoder<EncryptionPublicKey> = (value, path) => {
  const decoded = publicKeyFields(value, path)
  const { publicKeyBytes } = WRAP_LENGTHS[decoded.wrap]
  if (decoded.publicKey.length !== publicKeyBytes) throw shapeFault(`${path}.publicKey`, `${publicKeyBytes} bytes`)
  return decoded
}

/** A new key pair. */
export async function generateEncryptionKey(wrap: WrapProfile): Promise<EncryptionPublicKey & EncryptionPrivateKey> {
  const suite = suiteOf(wrap)
  const pair = await suite.GenerateKeyPair(true)
  return {
    wrap,
    privateKey: await suite.SerializePrivateKey(pair.privateKey),
    publicKey: await suite.SerializePublicKey(pair.publicKey),
  }
}

/**
 * Wraps a secret to a recipient.
 *
 * @param secret - 32 bytes.
 * @param context - what the secret is for; the same bytes are needed to unwrap.
 * @throws {EnvelopeError} `ENVELOPE_KEY_INVALID`, `ENVELOPE_SECRET_LENGTH`
 */
export async function wrapKey(
  recipient: EncryptionPublicKey,
  secret: Uint8Array,
  context: Uint8Array,
): Promise<WrappedKey> {
  const { wrap, publicKey } = recipient
  if (secret.length !== SECRET_BYTES) {
    throw new EnvelopeError({ code: 'ENVELOPE_SECRET_LENGTH', bytes: secret.length, expectedBytes: SECRET_BYTES })
  }
  const suite = suiteOf(wrap)
  try {
    const key = await suite.DeserializePublicKey(publicKey)
    const { encapsulatedSecret, ciphertext } = await suite.Seal(key, secret, { info: infoOf(context) })
    return { wrap, enc: encapsulatedSecret, sealed: ciphertext }
  } catch (error) {
    // A public key of the wrong length, or one that encapsulates to a known secret (X25519 points of small order).
    throw new EnvelopeError({ code: 'ENVELOPE_KEY_INVALID', wrap }, { cause: error })
  }
}

/**
 * Unwraps a secret.
 *
 * @returns 32 bytes; the caller zeroes them after use.
 * @throws {EnvelopeError} `ENVELOPE_NOT_FOR_KEY`, one code for every reason: another key, another context, altered bytes.
 */
export async function unwrapKey(
  recipient: EncryptionPrivateKey,
  wrapped: WrappedKey,
  context: Uint8Array,
): Promise<Uint8Array> {
  const { wrap, privateKey } = recipient
  const refused = { code: 'ENVELOPE_NOT_FOR_KEY', wrap } as const
  if (wrapped.wrap !== wrap || privateKey.length !== PRIVATE_KEY_BYTES) throw new EnvelopeError(refused)
  const suite = suiteOf(wrap)
  let secret: Uint8Array
  try {
    const key = await suite.DeserializePrivateKey(privateKey, wrap === 'x25519')
    secret = await suite.Open(key, wrapped.enc, wrapped.sealed, { info: infoOf(context) })
  } catch (error) {
    throw new EnvelopeError(refused, { cause: error })
  }
  if (secret.length !== SECRET_BYTES) throw new EnvelopeError(refused)
  return secret
}

function suiteOf(wrap: WrapProfile): CipherSuite {
  const kem = wrap === 'x-wing' ? KEM_MLKEM768_X25519 : KEM_DHKEM_X25519_HKDF_SHA256
  return new CipherSuite(kem, KDF_HKDF_SHA256, AEAD_AES_256_GCM)
}

function infoOf(context: Uint8Array): Uint8Array {
  return concat([INFO_PREFIX, context])
}
