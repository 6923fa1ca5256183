/**
 * Commits the extents of one object on the ledger, in their order. One transaction is under way at a time; what is written meanwhile
 * goes together with the next, so that small extents share one and large ones don't wait.
 */
import { COMMIT_BYTES, COMMIT_EXTENTS_MAX } from '../core/limits.ts'
import { CodedError } from '../core/coded-error.ts'
import { encodeCanonical } from '../core/codec.ts'
import { type CommitExtent, type StorageCommit, draftStorageCommit } from '../domain/storage-commit.ts'
import type { InstitutionAccount } from './institution-account.ts'

export class ExtentCommits {
  readonly #account: InstitutionAccount
  readonly #object: StorageCommit['object']
  readonly #signal: AbortSignal
  readonly #onCommitted: (extents: number) => void
  #waiting: CommitExtent[] = []
  /** Number of the first that waits. */
  #first: number
  #sending: Promise<void> | undefined
  #failure: Error | undefined

  /** @param of.first - number of the first extent that isn't on the ledger. */
  constructor(
    deps: { readonly account: InstitutionAccount; readonly onCommitted: (extents: number) => void },
    of: { readonly object: StorageCommit['object']; readonly first: number; readonly signal: AbortSignal },
  ) {
    this.#account = deps.account
    this.#onCommitted = deps.onCommitted
    this.#object = of.object
    this.#first = of.first
    this.#signal = of.signal
  }

  /** The next extent in order. @throws what an earlier one was refused for */
  add(extent: CommitExtent): void {
    if (this.#failure !== undefined) throw this.#failure
    this.#waiting.push(extent)
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined
    })
  }

  /** Settles when all are final. @throws {CodedError} with what the ledger refused them for; faults of submitting */
  async done(): Promise<void> {
    await this.#sending
    if (this.#failure !== undefined) throw this.#failure
  }

  async #sendAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0) {
        const extents = this.#takeWaiting()
        const draft = draftStorageCommit({ object: this.#object, first: this.#first, extents })
        const { receipt } = await this.#account.submit(draft, this.#signal)
        if (!receipt.ok) throw new CodedError(receipt.fault)
        this.#first += extents.length
        this.#onCommitted(extents.length)
      }
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error))
    }
  }

  /** As many as fit one transaction. */
  #takeWaiting(): CommitExtent[] {
    let bytes = 0
    let count = 0
    for (const extent of this.#waiting.slice(0, COMMIT_EXTENTS_MAX)) {
      bytes += encodeCanonical(extent).length
      if (count > 0 && bytes > COMMIT_BYTES) break
      count++
    }
    return this.#waiting.splice(0, count)
  }
}
