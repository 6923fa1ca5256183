/**
 * Fills an empty tree with one version's entries, batch after batch: for taking over a snapshot, and for a store from before
 * there were trees in it. Pages of that version are written over as they fill; none ever goes away, so that filling may begin
 * anew over what an earlier attempt left.
 */
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { ChainStoreError } from './chain-store.ts'
import { type Slot, decodeRoot, encodeRoot, nodeHash } from './state-tree-page.ts'
import { rootKey } from './state-tree-keys.ts'
import { TreePages } from './state-tree-pages.ts'
import { type TreeChange, TreeUpdate, byKey } from './state-tree-update.ts'

export class TreeFiller {
  readonly version: number
  readonly #store: KeyValueStore
  readonly #root: Slot

  private constructor(store: KeyValueStore, version: number, root: Slot) {
    this.#store = store
    this.version = version
    this.#root = root
  }

  /**
   * @param soFar - of a filler whose writes are stored. @default empty
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  static of(store: KeyValueStore, version: number, soFar: Uint8Array = new Uint8Array(0)): TreeFiller {
    const root = decodeRoot(soFar, version)
    if (root === 'damaged') throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'state root', at: version })
    return new TreeFiller(store, version, root)
  }

  get root(): Uint8Array {
    return nodeHash(this.#root)
  }

  get soFar(): Uint8Array {
    return encodeRoot(this.#root)
  }

  /**
   * @param entries - new keys, each with the version of its value.
   * @returns the filler to go on with when its writes are stored.
   */
  async add(entries: readonly TreeChange[]): Promise<{ filler: TreeFiller; writes: readonly KeyChange[] }> {
    // Read anew for each batch: a cache would show pages as they were before they were filled further.
    const pages = new TreePages(this.#store)
    const update = new TreeUpdate((link, key, nibbles) => pages.read(link, key, nibbles), this.version)
    const root = await update.change(this.#root, [...entries].sort(byKey))
    return { filler: new TreeFiller(this.#store, this.version, root), writes: update.writes }
  }

  /** What makes it the tree of its version. */
  finish(): KeyChange {
    return { key: rootKey(this.version), value: this.soFar }
  }
}
