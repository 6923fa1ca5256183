import { describe, expect, test } from 'vitest'
import { ED25519_KEYS_CACHED_MAX } from '../../../src/core/limits.ts'
import * as browser from '../../../src/crypto/native/browser.ts'
import * as node from '../../../src/crypto/native/node.ts'
import type { CipherProfile, Native } from '../../../src/crypto/native/primitives.ts'
import { bytesOfHex, hexOf, loadVectors } from '../../vectors/load.ts'
import { seededBytes } from '../../vectors/seeded.ts'

interface Primitives {
  sha256: { message: string; digest: string }
  hkdfSha256: { secret: string; salt: string; info: string; output: string }
  aead: {
    source: string
    profile: CipherProfile
    key: string
    nonce: string
    aad: string
    plaintext: string
    sealed: string
  }[]
  ed25519: { source: string; seed: string; publicKey: string; message: string; signature: string }[]
}

const vectors = loadVectors<Primitives>('primitives')
const forms: [string, Native][] = [
  ['node', node],
  ['browser', browser],
]
const profiles: CipherProfile[] = ['aes-256-gcm', 'chacha20-poly1305']

test('both forms export the same names', () => {
  expect(Object.keys(browser).toSorted()).toEqual(Object.keys(node).toSorted())
})

describe.each(forms)('#native, %s form', (_name, native) => {
  test('SHA-256 is FIPS 180-2', () => {
    expect(hexOf(native.sha256(bytesOfHex(vectors.sha256.message)))).toBe(vectors.sha256.digest)
  })

  test('HKDF-SHA256 is RFC 5869', () => {
    const { secret, salt, info, output } = vectors.hkdfSha256
    const derived = native.hkdfSha256(bytesOfHex(secret), bytesOfHex(salt), bytesOfHex(info), output.length / 2)
    expect(hexOf(derived)).toBe(output)
  })

  test.each(vectors.aead)('$profile is $source', async ({ profile, key, nonce, aad, plaintext, sealed }) => {
    const cipher = native.aeadCipher(profile, bytesOfHex(key))
    const out = new Uint8Array(sealed.length / 2)
    await cipher.seal(bytesOfHex(nonce), bytesOfHex(plaintext), out, bytesOfHex(aad))
    expect(hexOf(out)).toBe(sealed)
    const back = new Uint8Array(plaintext.length / 2)
    expect(await cipher.open(bytesOfHex(nonce), out, back, bytesOfHex(aad))).toBe(true)
    expect(hexOf(back)).toBe(plaintext)
  })

  // 65,536 is the size of one update of the Node form; 1,048,577 needs a last update of one byte.
  test.each(
    profiles.flatMap((profile) => [0, 1, 65_535, 65_536, 65_537, 1_048_577].map((bytes) => ({ profile, bytes }))),
  )('$profile: $bytes bytes at odd offsets, sealed by the other form, open', async ({ profile, bytes }) => {
    const other = native === forms[0]?.[1] ? browser : node
    const key = seededBytes('key', 32)
    const nonce = seededBytes('nonce', 12)
    const plaintext = seededBytes('plaintext', bytes + 3).subarray(3)
    const sealed = new Uint8Array(bytes + 21).subarray(5)
    const opened = new Uint8Array(bytes + 7).subarray(7)
    await other.aeadCipher(profile, key).seal(nonce, plaintext, sealed)
    expect(await native.aeadCipher(profile, key).open(nonce, sealed, opened)).toBe(true)
    expect(native.equalSecrets(opened, plaintext)).toBe(true)
  })

  test.each(profiles)('%s: any altered input is refused, and what was decrypted is wiped', async (profile) => {
    const key = seededBytes('key', 32)
    const nonce = seededBytes('nonce', 12)
    const aad = seededBytes('aad', 9)
    const plaintext = seededBytes('plaintext', 100)
    const sealed = new Uint8Array(116)
    await native.aeadCipher(profile, key).seal(nonce, plaintext, sealed, aad)
    const altered = (bytes: Uint8Array): Uint8Array =>
      bytes.map((byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte))
    const attempts: [string, Uint8Array, Uint8Array, Uint8Array, Uint8Array][] = [
      ['key', altered(key), nonce, sealed, aad],
      ['nonce', key, altered(nonce), sealed, aad],
      ['tag', key, nonce, altered(sealed), aad],
      ['ciphertext', key, nonce, sealed.map((byte, i) => (i === 0 ? byte ^ 0x80 : byte)), aad],
      ['aad', key, nonce, sealed, altered(aad)],
      ['no aad', key, nonce, sealed, new Uint8Array(0)],
    ]
    for (const [what, k, n, s, a] of attempts) {
      const out = new Uint8Array(100).fill(7)
      expect(await native.aeadCipher(profile, k).open(n, s, out, a), what).toBe(false)
      expect(out, what).toEqual(new Uint8Array(100))
    }
  })

  test.each(profiles)('%s: a cipher keeps its key when the caller zeroes his', async (profile) => {
    const key = Buffer.from(seededBytes('key', 32))
    const cipher = native.aeadCipher(profile, key)
    key.fill(0)
    const sealed = new Uint8Array(17)
    await cipher.seal(seededBytes('nonce', 12), new Uint8Array(1), sealed)
    const opened = native.aeadCipher(profile, seededBytes('key', 32))
    expect(await opened.open(seededBytes('nonce', 12), sealed, new Uint8Array(1))).toBe(true)
  })

  test.each(vectors.ed25519)('Ed25519 is $source', ({ seed, publicKey, message, signature }) => {
    const mutableSeed = Buffer.from(seed, 'hex')
    const sign = native.ed25519Signer(mutableSeed)
    expect(hexOf(native.ed25519PublicKey(bytesOfHex(seed)))).toBe(publicKey)
    mutableSeed.fill(0)
    expect(hexOf(sign(bytesOfHex(message)))).toBe(signature)
    expect(native.ed25519Equation(bytesOfHex(publicKey), bytesOfHex(signature), bytesOfHex(message))).toBe(true)
  })

  test('random bytes have the length asked for, also above 64 KiB, and differ', () => {
    for (const length of [0, 1, 32, 65_536, 65_537, 200_000]) expect(native.randomBytes(length).length).toBe(length)
    expect(hexOf(native.randomBytes(32))).not.toBe(hexOf(native.randomBytes(32)))
    const tail = native.randomBytes(200_000).subarray(-1_000)
    expect(tail.some((byte) => byte !== 0)).toBe(true)
  })

  test('secrets are equal only with the same length and bytes', () => {
    const a = seededBytes('a', 32)
    expect(native.equalSecrets(a, Buffer.from(a))).toBe(true)
    expect(native.equalSecrets(a, a.subarray(0, 31))).toBe(false)
    for (const at of [0, 15, 31])
      expect(
        native.equalSecrets(
          a,
          a.map((byte, i) => (i === at ? byte ^ 1 : byte)),
        ),
      ).toBe(false)
    expect(native.equalSecrets(new Uint8Array(0), new Uint8Array(0))).toBe(true)
  })

  test('inputs are left as they were', async () => {
    const bytes = Buffer.from(seededBytes('input', 32))
    const before = hexOf(bytes)
    native.sha256(bytes)
    native.hkdfSha256(bytes, bytes, bytes, 32)
    native.ed25519Equation(native.ed25519PublicKey(bytes), native.ed25519Signer(bytes)(bytes), bytes)
    await native.argon2id(bytes, bytes, { memoryKib: 64, passes: 1, parallelism: 1 })
    expect(hexOf(bytes)).toBe(before)
  })
})

