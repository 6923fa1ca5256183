/**
 * Buffers that are used again.
 *
 * V8 counts memory outside its heap and runs a full collection for every few dozen megabytes of it; with a fresh buffer for
 * each block, that took half of a transfer's CPU time. See docs/decisions/0022-buffers-used-again.md.
 */
export class BufferPool {
  readonly bufferBytes: number
  readonly #keptMax: number
  #kept: Uint8Array[] = []

  constructor(options: { bufferBytes: number; keptMax: number }) {
    this.bufferBytes = options.bufferBytes
    this.#keptMax = options.keptMax
  }

  /** Buffers at rest. */
  get kept(): number {
    return this.#kept.length
  }

  /** A buffer of `bufferBytes`; what it holds is left over from its last use. */
  take(): Uint8Array {
    return this.#kept.pop() ?? Buffer.allocUnsafeSlow(this.bufferBytes)
  }

  /** Takes a buffer back: nobody may read it any more. */
  give(buffer: Uint8Array): void {
    if (this.#kept.length < this.#keptMax) this.#kept.push(buffer)
  }

  /** Lets go of everything at rest, after a transfer. */
  clear(): void {
    this.#kept = []
  }
}
