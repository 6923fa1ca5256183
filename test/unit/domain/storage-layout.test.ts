import { beforeEach, describe, expect, test } from 'vitest'
import { COLUMNS_MAX } from '../../../src/core/limits.ts'
import { loadMax, writeQuorum } from '../../../src/domain/placement-table.ts'
import { draftStorageLayout, getPlacementTable, planningPeers } from '../../../src/domain/storage-layout.ts'
import { draftStorageDrain, getPeerSet } from '../../../src/domain/storage-offers.ts'
import {
  type AssignedRow,
  PlacementRows,
  assignedRow,
  criticalCode,
  getLayout,
  getRow,
  getRows,
} from '../../../src/domain/storage-table.ts'
import { planTable } from '../../../src/shards/placement.ts'
import { peerIdOf, person, staff } from '../ledger/network.ts'
import { GIB, StorageChain, storageGenesis } from './storage-rig.ts'

const city = staff('city')
const north = staff('north')

let rig: StorageChain
beforeEach(async () => {
  rig = await StorageChain.bare(storageGenesis(6))
  for (const name of ['city', 'north', 'south', 'east', 'west']) await rig.must(await rig.offer(name))
})

/** A valid table for the peers as they are, in storage numbers, changed by `change`. */
async function drafts(change: (rows: Uint16Array) => void = () => {}, base?: number) {
  const planning = await planningPeers(rig.reader)
  const { code, groups, rows } = planTable(planning.peers, (await getPlacementTable(rig.reader))?.table)
  const numbers = rows.map((index) => planning.numbers[index] ?? 0)
  change(numbers)
  return draftStorageLayout({ base: base ?? planning.base, groups, code, rows: numbers })
}

async function outcome(by = city, ...args: Parameters<typeof drafts>): Promise<string> {
  const [draft] = await drafts(...args)
  if (draft === undefined) throw new Error('a table has a part')
  return rig.outcome(await rig.test.tx(by, draft))
}

