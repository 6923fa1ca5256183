/**
 * Columns that this peer was given and that the ledger may not name yet. A record is durable before the first block of a column is
 * written, and has the extent map before the receipt is signed: after any crash it is known what was promised, and until when.
 *
 * A column is staged until the peer has processed a final block later than its expiry and `STAGED_GRACE_MS`: until then a commit
 * that carries its receipt may become final. Whoever removes blocks asks here, by block time and no other.
 *
 * What an institution brought counts on its account until the ledger names it: shards and copies that were never finished, too, for as
 * long as blocks that nobody names lie here.
 */
import { concat } from 'uint8arrays/concat'
import { toString } from 'uint8arrays/to-string'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import {
  EXTENTS_MAX,
  EXTENT_COPIES_MAX,
  EXTENT_SEGMENTS,
  SEGMENT_BYTES,
  STAGED_COLUMNS_MAX,
  STAGED_COLUMNS_OF_ONE_MAX,
  STAGED_GRACE_MS,
  STAGED_UNFINISHED_MS,
} from '../core/limits.ts'
import type { KeyValueStore } from '../core/ports.ts'
import { type Decoded, integer, object, optional, text } from '../core/schema.ts'
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
  /** Of the extent's copies, at most. @default 0 */
  copyBytes: optional(integer(0, EXTENT_COPIES_MAX * SEGMENT_BYTES)),
  /** The institution on whose account it counts. @default nobody's: this peer brought it here itself */
  from: optional(text(1, 128)),
  /** What was written on account of it, finished or not; while it comes in, what was set apart for it. @default 0 */
  writtenBytes: optional(integer(0)),
})
export type StagedColumn = Decoded<typeof stagedColumn>

/** What lies here of one institution, and the ledger isn't known to name. */
export interface StagedShare {
  readonly columns: number
  readonly bytes: number
}

const NOTHING: StagedShare = { columns: 0, bytes: 0 }
const NO_MAP = new Uint8Array(32)
const FIRST = new Uint8Array(0)
const LAST = new Uint8Array([0xff])

export class StagedColumns {
  readonly #state: KeyValueStore
  readonly #columns = new Map<string, StagedColumn>()
  /** Of `#columns`, those that the ledger was seen to name. */
  readonly #named = new Set<string>()
  /** By institution. */
  readonly #shares = new Map<string, StagedShare>()
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
      staged.#set(toString(key, 'base64'), stagedColumn(decodeCanonical(value), 'staged'))
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
  get(of: StagedKey): StagedColumn | undefined {
    return this.#columns.get(nameOf(of))
  }

  /**
   * Notes a column, durable when settled; of two expiries the later one counts.
   *
   * @param value - with a map it takes the place of the record without one, of the same institution.
   * @param takenBytes - set apart on account of it, in addition; see `settle`.
   * @throws {PeerError} `STAGED_TOO_MANY`
   */
  async note(value: StagedColumn, takenBytes = 0): Promise<void> {
    const key = keyOf(value)
    const name = toString(key, 'base64')
    const known = this.#columns.get(name)
    const { map, ...without } = value
    const unfinishedKey = keyOf(without)
    const unfinished = map === undefined ? undefined : this.#columns.get(toString(unfinishedKey, 'base64'))
    const replaced = unfinished !== undefined && unfinished.from === value.from ? unfinished : undefined
    if (known === undefined && replaced === undefined) this.#checkCount(value.from)
    const writtenBytes = (known?.writtenBytes ?? 0) + (replaced?.writtenBytes ?? 0) + takenBytes
    // Whoever began a column has it on its account: a second one would take what the first left there upon itself.
    const from = known?.from ?? value.from
    const noted = {
      ...value,
      ...(from === undefined ? {} : { from }),
      expiresMs: Math.max(value.expiresMs, known?.expiresMs ?? 0),
      ...(writtenBytes > 0 ? { writtenBytes } : {}),
    }
    // In memory first: from here on nobody may take its blocks away, though the receipt must wait for the disk.
    this.#set(name, noted)
    this.#changes++
    const goes = replaced === undefined ? [] : [{ key: unfinishedKey, value: undefined }]
    await this.#write([{ key, value: encodeCanonical(noted) }, ...goes])
    if (replaced !== undefined) this.#set(toString(unfinishedKey, 'base64'), undefined)
  }

  /**
   * Says what of the bytes that were set apart was written in the end. In memory; on the disk with what is noted next: after a crash
   * all of them count.
   */
  settle(of: StagedKey, written: { readonly takenBytes: number; readonly bytes: number }): void {
    const name = nameOf(of)
    const known = this.#columns.get(name)
    if (known === undefined) return
    const writtenBytes = Math.max(0, (known.writtenBytes ?? 0) - written.takenBytes + written.bytes)
    this.#set(name, { ...known, writtenBytes })
  }

