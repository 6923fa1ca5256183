import { beforeEach, expect, test } from 'vitest'
import { type OfferChange, changedOffers, planLayout, tableInForce } from '../../../src/cli/layout-plan.ts'
import { heldColumns, layoutText, leaveRows, planText } from '../../../src/cli/network-words.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { draftStorageLost } from '../../../src/domain/storage-columns.ts'
import { draftStorageDrain } from '../../../src/domain/storage-offers.ts'
import { tableFault } from '../../../src/domain/placement-table.ts'
import { readLayout, readPeerStates } from '../../../src/peer/layout.ts'
import { GIB, StorageChain, storageGenesis } from '../domain/storage-rig.ts'
import { peerIdOf, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'

const id = parseInstitutionId
let rig: StorageChain
beforeEach(async () => {
  rig = await StorageChain.open(storageGenesis(6))
  for (const name of ['scan', 'film', 'notes', 'x-ray']) {
    const facts = await rig.facts(manifestOf(name))
    const receipts = await rig.receipts(facts, [0, 1, 2, 3])
    await rig.store(staff('city'), name, { extents: [await rig.extent(facts, receipts)] })
  }
})

const answer = async () => ({ height: 7, repairBytesPerSecond: 1_000, ...(await readLayout(rig.reader)) })

test('the offers as they are move nothing', async () => {
  const plan = planLayout(await answer(), [])
  expect(plan).toMatchObject({ columns: 0, bytes: 0, handovers: [] })
})

test('what a plan says moves is what the next table on the ledger moves', async () => {
  const state = await answer()
  const change: OfferChange = { kind: 'without', institution: id('north') }
  const plan = planLayout(state, [change])
  expect(tableFault(plan.table, tableInForce(state))).toBeUndefined()
  expect(plan.mostBytes).toBeGreaterThan(0)
  expect(plan.mostBytes).toBeLessThanOrEqual(plan.bytes)
  expect(planText(state, tableInForce(state), [change], plan)).toMatch(
    /takes +\d+ (minutes|hours) at least, where every peer takes 1000 B a second/,
  )
  await rig.must(await rig.test.tx(staff('north'), draftStorageDrain(peerIdOf('north'))))
  await rig.layout()
  const now = tableInForce(await answer())
  expect(plan.table.rows).toEqual(now?.rows)
  // Every column that north holds goes to another one; the table is for the same code, so nobody else's has to.
  const north = (await readPeerStates(rig.reader)).find(({ institution }) => institution === 'north')
  const given = plan.handovers.filter(({ from }) => from === 'north')
  expect(given.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(north?.held.bytes)
  expect(given.reduce((sum, { columns }) => sum + columns, 0)).toBe(north?.held.columns)
})

test('one that joins gets its share of the columns, and who has more room gets more', async () => {
  const state = await answer()
  const joined = planLayout(state, [{ kind: 'with', institution: id('clinic'), bytes: GIB, zone: 'west' }])
  expect(joined.table.code).toEqual({ data: 4, parity: 3 })
  const grown = planLayout(state, [{ kind: 'capacity', institution: id('lab'), bytes: 1.2 * GIB }])
  const shareOf = (name: string) =>
    grown.table.rows.filter((index) => grown.table.peers[index]?.institution === name).length / grown.table.rows.length
  expect(shareOf('lab')).toBeGreaterThan(1.1 / 6)
  expect(grown.handovers.every(({ to }) => to === 'lab')).toBe(true)
})

test('an institution is in one zone: its newest offer moves all its peers there; capacity keeps their proportions', () => {
  const offers = [
    { peer: peerIdOf('a'), institution: id('a'), zone: 'a', capacityBytes: 100 },
    { peer: peerIdOf('a 2'), institution: id('a'), zone: 'a', capacityBytes: 300 },
  ]
  const added = changedOffers(offers, [{ kind: 'with', institution: id('a'), bytes: 50, zone: 'east' }])
  expect(added.map(({ capacityBytes, zone }) => `${zone} ${capacityBytes}`)).toEqual([
    'east 100',
    'east 300',
    'east 50',
  ])
  const scaled = changedOffers(offers, [{ kind: 'capacity', institution: id('a'), bytes: 40 }])
  expect(scaled.map(({ capacityBytes }) => capacityBytes)).toEqual([10, 30])
  expect(() => changedOffers(offers, [{ kind: 'without', institution: id('b') }])).toThrow('LAYOUT_OFFERS_NO_ROOM')
})

test('words say the code, who holds how much, that a new table is due, and what a change moves', async () => {
  await rig.must(await rig.offer('lab', { bytes: 2 * GIB, zone: 'hills' }))
  const state = await answer()
  const inForce = tableInForce(state)
  const text = layoutText(state, inForce)
  expect(text).toContain('2+2: any 2 of 4 institutions may fail, 2.00 bytes for each byte')
  expect(text).toContain('offers have changed since: a new one is due')
  expect(text).toMatch(/lab +12D3KooW\w+ +hills +2\.0 GiB +16\.\d %/)
  const changes: OfferChange[] = [{ kind: 'with', institution: id('clinic'), bytes: GIB }]
  const planned = planText(state, inForce, changes, planLayout(state, changes))
  expect(planned).toContain('clinic offers 1.0 GiB more')
  expect(planned).toContain('2+2 becomes 4+3: any 3 of 7 institutions may fail')
  expect(planned).toContain('a part moves anyway')
  expect(planned).toMatch(/clinic +0\.0 % +\d/)
})

test('who leaves is told what it still holds, until nothing is left', async () => {
  const facts = await rig.facts(manifestOf('scan'))
  const name = await rig.peerName((await rig.row(facts))[0])
  await rig.must(await rig.test.tx(staff(name), draftStorageDrain(peerIdOf(name))))
  const own = async () => (await readPeerStates(rig.reader)).filter(({ institution }) => institution === name)
  const before = await own()
  expect(before).toMatchObject([{ state: 'draining' }])
  expect(Object.fromEntries(leaveRows({ institution: name, peers: before }, 1))).toMatchObject({
    leave: '1 peer drained',
    holds: expect.stringMatching(/^\d\.\d MiB in \d columns?$/),
  })
  for (const object of ['scan', 'film', 'notes', 'x-ray']) {
    const manifest = manifestOf(object)
    const column = (await holders(object)).indexOf(before[0]?.peer ?? '')
    if (column === -1) continue
    await rig.must(await rig.test.tx(staff(name), draftStorageLost({ columns: [{ manifest, index: 0, column }] })))
  }
  expect(heldColumns(await own())).toBe(0)
  expect(Object.fromEntries(leaveRows({ institution: name, peers: await own() }, 0))).toMatchObject({
    holds: 'nothing',
  })
})

/** Peer ids by column. */
async function holders(object: string): Promise<string[]> {
  const row = await rig.row(await rig.facts(manifestOf(object)))
  return Promise.all(row.map(async (number) => peerIdOf(await rig.peerName(number))))
}
