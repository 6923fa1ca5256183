/**
 * One pool, as many institutions as one placement table has, through some years of virtual time: peers fail, their columns are rebuilt by
 * the others, a new peer takes the place of each and its share.
 *
 * Rows, their rules and quotas are the planner's own (src/shards/placement-draft.ts). Where the planner would look at everybody for each
 * column, four peers are drawn and the one that lacks most is taken: loads stay as even (Mitzenmacher, IEEE TPDS 12(10) (2001)), and
 * a billion objects fit into a minute.
 *
 *   peer fails ──► its columns are missing ──► after `waitYears`, or at once where a group is within ceil(m/3) of its last shard
 *     ──► rebuilt on other peers, each one after the other, urgent ones first ──► the new peer takes columns over
 */
import { NOBODY, PlacementDraft } from '../../src/shards/placement-draft.ts'
import type { Quotas } from '../../src/domain/placement-quotas.ts'
import type { PlacementTable } from '../../src/domain/placement-table.ts'
import type { Random } from '../../test/sim/random.ts'
import { EventQueue } from './event-queue.ts'
import { bytesOfGroup, largestLoad } from './loads.ts'
import { RebuildQueue } from './rebuild-queue.ts'
import type { PoolOptions, Totals } from './run.ts'
import { NEVER, lackRatio, takerOf } from './takers.ts'

const KINDS = 8
const FAILS = 0
const NOTICED = 1
const REBUILT = 2
const REPLACED = 3
const STRUCK = 4

export class Pool {
  readonly #options: PoolOptions
  readonly #random: Random
  readonly #totals: Totals
  readonly #table: PlacementTable
  readonly #draft: PlacementDraft
  readonly #columns: number
  /** Columns missing from which on a group is urgent. */
  readonly #urgentFrom: number
  readonly #events = new EventQueue()
  readonly #missing: Uint8Array
  /** By cell, which is group x n + column: when it is rebuilt, for a cell that was lost and has a new holder; else `NEVER`. */
  readonly #dueAt: Float64Array
  /** By cell: it has a new holder, who has not rebuilt it yet. */
  readonly #isBeingRebuilt: Uint8Array
  readonly #changedAt: Float64Array
  readonly #groupBytes: Float64Array
  readonly #failsAt: Float64Array
  readonly #queues: readonly RebuildQueue[]
  /** By peer: the cell that it is rebuilding, and until when. */
  readonly #rebuilding: Int32Array
  readonly #rebuiltAt: Float64Array
  /** Cells of each failed peer, until they are noticed. */
  readonly #waves: (readonly number[])[] = []
  /** Cells that nobody can take before a new peer comes. */
  #stranded: number[] = []
  /** Places without a peer. */
  #empty: number
  #now = 0

