import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { CodecError } from '../../../src/core/codec.ts'
import { CodedError } from '../../../src/core/coded-error.ts'
import type { KeyValueStore } from '../../../src/core/ports.ts'
import { ChainStore } from '../../../src/ledger/chain-store.ts'
import { openChain } from '../../../src/ledger/chain-open.ts'
import { encodeGenesis } from '../../../src/ledger/genesis.ts'
import {
  type SnapshotChunk,
  decodeSnapshotChunk,
  encodeSnapshotChunk,
  verifyChunk,
} from '../../../src/ledger/snapshot.ts'
import { SnapshotBuilder, unfinishedSnapshot } from '../../../src/ledger/snapshot-builder.ts'
import { SnapshotMaker } from '../../../src/ledger/snapshot-maker.ts'
import type { EncodedChange } from '../../../src/ledger/state.ts'
import { FIRST_KEY } from '../../../src/ledger/state-range.ts'
import { StoredStateTree } from '../../../src/ledger/state-tree.ts'
import { allOf } from '../../../src/ledger/state-tree-keys.ts'
import { pruneState } from '../../../src/ledger/state-tree-prune.ts'
import { LevelStore } from '../../../src/store/level-store.ts'
import { MemoryStore } from '../../../src/store/memory-store.ts'
import { hexOf } from '../../vectors/load.ts'
import { MapStore } from './map-store.ts'
import { makeGenesis } from './network.ts'
import { flatChanges, storeBlock } from './state-samples.ts'

const CHUNK_BYTES = 2_000
const indices = (from: number, to: number): number[] => Array.from({ length: to - from }, (_one, index) => from + index)

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'apotheca-snapshot-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

/** A state of three versions: 300 keys, some overwritten, some deleted. */
async function grown(store: KeyValueStore): Promise<StoredStateTree> {
  const deleted: EncodedChange[] = flatChanges(indices(50, 60), 2).map((change) => ({ ...change, bytes: undefined }))
  let tree = await storeBlock(store, StoredStateTree.beforeGenesis(store), flatChanges(indices(0, 200), 0))
  tree = await storeBlock(store, tree, flatChanges(indices(150, 300), 1))
  return storeBlock(store, tree, [...deleted, ...flatChanges(indices(0, 10), 2)])
}

async function chunksOf(store: KeyValueStore, height: number, bytesMax = CHUNK_BYTES): Promise<Uint8Array[]> {
  const maker = await SnapshotMaker.open(store, height, bytesMax)
  const chunks: Uint8Array[] = []
  for (let from: Uint8Array | undefined = FIRST_KEY; from !== undefined; ) {
    const bytes: Uint8Array = await maker.chunk(from)
    chunks.push(bytes)
    from = verifyChunk(maker.root, from, decodeSnapshotChunk(bytes)).next
  }
  return chunks
}

async function flatState(store: KeyValueStore): Promise<string[]> {
  const found: string[] = []
  for await (const { bytes, key, namespace } of new ChainStore(store).allState()) {
    found.push(`${namespace} ${hexOf(key)} ${hexOf(bytes)}`)
  }
  return found
}

async function allEntries(store: KeyValueStore): Promise<string[]> {
  const found: string[] = []
  for await (const { key, value } of store.range({ from: new Uint8Array(0), to: new Uint8Array([255]) })) {
    found.push(`${hexOf(key)} ${hexOf(value)}`)
  }
  return found
}

