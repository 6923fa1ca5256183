/** What holds for keystores on either form of `#native`; run by node-form.test.ts and browser-form.test.ts. */
import { createHash } from 'node:crypto'
import { encode } from '@ipld/dag-cbor'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import { KEYSTORE_BYTES_MAX, KEYSTORE_KEYS_MAX } from '../../../../src/core/limits.ts'
import {
  type KeystoreKey,
  type KeyType,
  openKeystore,
  readKeystorePublic,
  sealKeystore,
} from '../../../../src/crypto/keystore.ts'
import type { Argon2Cost } from '../../../../src/crypto/native/primitives.ts'
import { bytesOfHex, hexOf, loadVectors } from '../../../vectors/load.ts'
import { seededBytes } from '../../../vectors/seeded.ts'
import { faultOf } from '../faults.ts'

interface KeystoreVector {
  passphrase: string
  keys: { name: string; type: KeyType; publicKey: string; privateKey: string }[]
  file: string
}
/** A keystore file's own shape, for tampering with it. */
interface FileJson {
  version: number
  kdf: Argon2Cost & { salt: string }
  keys: { name: string; type: string; publicKey: string }[]
  sealed: string
  check: string
}

const vector = loadVectors<KeystoreVector>('keystore')
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const PASSPHRASE = utf8('a passphrase')
const CHEAP: Argon2Cost = { memoryKib: 8192, passes: 1, parallelism: 1 }
const LENGTHS = { ed25519: 32, 'x-wing': 1216, x25519: 32 } as const
const DAMAGED = { code: 'KEYSTORE_DAMAGED' }
const WRONG = { code: 'KEYSTORE_WRONG_PASSPHRASE' }

function keyNamed(name: string, type: KeyType = 'ed25519'): KeystoreKey {
  return {
    name,
    type,
    publicKey: seededBytes(`public ${name}`, LENGTHS[type]).slice(),
    privateKey: seededBytes(`private ${name}`, 32).slice(),
  }
}

/** The file with a change, and a `check` that fits the change: what an attacker would write. */
function forged(file: Uint8Array, change: (json: FileJson) => void): Uint8Array {
  const json = JSON.parse(new TextDecoder().decode(file)) as FileJson & Record<string, unknown>
  change(json)
  const raw = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, 'base64'))
  const { check: _old, ...rest } = json
  const cipher = rest['cipher'] as { nonce: string }
  const covered = {
    ...rest,
    kdf: { ...json.kdf, salt: raw(json.kdf.salt) },
    cipher: { ...cipher, nonce: raw(cipher.nonce) },
    keys: json.keys.map((key) => ({ ...key, publicKey: raw(key.publicKey) })),
    sealed: raw(json.sealed),
  }
  json.check = createHash('sha256').update(encode(covered)).digest('base64')
  return utf8(JSON.stringify(json))
}

