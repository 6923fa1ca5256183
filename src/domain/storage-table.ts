/**
 * The placement table in force, as it lies in the state, and what it says of an extent: who should hold each column.
 *
 * Rows lie in pages of 64 groups and name peers by their storage numbers, so that a transaction reads one page and no list.
 *
 * @see docs/spec/storage-state.md, "The placement table"
 */
import type { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import { type InstitutionId } from '../core/ids.ts'
import {
  ASSIGNED_ROWS_MAX,
  INSTITUTIONS_MAX,
  LAYOUT_PAGE_GROUPS,
  PLACEMENT_COLUMNS_MAX,
  PLACEMENT_GROUPS_MAX,
  PLACEMENT_PEERS_MAX,
} from '../core/limits.ts'
import { type Decoded, byteString, integer, list, object } from '../core/schema.ts'
import { sha256 } from '../crypto/hash.ts'
import { institutionId, timeMs } from '../ledger/fields.ts'
import { type StateView } from '../ledger/state.ts'
import { type PlacementCode, columnIn, groupOf } from './placement-table.ts'
import {
  byteCount,
  extentKey,
  getStoragePeer,
  listStoragePeers,
  readUint16,
  storageNumber,
  uint16Bytes,
  zone,
} from './storage-state.ts'
import type { StateReader } from '../ledger/state.ts'

/** Keys: `current`, the table in force; `peers`, those that it was made for. */
export const LAYOUT_NAMESPACE = 'storage-layout'
/** Key = number of the page (2 bytes); value = rows of 64 groups, 2 bytes for each column. */
export const ROWS_NAMESPACE = 'storage-rows'

const utf8 = new TextEncoder()
export const CURRENT_KEY: Uint8Array = utf8.encode('current')
export const LAYOUT_PEERS_KEY: Uint8Array = utf8.encode('peers')

export const layoutCode = object({
  data: integer(1, PLACEMENT_COLUMNS_MAX),
  parity: integer(0, PLACEMENT_COLUMNS_MAX - 1),
})
export const layoutGroups = integer(1, PLACEMENT_GROUPS_MAX)

const storedLayout = object({
  /** Counts the tables: 1 for the first. */
  version: integer(1),
  /** Version of the set of peers that it was made for. */
  base: integer(0),
  /** Block that put it in force, and its time. */
  height: integer(1),
  timeMs,
  groups: layoutGroups,
  code: layoutCode,
  /** Institutions that offered room. */
  institutions: integer(1, INSTITUTIONS_MAX),
})
/** The table in force, but for its rows. */
export type StorageLayout = Decoded<typeof storedLayout>

const layoutPeers = list(
  object({ number: storageNumber, institution: institutionId, zone, bytes: byteCount }),
  1,
  PLACEMENT_PEERS_MAX,
)
/** A peer as it stood when the table was made. */
export type LayoutPeer = Decoded<typeof layoutPeers>[number]

const page = byteString(2, 2 * LAYOUT_PAGE_GROUPS * PLACEMENT_COLUMNS_MAX)

/** By column: the number of the peer that should hold it; `undefined`: the table has nobody for it. */
export type AssignedRow = readonly (number | undefined)[]

/** The table in force; `undefined` before the first. */
export async function getLayout(view: StateView): Promise<StorageLayout | undefined> {
  const value = await view.get(LAYOUT_NAMESPACE, CURRENT_KEY)
  return value === undefined ? undefined : storedLayout(value, 'storage-layout')
}

/** The peers that the table in force was made for, by number; none before the first. */
export async function getLayoutPeers(view: StateView): Promise<readonly LayoutPeer[]> {
  const value = await view.get(LAYOUT_NAMESPACE, LAYOUT_PEERS_KEY)
  return value === undefined ? [] : layoutPeers(value, 'storage-layout.peers')
}

export const pageCount = (groups: number): number => Math.ceil(groups / LAYOUT_PAGE_GROUPS)

export async function getPage(view: StateView, number: number): Promise<Uint8Array> {
  return page(await view.get(ROWS_NAMESPACE, uint16Bytes(number)), 'storage-rows')
}

/** All rows: `data + parity` storage numbers for each group, one group after the other. */
export async function getRows(view: StateView, { groups }: StorageLayout): Promise<Uint16Array> {
  const pages: Uint8Array[] = []
  for (let number = 0; number < pageCount(groups); number++) pages.push(await getPage(view, number))
  return numbersOf(concat(pages))
}

/** One row of the table. @param group - of any number of groups: taken modulo the table's. */
export async function getRow(view: StateView, { code, groups }: StorageLayout, group: number): Promise<Uint16Array> {
  const columns = code.data + code.parity
  const at = group % groups
  const bytes = await getPage(view, Math.floor(at / LAYOUT_PAGE_GROUPS))
  const first = (at % LAYOUT_PAGE_GROUPS) * columns * 2
  return numbersOf(bytes.subarray(first, first + columns * 2))
}

/** The group of an extent, of `PLACEMENT_GROUPS_MAX`: a hash, so that nobody chooses it. */
export function extentGroup(manifest: CID, index: number): number {
  return groupOf(sha256(extentKey(manifest.multihash.digest, index)), PLACEMENT_GROUPS_MAX)
}

/**
 * The code of small data that must survive what the consortium survives: full copies, one more than institutions may lie, and no fewer
 * than the table's code survives losses.
 *
 * @param members - institutions of the chain.
 */
export function criticalCode({ code, institutions }: StorageLayout, members: number): PlacementCode {
  const copies = Math.max(Math.floor((members - 1) / 3), code.parity) + 1
  return { data: 1, parity: Math.min(copies, institutions) - 1 }
}

/**
 * Who should hold each column of an extent of this code.
 *
 * Where the table has the same code that is the group's row. Else columns that both codes have lie where the row has them
 * (`columnIn`); the others go, in their order, to the rest of the row, and then to the rows after it, one to each institution.
 *
 * @param group - of `PLACEMENT_GROUPS_MAX`.
 */
export async function assignedRow(
  view: StateView,
  layout: StorageLayout,
  group: number,
  code: PlacementCode,
): Promise<AssignedRow> {
  const row = await getRow(view, layout, group)
  if (isSame(code, layout.code)) return [...row]
  const institutions = new Map<number, string>()
  const learn = async (numbers: Uint16Array): Promise<void> => {
    for (const number of numbers) {
      if (institutions.has(number)) continue
      institutions.set(number, (await getStoragePeer(view, number))?.institution ?? '')
    }
  }
  await learn(row)
  const assignment = new Assignment(layout.code, code, row, institutions)
  for (let step = 1; assignment.isOpen && step < rowsToSearch(layout); step++) {
    const next = await getRow(view, layout, group + step)
    await learn(next)
    assignment.fill(next)
  }
  return assignment.row
}

/** The table in force, in memory: answers for any number of extents at once. */
export class PlacementRows {
  readonly layout: StorageLayout
  /** As in `getRows`. */
  readonly rows: Uint16Array
  readonly #institutions: ReadonlyMap<number, string>

  constructor(layout: StorageLayout, rows: Uint16Array, institutions: ReadonlyMap<number, InstitutionId>) {
    this.layout = layout
    this.rows = rows
    this.#institutions = institutions
  }

  /** @returns the table; `undefined` before the first. */
  static async read(reader: StateReader): Promise<PlacementRows | undefined> {
    const layout = await getLayout(reader)
    if (layout === undefined) return undefined
    const institutions = new Map<number, InstitutionId>()
    for await (const { institution, number } of listStoragePeers(reader)) institutions.set(number, institution)
    return new PlacementRows(layout, await getRows(reader, layout), institutions)
  }

  /** As `assignedRow`. */
  assigned(group: number, code: PlacementCode): AssignedRow {
    const row = this.#row(group)
    if (isSame(code, this.layout.code)) return [...row]
    const assignment = new Assignment(this.layout.code, code, row, this.#institutions)
    for (let step = 1; assignment.isOpen && step < rowsToSearch(this.layout); step++) {
      assignment.fill(this.#row(group + step))
    }
    return assignment.row
  }

  #row(group: number): Uint16Array {
    const { code, groups } = this.layout
    const columns = code.data + code.parity
    const first = (group % groups) * columns
    return this.rows.subarray(first, first + columns)
  }
}

/** Columns of one extent that get their peers. */
class Assignment {
  readonly row: (number | undefined)[]
  readonly #institutions: ReadonlyMap<number, string>
  readonly #taken = new Set<string>()

  constructor(table: PlacementCode, code: PlacementCode, own: Uint16Array, institutions: ReadonlyMap<number, string>) {
    this.#institutions = institutions
    this.row = Array.from({ length: code.data + code.parity }, (_, column) => {
      const at = columnIn(table, column, code)
      const number = at === undefined ? undefined : own[at]
      return number !== undefined && this.#take(number) ? number : undefined
    })
    this.fill(own)
  }

  get isOpen(): boolean {
    return this.row.includes(undefined)
  }

  fill(numbers: Uint16Array): void {
    for (const number of numbers) {
      const column = this.row.indexOf(undefined)
      if (column === -1) return
      if (this.#take(number)) this.row[column] = number
    }
  }

  #take(number: number): boolean {
    const institution = this.#institutions.get(number) ?? ''
    if (this.#taken.has(institution)) return false
    this.#taken.add(institution)
    return true
  }
}

const isSame = (a: PlacementCode, b: PlacementCode): boolean => a.data === b.data && a.parity === b.parity
const rowsToSearch = ({ groups }: StorageLayout): number => Math.min(groups, ASSIGNED_ROWS_MAX)

/** Big-endian numbers of two bytes. */
export function numbersOf(bytes: Uint8Array): Uint16Array {
  return Uint16Array.from({ length: Math.floor(bytes.length / 2) }, (_, index) => readUint16(bytes, 2 * index))
}
