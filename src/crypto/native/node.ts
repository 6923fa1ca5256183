/** `#native` on node:crypto (OpenSSL). See primitives.ts for the contract. */
import {
  argon2,
  type CipherGCM,
  createCipheriv,
  createDecipheriv,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type DecipherGCM,
  hash,
  hkdfSync,
  type KeyObject,
  randomFillSync,
  sign,
  timingSafeEqual,
  verify,
} from 'node:crypto'
import { AEAD_UPDATE_BYTES, ED25519_KEYS_CACHED_MAX } from '../../core/limits.ts'
import { AEAD_TAG_BYTES, type AeadCipher, type Argon2Cost, type CipherProfile } from './primitives.ts'

const HASH_BYTES = 32
const TAG_OPTION = { authTagLength: AEAD_TAG_BYTES }
const NO_AAD = new Uint8Array(0)
/** DER before the raw key: PKCS #8 and SubjectPublicKeyInfo of Ed25519 (RFC 8410). */
const PKCS8_PREFIX = new Uint8Array([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20])
const SPKI_PREFIX = new Uint8Array([0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0])

/** Methods of Buffer that work on any Uint8Array; Node's types leave them out. */
const latin1 = Buffer.prototype as unknown as {
  latin1Slice(this: Uint8Array, from: number, to: number): string
  latin1Write(this: Uint8Array, text: string, from: number, bytes: number): number
}

/** Importing a public key costs a quarter of a verification; a chain sees the same signers again and again. */
const publicKeys = new Map<string, KeyObject>()

export function sha256(bytes: Uint8Array): Uint8Array {
  const digest = new Uint8Array(HASH_BYTES)
  sha256Into(bytes, digest, 0)
  return digest
}

export function sha256Into(bytes: Uint8Array, out: Uint8Array, at: number): void {
  // As a string of one character a byte, and from there: a third of the time that a Buffer made by OpenSSL's side takes.
  latin1.latin1Write.call(out, hash('sha256', bytes, 'binary'), at, HASH_BYTES)
}

export function byteText(bytes: Uint8Array): string {
  return latin1.latin1Slice.call(bytes, 0, bytes.length)
}

export function randomBytes(length: number): Uint8Array {
  return randomFillSync(new Uint8Array(length))
}

export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

export function hkdfSha256(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', secret, salt, info, length))
}

export function aeadCipher(profile: CipherProfile, key: Uint8Array): AeadCipher {
  const secret = createSecretKey(key)
  return {
    seal(nonce, plaintext, out, aad = NO_AAD): void {
      const cipher = cipherOf(profile, secret, nonce)
      if (aad.length > 0) cipher.setAAD(aad)
      updateInto(cipher, plaintext, out)
      cipher.final()
      out.set(cipher.getAuthTag(), plaintext.length)
    },
    open(nonce, sealed, out, aad = NO_AAD): boolean {
      const bytes = sealed.length - AEAD_TAG_BYTES
      const decipher = decipherOf(profile, secret, nonce)
      decipher.setAuthTag(sealed.subarray(bytes))
      if (aad.length > 0) decipher.setAAD(aad)
      updateInto(decipher, sealed.subarray(0, bytes), out)
      try {
        decipher.final()
        return true
      } catch {
        // Nobody may see plaintext whose tag is wrong.
        out.fill(0)
        return false
      }
    },
  }
}

export function ed25519PublicKey(seed: Uint8Array): Uint8Array {
  const der = createPublicKey(privateKeyOf(seed)).export({ format: 'der', type: 'spki' })
  return new Uint8Array(der.subarray(SPKI_PREFIX.length))
}

export function ed25519Signer(seed: Uint8Array): (message: Uint8Array) => Uint8Array {
  const key = privateKeyOf(seed)
  return (message) => plain(sign(null, message, key))
}

export function ed25519Equation(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  // OpenSSL computes [S]B - [h]A, encodes it and compares with R as bytes: cofactorless.
  return verify(null, message, publicKeyOf(publicKey), signature)
}

export function ed25519EquationAside(
  publicKey: Uint8Array,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  // With a callback the work is done in libuv's pool.
  return new Promise((resolve, reject) => {
    verify(null, message, publicKeyOf(publicKey), signature, (error, valid) => {
      if (error === null) resolve(valid)
      else reject(error)
    })
  })
}

export function argon2id(passphrase: Uint8Array, salt: Uint8Array, cost: Argon2Cost): Promise<Uint8Array> {
  const parameters = {
    message: passphrase,
    nonce: salt,
    parallelism: cost.parallelism,
    tagLength: HASH_BYTES,
    memory: cost.memoryKib,
    passes: cost.passes,
  }
  return new Promise((resolve, reject) => {
    argon2('argon2id', parameters, (error, derived) => {
      if (error === null) resolve(plain(derived))
      else reject(error)
    })
  })
}

function cipherOf(profile: CipherProfile, key: KeyObject, nonce: Uint8Array): CipherGCM {
  // Two calls, since the types of node:crypto tell the modes apart by literal name.
  return profile === 'aes-256-gcm'
    ? createCipheriv('aes-256-gcm', key, nonce, TAG_OPTION)
    : createCipheriv('chacha20-poly1305', key, nonce, TAG_OPTION)
}

function decipherOf(profile: CipherProfile, key: KeyObject, nonce: Uint8Array): DecipherGCM {
  return profile === 'aes-256-gcm'
    ? createDecipheriv('aes-256-gcm', key, nonce, TAG_OPTION)
    : createDecipheriv('chacha20-poly1305', key, nonce, TAG_OPTION)
}

/** Small updates copied into one buffer: node allocates each update's result, and a small one comes back from the allocator hot. */
function updateInto(cipher: CipherGCM | DecipherGCM, input: Uint8Array, out: Uint8Array): void {
  for (let offset = 0; offset < input.length; offset += AEAD_UPDATE_BYTES) {
    out.set(cipher.update(input.subarray(offset, offset + AEAD_UPDATE_BYTES)), offset)
  }
}

function privateKeyOf(seed: Uint8Array): KeyObject {
  const der = Buffer.alloc(PKCS8_PREFIX.length + seed.length)
  der.set(PKCS8_PREFIX)
  der.set(seed, PKCS8_PREFIX.length)
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  der.fill(0)
  return key
}

function publicKeyOf(raw: Uint8Array): KeyObject {
  const name = byteText(raw)
  const known = publicKeys.get(name)
  if (known !== undefined) return known
  const key = createPublicKey({ key: Buffer.concat([SPKI_PREFIX, raw]), format: 'der', type: 'spki' })
  if (publicKeys.size >= ED25519_KEYS_CACHED_MAX) {
    // Maps keep the order of insertion: the oldest goes.
    for (const oldest of publicKeys.keys()) {
      publicKeys.delete(oldest)
      break
    }
  }
  publicKeys.set(name, key)
  return key
}

/** A Buffer is a Uint8Array with other methods of the same names; outside this file there are only plain ones. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length)
}
