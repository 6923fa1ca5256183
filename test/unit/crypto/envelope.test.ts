import { createHash } from 'node:crypto'
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256, type KemInterface } from '@hpke/core'
import { XWing } from '@hpke/hybridkem-x-wing'
import { KEM_MLKEM768_X25519 } from 'hpke'
import { concat } from 'uint8arrays/concat'
import { describe, expect, test } from 'vitest'
import {
  encryptionPublicKey,
  generateEncryptionKey,
  unwrapKey,
  WRAP_LENGTHS,
  type WrappedKey,
  type WrapProfile,
  wrapKey,
  wrappedKey,
} from '../../../src/crypto/envelope.ts'
import { bytesOfHex, hexOf, loadVectors } from '../../vectors/load.ts'
import { seededBytes } from '../../vectors/seeded.ts'
import { faultOf } from './faults.ts'

interface EnvelopeVector {
  wrap: WrapProfile
  privateKey: string
  publicKey: string
  context: string
  secret: string
  enc: string
  sealed: string
}
interface XWingVector {
  seed: string
  encapsulationSeed: string
  publicKeySha256: string
  ciphertextSha256: string
  sharedSecret: string
}

const wraps: WrapProfile[] = ['x-wing', 'x25519']
const SECRET = seededBytes('secret', 32)
const CONTEXT = seededBytes('context', 11)
const owned = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer
const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')
const infoOf = (context: Uint8Array): ArrayBuffer =>
  owned(concat([new TextEncoder().encode('apotheca/envelope/1'), context]))

/** The second library: @hpke/core, which shares no code with `hpke`. */
function second(wrap: WrapProfile): CipherSuite {
  const kem: KemInterface = wrap === 'x-wing' ? new XWing() : new DhkemX25519HkdfSha256()
  return new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() })
}

