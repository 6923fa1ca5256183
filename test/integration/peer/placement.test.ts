// Real daemons in this process: real TCP, real disks, a real ledger that one or four of them agree on.
import { randomBytes, randomFillSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Stream } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import type { CliAccount } from '../../../src/cli/account.ts'
import { put } from '../../../src/cli/put.ts'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import type { StorageQuota } from '../../../src/domain/storage-quota.ts'
import { type Extent, getExtent, getStoragePeer, getStoredObject } from '../../../src/domain/storage-state.ts'
import { getLayout } from '../../../src/domain/storage-table.ts'
import type { PlacementStatus } from '../../../src/peer/placement-status.ts'
import { checkExtentMap, decodeExtentMap } from '../../../src/shards/extent-map.ts'
import { SHARDS_PROTOCOL } from '../../../src/p2p/protocols.ts'
import { PushReader, encodeReplyHead, encodeStored } from '../../../src/p2p/shard-frames.ts'
import { encodeAccepted, encodeShardReceipt } from '../../../src/p2p/shard-messages.ts'
import { piecesOf } from '../../../src/p2p/stream-flow.ts'
import { type TestPeer, TestNetwork, newAccount } from './network.ts'

const WAIT = { timeout: 120_000, interval: 100 }
/** Several daemons start in each test, and seal their keystores. */
const TEST_MS = 300_000
const MIB = SEGMENT_BYTES

async function putRandom(
  network: TestNetwork,
  at: TestPeer,
  account: CliAccount,
  { bytes, critical = false }: { bytes: number; critical?: boolean },
): Promise<CID> {
  const file = join(network.folder, 'input.bin')
  await writeFile(file, randomFillSync(new Uint8Array(bytes)))
  const { manifest } = await put(at.client, account, file, {
    home: at.home,
    profile: 'aes-256-gcm',
    restart: true,
    critical,
    signal: AbortSignal.timeout(TEST_MS),
    onStart: () => undefined,
    onSent: () => undefined,
  })
  return manifest
}

function statusOf(at: TestPeer, manifest: CID): Promise<PlacementStatus> {
  return at.client.get<PlacementStatus>(`/api/v1/objects/${manifest.toString()}/placement`)
}

async function placed(at: TestPeer, manifest: CID): Promise<PlacementStatus> {
  return vi.waitFor(async () => {
    const status = await statusOf(at, manifest)
    expect(status, JSON.stringify(status)).toMatchObject({ state: 'placed' })
    return status
  }, WAIT)
}

async function extentsOf(at: TestPeer, manifest: CID): Promise<Extent[]> {
  const { reader } = at.peer.chain
  const object = await getStoredObject(reader, manifest)
  const extents: Extent[] = []
  for (let index = 0; index < (object?.extents ?? 0); index++) {
    const extent = await getExtent(reader, manifest, index)
    if (extent !== undefined) extents.push(extent)
  }
  return extents
}

/** Reads every shard and copy from the store of the peer that the ledger says holds it. @returns how many there were */
async function verifyHolders(network: TestNetwork, extent: Extent): Promise<number> {
  let blocks = 0
  for (const [column, number] of extent.holders.entries()) {
    if (number === undefined) continue
    const entry = await getStoragePeer(network.peer(0).peer.chain.reader, number)
    const holder = network.peers.find(({ peer }) => peer.identity.peerId === entry?.peer)
    const store = holder?.peer.store
    const mapBytes = await store?.read(extent.map.multihash.digest)
    if (store === undefined || mapBytes === undefined) throw new Error(`column ${column} has no holder with its map`)
    const map = decodeExtentMap(mapBytes)
    checkExtentMap(map, extent)
    const digests = [
      ...map.shardsOfColumn(column).map(({ digest }) => digest),
      ...map.fields.copies.map(({ cid }) => cid.multihash.digest),
    ]
    for (const digest of digests) {
      expect(sha256((await store.read(digest)) ?? new Uint8Array(0))).toEqual(digest)
      blocks++
    }
  }
  return blocks
}

