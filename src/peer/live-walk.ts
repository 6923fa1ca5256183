/**
 * Looks at the ledger and at this peer, and says which blocks must stay: a live set, and what else the collector has to know of the
 * objects on the ledger.
 *
 * The ledger goes on meanwhile, and so does everything else. That is no danger: a peer comes to hold a column only by a receipt that it
 * signed, before which the column was staged, before which its blocks were told to `RecentBlocks`.
 */
import type { CID } from 'multiformats/cid'
import { setImmediate as pause } from 'node:timers/promises'
import { equals } from 'uint8arrays/equals'
import { CodedError } from '../core/coded-error.ts'
import { OBJECT_WALK_DEPTH_MAX } from '../core/limits.ts'
import type { InstitutionId } from '../core/ids.ts'
import { RAW } from '../crypto/hash.ts'
import { getRecordCount } from '../domain/records.ts'
import { endMs, isKept } from '../domain/storage-leases.ts'
import { getStorageParams } from '../domain/storage-params.ts'
import {
  type ExtentRef,
  type StoredObject,
  getExtent,
  getStorageNumber,
  getStoredObject,
  isWhole,
  listStoragePeers,
  listStoredObjects,
} from '../domain/storage-state.ts'
import { PlacementRows } from '../domain/storage-table.ts'
import { memberIds } from '../domain/validator-sets.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { StorageParams } from '../ledger/storage-params.ts'
import { DigestSet } from '../shards/digest-set.ts'
import { linksOf, storedDigest } from '../shards/dag-walk.ts'
import { type ExtentMap, decodeExtentMap } from '../shards/extent-map.ts'
import { type ExtentDuty, LiveSet, type OrphanReason, extentDuty } from '../shards/live-set.ts'
import type { Blocks } from '../store/blocks.ts'
import type { FreshBlocks } from './fresh-blocks.ts'
import type { LedgerBlocks } from './ledger-blocks.ts'
import type { ObjectEntry, ObjectService } from './objects.ts'
import type { OrphanMarks } from './orphan-marks.ts'
import { readHere } from './own-blocks.ts'
import type { Pins } from './pins.ts'
import type { PlacementQueue } from './placement-queue.ts'
import type { StagedColumns } from './staged-columns.ts'
import type { UploadService } from './uploads.ts'

const NONE = new Uint8Array(0)
/** A millisecond or two. */
const OBJECTS_BETWEEN_PAUSES = 64

export interface LiveWalkDeps {
  readonly chain: Pick<Chain, 'head' | 'reader'>
  readonly store: Blocks
  readonly staged: StagedColumns
  readonly placements: Pick<PlacementQueue, 'list'>
  readonly uploads: Pick<UploadService, 'digests' | 'roots'>
  readonly fresh: Pick<FreshBlocks, 'digests'>
  readonly objects: Pick<ObjectService, 'all'>
  readonly pins: Pick<Pins, 'list'>
  readonly marks: Pick<OrphanMarks, 'wasWhole'>
  readonly ledgerBlocks: LedgerBlocks
  readonly peer: PeerIdText
  readonly institution: InstitutionId
}

/** An extent of which blocks may lie here that this peer needn't keep. */
export interface BeyondDuty extends ExtentRef {
  readonly map: CID
  readonly reason: OrphanReason
}

export interface LiveView {
  readonly live: LiveSet
  /** Block time of the newest final block when it was begun. */
  readonly blockTimeMs: number
  readonly params: StorageParams
  readonly own: number | undefined
  readonly beyond: readonly BeyondDuty[]
  readonly erased: readonly StoredObject[]
  /** Of this institution, or of one that has left, kept by nobody for so long that the ledger may forget them. */
  readonly forgettable: readonly CID[]
  /** Listed here, and whole on the ledger. */
  readonly placed: readonly CID[]
  /** Listed here, and erased, or forgotten by the ledger. */
  readonly over: readonly ObjectEntry[]
  /** Whether an object that lies whole here is another institution's on the ledger, and perhaps not this one. */
  readonly isDisputed: (object: StoredObject) => boolean
  /** Blocks that are not here, though without them nobody knows what must be kept: nothing is removed. */
  readonly unknown: readonly CID[]
}

/** @throws the signal's reason; faults of the store and the ledger's database */
export async function lookAtLive(deps: LiveWalkDeps, signal: AbortSignal): Promise<LiveView> {
  const walk = new LiveWalk(deps, signal)
  await walk.local()
  await walk.listed()
  await walk.ledger()
  return walk.view()
}

/**
 * All blocks below a CID that are here, children before their parents, and the CID's own last. Each node once, however many links lead to
 * it: a few that link to each other a thousand times make more ways than anybody can go.
 *
 * @throws the signal's reason; faults of the store
 */
