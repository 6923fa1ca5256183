// Real daemons in this process: real TCP, real disks, a real ledger. Disks are damaged, peers vanish; nobody is told to repair.
import { randomInt } from 'node:crypto'
import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import {
  auditCommittee,
  auditEpoch,
  draftAuditOpen,
  draftAuditVerdicts,
  getAuditRound,
} from '../../../src/domain/audit-rounds.ts'
import { draftStorageDrain } from '../../../src/domain/storage-offers.ts'
import { getHeld } from '../../../src/domain/storage-held.ts'
import { getStorageParams } from '../../../src/domain/storage-params.ts'
import { getStorageNumber, getStoragePeer } from '../../../src/domain/storage-state.ts'
import { getLayout } from '../../../src/domain/storage-table.ts'
import type { PeerIdText } from '../../../src/ledger/fields.ts'
import { TestNetwork, type TestPeer, newAccount } from './network.ts'
import { WAIT, expectWhole, extentsOf, peerOf, putRandom, readBack, submitAs } from './stored-objects.ts'

const TEST_MS = 900_000
const MIB = SEGMENT_BYTES

interface Stored {
  readonly storer: TestPeer
  readonly manifest: CID
  readonly content: CID
  readonly sha256: string
}

/** Six peers with a table of 2+2, one of which validates, and an object on it. */
async function stored(network: TestNetwork, bytes: number): Promise<Stored> {
  const storer = network.peer(0)
  await vi.waitFor(async () => {
    for (const { peer } of network.peers) {
      expect((await getLayout(peer.chain.reader))?.code).toEqual({ data: 2, parity: 2 })
    }
  }, WAIT)
  const account = await newAccount(storer, 'storer')
  const { content, manifest } = await putRandom(network, storer, account, bytes)
  await vi.waitFor(async () => expectWhole(network, storer, manifest), WAIT)
  return { storer, manifest, content, sha256: await readBack(storer, content) }
}

/** Holders that neither validate nor have the object for another reason. */
async function holdersOf(network: TestNetwork, { manifest, storer }: Stored): Promise<TestPeer[]> {
  const [extent] = await extentsOf(storer, manifest)
  const holders = await Promise.all((extent?.holders ?? []).map(async (number) => peerOf(network, storer, number)))
  return holders.filter((holder) => holder !== storer)
}

async function heldBy(at: TestPeer, who: TestPeer): Promise<number> {
  const number = await getStorageNumber(at.peer.chain.reader, who.peer.identity.peerId as PeerIdText)
  return number === undefined ? 0 : (await getHeld(at.peer.chain.reader, number)).columns
}

test(
  'a drained peer gives up all that it holds, also when it vanishes with its disk, and every column is whole at the others',
  async () => {
    await using network = await TestNetwork.start({ peers: 6, storage: { layoutMs: 0 } })
    const object = await stored(network, 9 * MIB + 77)
    const { manifest, storer } = object
    const [first, second] = await holdersOf(network, object)
    if (first === undefined || second === undefined) throw new Error('too few holders')

    await submitAs(first, draftStorageDrain(first.peer.identity.peerId as PeerIdText))
    await vi.waitFor(async () => {
      expect(await heldBy(storer, first)).toBe(0)
      await expectWhole(network, storer, manifest, [first])
    }, WAIT)

    await submitAs(second, draftStorageDrain(second.peer.identity.peerId as PeerIdText))
    await second.close()
    await rm(second.config.dataDir, { recursive: true })
    await vi.waitFor(async () => {
      expect(await heldBy(storer, second)).toBe(0)
      await expectWhole(network, storer, manifest, [first, second])
    }, WAIT)
    const others = network.peers.filter((peer) => ![first, second, storer].includes(peer))
    for (const peer of others) expect(await readBack(peer, object.content)).toBe(object.sha256)
  },
  TEST_MS,
)

/** Flips bits in all files of some folders, spread evenly over their bytes. */
async function flipBits(folders: readonly string[], flips: number): Promise<number> {
  const entries = await Promise.all(
    folders.map(async (folder) => readdir(folder, { recursive: true, withFileTypes: true })),
  )
  const names = entries.flat().filter((entry) => entry.isFile())
  const files = await Promise.all(
    names.map(async (entry) => {
      const path = join(entry.parentPath, entry.name)
      return { path, bytes: (await stat(path)).size }
    }),
  )
  const total = files.reduce((sum, { bytes }) => sum + bytes, 0)
  let flipped = 0
  for (const { bytes, path } of files) {
    const count = Math.round((bytes / total) * flips)
    const file = await open(path, 'r+')
    for (let flip = 0; flip < count; flip++) {
      const at = randomInt(bytes)
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at)
      await file.write(Buffer.from([(buffer[0] ?? 0) ^ (1 << randomInt(8))]), 0, 1, at)
      flipped++
    }
    await file.close()
  }
  return flipped
}

test(
  'with m of n holders gone, one of them with its disk, the object is read; those that come back are whole again by themselves',
  async () => {
    await using network = await TestNetwork.start({ peers: 6 })
    const object = await stored(network, 11 * MIB + 5)
    const { content, manifest, storer } = object
    const [emptied, away] = await holdersOf(network, object)
    if (emptied === undefined || away === undefined) throw new Error('too few holders')
    await Promise.all([emptied.close(), away.close()])
    for (const folder of ['blocks', 'ledger', 'state', 'uploads']) {
      await rm(join(emptied.config.dataDir, folder), { recursive: true, force: true })
    }
    const reader = network.peers.find((peer) => ![emptied, away, storer].includes(peer)) ?? storer
    expect(await readBack(reader, content)).toBe(object.sha256)
    await network.startPeer(network.peers.indexOf(emptied))
    const back = await network.startPeer(network.peers.indexOf(away))
    await vi.waitFor(async () => expectWhole(network, storer, manifest), WAIT)
    expect(await readBack(back, content)).toBe(object.sha256)
  },
  TEST_MS,
)

