import { beforeEach, describe, expect, test } from 'vitest'
import {
  draftStorageDrain,
  draftStorageRemove,
  getPeerSet,
  peersOfInstitution,
  removalChanges,
} from '../../../src/domain/storage-offers.ts'
import { draftStorageLost } from '../../../src/domain/storage-columns.ts'
import { getPeerInstitution } from '../../../src/domain/accounts.ts'
import { getStorageParams } from '../../../src/domain/storage-params.ts'
import { getStorageNumber, getStoragePeer, listStoragePeers } from '../../../src/domain/storage-state.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { peerIdOf, person, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'
import { GIB, StorageChain, storageGenesis } from './storage-rig.ts'

const city = staff('city')
const CITY = parseInstitutionId('city')

let rig: StorageChain
beforeEach(async () => {
  rig = await StorageChain.bare(storageGenesis(5, { peers: 3 }))
})

const numbers = async (): Promise<readonly number[]> => (await getPeerSet(rig.reader)).active
const drain = async (peer: string, by = city): Promise<string> =>
  rig.outcome(await rig.test.tx(by, draftStorageDrain(peerIdOf(peer))))
const remove = async (peer: string, by = city): Promise<string> =>
  rig.outcome(await rig.test.tx(by, draftStorageRemove(peerIdOf(peer))))

test('the genesis says whose each peer is, and how storage runs; what it doesn’t say has the default', async () => {
  rig = await StorageChain.bare(storageGenesis(2, { peers: 2, storage: { layoutMs: 5, silentMs: 1_000 } }))
  expect(await getPeerInstitution(rig.reader, peerIdOf('city'))).toBe('city')
  expect(await getPeerInstitution(rig.reader, peerIdOf('north 2'))).toBe('north')
  expect(await getPeerInstitution(rig.reader, peerIdOf('south'))).toBeUndefined()
  expect(await getStorageParams(rig.reader)).toEqual({
    auditMs: 3_600_000,
    orphanMs: 604_800_000,
    leaseMs: 31_536_000_000,
    leaseMaxMs: 316_224_000_000,
    quotaMib: 67_108_864,
    layoutMs: 5,
    silentMs: 1_000,
  })
})

describe('storage.offer', () => {
  test('gives each peer the next number for ever, and counts the changes of who is active', async () => {
    await rig.must(await rig.offer('city'))
    await rig.must(await rig.offer('north', { bytes: 7 }))
    await rig.must(await rig.offer('city', { peer: 'city 2' }))
    expect(await getStoragePeer(rig.reader, 1)).toEqual({
      number: 1,
      peer: peerIdOf('north'),
      institution: 'north',
      zone: 'north',
      bytes: 7,
      state: 'active',
      sinceMs: rig.nowMs - 200,
    })
    expect(await getStorageNumber(rig.reader, peerIdOf('city 2'))).toBe(2)
    expect(await getPeerSet(rig.reader)).toEqual({ version: 3, next: 3, active: [0, 1, 2] })
    expect(await peersOfInstitution(rig.reader, CITY)).toEqual([0, 2])
  })

  test('that says nothing new changes nothing; one that does changes the version, not the number', async () => {
    await rig.must(await rig.offer('city'))
    await rig.must(await rig.offer('city'))
    expect(await getPeerSet(rig.reader)).toEqual({ version: 1, next: 1, active: [0] })
    await rig.must(await rig.offer('city', { bytes: 2 * GIB }))
    expect(await getPeerSet(rig.reader)).toEqual({ version: 2, next: 1, active: [0] })
    expect((await getStoragePeer(rig.reader, 0))?.bytes).toBe(2 * GIB)
  })

  test('of a zone moves all peers of the institution there', async () => {
    await rig.must(await rig.offer('city'))
    await rig.must(await rig.offer('north'))
    await rig.must(await rig.offer('city', { peer: 'city 2', zone: 'coast' }))
    const zones = (await Array.fromAsync(listStoragePeers(rig.reader))).map(({ zone }) => zone)
    expect(zones).toEqual(['coast', 'north', 'coast'])
  })

  test.each([
    ['for someone else’s peer', { peer: 'north' }, 'STORAGE_PEER_NOT_MEMBER'],
    ['for a peer that is no member’s', { peer: 'stranger' }, 'STORAGE_PEER_NOT_MEMBER'],
    ['by another account of the institution', { by: person('ada', 'city') }, 'STORAGE_NOT_INSTITUTION'],
    ['of no room', { bytes: 0 }, 'TX_PAYLOAD_MALFORMED'],
    ['with a zone that is none', { zone: '-' }, 'TX_PAYLOAD_MALFORMED'],
  ])('%s is refused', async (_what, change, code) => {
    await rig.test.block(await rig.test.createTx(person('ada', 'city')))
    expect(await rig.outcome(await rig.offer('city', change))).toBe(code)
    expect(await getPeerSet(rig.reader)).toEqual({ version: 0, next: 0, active: [] })
  })
})

