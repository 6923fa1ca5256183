import * as fc from 'fast-check'
import { equals } from 'uint8arrays/equals'
import { beforeEach, describe, expect, test } from 'vitest'
import { TX_QUOTA_BURST, TX_QUOTA_PER_SECOND, TX_QUOTA_URGENT } from '../../../src/core/limits.ts'
import { accountDirectory } from '../../../src/domain/accounts.ts'
import { machines } from '../../../src/domain/machines.ts'
import { draftRecordAdd } from '../../../src/domain/records.ts'
import { admissionFault, execute } from '../../../src/ledger/execution.ts'
import { Registry } from '../../../src/ledger/machine.ts'
import { QUOTA_NAMESPACE, quotaChange, quotaFault } from '../../../src/ledger/quota.ts'
import { BlockState } from '../../../src/ledger/state.ts'
import type { Lane, SignedTx } from '../../../src/ledger/transaction.ts'
import { VerifiedSignatures } from '../../../src/ledger/verified-signatures.ts'
import { START_MS, TestChain, person } from './network.ts'
import { manifestOf, wrapped } from './samples.ts'

const ada = person('ada', 'city')
const ben = person('ben', 'north')
const record = draftRecordAdd({ patient: ada.id, category: 'imaging', manifest: manifestOf('m'), key: wrapped('ada') })

let chain: TestChain
let template: SignedTx
beforeEach(async () => {
  chain = await TestChain.open()
  await chain.block(await chain.createTx(ada), await chain.createTx(ben))
  template = await chain.tx(ada, record)
})

const inLane = (lane: Lane): SignedTx => ({ ...template, body: { ...template.body, lane } })

/** A bucket by itself, in a state that is nowhere else. */
class Bucket {
  readonly state = new BlockState(async () => undefined, 1)
  /** Whether one fits; if it does, it is taken. */
  async take(nowMs: number, lane: Lane = 1): Promise<boolean> {
    const tx = inLane(lane)
    if ((await quotaFault(this.state, tx, nowMs)) !== undefined) return false
    this.state.apply([await quotaChange(this.state, tx, nowMs)])
    return true
  }
  async takeAll(nowMs: number, lane: Lane = 1): Promise<number> {
    let taken = 0
    while (await this.take(nowMs, lane)) taken++
    return taken
  }
}

describe('a quota', () => {
  test('lets a burst through at once, then as many as time brings', async () => {
    const bucket = new Bucket()
    expect(await bucket.takeAll(START_MS)).toBe(TX_QUOTA_BURST - TX_QUOTA_URGENT)
    expect(await bucket.takeAll(START_MS)).toBe(0)
    expect(await bucket.takeAll(START_MS + 100)).toBe(TX_QUOTA_PER_SECOND / 10)
    expect(await bucket.takeAll(START_MS + 3_600_000)).toBe(TX_QUOTA_BURST - TX_QUOTA_URGENT)
  })

  test('keeps a part for lane 0: a flood in other lanes does not shut revocations out', async () => {
    const bucket = new Bucket()
    await bucket.takeAll(START_MS, 3)
    expect(await bucket.takeAll(START_MS, 0)).toBe(TX_QUOTA_URGENT)
    expect(await bucket.take(START_MS + 500, 1)).toBe(false)
    expect(await bucket.take(START_MS + 500, 0)).toBe(true)
  })

  test('says when the next fits, and it does then, not a millisecond before', async () => {
    const bucket = new Bucket()
    await bucket.takeAll(START_MS)
    const fault = await quotaFault(bucket.state, inLane(1), START_MS)
    if (fault?.code !== 'TX_QUOTA_EXHAUSTED') throw new Error('it is exhausted')
    expect(await bucket.take(fault.fitsMs - 1)).toBe(false)
    expect(await bucket.take(fault.fitsMs)).toBe(true)
  })

  test('never lets through more than burst and rate, whenever they come', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 4_000 }), { minLength: 1, maxLength: 12 }), async (steps) => {
        const bucket = new Bucket()
        let nowMs = START_MS
        let taken = await bucket.takeAll(nowMs)
        for (const step of steps) {
          nowMs += step
          taken += await bucket.takeAll(nowMs)
          const limit = TX_QUOTA_BURST - TX_QUOTA_URGENT + ((nowMs - START_MS) * TX_QUOTA_PER_SECOND) / 1_000
          expect(taken).toBeLessThanOrEqual(limit)
        }
      }),
      { numRuns: 5 },
    )
  })
})

describe('in a block', () => {
  const held = async (org: string): Promise<number> => {
    const value = await chain.chain.reader.get(QUOTA_NAMESPACE, new TextEncoder().encode(org))
    return (value as { milliTokens: number } | undefined)?.milliTokens ?? TX_QUOTA_BURST * 1_000
  }

  test('every transaction takes one, a refused one too; each institution has its own', async () => {
    const full = TX_QUOTA_BURST * 1_000
    expect([await held('city'), await held('north'), await held('lab')]).toEqual([full - 1_000, full - 1_000, full])
    const refused = await chain.tx(ada, { ...record, payload: null }, { seq: 3 })
    await chain.block(await chain.tx(ada, record), refused)
    // The time between the blocks brought more than the one that was missing.
    expect(await held('city')).toBe(full - 2_000)
  })

  /** The state of the chain, with three tokens left to the institution of `ada` beside those for lane 0. */
  function nearlyEmpty(): BlockState {
    const left = { version: 1, value: { milliTokens: (TX_QUOTA_URGENT + 3) * 1_000, timeMs: chain.nowMs } }
    const org = new TextEncoder().encode('city')
    return new BlockState(
      async (namespace, key) =>
        namespace === QUOTA_NAMESPACE && equals(key, org) ? left : chain.chain.reader.stored(namespace, key),
      2,
    )
  }
  const rules = {
    registry: new Registry(machines),
    directory: accountDirectory,
    signatures: new VerifiedSignatures(),
  }

  test('what is over the quota has no place, in the order of the block; others are not touched by it', async () => {
    const txs = await Promise.all([2, 3, 4, 5, 6].map((seq) => chain.tx(ada, record, { seq })))
    const other = await chain.tx(ben, record)
    const block = { chain: chain.id, height: 2, parent: new Uint8Array(32), timeMs: chain.nowMs }
    const { dropped, included } = await execute(rules, nearlyEmpty(), [...txs, other], block)
    expect(included).toEqual([...txs.slice(0, 3), other])
    expect(dropped.map(({ fault }) => fault)).toEqual([
      { code: 'TX_QUOTA_EXHAUSTED', org: 'city', fitsMs: chain.nowMs + 1 },
      // Its turn didn't come: the one before it has no place yet.
      { code: 'TX_SEQ_AHEAD', seq: 6, next: 5 },
    ])
  })

  test('one that waits is judged by the time it is now', async () => {
    const state = nearlyEmpty()
    const block = { chain: chain.id, height: 2, parent: new Uint8Array(32), timeMs: chain.nowMs }
    await execute(rules, state, await Promise.all([2, 3, 4].map((seq) => chain.tx(ada, record, { seq }))), block)
    const next = await chain.tx(ada, record, { seq: 5 })
    const code = async (timeMs: number): Promise<string | undefined> =>
      (await admissionFault(rules, state, next, { chain: chain.id, timeMs }, { ahead: true }))?.code
    expect(await code(chain.nowMs)).toBe('TX_QUOTA_EXHAUSTED')
    expect(await code(chain.nowMs + 1)).toBeUndefined()
  })
})
