/**
 * What a change of who offers room would move, planned here with the planner that makes the real tables: same offers, same table.
 *
 * Of what is placed that is exact, as far as columns lie where the table in force has them: extents keep their code when the table gets
 * another one, and each goes by its own (`PlacementRows.assigned`).
 */
import type { InstitutionId } from '../core/ids.ts'
import { sha256 } from '../crypto/hash.ts'
import { type PlacementTable, type StoragePeer, placementRows } from '../domain/placement-table.ts'
import { PlacementRows, type StorageLayout } from '../domain/storage-table.ts'
import { peerIdOfKey } from '../ledger/fields.ts'
import type { LayoutState, PlacedGroup } from '../peer/layout.ts'
import { moves, planTable } from '../shards/placement.ts'
import { CliError } from './faults.ts'

/** One change of the offers, in the order in which they are made. */
export type OfferChange =
  | { readonly kind: 'with'; readonly institution: InstitutionId; readonly bytes: number; readonly zone?: string }
  | { readonly kind: 'without'; readonly institution: InstitutionId }
  | { readonly kind: 'capacity'; readonly institution: InstitutionId; readonly bytes: number }

/** What one institution hands to another; `''`: no institution had it, it is made from the others. */
export interface Handover {
  readonly from: InstitutionId | ''
  readonly to: InstitutionId
  /** Columns of groups that hold something. */
  readonly columns: number
  readonly bytes: number
}

export interface LayoutPlan {
  readonly table: PlacementTable
  /** Columns of the table that another peer has than before, whether something lies in them or not. */
  readonly columns: number
  /** Stored bytes that move. */
  readonly bytes: number
  /** Of these, what the one peer gets that gets most: all peers take theirs at once, so it is the last to be done. */
  readonly mostBytes: number
  /** Largest first. */
  readonly handovers: readonly Handover[]
}

/** The table in force. */
export function tableInForce({ inForce }: LayoutState): PlacementTable | undefined {
  if (inForce === undefined) return undefined
  const { layout, peers, rows } = inForce
  return { groups: layout.groups, code: layout.code, peers, rows: placementRows(rows, 'rows') }
}

/** @throws {CliError} `LAYOUT_OFFERS_NO_ROOM` */
export function changedOffers(offers: readonly StoragePeer[], changes: readonly OfferChange[]): StoragePeer[] {
  let peers = [...offers]
  for (const change of changes) {
    const { institution, kind } = change
    const own = peers.filter((one) => one.institution === institution)
    if (kind === 'with') {
      const zone = change.zone ?? own[0]?.zone ?? institution
      // An institution lies in one zone: its newest offer says in which.
      peers = peers.map((one) => (one.institution === institution ? { ...one, zone } : one))
      const peer = peerIdOfKey(sha256(new TextEncoder().encode(`${institution} ${own.length}`)))
      peers.push({ peer, institution, zone, capacityBytes: change.bytes })
      continue
    }
    if (own.length === 0) throw new CliError({ code: 'LAYOUT_OFFERS_NO_ROOM', institution })
    if (kind === 'without') peers = peers.filter((one) => one.institution !== institution)
    else peers = withCapacity(peers, institution, change.bytes)
  }
  return peers
}

/**
 * @throws {CliError} `LAYOUT_OFFERS_NO_ROOM`; {PlacementError} where nothing can be placed on what is left
 */
export function planLayout(state: LayoutState, changes: readonly OfferChange[]): LayoutPlan {
  const before = tableInForce(state)
  const table = planTable(changedOffers(state.offers, changes), before)
  if (before === undefined || state.inForce === undefined)
    return { table, columns: 0, bytes: 0, mostBytes: 0, handovers: [] }
  const { handovers, mostBytes } = handoversOf(before, table, state.inForce.layout, state.placed)
  const bytes = handovers.reduce((sum, one) => sum + one.bytes, 0)
  return { table, columns: moves(before, table).length, bytes, mostBytes, handovers }
}

/** Its peers keep their proportions. */
function withCapacity(peers: readonly StoragePeer[], institution: InstitutionId, bytes: number): StoragePeer[] {
  const own = peers.filter((one) => one.institution === institution)
  const sum = own.reduce((all, { capacityBytes }) => all + capacityBytes, 0)
  return peers.map((one) => {
    if (one.institution !== institution) return one
    const part = sum === 0 ? 1 / own.length : one.capacityBytes / sum
    return { ...one, capacityBytes: Math.floor(bytes * part) }
  })
}

function handoversOf(
  before: PlacementTable,
  after: PlacementTable,
  layout: StorageLayout,
  placed: readonly PlacedGroup[],
): Pick<LayoutPlan, 'handovers' | 'mostBytes'> {
  const rowsBefore = rowsOf(before, layout)
  const rowsAfter = rowsOf(after, layout)
  const sums = new Map<string, { from: InstitutionId | ''; to: InstitutionId; columns: number; bytes: number }>()
  const gets = new Map<string, number>()
  for (const { columns, data, extents, group, parity } of placed) {
    const had = rowsBefore.assigned(group, { data, parity })
    const has = rowsAfter.assigned(group, { data, parity })
    for (const [column, bytes] of columns.entries()) {
      const from = before.peers[had[column] ?? -1]
      const to = after.peers[has[column] ?? -1]
      if (to === undefined || to.peer === from?.peer) continue
      gets.set(to.peer, (gets.get(to.peer) ?? 0) + bytes)
      const name = `${from?.institution ?? ''} ${to.institution}`
      const sum = sums.get(name) ?? { from: from?.institution ?? '', to: to.institution, columns: 0, bytes: 0 }
      sum.columns += extents
      sum.bytes += bytes
      sums.set(name, sum)
    }
  }
  const handovers = [...sums.values()].toSorted((a, b) => b.bytes - a.bytes || a.from.localeCompare(b.from))
  return { handovers, mostBytes: Math.max(0, ...gets.values()) }
}

/** Numbered by the peers' places in the table. */
function rowsOf({ code, groups, peers, rows }: PlacementTable, layout: StorageLayout): PlacementRows {
  const institutions = new Map(peers.map(({ institution }, index) => [index, institution]))
  return new PlacementRows(
    { ...layout, code, groups, institutions: new Set(institutions.values()).size },
    rows,
    institutions,
  )
}
