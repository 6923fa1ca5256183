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
import { sha256Into } from '../crypto/hash.ts'
import { keyOf, uint64Bytes } from './state.ts'
import { EMPTY_ROOT, treeLeafHash } from './state-proof.ts'
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
const ABOVE_BYTES = (FIRST_SLOT - 1) * HASH_BYTES
/** What is hashed of a leaf and of an inner node. Written over each time: these are hashed by the million. */
const LEAF_INPUT = new Uint8Array(1 + 2 * HASH_BYTES).fill(0x00, 0, 1)
const INNER_INPUT = new Uint8Array(1 + 2 * HASH_BYTES).fill(0x01, 0, 1)

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

/** Bytes and nothing but bytes: a block reads and makes some hundred pages, of which it looks at one slot in sixteen. */
export class Page {
  static readonly EMPTY: Page = new Page(new Uint8Array(MAPS_BYTES), new Uint8Array(ABOVE_BYTES))
  /** As it is stored. */
  readonly bytes: Uint8Array
  /** Hashes of the nodes 1 to 15; of those that are no inner node, anything. */
  readonly #above: Uint8Array
  readonly #view: DataView
  /** Which slots have a leaf, and which a link: the bit of their number. */
  readonly #leaves: number
  readonly #links: number

  private constructor(bytes: Uint8Array, above: Uint8Array) {
    this.bytes = bytes
    this.#above = above
    this.#view = viewOf(bytes)
    this.#leaves = this.#view.getUint16(0)
    this.#links = this.#view.getUint16(2)
  }

