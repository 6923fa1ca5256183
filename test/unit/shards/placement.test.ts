// Method: random consortia of 1 to 100 peers, skewed, in zones; each changes three times, and after each change the plan is held
// against the rules as test/unit/domain/storage-peers.ts tells them: by names and with floats, where the chain counts in integers.
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { quotasOf } from '../../../src/domain/placement-quotas.ts'
import { type PlacementTable, type StoragePeer, columnIn, tableFault } from '../../../src/domain/placement-table.ts'
import { PlacementError, moves, movedBytes, planTable } from '../../../src/shards/placement.ts'
import {
  GIB,
  type PeerDraft,
  counted,
  equalPeers,
  exactShares,
  loadsOf,
  peersOf,
  rowsOf,
  storagePeerOf,
} from '../domain/storage-peers.ts'

/** Rounding at the zone, at the institution and at the peer: less than a column each. */
const ROUNDED_COLUMNS = 3

function consortium(): fc.Arbitrary<StoragePeer[]> {
  const institutions = fc.oneof(
    { weight: 12, arbitrary: fc.integer({ min: 1, max: 18 }) },
    { weight: 2, arbitrary: fc.integer({ min: 19, max: 45 }) },
    { weight: 1, arbitrary: fc.integer({ min: 46, max: 100 }) },
  )
  return fc
    .record({
      institutions,
      zones: fc.constantFrom(0, 1, 2, 3, 5, 8, 12),
      // Capacities differ by up to so many powers of two.
      skew: fc.constantFrom(0, 1, 3, 6, 12),
      sites: fc.constantFrom(1, 1, 2, 3),
      noise: fc.infiniteStream(fc.nat(1_000_000)),
    })
    .map((given) => {
      const next = (): number => given.noise.next().value ?? 0
      return Array.from({ length: given.institutions }, (_one, index) => {
        const institution = `i${index}`
        const zone = given.zones === 0 ? institution : `z${next() % given.zones}`
        return Array.from({ length: 1 + (next() % given.sites) }, (_peer, site) => ({
          institution,
          zone,
          site: `s${site}`,
          capacityBytes: Math.floor(GIB * 2 ** ((given.skew * next()) / 1_000_000)),
        }))
      })
        .flat()
        .slice(0, 100)
        .map(storagePeerOf)
    })
}

const CHANGES = ['join', 'leave', 'drain', 'grow', 'site'] as const
type Change = readonly [(typeof CHANGES)[number], number]
const changes = fc.array(fc.tuple(fc.constantFrom(...CHANGES), fc.nat(1_000_000)), { minLength: 1, maxLength: 3 })

function changed(peers: readonly StoragePeer[], [kind, at]: Change): StoragePeer[] {
  const one = peers[at % peers.length]
  if (one === undefined) throw new Error('nobody to change')
  const others = peers.filter((peer) => peer !== one)
  const isLast = !others.some(({ capacityBytes }) => capacityBytes > 0)
  const { institution, zone } = one
  switch (kind) {
    case 'join':
      return [
        ...peers,
        storagePeerOf({ institution: `new-${at}-${peers.length}`, zone, capacityBytes: (at % 50) * GIB + 1 }),
      ]
    case 'leave':
      return isLast ? [...peers] : others
    case 'drain':
      return isLast ? [...peers] : peers.map((peer) => (peer === one ? { ...peer, capacityBytes: 0 } : peer))
    case 'grow':
      return peers.map((peer) => (peer === one ? { ...peer, capacityBytes: (at % 30) * GIB + 1 } : peer))
    case 'site':
      return [...peers, storagePeerOf({ institution, zone, site: `s-${at}-${peers.length}`, capacityBytes: GIB })]
    default:
      return kind satisfies never
  }
}

/** Empty where all rules hold. */
function breaches(table: PlacementTable): string[] {
  const { code, groups, peers } = table
  const columns = code.data + code.parity
  const { zoneColumnsMax } = quotasOf(peers, groups, code)
  const found: string[] = []
  for (const [group, row] of rowsOf(table).entries()) {
    if (row.length !== columns) found.push(`group ${group} has ${row.length} columns`)
    if (new Set(row.map(({ institution }) => institution)).size < columns) found.push(`group ${group}: one twice`)
    if (Math.max(...counted(row, ({ zone }) => zone).values()) > zoneColumnsMax) found.push(`group ${group}: a zone`)
  }
  const shares = exactShares(peers, groups, columns, zoneColumnsMax)
  for (const [peer, load] of loadsOf(table)) {
    const share = shares?.get(peer) ?? 0
    if (load > 1.03 * (share + ROUNDED_COLUMNS)) found.push(`${peer} has ${load} of ${share}`)
  }
  return [...found, ...zoneBreaches(table, zoneColumnsMax)]
}

