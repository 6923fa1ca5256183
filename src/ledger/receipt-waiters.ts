/** Those who wait for the receipt of a transaction. */
import type { TxId } from '../core/ids.ts'
import type { Receipt } from './receipt.ts'

/** A receipt with the block that it stands in. */
export interface PlacedReceipt {
  readonly receipt: Receipt
  readonly height: number
  /** Position in the block. */
  readonly index: number
}

export class ReceiptWaiters {
  readonly #waiting = new Map<TxId, Set<(found: PlacedReceipt) => void>>()

  /**
   * @param signal - gives up; the promise is then rejected with the signal's reason.
   */
  wait(id: TxId, signal?: AbortSignal): Promise<PlacedReceipt> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        reject(signal.reason)
        return
      }
      const waiters = this.#waiting.get(id) ?? new Set()
      this.#waiting.set(id, waiters)
      const onAbort = (): void => {
        waiters.delete(settle)
        if (waiters.size === 0) this.#waiting.delete(id)
        reject(signal?.reason)
      }
      const settle = (found: PlacedReceipt): void => {
        signal?.removeEventListener('abort', onAbort)
        resolve(found)
      }
      waiters.add(settle)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  settle(found: PlacedReceipt): void {
    const waiters = this.#waiting.get(found.receipt.tx)
    if (waiters === undefined) return
    this.#waiting.delete(found.receipt.tx)
    for (const waiter of waiters) waiter(found)
  }
}
