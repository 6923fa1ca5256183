/**
 * One attempt to place an object: from what lies whole in this peer's store to extents on the ledger. It begins behind what the
 * ledger has already, so any number of attempts, with crashes between, end with the object placed.
 */
import type { CID } from 'multiformats/cid'
import { CodedError } from '../core/coded-error.ts'
import type { AccountId } from '../core/ids.ts'
import { COMMIT_EXTENTS_MAX, EXTENT_SEGMENTS, SEGMENT_BYTES } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { PlacementCode } from '../domain/placement-table.ts'
import type { StorageCommit } from '../domain/storage-commit.ts'
import { getAccount } from '../domain/accounts.ts'
import { getStorageParams } from '../domain/storage-params.ts'
import { storageCost, takeStorage } from '../domain/storage-quota.ts'
import { getStoragePeer, getStoredObject, isWhole } from '../domain/storage-state.ts'
import { type StorageLayout, assignedRow, criticalCode, extentGroup, getLayout } from '../domain/storage-table.ts'
import { memberIds } from '../domain/validator-sets.ts'
import type { Chain } from '../ledger/chain.ts'
import { type ExtentMap, decodeExtentMap } from '../shards/extent-map.ts'
import { decodeManifest } from '../shards/manifest.ts'
import { type ExtentPart, ObjectWalk } from '../shards/object-walk.ts'
import type { Blocks } from '../store/blocks.ts'
import { ExtentCommits } from './extent-commits.ts'
import type { HolderRow } from './extent-columns.ts'
import type { ExtentDirectory } from './extent-directory.ts'
import { type ExtentWriterDeps, writeExtent } from './extent-writer.ts'
import { PeerError } from './faults.ts'
import type { InstitutionAccount } from './institution-account.ts'
import { checkPlaced, nameTaken } from './placed-already.ts'

export interface PlacementRunDeps extends ExtentWriterDeps {
  readonly chain: Pick<Chain, 'id' | 'head' | 'reader'>
  readonly account: InstitutionAccount
  readonly directory: ExtentDirectory
  readonly log: Log
}

/** The map of an extent that some holders have shards of already. */
export interface KnownMap {
  readonly index: number
  readonly link: CID
}

export interface PlacementEvents {
  readonly onPlan: (plan: { readonly extents: number; readonly bytes: number; readonly peers: number }) => void
  readonly onCommitted: (extents: number) => void
  /** Data bytes that are with their holders now, of which nothing is committed yet, and bytes that left this peer. */
  readonly onStored: (dataBytes: number, sentBytes: number) => void
  readonly onMissing: (institutions: readonly string[]) => void
  /** To be kept for the next attempt; durable when settled. */
  readonly onMap: (map: KnownMap) => Promise<void>
}

export interface PlacementJob {
  readonly manifest: CID
  /** Full copies on more institutions than may lie. */
  readonly critical: boolean
  readonly maps: readonly KnownMap[]
}

/**
 * @returns `placed`; `no-table`: fewer than two peers hold anything yet.
 * @throws {CodedError} what the ledger, the holders or the store refused; the signal's reason
 */
export async function placeObject(
  deps: PlacementRunDeps,
  job: PlacementJob,
  events: PlacementEvents,
  signal: AbortSignal,
): Promise<'placed' | 'no-table'> {
  const { chain, store } = deps
  const { manifest } = job
  const before = await getStoredObject(chain.reader, manifest)
  if (before !== undefined && isWhole(before)) {
    await checkPlaced(deps, before, async () => walkOf(store, manifest), signal)
    return 'placed'
  }
  if (before !== undefined && before.org !== deps.account.institution) throw nameTaken(before)
  const layout = await getLayout(chain.reader)
  if (!placesAnything(layout)) return 'no-table'
  const { storer, walk } = await walkOf(store, manifest)
  const first = before?.committed ?? 0
  const peers = layout.code.data + layout.code.parity
  events.onPlan({ extents: walk.extents, bytes: walk.bytes, peers })
  events.onCommitted(first)
  const object = { ...(await commitObject(deps, walk)), ...(before === undefined ? await storedFor(deps, storer) : {}) }
  await checkQuota(deps, object, { first, code: await codeOf(deps, layout, job.critical) })
  const commits = new ExtentCommits(
    { account: deps.account, onCommitted: events.onCommitted },
    { object, first, signal },
  )
  let index = first
  try {
    for await (const part of walk.parts(first)) {
      const extent = await writePart(deps, { job, part }, events, signal)
      commits.add(extent)
      // Their receipts don't wait for ever, and neither does the memory.
      if (++index % COMMIT_EXTENTS_MAX === 0) await commits.done()
    }
  } catch (error) {
    // What is written is worth committing whatever became of the next.
    await commits.done()
    throw error
  }
  await commits.done()
  return 'placed'
}

/** With fewer than two institutions there is nobody to place anything on. */
export function placesAnything(layout: StorageLayout | undefined): layout is StorageLayout {
  return layout !== undefined && layout.institutions > 1
}

