/**
 * Transactions from other peers wait here for their turn: to decode and verify one takes a tenth of a millisecond, and whoever sends a
 * thousand at once must not keep this peer from its votes and timers for as long as they take together. A few are taken at a time, from
 * those who sent them in turn, and whatever else happened has its turn in between.
 */
import { setImmediate } from 'node:timers/promises'
import { TRANSACTIONS_PER_TURN } from '../core/limits.ts'

export class TransactionTurns {
  /** By who sent them, in the order of their turns. */
  readonly #waiting = new Map<string, (() => Promise<void>)[]>()
  #working: Promise<void> | undefined

  /** Does it in its turn. How much may wait of one sender is the caller's to bound. */
  async run<T>(from: string, task: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const waiting = this.#waiting.get(from) ?? []
      waiting.push(async () => task().then(resolve, reject))
      this.#waiting.set(from, waiting)
      this.#working ??= this.#work().finally(() => {
        this.#working = undefined
      })
    })
  }

  /** Ends what is being done; what waits is given up: who sent it is cut off. */
  async stop(): Promise<void> {
    this.#waiting.clear()
    await this.#working
  }

  async #work(): Promise<void> {
    while (this.#waiting.size > 0) {
      await setImmediate()
      await Promise.all(this.#next().map(async (task) => task()))
    }
  }

  #next(): (() => Promise<void>)[] {
    const tasks: (() => Promise<void>)[] = []
    // Whoever has more is put behind the others, and met again.
    for (const [from, waiting] of this.#waiting) {
      const task = waiting.shift()
      this.#waiting.delete(from)
      if (waiting.length > 0) this.#waiting.set(from, waiting)
      if (task !== undefined) tasks.push(task)
      if (tasks.length === TRANSACTIONS_PER_TURN) break
    }
    return tasks
  }
}