export async function* blocksBelow(
  store: Pick<Blocks, 'read'>,
  root: CID,
  signal: AbortSignal,
  seen = new DigestSet(),
  depth = 0,
): AsyncGenerator<Uint8Array> {
  signal.throwIfAborted()
  if (depth > OBJECT_WALK_DEPTH_MAX + 1) return
  seen.add(root.multihash.digest)
  const links = root.code === RAW ? [] : ((await linksHere(store, root)) ?? [])
  for (const link of links) {
    if (link.code === RAW) yield link.multihash.digest
    else if (!seen.has(link.multihash.digest)) yield* blocksBelow(store, link, signal, seen, depth + 1)
  }
  yield root.multihash.digest
}

class LiveWalk {
  readonly #deps: LiveWalkDeps
  readonly #signal: AbortSignal
  readonly #live: LiveSet
  /** Names of objects that lie whole here and aren't placed yet. */
  readonly #toPlace = new Set<string>()
  /** Nodes of trees that must be whole here. */
  readonly #walked = new DigestSet()
  /** Taken first: what the ledger names by then it names below. */
  readonly #blockTimeMs: number
  #params: StorageParams | undefined
  #own: number | undefined
  readonly #beyond: BeyondDuty[] = []
  readonly #erased: StoredObject[] = []
  readonly #forgettable: CID[] = []
  readonly #placed: CID[] = []
  readonly #over: ObjectEntry[] = []
  readonly #unknown: CID[] = []

  constructor(deps: LiveWalkDeps, signal: AbortSignal) {
    this.#deps = deps
    this.#signal = signal
    this.#live = new LiveSet(deps.ledgerBlocks.digests)
    this.#blockTimeMs = deps.chain.head.timeMs
  }

  view(): LiveView {
    const params = this.#params
    if (params === undefined) throw new Error('view before the ledger was looked at')
    return {
      live: this.#live,
      blockTimeMs: this.#blockTimeMs,
      params,
      own: this.#own,
      beyond: this.#beyond,
      erased: this.#erased,
      forgettable: this.#forgettable,
      placed: this.#placed,
      over: this.#over,
      isDisputed: (object) => this.#isDisputed(object),
      unknown: this.#unknown,
    }
  }

