import * as fc from 'fast-check'
import { concat } from 'uint8arrays/concat'
import { describe, expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import { ChainStoreError } from '../../../src/ledger/chain-store.ts'
import {
  EMPTY_ROOT,
  type StateProof,
  encodeStateProof,
  treeBit,
  treeKey,
  verifyStateProof,
  verifyStateValue,
} from '../../../src/ledger/state-proof.ts'
import { StoredStateTree } from '../../../src/ledger/state-tree.ts'
import { MemoryStore } from '../../../src/store/memory-store.ts'
import { hexOf } from '../../vectors/load.ts'
import { MapStore } from './map-store.ts'
import { MemoryStateTree } from './memory-state-tree.ts'
import { type Leafy, type Model, applyTo, changesArb, keyArb, treeEntries, treeOf } from './state-samples.ts'

/** The definition, recomputed from a plain map: no incremental step to get wrong. */
function naiveRoot(leaves: readonly Leafy[], depth = 0): Uint8Array {
  const [first] = leaves
  if (first === undefined) return EMPTY_ROOT
  if (leaves.length === 1) return sha256(concat([new Uint8Array([0]), first.key, first.valueHash]))
  const left = leaves.filter(({ key }) => treeBit(key, depth) === 0)
  const right = leaves.filter(({ key }) => treeBit(key, depth) === 1)
  return sha256(concat([new Uint8Array([1]), naiveRoot(left, depth + 1), naiveRoot(right, depth + 1)]))
}

const rootOf = (model: Model): string => hexOf(naiveRoot([...model.values()]))

function twin(last: number): Leafy {
  const key = new Uint8Array(32).fill(7)
  key[31] = last
  return { key, valueHash: sha256(key) }
}

async function expectProofsOf(tree: StoredStateTree, model: Model, asked: readonly Uint8Array[]): Promise<void> {
  const oracle = MemoryStateTree.of([...model.values()])
  for (const key of asked) {
    const proof = await tree.prove(key)
    expect(hexOf(encodeStateProof(proof))).toBe(hexOf(encodeStateProof(oracle.prove(key))))
    const proved = verifyStateProof(tree.root, key, proof)
    const expected = model.get(hexOf(key))?.valueHash
    expect(proved === undefined ? undefined : hexOf(proved)).toBe(expected === undefined ? undefined : hexOf(expected))
  }
}

describe('the state tree', () => {
  test('its root is that of the definition after any blocks of changes, from memory and from the store', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(changesArb, { maxLength: 6 }),
        fc.infiniteStream(fc.boolean()),
        async (blocks, keep) => {
          const store = new MemoryStore()
          let tree = await treeOf(store, [])
          let model: Model = new Map()
          let waiting: StoredStateTree[] = []
          let writes: Parameters<MemoryStore['batch']>[0][number][] = []
          for (const changes of blocks) {
            const next = await tree.with(changes)
            tree = next.tree
            model = applyTo(model, changes)
            expect(hexOf(tree.root)).toBe(rootOf(model))
            waiting.push(tree)
            writes.push(...next.writes)
            // Some blocks wait and become final together.
            if (keep.next().value === true) continue
            await store.batch(writes)
            for (const one of waiting) one.stored()
            waiting = []
            writes = []
            expect(hexOf((await StoredStateTree.at(store, tree.version))?.root ?? EMPTY_ROOT)).toBe(rootOf(model))
          }
        },
      ),
      { numRuns: 200 },
    )
  })

  test('every stored version stays as it was: its root, and a proof of every key, present or absent', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(changesArb, { maxLength: 4 }),
        fc.array(keyArb, { maxLength: 5 }),
        async (blocks, asked) => {
          const store = new MapStore()
          let tree = await treeOf(store, [])
          const models: Model[] = [new Map()]
          for (const changes of blocks) {
            const next = await tree.with(changes)
            await store.batch(next.writes)
            tree = next.tree
            tree.stored()
            models.push(applyTo(models.at(-1) ?? new Map(), changes))
          }
          for (const [version, model] of models.entries()) {
            const found = await StoredStateTree.at(store, version)
            expect(hexOf(found?.root ?? EMPTY_ROOT)).toBe(rootOf(model))
            if (found !== undefined) {
              await expectProofsOf(found, model, [...asked, ...[...model.values()].map(({ key }) => key)])
            }
          }
        },
      ),
      { numRuns: 60 },
    )
  })

  test('pending siblings and their children do not see each other, whichever becomes final', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.tuple(changesArb, changesArb, changesArb, changesArb, changesArb),
        fc.boolean(),
        async ([base, a, b, onA, onB], isAFinal) => {
          const store = new MemoryStore()
          const ground = await treeOf(store, base)
          const model = applyTo(new Map(), base)
          const pending = { a: await ground.with(a), b: await ground.with(b) }
          const [modelA, modelB] = [applyTo(model, a), applyTo(model, b)]
          const [final, other] = isAFinal ? [pending.a, pending.b] : [pending.b, pending.a]
          await store.batch(final.writes)
          final.tree.stored()
          // The other's overlay is still its own: it reads as before, though the same versions are in the store.
          const childA = await pending.a.tree.with(onA)
          const childB = await pending.b.tree.with(onB)
          expect(hexOf(childA.tree.root)).toBe(rootOf(applyTo(modelA, onA)))
          expect(hexOf(childB.tree.root)).toBe(rootOf(applyTo(modelB, onB)))
          const child = isAFinal ? childA : childB
          await store.batch(child.writes)
          child.tree.stored()
          const expected = isAFinal ? applyTo(modelA, onA) : applyTo(modelB, onB)
          const reopened = await StoredStateTree.at(store, 2)
          expect(hexOf(reopened?.root ?? EMPTY_ROOT)).toBe(rootOf(expected))
          if (reopened !== undefined)
            await expectProofsOf(
              reopened,
              expected,
              [...expected.values()].map((one) => one.key),
            )
          expect(hexOf(other.tree.root)).toBe(rootOf(isAFinal ? modelB : modelA))
        },
      ),
      { numRuns: 60 },
    )
  })

  test('an empty tree is 32 zero bytes, and so is one whose keys were all taken out', async () => {
    const entries = treeEntries(20)
    const store = new MapStore()
    expect((await treeOf(new MapStore(), [])).root).toEqual(new Uint8Array(32))
    const full = await treeOf(store, entries)
    const { tree, writes } = await full.with(
      entries.map(({ key }) => ({ key, valueHash: undefined, entry: undefined })),
    )
    expect(tree.root).toEqual(new Uint8Array(32))
    await store.batch(writes)
    expect((await StoredStateTree.at(store, 1))?.root).toEqual(new Uint8Array(32))
    expect((await StoredStateTree.at(store, 0))?.root).toEqual(full.root)
  })

  test('a block that changes nothing writes nothing, and its tree is that of the version before', async () => {
    const store = new MapStore()
    const tree = await treeOf(store, treeEntries(20))
    const [first] = treeEntries(1)
    const absent = { key: sha256(new Uint8Array([1, 2, 3])), valueHash: undefined, entry: undefined }
    for (const changes of [[], first === undefined ? [] : [first], [absent]]) {
      const { tree: next, writes } = await tree.with(changes)
      expect(writes).toEqual([])
      expect(next.root).toEqual(tree.root)
      expect(next.version).toBe(1)
    }
  })

  test('a pending tree reads its own and its ancestors’ pages from memory, a stored one nothing but the store', async () => {
    const store = new MapStore()
    // Two keys that share 31 bytes: their page is far from the root, where nothing is cached.
    const twins = [1, 2].map((last) => ({ ...twin(last), entry: undefined }))
    const asked = twin(1).key
    const ground = await treeOf(store, treeEntries(50))
    const first = await ground.with(twins)
    const second = await first.tree.with(treeEntries(60))
    const third = await second.tree.with(treeEntries(70))
    for (const { tree } of [first, second, third]) {
      expect(verifyStateProof(tree.root, asked, await tree.prove(asked))).toEqual(twin(1).valueHash)
    }
    await store.batch([...first.writes, ...second.writes])
    second.tree.stored()
    const whole = store.copy()
    store.entries.clear()
    // The page of the twins was in the overlay of `first`, below all three; `third` itself is pending still.
    for (const { tree } of [first, second, third]) await expect(tree.prove(asked)).rejects.toThrow('CHAIN_DAMAGED')
    for (const [name, entry] of whole.entries) store.entries.set(name, entry)
    for (const { tree } of [first, second, third]) {
      expect(verifyStateProof(tree.root, asked, await tree.prove(asked))).toEqual(twin(1).valueHash)
    }
  })
})

