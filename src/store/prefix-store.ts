/** One key-value store shared by several owners: each sees only the keys under its own prefix, without it. */
import { concat } from 'uint8arrays/concat'
import { fromString } from 'uint8arrays/from-string'
import type { KeyChange, KeyValueStore } from '../core/ports.ts'

export class PrefixStore implements KeyValueStore {
  readonly #store: KeyValueStore
  readonly #prefix: Uint8Array

  /** @param prefix - no prefix of another owner's; ends with `/` by custom. */
  constructor(store: KeyValueStore, prefix: string) {
    this.#store = store
    this.#prefix = fromString(prefix, 'utf8')
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#store.get(this.#full(key))
  }

  async batch(changes: readonly KeyChange[]): Promise<void> {
    await this.#store.batch(changes.map(({ key, value }) => ({ key: this.#full(key), value })))
  }

  async *range(options: Parameters<KeyValueStore['range']>[0]): AsyncGenerator<{ key: Uint8Array; value: Uint8Array }> {
    const { from, to } = options
    for await (const { key, value } of this.#store.range({ ...options, from: this.#full(from), to: this.#full(to) })) {
      yield { key: key.slice(this.#prefix.length), value }
    }
  }

  /** The store behind belongs to whoever opened it. */
  async close(): Promise<void> {}

  #full(key: Uint8Array): Uint8Array {
    return concat([this.#prefix, key])
  }
}