describe('a placement table', () => {
  test('comes into force with the block that holds it, and says who should hold each column', async () => {
    expect(await getLayout(rig.reader)).toBeUndefined()
    expect(await PlacementRows.read(rig.reader)).toBeUndefined()
    expect(await outcome(north)).toBe('ok')
    const layout = await getLayout(rig.reader)
    expect(layout).toEqual({
      version: 1,
      base: 5,
      height: rig.test.chain.head.height,
      timeMs: rig.nowMs,
      groups: 1_024,
      code: { data: 2, parity: 2 },
      institutions: 5,
    })
    if (layout === undefined) throw new Error('it is in force')
    const planned = planTable((await planningPeers(rig.reader)).peers)
    expect(await getRows(rig.reader, layout)).toEqual(planned.rows)
    expect((await getPlacementTable(rig.reader))?.table).toEqual(planned)
    // Row 70 is in the second page; row 4094 of 4096 is row 1022 of 1024.
    for (const [group, row] of [
      [70, 70],
      [4_094, 1_022],
    ] as const) {
      expect(await getRow(rig.reader, layout, group)).toEqual(planned.rows.slice(row * 4, row * 4 + 4))
      expect(await assignedRow(rig.reader, layout, group, layout.code)).toEqual([
        ...planned.rows.slice(row * 4, row * 4 + 4),
      ])
    }
  })

  test('is for exactly the peers that are active: one made before an offer, a drain or a change of room is refused', async () => {
    const [stale] = await drafts()
    if (stale === undefined) throw new Error('a table has a part')
    const isStale = async (): Promise<string> => rig.outcome(await rig.test.tx(city, stale))
    await rig.must(await rig.offer('lab'))
    expect(await isStale()).toBe('LAYOUT_BASE_STALE')
    const base = (await getPeerSet(rig.reader)).version
    await rig.must(await rig.test.tx(staff('lab'), draftStorageDrain(peerIdOf('lab'))))
    expect(await outcome(city, undefined, base)).toBe('LAYOUT_BASE_STALE')
    const beforeRoom = (await getPeerSet(rig.reader)).version
    await rig.must(await rig.offer('city', { bytes: 2 * GIB }))
    expect(await outcome(city, undefined, beforeRoom)).toBe('LAYOUT_BASE_STALE')
    expect(await getLayout(rig.reader)).toBeUndefined()
  })

  test('is refused where one for the same peers is in force, and before layoutMs has passed since the last', async () => {
    rig = await StorageChain.bare(storageGenesis(6, { storage: { layoutMs: 60_000 } }))
    for (const name of ['city', 'north', 'south', 'east']) await rig.must(await rig.offer(name))
    expect(await outcome()).toBe('ok')
    expect(await outcome(north)).toBe('LAYOUT_IN_FORCE')
    await rig.must(await rig.offer('west'))
    expect(await outcome()).toBe('LAYOUT_TOO_SOON')
    await rig.pass(60_000)
    expect(await outcome()).toBe('ok')
    expect((await getLayout(rig.reader))?.version).toBe(2)
  })

  test('is submitted by an institution’s own account', async () => {
    const ada = person('ada', 'city')
    await rig.test.block(await rig.test.createTx(ada))
    expect(await outcome(ada)).toBe('STORAGE_NOT_INSTITUTION')
  })

  test.each<[string, (rows: Uint16Array) => void, string]>([
    ['one institution twice in a row', (rows) => rows.set([rows[0] ?? 0], 1), 'PLACEMENT_INSTITUTION_TWICE'],
    ['a peer that isn’t active', (rows) => rows.set([5], 3), 'PLACEMENT_PEER_UNKNOWN'],
    ['a number of nobody', (rows) => rows.set([0xffff], 3), 'PLACEMENT_PEER_UNKNOWN'],
    [
      'a peer above its share',
      (rows) => {
        for (let row = 0; row < 1_024; row++) {
          const own = rows.subarray(row * 4, row * 4 + 4)
          if (!own.includes(0)) own[0] = 0
        }
      },
      'PLACEMENT_LOAD_HIGH',
    ],
  ])('with %s is refused', async (_what, change, code) => {
    expect(await outcome(city, change)).toBe(code)
    expect(await getLayout(rig.reader)).toBeUndefined()
  })

  test('that moves more than what changed is refused', async () => {
    expect(await outcome()).toBe('ok')
    await rig.must(await rig.offer('city', { bytes: GIB + 1 }))
    expect(await outcome(city, (rows) => rows.reverse())).toBe('PLACEMENT_MOVES_MANY')
    expect(await outcome()).toBe('ok')
  })

  test('of another shape than these peers have is refused', async () => {
    const { base, numbers } = await planningPeers(rig.reader)
    const draft = async (groups: number, data: number, parity: number): Promise<string> => {
      const rows = new Uint16Array(groups * (data + parity)).fill(numbers[0] ?? 0)
      const [first] = draftStorageLayout({ base, groups, code: { data, parity }, rows })
      if (first === undefined) throw new Error('a table has a part')
      return rig.outcome(await rig.test.tx(city, first))
    }
    expect(await draft(1_024, 1, 2)).toBe('PLACEMENT_CODE_WRONG')
    expect(await draft(64, 2, 2)).toBe('PLACEMENT_GROUPS_WRONG')
    expect(await draft(1_024, 15, 15)).toBe('TX_PAYLOAD_MALFORMED')
  })
})

describe('who should hold an extent of an older code', () => {
  test('is who has the column in both codes; the others follow, one to each institution, the same in memory and on the ledger', async () => {
    rig = await StorageChain.open(storageGenesis(10))
    const layout = await getLayout(rig.reader)
    const table = await PlacementRows.read(rig.reader)
    if (layout === undefined || table === undefined) throw new Error('it is in force')
    expect(layout.code).toEqual({ data: 6, parity: 4 })
    const codes = [
      { data: 2, parity: 2 },
      { data: 4, parity: 3 },
      { data: 1, parity: 7 },
      { data: 1, parity: 9 },
      { data: 10, parity: 5 },
    ]
    for (const group of [0, 63, 64, 1_023, 2_047]) {
      const row = await getRow(rig.reader, layout, group)
      const of: AssignedRow[] = []
      for (const code of codes) {
        const assigned = await assignedRow(rig.reader, layout, group, code)
        expect(table.assigned(group, code)).toEqual(assigned)
        const given = assigned.filter((number) => number !== undefined)
        expect(new Set(given).size).toBe(given.length)
        expect(given.length).toBe(Math.min(10, code.data + code.parity))
        of.push(assigned)
      }
      expect(of[0]).toEqual([row[0], row[1], row[8], row[9]])
      expect(of[1]).toEqual([row[0], row[1], row[2], row[3], row[7], row[8], row[9]])
      // Data in front, parity at the back; the ninth to twelfth column has nobody left but those of the row's other columns.
      expect(of[4]?.slice(0, 6)).toEqual([...row.slice(0, 6)])
      expect(of[4]?.slice(-4)).toEqual([...row.slice(-4)])
    }
  })

  test('goes on in the rows after it where one row has too few institutions', async () => {
    const layout = { ...(await laidOut()), institutions: 5 }
    const code = { data: 1, parity: 4 }
    for (const group of [0, 500, 1_023]) {
      const assigned = await assignedRow(rig.reader, layout, group, code)
      expect(assigned.toSorted()).toEqual([0, 1, 2, 3, 4])
    }
  })
})

