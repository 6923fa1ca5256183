// Real daemons in this process. One of them uses what it learns of another's upload against it.
import { randomFillSync } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import { exportCar, importCar } from '../../../src/cli/car.ts'
import { get } from '../../../src/cli/get.ts'
import { put } from '../../../src/cli/put.ts'
import { submitTx } from '../../../src/cli/submit.ts'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import type { ShardReceipt } from '../../../src/domain/shard-receipt.ts'
import { draftStorageCommit } from '../../../src/domain/storage-commit.ts'
import { draftStorageErase } from '../../../src/domain/storage-erasure.ts'
import { draftStorageRelease } from '../../../src/domain/storage-leases.ts'
import { getStoragePeer, getStoredObject } from '../../../src/domain/storage-state.ts'
import { assignedRow, extentGroup, getLayout } from '../../../src/domain/storage-table.ts'
import type { DraftTx } from '../../../src/ledger/transaction.ts'
import { parsePeerId } from '../../../src/p2p/peer-ids.ts'
import { ShardPush } from '../../../src/p2p/shard-push.ts'
import type { PlacementStatus } from '../../../src/peer/placement-status.ts'
import { auditRoot } from '../../../src/shards/audit-tree.ts'
import { ExtentMap, encodeExtentMap, extentFacts } from '../../../src/shards/extent-map.ts'
import { decodeManifest } from '../../../src/shards/manifest.ts'
import { TestNetwork, type TestPeer, newAccount } from './network.ts'

const WAIT = { timeout: 120_000, interval: 100 }
const TEST_MS = 300_000
const signal = AbortSignal.timeout(TEST_MS)
const CODE = { data: 2, parity: 2 }
const quiet = { signal, onStart: () => undefined, onSent: () => undefined }

async function tableOfFour(network: TestNetwork): Promise<void> {
  await vi.waitFor(async () => {
    for (const { peer } of network.peers) expect((await getLayout(peer.chain.reader))?.code).toEqual(CODE)
  }, WAIT)
}

async function submit({ client, peer }: TestPeer, draft: DraftTx): Promise<void> {
  const { account } = peer.identity
  await submitTx(client, { id: account.id, openSigner: async () => account.signer }, draft, { signal })
}

const statusOf = (at: TestPeer, manifest: CID): Promise<PlacementStatus> =>
  at.client.get<PlacementStatus>(`/api/v1/objects/${manifest.toString()}/placement`)

/** Puts an extent of one small segment on the ledger under any name, in the name of its own institution. */
async function take(liar: TestPeer, manifest: CID, content: CID): Promise<void> {
  const { chain, host } = liar.peer
  const layout = await getLayout(chain.reader)
  if (layout === undefined) throw new Error('no table')
  const shard = randomFillSync(new Uint8Array(1_000))
  const [digest, audit] = [sha256(shard), auditRoot(shard)]
  const map = ExtentMap.of({
    version: 1,
    manifest,
    index: 0,
    code: CODE,
    sizes: new Uint8Array([0, 0, 0x03, 0xe8]),
    digests: new Uint8Array(Buffer.concat(Array.from({ length: 4 }, () => digest))),
    audits: new Uint8Array(Buffer.concat(Array.from({ length: 4 }, () => audit))),
    copies: [],
  })
  const { bytes, cid: link } = encodeExtentMap(map)
  const row = await assignedRow(chain.reader, layout, extentGroup(manifest, 0), CODE)
  const expiresMs = chain.head.timeMs + 2 * 3_600_000
  const receipts: ShardReceipt[] = []
  for (const [column, number] of row.entries()) {
    const entry = await getStoragePeer(chain.reader, number ?? 0)
    if (entry === undefined || entry.peer === liar.peer.identity.peerId) continue
    const of = { chain: CID.parse(chain.id), manifest, index: 0, code: CODE, column, bytes: shard.length, expiresMs }
    const push = await ShardPush.open(host, parsePeerId(entry.peer), of, signal)
    if (map.shardsOfColumn(column).length > 0)
      await push.push({ kind: 'shard', stripe: 0, digest, bytes: shard, audit })
    receipts.push(await push.finish(bytes, signal))
  }
  const { columns, copies, data, parity, root, segments } = extentFacts(map, link)
  const object = { manifest, content, bytes: shard.length, extents: 1, leaseMs: chain.head.timeMs + 3_600_000 }
  const extent = { map: link, root, data, parity, segments, columns, copies, receipts }
  await submit(liar, draftStorageCommit({ object, first: 0, extents: [extent] }))
}

