import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ByteRate } from '../../../src/peer/byte-rate.ts'

/** A clock that only sleeping moves. */
function virtual(): { nowMs: () => number; sleep: (ms: number) => Promise<void>; advance: (ms: number) => void } {
  let nowMs = 0
  const advance = (ms: number): void => {
    nowMs += ms
  }
  return { nowMs: () => nowMs, advance, sleep: async (ms) => advance(ms) }
}

const signal = new AbortController().signal

test('over any stretch of time no more flows than the rate, one burst, and one read', async () => {
  const action = fc.record({ pauseMs: fc.nat(3_000), bytes: fc.integer({ min: 1, max: 50_000 }) })
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 1, maxLength: 60 }), async (actions) => {
      const clock = virtual()
      const [bytesPerSecond, burstBytes] = [10_000, 4_000]
      const rate = new ByteRate({ bytesPerSecond, burstBytes }, clock)
      const flowed: { atMs: number; bytes: number }[] = []
      for (const { bytes, pauseMs } of actions) {
        clock.advance(pauseMs)
        await rate.ready(signal)
        rate.spend(bytes)
        flowed.push({ atMs: clock.nowMs(), bytes })
      }
      for (const [from, { atMs }] of flowed.entries()) {
        let sum = 0
        for (const [to, one] of flowed.entries()) {
          if (to < from) continue
          const allowed = ((one.atMs - atMs) / 1_000) * bytesPerSecond + burstBytes
          // What the last read costs isn't known before it.
          expect(sum).toBeLessThanOrEqual(allowed + 1)
          sum += one.bytes
        }
      }
    }),
  )
})

test('a rate that is asked all the time is used up', async () => {
  const clock = virtual()
  const rate = new ByteRate({ bytesPerSecond: 1_000_000, burstBytes: 1_000 }, clock)
  let bytes = 0
  while (clock.nowMs() < 60_000) {
    await rate.ready(signal)
    rate.spend(7_000)
    bytes += 7_000
  }
  expect(bytes / 60).toBeGreaterThan(950_000)
  expect(bytes / 60).toBeLessThan(1_010_000)
})

test('waiting ends with its signal', async () => {
  const rate = new ByteRate({ bytesPerSecond: 1, burstBytes: 1 })
  rate.spend(1_000_000)
  const ending = new AbortController()
  const waiting = rate.ready(ending.signal)
  ending.abort(new Error('told to stop'))
  await expect(waiting).rejects.toThrow('aborted')
})
