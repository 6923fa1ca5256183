/**
 * Range proofs: that these are all the leaves of the state tree from one key to another, none left out, none added. Pure:
 * checked with a state root and nothing else.
 *
 * A proof lists, in the order of a walk from the root, what the leaves of the range don't say:
 *
 * - of a subtree wholly outside the range: its hash, `null` where it is empty;
 * - of a subtree that lies across a bound: `INNER`, then both its halves; or, where the tree ends there, `null` (empty), `HERE`
 *   (the one leaf of the range that lies under it), or 64 bytes, key and value hash of a leaf outside the range;
 * - of a subtree wholly inside: nothing. It is made of its leaves.
 *
 * Why no leaf can be left out: hashes of leaves, inner nodes and the empty subtree can't be taken for each other, and a leaf's
 * has its key in it. So a list that gives the root states what the tree really has at every place it names. Of these
 * places, those inside the range are hashed from the leaves given, and those outside can't hold a leaf of the range, since a
 * key stands nowhere but on its own way.
 *
 * @see docs/spec/snapshot.md
 */
import { compare } from 'uint8arrays/compare'
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import { CodedError } from '../core/coded-error.ts'
import { type Decoder, byteString, list, shapeFault } from '../core/schema.ts'
import { EMPTY_ROOT, TREE_DEPTH, treeBit, treeInnerHash, treeLeafHash } from './state-proof.ts'
import type { StoredStateTree } from './state-tree.ts'
import type { Leaf, Page, PageNode } from './state-tree-page.ts'

/** The tree goes on below. */
const INNER = 1
/** The tree ends at the one leaf of the range that is under this place. */
const HERE = 0
const HASH_BYTES = 32
/** Two bounds, each with a node and a sibling on every level, and the root. */
const STEPS_MAX = 4 * TREE_DEPTH + 1

export type RangeStep = typeof INNER | typeof HERE | Uint8Array | null
export type RangeProof = readonly RangeStep[]

/** Both ends belong to it. */
export interface KeyRange {
  readonly from: Uint8Array
  readonly to: Uint8Array
}

/** A leaf as it is hashed. */
export interface RangeLeaf {
  readonly key: Uint8Array
  readonly valueHash: Uint8Array
}

export type RangeProofFault = { code: 'RANGE_PROOF_WRONG' } | { code: 'RANGE_PROOF_ROOT_WRONG' }
export class RangeProofError extends CodedError<RangeProofFault> {}

const hashOrLeaf = byteString(HASH_BYTES, 2 * HASH_BYTES)
const step: Decoder<RangeStep> = (value, path) => {
  if (value === null || value === INNER || value === HERE) return value
  const bytes = hashOrLeaf(value, path)
  if (bytes.length !== HASH_BYTES && bytes.length !== 2 * HASH_BYTES) throw shapeFault(path, '32 or 64 bytes')
  return bytes
}
export const rangeProof: Decoder<RangeProof> = list(step, 0, STEPS_MAX)

/** The first and the last of all keys. */
export const FIRST_KEY: Uint8Array = new Uint8Array(HASH_BYTES)
export const LAST_KEY: Uint8Array = new Uint8Array(HASH_BYTES).fill(0xff)

/** The key after this one; `undefined` after the last. */
export function keyAfter(key: Uint8Array): Uint8Array | undefined {
  const next = key.slice()
  for (let index = next.length - 1; index >= 0; index--) {
    next[index] = ((next[index] ?? 0) + 1) & 0xff
    if (next[index] !== 0) return next
  }
  return undefined
}

/**
 * @param leaves - all that the tree is said to have in the range.
 * @throws {RangeProofError} `RANGE_PROOF_WRONG` where leaves or steps are too many, too few or out of place, `RANGE_PROOF_ROOT_WRONG`
 */
