/**
 * Merkle trees over lists, as RFC 6962 section 2.1 (the same in RFC 9162): leaf = SHA-256(0x00 || data),
 * inner = SHA-256(0x01 || left || right), split at the largest power of two below the size, empty list = SHA-256("").
 *
 * The prefixes keep a leaf from being read as an inner node. A proof is checked against root, index *and* size; without the
 * size, an inner node could be passed off as a leaf of a smaller tree.
 *
 * The history of the chain is the same tree, kept as a Merkle mountain range: only the roots of the complete subtrees (the
 * peaks, largest first) are needed to append, and folding the peaks from the right gives exactly the RFC 6962 root.
 *
 * @see docs/spec/history.md; test/unit/crypto/merkle.test.ts
 */
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import { TX_BYTES_MAX } from '../core/limits.ts'
import { sha256 } from './hash.ts'

const LEAF_PREFIX = new Uint8Array([0x00])
const NODE_PREFIX = new Uint8Array([0x01])
/** What is hashed of a leaf, written over each time: envelopes are hashed by the hundred for each block. Begins with the prefix. */
const LEAF_INPUT = new Uint8Array(1 + TX_BYTES_MAX)

/** A complete, aligned subtree of `2 ** level` leaves, the `index`-th of its level from the left. */
export interface NodePosition {
  readonly level: number
  readonly index: number
}

/** A node that became complete with an append; stored, it makes any later proof possible. */
export interface CompleteNode extends NodePosition {
  readonly hash: Uint8Array
}

/** A Merkle mountain range: how many leaves, and the roots of the complete subtrees, largest first. */
export interface MountainRange {
  readonly size: number
  readonly peaks: readonly Uint8Array[]
}

/** Leaves `start` to `start + size - 1`. */
interface Span {
  readonly start: number
  readonly size: number
}

export const EMPTY_RANGE: MountainRange = { size: 0, peaks: [] }

export function leafHash(data: Uint8Array): Uint8Array {
  if (data.length >= LEAF_INPUT.length) return sha256(concat([LEAF_PREFIX, data]))
  LEAF_INPUT.set(data, 1)
  return sha256(LEAF_INPUT.subarray(0, 1 + data.length))
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256(concat([NODE_PREFIX, left, right]))
}

/** @param leaves - the data of the leaves, not their hashes. */
export function merkleRoot(leaves: readonly Uint8Array[]): Uint8Array {
  return rootOfHashes(leaves.map(leafHash))
}

/** @param hashes - of the leaves, from `leafHash`. */
export function rootOfHashes(hashes: readonly Uint8Array[]): Uint8Array {
  let level = hashes
  while (level.length > 1) {
    const above: Uint8Array[] = []
    for (let index = 0; index < level.length; index += 2) {
      const [left, right] = [level[index], level[index + 1]]
      if (left === undefined) continue
      // One that has no right sibling is carried up unchanged: the same tree as one split at powers of two.
      above.push(right === undefined ? left : nodeHash(left, right))
    }
    level = above
  }
  return level[0] ?? sha256(new Uint8Array(0))
}

/**
 * The audit path of a leaf, from the leaf up.
 *
 * @param leaves - the data of all leaves.
 * @param index - 0 to `leaves.length - 1`.
 */
export function inclusionProof(leaves: readonly Uint8Array[], index: number): Uint8Array[] {
  return hashedInclusionProof(leaves.map(leafHash), index)
}

/** The same, of leaves that are hashed already. @param hashes - of all leaves, from `leafHash`. */
export function hashedInclusionProof(hashes: readonly Uint8Array[], index: number): Uint8Array[] {
  return inclusionSpans(index, hashes.length).map((span) => spanRoot(hashes, span))
}

/**
 * Whether `leaf` is the leaf `index` of the tree of `size` leaves with this root (RFC 9162, 2.1.3.2).
 *
 * @param leaf - hash of the leaf, from `leafHash`.
 * @param proof - untrusted; 32-byte hashes from the leaf up.
 */