test(
  'a name that another member has taken on the ledger, and erased, takes nothing from who has the object',
  async () => {
    // The quota keeps the object with its storer until the name is taken.
    await using network = await TestNetwork.start({ peers: 4, storage: { quotaMib: 16 } })
    const [at, liar] = [network.peer(0), network.peer(1)]
    const account = await newAccount(at, 'storer')
    await tableOfFour(network)
    const file = join(network.folder, 'input.bin')
    const plaintext = randomFillSync(new Uint8Array(9 * SEGMENT_BYTES))
    await writeFile(file, plaintext)
    const options = { home: at.home, profile: 'aes-256-gcm', restart: true, ...quiet } as const
    const { manifest, content } = await put(at.client, account, file, options)
    await take(liar, manifest, content)
    await vi.waitFor(async () => {
      const { fault, state } = await statusOf(at, manifest)
      expect({ fault, state }).toMatchObject({
        fault: { code: 'OBJECT_NAME_TAKEN', institution: 'h1' },
        state: 'waiting',
      })
    }, WAIT)
    await submit(liar, draftStorageErase({ manifest, records: [] }))
    await vi.waitFor(async () => {
      expect((await getStoredObject(at.peer.chain.reader, manifest))?.erasedMs).toBeGreaterThan(0)
    }, WAIT)
    for (let round = 0; round < 3; round++) {
      for (const { peer } of network.peers) await peer.collector.collect({ dry: false, signal })
    }
    const out = join(network.folder, 'output.bin')
    const events = { onStart: () => undefined, onOpened: () => undefined }
    await get(at.client, account, manifest.toString(), { out, force: false, keep: false, signal, ...events })
    expect(sha256(await readFile(out))).toEqual(sha256(plaintext))
    const listed = await Array.fromAsync(at.peer.objects.all())
    expect(listed.map((entry) => entry.manifest.toString())).toEqual([manifest.toString()])
  },
  TEST_MS,
)

test(
  'an object that came in a CAR is placed where the ledger has this very one; released and stored again, it is kept again',
  async () => {
    await using network = await TestNetwork.start({ peers: 4 })
    const [at, other] = [network.peer(0), network.peer(1)]
    const account = await newAccount(at, 'storer')
    await tableOfFour(network)
    const file = join(network.folder, 'input.bin')
    await writeFile(file, randomFillSync(new Uint8Array(3 * SEGMENT_BYTES)))
    const options = { home: at.home, profile: 'aes-256-gcm', restart: true, ...quiet } as const
    const { manifest } = await put(at.client, account, file, options)
    const isPlaced = async (peer: TestPeer): Promise<void> => {
      await vi.waitFor(async () => {
        const status = await statusOf(peer, manifest)
        expect(status, JSON.stringify(status)).toMatchObject({ state: 'placed' })
      }, WAIT)
    }
    await isPlaced(at)
    const car = join(network.folder, 'object.car')
    await exportCar(at.client, manifest.toString(), { out: car, force: false, signal })
    await importCar(other.client, car, quiet)
    await isPlaced(other)
    await vi.waitFor(() => expect(other.peer.placements.count).toBe(0), WAIT)

    await submit(at, draftStorageRelease(manifest))
    const endMs = async (): Promise<number> => (await getStoredObject(at.peer.chain.reader, manifest))?.leaseMs ?? 0
    await vi.waitFor(async () => expect(await endMs()).toBeLessThanOrEqual(at.peer.chain.head.timeMs), WAIT)
    await importCar(at.client, car, quiet)
    await isPlaced(at)
    expect(await endMs()).toBeGreaterThan(at.peer.chain.head.timeMs)

    await submit(at, draftStorageErase({ manifest, records: [] }))
    const bytes = (await at.peer.store.read(manifest.multihash.digest)) ?? new Uint8Array()
    expect(decodeManifest(bytes).files).toBe(1)
    await expect(at.peer.objects.commit(bytes)).rejects.toMatchObject({ fault: { code: 'OBJECT_ERASED' } })
  },
  TEST_MS,
)
