/**
 * One step of the state tree from a version to the next: reads the pages on the ways of what changes, makes their successors.
 *
 * @see docs/spec/state-tree.md
 */
import { compare } from 'uint8arrays/compare'
import { equals } from 'uint8arrays/equals'
import type { KeyChange } from '../core/ports.ts'
import { type Leaf, type Link, Page, type Slot, isSameNode, leafOf } from './state-tree-page.ts'
import { nibbleOf, pageKey, valueKey } from './state-tree-keys.ts'
import { type PackedPage, packed, pageName } from './state-tree-pages.ts'

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

export type ReadPage = (link: Link, key: Uint8Array, nibbles: number) => Promise<Page>

export const byKey = (one: { readonly key: Uint8Array }, other: { readonly key: Uint8Array }): number =>
  compare(one.key, other.key)

export class TreeUpdate {
  readonly #read: ReadPage
  readonly #version: number
  /** By page name. */
  readonly pages = new Map<string, PackedPage>()
  readonly writes: KeyChange[] = []
  /** Keys of what the new version doesn't need any more. */
  readonly stale: Uint8Array[] = []

  constructor(read: ReadPage, version: number) {
    this.#read = read
    this.#version = version
  }

  /**
   * @param slot - what stands at the end of a way of `nibbles`.
   * @param changes - sorted, each key once, all on that way.
   * @returns what stands there now; the same object where nothing changed.
   */
  async change(slot: Slot, changes: readonly TreeChange[], nibbles = 0): Promise<Slot> {
    const [first] = changes
    if (first === undefined) return slot
    if (slot?.kind !== 'link') return this.#place(this.#merged(slot, changes), nibbles)
    const page = await this.#read(slot, first.key, nibbles)
    const slots = await Promise.all(
      byNibble(changes, nibbles).map(
        async ([nibble, group]) => [nibble, await this.change(page.slot(nibble), group, nibbles + 1)] as const,
      ),
    )
    const next = page.with(slots)
    const top = next.node(1)
    if (isSameNode(top, slot)) return slot
    // A page that is filled further within its version is written over.
    if (slot.version !== this.#version) this.stale.push(pageKey(slot.version, first.key, nibbles))
    return top?.kind === 'inner' ? this.#write(next, first.key, nibbles) : top
  }

  /** The leaves of a slot that had one or none. */
  #merged(slot: Leaf | undefined, changes: readonly TreeChange[]): Leaf[] {
    const leaves: Leaf[] = []
    let old = slot
    for (const { entry, key, valueHash, version = this.#version } of changes) {
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
    return leaves.sort(byKey)
  }

  /** @param leaves - sorted, none of them in a page yet. */
  #place(leaves: readonly Leaf[], nibbles: number): Slot {
    const [first] = leaves
    if (first === undefined || leaves.length === 1) return first
    const slots = byNibble(leaves, nibbles).map(([nibble, group]) => [nibble, this.#place(group, nibbles + 1)] as const)
    return this.#write(Page.EMPTY.with(slots), first.key, nibbles)
  }

  #write(page: Page, key: Uint8Array, nibbles: number): Slot {
    const top = page.node(1)
    if (top?.kind !== 'inner') return top
    const stored = pageKey(this.#version, key, nibbles)
    const bytes = page.encode()
    this.pages.set(pageName(stored), packed(page, nibbles, bytes))
    this.writes.push({ key: stored, value: bytes })
    return { kind: 'link', hash: top.hash, version: this.#version }
  }
}

/** Sorted items in groups of one nibble. */
function byNibble<T extends { readonly key: Uint8Array }>(items: readonly T[], index: number): [number, T[]][] {
  const groups: [number, T[]][] = []
  for (const item of items) {
    const nibble = nibbleOf(item.key, index)
    const last = groups.at(-1)
    if (last?.[0] === nibble) last[1].push(item)
    else groups.push([nibble, [item]])
  }
  return groups
}