test(
  '10,000 flipped bits over the packs, the index and the logs of a peer, stopped and running, are all found, none served, all repaired',
  async () => {
    await using network = await TestNetwork.start({ peers: 6 })
    const object = await stored(network, 40 * MIB + 1)
    const { content, manifest, storer } = object
    const [victim] = await holdersOf(network, object)
    if (victim === undefined) throw new Error('too few holders')
    const index = network.peers.indexOf(victim)
    const blocks = join(victim.config.dataDir, 'blocks')
    const logs = ['ledger', 'state', 'uploads'].map((folder) => join(victim.config.dataDir, folder))

    await victim.close()
    let flips = (await flipBits([blocks], 4_900)) + (await flipBits(logs, 100))
    let again = await network.startPeer(index)
    expect(await readBack(again, content)).toBe(object.sha256)
    await again.peer.store.scrub()
    await vi.waitFor(async () => {
      await expectWhole(network, storer, manifest)
      expect(again.peer.store.stats().damagedBlocks).toBe(0)
    }, WAIT)

    flips += await flipBits([blocks], 5_000)
    expect(await readBack(again, content)).toBe(object.sha256)
    await again.peer.store.scrub()
    await vi.waitFor(async () => {
      await expectWhole(network, storer, manifest)
      expect(again.peer.store.stats().damagedBlocks).toBe(0)
    }, WAIT)
    expect(flips).toBeGreaterThan(9_900)

    // What is on its disk now is what it says, also to who opens it anew.
    await again.close()
    again = await network.startPeer(index)
    const { damaged } = await again.peer.store.scrub()
    expect(damaged).toEqual([])
    await expectWhole(network, storer, manifest)
  },
  TEST_MS,
)

test(
  'of two holders that are drained one gives wrong bytes and one none: their columns are rebuilt from the others, and nothing wrong is kept',
  async () => {
    await using network = await TestNetwork.start({ peers: 6, storage: { layoutMs: 0 } })
    const object = await stored(network, 5 * MIB)
    const { manifest, storer } = object
    const [liar, mute] = await holdersOf(network, object)
    if (liar === undefined || mute === undefined) throw new Error('too few holders')
    const { readInto } = liar.peer.store
    liar.peer.store.readInto = async (digest, into) => {
      const bytes = await readInto.call(liar.peer.store, digest, into)
      into[3] = (into[3] ?? 0) ^ 1
      return bytes
    }
    const released = Promise.withResolvers<undefined>()
    mute.peer.store.readInto = async () => released.promise
    for (const one of [liar, mute]) await submitAs(one, draftStorageDrain(one.peer.identity.peerId as PeerIdText))
    await vi.waitFor(async () => {
      expect([await heldBy(storer, liar), await heldBy(storer, mute)]).toEqual([0, 0])
      await expectWhole(network, storer, manifest, [liar, mute])
    }, WAIT)
    released.resolve(undefined)
    const others = network.peers.filter((peer) => ![liar, mute, storer].includes(peer))
    for (const { peer } of others) expect((await peer.store.scrub()).damaged).toEqual([])
  },
  TEST_MS,
)

/** The committee of a peer says that it is silent, in the round of now; in a table of 2+2 that fails it at once. */
async function foundSilent(network: TestNetwork, at: TestPeer, who: TestPeer): Promise<void> {
  const { reader, head, genesis } = at.peer.chain
  const epoch = auditEpoch(Math.max(head.timeMs, Date.now()), (await getStorageParams(reader)).auditMs)
  if ((await getAuditRound(reader))?.epoch !== epoch) await submitAs(at, draftAuditOpen(epoch))
  const number = (await getStorageNumber(reader, who.peer.identity.peerId as PeerIdText)) ?? -1
  const round = await getAuditRound(reader)
  const entry = await getStoragePeer(reader, number)
  if (round === undefined || entry === undefined) throw new Error('nobody is audited')
  const committee = auditCommittee(
    round.beacon,
    entry,
    genesis.institutions.map(({ id }) => id),
  )
  for (const institution of committee.slice(0, Math.floor(committee.length / 2) + 1)) {
    const member = network.peers.find(({ config }) => config.institution === institution)
    if (member === undefined) throw new Error('a committee member is no peer')
    await submitAs(member, draftAuditVerdicts({ epoch, verdicts: [{ number, result: 'silent' }] }))
  }
}

test(
  'what a failed peer held is rebuilt by others, though it comes back with its disk, and is whole without it',
  async () => {
    await using network = await TestNetwork.start({ peers: 6, storage: { layoutMs: 0 } })
    const object = await stored(network, 7 * MIB + 3)
    const { manifest, storer } = object
    const [failed] = await holdersOf(network, object)
    if (failed === undefined) throw new Error('too few holders')
    await failed.close()
    await foundSilent(network, storer, failed)
    await vi.waitFor(async () => {
      expect(await heldBy(storer, failed)).toBe(0)
      await expectWhole(network, storer, manifest, [failed])
    }, WAIT)
    const back = await network.startPeer(network.peers.indexOf(failed))
    await vi.waitFor(() => expect(back.peer.chain.head.height).toBe(storer.peer.chain.head.height), WAIT)
    expect(await readBack(back, object.content)).toBe(object.sha256)
    await expectWhole(network, storer, manifest, [back])
    expect(back.peer.repairer.status()).toMatchObject({ columns: 0 })
  },
  TEST_MS,
)
