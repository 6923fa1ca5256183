/**
 * The placement table: which storage peer should hold which column of which group. The ledger holds it, so everybody knows where
 * to look and nobody asks around; shards/placement.ts makes it, off-chain and by any means; here is what the chain checks, with
 * integers only, so that every peer comes to the same verdict.
 *
 *   extent's hash ──► group (12 bits) ──► row of n peers ──► column i of every stripe of the extent lies on peer i
 *
 * A row has n peers of n institutions, at most so many in one zone; each peer has its part of all columns by capacity, within 3%; and a
 * new table moves little more than what changed.
 *
 * @see docs/spec/placement.md; docs/decisions/0083-placement-tables.md
 */
import type { InstitutionId } from '../core/ids.ts'
import {
  PLACEMENT_COLUMNS_MAX,
  PLACEMENT_FEW_PEERS_MAX,
  PLACEMENT_GROUPS_FEW,
  PLACEMENT_GROUPS_MAX,
  PLACEMENT_PEERS_MAX,
} from '../core/limits.ts'
import { type Decoder, byteString, integer, object, shapeFault, text } from '../core/schema.ts'
import { type PeerIdText, institutionId, peerIdText } from '../ledger/fields.ts'
import { quotasOf } from './placement-quotas.ts'

/** Shards of a full stripe; any `data` of them rebuild it. */
export interface PlacementCode {
  readonly data: number
  readonly parity: number
}

/** A peer that holds shards. */
export interface StoragePeer {
  readonly peer: PeerIdText
  readonly institution: InstitutionId
  /** What fails together beyond one institution: a site, a city, a power grid; its own for an institution that shares none. */
  readonly zone: string
  /** Room for shards; 0: it gives away what it has. Only the proportions count. */
  readonly capacityBytes: number
}

export interface PlacementTable {
  readonly groups: number
  readonly code: PlacementCode
  /** `rows` name a peer by its index here. */
  readonly peers: readonly StoragePeer[]
  /** `data + parity` indices for each group, one group after the other. */
  readonly rows: Uint16Array
}

export type PlacementFault =
  | { code: 'PLACEMENT_PEER_TWICE'; peer: string }
  | { code: 'PLACEMENT_PEERS_COUNT'; peers: number; peersMax: number }
  | { code: 'PLACEMENT_NO_CAPACITY' }
  | { code: 'PLACEMENT_INSTITUTION_ZONES'; institution: string }
  | { code: 'PLACEMENT_CODE_WRONG'; data: number; parity: number; dataDue: number; parityDue: number }
  | { code: 'PLACEMENT_GROUPS_WRONG'; groups: number; groupsDue: number }
  | { code: 'PLACEMENT_ROWS_LENGTH'; columns: number; columnsDue: number }
  | { code: 'PLACEMENT_PEER_UNKNOWN'; group: number; column: number }
  | { code: 'PLACEMENT_INSTITUTION_TWICE'; group: number; column: number; institution: string }
  | { code: 'PLACEMENT_ZONE_CROWDED'; group: number; zone: string; columnsMax: number }
  | { code: 'PLACEMENT_LOAD_HIGH'; peer: string; load: number; loadMax: number }
  | { code: 'PLACEMENT_MOVES_MANY'; moved: number; movedMax: number }

/** From so many institutions on: the code. */
const CODES: readonly (PlacementCode & { readonly from: number })[] = [
  { from: 15, data: 10, parity: 5 },
  { from: 10, data: 6, parity: 4 },
  { from: 7, data: 4, parity: 3 },
  { from: 4, data: 2, parity: 2 },
  { from: 3, data: 1, parity: 2 },
  { from: 2, data: 1, parity: 1 },
  { from: 1, data: 1, parity: 0 },
]
/** Load above the quota, in percent of it: lets a plan end without moving whole chains of columns for the last one. */
const LOAD_PERCENT_MAX = 103

export const storagePeer: Decoder<StoragePeer> = object({
  peer: peerIdText,
  institution: institutionId,
  // As an institution's id, since that is what stands here where it shares no zone.
  zone: text(1, 32, /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/),
  capacityBytes: integer(0),
})

const anyRows = byteString(0, PLACEMENT_GROUPS_MAX * PLACEMENT_COLUMNS_MAX * 2)

/** Reads what `encodeRows` wrote. */
export const placementRows: Decoder<Uint16Array> = (value, path) => {
  const bytes = anyRows(value, path)
  if (bytes.length % 2 !== 0) throw shapeFault(path, 'an even number of bytes')
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return Uint16Array.from({ length: bytes.length / 2 }, (_one, index) => view.getUint16(index * 2))
}

/** @returns two bytes for each column of each group, big-endian: the peer's index. */
export function encodeRows(rows: Uint16Array): Uint8Array {
  const bytes = new Uint8Array(rows.length * 2)
  const view = new DataView(bytes.buffer)
  for (const [index, peer] of rows.entries()) view.setUint16(index * 2, peer)
  return bytes
}

