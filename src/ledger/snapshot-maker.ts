/**
 * Serves snapshots: any version of the stored state that wasn't pruned is one. Nothing is copied when a snapshot is taken;
 * pruning leaves alone what it needs (state-tree-prune.ts), and chunks are made when they are asked for.
 *
 * @see docs/spec/snapshot.md
 */
import { compare } from 'uint8arrays/compare'
import { equals } from 'uint8arrays/equals'
import { SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNK_ENTRIES_MAX } from '../core/limits.ts'
import type { KeyValueStore } from '../core/ports.ts'
import { sha256 } from '../crypto/hash.ts'
import { ChainStoreError } from './chain-store.ts'
import { type SnapshotEntry, SnapshotError, decodeSnapshotEntry, encodeSnapshotChunk } from './snapshot.ts'
import { treeKey } from './state-proof.ts'
import { LAST_KEY, leavesFrom, proveRange } from './state-range.ts'
import { StoredStateTree } from './state-tree.ts'
import { valueKey } from './state-tree-keys.ts'
import type { Leaf } from './state-tree-page.ts'
import { isKept } from './state-tree-prune.ts'

/** Bytes of an entry beside its key and value: three lengths, the namespace. */
const ENTRY_OVERHEAD_BYTES = 48

export class SnapshotMaker {
  readonly #store: KeyValueStore
  readonly #tree: StoredStateTree
  readonly #bytesMax: number

  private constructor(store: KeyValueStore, tree: StoredStateTree, bytesMax: number) {
    this.#store = store
    this.#tree = tree
    this.#bytesMax = bytesMax
  }

  /**
   * @param height - of a stored version.
   * @param bytesMax - about how large chunks get; a larger entry has one for itself. @default `SNAPSHOT_CHUNK_BYTES`
   * @throws {SnapshotError} `SNAPSHOT_VERSION_GONE`
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  static async open(
    store: KeyValueStore,
    height: number,
    bytesMax: number = SNAPSHOT_CHUNK_BYTES,
  ): Promise<SnapshotMaker> {
    const tree = (await isKept(store, height)) ? await StoredStateTree.at(store, height) : undefined
    if (tree === undefined) throw new SnapshotError({ code: 'SNAPSHOT_VERSION_GONE', height })
    return new SnapshotMaker(store, tree, bytesMax)
  }

  get root(): Uint8Array {
    return this.#tree.root
  }

  /**
   * @param from - tree key that the chunk begins with: any, so that peers can ask for pieces in parallel.
   * @returns a canonical chunk; see `decodeSnapshotChunk`.
   * @throws {SnapshotError} `SNAPSHOT_VERSION_GONE` where it was pruned meanwhile
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  async chunk(from: Uint8Array): Promise<Uint8Array> {
    try {
      return await this.#chunk(from)
    } catch (error) {
      if (!(await isKept(this.#store, this.#tree.version))) {
        throw new SnapshotError({ code: 'SNAPSHOT_VERSION_GONE', height: this.#tree.version }, { cause: error })
      }
      throw error
    }
  }

  async #chunk(from: Uint8Array): Promise<Uint8Array> {
    const entries: SnapshotEntry[] = []
    let bytes = 0
    let last: Uint8Array | undefined
    let isLast = true
    for await (const leaf of leavesFrom(this.#tree, from)) {
      const entry = await this.#entry(leaf)
      bytes += entry.key.length + entry.bytes.length + ENTRY_OVERHEAD_BYTES
      if (entries.length > 0 && (bytes > this.#bytesMax || entries.length >= SNAPSHOT_CHUNK_ENTRIES_MAX)) {
        isLast = false
        break
      }
      entries.push(entry)
      last = leaf.key
    }
    const to = isLast || last === undefined ? LAST_KEY : last
    return encodeSnapshotChunk({ from, entries, isLast, proof: await proveRange(this.#tree, { from, to }) })
  }

  /** @throws {ChainStoreError} `CHAIN_DAMAGED` */
  async #entry(leaf: Leaf): Promise<SnapshotEntry> {
    const stored = await this.#store.get(valueKey(leaf.version, leaf.key))
    const entry = stored === undefined ? undefined : decodeSnapshotEntry(stored)
    const isWhole =
      entry !== undefined &&
      compare(treeKey(entry.namespace, entry.key), leaf.key) === 0 &&
      equals(sha256(entry.bytes), leaf.valueHash)
    if (!isWhole) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'state value', at: leaf.version })
    return entry
  }
}
