/**
 * Reads the pages of the state tree: those of pending blocks from their overlays, all others from the store, where each is
 * checked against the hash that leads to it.
 *
 * @see docs/spec/state-tree.md
 */
import { STATE_PAGES_CACHED_MAX, STATE_PAGE_CACHED_NIBBLES } from '../core/limits.ts'
import type { KeyValueStore } from '../core/ports.ts'
import { byteText } from '../crypto/hash.ts'
import { ChainStoreError } from './chain-store.ts'
import { type Link, Page, type Slot, decodeRoot } from './state-tree-page.ts'
import { PAGE_NIBBLES_AT, pageKey, rootsUpTo, versionIn } from './state-tree-keys.ts'

/** Pages of one block that isn't stored yet, over those of its ancestors. */
export interface Overlay {
  /** By page key; let go, with `below`, as soon as they are in the store. */
  pages: ReadonlyMap<string, Page> | undefined
  /** Keys of what the block replaced. */
  replaced: readonly Uint8Array[]
  below: Overlay | undefined
}

/** The newest root up to a version. */
export interface RecordedRoot {
  /** That wrote it; `undefined` before there was any. */
  readonly version: number | undefined
  readonly node: Slot
}

export const pageName = (key: Uint8Array): string => byteText(key)
/** How many nibbles lead to the page: fewer than 64, so their byte is one character as it is. */
export const nibblesOfName = (name: string): number => name.charCodeAt(PAGE_NIBBLES_AT)

export class TreePages {
  readonly store: KeyValueStore
  /** Stored pages near the root, which every block reads; the one used last is last. */
  readonly #cache = new Map<string, Page>()

  constructor(store: KeyValueStore) {
    this.store = store
  }

  /**
   * @param key - any tree key under the page.
   * @param nibbles - how many of it lead to the page.
   * @throws {ChainStoreError} `CHAIN_DAMAGED`
   */
  read(link: Link, key: Uint8Array, nibbles: number, overlay?: Overlay): Page | Promise<Page> {
    const stored = pageKey(link.version, key, nibbles)
    const name = pageName(stored)
    for (let one = overlay; one?.pages !== undefined; one = one.below) {
      const pending = one.pages.get(name)
      if (pending !== undefined) return checked(pending, link)
    }
    const cached = this.#cache.get(name)
    if (cached === undefined) return this.#fromStore(link, stored, name, nibbles)
    this.#cache.delete(name)
    this.#cache.set(name, cached)
    return checked(cached, link)
  }

  async #fromStore(link: Link, stored: Uint8Array, name: string, nibbles: number): Promise<Page> {
    const bytes = await this.store.get(stored)
    const page = checked(bytes === undefined ? undefined : Page.decode(bytes, nibbles), link)
    this.keep(name, page, nibbles)
    return page
  }

  /** Remembers a page that is in the store, if it is near the root. @param nibbles - how many lead to it. */
  keep(name: string, page: Page, nibbles: number): void {
    if (nibbles > STATE_PAGE_CACHED_NIBBLES) return
    this.#cache.set(name, page)
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= STATE_PAGES_CACHED_MAX) return
      this.#cache.delete(oldest)
    }
  }

  forget(name: string): void {
    this.#cache.delete(name)
  }

  /** @throws {ChainStoreError} `CHAIN_DAMAGED` */
  async rootAt(version: number): Promise<RecordedRoot | undefined> {
    for await (const { key, value } of this.store.range({ ...rootsUpTo(version), reverse: true, limit: 1 })) {
      const wrote = versionIn(key)
      const node = decodeRoot(value, wrote)
      if (node === 'damaged') throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'state root', at: wrote })
      return { version: wrote, node }
    }
    return undefined
  }
}

function checked(page: Page | undefined, link: Link): Page {
  if (page?.hasHash(link.hash) !== true) throw damaged(link)
  return page
}

function damaged(link: Link): ChainStoreError {
  return new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'state tree', at: link.version })
}
