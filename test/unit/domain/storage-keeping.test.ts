import type { CID } from 'multiformats/cid'
import { beforeEach, describe, expect, test } from 'vitest'
import type { RecordId } from '../../../src/core/ids.ts'
import { FORGET_EXTENTS_MAX } from '../../../src/core/limits.ts'
import { draftRecordAdd, draftRecordAmend, getRecordCount, recordIdOfTx } from '../../../src/domain/records.ts'
import {
  draftStorageErase,
  draftStorageErased,
  getErasureCertificate,
  signErased,
} from '../../../src/domain/storage-erasure.ts'
import { draftStorageHold, draftStorageUnhold, listHolds } from '../../../src/domain/storage-holds.ts'
import {
  draftStorageForget,
  draftStorageRelease,
  draftStorageRenew,
  isKept,
  isKeptNow,
} from '../../../src/domain/storage-leases.ts'
import { getHeld } from '../../../src/domain/storage-held.ts'
import { getStorageParams } from '../../../src/domain/storage-params.ts'
import {
  type StoredObject,
  getExtent,
  getStoredObject,
  listExtents,
  manifestOfContent,
} from '../../../src/domain/storage-state.ts'
import { type Person, person, signerOf, staff } from '../ledger/network.ts'
import { manifestOf, wrapped } from '../ledger/samples.ts'
import { DAY_MS, StorageChain, storageGenesis } from './storage-rig.ts'

const city = staff('city')
const north = staff('north')
const court = staff('court')
const ada = person('ada', 'city')
const ben = person('ben', 'city')
const nina = person('nina', 'north')
const GENESIS = storageGenesis(
  { city: 'hospital', north: 'hospital', south: 'laboratory', east: 'insurer', court: 'court', state: 'regulator' },
  { storage: { orphanMs: DAY_MS } },
)

let rig: StorageChain
let scan: CID
beforeEach(async () => {
  rig = await StorageChain.open(GENESIS)
  await rig.test.block(...(await Promise.all([ada, ben, nina].map((who) => rig.test.createTx(who)))))
  scan = await rig.store(ben, 'scan', { object: { leaseMs: rig.test.nowMs + 10 * DAY_MS } })
})

const stored = async (): Promise<StoredObject> => {
  const found = await getStoredObject(rig.reader, scan)
  if (found === undefined) throw new Error('the ledger has forgotten it')
  return found
}
const send = async (by: Person, draft: Parameters<StorageChain['test']['tx']>[1]): Promise<string> =>
  rig.outcome(await rig.test.tx(by, draft))
const kept = async (): Promise<boolean> => isKeptNow(rig.reader, await stored(), rig.nowMs)
const renew = (by: Person, leaseMs: number): Promise<string> => send(by, draftStorageRenew({ manifest: scan, leaseMs }))
const release = (by: Person): Promise<string> => send(by, draftStorageRelease(scan))
const forget = (by: Person = nina): Promise<string> => send(by, draftStorageForget(scan))
const hold = (by: Person, record?: { record: RecordId; version: number }): Promise<string> =>
  send(by, draftStorageHold({ manifest: scan, reason: 'case-17', ...(record === undefined ? {} : { record }) }))
const unhold = (by: Person): Promise<string> => send(by, draftStorageUnhold(scan))
const erase = (by: Person, records: readonly { record: RecordId; version: number }[] = []): Promise<string> =>
  send(by, draftStorageErase({ manifest: scan, records }))

async function addRecord(by: Person, patient: Person = ada): Promise<RecordId> {
  const tx = await rig.test.tx(
    by,
    draftRecordAdd({ patient: patient.id, category: 'imaging', manifest: scan, key: wrapped('k') }),
  )
  await rig.must(tx)
  return recordIdOfTx(tx.id)
}

