// Real daemons in this process: real TCP, real disks. Their one clock is set ahead by days; what is collected follows the time of final blocks.
import { execFile } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CID } from 'multiformats/cid'
import { expect, test, vi } from 'vitest'
import type { CliAccount } from '../../../src/cli/account.ts'
import { put } from '../../../src/cli/put.ts'
import { submitTx } from '../../../src/cli/submit.ts'
import { SEGMENT_BYTES, STAGED_GRACE_MS } from '../../../src/core/limits.ts'
import { DAG_CBOR, digestCid, sha256 } from '../../../src/crypto/hash.ts'
import { checkErasureCertificate } from '../../../src/domain/erasure-certificate.ts'
import { draftStorageErase } from '../../../src/domain/storage-erasure.ts'
import { draftStorageHold } from '../../../src/domain/storage-holds.ts'
import { draftStorageRelease } from '../../../src/domain/storage-leases.ts'
import { getExtent, getStoragePeer, getStoredObject } from '../../../src/domain/storage-state.ts'
import { assignedRow, extentGroup, getLayout } from '../../../src/domain/storage-table.ts'
import type { DraftTx } from '../../../src/ledger/transaction.ts'
import { parsePeerId } from '../../../src/p2p/peer-ids.ts'
import { ShardPush } from '../../../src/p2p/shard-push.ts'
import type { PlacementStatus } from '../../../src/peer/placement-status.ts'
import { auditRoot } from '../../../src/shards/audit-tree.ts'
import { ExtentMap, decodeExtentMap, encodeExtentMap } from '../../../src/shards/extent-map.ts'
import { type TestPeer, TestNetwork, newAccount } from './network.ts'

const CLI = fileURLToPath(new URL('../../../src/cli/main.ts', import.meta.url))
const TOKEN = 'test-token-of-thirty-two-characters!'
const WAIT = { timeout: 120_000, interval: 100 }
const TEST_MS = 600_000
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const signal = AbortSignal.timeout(TEST_MS)

class Rig {
  readonly network: TestNetwork
  readonly #clock: { aheadMs: number }

  private constructor(network: TestNetwork, clock: { aheadMs: number }) {
    this.network = network
    this.#clock = clock
  }

  static async start(peers: number): Promise<Rig> {
    const clock = { aheadMs: 0 }
    const network = await TestNetwork.start({
      peers,
      clock: { nowMs: () => Date.now() + clock.aheadMs },
      freshMs: 0,
      prepare: async ({ configs }) => {
        for (const config of configs) Object.assign(config.ledger, { idleIntervalMs: 500 })
      },
    })
    return new Rig(network, clock)
  }

  get at(): TestPeer {
    return this.network.peer(0)
  }

