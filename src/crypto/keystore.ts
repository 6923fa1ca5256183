/**
 * Keystores: private keys under a passphrase, as the bytes of a JSON file. The same format for CLI, peer and browser.
 *
 * ```
 * key    = Argon2id(passphrase, salt, cost)
 * sealed = AES-256-GCM(key, nonce, private keys one after the other, aad = canonical CBOR of everything else)
 * check  = SHA-256(canonical CBOR of everything else and `sealed`)
 * ```
 *
 * `check` is no protection, it needs no key: it tells a damaged file from a wrong passphrase before any secret is touched, so
 * that neither answer says anything about a byte of the secret. Whoever forges `check` only gets to `KEYSTORE_WRONG_PASSPHRASE`.
 *
 * Cost: RFC 9106's second recommended option, 64 MiB, 3 passes, 4 lanes. The first (2 GiB) doesn't fit a browser tab or a small
 * peer; lanes shorten the owner's wait on several cores and leave the attacker's memory bill as it is.
 *
 * @see docs/spec/keystore.md; test/vectors/keystore.json
 */
import { aeadCipher, argon2id, randomBytes, sha256 } from '#native'
import { concat } from 'uint8arrays/concat'
import { fromString } from 'uint8arrays/from-string'
import { toString as textOf } from 'uint8arrays/to-string'
import { encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import {
  KEYSTORE_BYTES_MAX,
  KEYSTORE_KEYS_MAX,
  KEYSTORE_LANES_MAX,
  KEYSTORE_MEMORY_KIB_MAX,
  KEYSTORE_MEMORY_KIB_MIN,
  KEYSTORE_PASSES_MAX,
} from '../core/limits.ts'
import { type Decoder, integer, list, literal, object, shapeFault, text } from '../core/schema.ts'
import { AEAD_NONCE_BYTES, AEAD_TAG_BYTES, type Argon2Cost } from './native/primitives.ts'

export type KeystoreFault =
  | { code: 'KEYSTORE_DAMAGED' }
  | { code: 'KEYSTORE_WRONG_PASSPHRASE' }
  | { code: 'KEYSTORE_PASSPHRASE_EMPTY' }
  | { code: 'KEYSTORE_KEY_INVALID'; name: string }
  | { code: 'KEYSTORE_COST_INVALID'; memoryKib: number; passes: number; parallelism: number }
  | { code: 'KEYSTORE_TOO_MANY_KEYS'; keys: number; keysMax: number }
export class KeystoreError extends CodedError<KeystoreFault> {}

export type KeyType = 'ed25519' | 'x-wing' | 'x25519'

export interface PublicKeystoreKey {
  /** Unique in its keystore: `[a-z0-9-]{1,64}`. */
  readonly name: string
  readonly type: KeyType
  readonly publicKey: Uint8Array
}

export interface KeystoreKey extends PublicKeystoreKey {
  /** 32 bytes for every type: Ed25519 seed, X-Wing seed, X25519 scalar. */
  readonly privateKey: Uint8Array
}

export interface SealKeystoreOptions {
  /** @default { memoryKib: 65_536, passes: 3, parallelism: 4 } */
  readonly cost?: Argon2Cost
}

const FORMAT = 'apotheca-keystore'
const VERSION = 1
const PRIVATE_KEY_BYTES = 32
const SALT_BYTES = 16
const HASH_BYTES = 32
const ASCII_END = 0x80
const NAME_PATTERN = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/
const NAME_LENGTH_MAX = 64
const DEFAULT_COST: Argon2Cost = { memoryKib: 64 * 1024, passes: 3, parallelism: 4 }

const PUBLIC_KEY_BYTES: Readonly<Record<KeyType, number>> = { ed25519: 32, 'x-wing': 1216, x25519: 32 }

/** Bytes in base64 (RFC 4648, padded), in their one canonical spelling. */
function base64(min: number, max: number = min): Decoder<Uint8Array> {
  return (value, path) => {
    // Four characters for each three bytes: a longer text is not even decoded.
    if (typeof value !== 'string' || value.length > Math.ceil(max / 3) * 4) throw shapeFault(path, 'base64')
    let bytes: Uint8Array
    try {
      bytes = fromString(value, 'base64pad')
    } catch {
      throw shapeFault(path, 'base64')
    }
    if (bytes.length < min || bytes.length > max || toBase64(bytes) !== value) throw shapeFault(path, 'base64')
    return bytes
  }
}

const keyFields = object({
  name: text(1, NAME_LENGTH_MAX, NAME_PATTERN),
  type: literal('ed25519', 'x-wing', 'x25519'),
  publicKey: base64(PUBLIC_KEY_BYTES.ed25519, PUBLIC_KEY_BYTES['x-wing']),
})
const publicKeystoreKey: Decoder<PublicKeystoreKey> = (value, path) => {
  const key = keyFields(value, path)
  if (key.publicKey.length !== PUBLIC_KEY_BYTES[key.type])
    throw shapeFault(`${path}.publicKey`, 'the length of its type')
  return key
}

const keystoreFile = object({
  format: literal(FORMAT),
  version: literal(VERSION),
  kdf: object({
    name: literal('argon2id'),
    memoryKib: integer(KEYSTORE_MEMORY_KIB_MIN, KEYSTORE_MEMORY_KIB_MAX),
    passes: integer(1, KEYSTORE_PASSES_MAX),
    parallelism: integer(1, KEYSTORE_LANES_MAX),
    salt: base64(SALT_BYTES),
  }),
  cipher: object({ name: literal('aes-256-gcm'), nonce: base64(AEAD_NONCE_BYTES) }),
  keys: list(publicKeystoreKey, 0, KEYSTORE_KEYS_MAX),
  sealed: base64(AEAD_TAG_BYTES, KEYSTORE_KEYS_MAX * PRIVATE_KEY_BYTES + AEAD_TAG_BYTES),
  check: base64(HASH_BYTES),
})
type KeystoreFile = ReturnType<typeof keystoreFile>
type KeystoreHead = Omit<KeystoreFile, 'sealed' | 'check'>

/**
 * Seals keys under a passphrase.
 *
 * @param keys - at most `KEYSTORE_KEYS_MAX`, with distinct names.
 * @param passphrase - UTF-8, as typed, in any Unicode normal form; the caller zeroes it.
 * @returns the bytes of a JSON file.
 * @throws {KeystoreError} `KEYSTORE_KEY_INVALID`, `KEYSTORE_TOO_MANY_KEYS`, `KEYSTORE_COST_INVALID`, `KEYSTORE_PASSPHRASE_EMPTY`
 */
export async function sealKeystore(
  keys: readonly KeystoreKey[],
  passphrase: Uint8Array,
  options: SealKeystoreOptions = {},
): Promise<Uint8Array> {
  checkKeys(keys)
  if (passphrase.length === 0) throw new KeystoreError({ code: 'KEYSTORE_PASSPHRASE_EMPTY' })
  const { memoryKib, passes, parallelism } = checkedCost(options.cost ?? DEFAULT_COST)
  const head: KeystoreHead = {
    format: FORMAT,
    version: VERSION,
    kdf: { name: 'argon2id', memoryKib, passes, parallelism, salt: randomBytes(SALT_BYTES) },
    cipher: { name: 'aes-256-gcm', nonce: randomBytes(AEAD_NONCE_BYTES) },
    keys: keys.map(({ name, type, publicKey }) => ({ name, type, publicKey })),
  }
  const key = await passphraseKey(passphrase, head.kdf)
  const plaintext = concat(keys.map((one) => one.privateKey))
  const sealed = new Uint8Array(plaintext.length + AEAD_TAG_BYTES)
  try {
    await aeadCipher('aes-256-gcm', key).seal(head.cipher.nonce, plaintext, sealed, encodeCanonical(head))
  } finally {
    key.fill(0)
    plaintext.fill(0)
  }
  return serialize(head, sealed)
}

/**
 * Opens a keystore.
 *
 * @param file - untrusted bytes of a JSON file.
 * @param passphrase - as for `sealKeystore`; the caller zeroes it, and the private keys after use.
 * @throws {KeystoreError} `KEYSTORE_DAMAGED`, `KEYSTORE_WRONG_PASSPHRASE`
 */
export async function openKeystore(file: Uint8Array, passphrase: Uint8Array): Promise<KeystoreKey[]> {
  const { sealed, check: _checked, ...head } = parse(file)
  if (passphrase.length === 0) throw new KeystoreError({ code: 'KEYSTORE_WRONG_PASSPHRASE' })
  const key = await passphraseKey(passphrase, head.kdf)
  const plaintext = new Uint8Array(sealed.length - AEAD_TAG_BYTES)
  try {
    const cipher = aeadCipher('aes-256-gcm', key)
    if (!(await cipher.open(head.cipher.nonce, sealed, plaintext, encodeCanonical(head)))) {
      throw new KeystoreError({ code: 'KEYSTORE_WRONG_PASSPHRASE' })
    }
    return head.keys.map((one, index) => ({
      ...one,
      privateKey: plaintext.slice(index * PRIVATE_KEY_BYTES, (index + 1) * PRIVATE_KEY_BYTES),
    }))
  } finally {
    key.fill(0)
    plaintext.fill(0)
  }
}

/**
 * The public part, without the passphrase. It is only proven genuine when the keystore is opened.
 *
 * @throws {KeystoreError} `KEYSTORE_DAMAGED`
 */
export function readKeystorePublic(file: Uint8Array): PublicKeystoreKey[] {
  return [...parse(file).keys]
}

/** The key that a passphrase gives. One spelling of it: keyboards and systems differ in how they write the same letters. */
async function passphraseKey(passphrase: Uint8Array, kdf: KeystoreHead['kdf']): Promise<Uint8Array> {
  const normal = nfc(passphrase)
  try {
    return await argon2id(normal, kdf.salt, kdf)
  } finally {
    if (normal !== passphrase) normal.fill(0)
  }
}

/** @returns the same bytes where they are ASCII, or no UTF-8. */
function nfc(passphrase: Uint8Array): Uint8Array {
  // A string can't be overwritten: one is made of a passphrase only where it may have several spellings.
  if (passphrase.every((byte) => byte < ASCII_END)) return passphrase
  try {
    const words = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(passphrase)
    return new TextEncoder().encode(words.normalize('NFC'))
  } catch {
    return passphrase
  }
}

function parse(file: Uint8Array): KeystoreFile {
  // One code for every kind of damage.
  const damaged = { code: 'KEYSTORE_DAMAGED' } as const
  if (file.length > KEYSTORE_BYTES_MAX) throw new KeystoreError(damaged)
  let parsed: KeystoreFile
  try {
    parsed = keystoreFile(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(file)), 'keystore')
  } catch (error) {
    throw new KeystoreError(damaged, { cause: error })
  }
  const { sealed, check, ...head } = parsed
  const whole =
    sealed.length === head.keys.length * PRIVATE_KEY_BYTES + AEAD_TAG_BYTES &&
    new Set(head.keys.map((key) => key.name)).size === head.keys.length &&
    toBase64(checkOf(head, sealed)) === toBase64(check)
  if (!whole) throw new KeystoreError(damaged)
  return parsed
}

