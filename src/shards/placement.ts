/**
 * Makes placement tables: keeps what is still valid, fills the rest by capacity-weighted rendezvous hashing, moves no more than it must.
 *
 *   keep ──► fill holes, each peer up to its quota ──► take from who has more than that ──► chains, where a row is stuck
 *
 * 1. Columns of the table before stay where they are: of peers that stay, within the bounds of the row.
 * 2. Each hole goes to a peer that lacks columns, the one with the lowest score -ln(u) / rate (`u` from a hash of peer and group, `rate`
 *    the part that the peer lacks of the rows where it can still go): in expectation everybody gets what it lacks. Who would miss
 *    its quota otherwise goes first.
 * 3. A column of a peer above its quota goes to one below it, where the row has room for that one.
 * 4. What is stuck then is resolved by a shortest chain of moves. Institutions and zones bound each row by a laminar matroid, quotas bound
 *    the peers by a partition matroid, so a shortest chain is always valid, and there is one whenever there is a solution
 *    (matroid intersection); by the choice of quotas there is.
 *
 * Off-chain and free to use floats: the same peers and the same table before give the same table on every machine whose `Math.log` agrees, and
 * the chain checks whatever comes out.
 *
 * @see docs/spec/placement.md; Thaler & Ravishankar, IEEE/ACM Trans. Networking 6(1) (1998), rendezvous hashing; Schrijver,
 *   Combinatorial Optimization (2003), chapter 41
 */
import { CodedError } from '../core/coded-error.ts'
import { quotasOf } from '../domain/placement-quotas.ts'
import {
  type PlacementFault,
  type PlacementTable,
  type StoragePeer,
  columnIn,
  shapeFor,
  storagePeersFault,
  tableFault,
} from '../domain/placement-table.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import { resolveStuck } from './placement-chains.ts'
import { NOBODY, PlacementDraft } from './placement-draft.ts'

/** Peers can't be placed on; the fault says why. */
export class PlacementError extends CodedError<PlacementFault> {}

/** A column that another peer should hold than before. */
export interface ColumnMove {
  readonly group: number
  readonly column: number
  /** `undefined` where the code before had no such column. */
  readonly from: PeerIdText | undefined
  readonly to: PeerIdText
}

/**
 * @param peers - in the order in which the table names them.
 * @param previous - the table in force, if there is one.
 * @returns a table that `tableFault` accepts.
 * @throws {PlacementError} what `storagePeersFault` says of the peers.
 */
export function planTable(peers: readonly StoragePeer[], previous?: PlacementTable): PlacementTable {
  const unusable = storagePeersFault(peers)
  if (unusable !== undefined) throw new PlacementError(unusable)
  const table = planRows(peers, shapeFor(peers, previous), previous)
  const fault = tableFault(table, previous)
  if (fault !== undefined) throw new PlacementError(fault)
  return table
}

/**
 * The same for any code and number of groups, also such as the chain would not accept.
 *
 * @param peers - usable, with as many institutions as the code has columns.
 */
export function planRows(
  peers: readonly StoragePeer[],
  shape: Pick<PlacementTable, 'code' | 'groups'>,
  previous?: PlacementTable,
): PlacementTable {
  const { code, groups } = shape
  const draft = new PlacementDraft(peers, groups, code.data + code.parity, quotasOf(peers, groups, code))
  const table = { groups, code, peers, rows: draft.rows }
  if (previous !== undefined) keep(draft, previous, table)
  fillHoles(draft)
  levelLoads(draft)
  resolveStuck(draft)
  return table
}

/** What has to move from one table to the next, by group, then column. */
export function moves(previous: PlacementTable, next: PlacementTable): ColumnMove[] {
  const found: ColumnMove[] = []
  const columns = next.code.data + next.code.parity
  for (const [at, index] of next.rows.entries()) {
    const group = Math.floor(at / columns)
    const column = at % columns
    const before = previousAt(previous, next, group, column)
    const from = before === undefined ? undefined : previous.peers[before]?.peer
    const to = next.peers[index]?.peer
    if (to !== undefined && to !== from) found.push({ group, column, from, to })
  }
  return found
}

/**
 * @param groupBytes - bytes of data in each group of the next table, without parity.
 * @returns bytes of shards that the moves carry.
 */
export function movedBytes(
  list: readonly ColumnMove[],
  { code }: Pick<PlacementTable, 'code'>,
  groupBytes: ArrayLike<number>,
): number {
  return list.reduce((bytes, { group }) => bytes + Math.ceil((groupBytes[group] ?? 0) / code.data), 0)
}

/** Index, in the table before, of the peer that holds what is this column of the next. */
function previousAt(previous: PlacementTable, next: PlacementTable, group: number, column: number): number | undefined {
  const before = columnIn(previous.code, column, next.code)
  if (before === undefined) return undefined
  return previous.rows[(group % previous.groups) * (previous.code.data + previous.code.parity) + before]
}

function keep(draft: PlacementDraft, previous: PlacementTable, next: PlacementTable): void {
  const indexOf = new Map(next.peers.map(({ peer }, index) => [peer, index]))
  const indexNow = previous.peers.map(({ peer }) => indexOf.get(peer))
  for (let group = 0; group < draft.groups; group++) {
    for (let column = 0; column < draft.columns; column++) {
      const before = previousAt(previous, next, group, column)
      const index = before === undefined ? undefined : indexNow[before]
      if (index !== undefined && draft.quota(index) > 0 && draft.fits(group, index)) draft.put(group, column, index)
    }
  }
}

