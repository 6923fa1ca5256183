/**
 * Placement tables come into force: made off-chain by whoever likes (shards/placement.ts), submitted by any institution, checked
 * with integers (placement-table.ts), and in force from the block on that has the last part.
 *
 *   offers change the set of peers ──► somebody plans ──► storage.layout, in one or two parts ──► tableFault ──► rows in pages
 *
 * @see docs/spec/storage-state.md
 */
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import { LAYOUT_PAGE_GROUPS, LAYOUT_PARTS_MAX, LAYOUT_PART_BYTES, TX_LARGE_BYTES_MAX } from '../core/limits.ts'
import { type Decoded, byteString, integer, object } from '../core/schema.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import {
  type PlacementCode,
  type PlacementFault,
  type PlacementTable,
  type StoragePeer,
  encodeRows,
  tableFault,
} from './placement-table.ts'
import { STORAGE_LANE, type StorageOfferFault, activePeers, getPeerSet, institutionFault } from './storage-offers.ts'
import { getStorageParams } from './storage-params.ts'
import { type StoragePeerEntry, getStoragePeer, uint16Bytes } from './storage-state.ts'
import {
  CURRENT_KEY,
  LAYOUT_NAMESPACE,
  LAYOUT_PEERS_KEY,
  ROWS_NAMESPACE,
  type StorageLayout,
  getLayout,
  getLayoutPeers,
  getPage,
  getRows,
  layoutCode,
  layoutGroups,
  numbersOf,
  pageCount,
} from './storage-table.ts'

/** Key = institution; value = the parts of a table that it has submitted so far. */
export const LAYOUT_PARTS_NAMESPACE = 'storage-layout-parts'
const LAYOUT = 'storage.layout'

export type StorageLayoutFault =
  | { code: 'LAYOUT_BASE_STALE'; base: number; version: number }
  | { code: 'LAYOUT_IN_FORCE'; base: number }
  | { code: 'LAYOUT_TOO_SOON'; earliestMs: number; blockTimeMs: number }
  | { code: 'LAYOUT_PART_WRONG'; part: number; expected: number }

const headFields = {
  /** Version of the set of peers that the table is for. */
  base: integer(0),
  groups: layoutGroups,
  code: layoutCode,
  parts: integer(1, LAYOUT_PARTS_MAX),
} as const
const layoutPart = object({
  ...headFields,
  /** From 0. */
  part: integer(0, LAYOUT_PARTS_MAX - 1),
  /** Storage numbers, 2 bytes each, big-endian: the rows of all groups, cut where a part is full. */
  rows: byteString(2, LAYOUT_PART_BYTES),
})
export type StorageLayoutPart = Decoded<typeof layoutPart>
const storedParts = object({
  ...headFields,
  next: integer(1, LAYOUT_PARTS_MAX - 1),
  rows: byteString(2, LAYOUT_PART_BYTES * (LAYOUT_PARTS_MAX - 1)),
})

const utf8 = new TextEncoder()
/** In `PlacementTable.rows`: a number that is none of the table's peers. */
const NO_INDEX = 0xffff

export const layoutTypes: Readonly<Record<string, TxType>> = {
  [LAYOUT]: txType({ lane: STORAGE_LANE, payload: layoutPart, bytesMax: TX_LARGE_BYTES_MAX, apply: applyLayout }),
}

/**
 * The transactions that put a table in force, in their order; signed by an institution's own account.
 *
 * @param table - `rows` of storage numbers; `base` is the version of the set of peers.
 */
export function draftStorageLayout(table: {
  readonly base: number
  readonly groups: number
  readonly code: PlacementCode
  readonly rows: Uint16Array
}): DraftTx[] {
  const { base, code, groups } = table
  const bytes = encodeRows(table.rows)
  const parts = Math.max(1, Math.ceil(bytes.length / LAYOUT_PART_BYTES))
  return Array.from({ length: parts }, (_, part) => {
    const rows = bytes.slice(part * LAYOUT_PART_BYTES, (part + 1) * LAYOUT_PART_BYTES)
    const { data, parity } = code
    const payload: StorageLayoutPart = { base, groups, code: { data, parity }, parts, part, rows }
    return { lane: STORAGE_LANE, type: LAYOUT, payload }
  })
}

/** A table in the terms of its planner and its check. */
export interface NumberedTable {
  /** `rows` name peers by their place in `peers`. */
  readonly table: PlacementTable
  /** Storage number of each of `table.peers`. */
  readonly numbers: readonly number[]
}

/** The table in force as planner and check take it: peers as they stood when it was made. */
export async function getPlacementTable(view: StateView): Promise<NumberedTable | undefined> {
  const layout = await getLayout(view)
  if (layout === undefined) return undefined
  const stood = await getLayoutPeers(view)
  const entries = await Promise.all(
    stood.map(async (peer) => {
      const entry = await getStoragePeer(view, peer.number)
      return entry === undefined ? [] : [{ ...entry, ...peer }]
    }),
  )
  return tableOf(entries.flat(), layout, await getRows(view, layout))
}