function serialize(head: KeystoreHead, sealed: Uint8Array): Uint8Array {
  const json = {
    format: head.format,
    version: head.version,
    kdf: { ...head.kdf, salt: toBase64(head.kdf.salt) },
    cipher: { ...head.cipher, nonce: toBase64(head.cipher.nonce) },
    keys: head.keys.map((key) => ({ ...key, publicKey: toBase64(key.publicKey) })),
    sealed: toBase64(sealed),
    check: toBase64(checkOf(head, sealed)),
  }
  return new TextEncoder().encode(`${JSON.stringify(json, undefined, 2)}\n`)
}

function checkOf(head: KeystoreHead, sealed: Uint8Array): Uint8Array {
  return sha256(encodeCanonical({ ...head, sealed }))
}

function checkKeys(keys: readonly KeystoreKey[]): void {
  if (keys.length > KEYSTORE_KEYS_MAX) {
    throw new KeystoreError({ code: 'KEYSTORE_TOO_MANY_KEYS', keys: keys.length, keysMax: KEYSTORE_KEYS_MAX })
  }
  const names = new Set<string>()
  for (const { name, type, publicKey, privateKey } of keys) {
    const named = name.length <= NAME_LENGTH_MAX && NAME_PATTERN.test(name) && !names.has(name)
    const sized = publicKey.length === PUBLIC_KEY_BYTES[type] && privateKey.length === PRIVATE_KEY_BYTES
    if (!named || !sized) throw new KeystoreError({ code: 'KEYSTORE_KEY_INVALID', name })
    names.add(name)
  }
}

function checkedCost(cost: Argon2Cost): Argon2Cost {
  const { memoryKib, passes, parallelism } = cost
  const within = (value: number, min: number, max: number): boolean =>
    Number.isInteger(value) && value >= min && value <= max
  const fine =
    within(memoryKib, KEYSTORE_MEMORY_KIB_MIN, KEYSTORE_MEMORY_KIB_MAX) &&
    within(passes, 1, KEYSTORE_PASSES_MAX) &&
    within(parallelism, 1, KEYSTORE_LANES_MAX)
  if (!fine) throw new KeystoreError({ code: 'KEYSTORE_COST_INVALID', memoryKib, passes, parallelism })
  return cost
}

function toBase64(bytes: Uint8Array): string {
  return textOf(bytes, 'base64pad')
}
