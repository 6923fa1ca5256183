/** The tree in memory, made from its definition with no pages, versions or store: the oracle of the stored one. */
import { compare } from 'uint8arrays/compare'
import { EMPTY_ROOT, type StateProof, treeBit, treeInnerHash, treeLeafHash } from '../../../src/ledger/state-proof.ts'

export interface OracleEntry {
  readonly key: Uint8Array
  readonly valueHash: Uint8Array
}

interface OracleNode {
  readonly hash: Uint8Array
  readonly leaf: OracleEntry | undefined
  readonly halves: readonly [OracleNode, OracleNode] | undefined
}

const EMPTY: OracleNode = { hash: EMPTY_ROOT, leaf: undefined, halves: undefined }

export class MemoryStateTree {
  readonly #top: OracleNode

  private constructor(top: OracleNode) {
    this.#top = top
  }

  static of(entries: readonly OracleEntry[]): MemoryStateTree {
    return new MemoryStateTree(
      build(
        [...entries].sort((one, other) => compare(one.key, other.key)),
        0,
      ),
    )
  }

  get root(): Uint8Array {
    return this.#top.hash
  }

  prove(key: Uint8Array): StateProof {
    const siblings: (Uint8Array | null)[] = []
    let node = this.#top
    for (let depth = 0; node.halves !== undefined; depth++) {
      const [left, right] = node.halves
      const [way, sibling] = treeBit(key, depth) === 0 ? [left, right] : [right, left]
      siblings.push(sibling === EMPTY ? null : sibling.hash)
      node = way
    }
    return { siblings, leaf: node.leaf === undefined ? null : { key: node.leaf.key, valueHash: node.leaf.valueHash } }
  }
}

/** @param entries - sorted, with keys equal in their first `depth` bits. */
function build(entries: readonly OracleEntry[], depth: number): OracleNode {
  const [first] = entries
  if (first === undefined) return EMPTY
  if (entries.length === 1) return { hash: treeLeafHash(first.key, first.valueHash), leaf: first, halves: undefined }
  let middle = entries.findIndex(({ key }) => treeBit(key, depth) === 1)
  if (middle < 0) middle = entries.length
  const left = build(entries.slice(0, middle), depth + 1)
  const right = build(entries.slice(middle), depth + 1)
  return { hash: treeInnerHash(left.hash, right.hash), leaf: undefined, halves: [left, right] }
}
