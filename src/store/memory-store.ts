/** The key-value store in memory: for tests of what stands on one, and for tools that keep nothing. */
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { StoreError } from './store-error.ts'

export class MemoryStore implements KeyValueStore {
  readonly #values = new Map<string, Uint8Array>()
  /** Text of one character a byte sorts as the bytes do. Sorted when first needed after a new or deleted key. */
  #sorted: string[] | undefined = []
  #closed = false

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    this.#checkOpen()
    return this.#values.get(textOf(key))?.slice()
  }

  async batch(changes: readonly KeyChange[]): Promise<void> {
    this.#checkOpen()
    for (const { key, value } of changes) {
      const text = textOf(key)
      if ((value === undefined) === this.#values.has(text)) this.#sorted = undefined
      // Copies: the caller may go on with its buffers, as on a disk.
      if (value === undefined) this.#values.delete(text)
      else this.#values.set(text, value.slice())
    }
  }

  async *range(options: {
    from: Uint8Array
    to: Uint8Array
    reverse?: boolean
    limit?: number
  }): AsyncGenerator<{ key: Uint8Array; value: Uint8Array }> {
    this.#checkOpen()
    const [from, to] = [textOf(options.from), textOf(options.to)]
    this.#sorted ??= [...this.#values.keys()].sort((a, b) => (a < b ? -1 : 1))
    const keys = this.#sorted.slice(firstFrom(this.#sorted, from), firstFrom(this.#sorted, to))
    if (options.reverse === true) keys.reverse()
    // As it was at the call: changes meanwhile are not seen.
    const entries = keys.slice(0, options.limit).map((key) => ({ key, value: this.#values.get(key) }))
    for (const { key, value } of entries) {
      if (value !== undefined) yield { key: bytesOf(key), value: value.slice() }
    }
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreError({ code: 'STORE_CLOSED' })
  }
}

/** Number of keys before `bound`. */
function firstFrom(sorted: readonly string[], bound: string): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((sorted[middle] ?? '') < bound) low = middle + 1
    else high = middle
  }
  return low
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'))
}
