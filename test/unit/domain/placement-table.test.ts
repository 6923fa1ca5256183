import { describe, expect, test } from 'vitest'
import { quotasOf } from '../../../src/domain/placement-quotas.ts'
import {
  type PlacementFault,
  type PlacementTable,
  codeFor,
  columnIn,
  encodeRows,
  groupOf,
  groupsFor,
  placementRows,
  storagePeer,
  tableFault,
  writeQuorum,
} from '../../../src/domain/placement-table.ts'
import { planTable } from '../../../src/shards/placement.ts'
import { bytesOfHex, hexOf, loadVectors } from '../../vectors/load.ts'
import { GIB, type PeerDraft, equalPeers, peersOf, storagePeerOf } from './storage-peers.ts'

interface Vectors {
  readonly quotas: readonly {
    readonly name: string
    readonly groups: number
    readonly peers: readonly (readonly [institution: string, zone: string, capacityBytes: number])[]
    readonly columns: readonly number[]
    readonly zoneColumnsMax: number
  }[]
  readonly rows: { readonly hex: string; readonly peers: readonly number[] }
}
const vectors = loadVectors<Vectors>('placement')

describe('codes', () => {
  test('follow the number of institutions', () => {
    const name = (count: number): string => `${codeFor(count).data}+${codeFor(count).parity}`
    expect([1, 2, 3, 4, 6, 7, 9, 10, 14, 15, 100].map(name)).toEqual([
      '1+0',
      '1+1',
      '1+2',
      '2+2',
      '2+2',
      '4+3',
      '4+3',
      '6+4',
      '6+4',
      '10+5',
      '10+5',
    ])
  })

  test('have the write quorum n - floor(m/2)', () => {
    expect([1, 2, 3, 4, 7, 10, 15].map((count) => writeQuorum(codeFor(count)))).toEqual([1, 2, 2, 3, 6, 8, 13])
  })

  test('keep a shard’s column from the front for data, from the back for parity', () => {
    const [small, large] = [codeFor(10), codeFor(15)]
    const there = [0, 5, 6, 9].map((column) => columnIn(large, column, small))
    expect(there).toEqual([0, 5, 11, 14])
    expect(there.map((column) => columnIn(small, column ?? 0, large))).toEqual([0, 5, 6, 9])
    expect([6, 9, 10].map((column) => columnIn(small, column, large))).toEqual([undefined, undefined, undefined])
  })
})

describe('groups', () => {
  test('are 12 bits of the hash, of which 1,024 groups take the low ten: going over to 4,096 repeats rows', () => {
    expect([groupOf(bytesOfHex('fff0'), 4_096), groupOf(bytesOfHex('fff0'), 1_024)]).toEqual([4_095, 1_023])
    expect([groupOf(bytesOfHex('401f'), 4_096), groupOf(bytesOfHex('401f'), 1_024)]).toEqual([1_025, 1])
  })

  test('are 4,096 above 40 peers, and never fewer than before', () => {
    expect([groupsFor(1), groupsFor(40), groupsFor(41), groupsFor(5, 4_096)]).toEqual([1_024, 1_024, 4_096, 4_096])
  })
})

describe('quotas', () => {
  test.each(vectors.quotas.map((one) => [one.name, one] as const))('pinned: %s', (_name, vector) => {
    const peers = vector.peers.map(([institution, zone, capacityBytes], index) =>
      storagePeerOf({ institution, zone, capacityBytes, site: `s${index}` }),
    )
    const institutions = new Set(peers.flatMap((peer) => (peer.capacityBytes > 0 ? [peer.institution] : [])))
    const { columns, zoneColumnsMax } = quotasOf(peers, vector.groups, codeFor(institutions.size))
    expect({ columns, zoneColumnsMax }).toEqual({ columns: vector.columns, zoneColumnsMax: vector.zoneColumnsMax })
  })

  test('are exact where capacities are beyond what floats hold', () => {
    const most = Number.MAX_SAFE_INTEGER
    const quotas = quotasOf(
      [most, most - 1, most - 2, 1].map((capacityBytes, index) =>
        storagePeerOf({ institution: `i${index}`, capacityBytes }),
      ),
      1_024,
      { data: 1, parity: 1 },
    )
    expect(quotas.columns).toEqual([683, 683, 682, 0])
  })
})

