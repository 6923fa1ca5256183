/**
 * Columns that this peer was given and that the ledger may not name yet. A record is durable before the first block of a column is
 * written, and has the extent map before the receipt is signed: after any crash it is known what was promised, and until when.
 *
 * A column is staged until the peer has processed a final block later than its expiry and `STAGED_GRACE_MS`: until then a commit
 * that carries its receipt may become final. Whoever removes blocks asks here, by block time and no other.
 */
import { concat } from 'uint8arrays/concat'
import { toString } from 'uint8arrays/to-string'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { EXTENTS_MAX, EXTENT_SEGMENTS, SEGMENT_BYTES, STAGED_COLUMNS_MAX, STAGED_GRACE_MS } from '../core/limits.ts'
import type { KeyValueStore } from '../core/ports.ts'
import { type Decoded, integer, object, optional } from '../core/schema.ts'
import { column } from '../domain/shard-receipt.ts'
import { cborLink, timeMs } from '../ledger/fields.ts'
import { uint32Bytes } from '../ledger/state.ts'
import { PeerError } from './faults.ts'

const stagedColumn = object({
  manifest: cborLink,
  /** Number of the extent within the object. */
  index: integer(0, EXTENTS_MAX - 1),
  column,
  /** Of its shards, at most. */
  bytes: integer(0, EXTENT_SEGMENTS * SEGMENT_BYTES),
  /** Block time until which the ledger takes the receipt. */
  expiresMs: timeMs,
  /** The extent map. Without it no receipt was signed, and which blocks were written on account of this record isn't known. */
  map: optional(cborLink),
})
export type StagedColumn = Decoded<typeof stagedColumn>

const NO_MAP = new Uint8Array(32)
const FIRST = new Uint8Array(0)
const LAST = new Uint8Array([0xff])

export class StagedColumns {
  readonly #state: KeyValueStore
  readonly #columns = new Map<string, StagedColumn>()
  #changes = 0
  #turn: Promise<void> = Promise.resolve()

  private constructor(state: KeyValueStore) {
    this.#state = state
  }

  /** @param state - this object's alone. */
  static async open(state: KeyValueStore): Promise<StagedColumns> {
    const staged = new StagedColumns(state)
    // Keys begin with a byte of 0.
    for await (const { key, value } of state.range({ from: FIRST, to: LAST })) {
      staged.#columns.set(toString(key, 'base64'), stagedColumn(decodeCanonical(value), 'staged'))
    }
    return staged
  }

  /**
   * Grows with every record that comes: whoever removes blocks compares it between looking at the records and removing.
   */
  get changes(): number {
    return this.#changes
  }

  /** All of them. */
  list(): readonly StagedColumn[] {
    return [...this.#columns.values()]
  }

  /** The record of a column with this map, or without one. */
  get(of: Pick<StagedColumn, 'manifest' | 'index' | 'column' | 'map'>): StagedColumn | undefined {
    return this.#columns.get(toString(keyOf(of), 'base64'))
  }

  /**
   * Notes a column, durable when settled; of two expiries the later one counts.
   *
   * @param value - with a map it takes the place of the record without one.
   * @throws {PeerError} `STAGED_TOO_MANY`
   */
  async note(value: StagedColumn): Promise<void> {
    const key = keyOf(value)
    const name = toString(key, 'base64')
    const known = this.#columns.get(name)
    if (known === undefined && this.#columns.size >= STAGED_COLUMNS_MAX) {
      throw new PeerError({ code: 'STAGED_TOO_MANY', columnsMax: STAGED_COLUMNS_MAX })
    }
    const noted = { ...value, expiresMs: Math.max(value.expiresMs, known?.expiresMs ?? 0) }
    // In memory first: from here on nobody may take its blocks away, though the receipt must wait for the disk.
    this.#columns.set(name, noted)
    this.#changes++
    const { map, ...without } = value
    const replaced = map === undefined ? [] : [keyOf(without)]
    await this.#write([
      { key, value: encodeCanonical(noted) },
      ...replaced.map((one) => ({ key: one, value: undefined })),
    ])
    for (const one of replaced) this.#columns.delete(toString(one, 'base64'))
  }

  /** Columns that no commit can name any more. @param blockTimeMs - of the newest final block. */
  expired(blockTimeMs: number): readonly StagedColumn[] {
    return this.list().filter(({ expiresMs }) => blockTimeMs > expiresMs + STAGED_GRACE_MS)
  }

  /** Forgets records, durable when settled. */
  async remove(columns: readonly StagedColumn[]): Promise<void> {
    if (columns.length === 0) return
    const keys = columns.map(keyOf)
    await this.#write(keys.map((key) => ({ key, value: undefined })))
    for (const key of keys) this.#columns.delete(toString(key, 'base64'))
  }

  /** One batch after the other, so that the disk has what memory has. */
  #write(changes: readonly { key: Uint8Array; value: Uint8Array | undefined }[]): Promise<void> {
    const written = this.#turn.then(async () => this.#state.batch(changes))
    this.#turn = written.catch(() => undefined)
    return written
  }
}

function keyOf({
  column: of,
  index,
  manifest,
  map,
}: Pick<StagedColumn, 'manifest' | 'index' | 'column' | 'map'>): Uint8Array {
  const { digest } = manifest.multihash
  return concat([Uint8Array.of(0), digest, uint32Bytes(index), Uint8Array.of(of), map?.multihash.digest ?? NO_MAP])
}
