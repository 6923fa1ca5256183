import fc from 'fast-check'
import { equals } from 'uint8arrays/equals'
import { expect, test } from 'vitest'
import {
  BLOCK_BYTES_MAX,
  COLUMNS_MAX,
  ERASURE_CHUNK_BYTES,
  ERASURE_DATA_MAX,
  ERASURE_PARITY_MAX,
} from '../../../src/core/limits.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import { type ErasureCode, ErasureError, encodeParity, rebuild } from '../../../src/shards/erasure.ts'
import { invert, multiply, parityCoefficient } from '../../../src/shards/erasure/gf256.ts'
import { bytesOfHex, hexOf, loadVectors } from '../../vectors/load.ts'
import { seededBytes } from '../../vectors/seeded.ts'
import { rankIsFull, slowGenerator, slowMultiply, slowParity } from './slow-erasure.ts'

interface Vectors {
  generator: string[]
  cases: { name: string; dataBytes: number[]; parity: { bytes?: string; sha256?: string }[] }[]
}
const vectors = loadVectors<Vectors>('erasure')

/** The placement table, and every shortening of its stripes. */
const CODES: readonly ErasureCode[] = [
  ...[1, 2].map((parity) => ({ data: 1, parity })),
  ...[1, 2].flatMap((data) => [2, 4].map((parity) => ({ data, parity }))),
  ...[1, 2, 3, 4].flatMap((data) => [3, 4, 5].map((parity) => ({ data, parity }))),
  ...[3, 4, 5, 6].flatMap((data) => [4, 5].map((parity) => ({ data, parity }))),
  ...[7, 8, 9, 10].map((data) => ({ data, parity: 5 })),
]

function shardsOf(seed: string, sizes: readonly number[]): Uint8Array[] {
  return sizes.map((bytes, index) => seededBytes(`data ${seed} ${index}`, bytes))
}

/** A whole stripe; its parity is of the second implementation. @param sizes - of data shards, the last for all further ones. */
function stripeOf(code: ErasureCode, seed: string, sizes: readonly number[]): Uint8Array[] {
  const data = shardsOf(
    seed,
    Array.from({ length: code.data }, (_, index) => sizes[index] ?? sizes.at(-1) ?? 0),
  )
  return [...data, ...slowParity(data, code.parity)]
}

/** Cut into pieces after so many hundredths, some of them empty. */
function cut(shard: Uint8Array, hundredths: readonly number[]): Uint8Array[] {
  const ends = [...hundredths.toSorted((one, other) => one - other), 100].map((end) => (shard.length * end) / 100)
  return ends.map((end, index) => shard.subarray(ends[index - 1] ?? 0, end))
}

/** Without the difference in words, which takes minutes for long arrays. */
function areEqual(some: readonly Uint8Array[], others: readonly Uint8Array[]): boolean {
  return some.length === others.length && some.every((shard, index) => equals(shard, at(others, index)))
}

function at(shards: readonly Uint8Array[], index: number): Uint8Array {
  return shards[index] ?? expect.fail(`no shard ${index}`)
}

/** All subsets of 0 to `count - 1` with `size` elements. */
function subsets(count: number, size: number, from = 0): number[][] {
  if (size === 0) return [[]]
  return Array.from({ length: Math.max(0, count - from) }, (_, index) => from + index).flatMap((first) =>
    subsets(count, size - 1, first + 1).map((rest) => [first, ...rest]),
  )
}

const without = (shards: readonly Uint8Array[], lost: readonly number[]): (Uint8Array | undefined)[] =>
  shards.map((shard, index) => (lost.includes(index) ? undefined : shard))

test('the field is the one of a second implementation, for all products', () => {
  for (let left = 0; left < 256; left++) {
    for (let right = 0; right < 256; right++) {
      if (multiply(left, right) !== slowMultiply(left, right)) expect.fail(`${left} * ${right}`)
    }
  }
  expect(multiply(2, 0x80)).toBe(0x1d)
})

test('the generator is the one that galois and a second implementation make, its first row and column all ones', () => {
  const rows = Array.from({ length: ERASURE_PARITY_MAX }, (_, row) =>
    Uint8Array.from({ length: ERASURE_DATA_MAX }, (_, column) => parityCoefficient(row, column)),
  )
  expect(rows.map(hexOf)).toEqual(vectors.generator)
  expect(rows.map((row) => [...row])).toEqual(slowGenerator(ERASURE_PARITY_MAX, ERASURE_DATA_MAX))
  expect(rows.every((row) => row[0] === 1)).toBe(true)
  expect(rows[0]?.every((value) => value === 1)).toBe(true)
})

test('every square part of the generator is nonsingular', () => {
  const sizes = Array.from({ length: ERASURE_PARITY_MAX }, (_, index) => index + 1)
  const parts = sizes.flatMap((size) =>
    subsets(ERASURE_PARITY_MAX, size).flatMap((rows) =>
      subsets(ERASURE_DATA_MAX, size).map((columns) => ({ rows, columns })),
    ),
  )
  expect(parts).toHaveLength(3_002)
  const singular = parts.filter(
    ({ rows, columns }) => !rankIsFull(rows.map((row) => columns.map((column) => parityCoefficient(row, column)))),
  )
  expect(singular).toEqual([])
})