function fillHoles(draft: PlacementDraft): void {
  const lacking = new Lacking(draft)
  for (let group = 0; group < draft.groups; group++) {
    const holes = draft.holes(group)
    if (holes.length === 0) continue
    const chosen: number[] = []
    for (const peer of lacking.inOrder(group, holes.length)) {
      if (chosen.length === holes.length) break
      const hole = holes[chosen.length] ?? 0
      if (!draft.fits(group, peer)) continue
      draft.put(group, hole, peer)
      chosen.push(peer)
    }
    // Who is chosen first is not who scores best: else data columns, which are read, would lie on other peers than parity.
    const order = chosen.toSorted((a, b) => draft.chance(a, group, 1) - draft.chance(b, group, 1))
    for (const [at, hole] of holes.entries()) if (at < chosen.length) draft.clear(group, hole)
    for (const [at, peer] of order.entries()) draft.put(group, holes[at] ?? 0, peer)
    lacking.passed(group, holes.length, chosen)
  }
}

/** What institutions and zones lack of their quotas, and in how many rows with holes they can still get it. */
class Lacking {
  readonly #draft: PlacementDraft
  readonly #institution: Float64Array
  readonly #zone: Float64Array
  /** Rows with holes where the institution isn't yet. */
  readonly #rows: Float64Array
  /** Columns that rows with holes can still take of the zone. */
  readonly #room: Float64Array

  constructor(draft: PlacementDraft) {
    this.#draft = draft
    const count = draft.peers.length
    this.#institution = new Float64Array(count)
    this.#zone = new Float64Array(count)
    this.#rows = new Float64Array(count)
    this.#room = new Float64Array(count)
    for (let peer = 0; peer < count; peer++) this.#add(peer, Math.max(0, draft.lacks(peer)))
    for (let group = 0; group < draft.groups; group++) this.#count(group, draft.holes(group).length, 1)
  }

  /** Peers that lack columns: first those that must be in this row, then by score. */
  inOrder(group: number, holes: number): number[] {
    const draft = this.#draft
    const scored: { readonly peer: number; readonly score: number }[] = []
    for (let peer = 0; peer < draft.peers.length; peer++) {
      const lacks = draft.lacks(peer)
      const institution = draft.institutionOf(peer)
      if (lacks <= 0 || draft.has(group, institution)) continue
      const zone = draft.zoneOf(peer)
      const rows = this.#rows[institution] ?? 0
      const isDue = (this.#institution[institution] ?? 0) >= rows
      const isZoneDue = (this.#zone[zone] ?? 0) > (this.#room[zone] ?? 0) - Math.min(holes, draft.zoneRoom(group, zone))
      const score = (-Math.log(draft.chance(peer, group, 0)) * rows) / lacks
      // Scores are finite and not negative: shifted by more than any of them, the three classes never mix.
      scored.push({ peer, score: isDue ? score - 2e15 : isZoneDue ? score - 1e15 : score })
    }
    return scored.toSorted((a, b) => a.score - b.score).map(({ peer }) => peer)
  }

  /** The row is done: it counts no more. */
  passed(group: number, holes: number, chosen: readonly number[]): void {
    for (const peer of chosen) this.#add(peer, -1)
    const draft = this.#draft
    const put = new Set(chosen.map((peer) => draft.institutionOf(peer)))
    this.#count(group, holes, -1, put, chosen)
  }

  #add(peer: number, columns: number): void {
    const institution = this.#draft.institutionOf(peer)
    const zone = this.#draft.zoneOf(peer)
    this.#institution[institution] = (this.#institution[institution] ?? 0) + columns
    this.#zone[zone] = (this.#zone[zone] ?? 0) + columns
  }

  /** Counts a row with holes, or takes it back as it was counted: before those were chosen. */
  #count(group: number, holes: number, by: 1 | -1, chosen = new Set<number>(), peers: readonly number[] = []): void {
    if (holes === 0) return
    const draft = this.#draft
    for (let institution = 0; institution < draft.institutions; institution++) {
      if (draft.has(group, institution) && !chosen.has(institution)) continue
      this.#rows[institution] = (this.#rows[institution] ?? 0) + by
    }
    for (let zone = 0; zone < draft.zones; zone++) {
      const put = peers.filter((peer) => draft.zoneOf(peer) === zone).length
      this.#room[zone] = (this.#room[zone] ?? 0) + by * Math.min(holes, draft.zoneRoom(group, zone) + put)
    }
  }
}

/** Takes columns from peers above their quota, for peers below it that fit into the row. */
function levelLoads(draft: PlacementDraft): void {
  for (let peer = 0; peer < draft.peers.length; peer++) {
    if (draft.lacks(peer) >= 0) continue
    // Where it scores worst it goes first: rendezvous hashing would have it there last.
    const places = draft
      .placesOf(peer)
      .toSorted((a, b) => draft.chance(peer, a.group, 0) - draft.chance(peer, b.group, 0) || a.group - b.group)
    for (const { column, group } of places) {
      if (draft.lacks(peer) >= 0) break
      const taker = bestTaker(draft, group, peer)
      if (taker === NOBODY) continue
      draft.clear(group, column)
      draft.put(group, column, taker)
    }
  }
}

function bestTaker(draft: PlacementDraft, group: number, instead: number): number {
  let best = NOBODY
  let lowest = Number.POSITIVE_INFINITY
  for (let peer = 0; peer < draft.peers.length; peer++) {
    const lacks = draft.lacks(peer)
    if (lacks <= 0 || !draft.fits(group, peer, instead)) continue
    const score = -Math.log(draft.chance(peer, group, 0)) / lacks
    if (score < lowest) {
      lowest = score
      best = peer
    }
  }
  return best
}
