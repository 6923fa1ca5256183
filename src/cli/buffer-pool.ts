/** A fixed number of buffers, lent in turn: allocation is what costs when sealing (docs/decisions). */
export class BufferPool {
  readonly #free: Uint8Array[]
  readonly #waiting: ((buffer: Uint8Array | undefined) => void)[] = []
  #closed = false

  /** @param bytes - size of each of `count` buffers. */
  constructor(count: number, bytes: number) {
    this.#free = Array.from({ length: count }, () => new Uint8Array(bytes))
  }

  /** Waits until a buffer is free; undefined once the pool is closed. */
  async take(): Promise<Uint8Array | undefined> {
    if (this.#closed) return undefined
    return this.#free.pop() ?? new Promise((resolve) => this.#waiting.push(resolve))
  }

  give(buffer: Uint8Array): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free.push(buffer)
    else next(buffer)
  }

  /** Whoever waits stops waiting. */
  close(): void {
    this.#closed = true
    for (const resolve of this.#waiting.splice(0)) resolve(undefined)
  }
}
