import { beforeEach, describe, expect, test } from 'vitest'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { rawCid } from '../../../src/crypto/hash.ts'
import type { ExtentFacts } from '../../../src/domain/shard-receipt.ts'
import { type CommitExtent, draftStorageCommit } from '../../../src/domain/storage-commit.ts'
import { getHeld } from '../../../src/domain/storage-held.ts'
import { draftStorageRelease } from '../../../src/domain/storage-leases.ts'
import {
  getExtent,
  getStoredObject,
  listExtents,
  listExtentsOfGroup,
  listStoredObjects,
  manifestOfContent,
} from '../../../src/domain/storage-state.ts'
import { extentGroup, getLayout } from '../../../src/domain/storage-table.ts'
import { HOUR_MS, person, seedOf, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'
import { DAY_MS, StorageChain, storageGenesis } from './storage-rig.ts'

const city = staff('city')
const north = staff('north')
const scan = manifestOf('scan')

let rig: StorageChain
beforeEach(async () => {
  rig = await StorageChain.open()
})

/** What the ledger says to an extent whose receipts are signed by who should, after `change`. */
async function outcomeOf(change: (extent: CommitExtent, facts: ExtentFacts) => CommitExtent | Promise<CommitExtent>) {
  const facts = await rig.facts(scan)
  const extent = await change(await rig.extent(facts, await rig.receipts(facts, [0, 1, 2, 3])), facts)
  return rig.outcome(await rig.commitTx(city, scan, { extents: [extent] }))
}

/** An extent that says something else than its receipts; or, with `isSigned`, receipts that say it too. */
async function lie(told: Partial<ExtentFacts>, isSigned: boolean): Promise<string> {
  const facts = await rig.facts(scan)
  const lied = { ...facts, ...told }
  const extent = await rig.extent(lied, await rig.receipts(isSigned ? lied : facts))
  return rig.outcome(await rig.commitTx(city, scan, { extents: [extent] }))
}

describe('a commit', () => {
  test('with receipts of the write quorum stores the object; columns without a receipt stand empty', async () => {
    const facts = await rig.facts(scan)
    expect([facts.data, facts.parity]).toEqual([2, 2])
    await rig.store(city, 'scan', {
      extents: [await rig.extent(facts, await rig.receipts(facts, [3, 0, 1]))],
    })
    const row = await rig.row(facts)
    const group = extentGroup(scan, 0)
    expect(await getExtent(rig.reader, scan, 0)).toEqual({
      ...facts,
      group,
      holders: [row[0], row[1], undefined, row[3]],
    })
    expect(await getStoredObject(rig.reader, scan)).toMatchObject({
      org: 'city',
      account: city.id,
      bytes: SEGMENT_BYTES,
      extents: 1,
      committed: 1,
      stored: 4 * SEGMENT_BYTES,
      startedMs: rig.nowMs,
      holds: 0,
      erasedMs: 0,
    })
    const listed = await Array.fromAsync(listExtentsOfGroup(rig.reader, group))
    expect(listed.map(({ index, manifest }) => `${manifest.toString()} ${index}`)).toEqual([`${scan.toString()} 0`])
    expect(await getHeld(rig.reader, row[0] ?? -1)).toEqual({ columns: 1, bytes: SEGMENT_BYTES })
    expect(await getHeld(rig.reader, row[2] ?? -1)).toEqual({ columns: 0, bytes: 0 })
    expect((await Array.fromAsync(listStoredObjects(rig.reader))).map(({ manifest }) => manifest.toString())).toEqual([
      scan.toString(),
    ])
  })

  test('by the institution’s own account is for whom it says: that one manages it; nobody else says so', async () => {
    const nurse = person('nurse', 'city')
    const doctor = person('doctor', 'city')
    for (const who of [nurse, doctor]) await rig.must(await rig.test.createTx(who))
    const foreign = { object: { storer: north.id } }
    expect(await rig.outcome(await rig.commitTx(city, scan, foreign))).toBe('OBJECT_STORER_FOREIGN')
    const unknown = { object: { storer: person('nobody', 'city').id } }
    expect(await rig.outcome(await rig.commitTx(city, scan, unknown))).toBe('OBJECT_STORER_FOREIGN')
    const object = { storer: nurse.id, extents: 2 }
    const extents = [await rig.extent(await rig.facts(scan))]
    expect(await rig.outcome(await rig.commitTx(doctor, scan, { object, extents }))).toBe('STORAGE_NOT_INSTITUTION')
    await rig.must(await rig.commitTx(city, scan, { object, extents }))
    expect(await getStoredObject(rig.reader, scan)).toMatchObject({ org: 'city', account: nurse.id })
    const next = { first: 1, object: { ...object, storer: doctor.id } }
    expect(await rig.outcome(await rig.commitTx(city, scan, next))).toBe('OBJECT_DIFFERS')
    await rig.must(await rig.commitTx(city, scan, { first: 1, object }))
    expect(await rig.outcome(await rig.test.tx(doctor, draftStorageRelease(scan)))).toBe('OBJECT_NOT_YOURS')
    expect(await rig.outcome(await rig.test.tx(nurse, draftStorageRelease(scan)))).toBe('ok')
  })

  test('of the last extent makes the object whole, and its content’s root leads to it', async () => {
    const object = { extents: 3, bytes: 5 * SEGMENT_BYTES }
    await rig.store(city, 'scan', {
      object,
      extents: [await rig.extent(await rig.facts(scan, 0)), await rig.extent(await rig.facts(scan, 1))],
    })
    const content = rawCid(seedOf(`content ${scan.toString()}`))
    expect((await getStoredObject(rig.reader, scan))?.committed).toBe(2)
    expect(await manifestOfContent(rig.reader, content)).toBeUndefined()
    await rig.store(city, 'scan', { object, first: 2 })
    expect((await getStoredObject(rig.reader, scan))?.committed).toBe(3)
    expect(await manifestOfContent(rig.reader, content)).toEqual(scan.multihash.digest)
    expect((await Array.fromAsync(listExtents(rig.reader))).map(({ index }) => index).toSorted()).toEqual([0, 1, 2])
  })

  test('before the first table is refused', async () => {
    rig = await StorageChain.bare(storageGenesis(5))
    const extent = await rig.extent(await rig.facts(scan, 0, { data: 2, parity: 2 }), [
      { column: 0, expiresMs: rig.test.nowMs + HOUR_MS, signature: new Uint8Array(64) },
    ])
    expect(await rig.outcome(await rig.commitTx(city, scan, { extents: [extent] }))).toBe('STORAGE_NO_LAYOUT')
  })

  test('that is repeated is refused, and changes nothing', async () => {
    const payload = await rig.payload(scan)
    await rig.must(await rig.test.tx(city, draftStorageCommit(payload)))
    const before = await getStoredObject(rig.reader, scan)
    expect(await rig.outcome(await rig.test.tx(city, draftStorageCommit(payload)))).toBe('OBJECT_EXISTS')
    expect(await rig.outcome(await rig.test.tx(north, draftStorageCommit(payload)))).toBe('OBJECT_EXISTS')
    expect(await getStoredObject(rig.reader, scan)).toEqual(before)
  })
})

describe('receipts are refused', () => {
  test.each<[string, Parameters<typeof outcomeOf>[0], string]>([
    [
      'of one peer twice',
      (extent) => ({ ...extent, receipts: [...extent.receipts.slice(0, 3), ...extent.receipts.slice(2, 3)] }),
      'RECEIPT_COLUMN_TWICE',
    ],
    [
      'of one peer for the columns of two',
      async (extent, facts) => {
        const by = await rig.peerName((await rig.row(facts))[0])
        return { ...extent, receipts: [...extent.receipts.slice(0, 3), await rig.receipt(facts, 3, { by })] }
      },
      'RECEIPTS_WRONG',
    ],
    [
      'of a peer outside the group',
      async (extent, facts) => {
        const row = await rig.row(facts)
        const outside = [0, 1, 2, 3, 4].find((number) => !row.includes(number))
        const strange = await rig.receipt(facts, 0, { by: await rig.peerName(outside) })
        return { ...extent, receipts: [strange, ...extent.receipts.slice(1)] }
      },
      'RECEIPTS_WRONG',
    ],
    [
      'of a column that the code doesn’t have',
      async (extent, facts) => ({
        ...extent,
        receipts: [...extent.receipts, await rig.receipt(facts, 4, { by: 'lab' })],
      }),
      'RECEIPTS_WRONG',
    ],
    [
      'that are expired, at the very millisecond',
      async (extent, facts) => ({
        ...extent,
        // Test blocks are 200 ms apart.
        receipts: [await rig.receipt(facts, 0, { expiresMs: rig.test.nowMs + 200 }), ...extent.receipts.slice(1)],
      }),
      'RECEIPT_EXPIRED',
    ],
    [
      'that one bit was changed of',
      (extent) => {
        const [first, ...others] = extent.receipts
        if (first === undefined) throw new Error('no receipts')
        return {
          ...extent,
          receipts: [{ ...first, signature: first.signature.with(5, 1 ^ (first.signature[5] ?? 0)) }, ...others],
        }
      },
      'RECEIPTS_WRONG',
    ],
    [
      'whose expiry was put off',
      (extent) => ({ ...extent, receipts: extent.receipts.map((one) => ({ ...one, expiresMs: one.expiresMs + 1 })) }),
      'RECEIPTS_WRONG',
    ],
    [
      'that are fewer than the write quorum',
      (extent) => ({ ...extent, receipts: extent.receipts.slice(0, 2) }),
      'RECEIPTS_TOO_FEW',
    ],
  ])('%s', async (_what, change, code) => {
    expect(await outcomeOf(change)).toBe(code)
    expect(await getStoredObject(rig.reader, scan)).toBeUndefined()
    expect(await Array.fromAsync(listExtents(rig.reader))).toEqual([])
  })

  test('of another chain', async () => {
    const other = await StorageChain.open(storageGenesis(5, { storage: { auditMs: 5_000 } }))
    const facts = await rig.facts(scan)
    const strange = await other.receipts(facts)
    expect(await rig.outcome(await rig.commitTx(city, scan, { extents: [await rig.extent(facts, strange)] }))).toBe(
      'RECEIPTS_WRONG',
    )
  })
})

describe('whoever commits can’t lie about', () => {
  test('the map: that of another object, with its receipts, is refused', async () => {
    const other = manifestOf('other')
    const extent = await rig.extent(await rig.facts(other))
    expect(await rig.outcome(await rig.commitTx(city, scan, { extents: [extent] }))).toBe('RECEIPTS_WRONG')
  })

  test('which extent it is', async () => {
    const object = { extents: 2 }
    const second = await rig.extent(await rig.facts(scan, 1))
    expect(await rig.outcome(await rig.commitTx(city, scan, { object, extents: [second] }))).toBe('RECEIPTS_WRONG')
  })

  test.each<[string, Partial<ExtentFacts>]>([
    ['the root', { root: seedOf('another root') }],
    [
      'sizes, up',
      {
        columns: [SEGMENT_BYTES, SEGMENT_BYTES, SEGMENT_BYTES, SEGMENT_BYTES].map(
          (bytes, at) => bytes - (at === 0 ? 1 : 0),
        ),
      },
    ],
    ['the number of segments', { segments: 1 }],
  ])('%s that its receipts sign otherwise', async (_what, told) => {
    expect(await lie(told, false)).toBe('RECEIPTS_WRONG')
  })

  test.each<[string, Partial<ExtentFacts>, string]>([
    [
      'a column longer than its segments',
      { columns: Array.from({ length: 4 }, () => SEGMENT_BYTES + 1) },
      'EXTENT_IMPLAUSIBLE',
    ],
    ['a column longer than the last parity', { columns: [2, 1, 1, 1] }, 'EXTENT_IMPLAUSIBLE'],
    ['sizes of fewer columns', { columns: [1, 1, 1] }, 'EXTENT_IMPLAUSIBLE'],
    ['bytes that no column has', { columns: [1, 1, 1, 1] }, 'OBJECT_BYTES_WRONG'],
    ['a code that isn’t due', { data: 1, parity: 3 }, 'EXTENT_CODE_WRONG'],
  ])('%s, though receipts agree', async (_what, told, code) => {
    expect(await lie(told, true)).toBe(code)
  })
})

describe('an object', () => {
  const two = { extents: 2 }

  test('is gone on with in order, by who began it or the own account of its institution', async () => {
    await rig.store(city, 'scan', { object: two })
    const next = async (by: typeof city, first: number): Promise<string> =>
      rig.outcome(await rig.commitTx(by, scan, { object: two, first }))
    expect(await next(city, 0)).toBe('EXTENT_TURN_WRONG')
    expect(await next(north, 1)).toBe('OBJECT_NOT_YOURS')
    expect(await next(city, 1)).toBe('ok')
  })

  test('has no more extents than it was begun with, and the same content and bytes', async () => {
    await rig.store(city, 'scan', { object: two })
    const outcome = async (object: object, first = 1): Promise<string> =>
      rig.outcome(await rig.commitTx(city, scan, { object: { ...two, ...object }, first }))
    expect(await outcome({ extents: 3 })).toBe('OBJECT_DIFFERS')
    expect(await outcome({ bytes: 7 })).toBe('OBJECT_DIFFERS')
    expect(await outcome({ content: rawCid(seedOf('x')) })).toBe('OBJECT_DIFFERS')
    const facts = [await rig.facts(scan, 1), await rig.facts(scan, 2)]
    const extents = await Promise.all(facts.map((one) => rig.extent(one)))
    expect(await rig.outcome(await rig.commitTx(city, scan, { object: two, first: 1, extents }))).toBe(
      'EXTENT_TURN_WRONG',
    )
  })

  test('can’t be larger than its extents, nor leased for longer than the chain allows', async () => {
    const outcome = async (object: object): Promise<string> => rig.outcome(await rig.commitTx(city, scan, { object }))
    expect(await outcome({ bytes: 2 ** 30 + 1 })).toBe('OBJECT_BYTES_WRONG')
    expect(await outcome({ leaseMs: rig.test.nowMs + 4_000 * DAY_MS })).toBe('OBJECT_LEASE_TOO_LONG')
  })
})

describe('critical data', () => {
  test('lies as full copies, no fewer than the code’s parity and one, if it is small', async () => {
    const small = { data: 1, parity: 2, segments: 1, columns: [1_000, 1_000, 1_000] }
    const facts = await rig.facts(scan, 0, small)
    const extents = [await rig.extent(facts)]
    expect(await rig.outcome(await rig.commitTx(city, scan, { object: { bytes: 64 * 1024 + 1 }, extents }))).toBe(
      'EXTENT_CODE_WRONG',
    )
    expect(await rig.outcome(await rig.commitTx(city, scan, { object: { bytes: 1_000 }, extents }))).toBe('ok')
    const row = await rig.row(facts)
    expect(new Set(row).size).toBe(3)
    expect((await getExtent(rig.reader, scan, 0))?.holders).toEqual(
      [row[0], row[1], undefined].slice(0, 2).concat([undefined]),
    )
    expect((await getLayout(rig.reader))?.code).toEqual({ data: 2, parity: 2 })
  })
})