describe.each(wraps)('envelopes, %s', (wrap) => {
  const notForKey = { code: 'ENVELOPE_NOT_FOR_KEY', wrap }

  test('a wrapped secret comes back, and has the lengths of its profile', async () => {
    const key = await generateEncryptionKey(wrap)
    const wrapped = await wrapKey(key, SECRET, CONTEXT)
    expect(hexOf(await unwrapKey(key, wrapped, CONTEXT))).toBe(hexOf(SECRET))
    expect(key.privateKey.length).toBe(32)
    expect(key.publicKey.length).toBe(WRAP_LENGTHS[wrap].publicKeyBytes)
    expect(wrapped.enc.length).toBe(WRAP_LENGTHS[wrap].encBytes)
    expect(wrapped.sealed.length).toBe(48)
    expect(wrappedKey({ ...wrapped }, 'w')).toEqual(wrapped)
    expect(encryptionPublicKey({ wrap, publicKey: key.publicKey }, 'k')).toEqual({ wrap, publicKey: key.publicKey })
  })

  test('an envelope pinned from the second library opens', async () => {
    const { cases } = loadVectors<{ cases: EnvelopeVector[] }>('envelope')
    const vector = cases.find((one) => one.wrap === wrap)
    if (vector === undefined) throw new Error(`no vector for ${wrap}`)
    const wrapped = { wrap, enc: bytesOfHex(vector.enc), sealed: bytesOfHex(vector.sealed) }
    const key = { wrap, privateKey: bytesOfHex(vector.privateKey) }
    expect(hexOf(await unwrapKey(key, wrapped, bytesOfHex(vector.context)))).toBe(vector.secret)
  })

  test('the second library opens what we wrap', async () => {
    const key = await generateEncryptionKey(wrap)
    const wrapped = await wrapKey(key, SECRET, CONTEXT)
    const suite = second(wrap)
    const recipientKey = await suite.kem.deserializePrivateKey(owned(key.privateKey))
    const recipient = await suite.createRecipientContext({
      recipientKey,
      enc: owned(wrapped.enc),
      info: infoOf(CONTEXT),
    })
    expect(hexOf(new Uint8Array(await recipient.open(owned(wrapped.sealed))))).toBe(hexOf(SECRET))
  })

  test('we open what the second library wraps to our key', async () => {
    const key = await generateEncryptionKey(wrap)
    const suite = second(wrap)
    const recipientPublicKey = await suite.kem.deserializePublicKey(owned(key.publicKey))
    const sender = await suite.createSenderContext({ recipientPublicKey, info: infoOf(CONTEXT) })
    const sealed = new Uint8Array(await sender.seal(owned(SECRET)))
    const wrapped = { wrap, enc: new Uint8Array(sender.enc), sealed }
    expect(hexOf(await unwrapKey(key, wrapped, CONTEXT))).toBe(hexOf(SECRET))
  })

  test('another key, context, profile, or altered bytes: one fault for all', async () => {
    const key = await generateEncryptionKey(wrap)
    const wrapped = await wrapKey(key, SECRET, CONTEXT)
    const flipped = (bytes: Uint8Array, at: number): Uint8Array => bytes.map((byte, i) => (i === at ? byte ^ 1 : byte))
    const otherWrap: WrapProfile = wrap === 'x-wing' ? 'x25519' : 'x-wing'
    const bad: WrappedKey[] = [
      { ...wrapped, enc: flipped(wrapped.enc, 0) },
      { ...wrapped, enc: flipped(wrapped.enc, wrapped.enc.length - 2) },
      { ...wrapped, enc: wrapped.enc.subarray(1) },
      { ...wrapped, enc: new Uint8Array(wrapped.enc.length) },
      { ...wrapped, sealed: flipped(wrapped.sealed, 0) },
      { ...wrapped, sealed: flipped(wrapped.sealed, 47) },
      { ...wrapped, sealed: wrapped.sealed.subarray(0, 15) },
      { ...wrapped, wrap: otherWrap },
    ]
    for (const one of bad) expect(await faultOf(() => unwrapKey(key, one, CONTEXT))).toEqual(notForKey)
    const stranger = await generateEncryptionKey(wrap)
    expect(await faultOf(() => unwrapKey(stranger, wrapped, CONTEXT))).toEqual(notForKey)
    expect(await faultOf(() => unwrapKey(key, wrapped, seededBytes('elsewhere', 11)))).toEqual(notForKey)
    expect(await faultOf(() => unwrapKey(key, wrapped, new Uint8Array(0)))).toEqual(notForKey)
    const short = { wrap, privateKey: key.privateKey.subarray(1) }
    expect(await faultOf(() => unwrapKey(short, wrapped, CONTEXT))).toEqual(notForKey)
  })

  test('the envelopes of two keys, swapped, don’t open', async () => {
    const [alice, bob] = [await generateEncryptionKey(wrap), await generateEncryptionKey(wrap)]
    const toAlice = await wrapKey(alice, SECRET, CONTEXT)
    const toBob = await wrapKey(bob, SECRET, CONTEXT)
    expect(await faultOf(() => unwrapKey(alice, toBob, CONTEXT))).toEqual(notForKey)
    expect(await faultOf(() => unwrapKey(bob, { ...toBob, enc: toAlice.enc }, CONTEXT))).toEqual(notForKey)
  })

  test('an unusable recipient key and a secret of another length are refused', async () => {
    const key = await generateEncryptionKey(wrap)
    const keyFault = { code: 'ENVELOPE_KEY_INVALID', wrap }
    const wrapTo = (publicKey: Uint8Array) => faultOf(() => wrapKey({ wrap, publicKey }, SECRET, CONTEXT))
    expect(await wrapTo(key.publicKey.subarray(1))).toEqual(keyFault)
    expect(await wrapTo(new Uint8Array(0))).toEqual(keyFault)
    // X25519 of zeros is a point of small order (also in the last 32 bytes of X-Wing): its shared secret is known to all.
    expect(await wrapTo(new Uint8Array(key.publicKey.length).fill(0xff, 0, key.publicKey.length - 32))).toEqual(
      keyFault,
    )
    for (const bytes of [0, 31, 33]) {
      const fault = { code: 'ENVELOPE_SECRET_LENGTH', bytes, expectedBytes: 32 }
      expect(await faultOf(() => wrapKey(key, new Uint8Array(bytes), CONTEXT))).toEqual(fault)
    }
  })

  test('two envelopes of the same secret have nothing in common', async () => {
    const key = await generateEncryptionKey(wrap)
    const [a, b] = [await wrapKey(key, SECRET, CONTEXT), await wrapKey(key, SECRET, CONTEXT)]
    expect(hexOf(a.enc)).not.toBe(hexOf(b.enc))
    expect(hexOf(a.sealed)).not.toBe(hexOf(b.sealed))
  })
})