async function writePart(
  deps: PlacementRunDeps,
  { job, part }: { readonly job: PlacementJob; readonly part: ExtentPart },
  events: PlacementEvents,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<typeof writeExtent>>> {
  const { manifest } = job
  // The table may have changed since the extent before.
  const layout = await getLayout(deps.chain.reader)
  if (layout === undefined) throw new PeerError({ code: 'PLACEMENT_NO_TABLE' })
  const code = await codeOf(deps, layout, job.critical)
  const row = await holdersOf(deps, layout, { manifest, index: part.index }, code)
  const known = await knownMapOf(deps.store, job, part, code)
  const target = { manifest, part, code, row, known }
  const { onMissing, onStored } = events
  const onMap = async (_map: ExtentMap, link: CID): Promise<void> => events.onMap({ index: part.index, link })
  return writeExtent(deps, target, { onMap, onMissing, onStored }, signal)
}

/**
 * @returns the object's walk, and the account that stored it: the first that its manifest has a key for.
 * @throws {PeerError} `OBJECT_INCOMPLETE`; {ObjectWalkError}, {TreeError}; faults of the store
 */
async function walkOf(
  store: Blocks,
  manifest: CID,
): Promise<{ readonly walk: ObjectWalk; readonly storer: AccountId }> {
  const missing = (cid: CID): PeerError => new PeerError({ code: 'OBJECT_INCOMPLETE', cid: cid.toString() })
  const node = async (cid: CID): Promise<Uint8Array> => {
    const bytes = await store.read(cid.multihash.digest)
    if (bytes === undefined) throw missing(cid)
    return bytes
  }
  const size = (cid: CID): number => {
    const bytes = store.size(cid.multihash.digest)
    if (bytes === undefined) throw missing(cid)
    return bytes
  }
  const { content, keys, listing } = decodeManifest(await node(manifest))
  const [own] = keys
  if (own === undefined) throw new Error('a manifest has a key')
  return { walk: await ObjectWalk.of({ manifest, content, listing }, { node, size }), storer: own.account }
}

async function codeOf(deps: PlacementRunDeps, layout: StorageLayout, critical: boolean): Promise<PlacementCode> {
  if (!critical) return layout.code
  return criticalCode(layout, (await memberIds(deps.chain.reader)).length)
}

async function holdersOf(
  { chain }: PlacementRunDeps,
  layout: StorageLayout,
  extent: { readonly manifest: CID; readonly index: number },
  code: PlacementCode,
): Promise<HolderRow> {
  const row = await assignedRow(chain.reader, layout, extentGroup(extent.manifest, extent.index), code)
  return Promise.all(
    row.map(async (number) => (number === undefined ? undefined : getStoragePeer(chain.reader, number))),
  )
}

/** A map of an earlier attempt, where it is of this code still. */
async function knownMapOf(
  store: Blocks,
  { maps }: PlacementJob,
  part: ExtentPart,
  code: PlacementCode,
): Promise<ExtentMap | undefined> {
  const known = maps.find(({ index }) => index === part.index)
  const bytes = known === undefined ? undefined : await store.read(known.link.multihash.digest)
  const map = bytes === undefined ? undefined : decodeExtentMap(bytes)
  const isOfCode = map?.fields.code.data === code.data && map.fields.code.parity === code.parity
  return isOfCode ? map : undefined
}

/** An object may come from another institution, in a CAR: then it is this one's own. */
async function storedFor(
  { account, chain }: PlacementRunDeps,
  storer: AccountId,
): Promise<{ readonly storer?: AccountId }> {
  return (await getAccount(chain.reader, storer))?.org === account.institution ? { storer } : {}
}

/**
 * Asked before anything is sent, for what the rest of the object takes at the least (short last stripes take more): the ledger would
 * refuse it when all is with its holders.
 *
 * @param rest.first - number of the first extent that isn't committed. @throws {CodedError} `STORAGE_QUOTA_EXHAUSTED`
 */
async function checkQuota(
  { account, chain }: PlacementRunDeps,
  { bytes, leaseMs }: StorageCommit['object'],
  { code, first }: { readonly first: number; readonly code: PlacementCode },
): Promise<void> {
  const nowMs = chain.head.timeMs
  const { orphanMs } = await getStorageParams(chain.reader)
  const rest = Math.max(0, bytes - first * EXTENT_SEGMENTS * SEGMENT_BYTES)
  const stored = (rest * (code.data + code.parity)) / code.data
  const mibHours = storageCost(stored, nowMs, Math.max(leaseMs, nowMs + orphanMs))
  const taken = await takeStorage(chain.reader, { org: account.institution, mibHours, nowMs })
  if ('fault' in taken) throw new CodedError(taken.fault)
}

async function commitObject({ chain }: PlacementRunDeps, walk: ObjectWalk): Promise<StorageCommit['object']> {
  const { manifest } = walk.roots
  const before = await getStoredObject(chain.reader, manifest)
  const { leaseMs } = await getStorageParams(chain.reader)
  const { content } = walk.roots
  const lease = before?.leaseMs ?? chain.head.timeMs + leaseMs
  return { manifest, content, bytes: walk.bytes, extents: walk.extents, leaseMs: lease }
}