export function keystoreSuite(form: string): void {
  describe(`keystores, ${form} form`, () => {
    const keys = [keyNamed('signing'), keyNamed('reading', 'x-wing'), keyNamed('old', 'x25519')]
    let file: Uint8Array
    beforeAll(async () => {
      file = await sealKeystore(keys, PASSPHRASE, { cost: CHEAP })
    })

    test('the pinned keystore opens, at the default cost', async () => {
      const opened = await openKeystore(utf8(vector.file), utf8(vector.passphrase))
      const shown = opened.map((key) => ({
        ...key,
        publicKey: hexOf(key.publicKey),
        privateKey: hexOf(key.privateKey),
      }))
      expect(shown).toEqual(vector.keys)
      expect(JSON.parse(vector.file)).toMatchObject({ kdf: { memoryKib: 65_536, passes: 3, parallelism: 4 } })
    })

    test('keys come back as they were, in order, and their public part without the passphrase', async () => {
      expect(await openKeystore(file, PASSPHRASE)).toEqual(keys)
      expect(readKeystorePublic(file)).toEqual(keys.map(({ name, type, publicKey }) => ({ name, type, publicKey })))
    })

    test('a keystore without keys, and one as full as it may be', async () => {
      const most = Array.from({ length: KEYSTORE_KEYS_MAX }, (_, i) => keyNamed(`key-${i}`, 'x-wing'))
      for (const some of [[], most]) {
        const bytes = await sealKeystore(some, PASSPHRASE, { cost: CHEAP })
        expect(bytes.length).toBeLessThan(KEYSTORE_BYTES_MAX)
        expect(await openKeystore(bytes, PASSPHRASE)).toEqual(some)
      }
      const fault = { code: 'KEYSTORE_TOO_MANY_KEYS', keys: KEYSTORE_KEYS_MAX + 1, keysMax: KEYSTORE_KEYS_MAX }
      expect(await faultOf(() => sealKeystore([...most, keyNamed('more')], PASSPHRASE))).toEqual(fault)
    })

    test('no private key and no passphrase is in the file, in any spelling', () => {
      const text = new TextDecoder().decode(file)
      for (const { privateKey } of keys) {
        for (const spelling of ['hex', 'base64', 'base64url'] as const) {
          expect(text).not.toContain(Buffer.from(privateKey).toString(spelling))
        }
      }
      expect(text).not.toContain('a passphrase')
    })

    test('the same keys are never sealed the same way twice', async () => {
      expect(hexOf(await sealKeystore(keys, PASSPHRASE, { cost: CHEAP }))).not.toBe(hexOf(file))
    })

    test('sealing and opening leave the caller’s buffers as they are', async () => {
      const passphrase = Buffer.from(PASSPHRASE)
      const own = keys.map((key) => ({ ...key, privateKey: Buffer.from(key.privateKey) }))
      await openKeystore(await sealKeystore(own, passphrase, { cost: CHEAP }), passphrase)
      expect(hexOf(passphrase)).toBe(hexOf(PASSPHRASE))
      expect(own.map((key) => hexOf(key.privateKey))).toEqual(keys.map((key) => hexOf(key.privateKey)))
    })

    test('another passphrase is a wrong one, and so is none', async () => {
      for (const passphrase of ['a passphras', 'A passphrase', 'a passphrase ', '']) {
        expect(await faultOf(() => openKeystore(file, utf8(passphrase)))).toEqual(WRONG)
      }
      expect(await faultOf(() => sealKeystore(keys, new Uint8Array(0)))).toEqual({ code: 'KEYSTORE_PASSPHRASE_EMPTY' })
    })

    test('a passphrase is the same in every spelling that Unicode has for it, and bytes that are no text are themselves', async () => {
      // As keyboards and systems write it: e with an acute accent, a Hangul syllable.
      const [composed, apart] = ['caf\u00e9 \uac00', 'cafe\u0301 \u1100\u1161'].map(utf8) as [Uint8Array, Uint8Array]
      for (const [sealing, opening] of [
        [composed, apart],
        [apart, composed],
      ] as const) {
        const [sealedBefore, openedBefore] = [hexOf(sealing), hexOf(opening)]
        expect(await openKeystore(await sealKeystore(keys, sealing, { cost: CHEAP }), opening)).toEqual(keys)
        expect([hexOf(sealing), hexOf(opening)]).toEqual([sealedBefore, openedBefore])
      }
      const noText = new Uint8Array([0xff, 0x65, 0xcc, 0x81])
      const raw = await sealKeystore(keys, noText, { cost: CHEAP })
      expect(await openKeystore(raw, noText)).toEqual(keys)
      expect(await faultOf(() => openKeystore(raw, new Uint8Array([0xfe, 0x65, 0xcc, 0x81])))).toEqual(WRONG)
    })

    test('a keystore cut anywhere is damaged', async () => {
      for (let length = 0; length < file.length - 2; length += 41) {
        expect(await faultOf(() => openKeystore(file.subarray(0, length), PASSPHRASE))).toEqual(DAMAGED)
      }
    })

    test('a changed byte is damage, or it is white space and changes nothing', async () => {
      const expected = readKeystorePublic(file)
      await fc.assert(
        fc.asyncProperty(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
          const changed = file.map((byte, i) => (i === at ? byte ^ change : byte))
          let read: unknown
          try {
            read = readKeystorePublic(changed)
          } catch (error) {
            expect(error).toMatchObject({ fault: DAMAGED })
            return
          }
          expect(read).toEqual(expected)
          expect(' \n\t\r').toContain(String.fromCharCode(changed[at] ?? 0))
        }),
        { numRuns: 1000 },
      )
    })

    test('whoever mends the check after a change gets no further than a wrong passphrase', async () => {
      const changes: ((json: FileJson) => void)[] = [
        (json) => json.keys.reverse(),
        (json) => ([json.keys[0], json.keys[2]] = [json.keys[2] as never, json.keys[0] as never]),
        (json) => Object.assign(json.keys[0] as object, { name: 'other' }),
        (json) => Object.assign(json.keys[0] as object, { type: 'x25519' }),
        (json) => Object.assign(json.keys[0] as object, { publicKey: Buffer.alloc(32).toString('base64') }),
        (json) => Object.assign(json.kdf, { passes: 2 }),
        (json) => Object.assign(json.kdf, { salt: Buffer.alloc(16).toString('base64') }),
        (json) => Object.assign(json, { sealed: Buffer.alloc(3 * 32 + 16).toString('base64') }),
      ]
      for (const change of changes) {
        const changed = forged(file, change)
        expect(await faultOf(() => openKeystore(changed, PASSPHRASE))).toEqual(WRONG)
      }
      expect(
        await openKeystore(
          forged(file, () => undefined),
          PASSPHRASE,
        ),
      ).toEqual(keys)
    })

    test('a file that asks for absurd memory, passes or lanes is damaged, at once', async () => {
      const costs: Partial<Argon2Cost>[] = [
        { memoryKib: 2 ** 30 },
        { memoryKib: 1024 * 1024 + 1 },
        { memoryKib: 8191 },
        { memoryKib: 8192.5 },
        { passes: 0 },
        { passes: 17 },
        { parallelism: 0 },
        { parallelism: 17 },
      ]
      for (const cost of costs) {
        const changed = forged(file, (json) => Object.assign(json.kdf, cost))
        expect(await faultOf(() => openKeystore(changed, PASSPHRASE)), JSON.stringify(cost)).toEqual(DAMAGED)
        const fault = { code: 'KEYSTORE_COST_INVALID', ...CHEAP, ...cost }
        expect(await faultOf(() => sealKeystore(keys, PASSPHRASE, { cost: { ...CHEAP, ...cost } }))).toEqual(fault)
      }
    })

    test('another version, an unknown field, keys that don’t fit `sealed`, and other files are damaged', async () => {
      const changed = [
        forged(file, (json) => Object.assign(json, { version: 2 })),
        forged(file, (json) => Object.assign(json, { extra: 1 })),
        forged(file, (json) => void json.keys.pop()),
        forged(file, (json) => Object.assign(json.keys[2] as object, { name: 'signing' })),
        forged(file, (json) => Object.assign(json.keys[0] as object, { name: '../x' })),
        forged(file, (json) => Object.assign(json, { sealed: json.sealed.replace(/=*$/, '') })),
      ]
      // This one would open, were it not for its length.
      const padded = `${new TextDecoder().decode(file)}${' '.repeat(KEYSTORE_BYTES_MAX)}`
      const others = [padded, '', '{}', 'null', '[]', '"x"', '\u0000', `${' '.repeat(KEYSTORE_BYTES_MAX)}{}`].map(utf8)
      for (const bytes of [...changed, ...others, new Uint8Array([0xff, 0xfe])]) {
        expect(await faultOf(() => openKeystore(bytes, PASSPHRASE))).toEqual(DAMAGED)
        expect(await faultOf(() => readKeystorePublic(bytes))).toEqual(DAMAGED)
      }
    })

    test('keys with a bad name, a name twice, or a length not of their type are not sealed', async () => {
      const bad: [KeystoreKey[], string][] = [
        [[keyNamed('')], ''],
        [[keyNamed('Upper')], 'Upper'],
        [[keyNamed('-x')], '-x'],
        [[keyNamed('x'.repeat(65))], 'x'.repeat(65)],
        [[keyNamed('same'), keyNamed('same')], 'same'],
        [[{ ...keyNamed('short'), privateKey: new Uint8Array(31) }], 'short'],
        [[{ ...keyNamed('long'), privateKey: new Uint8Array(64) }], 'long'],
        [[{ ...keyNamed('public'), publicKey: bytesOfHex('00') }], 'public'],
      ]
      for (const [some, name] of bad) {
        expect(await faultOf(() => sealKeystore(some, PASSPHRASE))).toEqual({ code: 'KEYSTORE_KEY_INVALID', name })
      }
    })
  })
}
