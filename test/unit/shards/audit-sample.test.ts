import fc from 'fast-check'
import { expect, test } from 'vitest'
import { AUDIT_LEAF_BYTES, AUDIT_SAMPLES, SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { cborCid, sha256 } from '../../../src/crypto/hash.ts'
import { type HeldColumn, leafAt, sampledBytes } from '../../../src/shards/audit-sample.ts'
import { ExtentMap } from '../../../src/shards/extent-map.ts'
import { stripesOf } from '../../../src/shards/stripes.ts'

const manifest = cborCid(new Uint8Array([1]))
const beaconOf = (seed: number): Uint8Array => sha256(new Uint8Array([seed & 0xff, seed >>> 8]))
const columnsOf = (sizes: readonly number[]): HeldColumn[] =>
  sizes.map((bytes, index) => ({ manifest, index, column: 0, bytes }))

function mapOf(sizes: readonly number[], code = { data: 2, parity: 2 }): ExtentMap {
  const bytes = new Uint8Array(4 * sizes.length)
  for (const [at, size] of sizes.entries()) new DataView(bytes.buffer).setUint32(4 * at, size)
  const shards = stripesOf(sizes.length, code).reduce((sum, { data, parity }) => sum + data + parity, 0)
  const hashes = new Uint8Array(32 * shards)
  return ExtentMap.of({
    version: 1,
    manifest,
    index: 0,
    code,
    sizes: bytes,
    digests: hashes,
    audits: hashes,
    copies: [],
  })
}

test('every drawn byte lies in a column that is held, and the same beacon draws the same', () => {
  const sizes = fc.array(fc.integer({ min: 0, max: 2 ** 30 }), { minLength: 1, maxLength: 50 })
  const property = fc.property(fc.nat(65_535), fc.nat(65_534), sizes, (seed, number, all) => {
    const columns = columnsOf(all)
    const drawn = sampledBytes(beaconOf(seed), number, columns)
    expect(drawn.length).toBe(all.some((bytes) => bytes > 0) ? AUDIT_SAMPLES : 0)
    for (const { held, offset } of drawn) {
      expect(offset).toBeGreaterThanOrEqual(0)
      expect(offset).toBeLessThan(held.bytes)
    }
    expect(sampledBytes(beaconOf(seed), number, columns)).toEqual(drawn)
  })
  fc.assert(property, { numRuns: 300 })
})

test('bytes are drawn uniformly, whatever the sizes of the columns', () => {
  const columns = columnsOf([1_000_000, 0, 3_000_000, 6_000_000])
  const counts = [0, 0, 0, 0]
  for (let seed = 0; seed < 500; seed++) {
    for (const { held } of sampledBytes(beaconOf(seed), 7, columns)) counts[held.index] = (counts[held.index] ?? 0) + 1
  }
  const total = 500 * AUDIT_SAMPLES
  // Five standard deviations: sqrt(32,000 x 0.1 x 0.9) = 54, of 0.3: 82, of 0.6: 88.
  expect(Math.abs((counts[0] ?? 0) - 0.1 * total)).toBeLessThan(270)
  expect(counts[1]).toBe(0)
  expect(Math.abs((counts[2] ?? 0) - 0.3 * total)).toBeLessThan(410)
  expect(Math.abs((counts[3] ?? 0) - 0.6 * total)).toBeLessThan(440)
})

test('another beacon, and another peer, draw other bytes', () => {
  const columns = columnsOf([2 ** 30])
  const name = (seed: number, number: number): string =>
    sampledBytes(beaconOf(seed), number, columns)
      .map(({ offset }) => offset)
      .join(' ')
  expect(new Set([name(1, 1), name(2, 1), name(1, 2)]).size).toBe(3)
})

test('a byte leads to the shard and the leaf that hold it', () => {
  const map = mapOf([SEGMENT_BYTES, SEGMENT_BYTES, 100, 50_000, 7])
  // Column 0: a full shard, one of 100 bytes, one of 7. Column 3: parity, as long as the longest of each stripe.
  expect(leafAt(map, 0, 0)).toMatchObject({ leaf: 0, shard: { stripe: 0, column: 0 } })
  expect(leafAt(map, 0, SEGMENT_BYTES - 1)).toMatchObject({ leaf: 63, shard: { stripe: 0 } })
  expect(leafAt(map, 0, SEGMENT_BYTES + 99)).toMatchObject({ leaf: 0, shard: { stripe: 1, bytes: 100 } })
  expect(leafAt(map, 0, SEGMENT_BYTES + 100)).toMatchObject({ leaf: 0, shard: { stripe: 2, bytes: 7 } })
  expect(leafAt(map, 0, SEGMENT_BYTES + 107)).toBeUndefined()
  expect(leafAt(map, 3, SEGMENT_BYTES + AUDIT_LEAF_BYTES)).toMatchObject({
    leaf: 1,
    shard: { stripe: 1, bytes: 50_000 },
  })
})