  constructor(
    plan: { readonly table: PlacementTable; readonly quotas: Quotas },
    options: PoolOptions,
    random: Random,
    totals: Totals,
  ) {
    const { code, groups, peers, rows } = plan.table
    this.#options = options
    this.#random = random
    this.#totals = totals
    this.#table = plan.table
    this.#columns = code.data + code.parity
    this.#urgentFrom = Math.max(1, code.parity - Math.ceil(code.parity / 3))
    this.#draft = new PlacementDraft(peers, groups, this.#columns, plan.quotas)
    for (let cell = 0; cell < rows.length; cell++) this.#put(cell, rows[cell] ?? NOBODY)
    this.#missing = new Uint8Array(groups)
    this.#dueAt = new Float64Array(rows.length).fill(NEVER)
    this.#isBeingRebuilt = new Uint8Array(rows.length)
    this.#changedAt = new Float64Array(groups)
    this.#groupBytes = Float64Array.from({ length: groups }, () => bytesOfGroup(options, random))
    this.#failsAt = new Float64Array(peers.length).fill(NEVER)
    this.#empty = peers.length
    this.#queues = peers.map(() => new RebuildQueue())
    this.#rebuilding = new Int32Array(peers.length).fill(-1)
    this.#rebuiltAt = new Float64Array(peers.length).fill(NEVER)
    for (let peer = 0; peer < peers.length; peer++) this.#start(peer)
    for (const [index, { atYears }] of options.shocks.entries()) this.#events.push(atYears, STRUCK + KINDS * index)
    totals.peers += peers.length
    totals.groups += groups
    for (const bytes of this.#groupBytes) totals.bytes += bytes
  }

  /** @returns the table as it is at the end, when everything was rebuilt and replaced. */
  run(): PlacementTable {
    const { years } = this.#options
    while (this.#events.nextTime <= years) this.#step()
    this.#now = years
    for (let group = 0; group < this.#table.groups; group++) this.#settle(group)
    const isAlive = (peer: number): boolean => this.#isAlive(peer)
    const bytesOf = (group: number): number => this.#groupBytes[group] ?? 0
    const totals = this.#totals
    totals.loadMax = Math.max(
      totals.loadMax,
      largestLoad(this.#draft, isAlive, () => 1),
    )
    this.#finish()
    totals.fullLoadMax = Math.max(
      totals.fullLoadMax,
      largestLoad(this.#draft, isAlive, () => 1),
    )
    totals.fullBytesLoadMax = Math.max(totals.fullBytesLoadMax, largestLoad(this.#draft, isAlive, bytesOf))
    return { ...this.#table, rows: this.#draft.rows }
  }

  #step(): void {
    this.#now = this.#events.nextTime
    const event = this.#events.pop()
    const index = Math.floor(event / KINDS)
    switch (event % KINDS) {
      case FAILS:
        // Of a peer that a shock has taken before, the event is left over.
        if (this.#failsAt[index] === this.#now) this.#fail(index)
        break
      case NOTICED:
        for (const cell of this.#waves[index] ?? []) {
          if (this.#draft.rows[cell] === NOBODY) this.#assign(cell)
        }
        this.#waves[index] = []
        break
      case REBUILT:
        this.#rebuilt(index)
        break
      case REPLACED:
        this.#start(index)
        this.#assignStranded()
        this.#moveIn(index)
        break
      case STRUCK:
        this.#strike(this.#options.shocks[index]?.zone ?? -1)
        break
      default:
        throw new Error(`no such event: ${event}`)
    }
  }

  #start(peer: number): void {
    const at = this.#now + this.#exponential(1 / this.#options.failuresPerYear)
    this.#failsAt[peer] = at
    this.#empty--
    this.#events.push(at, FAILS + KINDS * peer)
  }

  #isAlive(peer: number): boolean {
    return (this.#failsAt[peer] ?? NEVER) !== NEVER
  }

  #strike(zone: number): void {
    for (const peer of this.#table.peers.keys()) {
      if (this.#options.zoneOf(peer) === zone && this.#isAlive(peer) && this.#random.chance(this.#options.shockRatio))
        this.#fail(peer)
    }
  }

  #fail(peer: number): void {
    this.#failsAt[peer] = NEVER
    this.#empty++
    this.#totals.failures++
    this.#queues[peer]?.clear()
    this.#rebuilding[peer] = -1
    this.#rebuiltAt[peer] = NEVER
    const wave: number[] = []
    const again: number[] = []
    const { rows } = this.#draft
    for (let cell = rows.indexOf(peer); cell !== -1; cell = rows.indexOf(peer, cell + 1)) {
      this.#clear(cell)
      if (this.#isBeingRebuilt[cell] === 1) again.push(cell)
      else wave.push(cell)
    }
    for (const cell of again) this.#assign(cell)
    for (const cell of wave) this.#lose(cell)
    if ('meanYears' in this.#options.repair) {
      for (const cell of wave) if (this.#draft.rows[cell] === NOBODY) this.#assign(cell)
    } else {
      this.#events.push(this.#now + this.#options.waitYears, NOTICED + KINDS * this.#waves.length)
      this.#waves.push(wave)
    }
    this.#events.push(this.#now + this.#options.replaceYears, REPLACED + KINDS * peer)
  }

  #lose(cell: number): void {
    const group = Math.floor(cell / this.#columns)
    this.#settle(group)
    this.#totals.columnsLost++
    const missing = (this.#missing[group] ?? 0) + 1
    this.#missing[group] = missing
    if (missing > this.#table.code.parity) this.#loseGroup(group)
    else if (missing >= this.#urgentFrom && 'bytesPerYear' in this.#options.repair) this.#hurry(group)
  }

  /** The group is lost, and counted; what is stored there next starts complete. */
  #loseGroup(group: number): void {
    const bytes = this.#groupBytes[group] ?? 0
    this.#totals.groupsLost++
    this.#totals.bytesLost += bytes
    this.#totals.objectsLost += bytes / this.#options.objectBytes
    this.#missing[group] = 0
    for (let cell = group * this.#columns; cell < (group + 1) * this.#columns; cell++) {
      this.#isBeingRebuilt[cell] = 0
      this.#dueAt[cell] = NEVER
      if (this.#draft.rows[cell] !== NOBODY) continue
      const taker = this.#takerOf(group)
      if (taker !== NOBODY) this.#put(cell, taker)
      else {
        this.#missing[group] = (this.#missing[group] ?? 0) + 1
        this.#stranded.push(cell)
      }
    }
  }

  /** Whatever the group misses is rebuilt at once, and before what is not urgent. */
  #hurry(group: number): void {
    for (let column = 0; column < this.#columns; column++) {
      const cell = group * this.#columns + column
      const holder = this.#draft.rows[cell] ?? NOBODY
      if (holder === NOBODY) this.#assign(cell)
      else if (this.#isBeingRebuilt[cell] === 1 && this.#rebuilding[holder] !== cell) {
        this.#queues[holder]?.add(cell, true)
        this.#work(holder)
      }
    }
  }

  #assign(cell: number): void {
    const group = Math.floor(cell / this.#columns)
    const taker = this.#takerOf(group)
    if (taker === NOBODY) {
      this.#isBeingRebuilt[cell] = 0
      this.#stranded.push(cell)
      return
    }
    this.#put(cell, taker)
    const wasWaiting = this.#isBeingRebuilt[cell] === 0
    this.#isBeingRebuilt[cell] = 1
    if ('meanYears' in this.#options.repair) {
      // Without memory: what was to be rebuilt by another needs as long from here on as from the start.
      if (!wasWaiting) return
      const at = this.#now + this.#exponential(this.#options.repair.meanYears)
      this.#dueAt[cell] = at
      this.#events.push(at, REBUILT + KINDS * cell)
      return
    }
    this.#queues[taker]?.add(cell, (this.#missing[group] ?? 0) >= this.#urgentFrom)
    this.#work(taker)
  }

  #assignStranded(): void {
    const cells = this.#stranded
    this.#stranded = []
    for (const cell of cells) if (this.#draft.rows[cell] === NOBODY) this.#assign(cell)
  }

  /** Begins with the next column, where the peer is idle. */
  #work(peer: number): void {
    const { repair } = this.#options
    if (this.#rebuilding[peer] !== -1 || !('bytesPerYear' in repair)) return
    for (let cell = this.#queues[peer]?.take(); cell !== undefined; cell = this.#queues[peer]?.take()) {
      if (this.#draft.rows[cell] !== peer || this.#isBeingRebuilt[cell] === 0) continue
      // Any k columns together are as large as the group.
      const at = this.#now + (this.#groupBytes[Math.floor(cell / this.#columns)] ?? 0) / repair.bytesPerYear
      this.#rebuilding[peer] = cell
      this.#rebuiltAt[peer] = at
      this.#events.push(at, REBUILT + KINDS * peer)
      return
    }
  }

  /** @param index - of the cell where each has its own time; else of the peer. */
  #rebuilt(index: number): void {
    if ('meanYears' in this.#options.repair) {
      if (this.#dueAt[index] === this.#now) this.#complete(index)
      return
    }
    if (this.#rebuiltAt[index] !== this.#now) return
    const cell = this.#rebuilding[index] ?? -1
    this.#rebuilding[index] = -1
    this.#rebuiltAt[index] = NEVER
    if (this.#draft.rows[cell] === index && this.#isBeingRebuilt[cell] === 1) this.#complete(cell)
    this.#work(index)
  }

  #complete(cell: number): void {
    const group = Math.floor(cell / this.#columns)
    this.#settle(group)
    this.#missing[group] = (this.#missing[group] ?? 0) - 1
    this.#isBeingRebuilt[cell] = 0
    this.#dueAt[cell] = NEVER
    this.#totals.bytesRebuilt += this.#groupBytes[group] ?? 0
  }

  #takerOf(group: number): number {
    return takerOf(this.#draft, group, this.#failsAt, this.#random)
  }

  /** A new peer takes columns from whoever is furthest above the quota, row by row; the old holder keeps its until they are copied. */
  #moveIn(peer: number): void {
    const { groups } = this.#table
    const first = Math.floor(this.#random.unit() * groups)
    for (let step = 0; step < groups && this.#draft.lacks(peer) > 0; step++) {
      const group = (first + step) % groups
      if (!this.#draft.fits(group, peer)) continue
      const giver = this.#mostLoaded(group)
      if (giver !== -1) this.#move(giver, peer)
    }
    this.#relieveAll()
  }

  /** As every plan must: takes from peers what is more than the ledger accepts; while places are empty everybody has more. */
  #relieveAll(): void {
    for (let peer = 0; peer < this.#table.peers.length && this.#empty === 0; peer++) this.#relieve(peer)
  }

  #relieve(peer: number): void {
    const { rows } = this.#draft
    if (this.#draft.room(peer) >= 0) return
    for (
      let cell = rows.indexOf(peer);
      cell !== -1 && this.#draft.room(peer) < 0;
      cell = rows.indexOf(peer, cell + 1)
    ) {
      if (this.#isBeingRebuilt[cell] === 1) continue
      const taker = this.#takerOf(Math.floor(cell / this.#columns))
      if (taker !== NOBODY && this.#draft.lacks(taker) > 0) this.#move(cell, taker)
    }
  }

  #move(cell: number, peer: number): void {
    this.#clear(cell)
    this.#put(cell, peer)
    const bytes = this.#groupBytes[Math.floor(cell / this.#columns)] ?? 0
    this.#totals.bytesMovedIn += bytes / this.#table.code.data
  }

  /** Cell of a row whose holder is furthest above its quota; -1: none is above it. */
  #mostLoaded(group: number): number {
    let found = -1
    let least = 0
    for (let cell = group * this.#columns; cell < (group + 1) * this.#columns; cell++) {
      const holder = this.#draft.rows[cell] ?? NOBODY
      if (holder === NOBODY || this.#isBeingRebuilt[cell] === 1) continue
      const lacks = lackRatio(this.#draft, holder)
      if (lacks >= least) continue
      least = lacks
      found = cell
    }
    return found
  }

  #put(cell: number, peer: number): void {
    this.#draft.put(Math.floor(cell / this.#columns), cell % this.#columns, peer)
  }

  #clear(cell: number): void {
    this.#draft.clear(Math.floor(cell / this.#columns), cell % this.#columns)
  }

  /** Counts the time since the group's last change. */
  #settle(group: number): void {
    const missing = this.#missing[group] ?? 0
    const years = this.#now - (this.#changedAt[group] ?? 0)
    this.#totals.yearsMissing[missing] = (this.#totals.yearsMissing[missing] ?? 0) + years
    this.#changedAt[group] = this.#now
  }

  /** Without another failure: every place is taken, and everything rebuilt. */
  #finish(): void {
    const { rows } = this.#draft
    for (let peer = 0; peer < this.#table.peers.length; peer++) {
      if (this.#isAlive(peer)) continue
      this.#start(peer)
      this.#assignStranded()
      this.#moveIn(peer)
    }
    for (let cell = rows.indexOf(NOBODY); cell !== -1; cell = rows.indexOf(NOBODY, cell + 1)) this.#assign(cell)
    this.#isBeingRebuilt.fill(0)
    this.#relieveAll()
  }

  #exponential(mean: number): number {
    return -mean * Math.log(1 - this.#random.unit())
  }
}