/** What the next table is for. */
export async function planningPeers(
  view: StateView,
): Promise<{ readonly base: number; readonly peers: readonly StoragePeer[]; readonly numbers: readonly number[] }> {
  const { version } = await getPeerSet(view)
  const entries = await activePeers(view)
  return { base: version, peers: entries.map(plannedPeer), numbers: entries.map(({ number }) => number) }
}

async function applyLayout(
  view: StateView,
  tx: Tx<StorageLayoutPart>,
  block: BlockContext,
): Promise<Step<PlacementFault | StorageLayoutFault | StorageOfferFault>> {
  const { payload } = tx
  const current = await getLayout(view)
  const fault = (await institutionFault(view, tx)) ?? (await baseFault(view, payload, current, block))
  if (fault !== undefined) return refuse(fault)
  const { part, parts } = payload
  const parking = { namespace: LAYOUT_PARTS_NAMESPACE, key: utf8.encode(tx.org) }
  const stored = await view.get(LAYOUT_PARTS_NAMESPACE, parking.key)
  const before = stored === undefined ? undefined : storedParts(stored, 'storage-layout-parts')
  const expected = before !== undefined && isOfOne(before, payload) ? before.next : 0
  if (part !== 0 && part !== expected) return refuse({ code: 'LAYOUT_PART_WRONG', part, expected })
  const rows = part === 0 || before === undefined ? payload.rows : concat([before.rows, payload.rows])
  const { base, code, groups } = payload
  if (part + 1 < parts) {
    return accept([{ ...parking, value: { base, groups, code, parts, next: part + 1, rows } }])
  }
  const entries = await activePeers(view)
  const { table } = tableOf(entries, payload, numbersOf(rows))
  const wrong = tableFault(table, (await getPlacementTable(view))?.table)
  if (wrong !== undefined) return refuse(wrong)
  return accept([
    ...(stored === undefined ? [] : [{ ...parking, value: undefined }]),
    ...layoutChanges(payload, current, entries, block),
    ...(await pageChanges(view, rows, payload, current)),
  ])
}

async function baseFault(
  view: StateView,
  { base }: StorageLayoutPart,
  current: StorageLayout | undefined,
  block: BlockContext,
): Promise<StorageLayoutFault | undefined> {
  const { version } = await getPeerSet(view)
  if (base !== version) return { code: 'LAYOUT_BASE_STALE', base, version }
  if (current === undefined) return undefined
  // A table for the same peers moves data and gains nothing: whoever submits second finds it done.
  if (current.base === base) return { code: 'LAYOUT_IN_FORCE', base }
  const earliestMs = current.timeMs + (await getStorageParams(view)).layoutMs
  return block.timeMs < earliestMs ? { code: 'LAYOUT_TOO_SOON', earliestMs, blockTimeMs: block.timeMs } : undefined
}

const isOfOne = (a: Decoded<typeof storedParts>, b: StorageLayoutPart): boolean =>
  a.base === b.base &&
  a.groups === b.groups &&
  a.code.data === b.code.data &&
  a.code.parity === b.code.parity &&
  a.parts === b.parts

function layoutChanges(
  { base, code, groups }: StorageLayoutPart,
  current: StorageLayout | undefined,
  entries: readonly StoragePeerEntry[],
  { height, timeMs }: BlockContext,
): StateChange[] {
  const institutions = new Set(entries.map(({ institution }) => institution)).size
  const version = (current?.version ?? 0) + 1
  const layout: StorageLayout = { version, base, height, timeMs, groups, code, institutions }
  const peers = entries.map(({ bytes, institution, number, zone }) => ({ number, institution, zone, bytes }))
  return [
    { namespace: LAYOUT_NAMESPACE, key: CURRENT_KEY, value: layout },
    { namespace: LAYOUT_NAMESPACE, key: LAYOUT_PEERS_KEY, value: peers },
  ]
}

/** Pages that differ: a change of one peer leaves some as they are. */
async function pageChanges(
  view: StateView,
  rows: Uint8Array,
  { code, groups }: StorageLayoutPart,
  current: StorageLayout | undefined,
): Promise<StateChange[]> {
  const pageBytes = LAYOUT_PAGE_GROUPS * (code.data + code.parity) * 2
  const pages = current === undefined ? 0 : pageCount(current.groups)
  const changes: StateChange[] = []
  for (let number = 0; number < pageCount(groups); number++) {
    const value = rows.slice(number * pageBytes, (number + 1) * pageBytes)
    if (number < pages && equals(await getPage(view, number), value)) continue
    changes.push({ namespace: ROWS_NAMESPACE, key: uint16Bytes(number), value })
  }
  return changes
}

function tableOf(
  entries: readonly StoragePeerEntry[],
  { code, groups }: { readonly code: PlacementCode; readonly groups: number },
  rows: Uint16Array,
): NumberedTable {
  const numbers = entries.map(({ number }) => number)
  const indexOf = new Map(numbers.map((number, index) => [number, index]))
  const indices = rows.map((number) => indexOf.get(number) ?? NO_INDEX)
  return { table: { groups, code, peers: entries.map(plannedPeer), rows: indices }, numbers }
}

function plannedPeer({ bytes, institution, peer, zone }: StoragePeerEntry): StoragePeer {
  return { peer, institution, zone, capacityBytes: bytes }
}
