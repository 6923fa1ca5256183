import fc from 'fast-check'
import { expect, test } from 'vitest'
import { shardEntry } from '../../../src/domain/audit-proof.ts'
import type { Extent } from '../../../src/domain/storage-state.ts'
import { rawCid, cborCid, sha256 } from '../../../src/crypto/hash.ts'
import { leafHash, verifyInclusion } from '../../../src/crypto/merkle.ts'
import { ExtentMap, checkExtentMap, decodeExtentMap, encodeExtentMap } from '../../../src/shards/extent-map.ts'
import { shardAt, stripesOf } from '../../../src/shards/stripes.ts'

const manifest = cborCid(new Uint8Array([1]))

function hashes(count: number, salt: number): Uint8Array {
  const all = new Uint8Array(32 * count)
  for (let at = 0; at < count; at++) all.set(sha256(new Uint8Array([salt, at & 0xff, at >>> 8])), 32 * at)
  return all
}

function mapOf(sizes: readonly number[], code: { data: number; parity: number }): ExtentMap {
  const bytes = new Uint8Array(4 * sizes.length)
  for (const [at, size] of sizes.entries()) new DataView(bytes.buffer).setUint32(4 * at, size)
  const shards = stripesOf(sizes.length, code).reduce((sum, { data, parity }) => sum + data + parity, 0)
  const copies = [{ cid: rawCid(new Uint8Array([7])), bytes: 1 }]
  const rest = { digests: hashes(shards, 1), audits: hashes(shards, 2), copies }
  return ExtentMap.of({ version: 1, manifest, index: 0, code, sizes: bytes, ...rest })
}

function extentOf(map: ExtentMap): Extent {
  const { code, index } = map.fields
  const holders = Array.from({ length: map.columns }, () => undefined)
  const place = { manifest, index, map: encodeExtentMap(map).cid, group: 0, holders }
  return {
    ...place,
    ...code,
    root: map.root(),
    segments: map.segments,
    columns: map.columnBytes(),
    copies: map.copiesBytes(),
  }
}

const anyCode = fc.constantFrom(
  { data: 1, parity: 0 },
  { data: 1, parity: 2 },
  { data: 2, parity: 2 },
  { data: 4, parity: 3 },
  { data: 6, parity: 4 },
  { data: 10, parity: 5 },
)
const anySizes = fc.array(fc.integer({ min: 0, max: 1_048_576 }), { minLength: 1, maxLength: 70 })

test('a map reads back as it was, under the same CID', () => {
  const property = fc.property(anySizes, anyCode, (sizes, code) => {
    const { bytes, cid } = encodeExtentMap(mapOf(sizes, code))
    expect(encodeExtentMap(decodeExtentMap(bytes)).cid.equals(cid)).toBe(true)
  })
  fc.assert(property, { numRuns: 200 })
})

test('every shard lies in exactly one column, at most one of a stripe in each', () => {
  const property = fc.property(anySizes, anyCode, (sizes, code) => {
    const map = mapOf(sizes, code)
    const byStripe = map.stripes.flatMap((_, stripe) => map.shardsOfStripe(stripe))
    const byColumn = Array.from({ length: map.columns }, (_, column) => map.shardsOfColumn(column)).flat()
    expect(byColumn.toSorted((a, b) => a.number - b.number)).toEqual(byStripe)
    expect(byStripe.map(({ number }) => number)).toEqual(byStripe.map((_, at) => at))
    for (const [stripe, { data, parity }] of map.stripes.entries()) {
      expect(new Set(map.shardsOfStripe(stripe).map(({ column }) => column)).size).toBe(data + parity)
    }
    const bytes = byStripe.reduce((sum, shard) => sum + shard.bytes, 0)
    expect(map.columnBytes().reduce((sum, one) => sum + one, 0)).toBe(bytes)
  })
  fc.assert(property, { numRuns: 200 })
})

