import { compare } from 'uint8arrays/compare'
import type { KeyChange, KeyValueStore } from '../../../src/core/ports.ts'

/** A key-value store in a map, whose next batch can be made to fail, and which can be copied as a crash would leave it. */
export class MapStore implements KeyValueStore {
  readonly entries: Map<string, { key: Uint8Array; value: Uint8Array }>
  batches = 0
  failNext = false

  constructor(entries = new Map<string, { key: Uint8Array; value: Uint8Array }>()) {
    this.entries = entries
  }

  copy(): MapStore {
    return new MapStore(new Map(this.entries))
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.entries.get(key.join())?.value
  }

  async batch(changes: readonly KeyChange[]): Promise<void> {
    if (this.failNext) {
      this.failNext = false
      throw new Error('the disk failed')
    }
    this.batches++
    for (const { key, value } of changes) {
      if (value === undefined) this.entries.delete(key.join())
      else this.entries.set(key.join(), { key, value })
    }
  }

  async *range(options: { from: Uint8Array; to: Uint8Array; reverse?: boolean; limit?: number }) {
    const { from, limit, reverse, to } = options
    const found = [...this.entries.values()]
      .filter(({ key }) => compare(key, from) >= 0 && compare(key, to) < 0)
      .sort((a, b) => compare(a.key, b.key))
    if (reverse === true) found.reverse()
    yield* found.slice(0, limit ?? found.length)
  }

  async close(): Promise<void> {}
}