test('so is every square part of wider codes of the same generator, in samples', () => {
  const chosen = (max: number) => fc.uniqueArray(fc.nat(max), { minLength: 8, maxLength: 8 })
  fc.assert(
    fc.property(chosen(40), chosen(200), fc.integer({ min: 1, max: 8 }), (rows, columns, size) => {
      const part = rows
        .slice(0, size)
        .map((row) => columns.slice(0, size).map((column) => parityCoefficient(row, column)))
      expect(rankIsFull(part)).toBe(true)
    }),
    { numRuns: 1_000 },
  )
})

test('an inverse times its matrix is the identity', () => {
  fc.assert(
    fc.property(
      fc.subarray([0, 1, 2, 3, 4], { minLength: 1 }),
      fc.shuffledSubarray([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], { minLength: 5 }),
      (rows, columns) => {
        const part = rows.map((row) => Uint8Array.from(rows, (_, index) => parityCoefficient(row, columns[index] ?? 0)))
        const inverse = invert(part.map((row) => row.slice()))
        const product = part.map((row) =>
          part.map((_, column) =>
            row.reduce((sum, value, index) => sum ^ multiply(value, inverse[index]?.[column] ?? 0), 0),
          ),
        )
        expect(product).toEqual(part.map((_, row) => part.map((_, column) => (row === column ? 1 : 0))))
      },
    ),
    { numRuns: 1_000 },
  )
})

test.each(vectors.cases)(
  '$name: parity is what galois computed',
  ({ name, dataBytes, parity }) => {
    const made = encodeParity(shardsOf(name, dataBytes), parity.length)
    expect(made).toHaveLength(parity.length)
    made.forEach((shard, index) => {
      const { bytes, sha256: digest } = parity[index] ?? {}
      if (bytes !== undefined) expect(shard).toEqual(bytesOfHex(bytes))
      else expect(hexOf(sha256(shard))).toBe(digest)
    })
  },
  60_000,
)

test.each(CODES)(
  '$data+$parity: whatever $parity shards are lost, the others rebuild them',
  (code) => {
    const shards = stripeOf(code, `${code.data}+${code.parity}`, [37])
    const counts = Array.from({ length: code.parity }, (_, index) => index + 1)
    const wrong = counts
      .flatMap((count) => subsets(shards.length, count))
      .filter((lost) => {
        const rebuilt = rebuild({ code, shards: without(shards, lost), wanted: lost, shardBytes: 37 })
        return !lost.every((shard, index) => equals(at(rebuilt, index), at(shards, shard)))
      })
    expect(wrong).toEqual([])
  },
  60_000,
)

/** Lengths around a step of the kernel, and around a chunk. */
const anyBytes = fc.oneof(
  { arbitrary: fc.integer({ min: 1, max: 100 }), weight: 20 },
  { arbitrary: fc.integer({ min: ERASURE_CHUNK_BYTES - 33, max: ERASURE_CHUNK_BYTES + 33 }), weight: 1 },
)
const anyCode = fc.constantFrom(...CODES)

test('parity of shards of any lengths, in any pieces, is that of a second implementation', () => {
  fc.assert(
    fc.property(
      anyCode,
      fc.array(anyBytes, { minLength: 10, maxLength: 10 }),
      fc.array(fc.nat(99)),
      (code, sizes, cuts) => {
        const data = shardsOf('pieces', sizes.slice(0, code.data))
        const bytes = Math.max(...data.map((shard) => shard.length))
        const expected = slowParity(data, code.parity)
        const pieces = data.map((shard) => cut(shard, cuts))
        expect(areEqual(encodeParity(pieces, code.parity), expected)).toBe(true)
        const out = Array.from({ length: code.parity }, () => new Uint8Array(bytes).fill(0xee))
        const made = encodeParity(data, code.parity, out)
        expect(made.every((shard, index) => shard === out[index])).toBe(true)
        expect(areEqual(out, expected)).toBe(true)
      },
    ),
    { numRuns: 1_000 },
  )
}, 60_000)

test('any k shards rebuild any of the others, each to the length of its buffer and no further', () => {
  const choices = fc.record({
    code: anyCode,
    sizes: fc.array(anyBytes, { minLength: 10, maxLength: 10 }),
    order: fc.shuffledSubarray(
      Array.from({ length: 15 }, (_, index) => index),
      { minLength: 15 },
    ),
    kept: fc.nat(5),
    wanted: fc.integer({ min: 1, max: 5 }),
  })
  fc.assert(
    fc.property(choices, ({ code, sizes, order, kept, wanted }) => {
      const shards = stripeOf(code, 'any k', sizes)
      const shardBytes = at(shards, code.data).length
      const shuffled = order.filter((shard) => shard < shards.length)
      const lost = shuffled.slice(0, Math.max(1, code.parity - kept))
      const targets = lost.slice(0, wanted)
      const out = targets.map((shard) => new Uint8Array(at(shards, shard).length + 8).fill(0xee))
      rebuild({
        code,
        shards: without(shards, lost),
        wanted: targets,
        shardBytes,
        out: out.map((buffer) => buffer.subarray(0, -8)),
      })
      targets.forEach((shard, index) => {
        const [buffer, original] = [at(out, index), at(shards, shard)]
        expect(equals(buffer.subarray(0, -8), original)).toBe(true)
        expect(buffer.subarray(-8).every((byte) => byte === 0xee)).toBe(true)
      })
    }),
    { numRuns: 1_000 },
  )
}, 60_000)

