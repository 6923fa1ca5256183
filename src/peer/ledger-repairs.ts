/**
 * Finds what this peer has to repair: looks through the extents of the ledger, or those that a block named, and compares who should
 * hold a column with who does, and what should lie here with what does.
 */
import type { Log } from '../core/ports.ts'
import { COMMIT, committedExtents } from '../domain/storage-commit.ts'
import { CONFIRM, LOST, namedExtents } from '../domain/storage-columns.ts'
import { getPeerSet } from '../domain/storage-offers.ts'
import {
  type Extent,
  type ExtentRef,
  type StoredObject,
  getExtent,
  getStorageNumber,
  getStoredObject,
  listExtents,
} from '../domain/storage-state.ts'
import { PlacementRows, getLayout } from '../domain/storage-table.ts'
import type { AcceptedBlock } from '../ledger/block-tree.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import { type ExtentMap, decodeExtentMap } from '../shards/extent-map.ts'
import { type Repair, repairsOf } from '../shards/repair-order.ts'
import type { Blocks } from '../store/blocks.ts'
import { readHere } from './own-blocks.ts'
import { type KnownPeer, knownPeers } from './safety.ts'

export interface LedgerRepairsDeps {
  readonly chain: Pick<Chain, 'reader'>
  readonly store: Pick<Blocks, 'has' | 'read'>
  readonly peer: PeerIdText
  readonly log: Log
}

/** What extents are judged by. */
interface Standing {
  readonly own: number
  readonly rows: PlacementRows | undefined
  readonly peers: ReadonlyMap<number, KnownPeer>
}

export interface LookOptions {
  /** Whether the blocks of this peer's own columns are looked for. */
  readonly checksOwn: boolean
  readonly signal: AbortSignal
}

export class LedgerRepairs {
  readonly #deps: LedgerRepairsDeps
  #rows: PlacementRows | undefined

  constructor(deps: LedgerRepairsDeps) {
    this.#deps = deps
  }

  /** Whether the ledger, as far as it is known here, has this peer among those that hold anything. */
  async isKnown(): Promise<boolean> {
    return (await getStorageNumber(this.#deps.chain.reader, this.#deps.peer)) !== undefined
  }

  /** Changes when any extent may have to be looked at again: a new table, a peer that came, drains, or failed. */
  async version(): Promise<string> {
    const { reader } = this.#deps.chain
    const layout = await getLayout(reader)
    const { version } = await getPeerSet(reader)
    return `${layout?.version ?? 0} ${version}`
  }

  /** All of the ledger. */
  async *all(options: LookOptions): AsyncGenerator<Repair> {
    yield* this.#look(listExtents(this.#deps.chain.reader), options)
  }

  /** Some extents. */
  async *of(refs: readonly ExtentRef[], options: LookOptions): AsyncGenerator<Repair> {
    yield* this.#look(refs, options)
  }

  async *#look(refs: AsyncIterable<ExtentRef> | Iterable<ExtentRef>, options: LookOptions): AsyncGenerator<Repair> {
    const standing = await this.#standing()
    if (standing === undefined) return
    const { reader } = this.#deps.chain
    for await (const ref of refs) {
      options.signal.throwIfAborted()
      const extent = await getExtent(reader, ref.manifest, ref.index)
      if (extent !== undefined) yield* await this.#repairsOf(extent, standing, options)
    }
  }

  async #standing(): Promise<Standing | undefined> {
    const { chain, peer } = this.#deps
    const own = await getStorageNumber(chain.reader, peer)
    if (own === undefined) return undefined
    const peers = await knownPeers(chain.reader)
    // Its word counts no more: neither can it confirm anything, nor need it mend.
    if (peers.get(own)?.entry.state === 'removed') return undefined
    return { own, rows: await this.#table(), peers }
  }

  /** Read once: it changes seldom, and is the most of what a look at one extent costs. */
  async #table(): Promise<PlacementRows | undefined> {
    const { reader } = this.#deps.chain
    const layout = await getLayout(reader)
    if (layout?.version !== this.#rows?.layout.version) this.#rows = await PlacementRows.read(reader)
    return this.#rows
  }

  async #repairsOf(extent: Extent, { own, peers, rows }: Standing, { checksOwn }: LookOptions): Promise<Repair[]> {
    const row = rows?.assigned(extent.group, extent)
    const isOwn = extent.holders.includes(own)
    if (!isOwn && row?.includes(own) !== true) return []
    const isLost = isOwn && checksOwn && !(await this.#isWhole(extent, own))
    const found = repairsOf(extent, { own, row, isLost, holderOf: (number) => peers.get(number), sinceMs: 0 })
    if (found.length === 0) return []
    const object = await this.#object(extent)
    return object === undefined ? [] : found.map((one) => ({ ...one, sinceMs: object.startedMs }))
  }

  /** What was erased on request is not brought back. */
  async #object({ manifest }: Extent): Promise<StoredObject | undefined> {
    const object = await getStoredObject(this.#deps.chain.reader, manifest)
    return object === undefined || object.erasedMs > 0 ? undefined : object
  }

  /** Whether all that this peer should have of an extent is here, as far as is known without reading it. */
  async #isWhole(extent: Extent, own: number): Promise<boolean> {
    const { log, store } = this.#deps
    const bytes = await readHere(store, extent.map.multihash.digest)
    if (bytes === undefined) return false
    let map: ExtentMap
    try {
      map = decodeExtentMap(bytes)
    } catch (error) {
      // It is what the ledger names; whoever committed it lied, and nothing here can mend that.
      log.error({ err: error, manifest: extent.manifest.toString(), index: extent.index }, 'an extent map is none')
      return true
    }
    if (map.fields.copies.some(({ cid }) => !store.has(cid.multihash.digest))) return false
    const columns = extent.holders.flatMap((holder, column) => (holder === own ? column : []))
    return columns.every((column) => map.shardsOfColumn(column).every(({ digest }) => store.has(digest)))
  }
}

/** Extents whose holders a block changed. */
export function extentsOfBlock({ receipts, txs }: Pick<AcceptedBlock, 'receipts' | 'txs'>): ExtentRef[] {
  return txs.flatMap(({ body: { payload, type } }, at) => {
    if (receipts[at]?.ok !== true) return []
    if (type === COMMIT) return committedExtents(payload)
    return type === CONFIRM || type === LOST ? namedExtents(type, payload) : []
  })
}
