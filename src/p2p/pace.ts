/**
 * How fast one peer is listened to: a bucket of messages and one of bytes, filled by time. Whoever brings more waits, with its stream
 * paused, so that a flood costs the one who sends it.
 */
export interface PaceOptions {
  readonly messagesPerSecond: number
  readonly bytesPerSecond: number
  /** Size of both buckets, in seconds of their filling. */
  readonly burstSeconds: number
}

export class Pace {
  readonly #options: PaceOptions
  readonly #nowMs: () => number
  #messages: number
  #bytes: number
  #atMs: number

  /** @param nowMs - a clock that never goes back. */
  constructor(options: PaceOptions, nowMs: () => number) {
    const { burstSeconds, bytesPerSecond, messagesPerSecond } = options
    this.#options = options
    this.#nowMs = nowMs
    this.#messages = messagesPerSecond * burstSeconds
    this.#bytes = bytesPerSecond * burstSeconds
    this.#atMs = nowMs()
  }

  /** Takes a message in. @returns how long to wait before the next, in milliseconds; 0: it may come. */
  take(bytes: number): number {
    const { burstSeconds, bytesPerSecond, messagesPerSecond } = this.#options
    const nowMs = this.#nowMs()
    const seconds = (nowMs - this.#atMs) / 1_000
    this.#atMs = nowMs
    this.#messages = Math.min(this.#messages + seconds * messagesPerSecond, messagesPerSecond * burstSeconds) - 1
    this.#bytes = Math.min(this.#bytes + seconds * bytesPerSecond, bytesPerSecond * burstSeconds) - bytes
    const lackSeconds = Math.max(-this.#messages / messagesPerSecond, -this.#bytes / bytesPerSecond, 0)
    return Math.ceil(lackSeconds * 1_000)
  }
}