describe('a snapshot', () => {
  test('taken over in chunks gives the same flat state, the same root, and a tree that goes on alike', async () => {
    const source = new MemoryStore()
    const tree = await grown(source)
    const target = new MemoryStore()
    const builder = await SnapshotBuilder.open(target, { height: 2, root: tree.root })
    const chunks = await chunksOf(source, 2)
    expect(chunks.length).toBeGreaterThan(5)
    for (const chunk of chunks) await builder.add(chunk)
    expect(builder.next).toBeUndefined()
    await builder.finish([])
    expect(await flatState(target)).toEqual(await flatState(source))
    const copy = await StoredStateTree.at(target, 2)
    if (copy === undefined) throw new Error('no tree')
    expect(hexOf(copy.root)).toBe(hexOf(tree.root))
    const changes = flatChanges(indices(40, 90), 3)
    const [here, there] = [await storeBlock(source, tree, changes), await storeBlock(target, copy, changes)]
    expect(hexOf(there.root)).toBe(hexOf(here.root))
    // And it can be handed on.
    expect((await chunksOf(target, 3)).map(hexOf)).toEqual((await chunksOf(source, 3)).map(hexOf))
  })

  test('of an older version is the same while the chain moves on, and after pruning that keeps it', async () => {
    const store = new MapStore()
    let tree = await grown(store)
    const before = (await chunksOf(store, 2)).map(hexOf)
    for (let height = 3; height < 8; height++)
      tree = await storeBlock(store, tree, flatChanges(indices(0, 120), height))
    expect((await chunksOf(store, 2)).map(hexOf)).toEqual(before)
    await pruneState(store, { from: 7, snapshots: [2] })
    expect((await chunksOf(store, 2)).map(hexOf)).toEqual(before)
    await pruneState(store, { from: 7, snapshots: [] })
    await expect(chunksOf(store, 2)).rejects.toThrow('SNAPSHOT_VERSION_GONE')
    await expect(chunksOf(store, 7)).resolves.not.toHaveLength(0)
  })

  test('of an empty state is one chunk', async () => {
    const source = new MemoryStore()
    const tree = await storeBlock(source, StoredStateTree.beforeGenesis(source), [])
    const chunks = await chunksOf(source, 0)
    expect(chunks).toHaveLength(1)
    const builder = await SnapshotBuilder.open(new MemoryStore(), { height: 0, root: tree.root })
    for (const chunk of chunks) await builder.add(chunk)
    await builder.finish([])
    expect(builder.next).toBeUndefined()
  })

  test('has an entry larger than a chunk in a chunk for itself', async () => {
    const source = new MemoryStore()
    await storeBlock(source, StoredStateTree.beforeGenesis(source), flatChanges(indices(0, 5), 0, 3 * CHUNK_BYTES))
    expect(await chunksOf(source, 0)).toHaveLength(5)
  })

  test('is not made of a damaged value', async () => {
    const store = new MapStore()
    await grown(store)
    const { from, to } = allOf(new TextEncoder().encode('v'))
    for await (const { key, value } of store.range({ from, to })) {
      const damaged = value.slice()
      damaged[damaged.length - 1] = (damaged.at(-1) ?? 0) ^ 1
      store.entries.set(key.join(), { key, value: damaged })
    }
    await expect(chunksOf(store, 2)).rejects.toThrow('CHAIN_DAMAGED')
  })
})

