/**
 * What the collector remembers from one round to the next, durable before it acts on it: since when which block was needed by nothing, which
 * objects it has seen whole on the ledger, of which erased columns it has removed the shards, and how high the ledger was.
 *
 * A block goes before its mark, so a crash between leaves a mark of nothing, which the next round takes away.
 */
import type { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import type { KeyValueStore } from '../core/ports.ts'
import { type Decoded, integer, literal, object, optional } from '../core/schema.ts'
import type { ExtentRef } from '../domain/storage-state.ts'
import { extentKey } from '../domain/storage-state.ts'
import { cborLink, timeMs } from '../ledger/fields.ts'

const storedMark = object({
  sinceMs: timeMs,
  reason: literal('released', 'moved', 'copy', 'unreferenced'),
  /** The object that it was a part of, where that was known. */
  manifest: optional(cborLink),
})
export type StoredMark = Decoded<typeof storedMark>

const height = integer(0)

const MARK = Uint8Array.of(0)
const WHOLE = Uint8Array.of(1)
const CLEARED = Uint8Array.of(2)
const HEIGHT = Uint8Array.of(3)
const YES = encodeCanonical(true)

export class OrphanMarks {
  readonly #state: KeyValueStore

  /** @param state - this object's alone. */
  constructor(state: KeyValueStore) {
    this.#state = state
  }

  async *list(): AsyncGenerator<{ readonly digest: Uint8Array; readonly mark: StoredMark }> {
    for await (const { key, value } of this.#state.range({ from: MARK, to: WHOLE })) {
      yield { digest: key.slice(MARK.length), mark: storedMark(decodeCanonical(value), 'mark') }
    }
  }

  /** Durable when settled. */
  async write(
    changes: readonly { readonly digest: Uint8Array; readonly mark: StoredMark | undefined }[],
  ): Promise<void> {
    if (changes.length === 0) return
    await this.#state.batch(
      changes.map(({ digest, mark }) => ({
        key: concat([MARK, digest]),
        value: mark === undefined ? undefined : encodeCanonical(mark),
      })),
    )
  }

  /** Whether the object was seen whole on the ledger: from then on the ledger says how long it is kept. */
  async wasWhole(manifest: CID): Promise<boolean> {
    return (await this.#state.get(concat([WHOLE, manifest.multihash.digest]))) !== undefined
  }

  /** Of the newest final block in the last round that acted. */
  async height(): Promise<number> {
    const value = await this.#state.get(HEIGHT)
    return value === undefined ? 0 : height(decodeCanonical(value), 'height')
  }

  async noteHeight(of: number): Promise<void> {
    await this.#state.batch([{ key: HEIGHT, value: encodeCanonical(of) }])
  }

  async noteWhole(manifest: CID, isWhole: boolean): Promise<void> {
    const key = concat([WHOLE, manifest.multihash.digest])
    await this.#state.batch([{ key, value: isWhole ? YES : undefined }])
  }

  /** Whether all shards of an erased extent were removed here, before its map was. */
  async wasCleared({ index, manifest }: ExtentRef): Promise<boolean> {
    return (await this.#state.get(concat([CLEARED, extentKey(manifest.multihash.digest, index)]))) !== undefined
  }

  async noteCleared({ index, manifest }: ExtentRef): Promise<void> {
    const key = concat([CLEARED, extentKey(manifest.multihash.digest, index)])
    await this.#state.batch([{ key, value: YES }])
  }
}
