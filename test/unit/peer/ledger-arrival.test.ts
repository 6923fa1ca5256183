import { expect, test } from 'vitest'
import { LEDGER_ARRIVAL_MS } from '../../../src/core/limits.ts'
import { LedgerArrival } from '../../../src/peer/ledger-arrival.ts'

test('who waits is told when the ledger comes, and nobody waits afterwards', async () => {
  const arrival = new LedgerArrival({ nowMs: () => 0 })
  const waiting = [arrival.wait(AbortSignal.timeout(5_000)), arrival.wait(AbortSignal.timeout(5_000))]
  expect(arrival.isThere).toBe(false)
  arrival.came()
  expect(await Promise.all(waiting)).toEqual([true, true])
  expect(arrival.isThere).toBe(true)
  expect(await arrival.wait(AbortSignal.timeout(5_000))).toBe(true)
})

test('nobody waits longer than from the start on, nor when it is given up', async () => {
  let nowMs = 1_000
  const arrival = new LedgerArrival({ nowMs: () => nowMs })
  nowMs += LEDGER_ARRIVAL_MS - 20
  expect(await arrival.wait(AbortSignal.timeout(5_000))).toBe(false)
  nowMs += 20
  expect(await arrival.wait(AbortSignal.timeout(5_000))).toBe(false)
  const stopped = new LedgerArrival({ nowMs: () => nowMs })
  const stopping = new AbortController()
  const waiting = stopped.wait(stopping.signal)
  stopping.abort(new Error('stopped'))
  await expect(waiting).rejects.toThrow('stopped')
  await expect(stopped.wait(stopping.signal)).rejects.toThrow('stopped')
})
