/**
 * Many pools, one after the other: they share nothing but shocks, so one is in memory at a time, and the same seed gives the same sums.
 *
 * The ledger's limits end at 100 institutions with one table. A network of 100,000 peers is 1,000 such pools here, each with 4,096
 * groups; a few tables are planned, for consortia of different capacities, and the pools take them in turn.
 */
import { parseInstitutionId } from '../../src/core/ids.ts'
import { PLACEMENT_GROUPS_MAX } from '../../src/core/limits.ts'
import { type Quotas, quotasOf } from '../../src/domain/placement-quotas.ts'
import {
  type PlacementCode,
  type PlacementTable,
  type StoragePeer,
  tableFault,
} from '../../src/domain/placement-table.ts'
import type { PeerIdText } from '../../src/ledger/fields.ts'
import { planRows } from '../../src/shards/placement.ts'
import { Random } from '../../test/sim/random.ts'
import { Pool } from './pool.ts'

/** All peers of a zone that are struck at once. */
export interface Shock {
  readonly atYears: number
  readonly zone: number
}

export interface PoolOptions {
  readonly years: number
  /** Of one peer, a year: its data are gone. */
  readonly failuresPerYear: number
  /** Zone of a peer, by its place in the pool: what is struck, whether the table knows of it or not. */
  readonly zoneOf: (peer: number) => number
  /** In all pools at once. */
  readonly shocks: readonly Shock[]
  /** Chance that a peer of a struck zone loses its data. */
  readonly shockRatio: number
  /** How long a silent peer is waited for before it is rebuilt, unless it is urgent. */
  readonly waitYears: number
  /** From a failure until a new peer takes the place. */
  readonly replaceYears: number
  /** Bytes that one peer takes in a year while it rebuilds; or a mean time, exponential, for each column by itself. */
  readonly repair: { readonly bytesPerYear: number } | { readonly meanYears: number }
  readonly objectsPerGroup: number
  readonly objectBytes: number
  /** Standard deviation of the size of an object, as a part of the mean. */
  readonly objectBytesSpread: number
}

/** Sums over all pools. */
export interface Totals {
  /** Group-years with so many columns missing. */
  readonly yearsMissing: Float64Array
  peers: number
  groups: number
  failures: number
  columnsLost: number
  groupsLost: number
  objectsLost: number
  bytes: number
  bytesLost: number
  bytesRebuilt: number
  bytesMovedIn: number
  /** Columns of a peer over its part of what all have who are there: the largest, while places are empty. */
  loadMax: number
  /** The same when all places are taken; and in bytes. */
  fullLoadMax: number
  fullBytesLoadMax: number
}

export const noTotals = (): Totals => ({
  yearsMissing: new Float64Array(64),
  peers: 0,
  groups: 0,
  failures: 0,
  columnsLost: 0,
  groupsLost: 0,
  objectsLost: 0,
  bytes: 0,
  bytesLost: 0,
  bytesRebuilt: 0,
  bytesMovedIn: 0,
  loadMax: 0,
  fullLoadMax: 0,
  fullBytesLoadMax: 0,
})

export interface NetworkOptions extends Omit<PoolOptions, 'objectsPerGroup' | 'shocks' | 'zoneOf'> {
  readonly seed: number
  readonly code: PlacementCode
  readonly pools: number
  /** Peers of one pool, each of another institution. */
  readonly poolPeers: number
  readonly groups: number
  /** In the whole network. */
  readonly objects: number
  readonly zones: number
  /** Whether tables know the zones; else they are planned as if nobody shared one. */
  readonly areZonesKept: boolean
  /** A year; each takes one zone. They come at equal distances. */
  readonly shocksPerYear: number
}

export interface Outcome extends Totals {
  readonly options: NetworkOptions
  /** Pools whose last table was looked at, and those of them that the ledger would take. */
  readonly tablesChecked: number
  readonly tablesAccepted: number
}

/** Tables planned for all pools: enough that no accident of one matters. */
const TABLES = 8
/** One in so many pools is checked at the end, and the first one. */
const CHECKED_EVERY = 20

interface Plan {
  readonly table: PlacementTable
  readonly quotas: Quotas
}

export function simulate(options: NetworkOptions): Outcome {
  const { objects, pools, seed, years, zones } = options
  const random = new Random(seed)
  const plans = Array.from({ length: Math.min(TABLES, pools) }, (_one, index) => plan(options, index, random))
  const count = Math.round(options.shocksPerYear * years)
  const shocks = Array.from({ length: count }, (_one, index) => ({
    atYears: ((index + 0.5) * years) / count,
    zone: random.between(0, zones - 1),
  }))
  const totals = noTotals()
  const objectsPerGroup = objects / pools / options.groups
  let [tablesChecked, tablesAccepted] = [0, 0]
  for (let pool = 0; pool < pools; pool++) {
    const given = plans[pool % plans.length]
    if (given === undefined) throw new Error('no table was planned')
    const zoneOf = (peer: number): number => peer % zones
    const poolOptions = { ...options, objectsPerGroup, shocks, zoneOf }
    const table = new Pool(given, poolOptions, new Random(random.word()), totals).run()
    if (pool % CHECKED_EVERY !== 0) continue
    tablesChecked++
    if (isAccepted(table, options)) tablesAccepted++
  }
  return { ...totals, options, tablesChecked, tablesAccepted }
}

/** Capacities of one to four units: what hospitals of different size give. */
function plan({ areZonesKept, code, groups, poolPeers, zones }: NetworkOptions, index: number, random: Random): Plan {
  const peers: StoragePeer[] = Array.from({ length: poolPeers }, (_one, peer) => {
    const institution = parseInstitutionId(`i${peer}`)
    const zone = areZonesKept ? `zone-${peer % zones}` : institution
    return {
      peer: `pool ${index} peer ${peer}` as PeerIdText,
      institution,
      zone,
      capacityBytes: random.between(1_000, 4_000),
    }
  })
  return { table: planRows(peers, { code, groups }), quotas: quotasOf(peers, groups, code) }
}

/** By the ledger's own check, where it knows the code and the number of groups; else by its bounds on rows and loads alone. */
function isAccepted(table: PlacementTable, { groups }: NetworkOptions): boolean {
  const fault = tableFault(table)
  return fault === undefined || (groups < PLACEMENT_GROUPS_MAX && fault.code === 'PLACEMENT_GROUPS_WRONG')
}
