import fc from 'fast-check'
import type { CID } from 'multiformats/cid'
import { beforeEach, describe, expect, test } from 'vitest'
import type { InstitutionId } from '../../../src/core/ids.ts'
import { draftRecordAdd } from '../../../src/domain/records.ts'
import { draftStorageErase } from '../../../src/domain/storage-erasure.ts'
import { draftStorageForget, draftStorageRelease, draftStorageRenew } from '../../../src/domain/storage-leases.ts'
import { getStorageQuota, storageCost } from '../../../src/domain/storage-quota.ts'
import { person, staff } from '../ledger/network.ts'
import { manifestOf, wrapped } from '../ledger/samples.ts'
import { DAY_MS, StorageChain, storageGenesis } from './storage-rig.ts'

const MIB = 2 ** 20
const HOUR_MS = 3_600_000
const ben = person('ben', 'city')
const nina = person('nina', 'north')
const [city, north] = ['city', 'north'] as InstitutionId[]
/** 12 MiB for ten days: three objects of 2+2 columns of 1 MiB each. */
const GENESIS = storageGenesis(5, { storage: { quotaMib: 12, leaseMs: 10 * DAY_MS, orphanMs: DAY_MS } })

let rig: StorageChain
beforeEach(async () => {
  rig = await StorageChain.open(GENESIS)
  await rig.test.block(await rig.test.createTx(ben), await rig.test.createTx(nina))
})

/** MiB that may be added now for ten days. */
const left = async (org: InstitutionId | undefined = city): Promise<number> => {
  if (org === undefined) throw new Error('an institution')
  return (await getStorageQuota(rig.reader, org, rig.nowMs)).leftBytes / MIB
}
/** A block's time is a little after that of the one before. */
const inDays = (days: number): number => rig.test.nowMs + days * DAY_MS - HOUR_MS / 2
const commit = async (name: string, days = 10): Promise<string> =>
  rig.outcome(await rig.commitTx(ben, manifestOf(name), { object: { leaseMs: inDays(days) } }))
const renew = async (manifest: CID, days: number): Promise<string> =>
  rig.outcome(await rig.test.tx(ben, draftStorageRenew({ manifest, leaseMs: inDays(days) })))
const release = async (manifest: CID): Promise<string> =>
  rig.outcome(await rig.test.tx(ben, draftStorageRelease(manifest)))

