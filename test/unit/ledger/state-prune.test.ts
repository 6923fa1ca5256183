import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { KeyChange, KeyValueStore } from '../../../src/core/ports.ts'
import { SnapshotMaker } from '../../../src/ledger/snapshot-maker.ts'
import { treeKey, verifyStateProof } from '../../../src/ledger/state-proof.ts'
import { FIRST_KEY, leavesFrom } from '../../../src/ledger/state-range.ts'
import { StoredStateTree } from '../../../src/ledger/state-tree.ts'
import type { Slot } from '../../../src/ledger/state-tree-page.ts'
import { isKept, pruneState } from '../../../src/ledger/state-tree-prune.ts'
import { LevelStore } from '../../../src/store/level-store.ts'
import { hexOf } from '../../vectors/load.ts'
import { MapStore } from './map-store.ts'
import { flatChanges, storeBlock } from './state-samples.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'apotheca-prune-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

/** Blocks of changes of these keys: an even number overwrites, some others delete. @returns roots by version */
async function grow(store: KeyValueStore, blocks: readonly (readonly number[])[]): Promise<string[]> {
  let tree = StoredStateTree.beforeGenesis(store)
  const roots: string[] = []
  for (const [height, keys] of blocks.entries()) {
    const changes = flatChanges([...new Set(keys)], height).map((change, index) =>
      index % 5 === 4 ? { ...change, bytes: undefined } : change,
    )
    tree = await storeBlock(store, tree, changes)
    roots.push(hexOf(tree.root))
  }
  return roots
}

/** Every leaf of a version is read, proved, and its value there. */
async function expectWhole(store: KeyValueStore, version: number, root: string | undefined): Promise<void> {
  const tree = await StoredStateTree.at(store, version)
  expect(tree === undefined ? undefined : hexOf(tree.root)).toBe(root)
  if (tree === undefined) return
  for await (const leaf of leavesFrom(tree, FIRST_KEY)) {
    expect(verifyStateProof(tree.root, leaf.key, await tree.prove(leaf.key))).toEqual(leaf.valueHash)
  }
  await (await SnapshotMaker.open(store, version)).chunk(FIRST_KEY)
}

const blocksArb = fc.array(fc.array(fc.nat({ max: 80 }), { maxLength: 25 }), { minLength: 1, maxLength: 9 })

/** Fails from a certain batch on, as a killed process does. */
class MortalStore extends MapStore {
  batchesLeft = Number.POSITIVE_INFINITY
  override async batch(changes: readonly KeyChange[]): Promise<void> {
    if (this.batchesLeft-- <= 0) throw new Error('killed')
    await super.batch(changes)
  }
}

/** How many pages lead from the root. */
async function pagesOf(tree: StoredStateTree): Promise<number> {
  const below = async (slot: Slot, key: Uint8Array, nibbles: number): Promise<number> => {
    if (slot?.kind !== 'link') return 0
    const page = await tree.page(slot, key, nibbles)
    let pages = 1
    for (let nibble = 0; nibble < 16; nibble++) {
      const way = key.slice()
      way[nibbles >> 1] = (way[nibbles >> 1] ?? 0) | (nibbles % 2 === 0 ? nibble << 4 : nibble)
      pages += await below(page.slot(nibble), way, nibbles + 1)
    }
    return pages
  }
  return below(tree.rootNode, FIRST_KEY, 0)
}