/** @param institutions - with capacity, at least one. */
export function codeFor(institutions: number): PlacementCode {
  const { data, parity } = CODES.find(({ from }) => institutions >= from) ?? { data: 1, parity: 0 }
  return { data, parity }
}

/** Distinct columns whose receipts make an extent stored: with so many, half of the parity may still fail before it is complete. */
export const writeQuorum = ({ data, parity }: PlacementCode): number => data + parity - Math.floor(parity / 2)

/** @param peers - with capacity. @param before - groups of the table before: a table never gets fewer. */
export const groupsFor = (peers: number, before = 0): number =>
  Math.max(before, peers > PLACEMENT_FEW_PEERS_MAX ? PLACEMENT_GROUPS_MAX : PLACEMENT_GROUPS_FEW)

/**
 * The group of an extent: 12 bits of its hash, taken modulo 1,024 where there are as many groups. So a table of 4,096 groups that
 * repeats the rows of one of 1,024 moves nothing.
 *
 * @param hash - SHA-256; its first two bytes count.
 */
export const groupOf = (hash: Uint8Array, groups: number): number =>
  (((hash[0] ?? 0) << 4) | ((hash[1] ?? 0) >> 4)) % groups

/**
 * The column of a code that holds the same shards in another: data from the front, parity from the back. `undefined` where the other
 * code has none.
 */
export function columnIn(other: PlacementCode, column: number, code: PlacementCode): number | undefined {
  if (column < code.data) return column < other.data ? column : undefined
  const fromBack = code.data + code.parity - 1 - column
  return fromBack < other.parity ? other.data + other.parity - 1 - fromBack : undefined
}

/** The largest load of a peer with this quota: 1.03 of it, rounded down. */
export const loadMax = (quota: number): number => Math.floor((quota * LOAD_PERCENT_MAX) / 100)

/** What is wrong with a list of storage peers, whatever the table. */
export function storagePeersFault(peers: readonly StoragePeer[]): PlacementFault | undefined {
  if (peers.length === 0 || peers.length > PLACEMENT_PEERS_MAX) {
    return { code: 'PLACEMENT_PEERS_COUNT', peers: peers.length, peersMax: PLACEMENT_PEERS_MAX }
  }
  const seen = new Set<string>()
  const zones = new Map<string, string>()
  for (const { institution, peer, zone } of peers) {
    if (seen.has(peer)) return { code: 'PLACEMENT_PEER_TWICE', peer }
    seen.add(peer)
    if ((zones.get(institution) ?? zone) !== zone) return { code: 'PLACEMENT_INSTITUTION_ZONES', institution }
    zones.set(institution, zone)
  }
  return peers.some(({ capacityBytes }) => capacityBytes > 0) ? undefined : { code: 'PLACEMENT_NO_CAPACITY' }
}

/** The code and the number of groups that these peers must have. */
export function shapeFor(
  peers: readonly StoragePeer[],
  previous?: PlacementTable,
): { readonly code: PlacementCode; readonly groups: number } {
  const holding = peers.filter(({ capacityBytes }) => capacityBytes > 0)
  return {
    code: codeFor(new Set(holding.map(({ institution }) => institution)).size),
    groups: groupsFor(holding.length, previous?.groups),
  }
}

/**
 * Checks a table. Integers only; 4,096 groups of 15 take some milliseconds.
 *
 * @param previous - the table in force, if there is one; it was checked when it came into force.
 */
export function tableFault(next: PlacementTable, previous?: PlacementTable): PlacementFault | undefined {
  const { code, groups, peers, rows } = next
  const badPeers = storagePeersFault(peers)
  if (badPeers !== undefined) return badPeers
  const due = shapeFor(peers, previous)
  if (code.data !== due.code.data || code.parity !== due.code.parity) {
    const { data, parity } = code
    return { code: 'PLACEMENT_CODE_WRONG', data, parity, dataDue: due.code.data, parityDue: due.code.parity }
  }
  if (groups !== due.groups) return { code: 'PLACEMENT_GROUPS_WRONG', groups, groupsDue: due.groups }
  const columnsDue = groups * (code.data + code.parity)
  if (rows.length !== columnsDue) return { code: 'PLACEMENT_ROWS_LENGTH', columns: rows.length, columnsDue }
  const quotas = quotasOf(peers, groups, code)
  return (
    rowsFault(next, quotas.zoneColumnsMax) ??
    loadFault(next, quotas.columns) ??
    (previous === undefined ? undefined : movesFault(next, previous, quotas.columns, quotas.zoneColumnsMax))
  )
}

