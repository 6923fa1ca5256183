import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { type ColumnHolder, extentHealth, worstHealth } from '../../../src/shards/health.ts'
import { shardAt, stripesOf } from '../../../src/shards/stripes.ts'

const MIB = 1_048_576

function columnsOf(segments: number, code: { data: number; parity: number }): number[] {
  const count = code.data + code.parity
  const stripes = stripesOf(segments, code)
  const shards = (column: number): number => stripes.filter((one) => shardAt(one, column, count) !== undefined).length
  return Array.from({ length: count }, (_, column) => shards(column) * MIB)
}

function extent(segments: number, code: { data: number; parity: number }, holders: readonly (number | undefined)[]) {
  return { ...code, segments, columns: columnsOf(segments, code), holders }
}

/** Peer number = institution number. */
function holder(failed: readonly number[] = []): (number: number) => ColumnHolder {
  return (number) => ({ institution: parseInstitutionId(`i${number}`), isCounted: !failed.includes(number) })
}

const tenPeers = Array.from({ length: 10 }, (_, at) => at)

test('6+4 on ten institutions survives any four, and one less for each that fails', () => {
  const whole = extent(600, { data: 6, parity: 4 }, tenPeers)
  expect(extentHealth(whole, holder())).toEqual({ institutions: 10, survives: 4, missingColumns: 0, missingBytes: 0 })
  expect(extentHealth(whole, holder([3]))).toMatchObject({ institutions: 9, survives: 3, missingColumns: 1 })
  expect(extentHealth(whole, holder([0, 1, 2, 3]))).toMatchObject({ survives: 0, missingBytes: 400 * MIB })
  expect(extentHealth(whole, holder([0, 1, 2, 3, 4]))).toMatchObject({ survives: -1 })
})

test('a small object is no weaker than a large one: a single segment in 6+4 lies five times', () => {
  const small = extent(1, { data: 6, parity: 4 }, tenPeers)
  expect(extentHealth(small, holder())).toMatchObject({ institutions: 10, survives: 4, missingColumns: 0 })
  // Column 0 has the segment, columns 6 to 9 its copies; the others have nothing to lose.
  expect(extentHealth(small, holder([1, 2, 3, 4, 5]))).toMatchObject({ survives: 4, missingColumns: 0 })
  expect(extentHealth(small, holder([0, 6, 7, 8]))).toMatchObject({ survives: 0, missingColumns: 4 })
})

test('a column that nobody confirmed is missing', () => {
  const holders = tenPeers.map((number) => (number === 9 ? undefined : number))
  expect(extentHealth(extent(6, { data: 6, parity: 4 }, holders), holder())).toMatchObject({
    survives: 3,
    missingColumns: 1,
    missingBytes: MIB,
  })
})

test('two columns at one institution fail together', () => {
  const holders = [0, 0, 2, 3]
  expect(extentHealth(extent(2, { data: 2, parity: 2 }, holders), holder())).toMatchObject({
    institutions: 3,
    survives: 1,
  })
})

test('several extents are as healthy as the worst of them', () => {
  const good = extentHealth(extent(6, { data: 6, parity: 4 }, tenPeers), holder())
  const bad = extentHealth(extent(6, { data: 6, parity: 4 }, tenPeers), holder([1, 2]))
  expect(worstHealth([good, bad, good])).toMatchObject({ survives: 2, missingColumns: 2, institutions: 10 })
  expect(worstHealth([]).survives).toBe(Number.POSITIVE_INFINITY)
})

test('no set of so many institutions loses a stripe, and some set of one more does', () => {
  const codes = [
    { data: 1, parity: 2 },
    { data: 2, parity: 2 },
    { data: 4, parity: 3 },
    { data: 6, parity: 4 },
  ]
  const property = fc.property(
    fc.constantFrom(...codes),
    fc.integer({ min: 1, max: 13 }),
    fc.array(fc.option(fc.nat(5), { nil: undefined }), { minLength: 10, maxLength: 10 }),
    (code, segments, many) => {
      const count = code.data + code.parity
      const holders = many.slice(0, count)
      const { survives } = extentHealth(extent(segments, code, holders), holder())
      const institutions = [...new Set(holders.filter((one) => one !== undefined))]
      // By trying all subsets: the largest size whose every subset leaves each stripe enough shards.
      const lives = (failed: ReadonlySet<number>): boolean =>
        stripesOf(segments, code).every((stripe) => {
          const left = holders.filter(
            (one, column) => one !== undefined && !failed.has(one) && shardAt(stripe, column, count) !== undefined,
          )
          return left.length >= stripe.data
        })
      let smallestLoss = institutions.length + 1
      for (let mask = 0; mask < 2 ** institutions.length; mask++) {
        const failed = new Set(institutions.filter((_, at) => (mask & (1 << at)) !== 0))
        if (!lives(failed)) smallestLoss = Math.min(smallestLoss, failed.size)
      }
      expect(survives).toBe(smallestLoss - 1)
    },
  )
  fc.assert(property, { numRuns: 500 })
})