  /** Runs the CLI against the first peer. @returns the code of its fault; empty: there was none */
  async cli(...args: readonly string[]): Promise<string> {
    const folder = join(this.network.folder, 'cli')
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, 'api.json'), JSON.stringify({ url: this.at.gateway.url, token: TOKEN }))
    return new Promise((resolve) => {
      execFile(process.execPath, [CLI, '--json', '--peer', folder, ...args], (_error, _out, err) => {
        resolve(/"fault":"(\w+)"/.exec(err)?.[1] ?? '')
      })
    })
  }

  /** Sets the clock ahead, and waits until a block of that time is final everywhere. */
  async pass(ms: number): Promise<void> {
    this.#clock.aheadMs += ms
    const fromMs = Date.now() + this.#clock.aheadMs
    await vi.waitFor(() => {
      const isBehind = this.network.peers.some(({ peer }) => peer.chain.head.timeMs < fromMs)
      if (isBehind) throw new Error('no block of that time is final everywhere')
    }, WAIT)
  }

  /** Rounds on all peers, as many as it takes what was found to go: marked, forgotten, removed. */
  async collect(rounds = 1): Promise<void> {
    for (let round = 0; round < rounds; round++) {
      for (const { peer } of this.network.peers) await peer.collector.collect({ dry: false, signal })
    }
  }

  async put(account: CliAccount, bytes: number): Promise<CID> {
    const file = join(this.network.folder, 'input.bin')
    await writeFile(file, randomFillSync(new Uint8Array(bytes)))
    const events = { onStart: () => undefined, onSent: () => undefined }
    const options = {
      home: this.at.home,
      profile: 'aes-256-gcm' as const,
      restart: true,
      critical: false,
      signal,
      ...events,
    }
    const { manifest } = await put(this.at.client, account, file, options)
    await vi.waitFor(async () => {
      const path = `/api/v1/objects/${manifest.toString()}/placement`
      const { held, state } = await this.at.client.get<PlacementStatus>(path)
      if (state !== 'placed' || held !== 4) throw new Error(`${state}, ${held} columns held`)
    }, WAIT)
    return manifest
  }

  /** In the name of the institution, whose daemon stored what was put. */
  submit(draft: DraftTx): Promise<unknown> {
    const { account } = this.at.peer.identity
    return submitTx(this.at.client, { id: account.id, openSigner: async () => account.signer }, draft, { signal })
  }

  /** By peer: digests of its own columns of the first extent, and those of all columns. */
  async shards(manifest: CID): Promise<{ readonly own: Uint8Array[][]; readonly all: Uint8Array[] }> {
    const { reader } = this.at.peer.chain
    const extent = await getExtent(reader, manifest, 0)
    if (extent === undefined) throw new Error('no extent')
    const map = decodeExtentMap((await this.at.peer.store.read(extent.map.multihash.digest)) ?? new Uint8Array(0))
    const own = await Promise.all(
      this.network.peers.map(async ({ peer }) => {
        const digests: Uint8Array[] = []
        for (const [column, number] of extent.holders.entries()) {
          const entry = number === undefined ? undefined : await getStoragePeer(reader, number)
          if (entry?.peer === peer.identity.peerId)
            digests.push(...map.shardsOfColumn(column).map(({ digest }) => digest))
        }
        return digests
      }),
    )
    return { own, all: map.stripes.flatMap((_, stripe) => map.shardsOfStripe(stripe).map(({ digest }) => digest)) }
  }

  /** How many of these blocks each peer has. */
  count(digests: readonly Uint8Array[] | readonly (readonly Uint8Array[])[]): number[] {
    return this.network.peers.map(({ peer }, at) => {
      const mine = (Array.isArray(digests[0]) ? digests[at] : digests) as readonly Uint8Array[]
      return mine.filter((digest) => peer.store.has(digest)).length
    })
  }
}

test(
  'the storer keeps its further copy for the time of orphans; a released object goes everywhere after it, a held one stays',
  async () => {
    const rig = await Rig.start(4)
    await using _network = rig.network
    const account = await newAccount(rig.at, 'storer')
    const [released, held] = [await rig.put(account, 5 * SEGMENT_BYTES), await rig.put(account, 3 * SEGMENT_BYTES)]
    const [ofReleased, ofHeld] = [await rig.shards(released), await rig.shards(held)]
    const lengths = (of: typeof ofHeld): number[] => of.own.map(({ length }) => length)
    // What was just written is no candidate for two rounds.
    await rig.collect(3)
    expect(rig.count(ofHeld.own)).toEqual(lengths(ofHeld))
    const waiting = await rig.at.peer.collector.collect({ dry: true, signal })
    expect(waiting).toMatchObject({ dueBlocks: 0, removedBlocks: 0, unknown: [] })
    expect(waiting.lines.map(({ object, reason }) => ({ object, reason }))).toContainEqual({
      object: held.toString(),
      reason: 'moved',
    })
    expect(waiting.waitingBytes).toBeGreaterThan(3 * SEGMENT_BYTES)

    await rig.pass(8 * DAY_MS)
    await rig.collect(2)
    // The whole copy at the storer went, each holder's column stays.
    expect(rig.count(ofHeld.own)).toEqual(lengths(ofHeld))
    expect(rig.count(ofReleased.own)).toEqual(lengths(ofReleased))
    expect(rig.count([...new Map(ofHeld.all.map((one) => [String(one), one])).values()])[0]).toBe(lengths(ofHeld)[0])

    await rig.submit(draftStorageHold({ manifest: held, reason: 'litigation' }))
    await rig.submit(draftStorageRelease(held))
    await rig.submit(draftStorageRelease(released))
    await rig.collect()
    await rig.pass(6 * DAY_MS)
    await rig.collect()
    expect(rig.count(ofReleased.own)).toEqual(lengths(ofReleased))
    await rig.pass(2 * DAY_MS)
    await rig.collect()
    await vi.waitFor(async () => {
      for (const { peer } of rig.network.peers)
        expect(await getStoredObject(peer.chain.reader, released)).toBeUndefined()
    }, WAIT)
    await rig.collect(2)
    expect(rig.count(ofReleased.all)).toEqual([0, 0, 0, 0])
    expect(rig.count(ofHeld.own)).toEqual(lengths(ofHeld))
    // The ledger's own blocks are served by CID, however old.
    const first = await rig.at.peer.chain.reader.headerAt(1)
    expect(rig.at.peer.store.has(first?.header.body.multihash.digest ?? new Uint8Array(0))).toBe(true)
  },
  TEST_MS,
)