describe('X-Wing is its specification’s', () => {
  const { cases } = loadVectors<{ cases: XWingVector[] }>('x-wing')

  test.each(cases)('seed $seed: public key, ciphertext and shared secret, in both libraries', async (vector) => {
    const other = new XWing()
    const pair = await other.generateKeyPairDerand(bytesOfHex(vector.seed))
    const publicKey = new Uint8Array(await other.serializePublicKey(pair.publicKey))
    const ekm = owned(bytesOfHex(vector.encapsulationSeed))
    const { sharedSecret, enc } = await other.encap({ recipientPublicKey: pair.publicKey, ekm })
    expect(sha256Hex(publicKey)).toBe(vector.publicKeySha256)
    expect(sha256Hex(new Uint8Array(enc))).toBe(vector.ciphertextSha256)
    expect(hexOf(new Uint8Array(sharedSecret))).toBe(vector.sharedSecret)

    // The library we use derives the key from the same seed, and decapsulates the published ciphertext.
    const kem = KEM_MLKEM768_X25519()
    const privateKey = await kem.DeserializePrivateKey(bytesOfHex(vector.seed), true)
    expect(hexOf(await kem.Decap(new Uint8Array(enc), privateKey, undefined))).toBe(vector.sharedSecret)
  })

  test('an envelope to a published key opens under its published seed', async () => {
    const seed = bytesOfHex(cases[0]?.seed ?? '')
    const other = new XWing()
    const pair = await other.generateKeyPairDerand(seed)
    const publicKey = new Uint8Array(await other.serializePublicKey(pair.publicKey))
    const wrapped = await wrapKey({ wrap: 'x-wing', publicKey }, SECRET, CONTEXT)
    expect(hexOf(await unwrapKey({ wrap: 'x-wing', privateKey: seed }, wrapped, CONTEXT))).toBe(hexOf(SECRET))
  })
})

test('a decoded envelope or public key has exactly its profile’s lengths and no other field', async () => {
  const sealed = new Uint8Array(48)
  const shape = { code: 'CODEC_SHAPE' }
  const bad: unknown[] = [
    { wrap: 'x-wing', enc: new Uint8Array(32), sealed },
    { wrap: 'x25519', enc: new Uint8Array(1120), sealed },
    { wrap: 'x25519', enc: new Uint8Array(32), sealed: new Uint8Array(47) },
    { wrap: 'des', enc: new Uint8Array(32), sealed },
    { wrap: 'x25519', enc: new Uint8Array(32), sealed, extra: 1 },
    { wrap: 'x25519', enc: new Uint8Array(32) },
    null,
  ]
  for (const one of bad) expect(await faultOf(() => wrappedKey(one, 'w'))).toMatchObject(shape)
  for (const one of [
    { wrap: 'x-wing', publicKey: new Uint8Array(32) },
    { wrap: 'x25519', publicKey: new Uint8Array(1216) },
    { wrap: 'x25519', publicKey: 'AAAA' },
  ]) {
    expect(await faultOf(() => encryptionPublicKey(one, 'k'))).toMatchObject(shape)
  }
})
