import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  SOLO_DEFAULTS,
  type SoloBlock,
  type SoloEffect,
  type SoloEvent,
  type SoloState,
  type SoloStep,
  startSolo,
  stepSolo,
} from '../../../src/consensus/solo.ts'
import { signVote } from '../../../src/consensus/votes.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { encodeCertificate } from '../../../src/ledger/certificate.ts'
import { decodeHeader, headerId } from '../../../src/ledger/header.ts'
import type { Proposal } from '../../../src/ledger/proposal.ts'
import type { SignedTx } from '../../../src/ledger/transaction.ts'
import type { ValidatorSet } from '../../../src/ledger/validators.ts'
import { GENESIS, START_MS, TestChain, makeGenesis, person, seedOf, signerOf } from '../ledger/network.ts'

const set: ValidatorSet = { epoch: 0, seed: seedOf('epoch'), validators: GENESIS.validators }
const parent = { height: 4, view: 4, timeMs: START_MS }
const block: SoloBlock = { id: cborCid(new Uint8Array([1])), epoch: 0, view: 5, height: 5 }
const chainId = new TestChain().id

const vote = (of = block) =>
  signVote(signerOf('city consensus'), chainId, set, { epoch: 0, view: of.view, kind: 'finalize', block: of.id })

const start = (nowMs: number, transactionsWait: boolean, saved?: SoloBlock): SoloStep =>
  startSolo({ nowMs, parent, set, transactionsWait, ...(saved === undefined ? {} : { saved }) })

/** Feeds events one by one; the effects of the last. */
function run(first: SoloStep, ...events: SoloEvent[]): SoloStep {
  return events.reduce((step: SoloStep, event) => stepSolo(step.state, event), first)
}

const kinds = (step: SoloStep): string[] => step.effects.map(({ type }) => type)

describe('rule 2: when a block is due', () => {
  test('with transactions waiting, 150 ms after the parent', () => {
    expect(start(START_MS + 149, true).effects).toEqual([{ type: 'timer', atMs: START_MS + 150 }])
    expect(start(START_MS + 150, true).effects).toEqual([
      { type: 'build', for: 'transactions', view: 5, timeMs: START_MS + 150 },
    ])
  })

  test('with none, 10 s after the parent, so that block time goes on', () => {
    expect(start(START_MS + 9_999, false).effects).toEqual([{ type: 'timer', atMs: START_MS + 10_000 }])
    expect(start(START_MS + 10_000, false).effects).toEqual([
      { type: 'build', for: 'idle', view: 5, timeMs: START_MS + 10_000 },
    ])
  })

  test('transactions that come shorten the wait, and those that go lengthen it', () => {
    const idle = start(START_MS + 10, false)
    const busy = run(idle, { type: 'transactions', nowMs: START_MS + 20, wait: true })
    expect(busy.effects).toEqual([{ type: 'timer', atMs: START_MS + 150 }])
    expect(run(busy, { type: 'transactions', nowMs: START_MS + 30, wait: false }).effects).toEqual([
      { type: 'timer', atMs: START_MS + 10_000 },
    ])
    expect(kinds(run(idle, { type: 'transactions', nowMs: START_MS + 400, wait: true }))).toEqual(['build'])
  })

  test('with a clock that was set back, when it has caught up with the parent', () => {
    const step = start(START_MS - 3_600_000, true)
    expect(step.effects).toEqual([{ type: 'timer', atMs: START_MS + 150 }])
    expect(kinds(run(step, { type: 'time', nowMs: START_MS + 150 }))).toEqual(['build'])
  })

  test('intervals can be set, even to nothing: a block is later than its parent all the same', () => {
    const options = { blockIntervalMs: 0, idleIntervalMs: 60_000 }
    const step = startSolo({ nowMs: START_MS, parent, set, transactionsWait: true }, options)
    expect(step.effects).toEqual([{ type: 'build', for: 'transactions', view: 5, timeMs: START_MS + 1 }])
    expect(SOLO_DEFAULTS).toEqual({ blockIntervalMs: 150, idleIntervalMs: 10_000 })
  })
})

