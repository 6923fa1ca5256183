import fc from 'fast-check'
import { expect, test } from 'vitest'
import { sha256 } from '../../../src/crypto/hash.ts'
import { DigestSet } from '../../../src/shards/digest-set.ts'
import { LiveSet, type OrphanMark, extentDuty } from '../../../src/shards/live-set.ts'

const digestOf = (number: number): Uint8Array => sha256(new Uint8Array([number >>> 8, number & 0xff]))
const numbers = fc.uniqueArray(fc.integer({ min: 0, max: 4_000 }), { maxLength: 3_000 })

test('a digest set has what was added and nothing else, through all its growing', () => {
  fc.assert(
    fc.property(numbers, (added) => {
      const set = new DigestSet()
      for (const number of [...added, ...added]) set.add(digestOf(number))
      const wanted = new Set(added)
      expect(set.size).toBe(wanted.size)
      for (let number = 0; number <= 4_000; number += 7) expect(set.has(digestOf(number))).toBe(wanted.has(number))
      for (const number of added) expect(set.has(digestOf(number))).toBe(true)
    }),
    { numRuns: 50 },
  )
})

test('a digest whose first bits are all zero is one as any other', () => {
  const set = new DigestSet()
  const zero = new Uint8Array(32)
  expect(set.has(zero)).toBe(false)
  set.add(zero)
  expect(set.has(zero)).toBe(true)
  expect(set.size).toBe(1)
})

const holder = fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined })
const view = fc
  .record({
    holders: fc.array(holder, { minLength: 1, maxLength: 8 }),
    assigned: fc.array(holder, { maxLength: 8 }),
    own: holder,
    removed: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 2 }),
    isKept: fc.boolean(),
    isWhole: fc.boolean(),
  })
  .map(({ holders, removed, ...rest }) => ({
    ...rest,
    extent: { holders },
    isCounted: (one: number) => !removed.includes(one),
  }))

test('a peer keeps every column that it holds or should hold, and all of an extent that is not safe with others', () => {
  fc.assert(
    fc.property(view, (of) => {
      const { columns } = extentDuty(of)
      const { holders } = of.extent
      if (!of.isWhole || holders.some((one) => one === undefined || !of.isCounted(one))) {
        expect(columns).toBe('all')
        return
      }
      for (const [column, one] of holders.entries()) {
        const mine = of.own !== undefined && (one === of.own || of.assigned[column] === of.own)
        expect(columns.includes(column as never), `${column}`).toBe(mine)
      }
    }),
    { numRuns: 1_000 },
  )
})

const SETS = ['kept', 'ending', 'local', 'pinned', 'expired', 'copies', 'ledger'] as const
const time = { blockTimeMs: 1_000_000, orphanMs: 1_000 }

test('whatever else is known of a block: needed, it is live; named by the ledger, it stays; without an old mark it stays, but for the two that may go earlier', () => {
  const block = fc.record({
    sets: fc.subarray([...SETS]),
    sinceMs: fc.option(fc.integer({ min: 990_000, max: 1_000_000 }), { nil: undefined }),
    isPressed: fc.boolean(),
  })
  fc.assert(
    fc.property(block, ({ isPressed, sets, sinceMs }) => {
      const live = new LiveSet()
      const digest = digestOf(1)
      for (const name of sets) live[name].add(digest)
      const mark: OrphanMark | undefined = sinceMs === undefined ? undefined : { sinceMs, reason: 'unreferenced' }
      const verdict = live.verdict(digest, mark, { ...time, isPressed })
      const isIn = (name: (typeof SETS)[number]): boolean => sets.includes(name)
      if (isIn('kept') || isIn('local') || isIn('pinned') || isIn('ledger')) expect(verdict).toBe('live')
      else if (isIn('ending')) expect(verdict).toBe('marked')
      else if (isIn('expired') || (isPressed && isIn('copies'))) expect(verdict).toBe('due')
      else expect(verdict).toBe(sinceMs !== undefined && sinceMs <= 999_000 ? 'due' : 'marked')
    }),
    { numRuns: 1_000 },
  )
})