describe('a chunk that lies', () => {
  test('is refused at once, whatever it alters, leaves out, adds, reorders or cuts off', async () => {
    const store = new MapStore()
    const { root } = await grown(store)
    const [first, second] = (await chunksOf(store, 2)).map(decodeSnapshotChunk)
    if (first === undefined || second === undefined) throw new Error('too few chunks')
    const from = verifyChunk(root, FIRST_KEY, first).next ?? FIRST_KEY
    const { entries } = second
    const [one, two, ...rest] = entries
    if (one === undefined || two === undefined) throw new Error('too few entries')
    const lies: Record<string, SnapshotChunk> = {
      'another value': { ...second, entries: [{ ...one, bytes: two.bytes }, two, ...rest] },
      'another key': { ...second, entries: [{ ...one, key: new Uint8Array([9]) }, two, ...rest] },
      'another namespace': { ...second, entries: [{ ...one, namespace: 'other' }, two, ...rest] },
      'the first left out': { ...second, entries: [two, ...rest] },
      'one left out': { ...second, entries: [one, ...rest] },
      'the last left out': { ...second, entries: entries.slice(0, -1) },
      'one of the chunk before': { ...second, entries: [...first.entries.slice(-1), ...entries] },
      'one twice': { ...second, entries: [one, one, two, ...rest] },
      reordered: { ...second, entries: [two, one, ...rest] },
      'said to be the last': { ...second, isLast: true },
      'all left out': { ...second, entries: [] },
      'all left out, said to be the last': { ...second, entries: [], isLast: true },
      'the proof cut off': { ...second, proof: second.proof.slice(0, -1) },
      'the proof of the other': { ...second, proof: first.proof },
      'no proof': { ...second, proof: [] },
      'of another place': first,
    }
    expect(verifyChunk(root, from, second).entries).toHaveLength(entries.length)
    expect(() => verifyChunk(root, from, first)).toThrow('SNAPSHOT_CHUNK_OUT_OF_TURN')
    expect(() => verifyChunk(root, from, { ...second, entries: [] })).toThrow('SNAPSHOT_CHUNK_EMPTY')
    expect(() => verifyChunk(root, from, { ...second, from: FIRST_KEY })).toThrow('SNAPSHOT_CHUNK_OUT_OF_TURN')
    for (const [lie, chunk] of Object.entries(lies)) {
      expect(() => verifyChunk(root, from, chunk), lie).toThrow(/^(RANGE_PROOF|SNAPSHOT_CHUNK)_/)
      const target = new MapStore()
      const builder = await SnapshotBuilder.open(target, { height: 2, root })
      await builder.add(encodeSnapshotChunk(first))
      const before = await allEntries(target)
      await expect(builder.add(encodeSnapshotChunk(chunk)), lie).rejects.toBeInstanceOf(CodedError)
      // Nothing of it is kept, and the true one still fits.
      expect(await allEntries(target)).toEqual(before)
      await builder.add(encodeSnapshotChunk(second))
    }
  })

  test('random bytes, and chunks with bytes changed, decode to a coded fault or to a chunk that encodes to the same bytes', async () => {
    const store = new MapStore()
    await grown(store)
    const [valid] = await chunksOf(store, 2)
    if (valid === undefined) throw new Error('no chunk')
    const bytesArb = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.array(fc.tuple(fc.nat({ max: valid.length - 1 }), fc.nat({ max: 255 })), { maxLength: 4 }).map((edits) => {
        const bytes = valid.slice()
        for (const [at, byte] of edits) bytes[at] = byte
        return bytes
      }),
      fc.nat({ max: valid.length }).map((end) => valid.slice(0, end)),
    )
    fc.assert(
      fc.property(bytesArb, (bytes) => {
        try {
          expect(hexOf(encodeSnapshotChunk(decodeSnapshotChunk(bytes)))).toBe(hexOf(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(CodecError)
        }
      }),
      { numRuns: 1_000 },
    )
  })
})

describe('a peer that is killed while it takes over a snapshot', () => {
  test('goes on behind the last whole chunk, and ends with the same root', async () => {
    const source = new MemoryStore()
    const { root } = await grown(source)
    const chunks = await chunksOf(source, 2)
    let level = await LevelStore.open(dir)
    for (const chunk of chunks) {
      const builder = await SnapshotBuilder.open(level, { height: 2, root })
      await builder.add(chunk)
      await level.close()
      level = await LevelStore.open(dir)
      expect(await unfinishedSnapshot(level)).toEqual({ height: 2, root })
    }
    await (await SnapshotBuilder.open(level, { height: 2, root })).finish([])
    expect(await unfinishedSnapshot(level)).toBeUndefined()
    expect(hexOf((await StoredStateTree.at(level, 2))?.root ?? FIRST_KEY)).toBe(hexOf(root))
    expect(await flatState(level)).toEqual(await flatState(source))
    await level.close()
  })

  test('keeps nothing of a batch that failed, and can add the chunk again', async () => {
    const source = new MemoryStore()
    const { root } = await grown(source)
    const target = new MapStore()
    const builder = await SnapshotBuilder.open(target, { height: 2, root })
    for (const chunk of await chunksOf(source, 2)) {
      target.failNext = true
      await expect(builder.add(chunk)).rejects.toThrow('the disk failed')
      await builder.add(chunk)
    }
    await builder.finish([])
    expect(await flatState(target)).toEqual(await flatState(source))
  })

  test('opens no chain on half a state, deletes the old state first, and can turn to another snapshot', async () => {
    const source = new MemoryStore()
    const { root } = await grown(source)
    const store = new MapStore()
    const genesis = encodeGenesis(makeGenesis({ north: 'hospital' }, ['north']))
    await openChain(store, genesis, [])
    await storeBlock(store, StoredStateTree.beforeGenesis(store), flatChanges(indices(500, 600), 0))
    const first = await SnapshotBuilder.open(store, { height: 1, root: FIRST_KEY })
    await expect(first.finish([])).rejects.toThrow('SNAPSHOT_INCOMPLETE')
    await expect(openChain(store, genesis, [])).rejects.toMatchObject({
      fault: { code: 'CHAIN_SNAPSHOT_UNFINISHED', height: 1 },
    })
    expect(await flatState(store)).toEqual([])
    const builder = await SnapshotBuilder.open(store, { height: 2, root })
    for (const chunk of await chunksOf(source, 2)) await builder.add(chunk)
    await builder.finish([])
    expect(await flatState(store)).toEqual(await flatState(source))
  })
})

test('a store without a tree, as versions before left it, gets one when its chain is opened', async () => {
  const genesis = encodeGenesis(makeGenesis({ north: 'hospital' }, ['north']))
  const store = new MapStore()
  const machine = {
    types: {},
    namespaces: ['record', 'grant'],
    genesis: () => indices(0, 50).map((index) => ({ namespace: 'record', key: new Uint8Array([index]), value: index })),
  }
  const opened = await openChain(store, genesis, [machine])
  expect(opened.state.tree.root).not.toEqual(new Uint8Array(32))
  for (const letter of ['n', 'o', 'v', 'x']) {
    for await (const { key } of store.range(allOf(new TextEncoder().encode(letter)))) store.entries.delete(key.join())
  }
  const again = await openChain(store, genesis, [machine])
  expect(hexOf(again.state.tree.root)).toBe(hexOf(opened.state.tree.root))
  expect((await chunksOf(store, 0)).length).toBeGreaterThan(0)
})