describe('the way of a block', () => {
  test('is built, saved, signed, committed, and only then told to others', async () => {
    const built = run(start(START_MS + 150, true), { type: 'built', block })
    expect(built.effects).toEqual([{ type: 'save', block }])
    const saved = run(built, { type: 'saved' })
    expect(saved.effects).toEqual([{ type: 'sign', ballot: { epoch: 0, view: 5, kind: 'finalize', block: block.id } }])
    const signed = run(saved, { type: 'signed', vote: await vote() })
    expect(kinds(signed)).toEqual(['commit'])
    const nowMs = START_MS + 160
    const next = { height: 5, view: 5, timeMs: START_MS + 150 }
    const done = run(signed, { type: 'committed', nowMs, parent: next, set, transactionsWait: false })
    expect(kinds(done)).toEqual(['broadcast', 'timer'])
    expect(done.state).toEqual({ parent: next, set, transactionsWait: false, phase: { name: 'waiting' } })
  })

  test('is not disturbed by time and by transactions', async () => {
    const signedVote = await vote()
    const noise: SoloEvent[] = [
      { type: 'time', nowMs: START_MS + 99_000 },
      { type: 'transactions', nowMs: START_MS + 99_000, wait: true },
    ]
    let step = start(START_MS + 150, true)
    for (const event of [{ type: 'built', block }, { type: 'saved' }, { type: 'signed', vote: signedVote }] as const) {
      for (const one of noise) expect(stepSolo(step.state, one).effects).toEqual([])
      step = stepSolo(step.state, event)
      expect(step.effects).toHaveLength(1)
    }
  })

  test('ends where nothing that waited had a place: then the chain is idle', () => {
    const step = run(start(START_MS + 150, true), { type: 'nothing-to-build', nowMs: START_MS + 151 })
    expect(step.effects).toEqual([{ type: 'timer', atMs: START_MS + 10_000 }])
  })

  test('begins with signing where a proposal was saved before a restart, whatever waits', () => {
    for (const wait of [true, false]) {
      expect(start(START_MS + 99_000, wait, block).effects).toEqual([
        { type: 'sign', ballot: { epoch: 0, view: 5, kind: 'finalize', block: block.id } },
      ])
    }
  })

  test('takes no answer to what was not asked', async () => {
    const events: SoloEvent[] = [
      { type: 'built', block },
      { type: 'nothing-to-build', nowMs: 0 },
      { type: 'saved' },
      { type: 'signed', vote: await vote() },
      { type: 'committed', nowMs: 0, parent, set, transactionsWait: false },
    ]
    const { state } = start(START_MS, false)
    for (const event of events) expect(() => stepSolo(state, event), event.type).toThrow('CONSENSUS_EVENT_OUT_OF_ORDER')
  })

  test('takes no block of another view, and no vote for another block', async () => {
    const building = start(START_MS + 150, true)
    expect(() => run(building, { type: 'built', block: { ...block, view: 6 } })).toThrow('CONSENSUS_BLOCK_WRONG')
    expect(() => run(building, { type: 'built', block: { ...block, height: 6 } })).toThrow('CONSENSUS_BLOCK_WRONG')
    const signing = run(building, { type: 'built', block }, { type: 'saved' })
    const other = await vote({ ...block, id: cborCid(new Uint8Array([2])) })
    expect(() => run(signing, { type: 'signed', vote: other })).toThrow('CONSENSUS_VOTE_WRONG')
  })

  test('is not for several validators', () => {
    const two = makeGenesis({ city: 'hospital', north: 'hospital' }, ['city', 'north']).validators
    const several = { ...set, validators: two }
    const begin = (): SoloStep => startSolo({ nowMs: START_MS, parent, set: several, transactionsWait: false })
    expect(begin).toThrow('CONSENSUS_NOT_SOLO')
  })
})

