/**
 * What the platform gives: the contract of `#native`, which has a Node form (node.ts) and a browser form (browser.ts).
 *
 * Both forms export exactly these names. A function that may answer with a promise does so only where the platform has no
 * synchronous form (WebCrypto); callers await only a real promise, so that Node's hot path never leaves the stack.
 */

export type CipherProfile = 'aes-256-gcm' | 'chacha20-poly1305'

export type MaybePromise<T> = T | Promise<T>

/** Both cipher profiles: 32-byte key, 12-byte nonce, 16-byte tag after the ciphertext. */
export const AEAD_KEY_BYTES = 32
export const AEAD_NONCE_BYTES = 12
export const AEAD_TAG_BYTES = 16

/** One key of one profile. Nonces are the caller's business: never the same one twice for different bytes. */
export interface AeadCipher {
  /**
   * @param out - exactly `plaintext.length + 16` bytes, not overlapping `plaintext`.
   */
  seal(nonce: Uint8Array, plaintext: Uint8Array, out: Uint8Array, aad?: Uint8Array): MaybePromise<void>
  /**
   * @param sealed - ciphertext and tag, at least 16 bytes.
   * @param out - exactly `sealed.length - 16` bytes, not overlapping `sealed`; zeroed when the answer is false.
   * @returns whether the tag is right.
   */
  open(nonce: Uint8Array, sealed: Uint8Array, out: Uint8Array, aad?: Uint8Array): MaybePromise<boolean>
}

/** Cost of a password hash. */
export interface Argon2Cost {
  /** KiB. */
  readonly memoryKib: number
  readonly passes: number
  /** Lanes. */
  readonly parallelism: number
}

export interface Native {
  /** @returns 32 bytes. */
  sha256(bytes: Uint8Array): Uint8Array
  /** The same, written to 32 bytes from `at` on; `out` may be `bytes`. */
  sha256Into(bytes: Uint8Array, out: Uint8Array, at: number): void
  /** A text of one character for each byte, which tells all bytes apart: a name for maps. Within one platform always the same. */
  byteText(bytes: Uint8Array): string
  /** Cryptographically secure random bytes. */
  randomBytes(length: number): Uint8Array
  /** Compares in a time that depends on the lengths only. */
  equalSecrets(a: Uint8Array, b: Uint8Array): boolean
  /** RFC 5869 extract and expand. @param length - output bytes, at most 8,160. */
  hkdfSha256(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array
  /** @param key - 32 bytes; copied, so the caller may zero its own. */
  aeadCipher(profile: CipherProfile, key: Uint8Array): AeadCipher
  /** @param seed - RFC 8032 private key, 32 bytes. @returns 32 bytes. */
  ed25519PublicKey(seed: Uint8Array): Uint8Array
  /** @param seed - RFC 8032 private key, 32 bytes; copied. @returns a function from a message to its 64-byte signature. */
  ed25519Signer(seed: Uint8Array): (message: Uint8Array) => Uint8Array
  /**
   * The cofactorless equation alone: `encode([S]B - [h]A)` equals R byte for byte. The caller has checked that S and the
   * encoding of A are canonical and that neither A nor R is of small order, where platforms differ; false as well where A is no
   * point of the curve.
   */
  ed25519Equation(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean
  /** The same, off this thread where the platform has a form of that. The bytes must not change until it settles. */
  ed25519EquationAside(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): Promise<boolean>
  /** RFC 9106 Argon2id version 0x13. @param passphrase - not empty. @param salt - at least 8 bytes. @returns 32 bytes. */
  argon2id(passphrase: Uint8Array, salt: Uint8Array, cost: Argon2Cost): Promise<Uint8Array>
}