export function verifyInclusion(
  root: Uint8Array,
  size: number,
  index: number,
  leaf: Uint8Array,
  proof: readonly Uint8Array[],
): boolean {
  if (!Number.isSafeInteger(index) || !Number.isSafeInteger(size) || index < 0 || index >= size) return false
  let node = index
  let last = size - 1
  let hash = leaf
  for (const sibling of proof) {
    if (last === 0 || sibling.length !== 32) return false
    if (node % 2 === 1 || node === last) {
      hash = nodeHash(sibling, hash)
      // No right sibling on these levels: the node is carried up unchanged.
      while (node % 2 === 0 && node !== 0) {
        node /= 2
        last = Math.floor(last / 2)
      }
    } else {
      hash = nodeHash(hash, sibling)
    }
    node = Math.floor(node / 2)
    last = Math.floor(last / 2)
  }
  return last === 0 && equals(hash, root)
}

/** Appends a leaf; `nodes` are the subtrees that it completes, the leaf itself first. */
export function appendLeaf(
  range: MountainRange,
  leaf: Uint8Array,
): { readonly range: MountainRange; readonly nodes: readonly CompleteNode[] } {
  const peaks = [...range.peaks]
  const nodes: CompleteNode[] = [{ level: 0, index: range.size, hash: leaf }]
  let hash = leaf
  let index = range.size
  for (let level = 1; index % 2 === 1; level++) {
    const left = peaks.pop()
    if (left === undefined) break
    index = (index - 1) / 2
    hash = nodeHash(left, hash)
    nodes.push({ level, index, hash })
  }
  peaks.push(hash)
  return { range: { size: range.size + 1, peaks }, nodes }
}

/** The RFC 6962 root of all leaves of the range. */
export function rangeRoot(range: MountainRange): Uint8Array {
  const last = range.peaks.at(-1)
  if (last === undefined) return sha256(new Uint8Array(0))
  return range.peaks.slice(0, -1).reduceRight((right, peak) => nodeHash(peak, right), last)
}

/** Where the peaks of a range of `size` leaves stand, largest first. */
export function peakPositions(size: number): NodePosition[] {
  return completeNodes({ start: 0, size })
}

/**
 * The audit path of leaf `index` in the range of `size` leaves, read from stored complete nodes.
 *
 * @param readNode - the stored hash at a position; every position asked for lies within `size` leaves.
 */
export async function rangeProof(
  index: number,
  size: number,
  readNode: (position: NodePosition) => Promise<Uint8Array>,
): Promise<Uint8Array[]> {
  const proof: Uint8Array[] = []
  for (const span of inclusionSpans(index, size)) {
    const peaks: Uint8Array[] = []
    for (const position of completeNodes(span)) peaks.push(await readNode(position))
    proof.push(rangeRoot({ size: span.size, peaks }))
  }
  return proof
}

/** The siblings on the way from leaf `index` to the root, from the leaf up. */
function inclusionSpans(index: number, size: number): Span[] {
  const spans: Span[] = []
  let span: Span = { start: 0, size }
  while (span.size > 1) {
    const half = largestPowerBelow(span.size)
    const left: Span = { start: span.start, size: half }
    const right: Span = { start: span.start + half, size: span.size - half }
    const inLeft = index < right.start
    spans.push(inLeft ? right : left)
    span = inLeft ? left : right
  }
  return spans.reverse()
}

function spanRoot(hashes: readonly Uint8Array[], span: Span): Uint8Array {
  let range = EMPTY_RANGE
  for (let i = 0; i < span.size; i++) {
    const hash = hashes[span.start + i]
    if (hash !== undefined) range = appendLeaf(range, hash).range
  }
  return rangeRoot(range)
}

/** A span that starts at a multiple of its largest power of two, as complete subtrees, largest first. */
function completeNodes(span: Span): NodePosition[] {
  const nodes: NodePosition[] = []
  let start = span.start
  let left = span.size
  while (left > 0) {
    let level = 0
    let width = 1
    for (; width * 2 <= left; width *= 2) level++
    nodes.push({ level, index: start / width })
    start += width
    left -= width
  }
  return nodes
}

/** The largest power of two strictly below `size` (at least 2). */
function largestPowerBelow(size: number): number {
  let power = 1
  while (power * 2 < size) power *= 2
  return power
}
