import * as fc from 'fast-check'
import { concat } from 'uint8arrays/concat'
import { describe, expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import {
  EMPTY_ROOT,
  type StateProof,
  encodeStateProof,
  treeBit,
  treeKey,
  verifyStateProof,
  verifyStateValue,
} from '../../../src/ledger/state-proof.ts'
import { MemoryStateTree, type TreeChange } from '../../../src/ledger/state-tree.ts'
import { hexOf } from '../../vectors/load.ts'

/** Keys that share long prefixes as well as keys spread by a hash: both kinds of shape. */
const keyArb = fc.oneof(
  fc.nat({ max: 400 }).map((n) => sha256(new Uint8Array([n & 0xff, n >> 8]))),
  fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 255 }), fc.constantFrom(0, 15, 31)).map(([head, bits, at]) => {
    const key = new Uint8Array(32).fill(head)
    key[at] = bits
    return key
  }),
)
const valueArb = fc.nat({ max: 50 }).map((n) => sha256(new Uint8Array([n])))
const changesArb = fc.array(fc.record({ key: keyArb, valueHash: fc.option(valueArb, { nil: undefined, freq: 3 }) }), {
  maxLength: 40,
})

/** The definition, recomputed from a plain map: no incremental step to get wrong. */
function naiveRoot(leaves: readonly { key: Uint8Array; valueHash: Uint8Array }[], depth = 0): Uint8Array {
  const [first] = leaves
  if (first === undefined) return EMPTY_ROOT
  if (leaves.length === 1) return sha256(concat([new Uint8Array([0]), first.key, first.valueHash]))
  const left = naiveRoot(
    leaves.filter(({ key }) => treeBit(key, depth) === 0),
    depth + 1,
  )
  const right = naiveRoot(
    leaves.filter(({ key }) => treeBit(key, depth) === 1),
    depth + 1,
  )
  return sha256(concat([new Uint8Array([1]), left, right]))
}

function applyTo(map: Map<string, { key: Uint8Array; valueHash: Uint8Array }>, changes: readonly TreeChange[]): void {
  for (const { key, valueHash } of changes) {
    if (valueHash === undefined) map.delete(hexOf(key))
    else map.set(hexOf(key), { key, valueHash })
  }
}

/** At most one change for each key, as a block makes them. */
function distinct(changes: readonly TreeChange[]): TreeChange[] {
  return [...new Map(changes.map((change) => [hexOf(change.key), change])).values()]
}

const entriesOf = (count: number) =>
  Array.from({ length: count }, (_one, index) => {
    const key = sha256(new Uint8Array([index & 0xff, (index >> 8) & 0xff, index >> 16]))
    return { key, valueHash: sha256(key) }
  })

