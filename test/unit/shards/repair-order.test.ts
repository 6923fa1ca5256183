import { expect, test } from 'vitest'
import fc from 'fast-check'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { DAG_CBOR, digestCid, sha256 } from '../../../src/crypto/hash.ts'
import type { Extent } from '../../../src/domain/storage-state.ts'
import type { ColumnHolder } from '../../../src/shards/health.ts'
import { type Repair, compareRepairs, repairName, repairsOf } from '../../../src/shards/repair-order.ts'

const OWN = 7

/** Of 2+2, two stripes; peers 0 to 9 are of as many institutions, those in `failed` don't count. */
function extentOf(holders: readonly (number | undefined)[]): Extent {
  return {
    manifest: digestCid(DAG_CBOR, sha256(Uint8Array.of(1))),
    index: 0,
    map: digestCid(DAG_CBOR, sha256(Uint8Array.of(2))),
    root: new Uint8Array(32),
    group: 3,
    data: 2,
    parity: 2,
    segments: 4,
    columns: [20, 20, 20, 20],
    copies: 0,
    holders,
  }
}

const holderOf =
  (...failed: number[]) =>
  (number: number): ColumnHolder => ({
    institution: parseInstitutionId(`h${number}`),
    isCounted: !failed.includes(number),
  })

const facts = { own: OWN, isLost: false, holderOf: holderOf(), sinceMs: 5 }

test('a peer repairs the columns that the table gives to it, and no others', () => {
  const extent = extentOf([0, 1, undefined, 3])
  expect(repairsOf(extent, { ...facts, row: [0, 1, OWN, 3] })).toMatchObject([
    { column: 2, bytes: 20, reason: 'empty', survives: 1, sinceMs: 5 },
  ])
  expect(repairsOf(extent, { ...facts, row: [0, 1, 2, 3] })).toEqual([])
  expect(repairsOf(extent, { ...facts, row: undefined })).toEqual([])
})

test('a peer out of reach is not repaired around while the table gives its columns to it', () => {
  expect(repairsOf(extentOf([0, 1, 2, OWN]), { ...facts, holderOf: holderOf(2), row: [0, 1, 2, OWN] })).toEqual([])
})

test('what a new table gives to another peer moves at once, and is more urgent where the holder failed', () => {
  const row = [0, 1, OWN, 3]
  const moved = repairsOf(extentOf([0, 1, 2, 3]), { ...facts, row })
  const failed = repairsOf(extentOf([0, 1, 2, 3]), { ...facts, row, holderOf: holderOf(2) })
  expect(moved).toMatchObject([{ column: 2, reason: 'moved', survives: 2 }])
  expect(failed).toMatchObject([{ column: 2, reason: 'empty', survives: 1 }])
  expect([...moved, ...failed].toSorted(compareRepairs)).toEqual([...failed, ...moved])
})

test('own damage is mended though the table says nothing, and counts as missing', () => {
  const extent = extentOf([0, OWN, undefined, 3])
  expect(repairsOf(extent, { ...facts, row: undefined, isLost: true })).toMatchObject([
    { column: 1, reason: 'lost', survives: 0 },
  ])
  expect(repairsOf(extent, { ...facts, row: [0, OWN, 2, 3] })).toEqual([])
})

test('a peer that comes back holds what nobody took over, and gets again what it lost its name for but not its place', () => {
  const back = extentOf([0, 1, OWN, 4])
  expect(repairsOf(back, { ...facts, row: [0, 1, OWN, 4] })).toEqual([])
  expect(repairsOf(extentOf([0, 1, 2, 4]), { ...facts, row: [0, 1, OWN, 4] })).toMatchObject([{ column: 2 }])
  expect(repairsOf(extentOf([0, 1, 2, 4]), { ...facts, row: [0, 1, 2, 4] })).toEqual([])
})

test('the most endangered comes first, then the oldest; the order is total', () => {
  const repair = fc.record({
    manifest: fc.nat(3).map((seed) => digestCid(DAG_CBOR, sha256(Uint8Array.of(seed)))),
    index: fc.nat(2),
    column: fc.nat(3),
    bytes: fc.constant(1),
    reason: fc.constant('empty' as const),
    survives: fc.integer({ min: -1, max: 3 }),
    sinceMs: fc.nat(3),
  })
  fc.assert(
    fc.property(fc.uniqueArray(repair, { selector: repairName, maxLength: 30 }), (all: Repair[]) => {
      const ordered = all.toSorted(compareRepairs)
      expect(all.toReversed().toSorted(compareRepairs)).toEqual(ordered)
      for (const [at, one] of ordered.entries()) {
        const before = ordered[at - 1]
        if (before === undefined) continue
        expect(before.survives).toBeLessThanOrEqual(one.survives)
        if (before.survives === one.survives) expect(before.sinceMs).toBeLessThanOrEqual(one.sinceMs)
      }
    }),
  )
})
