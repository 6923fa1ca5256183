import type { CID } from 'multiformats/cid'
import { beforeEach, describe, expect, test } from 'vitest'
import { type ExtentFacts, type ShardReceipt, verifyReceipt } from '../../../src/domain/shard-receipt.ts'
import { draftStorageConfirm, draftStorageLost } from '../../../src/domain/storage-columns.ts'
import { draftStorageErase } from '../../../src/domain/storage-erasure.ts'
import { getHeld } from '../../../src/domain/storage-held.ts'
import { draftStorageDrain } from '../../../src/domain/storage-offers.ts'
import { getExtent } from '../../../src/domain/storage-state.ts'
import { HOUR_MS, type Person, peerIdOf, person, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'
import { StorageChain, storageGenesis } from './storage-rig.ts'

const city = staff('city')

let rig: StorageChain
let scan: CID
let facts: ExtentFacts
let row: readonly (number | undefined)[]
beforeEach(async () => {
  rig = await StorageChain.open()
  scan = manifestOf('scan')
  facts = await rig.facts(scan)
  row = await rig.row(facts)
  await rig.store(city, 'scan', { extents: [await rig.extent(facts, await rig.receipts(facts, [0, 1, 3]))] })
})

const holders = async () => (await getExtent(rig.reader, scan, 0))?.holders
const whoHas = async (column: number): Promise<Person> => staff(await rig.peerName(row[column]))
const confirm = async (by: Person, ...receipts: readonly ShardReceipt[]): Promise<string> => {
  const columns = receipts.map((receipt) => ({ manifest: scan, index: 0, receipt }))
  return rig.outcome(await rig.test.tx(by, draftStorageConfirm({ columns })))
}
const lose = async (by: Person, ...columns: readonly number[]): Promise<string> =>
  rig.outcome(
    await rig.test.tx(
      by,
      draftStorageLost({ columns: columns.map((column) => ({ manifest: scan, index: 0, column })) }),
    ),
  )

describe('storage.confirm', () => {
  test('makes the peer that should hold an empty column its holder', async () => {
    expect(await confirm(await whoHas(2), await rig.receipt(facts, 2))).toBe('ok')
    expect(await holders()).toEqual([...row])
    expect(await getHeld(rig.reader, row[2] ?? -1)).toEqual({ columns: 1, bytes: facts.columns[2] })
    expect(await confirm(await whoHas(2), await rig.receipt(facts, 2))).toBe('ok')
    expect(await getHeld(rig.reader, row[2] ?? -1)).toEqual({ columns: 1, bytes: facts.columns[2] })
  })

  test('hands a column over from who held it, once the table says so', async () => {
    rig = await StorageChain.open(storageGenesis(6))
    facts = await rig.facts(scan)
    row = await rig.row(facts)
    await rig.store(city, 'scan', { extents: [await rig.extent(facts, await rig.receipts(facts, [0, 1, 2, 3]))] })
    const leaving = await whoHas(1)
    const [before] = [row[1]]
    await rig.must(await rig.test.tx(leaving, draftStorageDrain(peerIdOf(leaving.org))))
    await rig.layout()
    row = await rig.row(facts)
    expect(row[1]).not.toBe(before)
    expect((await holders())?.[1]).toBe(before)
    expect(await confirm(leaving, await rig.receipt(facts, 1, { by: leaving.org }))).toBe('COLUMN_NOT_ASSIGNED')
    expect(await confirm(await whoHas(1), await rig.receipt(facts, 1))).toBe('ok')
    expect((await holders())?.[1]).toBe(row[1])
    expect(await getHeld(rig.reader, before ?? -1)).toEqual({ columns: 0, bytes: 0 })
    expect((await getHeld(rig.reader, row[1] ?? -1)).columns).toBeGreaterThan(0)
  })

  test('is refused for a column that another should hold, in another’s name, with an old or a wrong receipt', async () => {
    const right = await rig.receipt(facts, 2)
    expect(await confirm(await whoHas(0), right)).toBe('COLUMN_NOT_ASSIGNED')
    expect(await confirm(await whoHas(2), { ...right, column: 1 })).toBe('COLUMN_NOT_ASSIGNED')
    expect(await confirm(await whoHas(2), { ...right, column: 9 })).toBe('COLUMN_NOT_ASSIGNED')
    expect(await confirm(await whoHas(2), { ...right, expiresMs: right.expiresMs + 1 })).toBe('COLUMN_SIGNATURE_WRONG')
    const strange = await rig.receipt(facts, 2, { by: await rig.peerName(row[0]) })
    expect(await confirm(await whoHas(2), strange)).toBe('COLUMN_SIGNATURE_WRONG')
    const old = await rig.receipt(facts, 2, { expiresMs: rig.test.nowMs + 1_000 })
    await rig.pass(1_000)
    expect(await confirm(await whoHas(2), old)).toBe('COLUMN_RECEIPT_EXPIRED')
    const lied = await rig.receipt({ ...facts, columns: facts.columns.map((bytes) => bytes - 1) }, 2)
    expect(await confirm(await whoHas(2), lied)).toBe('COLUMN_SIGNATURE_WRONG')
  })

  test('does all of its columns or none', async () => {
    const right = await rig.receipt(facts, 2)
    const columns = [
      { manifest: scan, index: 0, receipt: right },
      { manifest: scan, index: 1, receipt: right },
    ]
    expect(await rig.outcome(await rig.test.tx(await whoHas(2), draftStorageConfirm({ columns })))).toBe(
      'EXTENT_UNKNOWN',
    )
    expect((await holders())?.[2]).toBeUndefined()
  })

  test('of what was erased is refused', async () => {
    await rig.must(await rig.test.tx(city, draftStorageErase({ manifest: scan, records: [] })))
    expect(await confirm(await whoHas(2), await rig.receipt(facts, 2))).toBe('COLUMN_ERASED')
    expect(await lose(await whoHas(0), 0)).toBe('COLUMN_ERASED')
  })

  test('before the first table is refused', async () => {
    rig = await StorageChain.bare(storageGenesis(5))
    const receipt = { column: 0, expiresMs: rig.test.nowMs + HOUR_MS, signature: new Uint8Array(64) }
    expect(await confirm(city, receipt)).toBe('STORAGE_NO_LAYOUT')
  })
})

describe('storage.lost', () => {
  test('empties a column, in the name of its holder’s institution only; it is confirmed again once it is mended', async () => {
    expect(await lose(await whoHas(1), 0)).toBe('COLUMN_NOT_HELD')
    expect(await lose(await whoHas(2), 2)).toBe('COLUMN_NOT_HELD')
    expect(await lose(await whoHas(0), 0)).toBe('ok')
    expect(await holders()).toEqual([undefined, row[1], undefined, row[3]])
    expect(await getHeld(rig.reader, row[0] ?? -1)).toEqual({ columns: 0, bytes: 0 })
    expect(await lose(await whoHas(0), 0)).toBe('COLUMN_NOT_HELD')
    expect(await confirm(await whoHas(0), await rig.receipt(facts, 0))).toBe('ok')
    expect((await holders())?.[0]).toBe(row[0])
  })

  test('is refused from any other account of the institution', async () => {
    const patient = person('ada', (await whoHas(0)).org)
    await rig.must(await rig.test.createTx(patient))
    expect(await lose(patient, 0)).toBe('STORAGE_NOT_INSTITUTION')
    expect((await holders())?.[0]).toBe(row[0])
  })

  test('the receipt from before can’t be shown again by another institution', async () => {
    const before = await rig.receipt(facts, 0)
    expect(await lose(await whoHas(0), 0)).toBe('ok')
    expect(await confirm(await whoHas(1), before)).toBe('COLUMN_NOT_ASSIGNED')
    expect((await holders())?.[0]).toBeUndefined()
  })
})

test('a receipt holds for its peer, its chain, and exactly the extent that it was given for', async () => {
  const { expiresMs, signature } = await rig.receipt(facts, 0, { by: 'city' })
  const promise = { extent: facts, column: 0, expiresMs }
  const chain = rig.test.id
  expect(verifyReceipt(peerIdOf('city'), chain, promise, signature)).toBe(true)
  expect(verifyReceipt(peerIdOf('north'), chain, promise, signature)).toBe(false)
  expect(verifyReceipt(peerIdOf('city'), `${chain.slice(0, -1)}a` as typeof chain, promise, signature)).toBe(false)
  const others: Partial<ExtentFacts>[] = [
    { manifest: manifestOf('x') },
    { index: 1 },
    { map: manifestOf('x') },
    { root: new Uint8Array(32) },
    { data: 3 },
    { parity: 1 },
    { segments: 9 },
    { columns: facts.columns.slice(1) },
  ]
  for (const change of others) {
    expect(verifyReceipt(peerIdOf('city'), chain, { ...promise, extent: { ...facts, ...change } }, signature)).toBe(
      false,
    )
  }
  expect(verifyReceipt(peerIdOf('city'), chain, { ...promise, column: 1 }, signature)).toBe(false)
  expect(verifyReceipt(peerIdOf('city'), chain, { ...promise, expiresMs: expiresMs + 1 }, signature)).toBe(false)
})