/** The bound of zones is the least that costs nobody more than a quarter. */
function zoneBreaches({ code, groups, peers }: PlacementTable, zoneColumnsMax: number): string[] {
  const columns = code.data + code.parity
  const free = exactShares(peers, groups, columns, columns)
  const cost = (bound: number): number => {
    const shares = exactShares(peers, groups, columns, bound)
    if (shares === undefined) return Number.POSITIVE_INFINITY
    return Math.max(...[...shares].map(([peer, share]) => (share - 1) / ((free?.get(peer) ?? 0) + 1)))
  }
  const least = Math.max(1, Math.floor(code.parity / 2))
  if (zoneColumnsMax < least || zoneColumnsMax > columns) return [`${zoneColumnsMax} columns in a zone`]
  if (cost(zoneColumnsMax) > 1.25) return [`zones cost ${cost(zoneColumnsMax)}`]
  // Nearer to the limit than rounding can tell, the integers decide.
  if (zoneColumnsMax > least && cost(zoneColumnsMax - 1) < 1.2) return ['zones could be kept better']
  return []
}

/** Columns that the change is about, not rounded. */
function dueShare(previous: PlacementTable, next: PlacementTable): number {
  const { code, groups, peers } = next
  const columns = code.data + code.parity
  const sharesOf = (list: readonly StoragePeer[]): ReadonlyMap<string, number> =>
    exactShares(list, groups, columns, quotasOf(list, groups, code).zoneColumnsMax) ?? new Map()
  const [before, after] = [sharesOf(previous.peers), sharesOf(peers)]
  return [...after].reduce((sum, [peer, share]) => sum + Math.max(0, share - (before.get(peer) ?? 0)), 0)
}