/** A validator on a real chain, whose power can be cut after any effect: what isn't in the store is lost. */
class Validator {
  readonly signatures = new Map<number, Set<string>>()
  readonly chain: TestChain
  #state: SoloState | undefined
  #effects: SoloEffect[] = []
  #proposal: Proposal | undefined

  constructor(chain: TestChain) {
    this.chain = chain
  }

  async start(): Promise<void> {
    await this.chain.reopen(this.chain.store.copy())
    const { head } = this.chain.chain
    const saved = await this.chain.chain.savedProposal()
    this.#proposal = undefined
    this.#effects = []
    this.#take(
      startSolo({
        nowMs: this.chain.nowMs,
        parent: head,
        set: this.#set(),
        transactionsWait: true,
        ...(saved === undefined ? {} : { saved: { ...decodeHeader(saved.header), id: headerId(saved.header) } }),
      }),
    )
  }

  /** Does one effect; the driver of the peer does the same with timers and a network. */
  async act(txs: readonly SignedTx[]): Promise<void> {
    const effect = this.#effects.shift()
    if (effect === undefined) {
      this.chain.nowMs += 200
      this.#event({ type: 'time', nowMs: this.chain.nowMs })
      return
    }
    const { chain } = this.chain
    switch (effect.type) {
      case 'build': {
        const [proposer] = this.#set().validators
        if (proposer === undefined) throw new Error('one validator')
        const { timeMs, view } = effect
        this.#proposal = await chain.proposeBlock({ txs, timeMs, view, proposer: proposer.institution })
        this.#event({ type: 'built', block: { ...this.#proposal.fields, id: this.#proposal.id } })
        return
      }
      case 'save':
        if (this.#proposal === undefined) throw new Error('built before it is saved')
        await chain.saveProposal(this.#proposal)
        this.#event({ type: 'saved' })
        return
      case 'sign': {
        const height = chain.head.height + 1
        const signed = this.signatures.get(height) ?? new Set()
        this.signatures.set(height, signed.add(effect.ballot.block?.toString() ?? ''))
        const signer = signerOf('city consensus')
        this.#event({ type: 'signed', vote: await signVote(signer, this.chain.id, this.#set(), effect.ballot) })
        return
      }
      case 'commit': {
        const saved = await chain.savedProposal()
        if (saved === undefined) throw new Error('saved before it is committed')
        await chain.acceptBlock({ ...saved, certificate: encodeCertificate(effect.certificate) })
        const { nowMs } = this.chain
        this.#event({ type: 'committed', nowMs, parent: chain.head, set: this.#set(), transactionsWait: true })
        return
      }
      default:
        return
    }
  }

  #set(): ValidatorSet {
    const found = this.chain.chain.validators()
    if (found === undefined) throw new Error('the next epoch is known')
    return found
  }

  #event(event: SoloEvent): void {
    if (this.#state === undefined) throw new Error('start first')
    this.#take(stepSolo(this.#state, event))
  }

  #take(step: SoloStep): void {
    this.#state = step.state
    this.#effects.push(...step.effects)
  }
}

test('whenever the power is cut, one block is signed at a height, the chain goes on, and nothing final is lost', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { minLength: 20, maxLength: 60 }), async (cuts) => {
      const validator = new Validator(new TestChain())
      await validator.start()
      let accounts = 0
      for (const cut of cuts) {
        const before = validator.chain.chain.head
        // Another transaction each time: building again would give another block.
        const create = await validator.chain.createTx(person(`person ${accounts++}`, 'city'))
        await validator.act([create])
        if (cut) {
          const { height } = validator.chain.chain.head
          await validator.start()
          expect(validator.chain.chain.head.height).toBe(height)
        }
        expect(validator.chain.chain.head.height).toBeGreaterThanOrEqual(before.height)
      }
      for (let calm = 0; calm < 12; calm++) await validator.act([])
      for (const [height, signed] of validator.signatures) expect([height, signed.size]).toEqual([height, 1])
      expect(validator.chain.chain.head.height).toBeGreaterThan(0)
    }),
    { numRuns: 25 },
  )
})
