/** CARs between real peers over their HTTP API: exported, checked, imported; and every way in which one can be wrong. */
import { randomBytes } from 'node:crypto'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CarReader } from '@ipld/car/reader'
import { CarWriter } from '@ipld/car/writer'
import type { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import type { CliAccount } from '../../../src/cli/account.ts'
import { exportCar, importCar } from '../../../src/cli/car.ts'
import { get } from '../../../src/cli/get.ts'
import { put } from '../../../src/cli/put.ts'
import { encodeCanonical } from '../../../src/core/codec.ts'
import { BLOCK_BYTES_MAX, CAR_ROOTS_MAX } from '../../../src/core/limits.ts'
import { cborCid, rawCid } from '../../../src/crypto/hash.ts'
import { decodeManifest, encodeManifest } from '../../../src/shards/manifest.ts'
import { directoryNode } from '../../../src/shards/unixfs-tree.ts'
import { TestNetwork, type TestPeer, newAccount } from './network.ts'

const MIB = 1024 * 1024
const signal = new AbortController().signal
const quiet = { signal, onStart: () => undefined, onSent: () => undefined }

let network: TestNetwork
let alice: TestPeer
let bob: TestPeer
let owner: CliAccount

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 2, store: { 1: { offer: false } } })
  alice = network.peer(0)
  bob = network.peer(1)
  owner = await newAccount(alice, 'owner')
}, 60_000)
afterAll(async () => network[Symbol.asyncDispose]())

const file = (name: string): string => join(network.folder, name)

async function stored(name: string, bytes: number): Promise<{ manifest: CID; content: CID; plaintext: Buffer }> {
  const plaintext = randomBytes(bytes)
  await writeFile(file(name), plaintext)
  const options = { home: alice.home, profile: 'aes-256-gcm', restart: false, ...quiet } as const
  return { ...(await put(alice.client, owner, file(name), options)), plaintext }
}

/** Which of these blocks a peer holds. */
function held(at: TestPeer, graph: readonly Block[]): readonly Block[] {
  return graph.filter(({ cid }) => at.peer.store.has(cid.multihash.digest))
}

test('an object travels as a CAR: the other peer lists it and its owner opens it there', async () => {
  const { manifest, plaintext } = await stored('whole', 5 * MIB + 3)
  const out = file('whole.car')
  const exported = await exportCar(alice.client, manifest.toString(), { out, force: false, signal })
  const imported = await importCar(bob.client, out, quiet)
  expect(imported).toMatchObject({ blocks: exported.blocks, roots: [manifest], objects: [manifest] })
  await alice.peer.host.hangUp(bob.peer.host.peerId)
  const opened = file('whole.opened')
  const events = { onStart: () => undefined, onOpened: () => undefined }
  await get(bob.client, owner, manifest.toString(), { out: opened, force: false, keep: false, signal, ...events })
  expect((await readFile(opened)).equals(plaintext)).toBe(true)
})

test('a graph whose blocks lie on another peer is exported from there', async () => {
  const { content } = await stored('remote', 6 * MIB)
  // The test before hung up.
  const alicesId = alice.peer.host.peerId
  await vi.waitFor(() => expect(bob.peer.host.getPeers().map(String)).toContain(String(alicesId)), { timeout: 20_000 })
  const [here, there] = [file('here.car'), file('there.car')]
  await exportCar(alice.client, content.toString(), { out: here, force: false, signal })
  await exportCar(bob.client, content.toString(), { out: there, force: false, signal })
  expect((await readFile(there)).equals(await readFile(here))).toBe(true)
  expect(bob.peer.store.has(content.multihash.digest)).toBe(false)
})

test('an export of what nobody has is refused, and leaves no file behind', async () => {
  const nowhere = rawCid(randomBytes(100)).toString()
  const out = file('nowhere.car')
  const attempt = exportCar(alice.client, nowhere, { out, force: false, signal })
  await expect(attempt).rejects.toMatchObject({ fault: { code: 'CONTENT_UNAVAILABLE' } })
  expect((await readdir(network.folder)).filter((name) => name.startsWith('nowhere'))).toEqual([])
})