export function verifyRange(root: Uint8Array, range: KeyRange, leaves: readonly RangeLeaf[], proof: RangeProof): void {
  leaves.forEach(({ key }, index) => {
    const before = leaves[index - 1]
    const inOrder = before === undefined || compare(before.key, key) < 0
    if (!inOrder || !isIn(key, range)) throw new RangeProofError({ code: 'RANGE_PROOF_WRONG' })
  })
  const check = new RangeCheck(range, leaves, proof)
  const found = check.hash(FIRST_KEY, 0)
  if (!check.isDone) throw new RangeProofError({ code: 'RANGE_PROOF_WRONG' })
  if (!equals(found, root)) throw new RangeProofError({ code: 'RANGE_PROOF_ROOT_WRONG' })
}

/** The proof of the leaves that this tree has in the range. */
export async function proveRange(tree: StoredStateTree, range: KeyRange): Promise<RangeProof> {
  const steps: RangeStep[] = []
  const walk = async (place: Place, low: Uint8Array, depth: number): Promise<void> => {
    const side = sideOf(low, depth, range)
    if (side === 'inside') return
    if (side === 'outside') {
      steps.push(place.node?.hash ?? null)
      return
    }
    const at = await opened(tree, place, low)
    const { node } = at
    if (node === undefined) steps.push(null)
    else if (node.kind === 'leaf') steps.push(isIn(node.key, range) ? HERE : concat([node.key, node.valueHash]))
    else {
      steps.push(INNER)
      await walk(childOf(at, 0), low, depth + 1)
      await walk(childOf(at, 1), highHalf(low, depth), depth + 1)
    }
  }
  await walk({ node: tree.rootNode, page: undefined, index: 0, nibbles: 0 }, FIRST_KEY, 0)
  return steps
}

/** Leaves in the order of their keys, from this key on. */
export async function* leavesFrom(tree: StoredStateTree, from: Uint8Array): AsyncGenerator<Leaf> {
  const walk = async function* (slot: PageNode, low: Uint8Array, nibbles: number): AsyncGenerator<Leaf> {
    if (slot?.kind === 'leaf' && compare(slot.key, from) >= 0) yield slot
    if (slot?.kind !== 'link') return
    const page = await tree.page(slot, low, nibbles)
    for (let nibble = 0; nibble < 16; nibble++) {
      const child = page.slot(nibble)
      const start = low.slice()
      start[nibbles >> 1] = (start[nibbles >> 1] ?? 0) | (nibbles % 2 === 0 ? nibble << 4 : nibble)
      if (child !== undefined && compare(lastUnder(start, 4 * nibbles + 4), from) >= 0) {
        yield* walk(child, start, nibbles + 1)
      }
    }
  }
  yield* walk(tree.rootNode, FIRST_KEY, 0)
}

/** A node of the tree, and where its page is. */
interface Place {
  readonly node: PageNode
  readonly page: Page | undefined
  readonly index: number
  /** That lead to the page. */
  readonly nibbles: number
}

/** The place with its page read: a link is the top of the next page. */
async function opened(tree: StoredStateTree, place: Place, low: Uint8Array): Promise<Place> {
  if (place.node?.kind !== 'link') return place
  const nibbles = place.page === undefined ? 0 : place.nibbles + 1
  const page = await tree.page(place.node, low, nibbles)
  return { node: page.node(1), page, index: 1, nibbles }
}

function childOf(place: Place, bit: 0 | 1): Place {
  const index = 2 * place.index + bit
  return { ...place, node: place.page?.node(index), index }
}

class RangeCheck {
  readonly #range: KeyRange
  readonly #leaves: readonly RangeLeaf[]
  readonly #proof: RangeProof
  /** How many leaves and steps are used up. */
  #leaf = 0
  #step = 0

  constructor(range: KeyRange, leaves: readonly RangeLeaf[], proof: RangeProof) {
    this.#range = range
    this.#leaves = leaves
    this.#proof = proof
  }

  get isDone(): boolean {
    return this.#leaf === this.#leaves.length && this.#step === this.#proof.length
  }

