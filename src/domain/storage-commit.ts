/**
 * Commits: an extent is stored once enough peers have signed that they hold it.
 *
 *   upload ──► shards on the row's peers, durable ──► receipts ──► storage.commit ──► holders on the ledger
 *                                                                      │
 *                               columns without a receipt stand empty: the repair queue
 *
 * Whoever commits can't lie about the extent: each receipt signs all that the ledger is told of it. Extents are committed in their order; the
 * first one begins the object, and only who began it, or its institution's own account, goes on. That account may begin it for another one of
 * the institution's users: a peer commits what its users put.
 *
 * @see docs/spec/storage-state.md
 */
import type { CID } from 'multiformats/cid'
import {
  COLUMNS_MAX,
  COMMIT_EXTENTS_MAX,
  CRITICAL_BYTES_MAX,
  EXTENTS_MAX,
  EXTENT_SEGMENTS,
  SEGMENT_BYTES,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import { type Decoded, cid, integer, list, object, optional } from '../core/schema.ts'
import { DAG_PB, RAW } from '../crypto/hash.ts'
import { type SignatureCheck, verifyMany } from '../crypto/signatures.ts'
import { accountId, cborLink, digest, timeMs } from '../ledger/fields.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { getAccount } from './accounts.ts'
import { type PlacementCode, writeQuorum } from './placement-table.ts'
import { type ExtentFacts, type ShardReceipt, receiptCheck, shardReceipt } from './shard-receipt.ts'
import { HeldChanges } from './storage-held.ts'
import { isKeptNow, mayManage } from './storage-leases.ts'
import { STORAGE_LANE, type StorageOfferFault, institutionFault } from './storage-offers.ts'
import { getStorageParams } from './storage-params.ts'
import { type StorageQuotaFault, storageCost, takeStorage } from './storage-quota.ts'
import {
  CONTENT_NAMESPACE,
  type Extent,
  type ExtentRef,
  type StoredObject,
  extentChanges,
  copiesBytes,
  getStoragePeer,
  getStoredObject,
  isWhole,
  manifestOfContent,
  objectBytes,
  objectChange,
  storedBytes,
} from './storage-state.ts'
import { type StorageLayout, assignedRow, criticalCode, extentGroup, getLayout } from './storage-table.ts'
import { memberIds } from './validator-sets.ts'

export const COMMIT = 'storage.commit'

export type StorageCommitFault =
  | { code: 'STORAGE_NO_LAYOUT' }
  | { code: 'OBJECT_EXISTS'; manifest: string }
  | { code: 'OBJECT_EXPIRED'; manifest: string }
  | { code: 'OBJECT_ERASED'; manifest: string }
  | { code: 'OBJECT_NOT_YOURS'; manifest: string; account: string }
  | { code: 'OBJECT_STORER_FOREIGN'; account: string; org: string }
  | { code: 'OBJECT_DIFFERS'; manifest: string; field: string }
  | { code: 'OBJECT_BYTES_WRONG'; bytes: number; bytesMax: number }
  | { code: 'OBJECT_LEASE_TOO_LONG'; leaseMs: number; latestMs: number }
  | { code: 'EXTENT_TURN_WRONG'; first: number; expected: number; extents: number }
  | { code: 'EXTENT_CODE_WRONG'; index: number; data: number; parity: number; dataDue: number; parityDue: number }
  | { code: 'EXTENT_IMPLAUSIBLE'; index: number; problem: string }
  | { code: 'RECEIPT_COLUMN_TWICE'; index: number; column: number }
  | { code: 'RECEIPT_EXPIRED'; index: number; column: number; expiresMs: number; blockTimeMs: number }
  | { code: 'RECEIPTS_WRONG'; index: number; columns: string }
  | { code: 'RECEIPTS_TOO_FEW'; index: number; receipts: number; needed: number }

const commitObject = object({
  manifest: cborLink,
  /** UnixFS root of the ciphertext. */
  content: cid(RAW, DAG_PB),
  /** Ciphertext bytes of content and listing. */
  bytes: objectBytes,
  extents: integer(1, EXTENTS_MAX),
  /** Block time until which it is kept though no record names it. */
  leaseMs: timeMs,
  /** Whom the institution's own account stores it for: theirs to prolong, to let go, and to erase while no record names it. Without it: who signs. */
  storer: optional(accountId),
})
const commitExtent = object({
  map: cborLink,
  root: digest,
  data: integer(1, COLUMNS_MAX),
  parity: integer(0, COLUMNS_MAX),
  segments: integer(1, EXTENT_SEGMENTS),
  /** Bytes of each column. */
  columns: list(integer(0, EXTENT_SEGMENTS * SEGMENT_BYTES), 1, COLUMNS_MAX),
  /** Bytes of the small blocks that every holder keeps whole. */
  copies: copiesBytes,
  receipts: list(shardReceipt, 1, COLUMNS_MAX),
})
const commit = object({
  object: commitObject,
  /** Number of the first of these extents. */
  first: integer(0, EXTENTS_MAX - 1),
  extents: list(commitExtent, 1, COMMIT_EXTENTS_MAX),
})
export type StorageCommit = Decoded<typeof commit>
export type CommitExtent = Decoded<typeof commitExtent>

export const commitTypes: Readonly<Record<string, TxType>> = {
  [COMMIT]: txType({ lane: STORAGE_LANE, payload: commit, bytesMax: TX_LARGE_BYTES_MAX, apply: applyCommit }),
}

/** Signed by any account for an object's first extents; for the others by the same one, or by the institution's own account. */
export function draftStorageCommit(payload: StorageCommit): DraftTx {
  return { lane: STORAGE_LANE, type: COMMIT, payload }
}

/** Extents that a commit names. @param payload - of a transaction that was accepted. */
export function committedExtents(payload: unknown): ExtentRef[] {
  const { extents, first, object: of } = commit(payload, 'payload')
  return extents.map((_, at) => ({ manifest: of.manifest, index: first + at }))
}

/** Codes that an object of this size may have now, the table's first. */
export async function codesNow(view: StateView, layout: StorageLayout, bytes: number): Promise<PlacementCode[]> {
  const critical = criticalCode(layout, (await memberIds(view)).length)
  return bytes <= CRITICAL_BYTES_MAX ? [layout.code, critical] : [layout.code]
}

async function applyCommit(
  view: StateView,
  tx: Tx<StorageCommit>,
  block: BlockContext,
): Promise<Step<StorageCommitFault | StorageOfferFault | StorageQuotaFault>> {
  const { extents, first, object: given } = tx.payload
  const layout = await getLayout(view)
  if (layout === undefined) return refuse({ code: 'STORAGE_NO_LAYOUT' })
  const before = await getStoredObject(view, given.manifest)
  const fault = await objectFault(view, tx, before, block)
  if (fault !== undefined) return refuse(fault)
  const codes = await codesNow(view, layout, given.bytes)
  const checks: ReceiptsOf[] = []
  for (const [at, extent] of extents.entries()) {
    const index = first + at
    const bad = codeFault(extent, codes, index) ?? sizesFault(extent, index) ?? receiptsFault(extent, index, block)
    if (bad !== undefined) return refuse(bad)
    checks.push(await receiptsOf(view, layout, { manifest: given.manifest, index, extent, chain: block.chain }))
  }
  const wrong = await signatureFault(checks)
  if (wrong !== undefined) return refuse(wrong)
  const held = new HeldChanges()
  for (const { columns, holders } of checks.map((check) => check.stored)) {
    for (const [column, holder] of holders.entries()) if (holder !== undefined) held.add(holder, columns[column] ?? 0)
  }
  const stored = extents.reduce((sum, extent) => sum + storedBytes(extent), before?.stored ?? 0)
  const after: StoredObject = {
    manifest: given.manifest,
    org: before?.org ?? tx.org,
    account: before?.account ?? given.storer ?? tx.account,
    content: given.content,
    bytes: given.bytes,
    extents: given.extents,
    committed: first + extents.length,
    stored,
    startedMs: before?.startedMs ?? block.timeMs,
    leaseMs: Math.max(given.leaseMs, before?.leaseMs ?? block.timeMs),
    holds: before?.holds ?? 0,
    erasedMs: 0,
  }
  // Every byte lies in a column at least; what is told here counts in statistics and quotas.
  if (isWhole(after) && given.bytes > stored) {
    return refuse({ code: 'OBJECT_BYTES_WRONG', bytes: given.bytes, bytesMax: stored })
  }
  const quota = await takeStorage(view, {
    org: after.org,
    mibHours: await costOf(view, before, after, block),
    nowMs: block.timeMs,
  })
  if ('fault' in quota) return refuse(quota.fault)
  return accept([
    objectChange(after),
    ...quota.changes,
    ...checks.flatMap((check) => extentChanges(check.stored)),
    ...(await held.changes(view)),
    ...(isWhole(after) ? await contentChanges(view, after) : []),
  ])
}

/** What comes with this commit, until the end of its lease; and what was there, for as much as the lease is longer now. */
async function costOf(
  view: StateView,
  before: StoredObject | undefined,
  after: StoredObject,
  { timeMs: nowMs }: BlockContext,
): Promise<number> {
  // It stays so long at the least.
  const untilMs = Math.max(after.leaseMs, nowMs + (await getStorageParams(view)).orphanMs)
  const had = before?.stored ?? 0
  const longer = storageCost(had, Math.max(before?.leaseMs ?? 0, nowMs), after.leaseMs)
  return storageCost(after.stored - had, nowMs, untilMs) + longer
}

async function objectFault(
  view: StateView,
  tx: Tx<StorageCommit>,
  before: StoredObject | undefined,
  block: BlockContext,
): Promise<StorageCommitFault | StorageOfferFault | undefined> {
  const { extents, first, object: given } = tx.payload
  const manifest = given.manifest.toString()
  const known = before === undefined ? undefined : await knownFault(view, tx, before, block)
  if (known !== undefined) return known
  const storers = before === undefined ? await storerFault(view, tx) : undefined
  if (storers !== undefined) return storers
  const expected = before?.committed ?? 0
  if (first !== expected || first + extents.length > given.extents) {
    return { code: 'EXTENT_TURN_WRONG', first, expected, extents: given.extents }
  }
  const differs =
    before === undefined
      ? undefined
      : !before.content.equals(given.content)
        ? 'content'
        : before.account !== (given.storer ?? before.account)
          ? 'storer'
          : (['bytes', 'extents'] as const).find((field) => before[field] !== given[field])
  if (differs !== undefined) return { code: 'OBJECT_DIFFERS', manifest, field: differs }
  const bytesMax = given.extents * EXTENT_SEGMENTS * SEGMENT_BYTES
  if (given.bytes > bytesMax) return { code: 'OBJECT_BYTES_WRONG', bytes: given.bytes, bytesMax }
  const latestMs = block.timeMs + (await getStorageParams(view)).leaseMaxMs
  return given.leaseMs > latestMs ? { code: 'OBJECT_LEASE_TOO_LONG', leaseMs: given.leaseMs, latestMs } : undefined
}

async function storerFault(
  view: StateView,
  tx: Tx<StorageCommit>,
): Promise<StorageCommitFault | StorageOfferFault | undefined> {
  const { storer } = tx.payload.object
  if (storer === undefined || storer === tx.account) return undefined
  const org = (await getAccount(view, storer))?.org
  return org === tx.org ? institutionFault(view, tx) : { code: 'OBJECT_STORER_FOREIGN', account: storer, org: tx.org }
}

async function knownFault(
  view: StateView,
  tx: Tx<StorageCommit>,
  before: StoredObject,
  block: BlockContext,
): Promise<StorageCommitFault | undefined> {
  const manifest = before.manifest.toString()
  if (before.erasedMs > 0) return { code: 'OBJECT_ERASED', manifest }
  // What nobody keeps may be gone from the peers already: it is forgotten first, then stored anew.
  if (!(await isKeptNow(view, before, block.timeMs))) return { code: 'OBJECT_EXPIRED', manifest }
  if (isWhole(before)) return { code: 'OBJECT_EXISTS', manifest }
  return (await mayManage(view, before, tx)) ? undefined : { code: 'OBJECT_NOT_YOURS', manifest, account: tx.account }
}

function codeFault(
  { data, parity }: CommitExtent,
  codes: readonly PlacementCode[],
  index: number,
): StorageCommitFault | undefined {
  if (codes.some((code) => code.data === data && code.parity === parity)) return undefined
  const [due] = codes
  return { code: 'EXTENT_CODE_WRONG', index, data, parity, dataDue: due?.data ?? 0, parityDue: due?.parity ?? 0 }
}

/** Sizes that no extent can have, whatever its map says. */
function sizesFault({ columns, data, parity, segments }: CommitExtent, index: number): StorageCommitFault | undefined {
  const no = (problem: string): StorageCommitFault => ({ code: 'EXTENT_IMPLAUSIBLE', index, problem })
  if (columns.length !== data + parity) return no('as many sizes as columns')
  const stripes = Math.ceil(segments / data)
  const longest = columns.at(-1) ?? 0
  if (columns.some((bytes) => bytes > stripes * SEGMENT_BYTES)) return no('a column of more than its segments')
  // The last column has a parity shard of every stripe, as long as the longest shard there.
  if (parity > 0 && columns.some((bytes) => bytes > longest)) return no('a column longer than the last parity')
  return undefined
}

function receiptsFault(
  { data, parity, receipts }: CommitExtent,
  index: number,
  block: BlockContext,
): StorageCommitFault | undefined {
  const seen = new Set<number>()
  for (const { column, expiresMs } of receipts) {
    if (column >= data + parity) return { code: 'RECEIPTS_WRONG', index, columns: String(column) }
    if (seen.has(column)) return { code: 'RECEIPT_COLUMN_TWICE', index, column }
    seen.add(column)
    if (expiresMs <= block.timeMs) {
      return { code: 'RECEIPT_EXPIRED', index, column, expiresMs, blockTimeMs: block.timeMs }
    }
  }
  const needed = writeQuorum({ data, parity })
  return receipts.length < needed ? { code: 'RECEIPTS_TOO_FEW', index, receipts: receipts.length, needed } : undefined
}

/** An extent as it will stand, and the signatures that it rests on. */
interface ReceiptsOf {
  readonly stored: Extent
  readonly receipts: readonly ShardReceipt[]
  /** By receipt; `undefined`: nobody should hold that column now. */
  readonly signatures: readonly (SignatureCheck | undefined)[]
}

async function receiptsOf(
  view: StateView,
  layout: StorageLayout,
  of: {
    readonly manifest: CID
    readonly index: number
    readonly extent: CommitExtent
    readonly chain: BlockContext['chain']
  },
): Promise<ReceiptsOf> {
  const { chain, extent, index, manifest } = of
  const { receipts, ...told } = extent
  const facts: ExtentFacts = { manifest, index, ...told }
  const group = extentGroup(manifest, index)
  const row = await assignedRow(view, layout, group, extent)
  const holders: (number | undefined)[] = row.map(() => undefined)
  const signatures: (SignatureCheck | undefined)[] = []
  for (const { column, expiresMs, signature } of receipts) {
    const number = row[column]
    const peer = number === undefined ? undefined : await getStoragePeer(view, number)
    const promise = { extent: facts, column, expiresMs }
    const isThere = peer !== undefined && peer.state !== 'removed'
    signatures.push(isThere ? receiptCheck(peer.peer, chain, promise, signature) : undefined)
    holders[column] = number
  }
  return { stored: { ...facts, group, holders }, receipts, signatures }
}

/** All signatures at once: they cost the most, and can be checked off this thread. */
async function signatureFault(checks: readonly ReceiptsOf[]): Promise<StorageCommitFault | undefined> {
  const due = checks.flatMap(({ signatures }) => signatures).filter((check) => check !== undefined)
  const verdicts = (await verifyMany(due)).values()
  for (const { receipts, signatures, stored } of checks) {
    const wrong = receipts.filter((_, at) => signatures[at] === undefined || verdicts.next().value !== true)
    if (wrong.length > 0) {
      return { code: 'RECEIPTS_WRONG', index: stored.index, columns: wrong.map(({ column }) => column).join(' ') }
    }
  }
  return undefined
}

/** The content's root leads to the first object that had it, as long as that is there. */
async function contentChanges(view: StateView, { content, manifest }: StoredObject): Promise<StateChange[]> {
  if ((await manifestOfContent(view, content)) !== undefined) return []
  return [{ namespace: CONTENT_NAMESPACE, key: content.multihash.digest, value: manifest.multihash.digest }]
}
