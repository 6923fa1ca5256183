import { expect, test } from 'vitest'
import {
  REPAIR_QUEUE_MAX,
  REPAIR_RETRY_MS_MAX,
  REPAIR_RETRY_MS_MIN,
  REPAIR_TRIES_FRESH,
} from '../../../src/core/limits.ts'
import { DAG_CBOR, digestCid, sha256 } from '../../../src/crypto/hash.ts'
import { RepairQueue } from '../../../src/peer/repair-queue.ts'
import type { Repair, RepairReason } from '../../../src/shards/repair-order.ts'

function repair(seed: number, survives: number, reason: RepairReason = 'empty'): Repair {
  const manifest = digestCid(DAG_CBOR, sha256(Uint8Array.of(seed)))
  return { manifest, index: 0, column: 0, bytes: 10, reason, survives, sinceMs: 0 }
}

const all = { keepsLost: false, unlisted: 0 }

test('the most endangered is next, unless it runs or was tried a moment ago', () => {
  const queue = new RepairQueue()
  queue.replace([repair(1, 2), repair(2, 0), repair(3, 1)], 0, all)
  const first = queue.next(0)
  expect(first?.repair.survives).toBe(0)
  if (first === undefined) throw new Error('nothing is next')
  first.isRunning = true
  const second = queue.next(0)
  expect(second?.repair.survives).toBe(1)
  if (second === undefined) throw new Error('nothing is next')
  expect(queue.failed(second, { code: 'EXTENT_UNAVAILABLE' }, 0)).toBe(REPAIR_RETRY_MS_MIN)
  expect(queue.next(0)?.repair.survives).toBe(2)
  expect(queue.next(REPAIR_RETRY_MS_MIN)?.repair.survives).toBe(1)
})

test('pauses grow to their limit and no further', () => {
  const queue = new RepairQueue()
  queue.replace([repair(1, 1)], 0, all)
  const item = queue.next(0)
  if (item === undefined) throw new Error('nothing is next')
  const pauses = Array.from({ length: 12 }, () => queue.failed(item, undefined, 0))
  expect(pauses.toSorted((a, b) => a - b)).toEqual(pauses)
  expect(pauses.at(-1)).toBe(REPAIR_RETRY_MS_MAX)
})

test('a look drops what is repaired, keeps what runs, and what is damaged unless it looked for damage', () => {
  const queue = new RepairQueue()
  queue.replace([repair(1, 0), repair(2, 1), repair(3, 2, 'lost')], 0, all)
  const running = queue.next(0)
  if (running === undefined) throw new Error('nothing is next')
  running.isRunning = true
  queue.replace([], 1, { keepsLost: true, unlisted: 0 })
  expect([...queue.items()].map(({ repair: { reason } }) => reason)).toEqual(['empty', 'lost'])
  queue.replace([], 2, all)
  expect([...queue.items()]).toEqual([running])
  queue.done(running)
  expect(queue.size).toBe(0)
})

test('a column that was given up on the ledger is to be taken anew, though it is being mended', () => {
  const queue = new RepairQueue()
  const lost = repair(1, 0, 'lost')
  queue.replace([lost], 0, all)
  const item = queue.next(0)
  if (item === undefined) throw new Error('nothing is next')
  item.isRunning = true
  item.isSaid = true
  queue.replaceOf([lost], [repair(1, 0, 'empty')], 1)
  expect(item).toMatchObject({ repair: { reason: 'empty' }, isSaid: false })
})

test('what failed often comes after what has not, and makes room for it', () => {
  const queue = new RepairQueue()
  const hopeless = Array.from({ length: REPAIR_QUEUE_MAX }, (_, at) => ({ ...repair(1, 0), index: at }))
  const honest = repair(2, 1)
  queue.replace(queue.first([...hopeless, honest]), 0, { keepsLost: false, unlisted: 1 })
  expect([...queue.items()].map((item) => item.repair)).not.toContain(honest)
  for (const item of queue.items()) {
    for (let tries = 0; tries < REPAIR_TRIES_FRESH; tries++) queue.failed(item, { code: 'EXTENT_UNAVAILABLE' }, 0)
  }
  queue.replace(queue.first([...hopeless, honest]), 0, { keepsLost: false, unlisted: 1 })
  expect(queue.next(REPAIR_RETRY_MS_MAX)?.repair).toBe(honest)
  expect(queue.size).toBe(REPAIR_QUEUE_MAX)
})
