/**
 * A page of the state tree: four levels of it, up to 16 slots at their lower end. Only the slots are stored; what stands above
 * them is hashed when the page is read, which checks the page against the hash that its parent page names.
 *
 * A slot is empty, one leaf, or a link to a page with two leaves or more. A subtree of one leaf is that leaf, so a leaf counts
 * wherever its own key leads, and the slots alone give the page's shape.
 *
 * @see docs/spec/state-tree.md
 */
import { equals } from 'uint8arrays/equals'
import { keyOf, uint64Bytes } from './state.ts'
import { EMPTY_ROOT, treeInnerHash, treeLeafHash } from './state-proof.ts'
import { nibbleOf } from './state-tree-keys.ts'

export interface Leaf {
  readonly kind: 'leaf'
  /** Tree key, 32 bytes. */
  readonly key: Uint8Array
  readonly valueHash: Uint8Array
  /** That wrote the value; its entry is stored under it. */
  readonly version: number
  readonly hash: Uint8Array
}
/** A page further down. */
export interface Link {
  readonly kind: 'link'
  readonly hash: Uint8Array
  /** That wrote the page. */
  readonly version: number
}
export interface Inner {
  readonly kind: 'inner'
  readonly hash: Uint8Array
}
export type Slot = Leaf | Link | undefined
export type PageNode = Slot | Inner

const SLOTS = 16
/** Nodes are numbered as in a heap: 1 is the top, the children of i are 2i and 2i + 1, the slots begin here. */
const FIRST_SLOT = 16
const HASH_BYTES = 32
const VERSION_BYTES = 8
const LINK_BYTES = HASH_BYTES + VERSION_BYTES
const LEAF_BYTES = 2 * HASH_BYTES + VERSION_BYTES
const MAPS_BYTES = 4

export const nodeHash = (node: PageNode): Uint8Array => node?.hash ?? EMPTY_ROOT

export function leafOf(entry: { key: Uint8Array; valueHash: Uint8Array; version: number }): Leaf {
  return new HashedLeaf(entry)
}

/** Hashed when it is first asked for: where the node above is known, most leaves of a page never are. */
class HashedLeaf implements Leaf {
  readonly kind = 'leaf'
  readonly key: Uint8Array
  readonly valueHash: Uint8Array
  readonly version: number
  #hash: Uint8Array | undefined

  constructor(entry: { key: Uint8Array; valueHash: Uint8Array; version: number }) {
    this.key = entry.key
    this.valueHash = entry.valueHash
    this.version = entry.version
  }

  get hash(): Uint8Array {
    this.#hash ??= treeLeafHash(this.key, this.valueHash)
    return this.#hash
  }
}

export class Page {
  static readonly EMPTY: Page = new Page(Array.from({ length: FIRST_SLOT + SLOTS }))
  readonly #nodes: readonly PageNode[]

  private constructor(nodes: readonly PageNode[]) {
    this.#nodes = nodes
  }