describe('pruning', () => {
  test('keeps every version that is wanted whole', async () => {
    await fc.assert(
      fc.asyncProperty(
        blocksArb,
        fc.nat({ max: 8 }),
        fc.subarray([0, 1, 2, 3, 4, 5, 6]),
        async (blocks, n, snapshots) => {
          const store = new MapStore()
          const roots = await grow(store, blocks)
          const from = n % blocks.length
          const kept = await pruneState(store, { from, snapshots }, { keysMax: 7 })
          expect(kept).toEqual({ from, snapshots: snapshots.filter((version) => version < from) })
          for (const [version, root] of roots.entries()) {
            const isWanted = version >= from || snapshots.includes(version)
            expect(await isKept(store, version)).toBe(isWanted)
            if (isWanted) await expectWhole(store, version, root)
          }
        },
      ),
      { numRuns: 80 },
    )
  })

  test('of all but the newest version leaves exactly what a store has that only ever had that one', async () => {
    await fc.assert(
      fc.asyncProperty(blocksArb, async (blocks) => {
        const store = new MapStore()
        const roots = await grow(store, blocks)
        const newest = blocks.length - 1
        await pruneState(store, { from: newest, snapshots: newest > 2 ? [1, 2] : [] }, { keysMax: 5 })
        await pruneState(store, { from: newest, snapshots: [] }, { keysMax: 5 })
        await expectWhole(store, newest, roots[newest])
        const tree = await StoredStateTree.at(store, newest)
        if (tree === undefined) throw new Error('no tree')
        let leaves = 0
        for await (const leaf of leavesFrom(tree, FIRST_KEY)) leaves += leaf.key.length > 0 ? 1 : 0
        const counted = { n: 0, o: 0, s: 0, v: 0, x: 0, z: 0 }
        for (const { key } of store.entries.values()) {
          const letter = String.fromCharCode(key[0] ?? 0)
          if (letter in counted) counted[letter as keyof typeof counted]++
        }
        // One root, one value and one flat entry for each leaf, and no lists; the pages that lead from the root.
        expect(counted).toEqual({ n: await pagesOf(tree), o: 1, s: leaves, v: leaves, x: 0, z: 0 })
      }),
      { numRuns: 80 },
    )
  })

  test('that is killed between any two batches goes on at the next run', async () => {
    const blocks = Array.from({ length: 8 }, (_one, height) =>
      Array.from({ length: 20 }, (_two, n) => (n * 7 + height * 3) % 60),
    )
    const ground = new MapStore()
    const roots = await grow(ground, blocks)
    const whole = ground.copy()
    await pruneState(whole, { from: 6, snapshots: [2, 4] })
    for (let batches = 0; ; batches++) {
      const store = new MortalStore(new Map(ground.entries))
      store.batchesLeft = batches
      const first = pruneState(store, { from: 6, snapshots: [2, 4] }, { keysMax: 10 })
      const finished = await first.then(
        () => true,
        () => false,
      )
      store.batchesLeft = Number.POSITIVE_INFINITY
      for (const version of [2, 4, 6, 7]) await expectWhole(store, version, roots[version])
      await pruneState(store, { from: 6, snapshots: [2, 4] }, { keysMax: 10 })
      expect([...store.entries.keys()].sort()).toEqual([...whole.entries.keys()].sort())
      if (finished) break
      expect(batches).toBeLessThan(1_000)
    }
  })

  test('gives up a version for good: it is not wanted back', async () => {
    const store = new MapStore()
    await grow(
      store,
      Array.from({ length: 6 }, (_one, height) => [height, height + 1, 9]),
    )
    await pruneState(store, { from: 5, snapshots: [3] })
    expect(await pruneState(store, { from: 2, snapshots: [1, 3] })).toEqual({ from: 5, snapshots: [3] })
    expect(await isKept(store, 1)).toBe(false)
  })
})

test('on a real disk the tree is there again after each reopening, before and after pruning', async () => {
  let store = await LevelStore.open(dir)
  let tree = await storeBlock(store, StoredStateTree.beforeGenesis(store), flatChanges([1, 2, 3], 0))
  for (let height = 1; height < 8; height++) {
    const changes = flatChanges(
      Array.from({ length: 60 }, (_one, n) => (n * 13 + height * 5) % 200),
      height,
    )
    tree = await storeBlock(store, tree, changes)
    // A block that was never stored leaves no trace.
    await tree.with([{ key: treeKey('record', new Uint8Array([1])), valueHash: FIRST_KEY, entry: undefined }])
    await store.close()
    store = await LevelStore.open(dir)
    const reopened = await StoredStateTree.at(store, height)
    if (reopened === undefined) throw new Error('no tree')
    expect(hexOf(reopened.root)).toBe(hexOf(tree.root))
    await expectWhole(store, height, hexOf(tree.root))
    tree = reopened
    if (height === 5) await pruneState(store, { from: 4, snapshots: [2] })
  }
  await store.close()
})