describe('a damaged store', () => {
  test('no altered, cut or missing page is used: it is CHAIN_DAMAGED, or the proof is the right one', async () => {
    const entries = treeEntries(200)
    const store = new MapStore()
    const { root } = await treeOf(store, entries)
    const names = [...store.entries.keys()]
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        fc.nat({ max: 2 }),
        async (n, at, flip, kind) => {
          const damaged = store.copy()
          const name = names[n % names.length] ?? ''
          const entry = damaged.entries.get(name)
          if (entry === undefined || entry.value.length === 0) return
          const value = entry.value.slice(0, kind === 1 ? at % entry.value.length : undefined)
          if (kind === 0) value[at % value.length] = (value[at % value.length] ?? 0) ^ flip
          if (kind === 2) damaged.entries.delete(name)
          else damaged.entries.set(name, { key: entry.key, value })
          try {
            const tree = await StoredStateTree.at(damaged, 0)
            // The root is compared with the head's header when a chain is opened.
            if (tree === undefined || hexOf(tree.root) !== hexOf(root)) return
            for (const { key, valueHash } of entries) {
              expect(verifyStateProof(root, key, await tree.prove(key))).toEqual(valueHash)
            }
          } catch (error) {
            expect(error).toBeInstanceOf(ChainStoreError)
            expect(error).toMatchObject({ fault: { code: 'CHAIN_DAMAGED' } })
          }
        },
      ),
      { numRuns: 150 },
    )
  })
})