  /**
   * @param nibbles - how many lead to the page.
   * @returns `undefined` where the bytes are no page of that place.
   */
  static decode(bytes: Uint8Array, nibbles: number): Page | undefined {
    if (bytes.length < MAPS_BYTES) return undefined
    const page = new Page(bytes, new Uint8Array(ABOVE_BYTES))
    if ((page.#leaves & page.#links) !== 0 || bytes.length !== page.#offsetOf(SLOTS)) return undefined
    for (let slot = 0; slot < SLOTS; slot++) {
      if ((page.#leaves & (1 << slot)) === 0) continue
      const at = page.#offsetOf(slot)
      if (nibbleOf(bytes.subarray(at, at + HASH_BYTES), nibbles) !== slot) return undefined
    }
    for (let index = FIRST_SLOT - 1; index > 0; index--) page.#join(index)
    return page
  }

  /** @param index - 1 to 31, as in a heap. The top is inner where the page has two leaves or more; else no page is stored. */
  node(index: number): PageNode {
    if (this.#isInner(index)) {
      const at = (index - 1) * HASH_BYTES
      return { kind: 'inner', hash: this.#above.subarray(at, at + HASH_BYTES) }
    }
    const slots = (this.#leaves | this.#links) & slotsOf(index)
    return slots === 0 ? undefined : this.slot(31 - Math.clz32(slots))
  }

  /** @param nibble - 0 to 15. */
  slot(nibble: number): Slot {
    const bit = 1 << nibble
    if (((this.#leaves | this.#links) & bit) === 0) return undefined
    const at = this.#offsetOf(nibble)
    if ((this.#leaves & bit) !== 0) return leafAt(this.bytes, this.#view, at)
    const hash = this.bytes.subarray(at, at + HASH_BYTES)
    return { kind: 'link', hash, version: versionAt(this.#view, at + HASH_BYTES) }
  }

  /** The page with other slots, ascending; only what stands above them is hashed anew. */
  with(slots: readonly (readonly [nibble: number, slot: Slot])[]): Page {
    let leaves = this.#leaves
    let links = this.#links
    for (const [nibble, slot] of slots) {
      const bit = 1 << nibble
      leaves = slot?.kind === 'leaf' ? leaves | bit : leaves & ~bit
      links = slot?.kind === 'link' ? links | bit : links & ~bit
    }
    const length = MAPS_BYTES + count(leaves) * LEAF_BYTES + count(links) * LINK_BYTES
    // One buffer for what is stored and what is only known.
    const whole = new Uint8Array(length + ABOVE_BYTES)
    const bytes = whole.subarray(0, length)
    const view = viewOf(bytes)
    view.setUint16(0, leaves)
    view.setUint16(2, links)
    this.#copySlots(bytes, view, slots)
    const above = whole.subarray(length)
    above.set(this.#above)
    const page = new Page(bytes, above)
    let changed = 0
    for (const [nibble] of slots) changed |= 1 << ((FIRST_SLOT + nibble) >> 1)
    for (let index = FIRST_SLOT - 1; index > 0; index--) {
      if ((changed & (1 << index)) === 0) continue
      page.#join(index)
      changed |= 1 << (index >> 1)
    }
    return page
  }

  /** Whether the top has this hash. */
  hasHash(hash: Uint8Array): boolean {
    if (!this.#isInner(1)) return equals(nodeHash(this.node(1)), hash)
    for (let at = 0; at < HASH_BYTES; at++) if (this.#above[at] !== hash[at]) return false
    return true
  }

  /** Writes all slots: those given, and between them those of this page. */
  #copySlots(to: Uint8Array, view: DataView, slots: readonly (readonly [nibble: number, slot: Slot])[]): void {
    let at = MAPS_BYTES
    let next = 0
    for (const [nibble, slot] of slots) {
      at = this.#copy(to, at, next, nibble)
      next = nibble + 1
      if (slot === undefined) continue
      if (slot.kind === 'leaf') {
        to.set(slot.key, at)
        at += HASH_BYTES
      }
      to.set(slot.kind === 'leaf' ? slot.valueHash : slot.hash, at)
      setVersion(view, at + HASH_BYTES, slot.version)
      at += LINK_BYTES
    }
    this.#copy(to, at, next, SLOTS)
  }

  /** Copies the slots from one number to another. @returns where they end */
  #copy(to: Uint8Array, at: number, first: number, end: number): number {
    if (first >= end) return at
    const [start, stop] = [this.#offsetOf(first), this.#offsetOf(end)]
    to.set(this.bytes.subarray(start, stop), at)
    return at + stop - start
  }

  #offsetOf(slot: number): number {
    const before = (1 << slot) - 1
    return MAPS_BYTES + count(this.#leaves & before) * LEAF_BYTES + count(this.#links & before) * LINK_BYTES
  }

  /** One leaf beside nothing moves up in place of its parent. */
  #isInner(index: number): boolean {
    if (index >= FIRST_SLOT) return false
    const slots = slotsOf(index)
    return (this.#links & slots) !== 0 || count(this.#leaves & slots) > 1
  }

  /** Hashes an inner node of its children. */
  #join(index: number): void {
    if (!this.#isInner(index)) return
    // The left one first: a leaf is hashed in a buffer of its own.
    this.#hashInto(2 * index, 1)
    this.#hashInto(2 * index + 1, 1 + HASH_BYTES)
    sha256Into(INNER_INPUT, this.#above, (index - 1) * HASH_BYTES)
  }

  /** Writes the hash of a node to what is hashed of its parent. */
  #hashInto(index: number, to: number): void {
    if (this.#isInner(index)) {
      const at = (index - 1) * HASH_BYTES
      INNER_INPUT.set(this.#above.subarray(at, at + HASH_BYTES), to)
      return
    }
    const slots = (this.#leaves | this.#links) & slotsOf(index)
    if (slots === 0) {
      INNER_INPUT.set(EMPTY_ROOT, to)
      return
    }
    const at = this.#offsetOf(31 - Math.clz32(slots))
    if ((this.#links & slots) !== 0) {
      INNER_INPUT.set(this.bytes.subarray(at, at + HASH_BYTES), to)
      return
    }
    LEAF_INPUT.set(this.bytes.subarray(at, at + 2 * HASH_BYTES), 1)
    sha256Into(LEAF_INPUT, INNER_INPUT, to)
  }
}

/** The slots under a node, by their bits. */
function slotsOf(index: number): number {
  const level = 31 - Math.clz32(index)
  const span = SLOTS >> level
  return ((1 << span) - 1) << ((index - (1 << level)) * span)
}

function encodeLeaf(leaf: Leaf): Uint8Array {
  return keyOf(leaf.key, leaf.valueHash, uint64Bytes(leaf.version))
}

function leafAt(bytes: Uint8Array, view: DataView, at: number): Leaf {
  const key = bytes.subarray(at, at + HASH_BYTES)
  const valueHash = bytes.subarray(at + HASH_BYTES, at + 2 * HASH_BYTES)
  return leafOf({ key, valueHash, version: versionAt(view, at + 2 * HASH_BYTES) })
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

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

/** Of 16 bits. */
function count(bits: number): number {
  const pairs = bits - ((bits >> 1) & 0x5555)
  const nibbles = (pairs & 0x3333) + ((pairs >> 2) & 0x3333)
  const bytes = (nibbles + (nibbles >> 4)) & 0x0f0f
  return (bytes + (bytes >> 8)) & 0x1f
}