describe('a plan', () => {
  test('keeps every rule, whoever takes part and whatever changes', () => {
    const property = fc.property(consortium(), changes, (founders, steps) => {
      let peers = founders
      let table = planTable(peers)
      expect(breaches(table)).toEqual([])
      for (const step of steps) {
        peers = changed(peers, step)
        const next = planTable(peers, table)
        expect(tableFault(next, table)).toBeUndefined()
        expect(breaches(next)).toEqual([])
        expect(next.groups).toBeGreaterThanOrEqual(table.groups)
        table = next
      }
    })
    fc.assert(property, { numRuns: 60 })
  }, 120_000)

  test('moves what changed, and hardly more, where the code and the bound of zones stay', () => {
    const property = fc.property(consortium(), changes, (founders, [step]) => {
      fc.pre(step !== undefined)
      const table = planTable(founders)
      const next = planTable(changed(founders, step as Change), table)
      const bound = ({ code, groups, peers }: PlacementTable): number => quotasOf(peers, groups, code).zoneColumnsMax
      fc.pre(
        next.code.data === table.code.data && next.code.parity === table.code.parity && bound(next) === bound(table),
      )
      const rounding = ROUNDED_COLUMNS * (next.peers.length + table.peers.length)
      expect(moves(table, next).length).toBeLessThanOrEqual(
        1.5 * dueShare(table, next) + 0.03 * next.rows.length + rounding,
      )
    })
    fc.assert(property, { numRuns: 60 })
  }, 120_000)

  test('is the same each time, and moves nothing when nothing changed', () => {
    for (const peers of [equalPeers(1), peersOf(1, 2, 3, 4, 5), equalPeers(17), peersOf(9, 1, 1, 1, 1, 1, 1, 1)]) {
      const table = planTable(peers)
      expect(planTable(peers)).toEqual(table)
      expect(planTable(peers, table)).toEqual(table)
      expect(moves(table, planTable(peers.toReversed(), table))).toEqual([])
    }
  })

  test('of equal peers gives each the same number of columns, of data as of parity', () => {
    const table = planTable(equalPeers(20))
    const loads = [...loadsOf(table).values()]
    expect(Math.max(...loads)).toBe(768)
    expect(Math.min(...loads)).toBe(768)
    const data = counted(
      rowsOf(table).flatMap((row) => row.slice(0, table.code.data)),
      ({ peer }) => peer,
    )
    for (const columns of data.values()) expect(Math.abs(columns - 512)).toBeLessThan(70)
  })

  test('gives a large institution a column of every row, and no second one', () => {
    const loads = loadsOf(planTable(peersOf(1_000, 1, 1, 1, 1)))
    expect([...loads.values()].toSorted((a, b) => b - a)).toEqual([1_024, 768, 768, 768, 768])
  })

  test('brings another peer of an institution no second column of a row, but a part of its columns', () => {
    const sites: PeerDraft[] = [
      { institution: 'north', site: 'a', capacityBytes: 3 * GIB },
      { institution: 'north', site: 'b', capacityBytes: GIB },
      { institution: 'south', capacityBytes: 4 * GIB },
      { institution: 'west', capacityBytes: 4 * GIB },
    ]
    const table = planTable(sites.map(storagePeerOf))
    expect(table.code).toEqual({ data: 1, parity: 2 })
    expect([...table.peers.keys()].map((index) => table.rows.filter((one) => one === index).length)).toEqual([
      768, 256, 1_024, 1_024,
    ])
  })

  test('keeps within floor(m/2) columns of a zone where there are zones enough, and survives one of three that are almost equal', () => {
    const inZones = (zones: number, count: number, larger = 1): StoragePeer[] =>
      Array.from({ length: count }, (_one, index) =>
        storagePeerOf({
          institution: `i${index}`,
          zone: `z${index % zones}`,
          capacityBytes: Math.floor(GIB * (index % zones === 0 ? larger : 1)),
        }),
      )
    const most = (peers: StoragePeer[]): number =>
      Math.max(...rowsOf(planTable(peers)).map((row) => Math.max(...counted(row, ({ zone }) => zone).values())))
    expect(most(inZones(8, 24))).toBe(2)
    expect(most(inZones(3, 24))).toBe(5)
    expect(most(inZones(3, 24, 1.2))).toBe(5)
    // Half of all capacity in one of three zones: with five columns of it the others would have a third more than their part.
    expect(most(inZones(3, 24, 2))).toBe(6)
    expect(most(inZones(1, 16))).toBe(15)
  })

  test('leaves who stays in its column when the code grows: data from the front, parity from the back', () => {
    const six = planTable(equalPeers(6))
    const seven = planTable(equalPeers(7), six)
    expect([six.code, seven.code]).toEqual([
      { data: 2, parity: 2 },
      { data: 4, parity: 3 },
    ])
    expect([0, 1, 2, 3].map((column) => columnIn(seven.code, column, six.code))).toEqual([0, 1, 5, 6])
    const after = rowsOf(seven)
    const kept = rowsOf(six).flatMap((row, group) =>
      row.filter(({ peer }, column) => after[group]?.[columnIn(seven.code, column, six.code) ?? -1]?.peer === peer),
    )
    expect(kept.length).toBe(six.rows.length)
    expect(moves(six, seven).filter(({ from }) => from !== undefined)).toEqual([])
  })

  test('has 4,096 groups above 40 peers, with the rows of before four times, and moves for the new peer only', () => {
    const forty = planTable(equalPeers(40))
    const more = planTable(equalPeers(41), forty)
    expect([forty.groups, more.groups]).toEqual([1_024, 4_096])
    const moved = moves(forty, more)
    expect(moved.every(({ to }) => to === more.peers[40]?.peer)).toBe(true)
    expect(Math.abs(moved.length / more.rows.length - 1 / 41)).toBeLessThan(0.001)
    expect(planTable(equalPeers(30), more).groups).toBe(4_096)
  })

  test('of a leave moves what the leaver had, and spreads it over all others', () => {
    const table = planTable(equalPeers(21))
    const [gone, ...stay] = table.peers
    const moved = moves(table, planTable(stay, table))
    expect(moved.filter(({ from }) => from === gone?.peer).length).toBe(loadsOf(table).get(gone?.peer ?? ''))
    expect(moved.length / table.rows.length).toBeLessThan(1.1 / 21)
    expect(counted(moved, ({ to }) => to).size).toBe(20)
  })

  test('counts bytes of shards: a column has a k-th of its group’s data, rounded up', () => {
    const table = planTable(equalPeers(5))
    const list = moves(table, planTable(equalPeers(6), table))
    expect(movedBytes(list, table, new Float64Array(1_024).fill(1_001))).toBe(list.length * 501)
    expect(movedBytes([], table, [])).toBe(0)
  })

  test('is refused, with a code, for peers that can hold nothing', () => {
    const codeOf = (peers: StoragePeer[]): string => {
      try {
        planTable(peers)
      } catch (error) {
        if (error instanceof PlacementError) return error.fault.code
      }
      return 'ok'
    }
    expect(codeOf([])).toBe('PLACEMENT_PEERS_COUNT')
    expect(codeOf(peersOf(0, 0))).toBe('PLACEMENT_NO_CAPACITY')
    expect(codeOf([...equalPeers(3), ...equalPeers(1)])).toBe('PLACEMENT_PEER_TWICE')
    expect(codeOf(peersOf(0, 1))).toBe('ok')
  })
})