  /**
   * Hash of the subtree at a place.
   *
   * @param low - the first key under it.
   * @param depth - 0 to 256; no place of one key lies across a bound, so it goes no deeper.
   */
  hash(low: Uint8Array, depth: number): Uint8Array {
    const side = sideOf(low, depth, this.#range)
    if (side === 'inside') return hashOfLeaves(this.#under(low, depth), depth)
    const step = this.#proof[this.#step++]
    if (step === null) return EMPTY_ROOT
    if (side === 'outside') {
      if (step instanceof Uint8Array && step.length === HASH_BYTES && !equals(step, EMPTY_ROOT)) return step
    } else if (step === INNER) {
      const left = this.hash(low, depth + 1)
      return treeInnerHash(left, this.hash(highHalf(low, depth), depth + 1))
    } else if (step === HERE) {
      const [leaf, more] = this.#under(low, depth)
      if (leaf !== undefined && more === undefined) return treeLeafHash(leaf.key, leaf.valueHash)
    } else if (step?.length === 2 * HASH_BYTES) {
      const key = step.slice(0, HASH_BYTES)
      // A leaf of the range must be given among the leaves.
      const isUnder = compare(key, low) >= 0 && compare(key, lastUnder(low, depth)) <= 0
      if (isUnder && !isIn(key, this.#range)) return treeLeafHash(key, step.slice(HASH_BYTES))
    }
    throw new RangeProofError({ code: 'RANGE_PROOF_WRONG' })
  }

  /** Takes the leaves under a place; those before it should have been taken. */
  #under(low: Uint8Array, depth: number): readonly RangeLeaf[] {
    const start = this.#leaf
    const last = lastUnder(low, depth)
    for (;;) {
      const leaf = this.#leaves[this.#leaf]
      if (leaf === undefined || compare(leaf.key, last) > 0) return this.#leaves.slice(start, this.#leaf)
      if (compare(leaf.key, low) < 0) throw new RangeProofError({ code: 'RANGE_PROOF_WRONG' })
      this.#leaf++
    }
  }
}

/** @param leaves - sorted, with keys equal in their first `depth` bits. */
function hashOfLeaves(leaves: readonly RangeLeaf[], depth: number): Uint8Array {
  const [first] = leaves
  if (first === undefined) return EMPTY_ROOT
  if (leaves.length === 1) return treeLeafHash(first.key, first.valueHash)
  let middle = leaves.findIndex(({ key }) => treeBit(key, depth) === 1)
  if (middle < 0) middle = leaves.length
  return treeInnerHash(hashOfLeaves(leaves.slice(0, middle), depth + 1), hashOfLeaves(leaves.slice(middle), depth + 1))
}

function isIn(key: Uint8Array, range: KeyRange): boolean {
  return compare(key, range.from) >= 0 && compare(key, range.to) <= 0
}

/** Where the keys that begin with the first `depth` bits of `low` stand. */
function sideOf(low: Uint8Array, depth: number, range: KeyRange): 'inside' | 'outside' | 'across' {
  const last = lastUnder(low, depth)
  if (compare(last, range.from) < 0 || compare(low, range.to) > 0) return 'outside'
  return isIn(low, range) && isIn(last, range) ? 'inside' : 'across'
}

/** The last key that begins with the first `depth` bits of `low`, whose other bits are 0. */
function lastUnder(low: Uint8Array, depth: number): Uint8Array {
  const last = low.slice()
  const whole = depth >> 3
  if (whole < HASH_BYTES) last[whole] = (last[whole] ?? 0) | (0xff >> (depth & 7))
  return last.fill(0xff, whole + 1)
}

function highHalf(low: Uint8Array, depth: number): Uint8Array {
  const high = low.slice()
  high[depth >> 3] = (high[depth >> 3] ?? 0) | (0x80 >> (depth & 7))
  return high
}
