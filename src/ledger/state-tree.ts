/**
 * The authenticated state: a sparse Merkle tree whose root stands in every header. Its nodes lie in the store, sixteen-ary
 * pages of a logically binary tree, each under the version (block height) that wrote it, and are never changed there: a version
 * stays readable until it is pruned.
 *
 * A block's tree is made before the block is final. Until then its pages are an overlay in memory, over those of its pending
 * ancestors; siblings don't see each other's. A tree holds only what is below it, so one that is dropped takes its overlay with
 * it; one whose writes are stored is told so (`stored`), and lets go its overlay and its ancestors'. An endless chain thus
 * holds as many overlays as it has pending blocks.
 *
 * @see docs/spec/state-tree.md; state-proof.ts has the hashes and the check
 */
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { type StateProof, treeBit } from './state-proof.ts'
import { type Link, type Page, type PageNode, type Slot, encodeRoot, nodeHash } from './state-tree-page.ts'
import { encodeKeyList, rootKey, staleKey } from './state-tree-keys.ts'
import { type Overlay, type RecordedRoot, TreePages, nibblesOfName, pageName } from './state-tree-pages.ts'
import { type TreeChange, TreeUpdate, byKey } from './state-tree-update.ts'

/** One version of the tree. */
export interface StateTree {
  readonly root: Uint8Array
  /**
   * The next version; this one stays as it is.
   *
   * @param changes - at most one for each key.
   * @returns the tree, and what must be stored with the block, in one batch.
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  with(changes: readonly TreeChange[]): Promise<{ readonly tree: StateTree; readonly writes: readonly KeyChange[] }>
  /**
   * Proof that the key is present, or that it is absent.
   *
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  prove(key: Uint8Array): Promise<StateProof>
  /** To be called when the `writes` of this tree and of all below it are in the store: what they hold in memory is let go. */
  stored(): void
}

export class StoredStateTree implements StateTree {
  /** Height of the block that led to it. */
  readonly version: number
  readonly #pages: TreePages
  readonly #root: RecordedRoot
  readonly #overlay: Overlay | undefined

  private constructor(pages: TreePages, version: number, root: RecordedRoot, overlay?: Overlay) {
    this.#pages = pages
    this.version = version
    this.#root = root
    this.#overlay = overlay
  }

  /** Before the first version: the changes of the genesis make version 0. */
  static beforeGenesis(store: KeyValueStore): StoredStateTree {
    const root: RecordedRoot = { version: undefined, node: undefined }
    return new StoredStateTree(new TreePages(store), -1, root)
  }

  /**
   * The tree of a stored version that wasn't pruned; see `isKept`.
   *
   * @returns `undefined` where the store has no tree up to that version.
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  static async at(store: KeyValueStore, version: number): Promise<StoredStateTree | undefined> {
    const pages = new TreePages(store)
    const root = await pages.rootAt(version)
    return root === undefined ? undefined : new StoredStateTree(pages, version, root)
  }

  get root(): Uint8Array {
    return nodeHash(this.#root.node)
  }

  get rootNode(): Slot {
    return this.#root.node
  }

  /**
   * @param key - any tree key under the page.
   * @param nibbles - how many of it lead to the page.
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  page(link: Link, key: Uint8Array, nibbles: number): Page | Promise<Page> {
    return this.#pages.read(link, key, nibbles, this.#overlay)
  }

  async with(changes: readonly TreeChange[]): Promise<{ tree: StoredStateTree; writes: readonly KeyChange[] }> {
    const version = this.version + 1
    const before = this.#root
    const update = new TreeUpdate((link, key, nibbles) => this.page(link, key, nibbles), version)
    const node = await update.change(before.node, [...changes].sort(byKey))
    if (node === before.node && before.version !== undefined) {
      // The same root: the overlay below, if any, is this tree's too.
      return { tree: new StoredStateTree(this.#pages, version, before, this.#overlay), writes: [] }
    }
    const stale = before.version === undefined ? [] : [...update.stale, rootKey(before.version)]
    const overlay: Overlay = { pages: update.pages, replaced: update.stale, below: this.#overlay }
    return {
      tree: new StoredStateTree(this.#pages, version, { version, node }, overlay),
      writes: [
        ...update.writes,
        { key: rootKey(version), value: encodeRoot(node) },
        ...(stale.length === 0 ? [] : [{ key: staleKey(version), value: encodeKeyList(stale) }]),
      ],
    }
  }

  async prove(key: Uint8Array): Promise<StateProof> {
    const siblings: (Uint8Array | null)[] = []
    let slot = this.#root.node
    for (let nibbles = 0; slot?.kind === 'link'; nibbles++) {
      const page: Page = await this.page(slot, key, nibbles)
      let index = 1
      let node: PageNode = page.node(index)
      for (let depth = 4 * nibbles; node?.kind === 'inner'; depth++) {
        index = 2 * index + treeBit(key, depth)
        siblings.push(page.node(index ^ 1)?.hash ?? null)
        node = page.node(index)
      }
      slot = node
    }
    return { siblings, leaf: slot === undefined ? null : { key: slot.key, valueHash: slot.valueHash } }
  }

  stored(): void {
    const overlays: Overlay[] = []
    for (let one = this.#overlay; one?.pages !== undefined; one = one.below) overlays.unshift(one)
    for (const overlay of overlays) {
      for (const key of overlay.replaced) this.#pages.forget(pageName(key))
      for (const [name, page] of overlay.pages ?? []) this.#pages.keep(name, page, nibblesOfName(name))
      overlay.pages = undefined
      overlay.replaced = []
      overlay.below = undefined
    }
  }
}
