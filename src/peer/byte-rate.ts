/**
 * A token bucket: keeps the mean of what flows under a rate, over any stretch of time longer than its burst. Bytes are counted when they
 * have come, since what a read costs isn't known before; who comes after a debt waits until it is paid.
 */
import { setTimeout as sleep } from 'node:timers/promises'

export interface ByteRateOptions {
  readonly bytesPerSecond: number
  /** What may flow at once after a pause. */
  readonly burstBytes: number
}

export interface ByteRateDeps {
  /** Milliseconds, monotonic. @default `performance.now` */
  readonly nowMs?: () => number
  /** Settles after so long, or throws the signal's reason. */
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>
}

export class ByteRate {
  readonly #options: ByteRateOptions
  readonly #nowMs: () => number
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>
  #tokens: number
  #atMs: number
  #spentBytes = 0

  constructor(options: ByteRateOptions, deps: ByteRateDeps = {}) {
    this.#options = options
    this.#nowMs = deps.nowMs ?? (() => performance.now())
    this.#sleep = deps.sleep ?? (async (ms, signal) => sleep(ms, undefined, { signal }))
    this.#tokens = options.burstBytes
    this.#atMs = this.#nowMs()
  }

  get bytesPerSecond(): number {
    return this.#options.bytesPerSecond
  }

  /** All that has come so far. */
  get spentBytes(): number {
    return this.#spentBytes
  }

  /** Bytes that have come. */
  spend(bytes: number): void {
    this.#refill()
    this.#spentBytes += bytes
    this.#tokens -= bytes
  }

  /** How long to wait before more may flow. */
  get waitMs(): number {
    this.#refill()
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#options.bytesPerSecond) * 1_000
  }

  /** Settles when there is no debt. @throws when the signal is aborted */
  async ready(signal: AbortSignal): Promise<void> {
    for (let waitMs = this.waitMs; waitMs > 0; waitMs = this.waitMs) await this.#sleep(Math.ceil(waitMs), signal)
    signal.throwIfAborted()
  }

  #refill(): void {
    const nowMs = this.#nowMs()
    const { burstBytes, bytesPerSecond } = this.#options
    this.#tokens = Math.min(burstBytes, this.#tokens + ((nowMs - this.#atMs) / 1_000) * bytesPerSecond)
    this.#atMs = nowMs
  }
}
