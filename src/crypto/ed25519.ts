/**
 * Ed25519 with one strict verification rule, the same on every platform.
 *
 * RFC 8032 leaves room: libraries differ on S >= L, on encodings with y >= p, on points of small order, and on whether the
 * equation is multiplied by the cofactor 8. Peers that differ on one such signature would fork. The rule here:
 *
 * 1. the key is 32 bytes with y < p, the signature 64 bytes with S < L;
 * 2. neither the key nor R is one of the eight points of small order. For such a key one signature fits many messages; such an
 *    R no signer makes by the standard, and Node itself changed its verdict on it between releases (nodejs/node#64026);
 * 3. `encode([S]B - [SHA-512(R || A || M) mod L]A)` equals R byte for byte: without the cofactor, and R is never decoded, so
 *    only R's canonical encoding can match.
 *
 * 1 and 2 are byte comparisons made here, before any library sees the input; 3 is `#native`.
 *
 * @see docs/spec/signatures.md; RFC 8032 section 5.1; Chalkias et al., "Taming the many EdDSAs" (SSR 2020);
 *   test/vectors/ed25519.json
 */
import { ed25519Equation, ed25519EquationAside } from '#native'
import { fromString } from 'uint8arrays/from-string'

export const PUBLIC_KEY_BYTES = 32
export const SIGNATURE_BYTES = 64
const SCALAR_OFFSET = 32

const SIGN_BIT = 0x80
/** Little-endian: p = 2^255 - 19, and the order L of the base point. */
const P = bytesOf('edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f')
const L = bytesOf('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010')

/** y of the points of order 4, 1, 2, 8 and 8; each stands for both signs of x. */
const SMALL_ORDER_Y = [
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
].map(bytesOf)

/** Whether rule 1 and 2 allow these 32 bytes as a key; they may still be no point of the curve. */
export function keyEncodingAllowed(publicKey: Uint8Array): boolean {
  if (publicKey.length !== PUBLIC_KEY_BYTES) return false
  const y = withoutSign(publicKey)
  return lessThan(y, P) && !isSmallOrder(y)
}

/** Verifies under the one strict rule. Never throws: whatever the bytes, the answer is yes or no. */
export function verifyStrict(publicKey: Uint8Array, signature: Uint8Array, message: Uint8Array): boolean {
  return encodingsAllowed(publicKey, signature) && ed25519Equation(publicKey, signature, message)
}

/** The same verdict, found off this thread where the platform can. The bytes must not change until it settles. */
export async function verifyStrictAside(
  publicKey: Uint8Array,
  signature: Uint8Array,
  message: Uint8Array,
): Promise<boolean> {
  return encodingsAllowed(publicKey, signature) && ed25519EquationAside(publicKey, signature, message)
}

/** Rule 1 and 2. */
function encodingsAllowed(publicKey: Uint8Array, signature: Uint8Array): boolean {
  if (signature.length !== SIGNATURE_BYTES || !lessThan(signature.subarray(SCALAR_OFFSET), L)) return false
  return !isSmallOrder(withoutSign(signature.subarray(0, SCALAR_OFFSET))) && keyEncodingAllowed(publicKey)
}

/** y of an encoded point. */
function withoutSign(encoded: Uint8Array): Uint8Array {
  // Not slice(): a Buffer's slice is a view of the same memory.
  const y = new Uint8Array(encoded)
  y[PUBLIC_KEY_BYTES - 1] = (y[PUBLIC_KEY_BYTES - 1] ?? 0) & ~SIGN_BIT
  return y
}

function isSmallOrder(y: Uint8Array): boolean {
  return SMALL_ORDER_Y.some((small) => compare(small, y) === 0)
}

function lessThan(a: Uint8Array, b: Uint8Array): boolean {
  return compare(a, b) < 0
}

/** Compares two little-endian numbers of equal length. Public data only: the time depends on the bytes. */
function compare(a: Uint8Array, b: Uint8Array): number {
  for (let i = a.length - 1; i >= 0; i--) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

function bytesOf(hex: string): Uint8Array {
  return fromString(hex, 'base16')
}
