import { unixfs } from '@helia/unixfs'
import { multiaddr } from '@multiformats/multiaddr'
import { MemoryBlockstore } from 'blockstore-core'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import { MEMBERS_ROUTER, type MemberHelia, startHelia } from '../../../src/p2p/helia-node.ts'
import { BlockStore } from '../../../src/store/block-store.ts'
import { RemoveCapability } from '../../../src/store/blocks.ts'
import { HeliaBlockstore } from '../../../src/store/helia-blockstore.ts'
import { startPlainHelia } from './plain-helia.ts'
import { membersOf, startPeer, type TestPeer } from './test-peer.ts'

interface HeliaPeer extends TestPeer {
  readonly helia: MemberHelia
}

async function startHeliaPeer(word: string, members: ReadonlySet<string>): Promise<HeliaPeer> {
  const peer = await startPeer(word, members)
  const helia = await startHelia({
    host: peer.host,
    blockstore: new MemoryBlockstore(),
    findHolders: async () => [],
    log: peer.log,
  })
  const dispose = async (): Promise<void> => {
    await helia.stop()
    await peer[Symbol.asyncDispose]()
  }
  return { ...peer, helia, [Symbol.asyncDispose]: dispose }
}

// 5 MiB + 3 bytes: several leaves and a root above them.
const file = new Uint8Array(5 * 1024 * 1024 + 3).map((_byte, index) => (index * 7) % 251)

async function cat(helia: Parameters<typeof unixfs>[0], cid: CID, timeoutMs: number): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  const signal = AbortSignal.timeout(timeoutMs)
  for await (const piece of unixfs(helia).cat(cid, { signal })) pieces.push(piece)
  return Buffer.concat(pieces)
}

test('a plain Helia that is a member fetches a file by CID from our peer, by bitswap', async () => {
  const members = await membersOf('alice', 'plain')
  await using alice = await startHeliaPeer('alice', members)
  const cid = await unixfs(alice.helia).addBytes(file)
  await using plain = await startPlainHelia('plain')
  const connection = await plain.libp2p.dial(multiaddr(alice.address))
  expect(connection.encryption).toBe('/noise')
  expect(Buffer.compare(await cat(plain, cid, 20_000), file)).toBe(0)
})

test('a plain Helia that is no member gets neither a connection nor a block', async () => {
  await using alice = await startHeliaPeer('alice', await membersOf('alice'))
  const cid = await unixfs(alice.helia).addBytes(file)
  await using plain = await startPlainHelia('stranger')
  await plain.libp2p.dial(multiaddr(alice.address)).catch(() => undefined)
  await vi.waitFor(() => expect(plain.libp2p.getConnections()).toEqual([]))
  await expect(cat(plain, cid, 1_000)).rejects.toBeInstanceOf(Error)
  expect(alice.host.getConnections()).toEqual([])
})

test('our Helia fetches from connected members, with a session and without', async () => {
  const members = await membersOf('alice', 'bob', 'carol')
  await using alice = await startHeliaPeer('alice', members)
  await using bob = await startHeliaPeer('bob', members)
  await using carol = await startHeliaPeer('carol', members)
  const cid = await unixfs(carol.helia).addBytes(file)
  await alice.host.dial(multiaddr(bob.address))
  await alice.host.dial(multiaddr(carol.address))
  expect(Buffer.compare(await cat(alice.helia, cid, 20_000), file)).toBe(0)
  await bob.host.dial(multiaddr(carol.address))
  const session = { blockstore: bob.helia.blockstore.createSession(cid) }
  expect(Buffer.compare(await cat(session, cid, 20_000), file)).toBe(0)
})

test('our Helia has no router but the members, opens no connection of its own, and leaves the host running', async () => {
  await using alice = await startHeliaPeer('alice', await membersOf('alice'))
  const { helia, host } = alice
  // The routers are private to Helia's routing: what it would ask is read off the object itself.
  const { routers } = helia.routing as unknown as { routers: readonly { name: string }[] }
  expect(routers.map(({ name }) => name)).toEqual([MEMBERS_ROUTER])
  const { blockBrokers } = helia as unknown as { blockBrokers: readonly { name: string }[] }
  expect(blockBrokers.map(({ name }) => name)).toEqual(['bitswap'])
  const elsewhere = await unixfs({ blockstore: new MemoryBlockstore() }).addBytes(file)
  await expect(cat(helia, elsewhere, 1_000)).rejects.toBeInstanceOf(Error)
  expect(host.getConnections()).toEqual([])
  expect(host.getProtocols().filter((name) => name.includes('kad') || name.includes('http'))).toEqual([])
  await helia.stop()
  expect(host.status).toBe('started')
})

test("Helia's own garbage collection and unpinning remove no block of our store", async () => {
  const members = await membersOf('alice')
  await using peer = await startPeer('alice', members)
  const folder = await mkdtemp(join(tmpdir(), 'apotheca-helia-'))
  const deps = { clock: { nowMs: () => Date.now() }, log: peer.log, capability: new RemoveCapability() }
  const store = await BlockStore.open(deps, { dir: folder, capacityBytes: 2 ** 30, reserveFreeBytes: 0, fullRatio: 1 })
  const helia = await startHelia({
    host: peer.host,
    blockstore: new HeliaBlockstore(store),
    findHolders: async () => [],
    log: peer.log,
  })
  try {
    const cid = await unixfs(helia).addBytes(file)
    const digests = [...store.digests()]
    expect(digests.length).toBeGreaterThan(5)
    await Array.fromAsync(helia.pins.add(cid))
    await Array.fromAsync(helia.pins.rm(cid))
    const refusals: unknown[] = []
    await helia
      .gc({ onProgress: ({ detail }) => refusals.push(detail) })
      .catch((error: unknown) => refusals.push(error))
    // It did try, and was told.
    expect(refusals.length).toBeGreaterThan(0)
    for (const digest of digests) expect(store.has(digest)).toBe(true)
  } finally {
    await helia.stop()
    await store.close()
    await rm(folder, { recursive: true, force: true })
  }
}, 60_000)