  /**
   * @param nibbles - how many lead to the page.
   * @param above - from `above()` of the same page: spares the hashing. @default hashed
   * @returns `undefined` where the bytes are no page of that place.
   */
  static decode(bytes: Uint8Array, nibbles: number, above?: Uint8Array): Page | undefined {
    if (bytes.length < MAPS_BYTES) return undefined
    const view = viewOf(bytes)
    const [leaves, links] = [view.getUint16(0), view.getUint16(2)]
    if ((leaves & links) !== 0) return undefined
    if (bytes.length !== MAPS_BYTES + count(leaves) * LEAF_BYTES + count(links) * LINK_BYTES) return undefined
    const nodes = [...Page.EMPTY.#nodes]
    let at = MAPS_BYTES
    for (let slot = 0; slot < SLOTS; slot++) {
      const bit = 1 << slot
      if ((leaves & bit) !== 0) {
        const leaf = leafAt(bytes, view, at)
        if (nibbleOf(leaf.key, nibbles) !== slot) return undefined
        nodes[FIRST_SLOT + slot] = leaf
        at += LEAF_BYTES
      } else if ((links & bit) !== 0) {
        const hash = bytes.subarray(at, at + HASH_BYTES)
        nodes[FIRST_SLOT + slot] = { kind: 'link', hash, version: versionAt(view, at + HASH_BYTES) }
        at += LINK_BYTES
      }
    }
    for (let index = FIRST_SLOT - 1; index > 0; index--) {
      nodes[index] = joined(nodes[2 * index], nodes[2 * index + 1], above, index)
    }
    return new Page(nodes)
  }

  encode(): Uint8Array {
    let leaves = 0
    let links = 0
    for (let index = 0; index < SLOTS; index++) {
      const kind = this.slot(index)?.kind
      if (kind === 'leaf') leaves |= 1 << index
      else if (kind === 'link') links |= 1 << index
    }
    // One buffer, written in place: some hundred pages for each block.
    const bytes = new Uint8Array(MAPS_BYTES + count(leaves) * LEAF_BYTES + count(links) * LINK_BYTES)
    const view = viewOf(bytes)
    view.setUint16(0, leaves)
    view.setUint16(2, links)
    let at = MAPS_BYTES
    for (let index = 0; index < SLOTS; index++) {
      const slot = this.slot(index)
      if (slot === undefined) continue
      if (slot.kind === 'leaf') {
        bytes.set(slot.key, at)
        at += HASH_BYTES
      }
      bytes.set(slot.kind === 'leaf' ? slot.valueHash : slot.hash, at)
      setVersion(view, at + HASH_BYTES, slot.version)
      at += LINK_BYTES
    }
    return bytes
  }

  /** Hashes of the nodes above the slots, 480 bytes; where there is no inner node, zeros. */
  above(): Uint8Array {
    const hashes = new Uint8Array((FIRST_SLOT - 1) * HASH_BYTES)
    for (let index = 1; index < FIRST_SLOT; index++) {
      const node = this.node(index)
      if (node?.kind === 'inner') hashes.set(node.hash, (index - 1) * HASH_BYTES)
    }
    return hashes
  }

  /** @param index - 1 to 31, as in a heap. The top is inner where the page has two leaves or more; else no page is stored. */
  node(index: number): PageNode {
    return this.#nodes[index]
  }

  /** @param nibble - 0 to 15. */
  slot(nibble: number): Slot {
    const slot = this.#nodes[FIRST_SLOT + nibble]
    return slot?.kind === 'inner' ? undefined : slot
  }

  /** The page with other slots; only what stands above them is hashed anew. */
  with(slots: readonly (readonly [nibble: number, slot: Slot])[]): Page {
    const nodes = [...this.#nodes]
    const changed = new Set<number>()
    for (const [nibble, slot] of slots) {
      nodes[FIRST_SLOT + nibble] = slot
      changed.add((FIRST_SLOT + nibble) >> 1)
    }
    // A set hands out what is added while it is walked through: level by level up to the top.
    for (const index of changed) {
      nodes[index] = joined(nodes[2 * index], nodes[2 * index + 1])
      if (index > 1) changed.add(index >> 1)
    }
    return new Page(nodes)
  }
}

/** One leaf beside nothing moves up in place of its parent. */
function joined(left: PageNode, right: PageNode, above?: Uint8Array, index = 0): PageNode {
  if (left === undefined && (right === undefined || right.kind === 'leaf')) return right
  if (right === undefined && left?.kind === 'leaf') return left
  const known = above?.subarray((index - 1) * HASH_BYTES, index * HASH_BYTES)
  return { kind: 'inner', hash: known ?? treeInnerHash(nodeHash(left), nodeHash(right)) }
}

function encodeLeaf(leaf: Leaf): Uint8Array {
  return keyOf(leaf.key, leaf.valueHash, uint64Bytes(leaf.version))
}

function leafAt(bytes: Uint8Array, view: DataView, at: number): Leaf {
  const key = bytes.subarray(at, at + HASH_BYTES)
  const valueHash = bytes.subarray(at + HASH_BYTES, at + 2 * HASH_BYTES)
  return leafOf({ key, valueHash, version: versionAt(view, at + 2 * HASH_BYTES) })
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.length)

/** 8 bytes, big-endian. In halves: a BigInt for each slot of each page would be most of the work. */
function versionAt(view: DataView, at: number): number {
  return view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4)
}

function setVersion(view: DataView, at: number, version: number): void {
  view.setUint32(at, Math.floor(version / 2 ** 32))
  view.setUint32(at + 4, version % 2 ** 32)
}

/** The root as it is recorded: nothing, one leaf, or the hash of the page that the same version wrote. */
export function encodeRoot(root: Slot): Uint8Array {
  if (root === undefined) return new Uint8Array(0)
  return root.kind === 'leaf' ? encodeLeaf(root) : root.hash
}

/** @returns `'damaged'` where the bytes are no root. */
export function decodeRoot(bytes: Uint8Array, version: number): Slot | 'damaged' {
  if (bytes.length === 0) return undefined
  if (bytes.length === LEAF_BYTES) {
    const leaf = leafAt(bytes, viewOf(bytes), 0)
    return Number.isSafeInteger(leaf.version) ? leaf : 'damaged'
  }
  return bytes.length === HASH_BYTES ? { kind: 'link', hash: bytes, version } : 'damaged'
}

export function isSameNode(one: PageNode, other: PageNode): boolean {
  return equals(nodeHash(one), nodeHash(other))
}

function count(bits: number): number {
  let ones = 0
  for (let rest = bits; rest !== 0; rest &= rest - 1) ones++
  return ones
}
