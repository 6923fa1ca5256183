/**
 * Takes over a snapshot: verified chunks go into the store, flat state and tree, each chunk in one durable batch together with
 * how far it came. A restart goes on behind the last chunk. While it runs, the store says so (`PROGRESS_KEY`) and no chain is
 * opened on it; the batch that ends it writes head and header too.
 *
 * @see docs/spec/snapshot.md
 */
import { equals } from 'uint8arrays/equals'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { STATE_PRUNE_KEYS } from '../core/limits.ts'
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { type Decoder, boolean, byteString, integer, nullable, object } from '../core/schema.ts'
import { stateWrites } from './chain-store.ts'
import { digest } from './fields.ts'
import { SnapshotError, decodeSnapshotChunk, verifyChunk } from './snapshot.ts'
import { decodeStateValue, treeChangeOf } from './state.ts'
import { FIRST_KEY } from './state-range.ts'
import { TreeFiller } from './state-tree-filler.ts'
import { KEPT_KEY, PROGRESS_KEY, STATE_TAGS, allOf } from './state-tree-keys.ts'

/** The snapshot that is wanted. */
export interface SnapshotTarget {
  /** Of the final header whose state it is. */
  readonly height: number
  /** Its `stateRoot`. */
  readonly root: Uint8Array
}

interface Progress extends SnapshotTarget {
  /** The store was emptied of other state. */
  readonly isCleared: boolean
  /** Where the next chunk begins; null: all are there. */
  readonly next: Uint8Array | null
  /** Root of the tree as far as it is filled. */
  readonly tree: Uint8Array
}

const progressRecord: Decoder<Progress> = object({
  height: integer(0),
  root: digest,
  isCleared: boolean,
  next: nullable(digest),
  tree: byteString(0, 72),
})

/** The snapshot that this store was taking over when it was left, if any. */
export async function unfinishedSnapshot(store: KeyValueStore): Promise<SnapshotTarget | undefined> {
  const found = await readProgress(store)
  return found === undefined ? undefined : { height: found.height, root: found.root }
}

export class SnapshotBuilder {
  readonly target: SnapshotTarget
  readonly #store: KeyValueStore
  #filler: TreeFiller
  #next: Uint8Array | undefined

  private constructor(store: KeyValueStore, progress: Progress) {
    this.#store = store
    this.target = { height: progress.height, root: progress.root }
    this.#filler = TreeFiller.of(store, progress.height, progress.tree)
    this.#next = progress.next ?? undefined
  }

  /**
   * Begins, or goes on where the store holds a part of this snapshot. Any other state in the store is deleted first.
   *
   * @param store - that no chain is open on.
   */
  static async open(store: KeyValueStore, target: SnapshotTarget): Promise<SnapshotBuilder> {
    const found = await readProgress(store)
    const isSame = found !== undefined && found.height === target.height && equals(found.root, target.root)
    if (isSame && found.isCleared) return new SnapshotBuilder(store, found)
    const begun: Progress = { ...target, isCleared: false, next: FIRST_KEY, tree: new Uint8Array(0) }
    // First of all the note: a chain whose state is half deleted must not be opened.
    await store.batch([progressWrite(begun)])
    for (const tag of STATE_TAGS) await clear(store, tag)
    const cleared = { ...begun, isCleared: true }
    await store.batch([progressWrite(cleared)])
    return new SnapshotBuilder(store, cleared)
  }

  /** Tree key that the next chunk must begin with; `undefined` when all are there. */
  get next(): Uint8Array | undefined {
    return this.#next
  }

  /**
   * Checks the next chunk and stores it; durable when it settles. One at a time.
   *
   * @param bytes - untrusted.
   * @throws {CodecError} {SnapshotError} {RangeProofError} where it is not that chunk; nothing is stored then
   */
  async add(bytes: Uint8Array): Promise<void> {
    if (this.#next === undefined) throw new SnapshotError({ code: 'SNAPSHOT_CHUNK_OUT_OF_TURN' })
    const { entries, next } = verifyChunk(this.target.root, this.#next, decodeSnapshotChunk(bytes))
    const changes = entries.map((entry) => ({
      ...treeChangeOf(entry),
      version: decodeStateValue(entry.bytes).version,
    }))
    const { filler, writes } = await this.#filler.add(changes)
    const progress: Progress = { ...this.target, isCleared: true, next: next ?? null, tree: filler.soFar }
    await this.#store.batch([...stateWrites(entries), ...writes, progressWrite(progress)])
    this.#filler = filler
    this.#next = next
  }

  /**
   * Ends it in one durable batch.
   *
   * @param writes - what makes the store a chain with this state: head, header, certificate, epochs, history.
   * @throws {SnapshotError} `SNAPSHOT_INCOMPLETE`
   */
  async finish(writes: readonly KeyChange[]): Promise<void> {
    const { height, root } = this.target
    if (this.#next !== undefined || !equals(this.#filler.root, root)) {
      throw new SnapshotError({ code: 'SNAPSHOT_INCOMPLETE', height })
    }
    // Versions before the snapshot's were never here.
    const kept = { key: KEPT_KEY, value: encodeCanonical({ from: height, snapshots: [] }) }
    await this.#store.batch([...writes, this.#filler.finish(), kept, { key: PROGRESS_KEY, value: undefined }])
  }
}

async function readProgress(store: KeyValueStore): Promise<Progress | undefined> {
  const bytes = await store.get(PROGRESS_KEY)
  return bytes === undefined ? undefined : progressRecord(decodeCanonical(bytes), 'snapshot')
}

function progressWrite(progress: Progress): KeyChange {
  return { key: PROGRESS_KEY, value: encodeCanonical(progress) }
}

async function clear(store: KeyValueStore, tag: Uint8Array): Promise<void> {
  let { from } = allOf(tag)
  for (;;) {
    const gone: KeyChange[] = []
    for await (const { key } of store.range({ ...allOf(tag), from, limit: STATE_PRUNE_KEYS })) {
      gone.push({ key, value: undefined })
    }
    const last = gone.at(-1)
    if (last === undefined) return
    await store.batch(gone)
    // Not from the beginning: LevelDB walks over what was deleted.
    from = last.key
  }
}
