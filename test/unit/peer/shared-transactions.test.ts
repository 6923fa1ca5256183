import { expect, test, vi } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import {
  TRANSACTIONS_PER_TURN,
  TRANSACTIONS_REFUSED_MS,
  TRANSACTIONS_SHARED_MAX,
  TRANSACTIONS_SHARED_WAITING_MAX,
} from '../../../src/core/limits.ts'
import { decodeCanonical, encodeCanonical } from '../../../src/core/codec.ts'
import { Mempool } from '../../../src/ledger/mempool.ts'
import type { SignedTx } from '../../../src/ledger/transaction.ts'
import { SharedTransactions } from '../../../src/peer/shared-transactions.ts'
import { TransactionTurns } from '../../../src/peer/transaction-turns.ts'
import { TestChain, person, silentLog } from '../ledger/network.ts'

const CITY = parseInstitutionId('city')
const LAB = parseInstitutionId('lab')

/** The last byte of the last signature is another. */
function forged(bytes: Uint8Array): Uint8Array {
  const value = decodeCanonical(bytes) as { sigs: { sig: Uint8Array }[] }
  const sig = value.sigs.at(-1)?.sig
  if (sig === undefined) throw new Error('it is signed')
  sig[40] = (sig[40] ?? 0) ^ 1
  return encodeCanonical(value)
}

interface Scene {
  readonly chain: TestChain
  readonly mempool: Mempool
  readonly shared: SharedTransactions
  readonly turns: TransactionTurns
  readonly create: (name: string) => Promise<Uint8Array>
  looked: number
}

/** What a peer does with what others hand on, over a real chain. @param admit - in its place. */
async function scene(admit?: (tx: SignedTx) => Promise<void>): Promise<Scene> {
  const chain = await TestChain.open()
  const mempool = new Mempool()
  const turns = new TransactionTurns()
  const it: Scene = {
    chain,
    mempool,
    turns,
    looked: 0,
    create: async (name) => (await chain.createTx(person(name, 'city'))).bytes,
    shared: new SharedTransactions({
      turns,
      mempool,
      clock: { nowMs: () => chain.nowMs },
      log: silentLog,
      admit: async (tx) => {
        it.looked++
        if (admit !== undefined) return admit(tx)
        const fault = await chain.chain.admissionFault(tx, chain.nowMs)
        if (fault !== undefined) throw new CodedError(fault)
        mempool.add(tx, await chain.chain.nextSeq(tx.body.account, tx.body.lane), chain.nowMs)
        return undefined
      },
    }),
  }
  return it
}

test('a thousand forged transactions cost one turn: nothing is taken any more from the validator that handed them on', async () => {
  const it = await scene()
  const bad = forged(await it.create('ada'))
  it.shared.take(
    LAB,
    Array.from({ length: TRANSACTIONS_SHARED_MAX }, () => bad),
  )
  it.shared.take(CITY, [await it.create('ben')])
  await vi.waitFor(() => expect(it.mempool.count).toBe(1))
  expect(it.looked).toBeLessThanOrEqual(TRANSACTIONS_PER_TURN)
  it.shared.take(LAB, [await it.create('cem')])
  // Behind it in the queue.
  await it.turns.run('last', async () => undefined)
  expect(it.mempool.count).toBe(1)
  it.chain.nowMs += TRANSACTIONS_REFUSED_MS
  it.shared.take(LAB, [await it.create('cem')])
  await vi.waitFor(() => expect(it.mempool.count).toBe(2))
})

test('what is no transaction costs the same', async () => {
  const it = await scene()
  it.shared.take(LAB, [new Uint8Array(100).fill(7), ...(await Promise.all(['ada', 'ben'].map(it.create)))])
  it.shared.take(LAB, [await it.create('cem')])
  it.shared.take(CITY, [await it.create('dan')])
  await vi.waitFor(() => expect(it.mempool.count).toBeGreaterThan(0))
  await it.turns.run('last', async () => undefined)
  // Those of the same turn had begun.
  expect(it.mempool.count).toBeLessThan(4)
  it.shared.take(LAB, [await it.create('eva')])
  await it.turns.run('last', async () => undefined)
  expect(it.mempool.count).toBeLessThan(4)
})

test.each(['TX_SIGNATURE_KEY_WRONG', 'TX_SEQ_USED', 'TX_QUOTA_EXHAUSTED', 'MEMPOOL_FULL'])(
  '%s may come of being behind: the next one is looked at',
  async (code) => {
    const it = await scene(async () => {
      throw new CodedError({ code })
    })
    it.shared.take(LAB, [await it.create('ada')])
    await vi.waitFor(() => expect(it.looked).toBe(1))
    it.shared.take(LAB, [await it.create('ben')])
    await vi.waitFor(() => expect(it.looked).toBe(2))
  },
)

test('who sends a thousand does not keep the others from their turns, nor all else', async () => {
  const it = await scene(async () => undefined)
  const bytes = await it.create('ada')
  it.shared.take(
    LAB,
    Array.from({ length: TRANSACTIONS_SHARED_MAX }, () => bytes),
  )
  it.shared.take(CITY, [bytes])
  let turnOfOther = 0
  const other = it.turns.run('another', async () => {
    turnOfOther = it.looked
  })
  let inBetween = 0
  const look = (): void => {
    inBetween++
    if (it.looked <= TRANSACTIONS_SHARED_MAX) setImmediate(look)
  }
  setImmediate(look)
  await other
  expect(turnOfOther).toBeLessThanOrEqual(TRANSACTIONS_PER_TURN)
  await vi.waitFor(() => expect(it.looked).toBe(TRANSACTIONS_SHARED_MAX + 1))
  expect(inBetween).toBeGreaterThanOrEqual(TRANSACTIONS_SHARED_MAX / TRANSACTIONS_PER_TURN - 1)
})

test('of one validator so many wait and no more', async () => {
  const it = await scene(async () => undefined)
  const bytes = await it.create('ada')
  const message = Array.from({ length: TRANSACTIONS_SHARED_MAX }, () => bytes)
  for (let sent = 0; sent < 2 * TRANSACTIONS_SHARED_WAITING_MAX; sent += message.length) it.shared.take(LAB, message)
  await vi.waitFor(() => expect(it.looked).toBe(TRANSACTIONS_SHARED_WAITING_MAX))
  await it.turns.stop()
  expect(it.looked).toBe(TRANSACTIONS_SHARED_WAITING_MAX)
})
