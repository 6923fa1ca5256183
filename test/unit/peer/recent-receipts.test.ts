import { expect, test } from 'vitest'
import { txIdOf } from '../../../src/core/ids.ts'
import type { Receipt } from '../../../src/ledger/receipt.ts'
import { RecentReceipts } from '../../../src/peer/recent-receipts.ts'

const receiptOf = (number: number): Receipt => ({ tx: txIdOf(new Uint8Array(32).fill(number)), ok: true })
const block = (height: number, receipts: readonly Receipt[]) => ({ final: { header: { height } }, receipts })

test('a receipt is found with its place', () => {
  const recent = new RecentReceipts()
  const receipts = [1, 2, 3].map(receiptOf)
  recent.add(block(7, receipts))
  expect(receipts.map(({ tx }) => recent.get(tx))).toEqual(
    receipts.map((receipt, index) => ({ receipt, height: 7, index })),
  )
  expect(recent.get(receiptOf(4).tx)).toBeUndefined()
})

test('the oldest are forgotten first, and no more are kept than were allowed', () => {
  const recent = new RecentReceipts(3)
  recent.add(block(1, [1, 2].map(receiptOf)))
  recent.add(block(2, [3, 4].map(receiptOf)))
  expect([1, 2, 3, 4].map((number) => recent.get(receiptOf(number).tx)?.height)).toEqual([undefined, 1, 2, 2])
})