test('a narrower stripe has the parity of a wider one whose other data is empty', () => {
  const data = shardsOf('corner', [700, 600, 500])
  const wide = [...data, ...Array.from({ length: 7 }, () => new Uint8Array(0))]
  expect(encodeParity(wide, 5)).toEqual(encodeParity(data, 5))
  expect(encodeParity(data, 2)).toEqual(encodeParity(data, 5).slice(0, 2))
})

test('with one data shard parity is copies of it, and the first parity shard is the XOR of all data', () => {
  const [alone] = shardsOf('alone', [1_000])
  const copies = Array.from({ length: COLUMNS_MAX - 1 }, () => alone)
  expect(encodeParity([alone ?? []], copies.length)).toEqual(copies)
  const data = shardsOf('xor', [64, 64, 64])
  const [sum] = encodeParity(data, 1)
  expect(sum).toEqual(at(data, 0).map((byte, index) => byte ^ (data[1]?.[index] ?? 0) ^ (data[2]?.[index] ?? 0)))
})

test('nothing wanted is nothing made', () => {
  expect(encodeParity(shardsOf('none', [10]), 0)).toEqual([])
})

const bytes = (length: number) => new Uint8Array(length)
const two = { data: 2, parity: 2 }
test.each([
  ['no data', () => encodeParity([], 2), 'ERASURE_CODE_INVALID'],
  [
    'too much data',
    () =>
      encodeParity(
        Array.from({ length: 11 }, () => bytes(1)),
        2,
      ),
    'ERASURE_CODE_INVALID',
  ],
  ['too much parity', () => encodeParity([bytes(1), bytes(1)], 6), 'ERASURE_CODE_INVALID'],
  ['too many copies', () => encodeParity([bytes(1)], 64), 'ERASURE_CODE_INVALID'],
  ['parity that is no count', () => encodeParity([bytes(1)], Number.NaN), 'ERASURE_CODE_INVALID'],
  ['parity below nothing', () => encodeParity([bytes(1)], -1), 'ERASURE_CODE_INVALID'],
  ['empty data', () => encodeParity([bytes(0)], 1), 'ERASURE_SHARD_SIZE'],
  ['data larger than a block', () => encodeParity([bytes(BLOCK_BYTES_MAX + 1)], 1), 'ERASURE_SHARD_SIZE'],
  ['a buffer larger than a shard', () => encodeParity([bytes(9)], 1, [bytes(10)]), 'ERASURE_SHARD_SIZE'],
  ['a buffer too few', () => encodeParity([bytes(9)], 2, [bytes(9)]), 'ERASURE_SHARD_SIZE'],
  ['a data shard that is too long', () => lostOne([bytes(10), undefined, bytes(9)]), 'ERASURE_SHARD_SIZE'],
  ['a parity shard that is too short', () => lostOne([bytes(9), undefined, bytes(8)]), 'ERASURE_SHARD_SIZE'],
  ['too few shards', () => lostOne([bytes(9)]), 'ERASURE_SHARDS_MISSING'],
  [
    'shards beyond the code',
    () => lostOne([bytes(9), undefined, undefined, undefined, bytes(9)]),
    'ERASURE_SHARDS_MISSING',
  ],
  ['a wanted shard that is there', () => lostOne([bytes(9), bytes(9)], [0]), 'ERASURE_WANTED_INVALID'],
  ['a wanted shard twice', () => lostOne([bytes(9), undefined, bytes(9)], [1, 1]), 'ERASURE_WANTED_INVALID'],
  ['a wanted shard beyond the code', () => lostOne([bytes(9), undefined, bytes(9)], [4]), 'ERASURE_WANTED_INVALID'],
  ['a wanted shard that is no number', () => lostOne([bytes(9), undefined, bytes(9)], [0.5]), 'ERASURE_WANTED_INVALID'],
])('%s is refused, and no buffer written', (_, run, code) => {
  let thrown: unknown
  try {
    run()
  } catch (error) {
    thrown = error
  }
  expect(thrown).toBeInstanceOf(ErasureError)
  expect(thrown).toMatchObject({ fault: { code } })
})

function lostOne(shards: (Uint8Array | undefined)[], wanted: number[] = [1]): void {
  const out = wanted.map(() => bytes(9))
  try {
    rebuild({ code: two, shards, wanted, shardBytes: 9, out })
  } finally {
    expect(out.every((buffer) => buffer.every((byte) => byte === 0))).toBe(true)
  }
}