test('an export that breaks off below the root is a fault, and leaves no file behind', async () => {
  const { bytes, cid } = overNothing(40)
  await alice.client.call('/api/v1/blocks', { method: 'POST', headers: { 'content-type': CBOR }, body: bytes })
  const attempt = exportCar(alice.client, cid.toString(), { out: file('broken.car'), force: false, signal })
  await expect(attempt).rejects.toMatchObject({ fault: { code: 'PEER_BROKE_OFF' } })
  expect((await readdir(network.folder)).filter((name) => name.startsWith('broken'))).toEqual([])
})

interface Block {
  readonly cid: CID
  readonly bytes: Uint8Array
}
const CBOR = 'application/vnd.ipld.dag-cbor'
const child = (bytes: Uint8Array): Block => ({ cid: rawCid(bytes), bytes })

/** A root over leaves that are nowhere. */
function overNothing(count: number): Block {
  const bytes = encodeCanonical(Array.from({ length: count }, () => rawCid(randomBytes(32))))
  return { cid: cborCid(bytes), bytes }
}

async function carOf(blocks: readonly Block[], roots = blocks.slice(0, 1)): Promise<Buffer> {
  const { out, writer } = CarWriter.create(roots.map(({ cid }) => cid))
  const pieces = Array.fromAsync(out)
  for (const block of blocks) await writer.put(block)
  await writer.close()
  return Buffer.concat(await pieces)
}

/** A root and leaves of 1 MiB that nobody has yet. */
function freshGraph(leaves: number): Block[] {
  const below = Array.from({ length: leaves }, () => child(randomBytes(MIB)))
  const bytes = encodeCanonical(below.map(({ cid }) => cid))
  return [{ cid: cborCid(bytes), bytes }, ...below]
}

const cutShort = async (graph: readonly Block[]): Promise<Buffer> => (await carOf(graph)).subarray(0, -1_000)
const altered = async (graph: readonly Block[]): Promise<Buffer> => {
  const car = await carOf(graph)
  car[car.length - 1_000] = (car[car.length - 1_000] ?? 0) ^ 1
  return car
}
const withoutLast = async (graph: readonly Block[]): Promise<Buffer> => carOf(graph.slice(0, -1))
const oversized = async (graph: readonly Block[]): Promise<Buffer> => {
  const huge = child(randomBytes(BLOCK_BYTES_MAX + 1))
  return carOf([...graph, huge], graph.slice(0, 1))
}
const withoutRoots = async (graph: readonly Block[]): Promise<Buffer> => carOf(graph, [])
const manyRoots = async (graph: readonly Block[]): Promise<Buffer> =>
  carOf(
    graph,
    Array.from({ length: CAR_ROOTS_MAX + 1 }, () => graph[0] as Block),
  )
const anything = async (): Promise<Buffer> => Buffer.alloc(3 * MIB, 'x')

test.each([
  ['that is cut short', cutShort, 'CAR_TRUNCATED'],
  ['with a changed bit in its last block', altered, 'CAR_BLOCK_ALTERED'],
  ['that lacks a block', withoutLast, 'CAR_INCOMPLETE'],
  ['with a block over the limit', oversized, 'CAR_BLOCK_TOO_LARGE'],
  ['without roots', withoutRoots, 'CAR_ROOTS'],
  ['with too many roots', manyRoots, 'CAR_ROOTS'],
  ['that is none', anything, 'CAR_MALFORMED'],
])('a CAR %s is refused with a code, and of its blocks none stays', async (name, make, code) => {
  const graph = freshGraph(12)
  const path = file(`${name}.car`)
  await writeFile(path, await make(graph))
  await expect(importCar(bob.client, path, quiet)).rejects.toMatchObject({ fault: { code } })
  expect(held(bob, graph)).toEqual([])
})

