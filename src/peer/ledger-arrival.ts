/**
 * Whether this peer has heard of the newest block since it started. Until then its ledger may lack what is there all the same: after days away, or where
 * the disk lost it. Whoever finds nothing there waits for this, and looks again.
 */
import { LEDGER_ARRIVAL_MS } from '../core/limits.ts'
import type { Clock } from '../core/ports.ts'

export class LedgerArrival {
  readonly #clock: Clock
  readonly #startedMs: number
  readonly #came = Promise.withResolvers<true>()
  #isThere = false

  constructor(clock: Clock) {
    this.#clock = clock
    this.#startedMs = clock.nowMs()
  }

  get isThere(): boolean {
    return this.#isThere
  }

  /** Members were asked, and none has more. */
  came(): void {
    this.#isThere = true
    this.#came.resolve(true)
  }

  /**
   * Waits until the ledger is there, or a peer in a network that works would have it. At once afterwards.
   *
   * @returns whether it is there.
   * @throws the signal's reason
   */
  async wait(signal: AbortSignal): Promise<boolean> {
    signal.throwIfAborted()
    const restMs = this.#startedMs + LEDGER_ARRIVAL_MS - this.#clock.nowMs()
    if (this.#isThere || restMs <= 0) return this.#isThere
    const ended = Promise.withResolvers<false>()
    const end = (): void => ended.resolve(false)
    const timer = setTimeout(end, Math.min(restMs, LEDGER_ARRIVAL_MS))
    signal.addEventListener('abort', end, { once: true })
    try {
      const isThere = await Promise.race([this.#came.promise, ended.promise])
      signal.throwIfAborted()
      return isThere
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', end)
    }
  }
}