  unnamed(from: string): StagedShare {
    return this.#shares.get(from) ?? NOTHING
  }

  /** Columns of an institution that the ledger may name, and isn't known to. */
  unnamedColumns(from: string): readonly StagedColumn[] {
    return this.list().filter((one) => one.from === from && one.map !== undefined && !this.#named.has(nameOf(one)))
  }

  /** The ledger names it: what was finished counts there, and here no more. */
  setNamed(of: StagedKey): void {
    const name = nameOf(of)
    const known = this.#columns.get(name)
    if (known === undefined) return
    this.#set(name, undefined)
    this.#named.add(name)
    this.#set(name, known)
  }

  /** Columns that no commit can name any more. @param blockTimeMs - of the newest final block. */
  expired(blockTimeMs: number): readonly StagedColumn[] {
    return this.list().filter((one) => {
      const isUnfinished = one.map === undefined && wasteOf(one) > 0
      return blockTimeMs > one.expiresMs + STAGED_GRACE_MS + (isUnfinished ? STAGED_UNFINISHED_MS : 0)
    })
  }

  /** Forgets records, durable when settled; of what was never finished one stays for as long as that counts. */
  async remove(columns: readonly StagedColumn[]): Promise<void> {
    if (columns.length === 0) return
    const changes = columns.flatMap((column) => {
      const gone = [{ key: keyOf(column), value: undefined }]
      const waste = wasteOf(column)
      if (column.map === undefined || waste === 0) return gone
      const { map: _gone, ...rest } = column
      const key = keyOf(rest)
      const writtenBytes = waste + (this.#columns.get(toString(key, 'base64'))?.writtenBytes ?? 0)
      return [...gone, { key, value: { ...rest, writtenBytes } }]
    })
    await this.#write(
      changes.map(({ key, value }) => ({ key, value: value === undefined ? undefined : encodeCanonical(value) })),
    )
    for (const { key, value } of changes) this.#set(toString(key, 'base64'), value)
  }

  /** @throws {PeerError} `STAGED_TOO_MANY` */
  #checkCount(from: string | undefined): void {
    const isTooMany = this.#columns.size >= STAGED_COLUMNS_MAX
    if (isTooMany) throw new PeerError({ code: 'STAGED_TOO_MANY', columnsMax: STAGED_COLUMNS_MAX })
    if (from === undefined || this.unnamed(from).columns < STAGED_COLUMNS_OF_ONE_MAX) return
    throw new PeerError({ code: 'STAGED_TOO_MANY', columnsMax: STAGED_COLUMNS_OF_ONE_MAX })
  }

  #set(name: string, value: StagedColumn | undefined): void {
    const known = this.#columns.get(name)
    if (known !== undefined) this.#count(name, known, -1)
    if (value === undefined) {
      this.#columns.delete(name)
      this.#named.delete(name)
    } else {
      this.#columns.set(name, value)
      this.#count(name, value, 1)
    }
  }

  #count(name: string, column: StagedColumn, sign: 1 | -1): void {
    const { from } = column
    if (from === undefined) return
    const isNamed = this.#named.has(name)
    const share = this.unnamed(from)
    const bytes = share.bytes + sign * (isNamed ? wasteOf(column) : (column.writtenBytes ?? 0))
    const columns = share.columns + (isNamed ? 0 : sign)
    if (bytes === 0 && columns === 0) this.#shares.delete(from)
    else this.#shares.set(from, { bytes, columns })
  }

  #write(changes: readonly { key: Uint8Array; value: Uint8Array | undefined }[]): Promise<void> {
    const written = this.#turn.then(async () => this.#state.batch(changes))
    this.#turn = written.catch(() => undefined)
    return written
  }
}

type StagedKey = Pick<StagedColumn, 'manifest' | 'index' | 'column' | 'map'>

/** Written, and not a part of what was finished. */
function wasteOf({ bytes, copyBytes = 0, map, writtenBytes = 0 }: StagedColumn): number {
  return Math.max(0, writtenBytes - (map === undefined ? 0 : bytes + copyBytes))
}

function nameOf(of: StagedKey): string {
  return toString(keyOf(of), 'base64')
}

function keyOf({ column: of, index, manifest, map }: StagedKey): Uint8Array {
  const { digest } = manifest.multihash
  return concat([Uint8Array.of(0), digest, uint32Bytes(index), Uint8Array.of(of), map?.multihash.digest ?? NO_MAP])
}