describe('rows', () => {
  test('pinned: two bytes for each column, big-endian', () => {
    expect(hexOf(encodeRows(Uint16Array.from(vectors.rows.peers)))).toBe(vectors.rows.hex)
    expect([...placementRows(bytesOfHex(vectors.rows.hex), 'rows')]).toEqual(vectors.rows.peers)
  })

  test('of an odd length, too long or of another type are refused', () => {
    for (const bad of [new Uint8Array(3), new Uint8Array(4_096 * 15 * 2 + 2), 'rows', [1, 2]]) {
      expect(() => placementRows(bad, 'rows')).toThrow(
        expect.objectContaining({ fault: expect.objectContaining({ code: 'CODEC_SHAPE' }) }),
      )
    }
  })
})

describe('a storage peer', () => {
  test('reads back as it was; a capacity that is no whole number, a zone with a blank or a missing field is refused', () => {
    const peer = storagePeerOf({ institution: 'north', zone: 'city-1', capacityBytes: 5 })
    expect(storagePeer(peer, 'peer')).toEqual(peer)
    const { zone: _zone, ...zoneless } = peer
    for (const bad of [
      { ...peer, capacityBytes: -1 },
      { ...peer, capacityBytes: 0.5 },
      { ...peer, zone: 'a b' },
      zoneless,
    ]) {
      expect(() => storagePeer(bad, 'peer')).toThrow('CODEC_SHAPE')
    }
  })
})