test(
  'what is put at one of six peers lies on all columns of its group, every block verified; critical data whole on three',
  async () => {
    await using network = await TestNetwork.start({ peers: 6 })
    const at = network.peer(0)
    const account = await newAccount(at, 'storer')
    const manifest = await putRandom(network, at, account, { bytes: 9 * MIB + 4_321 })
    const status = await placed(at, manifest)
    expect(status).toMatchObject({ extents: 1, committed: 1, columns: 4, held: 4, survives: 2, waitingFor: [] })
    expect((await getLayout(at.peer.chain.reader))?.code).toEqual({ data: 2, parity: 2 })
    const [extent] = await extentsOf(at, manifest)
    if (extent === undefined) throw new Error('no extent')
    expect(extent.holders).not.toContain(undefined)
    expect(await verifyHolders(network, extent)).toBeGreaterThan(4 * 5)

    const tooLarge = putRandom(network, at, account, { bytes: 70_000, critical: true })
    await expect(tooLarge).rejects.toMatchObject({ fault: { code: 'OBJECT_NOT_SMALL' } })
    expect(await Array.fromAsync(at.peer.objects.list(10))).toHaveLength(1)
    const consent = await putRandom(network, at, account, { bytes: 30_000, critical: true })
    expect(await placed(at, consent)).toMatchObject({ columns: 3, held: 3, survives: 2 })
    expect((await extentsOf(at, consent))[0]).toMatchObject({ data: 1, parity: 2 })
  },
  TEST_MS,
)

async function tableOfFour(network: TestNetwork): Promise<void> {
  await vi.waitFor(async () => {
    for (const { peer } of network.peers) {
      expect((await getLayout(peer.chain.reader))?.code).toEqual({ data: 2, parity: 2 })
    }
  }, WAIT)
}

/** What the fourth of four peers, all of whom have a column of everything, may do wrong; and how it is put right again. */
const MISDEEDS: Readonly<Record<string, (at: TestPeer) => Promise<() => Promise<void>>>> = {
  'stores nothing while the others do': async ({ peer }) => {
    const { write } = peer.store
    const end = Promise.withResolvers<void>()
    // Whatever waits for it must come to an end, or the daemon can't: its repair may have begun.
    peer.store.write = async (blocks) => {
      await end.promise
      return write.call(peer.store, blocks)
    }
    return async () => {
      peer.store.write = write
      end.resolve()
    }
  },
  'says it has what it never looked at': async ({ peer }) => {
    await peer.host.unhandle(SHARDS_PROTOCOL)
    await peer.host.handle(SHARDS_PROTOCOL, (stream) => acknowledgeAnything(stream))
    return async () => peer.host.unhandle(SHARDS_PROTOCOL)
  },
  'has no room': async ({ peer }) => {
    for (;;) {
      const bytes = randomBytes(MIB)
      try {
        await peer.store.write([{ digest: sha256(bytes), parts: [bytes] }])
      } catch {
        return async () => undefined
      }
    }
  },
}

function acknowledgeAnything(stream: Stream): void {
  let count = 0
  const send = (...parts: Uint8Array[]): void => void stream.send(Buffer.concat(parts))
  const reader = new PushReader({
    onFrame: (kind) => {
      const accepted = encodeAccepted({ held: new Uint8Array(0) })
      if (kind === 'reserve') send(encodeReplyHead('accepted', accepted.length), accepted)
      const receipt = encodeShardReceipt({ column: 0, expiresMs: 1, signature: randomBytes(64) })
      if (kind === 'finish') send(encodeReplyHead('receipt', receipt.length), receipt)
    },
    onPart: () => undefined,
    onEnd: () => send(encodeStored(++count)),
  })
  stream.addEventListener('message', ({ data }) => {
    for (const piece of piecesOf(data)) reader.push(piece)
  })
}

