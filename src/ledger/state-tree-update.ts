/**
 * One step of the state tree from a version to the next: reads the pages on the ways of what changes, makes their successors.
 *
 * @see docs/spec/state-tree.md
 */
import { equals } from 'uint8arrays/equals'
import type { KeyChange } from '../core/ports.ts'
import { type Leaf, type Link, Page, type Slot, leafOf } from './state-tree-page.ts'
import { nibbleOf, pageKey, valueKey } from './state-tree-keys.ts'
import { pageName } from './state-tree-pages.ts'

/** One change of the tree; `valueHash: undefined` takes the key out. */
export interface TreeChange {
  /** From `treeKey`. */
  readonly key: Uint8Array
  /** SHA-256 of the value's bytes. */
  readonly valueHash: Uint8Array | undefined
  /** Namespace, key and value as a snapshot carries them; stored beside the tree, so that versions can be read later. */
  readonly entry: Uint8Array | undefined
  /** Of the value. @default the version that the update makes */
  readonly version?: number
}

export type ReadPage = (link: Link, key: Uint8Array, nibbles: number) => Page | Promise<Page>

/** Keys are hashes: two of them differ in their first bytes. */
export function byKey(one: { readonly key: Uint8Array }, other: { readonly key: Uint8Array }): number {
  for (let at = 0; at < one.key.length; at++) {
    const difference = (one.key[at] ?? 0) - (other.key[at] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}

/** Some of the changes: from one index up to another. */
interface Part {
  readonly from: number
  readonly to: number
}

export class TreeUpdate {
  readonly #read: ReadPage
  readonly #version: number
  /** By page name. */
  readonly pages = new Map<string, Page>()
  readonly writes: KeyChange[] = []
  /** Keys of what the new version doesn't need any more. */
  readonly stale: Uint8Array[] = []

  constructor(read: ReadPage, version: number) {
    this.#read = read
    this.#version = version
  }

  /**
   * @param slot - the root.
   * @param changes - sorted, each key once.
   * @returns what stands there now; the same object where nothing changed.
   */
  async change(slot: Slot, changes: readonly TreeChange[]): Promise<Slot> {
    if (changes.length === 0) return slot
    if (slot?.kind === 'link') return this.#descend(slot, changes, { from: 0, to: changes.length }, 0)
    return this.#place(this.#merged(slot, changes, { from: 0, to: changes.length }), 0)
  }

  /**
   * @param link - what stands at the end of a way of `nibbles`.
   * @param part - the changes on that way, of all; not empty.
   */
  async #descend(link: Link, changes: readonly TreeChange[], part: Part, nibbles: number): Promise<Slot> {
    const { from, to } = part
    const first = changes[from]
    if (first === undefined) return link
    const found = this.#read(link, first.key, nibbles)
    // Most are in memory: a promise for each would be a third of the work.
    const page = found instanceof Page ? found : await found
    const slots: [number, Slot][] = []
    for (let start = from; start < to; ) {
      const one = changes[start]
      if (one === undefined) break
      const nibble = nibbleOf(one.key, nibbles)
      const below: Part = { from: start, to: endOfNibble(changes, start, to, nibbles) }
      const slot = page.slot(nibble)
      const after =
        slot?.kind === 'link'
          ? await this.#descend(slot, changes, below, nibbles + 1)
          : this.#place(this.#merged(slot, changes, below), nibbles + 1)
      slots.push([nibble, after])
      start = below.to
    }
    const next = page.with(slots)
    if (next.hasHash(link.hash)) return link
    // A page that is filled further within its version is written over.
    if (link.version !== this.#version) this.stale.push(pageKey(link.version, first.key, nibbles))
    const top = next.node(1)
    return top?.kind === 'inner' ? this.#write(next, first.key, nibbles) : top
  }

  /** The leaves of a slot that had one or none. */
  #merged(slot: Leaf | undefined, changes: readonly TreeChange[], { from, to }: Part): Leaf[] {
    const leaves: Leaf[] = []
    let old = slot
    for (let index = from; index < to; index++) {
      const change = changes[index]
      if (change === undefined) break
      const { entry, key, valueHash, version = this.#version } = change
      if (old !== undefined && equals(old.key, key)) {
        const same = valueHash !== undefined && equals(old.valueHash, valueHash)
        if (same) continue
        this.stale.push(valueKey(old.version, key))
        old = undefined
      }
      if (valueHash === undefined) continue
      leaves.push(leafOf({ key, valueHash, version }))
      if (entry !== undefined) this.writes.push({ key: valueKey(version, key), value: entry })
    }
    if (old !== undefined) leaves.push(old)
    return leaves.length > 1 ? leaves.sort(byKey) : leaves
  }

  /** @param leaves - sorted, none of them in a page yet. */
  #place(leaves: readonly Leaf[], nibbles: number): Slot {
    const [first] = leaves
    if (first === undefined || leaves.length === 1) return first
    const slots: [number, Slot][] = []
    for (let start = 0; start < leaves.length; ) {
      const end = endOfNibble(leaves, start, leaves.length, nibbles)
      const one = leaves[start]
      if (one === undefined) break
      slots.push([nibbleOf(one.key, nibbles), this.#place(leaves.slice(start, end), nibbles + 1)])
      start = end
    }
    return this.#write(Page.EMPTY.with(slots), first.key, nibbles)
  }

  #write(page: Page, key: Uint8Array, nibbles: number): Slot {
    const top = page.node(1)
    if (top?.kind !== 'inner') return top
    const stored = pageKey(this.#version, key, nibbles)
    this.pages.set(pageName(stored), page)
    this.writes.push({ key: stored, value: page.bytes })
    return { kind: 'link', hash: top.hash, version: this.#version }
  }
}

/** Where the items that share a nibble with the first of them end. @param items - sorted */
function endOfNibble(
  items: readonly { readonly key: Uint8Array }[],
  start: number,
  to: number,
  nibbles: number,
): number {
  const first = items[start]
  let end = start + 1
  for (; end < to; end++) {
    const item = items[end]
    if (first === undefined || item === undefined) break
    if (nibbleOf(item.key, nibbles) !== nibbleOf(first.key, nibbles)) break
  }
  return end
}