test(
  'an erased object is gone from all peers within seconds, and the certificate with every signature holds without a peer',
  async () => {
    const rig = await Rig.start(4)
    await using _network = rig.network
    const account = await newAccount(rig.at, 'storer')
    const [kept, erased] = [await rig.put(account, 2 * SEGMENT_BYTES), await rig.put(account, 5 * SEGMENT_BYTES)]
    const [ofKept, ofErased] = [await rig.shards(kept), await rig.shards(erased)]
    await rig.submit(draftStorageErase({ manifest: erased, records: [] }))
    const parts = [...ofErased.all, erased.multihash.digest]
    await vi.waitFor(() => expect(rig.count(parts)).toEqual([0, 0, 0, 0]), { timeout: 60_000, interval: 50 })
    expect(rig.count(ofKept.own)).toEqual(ofKept.own.map(({ length }) => length))

    const trusted = { chainId: rig.at.peer.chain.id }
    const certificate = await vi.waitFor(async () => {
      const { body } = await rig.at.client.call(`/api/v1/objects/${erased.toString()}/erasure`)
      const checked = await checkErasureCertificate(new Uint8Array(body), trusted)
      expect(checked.certificate.waiting).toEqual([])
      return { bytes: new Uint8Array(body), ...checked }
    }, WAIT)
    expect(certificate.certificate.signed.map(({ institution }) => institution).toSorted()).toEqual([
      'h0',
      'h1',
      'h2',
      'h3',
    ])
    const { signature } = certificate.certificate.signed[0] ?? { signature: new Uint8Array(0) }
    const altered = certificate.bytes.slice()
    const place = Buffer.from(altered).lastIndexOf(Buffer.from(signature))
    altered[place] = (altered[place] ?? 0) ^ 1
    await expect(checkErasureCertificate(altered, trusted)).rejects.toMatchObject({
      fault: { code: 'ERASURE_CERTIFICATE_FALSE' },
    })
    expect((await rig.at.peer.collector.collect({ dry: true, signal })).unknown).toEqual([])

    const out = join(rig.network.folder, 'erased.cert')
    const write = async (...more: string[]): Promise<string> =>
      rig.cli('erase', 'certificate', erased.toString(), '--out', ...more)
    expect(await write(out)).toBe('')
    await writeFile(out, 'something of the user')
    expect(await write(out)).toBe('OUTPUT_EXISTS')
    expect(await readFile(out, 'utf8')).toBe('something of the user')
    expect(await write(join(rig.network.folder, 'no', 'folder'))).toBe('OUTPUT_UNWRITABLE')
    expect(await write(out, '--force')).toBe('')
    expect((await checkErasureCertificate(new Uint8Array(await readFile(out)), trusted)).certificate.waiting).toEqual(
      [],
    )
  },
  TEST_MS,
)

