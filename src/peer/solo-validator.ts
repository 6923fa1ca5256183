/**
 * Drives consensus of one validator: turns the effects of `stepSolo` into I/O, and what was done into its next event.
 *
 * Effects are carried out one after the other, so what must be durable before a signature is durable before it.
 */
import type { InstitutionId } from '../core/ids.ts'
import { BLOCK_TXS_MAX, BLOCK_TX_BYTES_MAX } from '../core/limits.ts'
import type { Clock, Log, Signer } from '../core/ports.ts'
import {
  type SoloBlock,
  type SoloEffect,
  type SoloEvent,
  type SoloOptions,
  type SoloState,
  type SoloStep,
  startSolo,
  stepSolo,
} from '../consensus/solo.ts'
import { signVote } from '../consensus/votes.ts'
import { type Certificate, encodeCertificate } from '../ledger/certificate.ts'
import type { Chain } from '../ledger/chain.ts'
import type { SavedProposal } from '../ledger/chain-store.ts'
import { decodeHeader, headerId } from '../ledger/header.ts'
import type { Mempool } from '../ledger/mempool.ts'
import type { LedgerNode } from './ledger-node.ts'

export interface SoloValidatorDeps {
  readonly chain: Chain
  readonly mempool: Mempool
  readonly node: LedgerNode
  readonly signer: Signer
  readonly clock: Clock
  readonly log: Log
  /** Called when consensus can't go on: a failed write, or a bug. The daemon ends then; a restart goes on safely. */
  readonly onFailure: (error: unknown) => void
}

export class SoloValidator {
  readonly #deps: SoloValidatorDeps
  readonly #options: SoloOptions & { institution: InstitutionId }
  #state: SoloState | undefined
  #proposal: SavedProposal | undefined
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(deps: SoloValidatorDeps, options: SoloOptions & { institution: InstitutionId }) {
    this.#deps = deps
    this.#options = options
  }

  async start(): Promise<void> {
    const { chain, clock, node } = this.#deps
    const saved = await chain.savedProposal()
    this.#proposal = saved
    const step = startSolo(
      {
        nowMs: clock.nowMs(),
        parent: chain.head,
        set: this.#validators(),
        transactionsWait: false,
        ...(saved === undefined ? {} : { saved: blockOf(saved) }),
      },
      this.#options,
    )
    node.serveValidator(() => this.#happen({ type: 'transactions', nowMs: clock.nowMs(), wait: true }))
    this.#enqueue(async () => this.#carryOut(step))
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#turn
  }

  #happen(event: SoloEvent): void {
    this.#enqueue(async () => {
      if (this.#state !== undefined) await this.#carryOut(stepSolo(this.#state, event, this.#options))
    })
  }

  #enqueue(work: () => Promise<void>): void {
    this.#turn = this.#turn.then(async () => {
      if (this.#stopped) return
      try {
        await work()
      } catch (error) {
        this.#stopped = true
        this.#deps.log.error({ err: error }, 'consensus stopped')
        this.#deps.onFailure(error)
      }
    })
  }

  /** Carries out a step's effects, and the steps that their answers lead to. */
  async #carryOut(first: SoloStep): Promise<void> {
    this.#state = first.state
    const effects = [...first.effects]
    for (let effect = effects.shift(); effect !== undefined; effect = effects.shift()) {
      const answer = await this.#perform(effect)
      if (answer === undefined) continue
      const next = stepSolo(this.#state, answer, this.#options)
      this.#state = next.state
      effects.push(...next.effects)
    }
  }

  async #perform(effect: SoloEffect): Promise<SoloEvent | undefined> {
    const { chain, clock, signer } = this.#deps
    switch (effect.type) {
      case 'build':
        return this.#build(effect)
      case 'save':
        await chain.saveProposal(this.#saved())
        return { type: 'saved' }
      case 'sign':
        return { type: 'signed', vote: await signVote(signer, chain.id, this.#validators(), effect.ballot) }
      case 'commit':
        return this.#commit(effect.certificate)
      case 'broadcast':
        await this.#broadcast(effect.block)
        return undefined
      case 'timer':
        clearTimeout(this.#timer)
        this.#timer = setTimeout(
          () => this.#happen({ type: 'time', nowMs: clock.nowMs() }),
          Math.max(0, effect.atMs - clock.nowMs()),
        )
        return undefined
      default:
        return effect satisfies never
    }
  }

  async #build(effect: Extract<SoloEffect, { type: 'build' }>): Promise<SoloEvent> {
    const { chain, clock, log, mempool } = this.#deps
    mempool.expire(effect.timeMs)
    const txs = mempool.take({ bytes: BLOCK_TX_BYTES_MAX, count: BLOCK_TXS_MAX })
    const { institution } = this.#options
    const proposal = await chain.proposeBlock({ txs, timeMs: effect.timeMs, proposer: institution, view: effect.view })
    for (const { fault, tx } of proposal.dropped) {
      log.info({ tx: tx.id, fault: fault.code }, 'a transaction left without a block')
      mempool.remove(tx.id)
    }
    if (effect.for === 'transactions' && proposal.txs.length === 0) {
      return { type: 'nothing-to-build', nowMs: clock.nowMs() }
    }
    this.#proposal = { header: proposal.header, body: proposal.body }
    return { type: 'built', block: blockOf(this.#proposal) }
  }

  async #commit(certificate: Certificate): Promise<SoloEvent> {
    const { chain, clock, mempool } = this.#deps
    const { body, header } = this.#saved()
    await chain.acceptBlock({ header, body, certificate: encodeCertificate(certificate) })
    this.#proposal = undefined
    return {
      type: 'committed',
      nowMs: clock.nowMs(),
      parent: chain.head,
      set: this.#validators(),
      transactionsWait: mempool.count > 0,
    }
  }

  async #broadcast(block: SoloBlock): Promise<void> {
    const final = await this.#deps.chain.reader.headerAt(block.height)
    // Members that miss it ask for it later: nothing of it may stop consensus.
    if (final !== undefined) {
      this.#deps.node
        .publish(final)
        .catch((error: unknown) => this.#deps.log.warn({ err: error }, 'a header was not published'))
    }
  }

  #validators(): ReturnType<typeof startSolo>['state']['set'] {
    const set = this.#deps.chain.validators()
    if (set === undefined) throw new Error('the chain knows no validators of its next epoch')
    return set
  }

  #saved(): SavedProposal {
    if (this.#proposal === undefined) throw new Error('consensus speaks of a proposal that was not made')
    return this.#proposal
  }
}

function blockOf(proposal: SavedProposal): SoloBlock {
  const { epoch, height, view } = decodeHeader(proposal.header)
  return { id: headerId(proposal.header), epoch, view, height }
}
