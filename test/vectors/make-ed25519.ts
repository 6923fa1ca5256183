/**
 * Makes ed25519.json: `node test/vectors/make-ed25519.ts > test/vectors/ed25519.json`.
 *
 * Signatures at every edge where Ed25519 libraries are known to differ, after the cases of "Taming the many EdDSAs" (Chalkias,
 * Garillot, Nikolaenko, SSR 2020), built here with point arithmetic from a fixed seed. Each case says what the strict rule
 * answers, and what a cofactored verifier that decodes leniently (ZIP 215) answers: where the two differ, the case has teeth.
 */
import { ed25519 } from '@noble/curves/ed25519.js'
import { bytesToNumberLE, numberToBytesLE } from '@noble/curves/utils.js'
import { sha512 } from '@noble/hashes/sha2.js'
import { concat } from 'uint8arrays/concat'
import { toString as textOf } from 'uint8arrays/to-string'
import { seededBytes } from './seeded.ts'

const { Point } = ed25519
const { ORDER } = Point.Fn
const P = Point.Fp.ORDER
/** A point of order 8: y is one of the two roots that the curve's order-8 points share. */
const EIGHTH = Point.fromBytes(hexBytes('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05'))
const SECRET = bytesToNumberLE(seededBytes('apotheca ed25519 edge cases: key', 64)) % ORDER
const NONCE = bytesToNumberLE(seededBytes('apotheca ed25519 edge cases: nonce', 64)) % ORDER

interface Case {
  readonly name: string
  readonly publicKey: Uint8Array
  readonly signature: Uint8Array
  readonly message: Uint8Array
  readonly valid: boolean
}

function hexBytes(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}

function challenge(r: Uint8Array, a: Uint8Array, message: Uint8Array): bigint {
  return bytesToNumberLE(sha512(concat([r, a, message]))) % ORDER
}

function signatureOf(r: Uint8Array, s: bigint): Uint8Array {
  return concat([r, numberToBytesLE(s, 32)])
}

/** Messages `edge case 0`, `edge case 1`, ... until the challenge suits. */
function messageWhere(r: Uint8Array, a: Uint8Array, suits: (h: bigint) => boolean): Uint8Array {
  for (let i = 0; ; i++) {
    const message = new TextEncoder().encode(`edge case ${i}`)
    if (suits(challenge(r, a, message))) return message
  }
}

/** y + p, where that still fits 255 bits: a second encoding that a lenient decoder takes for the same point. */
function nonCanonical(y: bigint, sign: boolean): Uint8Array {
  const bytes = numberToBytesLE(y + P, 32)
  if (sign) bytes[31] = (bytes[31] ?? 0) | 0x80
  return bytes
}

/** S for R = [nonce]B (+ torsion) and A = [secret]B (+ torsion): right in the subgroup of prime order. */
function scalar(r: Uint8Array, a: Uint8Array, message: Uint8Array, nonce: bigint): bigint {
  return (nonce + challenge(r, a, message) * SECRET) % ORDER
}