// OpenSSL and hash-wasm share no code.
test.each([
  { memoryKib: 8192, passes: 1, parallelism: 1 },
  { memoryKib: 8192, passes: 3, parallelism: 4 },
  { memoryKib: 1031, passes: 2, parallelism: 3 },
])('Argon2id of both forms agrees: $memoryKib KiB, $passes passes, $parallelism lanes', async (cost) => {
  const salt = seededBytes('salt', 16)
  for (const passphrase of [new Uint8Array(1), new TextEncoder().encode('Äpfel & Birnen')]) {
    expect(hexOf(await node.argon2id(passphrase, salt, cost))).toBe(
      hexOf(await browser.argon2id(passphrase, salt, cost)),
    )
  }
})

test('more signers than the key cache holds still verify, each under its own key only', () => {
  const message = new Uint8Array([1])
  const keys = Array.from({ length: 3 }, (_, i) => seededBytes(`signer ${i}`, 32))
  const signed = keys.map((seed) => ({
    key: node.ed25519PublicKey(seed),
    signature: node.ed25519Signer(seed)(message),
  }))
  const all = (): boolean[] =>
    signed.flatMap((a) => signed.map((b) => node.ed25519Equation(a.key, b.signature, message) === (a === b)))
  expect(all()).not.toContain(false)
  for (let i = 0; i <= ED25519_KEYS_CACHED_MAX; i++) {
    const stranger = new Uint8Array(32)
    new DataView(stranger.buffer).setUint32(0, i + 2)
    node.ed25519Equation(stranger, new Uint8Array(64), message)
  }
  expect(all()).not.toContain(false)
})
