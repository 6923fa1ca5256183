import { expect, test } from 'vitest'
import { Pace } from '../../../src/p2p/pace.ts'

const options = { messagesPerSecond: 10, bytesPerSecond: 1_000, burstSeconds: 2 }

test('within the burst nobody waits; beyond it, as long as the bucket needs', () => {
  let nowMs = 0
  const pace = new Pace(options, () => nowMs)
  for (let i = 0; i < 20; i++) expect(pace.take(1)).toBe(0)
  expect(pace.take(1)).toBe(100)
  nowMs = 100
  expect(pace.take(1)).toBe(100)
})

test('large messages are held to the bytes, and a long silence fills no more than the burst', () => {
  let nowMs = 0
  const pace = new Pace(options, () => nowMs)
  expect(pace.take(2_000)).toBe(0)
  expect(pace.take(500)).toBe(500)
  nowMs = 3_600_000
  expect(pace.take(2_000)).toBe(0)
  expect(pace.take(1_000)).toBe(1_000)
})

test('over a minute no more passes than the rate and one burst, however it is sent', () => {
  let nowMs = 0
  const pace = new Pace(options, () => nowMs)
  let passed = 0
  while (nowMs < 60_000) {
    nowMs += pace.take(10)
    passed++
  }
  expect(passed).toBeLessThanOrEqual(60 * 10 + 20 + 1)
  expect(passed).toBeGreaterThan(600)
})
