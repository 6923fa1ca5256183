/** Storage peers for tests, and the rules of placement once more, told otherwise than the chain does. */
import { base58btc } from 'multiformats/bases/base58'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import type { PlacementTable, StoragePeer } from '../../../src/domain/placement-table.ts'
import { type PeerIdText, peerIdText } from '../../../src/ledger/fields.ts'
import { seedOf } from '../ledger/network.ts'

export interface PeerDraft {
  readonly institution: string
  readonly zone?: string
  readonly capacityBytes: number
  /** Its name within the institution. */
  readonly site?: string
}

export const GIB = 2 ** 30

export function storagePeerOf({ capacityBytes, institution, site = 'a', zone = institution }: PeerDraft): StoragePeer {
  return { peer: peerOf(`${institution} ${site}`), institution: parseInstitutionId(institution), zone, capacityBytes }
}

/** One peer each; capacities in GiB. */
export const peersOf = (...capacities: readonly number[]): StoragePeer[] =>
  capacities.map((gib, index) => storagePeerOf({ institution: `i${index}`, capacityBytes: gib * GIB }))

export const equalPeers = (count: number): StoragePeer[] => peersOf(...Array.from({ length: count }, () => 1))

function peerOf(name: string): PeerIdText {
  const id = base58btc.baseEncode(Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20, ...seedOf(name)))
  return peerIdText(id, name)
}

/** A table as names: for each group its peers. */
export function rowsOf({ code, groups, peers, rows }: PlacementTable): StoragePeer[][] {
  const columns = code.data + code.parity
  return Array.from({ length: groups }, (_group, group) =>
    Array.from(rows.slice(group * columns, (group + 1) * columns), (index) => {
      const peer = peers[index]
      if (peer === undefined) throw new Error('a row names nobody')
      return peer
    }),
  )
}

export function loadsOf(table: PlacementTable): Map<string, number> {
  return counted(table.rows, (index) => table.peers[index]?.peer ?? '')
}

export function counted<T>(list: Iterable<T>, name: (one: T) => string): Map<string, number> {
  const counts = new Map<string, number>()
  for (const one of list) counts.set(name(one), (counts.get(name(one)) ?? 0) + 1)
  return counts
}

/**
 * Columns of each peer, not rounded, found by bisection of the level: an institution has at most one in every row, a zone at most
 * `zoneColumnsMax`, and a zone that has more at the common level gets a lower one of its own. `undefined` where they can't hold all.
 */
export function exactShares(
  peers: readonly StoragePeer[],
  groups: number,
  columns: number,
  zoneColumnsMax: number,
): Map<string, number> | undefined {
  const holding = peers.filter(({ capacityBytes }) => capacityBytes > 0)
  const all = holding.reduce((sum, { capacityBytes }) => sum + capacityBytes, 0)
  const zones = [...Map.groupBy(holding, ({ zone }) => zone).values()].map((inZone) =>
    [...Map.groupBy(inZone, ({ institution }) => institution).values()].map((members) => ({
      members,
      weight: members.reduce((sum, { capacityBytes }) => sum + capacityBytes, 0) / all,
    })),
  )
  const most = groups * zoneColumnsMax
  const zoneAt = (zone: (typeof zones)[number], level: number): number =>
    zone.reduce((sum, { weight }) => sum + Math.min(groups, weight * level), 0)
  const totalAt = (level: number): number => zones.reduce((sum, zone) => sum + Math.min(most, zoneAt(zone, level)), 0)
  const wanted = groups * columns
  // Up to where a byte among 100 exabytes has a column of every row.
  const highest = groups * 2 ** 70
  if (totalAt(highest) < wanted * (1 - 1e-9)) return undefined
  const level = bisected(highest, (at) => totalAt(at) >= wanted * (1 - 1e-12))
  const shares = new Map<string, number>()
  for (const zone of zones) {
    const own = zoneAt(zone, level) > most ? bisected(level, (at) => zoneAt(zone, at) >= most * (1 - 1e-12)) : level
    for (const { members, weight } of zone) {
      const share = Math.min(groups, weight * own)
      for (const { capacityBytes, peer } of members) shares.set(peer, (share * capacityBytes) / all / weight)
    }
  }
  return shares
}

/** The lowest level that is enough, nearly. */
function bisected(high: number, isEnough: (level: number) => boolean): number {
  let [lower, upper] = [0, high]
  for (let round = 0; round < 150; round++) {
    const middle = (lower + upper) / 2
    if (isEnough(middle)) upper = middle
    else lower = middle
  }
  return upper
}