/** Columns of a table that can't stay as they are: their institution stands in the row before them, or their zone is full. */
export class RowBounds {
  readonly #institutionOf: Int32Array
  readonly #zoneOf: Int32Array
  readonly #seenIn: Int32Array
  readonly #countedIn: Int32Array
  readonly #inZone: Int32Array
  readonly #zoneColumnsMax: number
  #row = -1

  constructor(peers: readonly StoragePeer[], zoneColumnsMax: number) {
    this.#institutionOf = numbered(peers.map(({ institution }) => institution))
    this.#zoneOf = numbered(peers.map(({ zone }) => zone))
    this.#seenIn = new Int32Array(peers.length).fill(-1)
    this.#countedIn = new Int32Array(peers.length).fill(-1)
    this.#inZone = new Int32Array(peers.length)
    this.#zoneColumnsMax = zoneColumnsMax
  }

  startRow(): void {
    this.#row++
  }

  /** Takes the peer into the row, or says why it can't. */
  take(peer: number): 'taken' | 'institution' | 'zone' {
    const institution = this.#institutionOf[peer] ?? 0
    if (this.#seenIn[institution] === this.#row) return 'institution'
    const zone = this.#zoneOf[peer] ?? 0
    const inZone = this.#countedIn[zone] === this.#row ? (this.#inZone[zone] ?? 0) : 0
    if (inZone >= this.#zoneColumnsMax) return 'zone'
    this.#seenIn[institution] = this.#row
    this.#countedIn[zone] = this.#row
    this.#inZone[zone] = inZone + 1
    return 'taken'
  }
}

/** Equal names, equal numbers; from 0. */
function numbered(names: readonly string[]): Int32Array {
  const numbers = new Map<string, number>()
  return Int32Array.from(names, (name) => {
    const number = numbers.get(name) ?? numbers.size
    numbers.set(name, number)
    return number
  })
}

function rowsFault({ code, groups, peers, rows }: PlacementTable, zoneColumnsMax: number): PlacementFault | undefined {
  const columns = code.data + code.parity
  const bounds = new RowBounds(peers, zoneColumnsMax)
  for (let group = 0; group < groups; group++) {
    bounds.startRow()
    for (let column = 0; column < columns; column++) {
      const index = rows[group * columns + column] ?? 0
      const peer = peers[index]
      if (peer === undefined) return { code: 'PLACEMENT_PEER_UNKNOWN', group, column }
      const answer = bounds.take(index)
      if (answer === 'taken') continue
      return answer === 'zone'
        ? { code: 'PLACEMENT_ZONE_CROWDED', group, zone: peer.zone, columnsMax: zoneColumnsMax }
        : { code: 'PLACEMENT_INSTITUTION_TWICE', group, column, institution: peer.institution }
    }
  }
  return undefined
}

function loadFault({ peers, rows }: PlacementTable, quotas: readonly number[]): PlacementFault | undefined {
  const loads = new Int32Array(peers.length)
  for (const index of rows) loads[index] = (loads[index] ?? 0) + 1
  for (const [index, { peer }] of peers.entries()) {
    const load = loads[index] ?? 0
    const most = loadMax(quotas[index] ?? 0)
    if (load > most) return { code: 'PLACEMENT_LOAD_HIGH', peer, load, loadMax: most }
  }
  return undefined
}

/** With another code every stripe is made anew: nothing is asked then. */
function movesFault(
  next: PlacementTable,
  previous: PlacementTable,
  quotas: readonly number[],
  zoneColumnsMax: number,
): PlacementFault | undefined {
  const { code, groups, peers, rows } = next
  if (code.data !== previous.code.data || code.parity !== previous.code.parity) return undefined
  const columns = code.data + code.parity
  const indexOf = new Map(peers.map(({ peer }, index) => [peer, index]))
  const indexNow = Int32Array.from(previous.peers, ({ peer }) => indexOf.get(peer) ?? -1)
  const bounds = new RowBounds(peers, zoneColumnsMax)
  let moved = 0
  let crowded = 0
  for (let group = 0; group < groups; group++) {
    bounds.startRow()
    const before = (group % previous.groups) * columns
    for (let column = 0; column < columns; column++) {
      const index = indexNow[previous.rows[before + column] ?? 0] ?? -1
      if (index !== rows[group * columns + column]) moved++
      if (index !== -1 && (quotas[index] ?? 0) > 0 && bounds.take(index) !== 'taken') crowded++
    }
  }
  const quotasBefore = quotasOf(previous.peers, groups, previous.code).columns
  let changed = crowded * 2 + rows.length
  for (const [index, quota] of quotasBefore.entries()) {
    const now = indexNow[index] ?? -1
    if (now !== -1) changed -= Math.min(quota, quotas[now] ?? 0)
  }
  const movedMax = Math.floor((changed * 150 + rows.length * 3) / 100)
  return moved > movedMax ? { code: 'PLACEMENT_MOVES_MANY', moved, movedMax } : undefined
}
