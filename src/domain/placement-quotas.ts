/**
 * How many columns of a placement table each storage peer should have: its part of all capacity, as far as distinct institutions and
 * zones in every row allow. Integers only, since the chain checks tables with it.
 *
 * The columns are poured over the peers by capacity, level with level: an institution is full at one column per row, a zone at
 * `zoneColumnsMax` columns per row, and what is full leaves the rest to the others. Whatever comes out can be laid out in rows: the
 * bounds are nested (peer, institution, zone), and each stays within its part of every row (a sampling of n points at distance 1
 * over the peers in that order takes them so).
 *
 * @see docs/spec/placement.md; docs/decisions/0083-placement-tables.md
 */
import type { PlacementCode, StoragePeer } from './placement-table.ts'

/** On account of zones nobody holds more than 5/4 of what it would without: else the network is full while a fifth of it is empty. */
const ZONE_COST = { of: 4, atMost: 5 } as const

export interface Quotas {
  /** Columns of each peer, by its index; together `groups * (data + parity)`. */
  readonly columns: readonly number[]
  /** Columns of one row that may lie in one zone. */
  readonly zoneColumnsMax: number
}

interface Institution {
  readonly weight: bigint
  /** Indices of its peers. */
  readonly peers: readonly number[]
}

/** Institutions with capacity that share a zone. */
type Zone = readonly Institution[]

/**
 * @param peers - with at least `data + parity` institutions that have capacity, each in one zone.
 */
export function quotasOf(peers: readonly StoragePeer[], groups: number, code: PlacementCode): Quotas {
  const columns = code.data + code.parity
  const zones = zonesOf(peers)
  const free = institutionShares(zones, groups, columns, columns)
  if (free === undefined) throw new RangeError('fewer institutions with capacity than columns')
  let zoneColumnsMax = Math.max(1, Math.floor(code.parity / 2))
  let shares = institutionShares(zones, groups, columns, zoneColumnsMax)
  // Ends at `columns` at the latest, where zones bound nothing.
  while (shares === undefined || shares.some((share, index) => costsTooMuch(share, free[index] ?? 0))) {
    zoneColumnsMax++
    shares = institutionShares(zones, groups, columns, zoneColumnsMax)
  }
  const quotas = peers.map(() => 0)
  for (const [index, institution] of zones.flat().entries()) {
    const weights = institution.peers.map((peer) => BigInt(peers[peer]?.capacityBytes ?? 0))
    const parts = divide(shares[index] ?? 0, weights, groups)
    for (const [at, peer] of institution.peers.entries()) quotas[peer] = parts[at] ?? 0
  }
  return { columns: quotas, zoneColumnsMax }
}

/** One column more is rounding. */
const costsTooMuch = (share: number, free: number): boolean => (share - 1) * ZONE_COST.of > free * ZONE_COST.atMost

/** In the order of the peers' ids: in which order a list names them must not decide who gets a column that is left over. */
function zonesOf(peers: readonly StoragePeer[]): Zone[] {
  const zones = new Map<string, Map<string, { weight: bigint; peers: number[] }>>()
  const inOrder = [...peers.entries()].toSorted(([, a], [, b]) => (a.peer < b.peer ? -1 : 1))
  for (const [index, { capacityBytes, institution, zone }] of inOrder) {
    if (capacityBytes === 0) continue
    const inZone = zones.get(zone) ?? new Map<string, { weight: bigint; peers: number[] }>()
    zones.set(zone, inZone)
    const found = inZone.get(institution)
    if (found === undefined) inZone.set(institution, { weight: BigInt(capacityBytes), peers: [index] })
    else {
      found.weight += BigInt(capacityBytes)
      found.peers.push(index)
    }
  }
  return [...zones.values()].map((inZone) => [...inZone.values()])
}

/** Columns of each institution, in the order of `zones.flat()`; `undefined` where the zones can't hold all columns. */
function institutionShares(
  zones: readonly Zone[],
  groups: number,
  columns: number,
  zoneColumnsMax: number,
): number[] | undefined {
  const totals = zoneTotals(zones, groups, columns, zoneColumnsMax * groups)
  return totals === undefined
    ? undefined
    : zones.flatMap((zone, index) =>
        divide(
          totals[index] ?? 0,
          zone.map(({ weight }) => weight),
          groups,
        ),
      )
}

/** Columns of each zone: the level rises until it has met all columns; full institutions, then full zones, leave it behind. */
function zoneTotals(
  zones: readonly Zone[],
  groups: number,
  columns: number,
  zoneMax: number,
): readonly number[] | undefined {
  const open = zones.map((zone) => zone.map(({ weight }) => weight))
  const totals = zones.map(() => 0)
  let left = BigInt(columns * groups)
  for (;;) {
    const weights = open.map(sum)
    const weight = sum(weights)
    if (weight === 0n) return left === 0n && totals.every((total) => total <= zoneMax) ? totals : undefined
    let isLevel = true
    for (const [index, inZone] of open.entries()) {
      const below = inZone.filter((one) => one * left < BigInt(groups) * weight)
      if (below.length === inZone.length) continue
      totals[index] = (totals[index] ?? 0) + (inZone.length - below.length) * groups
      open[index] = below
      isLevel = false
    }
    if (isLevel) {
      for (const [index, total] of totals.entries()) {
        const more = BigInt(zoneMax - total)
        if (open[index]?.length === 0 ? more >= 0n : (weights[index] ?? 0n) * left < more * weight) continue
        totals[index] = zoneMax
        open[index] = []
        isLevel = false
      }
    }
    if (isLevel) {
      const more = largestRemainders(Number(left), weights)
      return totals.map((total, index) => total + (more[index] ?? 0))
    }
    left = BigInt(columns * groups - totals.reduce((all, one) => all + one, 0))
  }
}

/** Divides `total` by weight, no part above `max`; the caller knows that the parts can hold it. */
function divide(total: number, weights: readonly bigint[], max: number): number[] {
  const parts = weights.map(() => 0)
  let open = weights.map((_weight, index) => index)
  let left = total
  for (;;) {
    const weight = sum(open.map((index) => weights[index] ?? 0n))
    const full = open.filter((index) => (weights[index] ?? 0n) * BigInt(left) >= BigInt(max) * weight)
    if (full.length === 0 || open.length === 0) break
    for (const index of full) parts[index] = max
    left -= full.length * max
    open = open.filter((index) => !full.includes(index))
  }
  const rest = largestRemainders(
    left,
    open.map((index) => weights[index] ?? 0n),
  )
  for (const [at, index] of open.entries()) parts[index] = rest[at] ?? 0
  return parts
}

/** Divides `total` by weight in whole numbers: rounded down, and what is left one each to the largest remainders, the first first. */
function largestRemainders(total: number, weights: readonly bigint[]): number[] {
  const weight = sum(weights)
  if (weight === 0n) return weights.map(() => 0)
  const exact = weights.map((one) => one * BigInt(total))
  const parts = exact.map((one) => Number(one / weight))
  const order = exact
    .map((one, index) => ({ index, remainder: one % weight }))
    .toSorted((a, b) => (a.remainder === b.remainder ? a.index - b.index : a.remainder > b.remainder ? -1 : 1))
  const left = total - parts.reduce((all, one) => all + one, 0)
  for (const { index } of order.slice(0, left)) parts[index] = (parts[index] ?? 0) + 1
  return parts
}

function sum(values: readonly bigint[]): bigint {
  return values.reduce((all, one) => all + one, 0n)
}