  /** What this peer keeps for itself and for its users. */
  async local(): Promise<void> {
    const { chain, fresh, ledgerBlocks, pins, placements, store, uploads } = this.#deps
    const { local, pinned } = this.#live
    for (const digest of fresh.digests()) local.add(digest)
    for (const digest of uploads.digests()) local.add(digest)
    for (const root of uploads.roots()) {
      for await (const digest of blocksBelow(store, root, this.#signal)) local.add(digest)
    }
    await this.#stagedColumns()
    for (const { manifest, maps } of placements.list()) {
      this.#toPlace.add(manifest.toString())
      const stored = await getStoredObject(chain.reader, manifest)
      if (stored !== undefined && stored.erasedMs > 0 && !this.#isDisputed(stored)) continue
      await this.#tree(manifest)
      for (const link of maps) local.add(link.multihash.digest)
    }
    for (const { cid } of pins.list()) {
      for await (const digest of blocksBelow(store, cid, this.#signal)) pinned.add(digest)
    }
    await ledgerBlocks.look(this.#signal)
  }

  /** Its job is open: see placed-already.ts. */
  #isDisputed({ manifest, org }: StoredObject): boolean {
    return org !== this.#deps.institution && this.#toPlace.has(manifest.toString())
  }

  async #stagedColumns(): Promise<void> {
    const { chain, staged, store } = this.#deps
    const { expired, local } = this.#live
    const over = new Set(staged.expired(this.#blockTimeMs))
    for (const column of staged.list()) {
      this.#signal.throwIfAborted()
      // Without a map nothing was signed; what it brought so far is recent, or nobody's.
      if (column.map === undefined) continue
      // No commit takes one more extent of it, and what is here of it must go.
      if (((await getStoredObject(chain.reader, column.manifest))?.erasedMs ?? 0) > 0) continue
      const isOver = over.has(column)
      if (isOver && (await getExtent(chain.reader, column.manifest, column.index)) !== undefined) continue
      const map = await mapHere(store, column.map)
      if (map !== undefined) addColumns(isOver ? expired : local, { map, link: column.map }, [column.column])
      // Signed for, and its map is damaged. One that never came here is of a column that is under way.
      else if (!isOver && store.damaged().some((digest) => equals(digest, column.map?.multihash.digest ?? NONE))) {
        this.#unknown.push(column.map)
      }
    }
  }

  /** Objects that were stored here. One that the ledger never had whole lies nowhere else. */
  async listed(): Promise<void> {
    const { chain, marks, objects } = this.#deps
    for await (const entry of objects.all()) {
      this.#signal.throwIfAborted()
      const { manifest } = entry
      const stored = await getStoredObject(chain.reader, manifest)
      if (stored !== undefined && this.#isDisputed(stored)) continue
      if (stored !== undefined && stored.erasedMs > 0) this.#over.push(entry)
      else if (stored !== undefined && isWhole(stored)) this.#placed.push(manifest)
      else if (!(await marks.wasWhole(manifest))) await this.#tree(manifest)
      else if (stored === undefined) this.#over.push(entry)
    }
  }

  async ledger(): Promise<void> {
    const { chain, institution, peer } = this.#deps
    const { reader } = chain
    const params = await getStorageParams(reader)
    this.#params = params
    this.#own = await getStorageNumber(reader, peer)
    const rows = await PlacementRows.read(reader)
    const removed = new Set<number>()
    for await (const one of listStoragePeers(reader)) if (one.state === 'removed') removed.add(one.number)
    const members = new Set(await memberIds(reader))
    let seen = 0
    for await (const stored of listStoredObjects(reader)) {
      this.#signal.throwIfAborted()
      if (stored.erasedMs > 0) {
        this.#erased.push(stored)
        continue
      }
      const records = await getRecordCount(reader, stored.manifest)
      const kept = isKept(stored, records, params, this.#blockTimeMs)
      const isOver = !kept && endMs(stored, params) + params.orphanMs <= this.#blockTimeMs
      if (isOver && (stored.org === institution || !members.has(stored.org))) this.#forgettable.push(stored.manifest)
      await this.#extents(stored, kept, { rows, removed })
      if (++seen % OBJECTS_BETWEEN_PAUSES === 0) await pause()
    }
  }

  async #extents(
    stored: StoredObject,
    kept: boolean,
    table: { readonly rows: PlacementRows | undefined; readonly removed: ReadonlySet<number> },
  ): Promise<void> {
    for (let index = 0; index < stored.committed; index++) {
      const extent = await getExtent(this.#deps.chain.reader, stored.manifest, index)
      if (extent === undefined) continue
      const duty = extentDuty({
        extent,
        own: this.#own,
        assigned: table.rows?.assigned(extent.group, extent) ?? [],
        isCounted: (number) => !table.removed.has(number),
        isKept: kept,
        isWhole: isWhole(stored),
      })
      await this.#extent({ manifest: stored.manifest, index, map: extent.map }, duty, kept)
    }
  }

  async #extent(of: Omit<BeyondDuty, 'reason'>, duty: ExtentDuty, kept: boolean): Promise<void> {
    const map = await mapHere(this.#deps.store, of.map)
    if (map === undefined) {
      if (duty.isHolder) this.#unknown.push(of.map)
      return
    }
    const { copies, ending, kept: named } = this.#live
    const { columns, rest } = duty
    addColumns(kept ? named : ending, { map, link: of.map }, columns)
    if (columns === 'all' && kept) return
    this.#beyond.push({ ...of, reason: rest })
    if (kept) addColumns(copies, { map, link: of.map }, 'all')
  }

  /** All below the root: of what must be whole here. Each node once, as in `blocksBelow`. */
  async #tree(root: CID, depth = 0): Promise<void> {
    this.#signal.throwIfAborted()
    const { local } = this.#live
    local.add(root.multihash.digest)
    if (root.code === RAW || this.#walked.has(root.multihash.digest)) return
    this.#walked.add(root.multihash.digest)
    const links = depth > OBJECT_WALK_DEPTH_MAX + 1 ? undefined : await linksHere(this.#deps.store, root)
    if (links === undefined) this.#unknown.push(root)
    for (const link of links ?? []) {
      if (link.code === RAW) local.add(link.multihash.digest)
      else await this.#tree(link, depth + 1)
    }
  }
}

/** @returns the map, where it is here whole and one. */
export async function mapHere(store: Pick<Blocks, 'read'>, link: CID): Promise<ExtentMap | undefined> {
  const bytes = await readHere(store, link.multihash.digest)
  try {
    return bytes === undefined ? undefined : decodeExtentMap(bytes)
  } catch (error) {
    // Whoever committed it may have named anything.
    if (error instanceof CodedError) return undefined
    throw error
  }
}

/** @param columns - `all`: whatever the map names. Copies and the map go with any column. */
function addColumns(
  into: DigestSet,
  { link, map }: { readonly map: ExtentMap; readonly link: CID },
  columns: 'all' | readonly number[],
): void {
  if (columns.length === 0) return
  const some = columns === 'all' ? Array.from({ length: map.columns }, (_, column) => column) : columns
  for (const column of some) for (const { digest } of map.shardsOfColumn(column)) into.add(digest)
  for (const { cid } of map.fields.copies) into.add(cid.multihash.digest)
  into.add(link.multihash.digest)
}

/** @returns `undefined`: the block isn't here, or isn't one whose links anybody can follow. */
async function linksHere(store: Pick<Blocks, 'read'>, cid: CID): Promise<readonly CID[] | undefined> {
  const bytes = await readHere(store, cid.multihash.digest)
  if (bytes === undefined) return undefined
  try {
    const links = linksOf(cid, bytes)
    for (const link of links) storedDigest(link)
    return links
  } catch (error) {
    if (error instanceof CodedError) return undefined
    throw error
  }
}
