// The simulator of bench/scale, at sizes that take a second: against the closed form, and against what must hold whatever happens.
import { expect, test, vi } from 'vitest'
import { checkedCode } from '../../../bench/scale.ts'
import { EventQueue } from '../../../bench/scale/event-queue.ts'
import { lossesPerYear, meanYearsToLoss, timeRatioMissing } from '../../../bench/scale/model.ts'
import { type NetworkOptions, simulate } from '../../../bench/scale/run.ts'
import { Random } from '../../sim/random.ts'

const DAY = 1 / 365.25
/** They take a second; on a busy machine more. */
const TIMEOUT_MS = 60_000

vi.setConfig({ testTimeout: TIMEOUT_MS })

const small: NetworkOptions = {
  seed: 7,
  code: { data: 10, parity: 5 },
  pools: 2,
  poolPeers: 40,
  groups: 1_024,
  objects: 1e6,
  objectBytes: 1e7,
  objectBytesSpread: 2,
  zones: 10,
  areZonesKept: true,
  years: 3,
  failuresPerYear: 0.3,
  shocksPerYear: 0,
  shockRatio: 1,
  waitYears: DAY,
  replaceYears: 7 * DAY,
  repair: { bytesPerYear: 1e7 * 86_400 * 365.25 },
}

test('the closed form agrees with chains that were solved by hand', () => {
  const half = (): number => 0.5
  // Two copies, failing once a year each: 1/2 until the first; then it is lost (1) or rebuilt (2) first.
  expect(meanYearsToLoss({ code: { data: 1, parity: 1 }, failuresPerYear: 1, repairYears: half })).toBeCloseTo(2.5, 12)
  expect(meanYearsToLoss({ code: { data: 3, parity: 0 }, failuresPerYear: 2, repairYears: half })).toBeCloseTo(
    1 / 6,
    12,
  )
  // Three columns that are missing independently, a third of the time each.
  const model = { code: { data: 1, parity: 2 }, failuresPerYear: 1, repairYears: half }
  const binomial = [8 / 27, 12 / 27, 6 / 27].map((one) => one / (26 / 27))
  expect([0, 1, 2].map((missing) => timeRatioMissing(model, missing))).toEqual(
    binomial.map((one) => expect.closeTo(one, 12)),
  )
})

test.each([
  ['1+1', { data: 1, parity: 1 }],
  ['1+2', { data: 1, parity: 2 }],
  ['2+2', { data: 2, parity: 2 }],
])('%s loses groups as often as the closed form says', (_name, code) => {
  const { losses, model } = checkedCode(code, true)
  const ratio = losses / lossesPerYear(model)
  expect(ratio).toBeGreaterThan(0.7)
  expect(ratio).toBeLessThan(1.4)
})

test('the same seed gives the same sums, another seed others', () => {
  const outcome = simulate(small)
  expect(simulate(small)).toEqual(outcome)
  expect(simulate({ ...small, seed: 8 }).columnsLost).not.toBe(outcome.columnsLost)
})

test('after years of failures and new peers the ledger still takes every table, and all time is accounted for', () => {
  const outcome = simulate(small)
  expect(outcome.failures).toBeGreaterThan(40)
  expect(outcome.tablesAccepted).toBe(outcome.tablesChecked)
  expect(outcome.fullLoadMax).toBeLessThanOrEqual(1.03)
  const groupYears = outcome.yearsMissing.reduce((sum, years) => sum + years, 0)
  expect(groupYears).toBeCloseTo(2 * 1_024 * 3, 6)
})

test('a destroyed zone takes no group whose table knows the zones, and some where it does not', () => {
  const struck = { ...small, years: 0.1, shocksPerYear: 10, zones: 4 }
  expect(simulate(struck).groupsLost).toBe(0)
  expect(simulate({ ...struck, areZonesKept: false }).groupsLost).toBeGreaterThan(0)
})

test('a network too small to rebuild waits for the new peer, and loses what fails meanwhile', () => {
  const outcome = simulate({ ...small, code: { data: 2, parity: 2 }, poolPeers: 4, failuresPerYear: 8, pools: 1 })
  expect(outcome.groupsLost).toBeGreaterThan(0)
  expect(outcome.bytesRebuilt).toBeGreaterThan(0)
  expect(outcome.tablesAccepted).toBe(1)
})

test('events come out of the queue by time', () => {
  const random = new Random(3)
  const queue = new EventQueue()
  const times = Array.from({ length: 3_000 }, () => random.unit())
  for (const [event, time] of times.entries()) queue.push(time, event)
  const out = times.map(() => ({ time: queue.nextTime, event: queue.pop() }))
  expect(out.map(({ time }) => time)).toEqual(times.toSorted((a, b) => a - b))
  expect(out.every(({ event, time }) => times[event] === time)).toBe(true)
  expect(queue.nextTime).toBe(Number.POSITIVE_INFINITY)
})