describe('the state tree', () => {
  test('its root is that of the definition after any blocks of changes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(changesArb, { maxLength: 5 }), async (blocks) => {
        let tree = MemoryStateTree.of([])
        const map = new Map<string, { key: Uint8Array; valueHash: Uint8Array }>()
        for (const block of blocks) {
          const changes = distinct(block)
          tree = (await tree.with(changes)).tree
          applyTo(map, changes)
          expect(hexOf(tree.root)).toBe(hexOf(naiveRoot([...map.values()])))
        }
        expect(hexOf(MemoryStateTree.of([...map.values()]).root)).toBe(hexOf(tree.root))
      }),
      { numRuns: 200 },
    )
  })

  test('a version stays as it is when the next is made', async () => {
    const first = MemoryStateTree.of(entriesOf(50))
    const root = hexOf(first.root)
    const [gone] = entriesOf(50)
    const { tree: second } = await first.with([{ key: gone?.key ?? EMPTY_ROOT, valueHash: undefined }])
    expect(hexOf(first.root)).toBe(root)
    expect(hexOf(second.root)).not.toBe(root)
  })

  test('an empty tree is 32 zero bytes, and so is one whose keys were all taken out', async () => {
    const entries = entriesOf(20)
    const { tree } = await MemoryStateTree.of(entries).with(entries.map(({ key }) => ({ key, valueHash: undefined })))
    expect(tree.root).toEqual(new Uint8Array(32))
    expect(MemoryStateTree.of([]).root).toEqual(new Uint8Array(32))
  })

  test('every key, present or absent, has a proof that says so', async () => {
    await fc.assert(
      fc.asyncProperty(changesArb, keyArb, async (changes, asked) => {
        const map = new Map<string, { key: Uint8Array; valueHash: Uint8Array }>()
        applyTo(map, changes)
        const tree = MemoryStateTree.of([...map.values()])
        for (const key of [asked, ...[...map.values()].map((entry) => entry.key)]) {
          const proved = verifyStateProof(tree.root, key, await tree.prove(key))
          expect(proved === undefined ? undefined : hexOf(proved)).toBe(
            map.has(hexOf(key)) ? hexOf(map.get(hexOf(key))?.valueHash ?? EMPTY_ROOT) : undefined,
          )
        }
      }),
      { numRuns: 100 },
    )
  })

  test('no altered proof shows another value, or hides one', async () => {
    const entries = entriesOf(64)
    const tree = MemoryStateTree.of(entries)
    const alter = (proof: StateProof, kind: number, at: number): StateProof => {
      const { leaf, siblings } = proof
      const index = at % Math.max(siblings.length, 1)
      switch (kind) {
        case 0:
          return { leaf: null, siblings }
        case 1:
          return { leaf, siblings: siblings.slice(0, -1) }
        case 2:
          return { leaf, siblings: [...siblings, null] }
        case 3:
          return { leaf, siblings: siblings.map((hash, i) => (i === index ? null : hash)) }
        case 4:
          return { leaf: leaf === null ? null : { ...leaf, valueHash: sha256(leaf.valueHash) }, siblings }
        default:
          return { leaf: entries[at % entries.length] ?? null, siblings }
      }
    }
    await fc.assert(
      fc.asyncProperty(fc.nat({ max: 63 }), fc.nat({ max: 5 }), fc.nat(), async (which, kind, at) => {
        const { key, valueHash } = entries[which] ?? { key: EMPTY_ROOT, valueHash: EMPTY_ROOT }
        const altered = alter(await tree.prove(key), kind, at)
        let proved: Uint8Array | undefined
        try {
          proved = verifyStateProof(tree.root, key, altered)
        } catch (error) {
          expect(error).toBeInstanceOf(CodedError)
          return
        }
        // Only the proof itself, unchanged by the alteration, is left.
        expect(proved === undefined ? undefined : hexOf(proved)).toBe(hexOf(valueHash))
      }),
    )
  })

  test('a proof for one key is no proof for another, not even of its absence', async () => {
    const entries = entriesOf(64)
    const tree = MemoryStateTree.of(entries)
    const [a, b] = entries
    const proof = await tree.prove(a?.key ?? EMPTY_ROOT)
    expect(() => verifyStateProof(tree.root, b?.key ?? EMPTY_ROOT, proof)).toThrow(/STATE_PROOF_/)
  })

  test('a value is checked by its bytes', async () => {
    const value = new Uint8Array([1, 2, 3])
    const key = treeKey('account', new Uint8Array([7]))
    const tree = MemoryStateTree.of([{ key, valueHash: sha256(value) }, ...entriesOf(10)])
    const proof = await tree.prove(key)
    expect(() => verifyStateValue(tree.root, key, value, proof)).not.toThrow()
    expect(() => verifyStateValue(tree.root, key, new Uint8Array([1, 2]), proof)).toThrow('STATE_PROOF_VALUE_WRONG')
  })

  test('namespace and key can not be cut in two ways', () => {
    const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
    expect(hexOf(treeKey('record', bytes('s1')))).not.toBe(hexOf(treeKey('records', bytes('1'))))
  })

  test('100,000 keys are built in seconds, proofs of them stay under a kilobyte, and a block changes them in milliseconds', async () => {
    const all = entriesOf(100_500)
    const entries = all.slice(0, 100_000)
    const builtMs = performance.now()
    const tree = MemoryStateTree.of(entries)
    const changedMs = performance.now()
    const { tree: next } = await tree.with(all.slice(99_500))
    const doneMs = performance.now()
    // Wide margins: the machine may be busy. Alone it takes about 0.7 s and 25 ms.
    expect(changedMs - builtMs).toBeLessThan(8_000)
    expect(doneMs - changedMs).toBeLessThan(1_000)
    expect(hexOf(next.root)).toBe(hexOf(MemoryStateTree.of(all).root))
    for (const { key } of entries.slice(0, 100)) {
      const proof = await next.prove(key)
      expect(encodeStateProof(proof).length).toBeLessThan(1_000)
    }
  })
})