test('a leaf in the slot beside its own is damage, though the page hashes to the same', async () => {
  const store = new MapStore()
  const leaves = [0x00, 0x80].map((first) => {
    const key = new Uint8Array(32).fill(first)
    return { key, valueHash: sha256(key), entry: undefined }
  })
  await treeOf(store, leaves)
  const page = [...store.entries.values()].find(({ key }) => key[0] === 'n'.charCodeAt(0))
  if (page === undefined) throw new Error('no page')
  const moved = page.value.slice()
  expect([...moved.subarray(0, 4)]).toEqual([0x01, 0x01, 0, 0])
  moved[1] = 0x02
  store.entries.set(page.key.join(), { key: page.key, value: moved })
  const tree = await StoredStateTree.at(store, 0)
  await expect(tree?.prove(leaves[0]?.key ?? EMPTY_ROOT)).rejects.toThrow('CHAIN_DAMAGED')
})

describe('a proof', () => {
  test('no altered one shows another value, or hides one', async () => {
    const entries = treeEntries(64)
    const tree = await treeOf(new MapStore(), entries)
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

  test('for one key is none for another, not even of its absence', async () => {
    const tree = await treeOf(new MapStore(), treeEntries(64))
    const [a, b] = treeEntries(64)
    const proof = await tree.prove(a?.key ?? EMPTY_ROOT)
    expect(() => verifyStateProof(tree.root, b?.key ?? EMPTY_ROOT, proof)).toThrow(/STATE_PROOF_/)
  })

  test('a value is checked by its bytes', async () => {
    const value = new Uint8Array([1, 2, 3])
    const key = treeKey('account', new Uint8Array([7]))
    const own = { key, valueHash: sha256(value), entry: undefined }
    const tree = await treeOf(new MapStore(), [own, ...treeEntries(10)])
    const proof = await tree.prove(key)
    expect(() => verifyStateValue(tree.root, key, value, proof)).not.toThrow()
    expect(() => verifyStateValue(tree.root, key, new Uint8Array([1, 2]), proof)).toThrow('STATE_PROOF_VALUE_WRONG')
  })

  test('at 10,000 keys it is under a kilobyte, of presence and of absence', async () => {
    const entries = treeEntries(10_000)
    const tree = await treeOf(new MemoryStore(), entries)
    expect(hexOf(tree.root)).toBe(hexOf(MemoryStateTree.of(entries).root))
    for (let n = 0; n < 1_000; n++) {
      const key = n % 2 === 0 ? entries[n * 10]?.key : sha256(new Uint8Array([n & 0xff, n >> 8]))
      const proof = await tree.prove(key ?? EMPTY_ROOT)
      expect(encodeStateProof(proof).length).toBeLessThan(1_000)
    }
  })
})

test('namespace and key can not be cut in two ways', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
  expect(hexOf(treeKey('record', bytes('s1')))).not.toBe(hexOf(treeKey('records', bytes('1'))))
})