async function laidOut() {
  expect(await outcome()).toBe('ok')
  const layout = await getLayout(rig.reader)
  if (layout === undefined) throw new Error('it is in force')
  return layout
}

test('critical data has as many copies as institutions may lie, and one; no fewer than the code survives; never more than institutions', async () => {
  const layout = await laidOut()
  const copies = (data: number, parity: number, institutions: number, members: number): number => {
    const code = criticalCode({ ...layout, code: { data, parity }, institutions }, members)
    expect(code.data).toBe(1)
    return code.parity + 1
  }
  expect(copies(1, 0, 1, 1)).toBe(1)
  expect(copies(1, 2, 3, 3)).toBe(3)
  expect(copies(2, 2, 4, 4)).toBe(3)
  expect(copies(10, 5, 15, 15)).toBe(6)
  expect(copies(10, 5, 100, 100)).toBe(34)
  expect(copies(2, 2, 4, 100)).toBe(4)
  expect(copies(10, 5, 100, 100)).toBeLessThanOrEqual(COLUMNS_MAX)
  expect(writeQuorum({ data: 1, parity: 33 })).toBe(18)
})

describe('a table of two parts', () => {
  const WIDE = Object.fromEntries(Array.from({ length: 16 }, (_, at) => [`i${at}`, 'hospital' as const]))
  const by = staff('i0')

  beforeEach(async () => {
    rig = await StorageChain.bare(storageGenesis(WIDE, { peers: 3 }))
    const offers = Object.keys(WIDE).map(async (org) => {
      const names = [org, `${org} 2`, `${org} 3`]
      return Promise.all(
        names.map(async (peer, at) => rig.test.tx(staff(org), (await rig.offer(org, { peer })).body, { seq: at + 1 })),
      )
    })
    await rig.test.block(...(await Promise.all(offers)).flat())
  })

  test('is in force when its last part is there, whoever else submits parts meanwhile', async () => {
    const [first, second] = await drafts()
    if (first === undefined || second === undefined) throw new Error('4,096 groups of 15 are two parts')
    const send = async (who: typeof by, draft: typeof first): Promise<string> =>
      rig.outcome(await rig.test.tx(who, draft))
    expect(await send(by, second)).toBe('LAYOUT_PART_WRONG')
    expect(await send(by, first)).toBe('ok')
    expect(await getLayout(rig.reader)).toBeUndefined()
    expect(await send(staff('i1'), second)).toBe('LAYOUT_PART_WRONG')
    expect(await send(staff('i1'), first)).toBe('ok')
    expect(await send(by, first)).toBe('ok')
    expect(await send(by, second)).toBe('ok')
    expect(await getLayout(rig.reader)).toMatchObject({
      version: 1,
      groups: 4_096,
      code: { data: 10, parity: 5 },
      institutions: 16,
    })
    expect((await getPlacementTable(rig.reader))?.table).toEqual(planTable((await planningPeers(rig.reader)).peers))
    expect(await send(staff('i1'), second)).toBe('LAYOUT_IN_FORCE')
    const parts = await Array.fromAsync(rig.reader.list('storage-layout-parts', new Uint8Array(0)))
    expect(parts.map(({ key }) => new TextDecoder().decode(key))).toEqual(['i1'])
  })

  test('starts anew where the peers change between its parts', async () => {
    const [first, second] = await drafts()
    if (first === undefined || second === undefined) throw new Error('4,096 groups of 15 are two parts')
    await rig.must(await rig.test.tx(by, first))
    await rig.must(await rig.offer('i3', { bytes: 2 * GIB }))
    expect(await rig.outcome(await rig.test.tx(by, second))).toBe('LAYOUT_BASE_STALE')
    const [again, rest] = await drafts()
    if (again === undefined || rest === undefined) throw new Error('4,096 groups of 15 are two parts')
    expect(await rig.outcome(await rig.test.tx(by, rest))).toBe('LAYOUT_PART_WRONG')
    await rig.must(await rig.test.tx(by, again))
    await rig.must(await rig.test.tx(by, rest))
    const loads = new Map<number, number>()
    for (const number of (await getPlacementTable(rig.reader))?.table.rows ?? [])
      loads.set(number, (loads.get(number) ?? 0) + 1)
    expect(Math.max(...loads.values())).toBeLessThanOrEqual(loadMax(Math.ceil((4_096 * 15) / 24)))
  })
})
