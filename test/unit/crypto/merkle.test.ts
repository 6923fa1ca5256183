import * as fc from 'fast-check'
import { concat } from 'uint8arrays/concat'
import { describe, expect, test } from 'vitest'
import { sha256 } from '../../../src/crypto/hash.ts'
import {
  type CompleteNode,
  EMPTY_RANGE,
  appendLeaf,
  inclusionProof,
  leafHash,
  merkleRoot,
  nodeHash,
  rangeProof,
  rangeRoot,
  verifyInclusion,
} from '../../../src/crypto/merkle.ts'
import { bytesOfHex, hexOf } from '../../vectors/load.ts'

/** Inputs and roots of the reference tests of Certificate Transparency; root `i` is over the first `i + 1` leaves. */
const CT_LEAVES = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const CT_ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

const leavesOf = (count: number): Uint8Array[] =>
  Array.from({ length: count }, (_one, index) => sha256(new Uint8Array([index & 0xff, index >> 8])))

/** The definition of RFC 6962, 2.1, word for word. */
function naiveRoot(leaves: readonly Uint8Array[]): Uint8Array {
  if (leaves.length === 0) return sha256(new Uint8Array(0))
  if (leaves.length === 1) return sha256(concat([new Uint8Array([0]), leaves[0] ?? new Uint8Array(0)]))
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return nodeHash(naiveRoot(leaves.slice(0, k)), naiveRoot(leaves.slice(k)))
}

/** All that an ever growing range would have stored. */
function grow(leaves: readonly Uint8Array[]) {
  let range = EMPTY_RANGE
  const nodes = new Map<string, CompleteNode>()
  for (const leaf of leaves) {
    const next = appendLeaf(range, leafHash(leaf))
    range = next.range
    for (const node of next.nodes) nodes.set(`${node.level}/${node.index}`, node)
  }
  return { range, nodes }
}

describe('RFC 6962 trees', () => {
  test('roots are those of Certificate Transparency', () => {
    const leaves = CT_LEAVES.map(bytesOfHex)
    expect(CT_ROOTS.map((_root, index) => hexOf(merkleRoot(leaves.slice(0, index + 1))))).toEqual(CT_ROOTS)
    expect(hexOf(merkleRoot([]))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  })

  test('roots are what the definition says, at every size up to 70', () => {
    for (let size = 0; size <= 70; size++) {
      expect(hexOf(merkleRoot(leavesOf(size))), `size ${size}`).toBe(hexOf(naiveRoot(leavesOf(size))))
    }
  })

  test('every leaf of every size up to 40 has a proof that holds', () => {
    for (let size = 1; size <= 40; size++) {
      const leaves = leavesOf(size)
      const root = merkleRoot(leaves)
      for (const [index, leaf] of leaves.entries()) {
        const proof = inclusionProof(leaves, index)
        expect(verifyInclusion(root, size, index, leafHash(leaf), proof), `${index} of ${size}`).toBe(true)
      }
    }
  })

  test('a proof holds for no other leaf, index, size or root, and not with a hash more, less or altered', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 300 }), fc.nat(), fc.nat(), (size, a, b) => {
        const leaves = leavesOf(size)
        const index = a % size
        const other = b % size
        const root = merkleRoot(leaves)
        const leaf = leafHash(leaves[index] ?? new Uint8Array(0))
        const proof = inclusionProof(leaves, index)
        const otherLeaf = leafHash(leaves[other] ?? new Uint8Array(0))
        if (other !== index) {
          expect(verifyInclusion(root, size, index, otherLeaf, proof)).toBe(false)
          expect(verifyInclusion(root, size, other, leaf, proof)).toBe(false)
        }
        expect(verifyInclusion(sha256(root), size, index, leaf, proof)).toBe(false)
        expect(verifyInclusion(root, size, index, leaf, [...proof, root])).toBe(false)
        expect(verifyInclusion(root, size, index, leaf, proof.slice(0, -1))).toBe(false)
        const altered = proof.map((hash, at) => (at === b % proof.length ? sha256(hash) : hash))
        expect(verifyInclusion(root, size, index, leaf, altered)).toBe(false)
      }),
    )
  })

  test('an index outside the tree, or one that is no index, has no proof', () => {
    const [leaf = new Uint8Array(0)] = leavesOf(1)
    const root = merkleRoot([leaf])
    expect(verifyInclusion(root, 1, 0, leafHash(leaf), [])).toBe(true)
    for (const index of [-1, 1, 0.5, Number.NaN, 2 ** 60]) {
      expect(verifyInclusion(root, 1, index, leafHash(leaf), []), String(index)).toBe(false)
    }
    expect(verifyInclusion(root, 0, 0, leafHash(leaf), [])).toBe(false)
  })

  test('an inner node is not taken for a leaf', () => {
    const leaves = leavesOf(4)
    const [a, b] = leaves.map(leafHash)
    const inner = nodeHash(a ?? new Uint8Array(0), b ?? new Uint8Array(0))
    const proof = inclusionProof(leaves, 0).slice(1)
    expect(verifyInclusion(merkleRoot(leaves), 4, 0, inner, proof)).toBe(false)
  })
})

describe('Merkle mountain range', () => {
  test('folding the peaks gives the root of the list, at every size up to 200', () => {
    let range = EMPTY_RANGE
    for (let size = 0; size <= 200; size++) {
      expect(hexOf(rangeRoot(range)), `size ${size}`).toBe(hexOf(merkleRoot(leavesOf(size))))
      range = appendLeaf(range, leafHash(leavesOf(size + 1)[size] ?? new Uint8Array(0))).range
    }
  })

  test('from stored nodes, any leaf is proved under the root of any size that holds it', async () => {
    const leaves = leavesOf(150)
    const { nodes } = grow(leaves)
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 150 }), fc.nat(), async (size, at) => {
        const index = at % size
        const proof = await rangeProof(index, size, async ({ index: i, level }) => {
          const node = nodes.get(`${level}/${i}`)
          if (node === undefined) throw new Error(`node ${level}/${i} was never complete`)
          return node.hash
        })
        const root = merkleRoot(leaves.slice(0, size))
        expect(verifyInclusion(root, size, index, leafHash(leaves[index] ?? new Uint8Array(0)), proof)).toBe(true)
      }),
    )
  })

  test('it stores fewer than two nodes per leaf', () => {
    expect(grow(leavesOf(1_000)).nodes.size).toBeLessThan(2_000)
  })
})
