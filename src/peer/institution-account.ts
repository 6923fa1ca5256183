/**
 * Submits transactions in the name of this institution's account, and waits for what becomes of them. Any number may wait for a
 * block at once; their turns (`seq`) are given out here, one after the other, so that no two parts of the daemon take the same.
 *
 * A transaction that was lost on its way leaves a gap that those behind it wait for: then the next one takes its turn.
 */
import { CodedError, faultOf } from '../core/coded-error.ts'
import type { InstitutionId, TxId } from '../core/ids.ts'
import { INSTITUTION_TX_WAIT_MS, TX_LIFETIME_MS, TX_SUBMIT_TRIES } from '../core/limits.ts'
import type { Clock } from '../core/ports.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PlacedReceipt } from '../ledger/receipt-waiters.ts'
import { type DraftTx, type Lane, signTx, txBodyOf } from '../ledger/transaction.ts'
import type { Identity } from './identity.ts'
import type { LedgerNode } from './ledger-node.ts'

export interface InstitutionAccountDeps {
  readonly chain: Pick<Chain, 'id' | 'head' | 'nextSeq'>
  readonly node: Pick<LedgerNode, 'submit' | 'waitForReceipt'>
  readonly account: Identity['account']
  readonly institution: InstitutionId
  readonly clock: Clock
}

export type InstitutionTxFault = { code: 'TX_UNDECIDED'; tx: string; waitedMs: number }
/** A transaction of this institution's is neither in a block nor refused so far; it may still come. */
export class InstitutionTxError extends CodedError<InstitutionTxFault> {}

/** Another one has, or had, this turn. */
const TURN_TAKEN: ReadonlySet<string> = new Set(['TX_SEQ_USED', 'MEMPOOL_SEQ_TAKEN'])

export class InstitutionAccount {
  readonly #deps: InstitutionAccountDeps
  /** By lane: the turn that nothing was submitted for yet, as far as is known here. */
  readonly #next = new Map<Lane, number>()
  #turn: Promise<unknown> = Promise.resolve()

  constructor(deps: InstitutionAccountDeps) {
    this.#deps = deps
  }

  get institution(): InstitutionId {
    return this.#deps.institution
  }

  /**
   * Submits a transaction and waits until it is final, whatever became of it.
   *
   * @returns its receipt, which may hold a fault.
   * @throws {CodedError} where it can't be in a block, or no validator takes it; {InstitutionTxError} `TX_UNDECIDED`; the
   *   signal's reason when aborted
   */
  async submit(draft: DraftTx, signal: AbortSignal): Promise<PlacedReceipt> {
    const submitted = this.#turn.then(async () => this.#submitNext(draft, signal))
    this.#turn = submitted.catch(() => undefined)
    const tx = await submitted
    const timeout = AbortSignal.timeout(INSTITUTION_TX_WAIT_MS)
    try {
      return await this.#deps.node.waitForReceipt(tx, AbortSignal.any([signal, timeout]))
    } catch (error) {
      signal.throwIfAborted()
      if (!timeout.aborted) throw error
      // It, or one before it, was lost: the next takes the turn that the chain expects.
      this.#next.delete(draft.lane)
      throw new InstitutionTxError({ code: 'TX_UNDECIDED', tx, waitedMs: INSTITUTION_TX_WAIT_MS }, { cause: error })
    }
  }

  async #submitNext(draft: DraftTx, signal: AbortSignal): Promise<TxId> {
    const { account, chain, clock, institution: org, node } = this.#deps
    const expected = await chain.nextSeq(account.id, draft.lane)
    let seq = Math.max(expected, this.#next.get(draft.lane) ?? 0)
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted()
      // After a night without blocks the newest one's time is of no use.
      const expiresMs = Math.max(clock.nowMs(), chain.head.timeMs) + TX_LIFETIME_MS
      const body = txBodyOf(draft, { chain: chain.id, org, account: account.id, seq, expiresMs })
      const { bytes } = await signTx(body, [account.signer])
      try {
        const tx = await node.submit(bytes)
        this.#next.set(draft.lane, seq + 1)
        return tx
      } catch (error) {
        // The turn is free still: whoever comes next takes it.
        if (!TURN_TAKEN.has(faultOf(error)?.code ?? '') || tries === TX_SUBMIT_TRIES) throw error
        seq++
      }
    }
  }
}