describe('the storage quota of an institution', () => {
  test('is what it may fill for one lease; beyond that a commit is refused, of this institution alone', async () => {
    expect(await left()).toBe(12)
    for (const name of ['a', 'b', 'c']) expect(await commit(name)).toBe('ok')
    expect(await left()).toBe(0)
    expect(await commit('d')).toBe('STORAGE_QUOTA_EXHAUSTED')
    expect(await left(north)).toBe(12)
    const other = await rig.commitTx(nina, manifestOf('e'), { object: { leaseMs: inDays(10) } })
    expect(await rig.outcome(other)).toBe('ok')
  })

  test('takes less for a shorter lease, but for as long as all stays at the least', async () => {
    expect(await commit('short', 5)).toBe('ok')
    expect(await left()).toBe(10)
    expect(await commit('none', 0)).toBe('ok')
    // Four MiB for a day, of twelve for ten.
    expect(await left()).toBe(9)
  })

  test('counts what every holder keeps whole, as often as it is kept', async () => {
    const manifest = manifestOf('copies')
    const facts = await rig.facts(manifest, 0, { copies: MIB })
    const extents = [await rig.extent(facts)]
    expect(await rig.outcome(await rig.commitTx(ben, manifest, { object: { leaseMs: inDays(10) }, extents }))).toBe(
      'ok',
    )
    expect(await left()).toBe(4)
    expect(await release(manifest)).toBe('ok')
    expect(await left()).toBe(11)
  })

  test('refills with block time, up to what is full', async () => {
    for (const name of ['a', 'b', 'c']) await commit(name)
    await rig.pass(5 * DAY_MS)
    expect(await left()).toBe(6)
    expect(await commit('d')).toBe('ok')
    expect(await commit('e')).toBe('STORAGE_QUOTA_EXHAUSTED')
    await rig.pass(100 * DAY_MS)
    expect(await left()).toBe(12)
  })

  test('begun hours are not lost where a block takes from it within one', async () => {
    for (const name of ['a', 'b', 'c']) await commit(name)
    await rig.pass(HOUR_MS / 2)
    await commit('d', 0)
    await rig.pass(5 * DAY_MS - HOUR_MS / 2)
    expect(await left()).toBe(6)
  })

  test('a longer lease takes the difference', async () => {
    expect(await commit('a', 5)).toBe('ok')
    expect(await renew(manifestOf('a'), 10)).toBe('ok')
    // Eight, but for an hour that was begun twice.
    expect(await left()).toBe(7)
    expect(await renew(manifestOf('a'), 31)).toBe('STORAGE_QUOTA_EXHAUSTED')
  })

  test('what is released or erased early comes back, once', async () => {
    await commit('a')
    await commit('b')
    await rig.pass(5 * DAY_MS)
    await commit('c')
    expect(await left()).toBe(6)
    expect(await release(manifestOf('a'))).toBe('ok')
    expect(await left()).toBe(7)
    expect(await release(manifestOf('a'))).toBe('ok')
    expect(await left()).toBe(7)
    const erase = draftStorageErase({ manifest: manifestOf('b'), records: [] })
    expect(await rig.outcome(await rig.test.tx(staff('city'), erase))).toBe('ok')
    expect(await left()).toBe(9)
  })

  test('nobody has it for nothing by letting go at once, or by renewing for a moment now and then', async () => {
    await commit('a')
    expect(await release(manifestOf('a'))).toBe('ok')
    // It lies there for a day: four MiB of twelve for ten.
    expect(await left()).toBe(11)
    await commit('b', 2)
    await rig.pass(2.9 * DAY_MS)
    const before = await left()
    expect(await renew(manifestOf('b'), 1 / 24)).toBe('ok')
    // Nine tenths of a day that it had lain there, and an hour.
    expect(before - (await left())).toBe(1)
  })

  test('an upload that was given up comes back when it is forgotten', async () => {
    const tx = await rig.commitTx(ben, manifestOf('begun'), { object: { leaseMs: inDays(10), extents: 2 } })
    expect(await rig.outcome(tx)).toBe('ok')
    expect(await left()).toBe(8)
    await rig.pass(2 * DAY_MS)
    expect(await left()).toBe(10)
    expect(await rig.outcome(await rig.test.tx(nina, draftStorageForget(manifestOf('begun'))))).toBe('ok')
    expect(await left()).toBe(12)
  })

  test('holds what has to lie there at the least, where common leases are shorter', async () => {
    const short = { quotaMib: 12, leaseMs: HOUR_MS, orphanMs: 7 * DAY_MS }
    rig = await StorageChain.open(storageGenesis(5, { storage: short }))
    await rig.test.block(await rig.test.createTx(ben))
    for (const name of ['a', 'b', 'c']) expect(await commit(name, 1)).toBe('ok')
    expect(await commit('d', 1)).toBe('STORAGE_QUOTA_EXHAUSTED')
  })

  test('what a record keeps comes back to nobody when it is released', async () => {
    await commit('a')
    const draft = draftRecordAdd({ patient: ben.id, category: 'imaging', manifest: manifestOf('a'), key: wrapped('k') })
    await rig.must(await rig.test.tx(ben, draft))
    expect(await release(manifestOf('a'))).toBe('ok')
    expect(await left()).toBe(8)
  })

  test('never gives back more than was taken', () => {
    const times = fc.tuple(fc.nat(1e11), fc.nat(1e11), fc.nat(1e11)).map((all) => all.toSorted((a, b) => a - b))
    fc.assert(
      fc.property(
        times,
        fc.array(fc.nat(1e12), { minLength: 1, maxLength: 8 }),
        ([at = 0, now = 0, end = 0], parts) => {
          const taken = parts.reduce((sum, bytes) => sum + storageCost(bytes, at, end), 0)
          const stored = parts.reduce((sum, bytes) => sum + bytes, 0)
          const returned = Math.floor(stored / MIB) * Math.floor((end - now) / HOUR_MS)
          return returned <= taken
        },
      ),
    )
  })
})
