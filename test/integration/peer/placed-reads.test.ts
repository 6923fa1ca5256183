// Real daemons in this process: real TCP, real disks, a real ledger that says who holds what.
import { createHash, randomFillSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { unixfs } from '@helia/unixfs'
import type { CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { RAW, digestCid, sha256 } from '../../../src/crypto/hash.ts'
import { type PutResult, put } from '../../../src/cli/put.ts'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { type Extent, getExtent, getStoragePeer, getStoredObject, isWhole } from '../../../src/domain/storage-state.ts'
import { getLayout } from '../../../src/domain/storage-table.ts'
import { type ExtentMap, decodeExtentMap } from '../../../src/shards/extent-map.ts'
import { decodeManifest } from '../../../src/shards/manifest.ts'
import type { PeerFault } from '../../../src/peer/faults.ts'
import type { PeerReads } from '../../../src/peer/peer-history.ts'
import type { PeerStatus } from '../../../src/peer/peer.ts'
import { membersOf } from '../p2p/test-peer.ts'
import { startPlainHelia } from '../p2p/plain-helia.ts'
import { TestNetwork, type TestPeer, newAccount } from './network.ts'

const MIB = SEGMENT_BYTES
const WAIT = { timeout: 120_000, interval: 100 }

interface Placed extends PutResult {
  readonly extent: Extent
  readonly map: ExtentMap
}

/** Six peers with a table of 2+2, and an object that is placed. */
async function placedAt(network: TestNetwork, at: TestPeer, bytes: number, name = 'storer'): Promise<Placed> {
  await vi.waitFor(async () => {
    for (const { peer } of network.peers) {
      const layout = await getLayout(peer.chain.reader)
      expect(layout?.code).toEqual({ data: 2, parity: 2 })
      // A table of fewer would move columns when the others are in it.
      expect(layout?.institutions).toBe(network.peers.length)
    }
  }, WAIT)
  const account = await newAccount(at, name)
  const file = join(network.folder, 'input.bin')
  await writeFile(file, randomFillSync(new Uint8Array(bytes)))
  const stored = await put(at.client, account, file, {
    home: at.home,
    profile: 'aes-256-gcm',
    restart: false,
    signal: AbortSignal.timeout(120_000),
    onStart: () => undefined,
    onSent: () => undefined,
  })
  for (const { peer } of network.peers) {
    await vi.waitFor(async () => {
      const object = await getStoredObject(peer.chain.reader, stored.manifest)
      expect(object !== undefined && isWhole(object)).toBe(true)
    }, WAIT)
  }
  const extent = await getExtent(at.peer.chain.reader, stored.manifest, 0)
  const map = await at.peer.store.read(extent?.map.multihash.digest ?? new Uint8Array(32))
  if (extent === undefined || map === undefined) throw new Error('nothing was placed')
  return { ...stored, extent, map: decodeExtentMap(map) }
}

/** The peers that hold the columns of an extent, in their order. */
async function holdersOf(network: TestNetwork, extent: Extent): Promise<TestPeer[]> {
  const { reader } = network.peer(0).peer.chain
  return Promise.all(
    extent.holders.map(async (number) => {
      const entry = number === undefined ? undefined : await getStoragePeer(reader, number)
      const holder = network.peers.find(({ peer }) => peer.identity.peerId === entry?.peer)
      if (holder === undefined) throw new Error('a column has no holder')
      return holder
    }),
  )
}

async function sha256Of(peer: TestPeer, cid: CID, headers: Record<string, string> = {}): Promise<string> {
  const message = await peer.client.stream(`/api/v1/content/${cid.toString()}`, {
    headers,
    signal: new AbortController().signal,
  })
  const hash = createHash('sha256')
  for await (const piece of message as AsyncIterable<Uint8Array>) hash.update(piece)
  return hash.digest('hex')
}

const sha256Hex = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

/** The content's ciphertext, from the store of who sealed it. */
async function ciphertextOf(at: TestPeer, { bytes, map }: Placed): Promise<Buffer> {
  const data = map.stripes.flatMap((stripe, number) => map.shardsOfStripe(number).slice(0, stripe.data))
  const blocks = await Promise.all(data.map(({ digest }) => at.peer.store.read(digest)))
  // The listing's segments follow.
  return Buffer.concat(blocks.map((block) => block ?? new Uint8Array(0))).subarray(0, bytes)
}

/** Closes peers, and waits until all others have seen it. */
async function gone(...peers: readonly TestPeer[]): Promise<void> {
  await Promise.all(peers.map(async (peer) => peer.close()))
  for (const { peer } of [reader]) {
    await vi.waitFor(() => {
      const connected = peer.host.getPeers().map(String)
      for (const other of peers) expect(connected).not.toContain(other.peer.identity.peerId)
    }, WAIT)
  }
}

let network: TestNetwork
let storer: TestPeer
let reader: TestPeer
let placed: Placed
let holders: TestPeer[]
let ciphertext: Buffer

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 6, extraPeers: [...(await membersOf('guest'))] })
  // Not the only validator: it stays when the others go.
  storer = network.peer(5)
  placed = await placedAt(network, storer, 11 * MIB + 5)
  holders = await holdersOf(network, placed.extent)
  // One without a column, where there is one that didn't store it.
  const others = network.peers.filter((peer) => peer !== storer)
  reader = others.find((peer) => !holders.includes(peer)) ?? network.peer(0)
  ciphertext = await ciphertextOf(storer, placed)
}, 180_000)
afterAll(async () => network[Symbol.asyncDispose]())

const readsOf = (peer: TestPeer | undefined): PeerReads | undefined =>
  reader.peer.history.reads(peer?.peer.identity.peerId ?? '')
const blocksOf = (peers: readonly TestPeer[]): number[] => peers.map((peer) => readsOf(peer)?.blocks ?? 0)