describe('an object is kept', () => {
  test.each<[string, Partial<StoredObject>, number, boolean]>([
    ['whole, within its lease', {}, 0, true],
    ['whole, its lease over', { leaseMs: 1_000 }, 0, false],
    ['whole, its lease over, named by a record', { leaseMs: 0 }, 1, true],
    ['whole, its lease over, under a hold', { leaseMs: 0, holds: 1 }, 0, true],
    ['unfinished and young', { committed: 0, startedMs: 1_000, leaseMs: 0 }, 0, true],
    ['unfinished and as old as orphanMs', { committed: 0, startedMs: 1_000 - DAY_MS }, 0, false],
    ['unfinished and old, named by a record', { committed: 0, startedMs: 0 }, 1, true],
    ['erased, whatever names it', { erasedMs: 1, holds: 1 }, 5, false],
  ])('%s: %s, %i records: %s', async (_what, change, records, expected) => {
    const object = { ...(await stored()), leaseMs: 2_000, ...change }
    expect(isKept(object, records, await getStorageParams(rig.reader), 1_000)).toBe(expected)
  })

  test('while its lease lasts, which whoever stored it prolongs, up to what the chain allows', async () => {
    expect(await kept()).toBe(true)
    const later = rig.test.nowMs + 30 * DAY_MS
    expect(await renew(nina, later)).toBe('OBJECT_NOT_YOURS')
    expect(await renew(ada, later)).toBe('OBJECT_NOT_YOURS')
    expect(await renew(ben, later)).toBe('ok')
    expect(await renew(city, later)).toBe('OBJECT_LEASE_NOT_LONGER')
    expect(await renew(city, later + 1)).toBe('ok')
    expect(await renew(city, later + 4_000 * DAY_MS)).toBe('OBJECT_LEASE_TOO_LONG')
    expect((await stored()).leaseMs).toBe(later + 1)
    expect(await send(ben, draftStorageRenew({ manifest: manifestOf('x'), leaseMs: later }))).toBe('OBJECT_UNKNOWN')
  })

  test('until its lease is over; it can be renewed for orphanMs, and is forgotten then', async () => {
    await rig.pass(10 * DAY_MS)
    expect(await kept()).toBe(false)
    expect(await forget()).toBe('OBJECT_KEPT')
    await rig.pass(DAY_MS / 2)
    expect(await renew(ben, rig.test.nowMs + DAY_MS)).toBe('ok')
    expect(await kept()).toBe(true)
    await rig.pass(DAY_MS * 2)
    expect(await renew(ben, rig.test.nowMs + DAY_MS)).toBe('OBJECT_EXPIRED')
    expect(await hold(court)).toBe('OBJECT_EXPIRED')
    expect(await rig.outcome(await rig.commitTx(ben, scan))).toBe('OBJECT_EXPIRED')
    const { content } = await stored()
    expect(await forget()).toBe('ok')
    expect(await getStoredObject(rig.reader, scan)).toBeUndefined()
    expect(await manifestOfContent(rig.reader, content)).toBeUndefined()
    expect(await Array.fromAsync(listExtents(rig.reader))).toEqual([])
    for (let number = 0; number < 6; number++) expect((await getHeld(rig.reader, number)).columns).toBe(0)
    expect(await forget()).toBe('OBJECT_UNKNOWN')
    expect(await rig.outcome(await rig.commitTx(nina, scan))).toBe('ok')
  })

  test('though it was released, if a record names it or a hold is on it', async () => {
    expect(await release(north)).toBe('OBJECT_NOT_YOURS')
    expect(await release(ben)).toBe('ok')
    expect(await kept()).toBe(false)
    expect(await hold(court)).toBe('ok')
    expect(await kept()).toBe(true)
    await rig.pass(5 * DAY_MS)
    expect(await forget()).toBe('OBJECT_KEPT')
    expect(await unhold(court)).toBe('ok')
    expect(await kept()).toBe(false)
    // Now the time begins in which it can be renewed.
    expect(await forget()).toBe('OBJECT_KEPT')
    await addRecord(ben)
    expect(await kept()).toBe(true)
    await rig.pass(5 * DAY_MS)
    expect(await forget()).toBe('OBJECT_KEPT')
  })

  test('unfinished, until orphanMs after its first extent; then it is stored anew, not gone on with', async () => {
    const long = manifestOf('long')
    const object = { extents: 2 }
    await rig.must(await rig.commitTx(ben, long, { object }))
    expect(await send(ben, draftStorageRenew({ manifest: long, leaseMs: rig.test.nowMs + 99 * DAY_MS }))).toBe(
      'OBJECT_UNFINISHED',
    )
    await rig.pass(DAY_MS)
    expect(await rig.outcome(await rig.commitTx(ben, long, { object, first: 1 }))).toBe('OBJECT_EXPIRED')
    await rig.pass(DAY_MS)
    expect(await send(nina, draftStorageForget(long))).toBe('ok')
    expect(await rig.outcome(await rig.commitTx(ben, long, { object }))).toBe('ok')
    expect(await rig.outcome(await rig.commitTx(ben, long, { object, first: 1 }))).toBe('ok')
  })

  test('no longer, with more extents than one transaction forgets: in steps, and none is left', async () => {
    const large = manifestOf('large')
    const extents = FORGET_EXTENTS_MAX + 3
    const object = { extents, leaseMs: rig.test.nowMs + DAY_MS }
    for (let first = 0; first < extents; first += 16) {
      const indices = Array.from({ length: Math.min(16, extents - first) }, (_, at) => first + at)
      const some = await Promise.all(indices.map(async (index) => rig.extent(await rig.facts(large, index))))
      await rig.must(await rig.commitTx(ben, large, { object, first, extents: some }))
    }
    const drop = (): Promise<string> => send(nina, draftStorageForget(large))
    expect(await drop()).toBe('OBJECT_KEPT')
    await rig.pass(3 * DAY_MS)
    expect(await drop()).toBe('ok')
    const left = await getStoredObject(rig.reader, large)
    expect([left?.committed, left?.stored]).toEqual([3, 3 * 4 * 2 ** 20])
    expect(await rig.outcome(await rig.commitTx(ben, large, { object, first: 3 }))).toBe('OBJECT_EXPIRED')
    expect(await drop()).toBe('ok')
    expect((await Array.fromAsync(listExtents(rig.reader))).map(({ manifest }) => manifest.toString())).toEqual([
      scan.toString(),
    ])
  })
})

