import * as fc from 'fast-check'
import { compare } from 'uint8arrays/compare'
import { describe, expect, test } from 'vitest'
import { encodeCanonical } from '../../../src/core/codec.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import {
  FIRST_KEY,
  type KeyRange,
  LAST_KEY,
  type RangeLeaf,
  type RangeProof,
  RangeProofError,
  keyAfter,
  leavesFrom,
  proveRange,
  verifyRange,
} from '../../../src/ledger/state-range.ts'
import { MapStore } from './map-store.ts'
import { hexOf } from '../../vectors/load.ts'
import { applyTo, changesArb, keyArb, treeEntries, treeOf } from './state-samples.ts'

const inOrder = (leaves: readonly RangeLeaf[]): RangeLeaf[] => [...leaves].sort((a, b) => compare(a.key, b.key))
const within = (leaves: readonly RangeLeaf[], { from, to }: KeyRange): RangeLeaf[] =>
  inOrder(leaves).filter(({ key }) => compare(key, from) >= 0 && compare(key, to) <= 0)
const rangeArb = fc
  .tuple(fc.oneof(keyArb, fc.constant(FIRST_KEY)), fc.oneof(keyArb, fc.constant(LAST_KEY)))
  .map(([one, other]): KeyRange => (compare(one, other) <= 0 ? { from: one, to: other } : { from: other, to: one }))

describe('a range proof', () => {
  test('shows the leaves of any range of any tree', async () => {
    await fc.assert(
      fc.asyncProperty(changesArb, rangeArb, async (changes, range) => {
        const leaves = [...applyTo(new Map(), changes).values()]
        const tree = await treeOf(new MapStore(), changes)
        verifyRange(tree.root, range, within(leaves, range), await proveRange(tree, range))
      }),
      { numRuns: 300 },
    )
  })

  test('is refused with a leaf left out, added, altered, moved or cut off', async () => {
    await fc.assert(
      fc.asyncProperty(
        changesArb,
        rangeArb,
        keyArb,
        fc.nat(),
        fc.nat({ max: 4 }),
        async (changes, range, key, n, kind) => {
          const leaves = within([...applyTo(new Map(), changes).values()], range)
          const tree = await treeOf(new MapStore(), changes)
          const proof = await proveRange(tree, range)
          const at = n % Math.max(leaves.length, 1)
          const one = leaves[at]
          let lie: RangeLeaf[]
          if (kind === 0) lie = leaves.filter((_leaf, index) => index !== at)
          else if (kind === 1) lie = inOrder([...leaves, { key, valueHash: key }])
          else if (kind === 2)
            lie = leaves.map((leaf) => (leaf === one ? { ...leaf, valueHash: sha256(leaf.valueHash) } : leaf))
          else if (kind === 3) lie = leaves.toReversed()
          else lie = leaves.slice(0, at)
          const same = lie.length === leaves.length && lie.every((leaf, index) => leaf === leaves[index])
          if (same) return
          expect(() => verifyRange(tree.root, range, lie, proof)).toThrow(RangeProofError)
        },
      ),
      { numRuns: 400 },
    )
  })

  test('hides no leaf, however the steps are altered', async () => {
    const tree = await treeOf(new MapStore(), treeEntries(40))
    const all = inOrder(treeEntries(40))
    const [from, to] = [all[10]?.key ?? FIRST_KEY, all[20]?.key ?? LAST_KEY]
    const range = { from, to }
    const leaves = within(all, range)
    const proof = await proveRange(tree, range)
    const stepArb = fc.oneof(
      fc.constantFrom(null, 0 as const, 1 as const),
      fc.constantFrom(...all.map(({ key, valueHash }) => new Uint8Array([...key, ...valueHash]))),
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.subarray(leaves),
        fc.array(fc.tuple(fc.nat({ max: proof.length - 1 }), fc.option(stepArb, { nil: undefined })), { maxLength: 4 }),
        async (shown, edits) => {
          const steps: (RangeProof[number] | undefined)[] = [...proof]
          for (const [at, step] of edits) steps[at] = step
          const altered = steps.filter((step) => step !== undefined)
          try {
            verifyRange(tree.root, range, shown, altered)
          } catch (error) {
            expect(error).toBeInstanceOf(RangeProofError)
            return
          }
          expect(shown).toEqual(leaves)
          expect(hexOf(encodeCanonical(altered))).toBe(hexOf(encodeCanonical(proof)))
        },
      ),
      { numRuns: 500 },
    )
  })

  test('of a tree with few leaves, where it ends across a bound, hides none and lets none in beside', async () => {
    let hidden = 0
    let beside = 0
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 4 }), rangeArb, async (count, range) => {
        const all = treeEntries(count)
        const tree = await treeOf(new MapStore(), all)
        const leaves = within(all, range)
        const proof = await proveRange(tree, range)
        for (const [at, step] of proof.entries()) {
          if (step !== 0) continue
          for (const leaf of leaves) {
            // Said to be outside the range, though it is in it.
            const steps = proof.with(at, new Uint8Array([...leaf.key, ...leaf.valueHash]))
            const others = leaves.filter((one) => one !== leaf)
            expect(() => verifyRange(tree.root, range, others, steps)).toThrow('RANGE_PROOF_WRONG')
            hidden++
            for (const key of [keyAfter(leaf.key), sha256(leaf.key)]) {
              if (key === undefined || within([{ key, valueHash: key }], range).length === 0) continue
              const more = inOrder([...leaves, { key, valueHash: key }])
              expect(() => verifyRange(tree.root, range, more, proof)).toThrow(RangeProofError)
              beside++
            }
          }
        }
      }),
      { numRuns: 200 },
    )
    expect(Math.min(hidden, beside)).toBeGreaterThan(10)
  })

  test('for one range is none for another', async () => {
    const tree = await treeOf(new MapStore(), treeEntries(40))
    const all = inOrder(treeEntries(40))
    const range = { from: all[5]?.key ?? FIRST_KEY, to: all[9]?.key ?? LAST_KEY }
    const wider = { from: range.from, to: keyAfter(all[12]?.key ?? FIRST_KEY) ?? LAST_KEY }
    const proof = await proveRange(tree, range)
    expect(() => verifyRange(tree.root, wider, within(all, range), proof)).toThrow(RangeProofError)
    expect(() => verifyRange(sha256(tree.root), range, within(all, range), proof)).toThrow('RANGE_PROOF_ROOT_WRONG')
  })
})

test('leaves come in the order of their keys, from any key on', async () => {
  await fc.assert(
    fc.asyncProperty(changesArb, keyArb, async (changes, from) => {
      const expected = within([...applyTo(new Map(), changes).values()], { from, to: LAST_KEY })
      const found: string[] = []
      for await (const leaf of leavesFrom(await treeOf(new MapStore(), changes), from)) found.push(hexOf(leaf.key))
      expect(found).toEqual(expected.map(({ key }) => hexOf(key)))
    }),
  )
})

test('after a key comes the next number; after the last, nothing', () => {
  expect(keyAfter(new Uint8Array([0, 0xff]))).toEqual(new Uint8Array([1, 0]))
  expect(keyAfter(LAST_KEY)).toBeUndefined()
})
