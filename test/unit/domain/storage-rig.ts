/** A chain with storage: institutions that offer room, a table in force, and extents with receipts, for tests. */
import type { CID } from 'multiformats/cid'
import type { InstitutionId } from '../../../src/core/ids.ts'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { cborCid, rawCid } from '../../../src/crypto/hash.ts'
import { writeQuorum } from '../../../src/domain/placement-table.ts'
import { type ExtentFacts, type ShardReceipt, signReceipt } from '../../../src/domain/shard-receipt.ts'
import { type CommitExtent, type StorageCommit, draftStorageCommit } from '../../../src/domain/storage-commit.ts'
import { draftStorageLayout, getPlacementTable, planningPeers } from '../../../src/domain/storage-layout.ts'
import { draftStorageOffer } from '../../../src/domain/storage-offers.ts'
import { getStoragePeer } from '../../../src/domain/storage-state.ts'
import { assignedRow, extentGroup, getLayout } from '../../../src/domain/storage-table.ts'
import type { Genesis, InstitutionRole } from '../../../src/ledger/genesis.ts'
import type { SignedTx } from '../../../src/ledger/transaction.ts'
import { planTable } from '../../../src/shards/placement.ts'
import { HOUR_MS, type Person, TestChain, makeGenesis, peerIdOf, seedOf, signerOf, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'

export const DAY_MS = 24 * HOUR_MS
export const GIB = 2 ** 30
const NAMES = ['city', 'north', 'south', 'east', 'west', 'lab', 'court', 'hill', 'lake', 'port']

/** @param peers - of each institution; its first is named as the institution, the others `name 2`, `name 3`. */
export function storageGenesis(
  institutions: number | Readonly<Record<string, InstitutionRole>>,
  options: { readonly peers?: number; readonly storage?: Genesis['storage'] } = {},
): Genesis {
  const roles =
    typeof institutions === 'number'
      ? Object.fromEntries(NAMES.slice(0, institutions).map((name) => [name, 'hospital' as const]))
      : institutions
  const genesis = makeGenesis(roles, [Object.keys(roles)[0] ?? 'city'])
  const peersOf = (id: InstitutionId) =>
    Array.from({ length: options.peers ?? 1 }, (_, at) => peerIdOf(at === 0 ? id : `${id} ${at + 1}`))
  const storage = { layoutMs: 0, ...options.storage }
  return { ...genesis, institutions: genesis.institutions.map((one) => ({ ...one, peers: peersOf(one.id) })), storage }
}

export class StorageChain {
  readonly test: TestChain

  private constructor(test: TestChain) {
    this.test = test
  }

  /** A chain whose institutions all offer the same room, with a table in force. */
  static async open(genesis: Genesis = storageGenesis(5)): Promise<StorageChain> {
    const rig = new StorageChain(await TestChain.open(genesis))
    for (const { id } of genesis.institutions) await rig.must(await rig.offer(id))
    await rig.layout()
    return rig
  }

  /** Without offers or a table. */
  static async bare(genesis: Genesis): Promise<StorageChain> {
    return new StorageChain(await TestChain.open(genesis))
  }

  get reader() {
    return this.test.chain.reader
  }

  get nowMs(): number {
    return this.test.chain.head.timeMs
  }

  offer(org: string, change: { peer?: string; bytes?: number; zone?: string; by?: Person } = {}): Promise<SignedTx> {
    const { by = staff(org), bytes = GIB, peer = org, zone = org } = change
    return this.test.tx(by, draftStorageOffer({ peer: peerIdOf(peer), bytes, zone }))
  }

  /** Puts a table in force for the peers as they are. */
  async layout(by: Person = staff(this.test.genesis.institutions[0]?.id ?? 'city')): Promise<void> {
    for (const tx of await this.layoutTxs(by)) await this.must(tx)
  }

  /** Transactions of one account, in their turn. */
  async layoutTxs(by: Person): Promise<SignedTx[]> {
    const { base, numbers, peers } = await planningPeers(this.reader)
    const { code, groups, rows } = planTable(peers, (await getPlacementTable(this.reader))?.table)
    const drafts = draftStorageLayout({ base, groups, code, rows: rows.map((index) => numbers[index] ?? 0) })
    const seq = await this.test.chain.nextSeq(by.id, 3)
    return Promise.all(drafts.map((draft, at) => this.test.tx(by, draft, { seq: seq + at })))
  }

  /** What the ledger says to a transaction: a block of its own. */
  outcome(tx: SignedTx): Promise<string> {
    return this.test.outcome(tx)
  }

  async must(tx: SignedTx): Promise<void> {
    const outcome = await this.outcome(tx)
    if (outcome !== 'ok') throw new Error(`${tx.body.type}: ${outcome}`)
  }

  /** Lets block time pass. */
  async pass(ms: number): Promise<void> {
    this.test.nowMs += ms
    await this.test.block()
  }

  /** An extent of the current code, or another one. */
  async facts(
    manifest: CID,
    index = 0,
    change: Partial<Omit<ExtentFacts, 'manifest' | 'index'>> = {},
  ): Promise<ExtentFacts> {
    const layout = await getLayout(this.reader)
    const { data = layout?.code.data ?? 1, parity = layout?.code.parity ?? 0 } = change
    const name = `${manifest.toString()} ${index}`
    return {
      manifest,
      index,
      map: cborCid(seedOf(`map ${name}`)),
      root: seedOf(`root ${name}`),
      data,
      parity,
      segments: data,
      columns: Array.from({ length: data + parity }, () => SEGMENT_BYTES),
      copies: 0,
      ...change,
    }
  }

  /** Numbers of the peers that should hold the columns. */
  async row({ data, index, manifest, parity }: ExtentFacts): Promise<readonly (number | undefined)[]> {
    const layout = await getLayout(this.reader)
    if (layout === undefined) throw new Error('no table in force')
    return assignedRow(this.reader, layout, extentGroup(manifest, index), { data, parity })
  }

  /** Name of a storage peer, as in `peerIdOf`. */
  async peerName(number: number | undefined): Promise<string> {
    const entry = number === undefined ? undefined : await getStoragePeer(this.reader, number)
    const names = this.test.genesis.institutions.flatMap(({ id, peers }) =>
      peers.map((_, at) => (at === 0 ? String(id) : `${id} ${at + 1}`)),
    )
    const name = names.find((one) => peerIdOf(one) === entry?.peer)
    if (name === undefined) throw new Error(`no peer ${number}`)
    return name
  }

  async receipt(extent: ExtentFacts, column: number, change: { by?: string; expiresMs?: number } = {}) {
    const { by = await this.peerName((await this.row(extent))[column]), expiresMs = this.test.nowMs + HOUR_MS } = change
    return signReceipt(signerOf(`${by} peer`), this.test.id, { extent, column, expiresMs })
  }

  /** Receipts of these columns; by default of just enough. */
  receipts(extent: ExtentFacts, columns?: readonly number[]): Promise<ShardReceipt[]> {
    const enough = Array.from({ length: writeQuorum(extent) }, (_, column) => column)
    return Promise.all((columns ?? enough).map((column) => this.receipt(extent, column)))
  }

  async payload(
    manifest: CID,
    change: {
      readonly object?: Partial<StorageCommit['object']>
      readonly first?: number
      readonly extents?: readonly CommitExtent[]
    } = {},
  ): Promise<StorageCommit> {
    const first = change.first ?? 0
    const object = {
      manifest,
      content: rawCid(seedOf(`content ${manifest.toString()}`)),
      bytes: SEGMENT_BYTES,
      extents: 1,
      leaseMs: this.test.nowMs + 30 * DAY_MS,
      ...change.object,
    }
    return { object, first, extents: change.extents ?? [await this.extent(await this.facts(manifest, first))] }
  }

  async extent(facts: ExtentFacts, receipts?: readonly ShardReceipt[]): Promise<CommitExtent> {
    const { columns, copies, data, map, parity, root, segments } = facts
    return { map, root, data, parity, segments, columns, copies, receipts: receipts ?? (await this.receipts(facts)) }
  }

  async commitTx(by: Person, manifest: CID, change: Parameters<StorageChain['payload']>[1] = {}): Promise<SignedTx> {
    return this.test.tx(by, draftStorageCommit(await this.payload(manifest, change)))
  }

  /** Stores an object of one extent. */
  async store(by: Person, name: string, change: Parameters<StorageChain['payload']>[1] = {}): Promise<CID> {
    const manifest = manifestOf(name)
    await this.must(await this.commitTx(by, manifest, change))
    return manifest
  }
}
