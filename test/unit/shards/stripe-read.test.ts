import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Reach, type ShardSource, StripeRead } from '../../../src/shards/stripe-read.ts'

const CODE = { data: 4, parity: 3 }
const WHOLE = [0, 1, 2, 3]

function sources(reaches: Partial<Record<number, Reach | 'none'>> = {}): (shard: number) => ShardSource | undefined {
  return (shard) => {
    const reach = reaches[shard] ?? 'ready'
    return reach === 'none' ? undefined : { reach, cost: shard }
  }
}

test('while all holders answer, only what is wanted is asked for', () => {
  const read = new StripeRead(CODE, [1, 2])
  expect(read.next(sources())).toEqual([1, 2])
  read.here(1)
  expect(read.next(sources())).toEqual([])
  read.here(2)
  expect(read.missing).toEqual([])
})

test('a wanted shard whose holder is gone costs one other where the rest is wanted anyway, and k where it is alone', () => {
  expect(new StripeRead(CODE, WHOLE).next(sources({ 2: 'none' }))).toEqual([0, 1, 3, 4])
  expect(new StripeRead(CODE, [2]).next(sources({ 2: 'none' }))).toEqual([0, 1, 3, 4])
})

test('what lies here is taken before anybody is asked', () => {
  const near = sources({ 2: 'none', 5: 'near', 6: 'near' })
  expect(new StripeRead(CODE, [2]).next(near).toSorted()).toEqual([0, 1, 5, 6])
})

test('a late shard is still good when it comes after all', () => {
  const read = new StripeRead(CODE, WHOLE)
  read.next(sources())
  for (const shard of [0, 1, 3]) read.here(shard)
  read.late(2)
  expect(read.next(sources())).toEqual([4])
  read.here(2)
  expect(read.missing).toEqual([])
})

test('when one that was asked in the place of another is late, too, all that are left are asked', () => {
  const read = new StripeRead(CODE, WHOLE)
  read.next(sources())
  read.late(2)
  expect(read.next(sources())).toEqual([4])
  read.late(4)
  expect(read.next(sources())).toEqual([5, 6])
  for (const shard of [0, 1, 3, 6]) read.here(shard)
  expect(read.canRebuild).toBe(true)
})

test('late and absent holders are asked only where the others are too few', () => {
  const few = sources({ 1: 'late', 2: 'away', 3: 'none', 4: 'late', 5: 'none', 6: 'none' })
  const read = new StripeRead(CODE, [0])
  expect(read.next(few)).toEqual([0])
  read.failed(0)
  expect(read.next(few)).toEqual([1, 4, 2])
  expect(read.isHopeless).toBe(true)
})

// Method: shards fail, come late or arrive in any order; the model is the number of shards that can still come.
test('a stripe is read where k shards come whatever the others do, and is hopeless otherwise', () => {
  const fates = fc.array(fc.constantFrom('comes', 'fails', 'late', 'late-comes', 'nobody'), {
    minLength: 7,
    maxLength: 7,
  })
  const wanted = fc.subarray([0, 1, 2, 3, 4, 5, 6], { minLength: 1 })
  const property = fc.property(fates, wanted, fc.infiniteStream(fc.nat()), (fate, want, picks) => {
    const read = new StripeRead(CODE, want)
    const source = (shard: number): ShardSource | undefined =>
      fate[shard] === 'nobody' ? undefined : { reach: 'ready', cost: shard }
    const asked = new Set<number>()
    const late: number[] = []
    for (;;) {
      for (const shard of read.next(source)) {
        expect(asked.has(shard)).toBe(false)
        asked.add(shard)
      }
      if (read.canRebuild) for (const shard of read.missing) read.here(shard)
      if (read.missing.length === 0) break
      const open = [...asked]
      const pick = open[(picks.next().value ?? 0) % Math.max(1, open.length)] ?? late.shift()
      if (pick === undefined) break
      if (!asked.delete(pick)) read.here(pick)
      else if (fate[pick] === 'comes') read.here(pick)
      else if (fate[pick] === 'fails') read.failed(pick)
      else {
        read.late(pick)
        if (fate[pick] === 'late-comes') late.push(pick)
      }
    }
    const good = fate.filter((one) => one === 'comes' || one === 'late-comes').length
    const stuck = fate.some((one) => one === 'late')
    const direct = want.every((shard) => ['comes', 'late-comes'].includes(fate[shard] ?? ''))
    if (good >= CODE.data || direct) expect(read.missing).toEqual([])
    else if (!stuck) expect(read.isHopeless).toBe(true)
    else expect(read.missing).not.toEqual([])
  })
  fc.assert(property, { numRuns: 1_000 })
})