describe('a table is refused', () => {
  const zoned: PeerDraft[] = Array.from({ length: 12 }, (_one, index) => ({
    institution: `i${index}`,
    zone: `z${index % 6}`,
    capacityBytes: GIB,
  }))
  const peers = zoned.map(storagePeerOf)
  const table = planTable(peers)
  const columns = table.code.data + table.code.parity

  const codeOf = (change: Partial<PlacementTable>, previous?: PlacementTable): string =>
    tableFault({ ...table, ...change }, previous)?.code ?? 'ok'
  /** The rows with some columns changed. */
  const planted = (change: (rows: Uint16Array) => void): Partial<PlacementTable> => {
    const rows = table.rows.slice()
    change(rows)
    return { rows }
  }
  /** The same peers, otherwise placed: the first of a list places by another quota. */
  const row = (group: number): number[] => [...table.rows.slice(group * columns, (group + 1) * columns)]

  test('never when it was planned', () => {
    expect(codeOf({})).toBe('ok')
    expect(codeOf({}, table)).toBe('ok')
  })

  test('for its peers: none, one twice, no capacity, an institution in two zones', () => {
    expect(codeOf({ peers: [] })).toBe('PLACEMENT_PEERS_COUNT')
    expect(codeOf({ peers: Array.from({ length: 1_601 }, () => peers).flat() })).toBe('PLACEMENT_PEERS_COUNT')
    expect(codeOf({ peers: [...peers, ...peers.slice(0, 1)] })).toBe('PLACEMENT_PEER_TWICE')
    expect(codeOf({ peers: peers.map((peer) => ({ ...peer, capacityBytes: 0 })) })).toBe('PLACEMENT_NO_CAPACITY')
    const elsewhere = storagePeerOf({ institution: 'i0', zone: 'z5', site: 'b', capacityBytes: 1 })
    expect(codeOf({ peers: [...peers, elsewhere] })).toBe('PLACEMENT_INSTITUTION_ZONES')
  })

  test('for its shape: another code, another number of groups, rows of another length', () => {
    expect(codeOf({ code: { data: 7, parity: 3 } })).toBe('PLACEMENT_CODE_WRONG')
    expect(codeOf({ code: { data: 6, parity: 5 } })).toBe('PLACEMENT_CODE_WRONG')
    expect(codeOf({ groups: 4_096 })).toBe('PLACEMENT_GROUPS_WRONG')
    expect(codeOf({}, { ...table, groups: 4_096 })).toBe('PLACEMENT_GROUPS_WRONG')
    expect(codeOf({ rows: table.rows.slice(1) })).toBe('PLACEMENT_ROWS_LENGTH')
    expect(codeOf({ rows: new Uint16Array(table.rows.length + columns) })).toBe('PLACEMENT_ROWS_LENGTH')
  })

  test('for a row that names nobody, one institution twice, or too many of a zone', () => {
    expect(codeOf(planted((rows) => rows.set([12], 5)))).toBe('PLACEMENT_PEER_UNKNOWN')
    expect(codeOf(planted((rows) => rows.set([0xffff], rows.length - 1)))).toBe('PLACEMENT_PEER_UNKNOWN')
    expect(codeOf(planted((rows) => rows.set([rows[0] ?? 0], 1)))).toBe('PLACEMENT_INSTITUTION_TWICE')
    const twoSites = [
      ...peers.slice(0, -1),
      storagePeerOf({ institution: 'i0', zone: 'z0', site: 'b', capacityBytes: GIB }),
    ]
    expect(tableFault({ ...table, peers: twoSites })?.code).toBe('PLACEMENT_INSTITUTION_TWICE')
    // Two of each zone are allowed, and there are only two: a third institution in a zone makes the row too much.
    const crowded = peers.map((peer, index) => (index === 11 ? { ...peer, zone: 'z0' } : peer))
    expect(tableFault({ ...table, peers: crowded })?.code).toBe('PLACEMENT_ZONE_CROWDED')
  })

  test('for a peer with more than 1.03 of its quota, and not with one column less', () => {
    const quota = quotasOf(peers, table.groups, table.code).columns[0] ?? 0
    // 10,240 columns for 12 equal peers.
    expect([853, 854]).toContain(quota)
    const given = (extra: number): Partial<PlacementTable> =>
      planted((rows) => {
        let left = extra
        for (let group = 0; group < table.groups && left > 0; group++) {
          if (row(group).includes(0)) continue
          // Zone 0 has room for it in any row: it has two institutions, and two are allowed.
          rows[group * columns + row(group).findIndex((index) => index !== 6)] = 0
          left--
        }
      })
    const loadMax = Math.floor(quota * 1.03)
    expect(codeOf(given(loadMax - quota))).toBe('ok')
    expect(tableFault({ ...table, ...given(loadMax + 1 - quota) })).toEqual({
      code: 'PLACEMENT_LOAD_HIGH',
      peer: String(peers[0]?.peer),
      load: loadMax + 1,
      loadMax,
    } satisfies PlacementFault)
  })

  test('for moves beyond 1.5 of what changed and 3 points: other rows for the same peers are too much, to the column', () => {
    const turned = table.rows.slice()
    turned.set(table.rows.subarray(columns))
    turned.set(table.rows.subarray(0, columns), turned.length - columns)
    expect(codeOf({ rows: turned })).toBe('ok')
    expect(codeOf({ rows: turned }, table)).toBe('PLACEMENT_MOVES_MANY')
    const movedMax = Math.floor(table.rows.length * 0.03)
    // Two columns of a row change places: two moves, and no rule of rows or loads is touched.
    const swapped = (pairs: number): Partial<PlacementTable> =>
      planted((rows) => {
        for (let group = 0; group < pairs; group++) {
          const at = group * columns
          rows.set([rows[at + 1] ?? 0, rows[at] ?? 0], at)
        }
      })
    expect(codeOf(swapped(Math.floor(movedMax / 2)), table)).toBe('ok')
    expect(codeOf(swapped(Math.floor(movedMax / 2) + 1), table)).toBe('PLACEMENT_MOVES_MANY')
  })

  test('not for its moves when the code is another: every stripe is made anew', () => {
    const before = planTable(equalPeers(9))
    const after = planTable(equalPeers(10))
    expect(tableFault(after, before)).toBeUndefined()
  })

  test('for leaving a new peer out only as far as loads demand it', () => {
    const grown = peersOf(1, 1, 1, 1, 1)
    const old = planTable(peersOf(1, 1, 1, 1))
    expect(tableFault({ ...old, peers: grown }, old)?.code).toBe('PLACEMENT_LOAD_HIGH')
  })
})
