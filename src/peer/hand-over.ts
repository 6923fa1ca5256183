/**
 * Transactions that wait at a peer which doesn't vote: clients gave them to it, and the validator that they went to may have died since; or it
 * took them in while it was a validator, and others may never have had them. They go to those who validate now, again and again until they
 * are final or expired: to have one twice is no fault. Each round begins with another validator: one that takes them and does nothing costs
 * a round.
 */
import type { Log } from '../core/ports.ts'
import { faultOf } from '../core/coded-error.ts'
import { BLOCK_TX_BYTES_MAX, TRANSACTIONS_SHARED_MAX } from '../core/limits.ts'
import type { TxId } from '../core/ids.ts'
import type { Mempool } from '../ledger/mempool.ts'

export interface HandOverDeps {
  readonly mempool: Mempool
  /** Whether this peer votes: then they wait here for a block. */
  readonly votes: () => boolean
  /** Gives an envelope to a validator, in each round to another one first. @throws where none takes it */
  readonly forward: (envelope: Uint8Array, round: number) => Promise<void>
  readonly log: Log
}

export class HandOver {
  readonly #deps: HandOverDeps
  #working: Promise<void> | undefined
  #stopped = false
  #rounds = 0

  constructor(deps: HandOverDeps) {
    this.#deps = deps
  }

  /** How many rounds were begun. */
  get rounds(): number {
    return this.#rounds
  }

  /** One round, if there is anything to hand over; one at a time. */
  now(): void {
    if (this.#stopped || this.#working !== undefined || this.#deps.mempool.count === 0) return
    this.#working = this.#round()
      .catch((error: unknown) => this.#deps.log.warn({ err: error }, 'transactions were not handed over'))
      .finally(() => {
        this.#working = undefined
      })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#working
  }

  async #round(): Promise<void> {
    const { forward, log, mempool, votes } = this.#deps
    // Whoever else hears of the same block may vote, or cease to, only after this.
    await Promise.resolve()
    const round = ++this.#rounds
    const tried = new Set<TxId>()
    for (;;) {
      const limits = { bytes: BLOCK_TX_BYTES_MAX, count: TRANSACTIONS_SHARED_MAX, skip: (id: TxId) => tried.has(id) }
      const txs = mempool.take(limits)
      if (txs.length === 0) return
      for (const { bytes, id } of txs) {
        if (this.#stopped || votes()) return
        tried.add(id)
        try {
          await forward(bytes, round)
        } catch (error) {
          const fault = faultOf(error)
          if (fault === undefined) throw error
          log.info({ tx: id, fault }, 'a transaction was not handed over')
          if (fault.code === 'LEDGER_NO_VALIDATOR') return
        }
      }
    }
  }
}
