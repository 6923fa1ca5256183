/**
 * The placement table and what lies on it, as it stands on the ledger: what `apotheca network layout` shows, and what a change is
 * planned from.
 */
import type { PeerIdText } from '../ledger/fields.ts'
import type { InstitutionId } from '../core/ids.ts'
import { getStanding } from '../domain/audit-standing.ts'
import { type StoragePeer, encodeRows } from '../domain/placement-table.ts'
import { type Held, getHeld } from '../domain/storage-held.ts'
import { getPlacementTable, planningPeers } from '../domain/storage-layout.ts'
import {
  type StoragePeerEntry,
  getExtent,
  getStoredObject,
  listExtents,
  listStoragePeers,
} from '../domain/storage-state.ts'
import { type StorageLayout, getLayout } from '../domain/storage-table.ts'
import type { StateReader } from '../ledger/state.ts'

/** A peer that isn't removed, or still holds something. */
export interface LayoutPeerState {
  readonly peer: PeerIdText
  readonly institution: InstitutionId
  readonly zone: string
  /** Room that it offers. */
  readonly bytes: number
  readonly state: StoragePeerEntry['state']
  /** Block time since which it is in that state. */
  readonly sinceMs: number
  /** Columns that name it as their holder. */
  readonly held: Held
  /** Why it isn't counted on, where it is not. */
  readonly trouble?: 'failed' | 'silent'
}

/** Extents of one code in one group, together. */
export interface PlacedGroup {
  /** Of `PLACEMENT_GROUPS_MAX`. */
  readonly group: number
  readonly data: number
  readonly parity: number
  readonly extents: number
  /** Bytes of each column. */
  readonly columns: readonly number[]
}

export interface LayoutState {
  /** Version of the set of peers that offer room now; a table in force with another `base` is for other peers. */
  readonly base: number
  /** Absent before the first table. */
  readonly inForce?: {
    readonly layout: StorageLayout
    /** As they stood when it was made. */
    readonly peers: readonly StoragePeer[]
    /** Indices into `peers`, 2 bytes each, big-endian. */
    readonly rows: Uint8Array
  }
  /** What the next table is for. */
  readonly offers: readonly StoragePeer[]
  readonly peers: readonly LayoutPeerState[]
  readonly placed: readonly PlacedGroup[]
}

export async function readLayout(reader: StateReader): Promise<LayoutState> {
  const { base, peers: offers } = await planningPeers(reader)
  const layout = await getLayout(reader)
  const numbered = await getPlacementTable(reader)
  const inForce =
    layout === undefined || numbered === undefined
      ? {}
      : { inForce: { layout, peers: numbered.table.peers, rows: encodeRows(numbered.table.rows) } }
  return { base, ...inForce, offers, peers: await readPeerStates(reader), placed: await placedGroups(reader) }
}

/** Every storage peer that isn't removed, or still holds something. */
export async function readPeerStates(reader: StateReader): Promise<LayoutPeerState[]> {
  const states: LayoutPeerState[] = []
  for await (const { bytes, institution, number, peer, sinceMs, state, zone } of listStoragePeers(reader)) {
    const held = await getHeld(reader, number)
    if (state === 'removed' && held.columns === 0) continue
    const { failedMs, silentMs } = await getStanding(reader, number)
    const trouble =
      failedMs > 0 ? ({ trouble: 'failed' } as const) : silentMs > 0 ? ({ trouble: 'silent' } as const) : {}
    states.push({ peer, institution, zone, bytes, state, sinceMs, held, ...trouble })
  }
  return states
}

async function placedGroups(reader: StateReader): Promise<PlacedGroup[]> {
  const groups = new Map<string, { group: number; data: number; parity: number; extents: number; columns: number[] }>()
  for await (const { index, manifest } of listExtents(reader)) {
    const extent = await getExtent(reader, manifest, index)
    const object = await getStoredObject(reader, manifest)
    if (extent === undefined || object === undefined || object.erasedMs > 0) continue
    const { columns, data, group, parity } = extent
    const name = `${group} ${data} ${parity}`
    const sum = groups.get(name) ?? { group, data, parity, extents: 0, columns: columns.map(() => 0) }
    sum.extents++
    for (const [column, bytes] of columns.entries()) sum.columns[column] = (sum.columns[column] ?? 0) + bytes
    groups.set(name, sum)
  }
  return [...groups.values()]
}