test(
  'a column that was staged and never committed stays until its receipt can not count any more, and goes then',
  async () => {
    const rig = await Rig.start(4)
    await using _network = rig.network
    const { chain } = rig.at.peer
    const layout = await vi.waitFor(async () => {
      for (const { peer } of rig.network.peers) {
        expect((await getLayout(peer.chain.reader))?.code).toEqual({ data: 2, parity: 2 })
      }
      return getLayout(chain.reader)
    }, WAIT)
    if (layout === undefined) throw new Error('no table')
    const manifest = digestCid(DAG_CBOR, sha256(randomFillSync(new Uint8Array(32))))
    const shard = randomFillSync(new Uint8Array(100_000))
    const digest = sha256(shard)
    // One segment: four copies of it.
    const map = ExtentMap.of({
      version: 1,
      manifest,
      index: 0,
      code: { data: 2, parity: 2 },
      sizes: new Uint8Array([0, 1, 0x86, 0xa0]),
      digests: new Uint8Array(Buffer.concat(Array.from({ length: 4 }, () => digest))),
      audits: new Uint8Array(Buffer.concat(Array.from({ length: 4 }, () => auditRoot(shard)))),
      copies: [],
    })
    const { bytes, cid: link } = encodeExtentMap(map)
    const row = await assignedRow(chain.reader, layout, extentGroup(manifest, 0), { data: 2, parity: 2 })
    const entries = await Promise.all(row.map(async (number) => getStoragePeer(chain.reader, number ?? 0)))
    const column = entries.findIndex(
      (entry, at) => entry?.peer !== rig.at.peer.identity.peerId && map.shardsOfColumn(at).length > 0,
    )
    const expiresMs = chain.head.timeMs + 2 * HOUR_MS
    const reserve = {
      chain: CID.parse(chain.id),
      manifest,
      index: 0,
      code: { data: 2, parity: 2 },
      column,
      bytes: shard.length,
      expiresMs,
    }
    const push = await ShardPush.open(rig.at.peer.host, parsePeerId(entries[column]?.peer ?? ''), reserve, signal)
    expect(await push.push({ kind: 'shard', stripe: 0, digest, bytes: shard, audit: auditRoot(shard) })).toBe(true)
    await push.finish(bytes, signal)
    const holder = rig.network.peers.find(({ peer }) => peer.identity.peerId === entries[column]?.peer)
    if (holder === undefined) throw new Error('no holder')
    const { store } = holder.peer

    await rig.collect(2)
    await rig.pass(2 * HOUR_MS + STAGED_GRACE_MS - 60_000)
    await rig.collect(3)
    expect([store.has(digest), store.has(link.multihash.digest)]).toEqual([true, true])
    await rig.pass(2 * 60_000)
    await rig.collect(2)
    expect([store.has(digest), store.has(link.multihash.digest)]).toEqual([false, false])
  },
  TEST_MS,
)

test('a peer whose ledger is lost collects nothing before it has caught up with what it knew', {
  timeout: TEST_MS,
}, async () => {
  const rig = await Rig.start(4)
  await using network = rig.network
  const hurt = network.peer(1)
  const account = await newAccount(hurt, 'a person')
  const file = join(network.folder, 'kept.bin')
  await writeFile(file, randomFillSync(new Uint8Array(3 * SEGMENT_BYTES)))
  const events = { onStart: () => undefined, onSent: () => undefined }
  const options = {
    home: hurt.home,
    profile: 'aes-256-gcm',
    restart: true,
    critical: false,
    signal,
    ...events,
  } as const
  const { manifest } = await put(hurt.client, account, file, options)
  await vi.waitFor(async () => {
    const { state } = await hurt.client.get<PlacementStatus>(`/api/v1/objects/${manifest.toString()}/placement`)
    expect(state).toBe('placed')
  }, WAIT)
  await rig.collect(2)
  const listed = async (at: TestPeer): Promise<string[]> =>
    (await Array.fromAsync(at.peer.objects.all())).map((entry) => entry.manifest.toString())
  const blocks = hurt.peer.store.stats().blocks
  await hurt.close()
  await rm(join(hurt.config.dataDir, 'ledger'), { recursive: true })
  const alone = await network.startPeer(1, [])
  expect(alone.peer.chain.head.height).toBe(0)
  for (let round = 0; round < 3; round++) await alone.peer.collector.collect({ dry: false, signal })
  expect(await listed(alone)).toEqual([manifest.toString()])
  expect(alone.peer.store.stats().blocks).toBe(blocks)
  // Caught up, it collects again.
  await alone.peer.host.dial(network.peer(0).peer.host.getMultiaddrs())
  await rig.pass(1_000)
  await alone.peer.collector.collect({ dry: false, signal })
  expect(await listed(alone)).toEqual([manifest.toString()])
})