describe('a legal hold', () => {
  test('is placed by courts, regulators and who stored the object, in the institution’s own name, once by each', async () => {
    for (const org of ['court', 'state', 'city']) expect(await hold(staff(org))).toBe('ok')
    expect(await hold(court)).toBe('HOLD_EXISTS')
    expect(await hold(north)).toBe('HOLD_NOT_ENTITLED')
    expect(await hold(staff('south'))).toBe('HOLD_NOT_ENTITLED')
    expect(await hold(ben)).toBe('STORAGE_NOT_INSTITUTION')
    expect((await stored()).holds).toBe(3)
    const holds = await Array.fromAsync(listHolds(rig.reader, scan))
    expect(holds.map(({ institution, reason }) => `${institution} ${reason}`)).toEqual([
      'city case-17',
      'court case-17',
      'state case-17',
    ])
  })

  test('is placed by the custodian of a record that names the object, and by no other custodian', async () => {
    const record = await addRecord(nina)
    expect(await hold(north, { record, version: 2 })).toBe('HOLD_NOT_ENTITLED')
    expect(await hold(staff('south'), { record, version: 1 })).toBe('HOLD_NOT_ENTITLED')
    expect(await hold(north, { record, version: 1 })).toBe('ok')
  })

  test('is lifted by who placed it', async () => {
    expect(await hold(court)).toBe('ok')
    expect(await unhold(staff('state'))).toBe('HOLD_UNKNOWN')
    expect(await unhold(city)).toBe('HOLD_UNKNOWN')
    expect(await unhold(court)).toBe('ok')
    expect(await unhold(court)).toBe('HOLD_UNKNOWN')
    expect((await stored()).holds).toBe(0)
    expect(await Array.fromAsync(listHolds(rig.reader, scan))).toEqual([])
  })

  test('has a code for its reason, and an object that is there', async () => {
    expect(await send(court, draftStorageHold({ manifest: scan, reason: 'Ada v. the City' }))).toBe(
      'TX_PAYLOAD_MALFORMED',
    )
    expect(await send(court, draftStorageHold({ manifest: manifestOf('x'), reason: 'case-1' }))).toBe('OBJECT_UNKNOWN')
    expect(await send(court, draftStorageUnhold(manifestOf('x')))).toBe('OBJECT_UNKNOWN')
  })
})