test('of a CAR with a whole object and a root that lacks a block nothing is taken in', async () => {
  const { manifest } = await stored('beside', 10)
  const out = file('beside.car')
  await exportCar(alice.client, manifest.toString(), { out, force: false, signal })
  const object = await Array.fromAsync((await CarReader.fromBytes(await readFile(out))).blocks())
  const graph = freshGraph(3)
  const [first, last] = [object.find(({ cid }) => cid.equals(manifest)) as Block, graph[0] as Block]
  const path = file('half.car')
  await writeFile(path, await carOf([...object, ...graph.slice(0, -1)], [first, last]))
  await expect(importCar(bob.client, path, quiet)).rejects.toMatchObject({ fault: { code: 'CAR_INCOMPLETE' } })
  const listed = (await Array.fromAsync(bob.peer.objects.all())).map((entry) => entry.manifest.toString())
  expect(listed).not.toContain(manifest.toString())
  expect(held(bob, [...object, ...graph])).toEqual([])
})

test('an import that its sender breaks off leaves nothing behind', async () => {
  const graph = freshGraph(40)
  const path = file('interrupted.car')
  await writeFile(path, await carOf(graph))
  const stop = new AbortController()
  const onSent = (): void => {
    if (held(bob, graph).length > 0) stop.abort(new Error('interrupted'))
  }
  await expect(importCar(bob.client, path, { ...quiet, signal: stop.signal, onSent })).rejects.toThrow('interrupted')
  await expect.poll(() => held(bob, graph), { timeout: 30_000 }).toEqual([])
})

test('what a refused import shares with something that the peer keeps stays', async () => {
  const graph = freshGraph(12)
  const shared = graph[3] as Block
  await bob.client.call('/api/v1/blocks', {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.ipld.raw' },
    body: shared.bytes,
  })
  const path = file('shared.car')
  await writeFile(path, await altered(graph))
  await expect(importCar(bob.client, path, quiet)).rejects.toMatchObject({ fault: { code: 'CAR_BLOCK_ALTERED' } })
  expect(bob.peer.store.has(shared.cid.multihash.digest)).toBe(true)
})

test('a few nodes that link to each other a thousand times are walked once each, by who collects and by who stores', async () => {
  let graph = [child(randomBytes(32))]
  for (let level = 0; level < 6; level++) {
    const entries = Array.from({ length: 1_000 }, (_, i) => ({
      name: `${i}`,
      cid: (graph[0] as Block).cid,
      totalBytes: 1,
    }))
    graph = [directoryNode(entries), ...graph]
  }
  const path = file('bomb.car')
  await writeFile(path, await carOf(graph))
  await importCar(bob.client, path, quiet)
  const summary = await bob.peer.collector.collect({ dry: true, signal: AbortSignal.timeout(20_000) })
  expect(summary.removedBlocks).toBe(0)
  // 10^18 times its leaf: no manifest can say so, and whoever commits one hears it at once.
  const { manifest } = await stored('of-bomb', 10)
  const honest = decodeManifest((await alice.peer.store.read(manifest.multihash.digest)) ?? new Uint8Array())
  for (const { cid, bytes } of graph) await bob.peer.store.write([{ digest: cid.multihash.digest, parts: [bytes] }])
  const lying = encodeManifest({ ...honest, kind: 'folder', content: (graph[0] as Block).cid }).bytes
  await expect(bob.peer.objects.commit(lying)).rejects.toMatchObject({ fault: { code: 'OBJECT_SIZE_LIES' } })
}, 40_000)

test('a CAR for which there is no room is refused before it is read', async () => {
  await using small = await TestNetwork.start({ peers: 1, store: { 0: { capacityBytes: 64 * MIB } } })
  const path = file('large.car')
  await writeFile(path, Buffer.concat([await carOf(freshGraph(1)), Buffer.alloc(70 * MIB)]))
  const attempt = importCar(small.peer(0).client, path, quiet)
  await expect(attempt).rejects.toMatchObject({ fault: { code: 'STORE_FULL' } })
})

test('a body that does not say that it is a CAR is refused', async () => {
  const headers = { 'content-type': 'application/vnd.ipld.raw' }
  const attempt = bob.client.call('/api/v1/car', { method: 'POST', headers, body: new Uint8Array(10) })
  await expect(attempt).rejects.toMatchObject({ fault: { code: 'CAR_BODY_TYPE' } })
})
