/**
 * `#native` on WebCrypto, and @noble/* where WebCrypto has no synchronous form or no such algorithm. See primitives.ts.
 *
 * noble's own Ed25519 verification multiplies by the cofactor; consensus needs the verdict of the Node form bit for bit, so
 * the equation is written out here.
 */
import { chacha20poly1305 } from '@noble/ciphers/chacha.js'
import { ed25519 } from '@noble/curves/ed25519.js'
import { bytesToNumberLE } from '@noble/curves/utils.js'
import { hkdf } from '@noble/hashes/hkdf.js'
import { sha256 as nobleSha256, sha512 } from '@noble/hashes/sha2.js'
import { argon2id as wasmArgon2id } from 'hash-wasm'
import { RANDOM_FILL_BYTES_MAX } from '../../core/limits.ts'
import { AEAD_TAG_BYTES, type AeadCipher, type Argon2Cost, type CipherProfile } from './primitives.ts'

const HASH_BYTES = 32
const POINT_BYTES = 32
const NO_AAD = new Uint8Array(0)
const { Point } = ed25519
/** As the web has it, windows-1252: it gives each of the 256 bytes a character of its own. */
const oneCharacterEach = new TextDecoder('latin1')

export function sha256(bytes: Uint8Array): Uint8Array {
  return nobleSha256(bytes)
}

export function sha256Into(bytes: Uint8Array, out: Uint8Array, at: number): void {
  out.set(nobleSha256(bytes), at)
}

export function byteText(bytes: Uint8Array): string {
  return oneCharacterEach.decode(bytes)
}

export function randomBytes(length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let offset = 0; offset < length; offset += RANDOM_FILL_BYTES_MAX) {
    crypto.getRandomValues(bytes.subarray(offset, offset + RANDOM_FILL_BYTES_MAX))
  }
  return bytes
}

export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false
  let difference = 0
  for (const [index, byte] of a.entries()) difference |= byte ^ (b[index] ?? 0)
  return difference === 0
}

export function hkdfSha256(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  return hkdf(nobleSha256, secret, salt, info, length)
}

export function aeadCipher(profile: CipherProfile, key: Uint8Array): AeadCipher {
  return profile === 'aes-256-gcm' ? aesGcm(key) : chaCha20Poly1305(key)
}

export function ed25519PublicKey(seed: Uint8Array): Uint8Array {
  return ed25519.getPublicKey(seed)
}

export function ed25519Signer(seed: Uint8Array): (message: Uint8Array) => Uint8Array {
  const copy = new Uint8Array(seed)
  return (message) => ed25519.sign(message, copy)
}

export function ed25519Equation(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  const encodedR = signature.subarray(0, POINT_BYTES)
  const s = bytesToNumberLE(signature.subarray(POINT_BYTES))
  const h =
    bytesToNumberLE(sha512.create().update(encodedR).update(publicKey).update(message).digest()) % Point.Fn.ORDER
  try {
    // All of this is public, so variable-time multiplication is right.
    const negatedA = Point.fromBytes(publicKey).negate()
    return equalSecrets(Point.BASE.multiplyUnsafe(s).add(negatedA.multiplyUnsafe(h)).toBytes(), encodedR)
  } catch {
    // A is no point of the curve.
    return false
  }
}

export async function ed25519EquationAside(
  publicKey: Uint8Array,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  // WebCrypto's verdict on edge cases differs among browsers; a browser checks a proof now and then, not a block a second.
  return ed25519Equation(publicKey, signature, message)
}

export async function argon2id(passphrase: Uint8Array, salt: Uint8Array, cost: Argon2Cost): Promise<Uint8Array> {
  return wasmArgon2id({
    password: passphrase,
    salt,
    parallelism: cost.parallelism,
    iterations: cost.passes,
    memorySize: cost.memoryKib,
    hashLength: HASH_BYTES,
    outputType: 'binary',
  })
}

function aesGcm(key: Uint8Array): AeadCipher {
  const imported = crypto.subtle.importKey('raw', owned(key), 'AES-GCM', false, ['encrypt', 'decrypt'])
  const algorithm = (nonce: Uint8Array, aad: Uint8Array): AesGcmParams => ({
    name: 'AES-GCM',
    iv: owned(nonce),
    additionalData: owned(aad),
    tagLength: AEAD_TAG_BYTES * 8,
  })
  return {
    async seal(nonce, plaintext, out, aad = NO_AAD): Promise<void> {
      out.set(new Uint8Array(await crypto.subtle.encrypt(algorithm(nonce, aad), await imported, owned(plaintext))))
    },
    async open(nonce, sealed, out, aad = NO_AAD): Promise<boolean> {
      try {
        out.set(new Uint8Array(await crypto.subtle.decrypt(algorithm(nonce, aad), await imported, owned(sealed))))
        return true
      } catch {
        out.fill(0)
        return false
      }
    },
  }
}

function chaCha20Poly1305(key: Uint8Array): AeadCipher {
  const copy = new Uint8Array(key)
  return {
    seal(nonce, plaintext, out, aad = NO_AAD): void {
      chacha20poly1305(copy, nonce, aad).encrypt(plaintext, out)
    },
    open(nonce, sealed, out, aad = NO_AAD): boolean {
      try {
        chacha20poly1305(copy, nonce, aad).decrypt(sealed, out)
        return true
      } catch {
        out.fill(0)
        return false
      }
    },
  }
}

/** WebCrypto takes no views of shared memory: such bytes are copied. */
function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer
    ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
    : new Uint8Array(bytes)
}
