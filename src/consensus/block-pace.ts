/**
 * How many transactions a block may hold so that executing it fits into its view, by how long this validator's own blocks took.
 *
 * Every validator executes a block before it votes. On a slow or busy machine a block of full size takes longer than views
 * last; all of them would be given up, nothing would become final, and what waits would grow.
 *
 * @see docs/decisions/0071-what-the-first-load-found.md
 */
import { BLOCK_PACED_TXS_MIN, BLOCK_TXS_MAX } from '../core/limits.ts'

/** Part of the newest block in the average. */
const NEWEST_RATIO = 0.5

export class BlockPace {
  #msPerTx = 0

  /** @param tookMs - for executing a block of so many transactions, waiting included. */
  executed(txs: number, tookMs: number): void {
    // What a block takes by itself would count as its transactions' where there are few.
    if (txs < BLOCK_PACED_TXS_MIN) return
    const newest = tookMs / txs
    this.#msPerTx = this.#msPerTx === 0 ? newest : this.#msPerTx + NEWEST_RATIO * (newest - this.#msPerTx)
  }

  /** @param roomMs - in which a block should be executed. */
  txsOfBlock(roomMs: number): number {
    if (this.#msPerTx <= 0) return BLOCK_TXS_MAX
    return Math.min(BLOCK_TXS_MAX, Math.max(BLOCK_PACED_TXS_MIN, Math.floor(roomMs / this.#msPerTx)))
  }
}