test('a shortened stripe has more parity where columns are left, and never less than a full one', () => {
  const shape = (segments: number, code: { data: number; parity: number }): string =>
    stripesOf(segments, code)
      .map(({ data, parity }) => `${data}+${parity}`)
      .join(' ')
  expect(shape(13, { data: 6, parity: 4 })).toBe('6+4 6+4 1+4')
  expect(shape(9, { data: 6, parity: 4 })).toBe('6+4 3+5')
  expect(shape(3, { data: 2, parity: 2 })).toBe('2+2 1+3')
  expect(shape(11, { data: 10, parity: 5 })).toBe('10+5 1+5')
  expect(shape(2, { data: 1, parity: 2 })).toBe('1+2 1+2')
})

test('data lies in the columns from the front, parity from the back', () => {
  expect(shardAt({ first: 0, data: 3, parity: 5 }, 2, 10)).toEqual({ kind: 'data', index: 2 })
  expect(shardAt({ first: 0, data: 3, parity: 5 }, 9, 10)).toEqual({ kind: 'parity', index: 0 })
  expect(shardAt({ first: 0, data: 3, parity: 5 }, 5, 10)).toEqual({ kind: 'parity', index: 4 })
  expect(shardAt({ first: 0, data: 3, parity: 5 }, 4, 10)).toBeUndefined()
})

test('the path of every shard leads to the root of the extent, and to no other', () => {
  const map = mapOf([10, 20, 30, 40, 50, 60, 70], { data: 4, parity: 3 })
  const shards = map.stripes.flatMap((_, stripe) => map.shardsOfStripe(stripe))
  for (const shard of shards) {
    const leaf = leafHash(shardEntry(shard))
    expect(verifyInclusion(map.root(), shards.length, shard.number, leaf, map.proof(shard.number))).toBe(true)
    const other = leafHash(shardEntry({ ...shard, bytes: shard.bytes + 1 }))
    expect(verifyInclusion(map.root(), shards.length, shard.number, other, map.proof(shard.number))).toBe(false)
  }
})

test('a map with shards missing, sizes cut off, or a segment over the limit is refused', () => {
  const { fields } = mapOf([10, 20, 30], { data: 2, parity: 2 })
  const refused = [
    { ...fields, digests: fields.digests.subarray(32) },
    { ...fields, audits: fields.audits.subarray(32) },
    { ...fields, sizes: fields.sizes.subarray(1) },
    { ...fields, sizes: new Uint8Array(12).fill(0xff) },
    { ...fields, code: { data: 40, parity: 40 } },
  ]
  for (const one of refused) expect(() => ExtentMap.of(one)).toThrow('EXTENT_MAP_INVALID')
})

test('a map that is not what the ledger says is refused, whatever differs', () => {
  const map = mapOf([10, 20, 30], { data: 2, parity: 2 })
  const extent = extentOf(map)
  expect(() => checkExtentMap(map, extent)).not.toThrow()
  const lies: Extent[] = [
    { ...extent, manifest: cborCid(new Uint8Array([2])) },
    { ...extent, index: 1 },
    { ...extent, data: 3, parity: 1 },
    { ...extent, segments: 4 },
    { ...extent, columns: extent.columns.map((bytes) => bytes + 1) },
    { ...extent, root: new Uint8Array(32) },
  ]
  for (const lie of lies) expect(() => checkExtentMap(map, lie)).toThrow('EXTENT_MAP_NOT_OF_EXTENT')
})

test('pinned: the CID and the root of a known map', () => {
  const map = mapOf([1_048_576, 1_048_576, 500], { data: 2, parity: 2 })
  expect(encodeExtentMap(map).cid.toString()).toBe('bafyreigepjmt7xirezos3ipdn6y7bjzrsqhqthxjzwsxzy3pfg7xx5trqu')
  const root = '4d41d12fdd490d2fa1db8a1fe00b55d37ba4e30cc26970b718c5b66bf1f38cce'
  expect(Buffer.from(map.root()).toString('hex')).toBe(root)
})