describe('erasure', () => {
  test('is refused under a hold', async () => {
    expect(await hold(court)).toBe('ok')
    expect(await erase(ben)).toBe('OBJECT_HELD')
    expect((await stored()).erasedMs).toBe(0)
    expect(await unhold(court)).toBe('ok')
    expect(await erase(ben)).toBe('ok')
    expect((await stored()).erasedMs).toBe(rig.nowMs)
    expect(await kept()).toBe(false)
    for (const draft of [
      draftStorageRelease(scan),
      draftStorageForget(scan),
      draftStorageErase({ manifest: scan, records: [] }),
    ]) {
      expect(await send(ben, draft)).toBe('OBJECT_ERASED')
    }
    expect(await hold(court)).toBe('OBJECT_ERASED')
    expect(await rig.outcome(await rig.commitTx(ben, scan))).toBe('OBJECT_ERASED')
  })

  test('is open to the patient whose records are all that name it', async () => {
    const record = await addRecord(ben)
    expect(await erase(ada)).toBe('ERASURE_NOT_ENTITLED')
    expect(await erase(nina, [{ record, version: 1 }])).toBe('ERASURE_NOT_ENTITLED')
    expect(await erase(ada, [{ record, version: 2 }])).toBe('ERASURE_NOT_ENTITLED')
    await rig.must(await rig.test.tx(ada, draftRecordAmend({ record, manifest: scan, key: wrapped('k') })))
    expect(await getRecordCount(rig.reader, scan)).toBe(2)
    expect(await erase(ada, [{ record, version: 1 }])).toBe('ERASURE_NOT_ENTITLED')
    const first = { record, version: 1 }
    expect(await erase(ada, [first, first])).toBe('ERASURE_NOT_ENTITLED')
    expect(await erase(ada, [first, { record, version: 2 }])).toBe('ok')
  })

  test('is open to who stored it while no record names it, and to the institution’s own account even then', async () => {
    await addRecord(ben)
    expect(await erase(ben)).toBe('ERASURE_NOT_ENTITLED')
    expect(await erase(city)).toBe('ok')
  })

  test('is not open to who writes a record about himself that names another’s object', async () => {
    const own = await addRecord(ada, ada)
    expect(await erase(ada, [{ record: own, version: 1 }])).toBe('ERASURE_NOT_ENTITLED')
    const byStranger = await addRecord(nina, nina)
    expect(await erase(nina, [{ record: byStranger, version: 1 }])).toBe('ERASURE_NOT_ENTITLED')
    await addRecord(ben)
    expect(await erase(ada, [{ record: own, version: 1 }])).toBe('ERASURE_NOT_ENTITLED')
  })

  test('is certified: who has signed the deletion, and who hasn’t', async () => {
    expect(await getErasureCertificate(rig.reader, scan)).toBeUndefined()
    const holders = (await getExtent(rig.reader, scan, 0))?.holders ?? []
    const [first, second, third] = await Promise.all(holders.slice(0, 3).map((number) => rig.peerName(number)))
    const sign = async (by: string | undefined, column: number) => ({
      manifest: scan,
      index: 0,
      column,
      signature: await signErased(signerOf(`${by} peer`), rig.test.id, { manifest: scan, index: 0, column }),
    })
    const deleted = async (...columns: readonly Awaited<ReturnType<typeof sign>>[]): Promise<string> =>
      send(nina, draftStorageErased({ columns }))
    expect(await deleted(await sign(first, 0))).toBe('OBJECT_NOT_ERASED')
    expect(await erase(ben)).toBe('ok')
    const erasedMs = rig.nowMs
    expect(await getErasureCertificate(rig.reader, scan)).toMatchObject({
      erasedMs,
      signed: [],
      waiting: [{ column: 0 }, { column: 1 }, { column: 2 }],
    })
    expect(await deleted(await sign(second, 0))).toBe('COLUMN_SIGNATURE_WRONG')
    expect(await deleted(await sign(first, 3))).toBe('COLUMN_NOT_HELD')
    const right = await sign(first, 0)
    expect(await deleted(right, right)).toBe('COLUMN_NOT_HELD')
    expect(await deleted(right, await sign(third, 2))).toBe('ok')
    expect(await deleted(right)).toBe('COLUMN_NOT_HELD')
    const certificate = await getErasureCertificate(rig.reader, scan)
    expect(certificate?.signed.map(({ column, institution }) => [column, institution])).toEqual([
      [0, first],
      [2, third],
    ])
    expect(certificate?.signed[0]).toMatchObject({ index: 0, signature: right.signature, timeMs: rig.nowMs - 200 })
    expect(certificate?.waiting.map(({ column, institution }) => [column, institution])).toEqual([[1, second]])
    expect((await getHeld(rig.reader, holders[0] ?? -1)).columns).toBe(0)
    expect((await getHeld(rig.reader, holders[1] ?? -1)).columns).toBe(1)
    expect(await send(ben, draftStorageErased({ columns: [{ ...right, manifest: manifestOf('x') }] }))).toBe(
      'OBJECT_UNKNOWN',
    )
  })
})