test(
  'whatever one holder of four does wrong, three are a write quorum, and the ledger shows its column empty',
  async () => {
    const store = { capacityBytes: 192 * MIB }
    await using network = await TestNetwork.start({ peers: 4, store: { 0: store, 1: store, 2: store, 3: store } })
    const at = network.peer(0)
    const account = await newAccount(at, 'storer')
    for (const [misdeed, begin] of Object.entries(MISDEEDS)) {
      await tableOfFour(network)
      const end = await begin(network.peer(3))
      const manifest = await putRandom(network, at, account, { bytes: 12 * MIB })
      expect(await placed(at, manifest), misdeed).toMatchObject({ columns: 4, held: 3, survives: 1 })
      await end()
      const [extent] = await extentsOf(at, manifest)
      if (extent === undefined) throw new Error('no extent')
      const missing = extent.holders.flatMap((holder, column) => (holder === undefined ? [column] : []))
      expect(missing, misdeed).toHaveLength(1)
      expect(await verifyHolders(network, extent)).toBeGreaterThan(0)
      await network.peer(3).close()
      await network.startPeer(3)
    }
  },
  TEST_MS,
)

test(
  'a holder that goes away between its reservation and its receipt is left behind; with two gone an object waits for one to come back',
  async () => {
    await using network = await TestNetwork.start({ peers: 4 })
    const at = network.peer(0)
    const account = await newAccount(at, 'storer')
    await tableOfFour(network)
    const begun = await putRandom(network, at, account, { bytes: 96 * MIB })
    await vi.waitFor(async () => expect((await statusOf(at, begun)).bytesPlaced).toBeGreaterThan(0), {
      timeout: 60_000,
      interval: 5,
    })
    await network.peer(3).close()
    // It may have signed before it went.
    expect([3, 4]).toContain((await placed(at, begun)).held)

    await network.peer(2).close()
    const manifest = await putRandom(network, at, account, { bytes: 6 * MIB })
    await vi.waitFor(async () => {
      const status = await statusOf(at, manifest)
      expect(status.state).toBe('waiting')
      expect(status.waitingFor.toSorted()).toEqual(['h2', 'h3'])
      expect(status.fault).toMatchObject({ code: 'EXTENT_HOLDERS_TOO_FEW', columns: 2, needed: 3 })
    }, WAIT)
    await network.startPeer(2)
    expect((await placed(at, manifest)).held).toBe(3)
  },
  TEST_MS,
)

test('on the only peer of a network an object stays whole, and its status says so', async () => {
  await using network = await TestNetwork.start({ peers: 1 })
  const at = network.peer(0)
  const manifest = await putRandom(network, at, await newAccount(at, 'storer'), { bytes: 1_000 })
  await vi.waitFor(async () => expect(await statusOf(at, manifest)).toMatchObject({ state: 'alone' }), WAIT)
})

test("an object beyond the institution's storage quota stays with its storer: nothing is sent, and its status says why", async () => {
  await using network = await TestNetwork.start({ peers: 4, storage: { quotaMib: 16 } })
  const at = network.peer(0)
  const account = await newAccount(at, 'storer')
  await tableOfFour(network)
  await placed(at, await putRandom(network, at, account, { bytes: 2 * MIB }))
  const manifest = await putRandom(network, at, account, { bytes: 9 * MIB })
  await vi.waitFor(async () => {
    const status = await statusOf(at, manifest)
    expect(status).toMatchObject({ state: 'waiting', committed: 0, bytesPushed: 0 })
    expect(status.fault).toMatchObject({ code: 'STORAGE_QUOTA_EXHAUSTED', org: 'h0' })
  }, WAIT)
  const { bytes, leftBytes } = await at.client.get<StorageQuota>('/api/v1/quota')
  expect(bytes).toBe(16 * MIB)
  expect(leftBytes).toBeLessThan(13 * MIB)
})
