/** What holds for signatures on either form of `#native`; run by node-form.test.ts and browser-form.test.ts. */
import { ed25519 } from '@noble/curves/ed25519.js'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChainId } from '../../../../src/core/ids.ts'
import { keyEncodingAllowed, verifyStrict, verifyStrictAside } from '../../../../src/crypto/ed25519.ts'
import {
  checkPublicKey,
  generateSigningKey,
  type MessageType,
  signedBytes,
  signMessage,
  type SignatureCheck,
  softwareSigner,
  verifyMany,
  verifyMessage,
} from '../../../../src/crypto/signatures.ts'
import { bytesOfHex, hexOf, loadVectors } from '../../../vectors/load.ts'
import { faultOf } from '../faults.ts'

interface EdgeCase {
  name: string
  publicKey: string
  signature: string
  message: string
  valid: boolean
  validUnderZip215: boolean
}

const { cases } = loadVectors<{ cases: EdgeCase[] }>('ed25519')
const CHAIN = 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy' as ChainId
const OTHER_CHAIN = 'bafyreidykglsfhoixmivffc5uwhcgshx4j465xwqntbmu43nb2dzqwfvae' as ChainId

export function signaturesSuite(form: string): void {
  describe(`signatures, ${form} form`, () => {
    test.each(cases)('the strict rule says $valid to: $name', async ({ publicKey, signature, message, valid }) => {
      const given = [bytesOfHex(publicKey), bytesOfHex(signature), bytesOfHex(message)] as const
      expect(verifyStrict(...given)).toBe(valid)
      expect(await verifyStrictAside(...given)).toBe(valid)
    })

    test('the edge cases have teeth: a cofactored, lenient verifier accepts most that the strict rule refuses', () => {
      const told = cases.filter((one) => one.validUnderZip215 && !one.valid)
      expect(told.length).toBeGreaterThanOrEqual(12)
      for (const { publicKey, signature, message, validUnderZip215 } of cases) {
        const lenient = ed25519.verify(bytesOfHex(signature), bytesOfHex(message), bytesOfHex(publicKey), {
          zip215: true,
        })
        expect(lenient).toBe(validUnderZip215)
      }
    })

    test('each point of small order is refused as a key, under either sign', () => {
      let point = ed25519.Point.ZERO
      const eighth = ed25519.Point.fromHex('26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05')
      const seen = new Set<string>()
      for (let i = 0; i < 8; i++, point = point.add(eighth)) {
        const encoded = point.toBytes()
        seen.add(hexOf(encoded))
        expect(keyEncodingAllowed(encoded)).toBe(false)
        expect(keyEncodingAllowed(encoded.map((byte, at) => (at === 31 ? byte ^ 0x80 : byte)))).toBe(false)
      }
      expect(seen.size).toBe(8)
    })

    test('a key with y >= p is refused, all nineteen of them, and y = p - 2 is not', () => {
      const p = bytesOfHex('edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f')
      for (let above = 0; above < 19; above++) {
        expect(keyEncodingAllowed(p.map((byte, at) => (at === 0 ? byte + above : byte)))).toBe(false)
      }
      expect(keyEncodingAllowed(p.map((byte, at) => (at === 0 ? byte - 2 : byte)))).toBe(true)
    })

    test('a signature verifies for its message, type and chain, and for no other', async () => {
      const key = generateSigningKey()
      const signer = softwareSigner(key.privateKey)
      const message = new Uint8Array([1, 2, 3])
      const signature = await signMessage(signer, 'notarize', CHAIN, message)
      const other = generateSigningKey().publicKey
      expect(hexOf(signer.publicKey)).toBe(hexOf(key.publicKey))
      expect(verifyMessage(key.publicKey, signature, 'notarize', CHAIN, message)).toBe(true)
      expect(verifyMessage(key.publicKey, signature, 'finalize', CHAIN, message)).toBe(false)
      expect(verifyMessage(key.publicKey, signature, 'notarize', OTHER_CHAIN, message)).toBe(false)
      expect(verifyMessage(key.publicKey, signature, 'notarize', CHAIN, new Uint8Array([1, 2]))).toBe(false)
      expect(verifyMessage(other, signature, 'notarize', CHAIN, message)).toBe(false)
    })

    test('the signed bytes are pinned', () => {
      const text = `apotheca/tx/1${CHAIN}`
      expect(hexOf(signedBytes('tx', CHAIN, new Uint8Array([0xff])))).toBe(`${hexOf(new TextEncoder().encode(text))}ff`)
    })

    test('one flipped bit anywhere in key, signature or message is refused', async () => {
      const key = generateSigningKey()
      const message = new Uint8Array(20)
      const type: MessageType = 'tx'
      const signature = await signMessage(softwareSigner(key.privateKey), type, CHAIN, message)
      const flip = (bytes: Uint8Array, bit: number): Uint8Array =>
        bytes.map((byte, at) => (at === bit >> 3 ? byte ^ (1 << (bit & 7)) : byte))
      for (let bit = 0; bit < 512; bit += 7) {
        expect(verifyMessage(key.publicKey, flip(signature, bit), type, CHAIN, message)).toBe(false)
        expect(verifyMessage(flip(key.publicKey, bit % 256), signature, type, CHAIN, message)).toBe(false)
        expect(verifyMessage(key.publicKey, signature, type, CHAIN, flip(message, bit % 160))).toBe(false)
      }
    })

    test('many signatures at once get the verdicts of one at a time, in order', async () => {
      const keys = [generateSigningKey(), generateSigningKey()]
      const types: MessageType[] = ['notarize', 'finalize']
      const items: SignatureCheck[] = []
      for (let i = 0; i < 40; i++) {
        const [key, type, other] = [keys[i % 2], types[i % 2], types[(i >> 1) % 2]]
        if (key === undefined || type === undefined || other === undefined) throw new Error('unreachable')
        const message = Uint8Array.of(i)
        const signature = await signMessage(softwareSigner(key.privateKey), other, CHAIN, message)
        const cut = i % 7 === 3 ? signature.subarray(1) : signature
        items.push({ publicKey: key.publicKey, signature: cut, type, chain: CHAIN, message })
      }
      const expected = items.map((one) => verifyMessage(one.publicKey, one.signature, one.type, one.chain, one.message))
      expect(await verifyMany(items)).toEqual(expected)
      expect(expected.filter((valid) => valid).length).toBeGreaterThan(10)
      expect(expected.filter((valid) => !valid).length).toBeGreaterThan(10)
      expect(await verifyMany([])).toEqual([])
    })

    test('verification answers no, and never throws, whatever the bytes', () => {
      const bytes = (length: number) => fc.uint8Array({ minLength: 0, maxLength: length })
      fc.assert(
        fc.property(bytes(40), bytes(70), bytes(10), (publicKey, signature, message) => {
          expect(verifyMessage(publicKey, signature, 'tx', CHAIN, message)).toBe(false)
        }),
        { numRuns: 300 },
      )
      fc.assert(
        fc.property(
          fc.uint8Array({ minLength: 32, maxLength: 32 }),
          fc.uint8Array({ minLength: 64, maxLength: 64 }),
          // The top four bits of S are clear, so that the equation is reached.
          (publicKey, signature) => {
            signature[63] = (signature[63] ?? 0) & 0x0f
            expect(verifyStrict(publicKey, signature, new Uint8Array(1))).toBe(false)
          },
        ),
        { numRuns: 100 },
      )
    })

    test('neither a signer nor a verification changes the Buffer it was given', async () => {
      const key = generateSigningKey()
      const seed = Buffer.from(key.privateKey)
      const publicKey = Buffer.from(key.publicKey)
      publicKey[31] = (publicKey[31] ?? 0) | 0x80
      const before = publicKey.toString('hex')
      const signer = softwareSigner(seed)
      seed.fill(0)
      const signature = Buffer.from(await signMessage(signer, 'tx', CHAIN, new Uint8Array(1)))
      verifyStrict(publicKey, signature, new Uint8Array(1))
      expect(publicKey.toString('hex')).toBe(before)
      expect(verifyMessage(key.publicKey, signature, 'tx', CHAIN, new Uint8Array(1))).toBe(true)
    })

    test('a public key of wrong length, encoding, order or off the curve is named as such', async () => {
      const reasonOf = (bytes: Uint8Array) => faultOf(() => checkPublicKey(bytes))
      const invalid = (reason: string) => ({ code: 'SIGNATURE_KEY_INVALID', reason })
      const two = new Uint8Array(32)
      two[0] = 2
      expect(await reasonOf(new Uint8Array(31))).toEqual(invalid('length'))
      expect(await reasonOf(new Uint8Array(33))).toEqual(invalid('length'))
      expect(await reasonOf(new Uint8Array(32))).toEqual(invalid('encoding-or-small-order'))
      expect(await reasonOf(new Uint8Array(32).fill(0xff))).toEqual(invalid('encoding-or-small-order'))
      expect(await reasonOf(two)).toEqual(invalid('not-on-curve'))
      expect(() => checkPublicKey(generateSigningKey().publicKey)).not.toThrow()
    })

    test('a seed of another length is refused', async () => {
      const fault = { code: 'SIGNATURE_SEED_INVALID', bytes: 64, expectedBytes: 32 }
      expect(await faultOf(() => softwareSigner(new Uint8Array(64)))).toEqual(fault)
    })
  })
}