describe('storage.drain and storage.remove', () => {
  beforeEach(async () => {
    for (const name of ['city', 'north', 'south', 'east', 'west']) await rig.must(await rig.offer(name))
    await rig.layout()
  })

  test('take a peer out, by its institution and once it holds nothing; its number and its place come back with an offer', async () => {
    const scan = manifestOf('scan')
    const facts = await rig.facts(scan)
    const row = await rig.row(facts)
    await rig.store(city, 'scan', { extents: [await rig.extent(facts, await rig.receipts(facts, [0, 1, 2, 3]))] })
    const holder = await rig.peerName(row[0])
    const by = staff(holder)
    const other = staff(await rig.peerName(row[1]))
    expect(await remove(holder, by)).toBe('STORAGE_PEER_NOT_DRAINING')
    expect(await drain(holder, other)).toBe('STORAGE_PEER_NOT_MEMBER')
    expect(await drain(holder, by)).toBe('ok')
    expect(await drain(holder, by)).toBe('ok')
    expect(await numbers()).not.toContain(row[0])
    expect(await remove(holder, other)).toBe('STORAGE_PEER_NOT_MEMBER')
    expect(await remove(holder, by)).toBe('STORAGE_PEER_HOLDS')
    const lost = { columns: [{ manifest: scan, index: 0, column: 0 }] }
    await rig.must(await rig.test.tx(by, draftStorageLost(lost)))
    expect(await remove(holder, by)).toBe('ok')
    expect(await getStoragePeer(rig.reader, row[0] ?? -1)).toMatchObject({ state: 'removed', sinceMs: rig.nowMs })
    expect(await peersOfInstitution(rig.reader, by.org)).toEqual([])
    expect(await remove(holder, by)).toBe('ok')
    await rig.must(await rig.offer(holder))
    expect(await getStoragePeer(rig.reader, row[0] ?? -1)).toMatchObject({ number: row[0], state: 'active' })
    expect(await numbers()).toEqual([0, 1, 2, 3, 4])
  })

  test('know no peer that never offered room', async () => {
    expect(await drain('city 3')).toBe('STORAGE_PEER_UNKNOWN')
    expect(await remove('city 3')).toBe('STORAGE_PEER_UNKNOWN')
  })

  test('a peer that failed is removed with its columns, several at once', async () => {
    const entries = (await Array.fromAsync(listStoragePeers(rig.reader))).slice(1, 3)
    const changes = await removalChanges(rig.reader, entries, 77)
    const names = changes.map(({ namespace }) => namespace)
    expect(names.filter((name) => name === 'storage-peer')).toHaveLength(2)
    expect(names.filter((name) => name === 'storage-by-institution')).toHaveLength(2)
    expect(changes.at(-1)?.value).toMatchObject({ version: 6, next: 5, active: new Uint8Array([0, 0, 0, 3, 0, 4]) })
  })

  test('receipts of a draining peer count; those of a removed one don’t', async () => {
    const scan = manifestOf('scan')
    const facts = await rig.facts(scan)
    const holder = await rig.peerName((await rig.row(facts))[0])
    const [first, ...others] = await rig.receipts(facts, [0, 1, 2, 3])
    if (first === undefined) throw new Error('there are four')
    const outcome = async (object: object, receipts: typeof others): Promise<string> =>
      rig.outcome(await rig.commitTx(city, scan, { object, extents: [await rig.extent(facts, receipts)] }))
    expect(await drain(holder, staff(holder))).toBe('ok')
    expect(await remove(holder, staff(holder))).toBe('ok')
    expect(await outcome({}, [first, ...others])).toBe('RECEIPTS_WRONG')
    await rig.must(await rig.offer(holder))
    expect(await drain(holder, staff(holder))).toBe('ok')
    expect(await outcome({}, [first, ...others])).toBe('ok')
  })
})
