/**
 * The authenticated state: a sparse Merkle tree whose root stands in every header. Values themselves lie in the flat state;
 * here are only hashes.
 *
 * `StateTree` is the interface that the chain uses. `MemoryStateTree` keeps all nodes in memory and is built from the flat
 * state when the chain opens; nodes are never changed, so a tree of a proposed block lives beside the final one, and is
 * simply let go if the block isn't accepted.
 *
 * @see docs/spec/state-tree.md; state-proof.ts has the hashes and the check
 */
import { compare } from 'uint8arrays/compare'
import { equals } from 'uint8arrays/equals'
import type { KeyChange } from '../core/ports.ts'
import { EMPTY_ROOT, type StateProof, treeBit, treeInnerHash, treeLeafHash } from './state-proof.ts'

/** One change of the tree; `valueHash: undefined` takes the key out. */
export interface TreeChange {
  /** From `treeKey`. */
  readonly key: Uint8Array
  /** SHA-256 of the value's bytes. */
  readonly valueHash: Uint8Array | undefined
}

/** One version of the tree. */
export interface StateTree {
  readonly root: Uint8Array
  /**
   * The next version; this one stays as it is.
   *
   * @param changes - at most one for each key.
   * @returns the tree, and what must be stored with the block, in one batch.
   */
  with(changes: readonly TreeChange[]): Promise<{ readonly tree: StateTree; readonly writes: readonly KeyChange[] }>
  /** Proof that the key is present, or that it is absent. */
  prove(key: Uint8Array): Promise<StateProof>
}

interface Leaf {
  readonly kind: 'leaf'
  readonly key: Uint8Array
  readonly valueHash: Uint8Array
  readonly hash: Uint8Array
}
interface Inner {
  readonly kind: 'inner'
  readonly left: TreeNode
  readonly right: TreeNode
  readonly hash: Uint8Array
}
type TreeNode = Leaf | Inner | undefined

export class MemoryStateTree implements StateTree {
  readonly #root: TreeNode

  private constructor(root: TreeNode) {
    this.#root = root
  }

  /** The tree of these entries: built at once, every node hashed once. */
  static of(entries: readonly { readonly key: Uint8Array; readonly valueHash: Uint8Array }[]): MemoryStateTree {
    return new MemoryStateTree(build(entries.map(leafOf).sort(byKey), 0))
  }

  get root(): Uint8Array {
    return hashOf(this.#root)
  }

  async with(changes: readonly TreeChange[]): Promise<{ tree: MemoryStateTree; writes: readonly KeyChange[] }> {
    const sorted = [...changes].sort(byKey)
    return { tree: new MemoryStateTree(change(this.#root, sorted, 0)), writes: [] }
  }

  async prove(key: Uint8Array): Promise<StateProof> {
    const siblings: (Uint8Array | null)[] = []
    let node = this.#root
    for (let depth = 0; node?.kind === 'inner'; depth++) {
      const isLeft = treeBit(key, depth) === 0
      const sibling = isLeft ? node.right : node.left
      siblings.push(sibling?.hash ?? null)
      node = isLeft ? node.left : node.right
    }
    return { siblings, leaf: node === undefined ? null : { key: node.key, valueHash: node.valueHash } }
  }
}

const byKey = (a: { key: Uint8Array }, b: { key: Uint8Array }): number => compare(a.key, b.key)
const hashOf = (node: TreeNode): Uint8Array => node?.hash ?? EMPTY_ROOT

function leafOf(entry: { readonly key: Uint8Array; readonly valueHash: Uint8Array }): Leaf {
  const { key, valueHash } = entry
  return { kind: 'leaf', key, valueHash, hash: treeLeafHash(key, valueHash) }
}

/** Joins two subtrees; one leaf beside nothing moves up in place of its parent. */
function join(left: TreeNode, right: TreeNode): TreeNode {
  if (left === undefined && right?.kind !== 'inner') return right
  if (right === undefined && left?.kind !== 'inner') return left
  return { kind: 'inner', left, right, hash: treeInnerHash(hashOf(left), hashOf(right)) }
}

/** @param leaves - sorted, with keys equal in their first `depth` bits. */
function build(leaves: readonly Leaf[], depth: number): TreeNode {
  if (leaves.length <= 1) return leaves[0]
  const middle = splitAt(leaves, depth)
  return join(build(leaves.slice(0, middle), depth + 1), build(leaves.slice(middle), depth + 1))
}

/** @param changes - sorted, with keys equal in their first `depth` bits. */
function change(node: TreeNode, changes: readonly TreeChange[], depth: number): TreeNode {
  if (changes.length === 0) return node
  if (node?.kind !== 'inner') {
    const leaves: Leaf[] = []
    if (node !== undefined && !changes.some(({ key }) => equals(key, node.key))) leaves.push(node)
    for (const { key, valueHash } of changes) if (valueHash !== undefined) leaves.push(leafOf({ key, valueHash }))
    return build(leaves.sort(byKey), depth)
  }
  const middle = splitAt(changes, depth)
  const left = change(node.left, changes.slice(0, middle), depth + 1)
  const right = change(node.right, changes.slice(middle), depth + 1)
  return left === node.left && right === node.right ? node : join(left, right)
}

/** Index of the first item whose bit `depth` is 1; the items are sorted. */
function splitAt(items: readonly { readonly key: Uint8Array }[], depth: number): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >> 1
    const item = items[middle]
    if (item !== undefined && treeBit(item.key, depth) === 0) low = middle + 1
    else high = middle
  }
  return low
}
