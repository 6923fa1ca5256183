/**
 * Transactions that other validators took in and hand on; untrusted.
 *
 * An honest validator has verified exactly these bytes before it hands them on. So one whose signature doesn't hold, or that is no
 * transaction at all, is proof against who sent it, and costs it: nothing more is taken from it for long. All other faults may come of
 * one of the two being behind: key, turn, quota.
 */
import { CodecError } from '../core/codec.ts'
import { type Fault, faultOf } from '../core/coded-error.ts'
import type { InstitutionId } from '../core/ids.ts'
import {
  TRANSACTIONS_REFUSED_MS,
  TRANSACTIONS_SHARED_WAITING_BYTES_MAX,
  TRANSACTIONS_SHARED_WAITING_MAX,
} from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { leafHash } from '../crypto/merkle.ts'
import type { Mempool } from '../ledger/mempool.ts'
import { type SignedTx, decodeEnvelope } from '../ledger/transaction.ts'
import type { TransactionTurns } from './transaction-turns.ts'

export interface SharedTransactionsDeps {
  readonly turns: TransactionTurns
  readonly mempool: Pick<Mempool, 'byLeaf'>
  /** @throws with a fault where it can't wait for a block */
  readonly admit: (tx: SignedTx) => Promise<unknown>
  readonly clock: Clock
  readonly log: Log
}

interface Waiting {
  count: number
  bytes: number
}

export class SharedTransactions {
  readonly #deps: SharedTransactionsDeps
  /** Both have an entry for each validator at the most. */
  readonly #waiting = new Map<InstitutionId, Waiting>()
  readonly #refusedUntilMs = new Map<InstitutionId, number>()

  constructor(deps: SharedTransactionsDeps) {
    this.#deps = deps
  }

  /** @param from - the validator that hands them on. */
  take(from: InstitutionId, envelopes: readonly Uint8Array[]): void {
    if (this.#isRefused(from)) return
    const { log, turns } = this.#deps
    const waiting = this.#waiting.get(from) ?? { count: 0, bytes: 0 }
    this.#waiting.set(from, waiting)
    for (const [index, bytes] of envelopes.entries()) {
      const isFull =
        waiting.count >= TRANSACTIONS_SHARED_WAITING_MAX ||
        waiting.bytes + bytes.length > TRANSACTIONS_SHARED_WAITING_BYTES_MAX
      if (isFull) {
        // It keeps them, and hands them on again if they have to wait.
        log.debug(
          { institution: from, dropped: envelopes.length - index },
          'transactions came faster than they are taken',
        )
        return
      }
      waiting.count++
      waiting.bytes += bytes.length
      turns
        .run(from, async () => {
          waiting.count--
          waiting.bytes -= bytes.length
          if (!this.#isRefused(from)) await this.#takeOne(from, bytes)
        })
        .catch((error: unknown) => log.error({ err: error }, 'a transaction from a validator was not taken'))
    }
  }

  async #takeOne(from: InstitutionId, bytes: Uint8Array): Promise<void> {
    const { admit, log, mempool } = this.#deps
    // Where blocks are slow to come, validators hand on what waits again and again.
    const leaf = leafHash(bytes)
    if (mempool.byLeaf(leaf) !== undefined) return
    const tx = this.#decoded(from, bytes, leaf)
    if (tx === undefined) return
    try {
      await admit(tx)
    } catch (error) {
      const fault = faultOf(error)
      if (fault === undefined) throw error
      if (fault.code === 'TX_SIGNATURE_INVALID') this.#refuse(from, fault)
      else log.debug({ fault }, 'a transaction from a validator was not taken')
    }
  }

  #decoded(from: InstitutionId, bytes: Uint8Array, leaf: Uint8Array): SignedTx | undefined {
    try {
      // A copy: as long as it waits, a view would hold on to the whole message.
      return decodeEnvelope(new Uint8Array(bytes), leaf)
    } catch (error) {
      if (!(error instanceof CodecError)) throw error
      this.#refuse(from, error.fault)
      return undefined
    }
  }

  #isRefused(from: InstitutionId): boolean {
    return (this.#refusedUntilMs.get(from) ?? 0) > this.#deps.clock.nowMs()
  }

  #refuse(from: InstitutionId, fault: Fault): void {
    // Others of the same turn may have begun.
    if (this.#isRefused(from)) return
    const { clock, log } = this.#deps
    this.#refusedUntilMs.set(from, clock.nowMs() + TRANSACTIONS_REFUSED_MS)
    log.error(
      { institution: from, fault, refusedMs: TRANSACTIONS_REFUSED_MS },
      'a validator handed on what it can not have verified: no more transactions are taken from it for now',
    )
  }
}