/** Blocks that each holder gave for a read. On a busy machine a holder may be late, and another asked: then it is read again. */
async function expectGiven(
  headers: Record<string, string>,
  bytes: Uint8Array,
  expected: readonly number[],
): Promise<void> {
  await vi.waitFor(async () => {
    const before = blocksOf(holders)
    expect(await sha256Of(reader, placed.content, headers)).toBe(sha256Hex(bytes))
    expect(blocksOf(holders).map((count, column) => count - (before[column] ?? 0))).toEqual(expected)
  }, WAIT)
}

test('a file is read from the holders of its data alone, and a range of it from one', async () => {
  // What is the reader's own it reads from its disk.
  const given = (...counts: number[]): number[] => counts.map((count, at) => (holders[at] === reader ? 0 : count))
  await expectGiven({}, ciphertext, given(6, 6, 0, 0))
  const range = { range: `bytes=${4 * MIB + 7}-${4 * MIB + 9_000}` }
  await expectGiven(range, ciphertext.subarray(4 * MIB + 7, 4 * MIB + 9_001), given(1, 0, 0, 0))
}, 240_000)

test('any shard and copy is had by its CID, data and parity, and the router names its holder', async () => {
  const signal = AbortSignal.timeout(120_000)
  for (const { cid } of placed.map.fields.copies) await reader.peer.content.block(cid, { signal })
  for (const [stripe] of placed.map.stripes.entries()) {
    for (const { column, digest } of placed.map.shardsOfStripe(stripe)) {
      const cid = digestCid(RAW, digest)
      expect(sha256(await reader.peer.content.block(cid, { signal }))).toEqual(digest)
      const named = await reader.peer.directory.holdersOf(cid, signal)
      expect(named.map(String)).toContain(holders[column]?.peer.identity.peerId)
      if (placed.map.stripes[stripe]?.data !== 1) expect(named).toHaveLength(1)
    }
  }
}, 120_000)

// Found by kill -9: with the storer gone, and the listing's holder, those who had the manifest on their own disks asked nobody for the parity.
test('who has the manifest or the root on its own disk finds the rest by the ledger, too', async () => {
  const signal = AbortSignal.timeout(120_000)
  const { extent, manifest, content } = await placedAt(network, storer, 3 * MIB, 'second')
  const [first, second] = (await holdersOf(network, extent)).filter((peer) => peer !== storer)
  const bytes = (await first?.peer.store.read(manifest.multihash.digest)) ?? new Uint8Array(0)
  const { listing } = decodeManifest(bytes)
  expect(await first?.peer.directory.find(listing, signal)).toBeUndefined()
  await first?.peer.content.block(manifest, { signal })
  expect(await first?.peer.directory.find(listing, signal)).toMatchObject({ kind: 'shard' })
  await second?.peer.content.openFile(content, { signal })
  expect(await second?.peer.directory.find(listing, signal)).toMatchObject({ kind: 'shard' })
}, 180_000)

test('a plain Helia that is a member gets a placed file by bitswap from its holders alone', async () => {
  await using guest = await startPlainHelia('guest')
  for (const { peer } of holders) await guest.libp2p.dial(peer.host.getMultiaddrs())
  const pieces: Uint8Array[] = []
  const signal = AbortSignal.timeout(60_000)
  for await (const piece of unixfs(guest).cat(placed.content, { signal })) pieces.push(piece)
  expect(Buffer.concat(pieces).equals(ciphertext)).toBe(true)
}, 120_000)

test('a holder that serves wrong bytes is passed over and counted, and nothing of it is handed out', async () => {
  const liar = holders[reader === holders[0] ? 1 : 0]
  if (liar === undefined) throw new Error('nobody lies')
  const { store } = liar.peer
  const { readInto } = store
  store.readInto = async (digest, into) => {
    const bytes = await readInto.call(store, digest, into)
    into[3] = (into[3] ?? 0) ^ 1
    return bytes
  }
  expect(await sha256Of(reader, placed.content)).toBe(sha256Hex(ciphertext))
  store.readInto = readInto
  expect(readsOf(liar)?.altered).toBeGreaterThan(0)
  const status = await reader.client.get<PeerStatus>('/api/v1/status')
  const member = status.members.find(({ peerId }) => peerId === liar.peer.identity.peerId)
  expect(member?.reads?.altered).toBeGreaterThan(0)
}, 120_000)

test('with m of n holders gone every byte is read, also by range; with one more the fault says whose shards, since when', async () => {
  const others = holders.filter((peer) => peer !== reader)
  // Not the validator, by luck of the table the reader: whoever is asked next is as good.
  const [first, second, ...rest] = others
  if (first === undefined || second === undefined) throw new Error('too few holders')
  await gone(first, second)
  // It has all of it, placed or not.
  if (!holders.includes(storer)) await gone(storer)
  expect(await sha256Of(reader, placed.content)).toBe(sha256Hex(ciphertext))
  const range = { range: `bytes=${3 * MIB}-${3 * MIB + 99}` }
  expect(await sha256Of(reader, placed.content, range)).toBe(sha256Hex(ciphertext.subarray(3 * MIB, 3 * MIB + 100)))
  await gone(...rest, storer)
  const error = await sha256Of(reader, placed.content).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ fault: { code: 'EXTENT_UNAVAILABLE' } })
  const { fault } = error as { fault: Extract<PeerFault, { code: 'EXTENT_UNAVAILABLE' }> }
  expect(fault.institutions.toSorted()).toEqual(others.map(({ config }) => config.institution).toSorted())
  expect(fault.present).toBeLessThan(fault.needed)
  expect(fault.missing).toMatch(/not connected since \d{4}-\d\d-\d\dT/)
}, 120_000)