function cases(): Case[] {
  const a = Point.BASE.multiply(SECRET)
  const key = a.toBytes()
  const mixed = a.add(EIGHTH)
  const mixedKey = mixed.toBytes()
  const r = Point.BASE.multiply(NONCE).toBytes()
  const mixedR = Point.BASE.multiply(NONCE).add(EIGHTH).toBytes()
  const zero = Point.ZERO.toBytes()
  const eighth = EIGHTH.toBytes()
  const anything = () => true
  const made: Case[] = []
  const add = (
    name: string,
    valid: boolean,
    publicKey: Uint8Array,
    signature: Uint8Array,
    message: Uint8Array,
  ): void => {
    made.push({ name, publicKey, signature, message, valid })
  }
  const plain = messageWhere(r, key, anything)
  const plainS = scalar(r, key, plain, NONCE)

  add('an ordinary signature', true, key, signatureOf(r, plainS), plain)
  add('an ordinary signature of another message', false, key, signatureOf(r, plainS), concat([plain, plain]))

  // The key is of small order: h vanishes or is absorbed, and one signature fits every message or an eighth of them.
  const forAll = messageWhere(zero, zero, anything)
  add('key is the neutral point, R too, S = 0', false, zero, signatureOf(zero, 0n), forAll)
  const onEight = messageWhere(zero, eighth, (h) => h % 8n === 0n)
  add('key of order 8, R neutral, S = 0, h divisible by 8', false, eighth, signatureOf(zero, 0n), onEight)
  const smallA = messageWhere(r, eighth, (h) => h % 8n === 0n)
  add('key of order 8, R of large order, h divisible by 8', false, eighth, signatureOf(r, NONCE), smallA)
  const smallAOnly8 = messageWhere(r, eighth, (h) => h % 8n !== 0n)
  add('key of order 8, right only with the cofactor', false, eighth, signatureOf(r, NONCE), smallAOnly8)

  // The key has a part of small order beside its large one: allowed, and the equation decides without the cofactor.
  const absorbed = messageWhere(r, mixedKey, (h) => h % 8n === 0n)
  add(
    'key of mixed order, h divisible by 8: right without the cofactor too',
    true,
    mixedKey,
    signatureOf(r, scalar(r, mixedKey, absorbed, NONCE)),
    absorbed,
  )
  const only8 = messageWhere(r, mixedKey, (h) => h % 8n !== 0n)
  add(
    'key of mixed order, right only with the cofactor',
    false,
    mixedKey,
    signatureOf(r, scalar(r, mixedKey, only8, NONCE)),
    only8,
  )
  // R takes up the torsion that h leaves in [h]A: [h]T + T_R = 0.
  const balanced = messageWhere(mixedR, mixedKey, (h) => h % 8n === 7n)
  add(
    'key and R of mixed order that cancel: right without the cofactor too',
    true,
    mixedKey,
    signatureOf(mixedR, scalar(mixedR, mixedKey, balanced, NONCE)),
    balanced,
  )
  const unbalanced = messageWhere(mixedR, mixedKey, (h) => h % 8n !== 7n)
  add(
    'key and R of mixed order, right only with the cofactor',
    false,
    mixedKey,
    signatureOf(mixedR, scalar(mixedR, mixedKey, unbalanced, NONCE)),
    unbalanced,
  )
  const mixedROnly = messageWhere(mixedR, key, anything)
  add(
    'R of mixed order under an ordinary key, right only with the cofactor',
    false,
    key,
    signatureOf(mixedR, scalar(mixedR, key, mixedROnly, NONCE)),
    mixedROnly,
  )

  // R of small order: the equation holds, and Node's own verdict depends on its release.
  const neutralR = messageWhere(zero, key, anything)
  add('R neutral, without the cofactor', false, key, signatureOf(zero, scalar(zero, key, neutralR, 0n)), neutralR)
  const eighthR = messageWhere(eighth, mixedKey, (h) => h % 8n === 7n)
  add(
    'R of order 8, balanced by a key of mixed order, without the cofactor',
    false,
    mixedKey,
    signatureOf(eighth, scalar(eighth, mixedKey, eighthR, 0n)),
    eighthR,
  )
  const strangeR = nonCanonical(1n, false)
  const strangeRMessage = messageWhere(strangeR, key, anything)
  const strangeRS = scalar(strangeR, key, strangeRMessage, 0n)
  add('R neutral, encoded with y = p + 1', false, key, signatureOf(strangeR, strangeRS), strangeRMessage)
  const signedR = new Uint8Array(zero)
  signedR[31] = 0x80
  const signedRMessage = messageWhere(signedR, key, anything)
  const signedRS = scalar(signedR, key, signedRMessage, 0n)
  add('R neutral, encoded with the sign of x = 0 set', false, key, signatureOf(signedR, signedRS), signedRMessage)

  // S is only right modulo L: a second signature for the same message.
  add('S + L', false, key, signatureOf(r, plainS + ORDER), plain)
  const far = plainS + ORDER * ((2n ** 256n - 1n - plainS) / ORDER)
  add('S far above L, in all 256 bits', false, key, signatureOf(r, far), plain)

  // Second encodings of keys. Only points of small order have them and a known logarithm.
  const p0 = nonCanonical(0n, false)
  const p0Message = messageWhere(zero, p0, (h) => h % 4n === 0n)
  add('key of order 4, encoded with y = p', false, p0, signatureOf(zero, 0n), p0Message)
  const p1 = nonCanonical(1n, true)
  add(
    'key neutral, encoded with y = p + 1 and the sign set',
    false,
    p1,
    signatureOf(zero, 0n),
    messageWhere(zero, p1, anything),
  )
  const minusOne = numberToBytesLE(P - 1n, 32)
  minusOne[31] = (minusOne[31] ?? 0) | 0x80
  const evenH = messageWhere(zero, minusOne, (h) => h % 2n === 0n)
  add('key of order 2, with the sign of x = 0 set', false, minusOne, signatureOf(zero, 0n), evenH)

  const offCurve = numberToBytesLE(2n, 32)
  add('key is no point of the curve', false, offCurve, signatureOf(r, plainS), plain)
  return made
}

const hex = (bytes: Uint8Array): string => textOf(bytes, 'base16')

const vectors = cases().map(({ name, publicKey, signature, message, valid }) => ({
  name,
  publicKey: hex(publicKey),
  signature: hex(signature),
  message: hex(message),
  valid,
  validUnderZip215: ed25519.verify(signature, message, publicKey, { zip215: true }),
}))
console.log(JSON.stringify({ source: 'test/vectors/make-ed25519.ts', cases: vectors }, undefined, 2))
