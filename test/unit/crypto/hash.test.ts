import { expect, test } from 'vitest'
import { deriveKey } from '../../../src/crypto/derive.ts'
import { cborCid, DAG_CBOR, DAG_PB, digestCid, RAW, rawCid, sha256 } from '../../../src/crypto/hash.ts'
import { hexOf } from '../../vectors/load.ts'
import { seededBytes } from '../../vectors/seeded.ts'
import { faultOf } from './faults.ts'

test('CIDs are those of any IPFS program', () => {
  // `ipfs block put` of the same bytes: the empty raw block, and the dag-cbor of an empty map (0xa0).
  expect(rawCid(new Uint8Array(0)).toString()).toBe('bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku')
  expect(cborCid(Uint8Array.of(0xa0)).toString()).toBe('bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua')
})

test('a CID is made of codec and digest alone', () => {
  const digest = sha256(Uint8Array.of(1, 2, 3))
  expect([RAW, DAG_PB, DAG_CBOR]).toEqual([0x55, 0x70, 0x71])
  for (const codec of [RAW, DAG_PB, DAG_CBOR] as const) {
    expect(hexOf(digestCid(codec, digest).bytes)).toBe(`01${codec.toString(16)}1220${hexOf(digest)}`)
  }
})

test('a derived key depends on key, label and index, and is pinned', () => {
  const key = seededBytes('key', 32)
  const derived = [
    deriveKey(key, 'a'),
    deriveKey(key, 'a', 1),
    deriveKey(key, 'a', 256),
    deriveKey(key, 'b'),
    deriveKey(key, 'a-b'),
    deriveKey(seededBytes('other', 32), 'a'),
  ].map(hexOf)
  expect(new Set(derived).size).toBe(derived.length)
  expect(hexOf(deriveKey(key, 'a', 0))).toBe(derived[0])
  // HKDF-SHA256 with info "apotheca/file/1" || 00000007, computed with Python's hmac.
  expect(hexOf(deriveKey(key, 'file', 7))).toBe('0589b6b0217e48cba3f6ab0d56985d3f1ff17bafc546278579dcaa7a4175eaa6')
})

test('a key of another length and a label or index out of form are refused', async () => {
  const length = { code: 'DERIVE_KEY_LENGTH', bytes: 31, expectedBytes: 32 }
  expect(await faultOf(() => deriveKey(new Uint8Array(31), 'a'))).toEqual(length)
  const key = new Uint8Array(32)
  for (const label of ['', 'A', 'a/b', 'a-', 'a b']) {
    expect(await faultOf(() => deriveKey(key, label))).toEqual({ code: 'DERIVE_LABEL_INVALID', label: `${label}/0` })
  }
  for (const index of [-1, 0.5, 2 ** 32, Number.NaN]) {
    expect(await faultOf(() => deriveKey(key, 'a', index))).toMatchObject({ code: 'DERIVE_LABEL_INVALID' })
  }
})
