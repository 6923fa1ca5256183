/**
 * Tells the ledger which columns this peer holds now, and which it has lost. One transaction is under way at a time; what comes
 * meanwhile goes together with the next. A transaction is refused whole: then its columns are tried in halves, so that one that was
 * overtaken holds up no other.
 */
import { CodedError } from '../core/coded-error.ts'
import { COLUMNS_AT_ONCE_MAX } from '../core/limits.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import type { InstitutionAccount } from './institution-account.ts'

interface Waiting<Column> {
  readonly column: Column
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export interface ColumnConfirmsDeps<Column> {
  readonly account: Pick<InstitutionAccount, 'submit'>
  readonly draft: (columns: Column[]) => DraftTx
  readonly signal: AbortSignal
}

export class ColumnConfirms<Column> {
  readonly #deps: ColumnConfirmsDeps<Column>
  #waiting: Waiting<Column>[] = []
  #sending: Promise<void> | undefined

  constructor(deps: ColumnConfirmsDeps<Column>) {
    this.#deps = deps
  }

  /** Settles when it is final. @throws {CodedError} with what the ledger refused it for; faults of submitting */
  add(column: Column): Promise<void> {
    const settled = new Promise<void>((resolve, reject) => {
      this.#waiting.push({ column, resolve, reject })
    })
    this.#sending ??= this.#sendAll()
    return settled
  }

  /** Settles when nothing is under way. */
  async idle(): Promise<void> {
    await this.#sending
  }

  async #sendAll(): Promise<void> {
    // What ends in the same moment goes together.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const some = this.#waiting.slice(0, COLUMNS_AT_ONCE_MAX)
      this.#waiting = this.#waiting.slice(COLUMNS_AT_ONCE_MAX)
      await this.#send(some)
    }
    this.#sending = undefined
  }

  async #send(some: readonly Waiting<Column>[]): Promise<void> {
    const { account, draft, signal } = this.#deps
    try {
      const { receipt } = await account.submit(draft(some.map(({ column }) => column)), signal)
      if (receipt.ok) {
        for (const { resolve } of some) resolve()
        return
      }
      if (some.length > 1) {
        const half = Math.ceil(some.length / 2)
        await this.#send(some.slice(0, half))
        await this.#send(some.slice(half))
        return
      }
      throw new CodedError(receipt.fault)
    } catch (error) {
      for (const { reject } of some) reject(error)
    }
  }
}
