/**
 * Receipts of the newest final blocks. Clients ask for theirs in the seconds after it is there; on disk, a block's receipts are one
 * value, and all of them would be decoded for each.
 */
import type { TxId } from '../core/ids.ts'
import { RECEIPTS_RECENT_MAX } from '../core/limits.ts'
import type { AcceptedBlock } from '../ledger/block-tree.ts'
import type { PlacedReceipt } from '../ledger/receipt-waiters.ts'

export class RecentReceipts {
  readonly #max: number
  /** Oldest first. */
  readonly #receipts = new Map<TxId, PlacedReceipt>()

  /** @param max - how many are kept; the oldest go first. */
  constructor(max: number = RECEIPTS_RECENT_MAX) {
    this.#max = max
  }

  add({
    final,
    receipts,
  }: Pick<AcceptedBlock, 'receipts'> & { readonly final: { readonly header: { readonly height: number } } }): void {
    const { height } = final.header
    for (const [index, receipt] of receipts.entries()) this.#receipts.set(receipt.tx, { receipt, height, index })
    for (const id of this.#receipts.keys()) {
      if (this.#receipts.size <= this.#max) return
      this.#receipts.delete(id)
    }
  }

  get(id: TxId): PlacedReceipt | undefined {
    return this.#receipts.get(id)
  }
}
