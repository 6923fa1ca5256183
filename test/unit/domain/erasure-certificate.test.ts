import { beforeAll, expect, test } from 'vitest'
import { certificateRows } from '../../../src/cli/storage-words.ts'
import { COMMIT_EXTENTS_MAX, PROOF_ENTRIES_MAX, SEGMENT_BYTES } from '../../../src/core/limits.ts'
import {
  ErasureCertificateError,
  checkErasureCertificate,
  encodeErasureCertificate,
} from '../../../src/domain/erasure-certificate.ts'
import {
  type ErasureCertificate,
  draftStorageErase,
  draftStorageErased,
  erasureStateKeys,
  getErasureCertificate,
  signErased,
} from '../../../src/domain/storage-erasure.ts'
import { getExtent } from '../../../src/domain/storage-state.ts'
import { type StateKey, proveState } from '../../../src/ledger/proof-maker.ts'
import { peerIdOf, signerOf, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'
import { StorageChain, storageGenesis } from './storage-rig.ts'

const PROVED_MAX = PROOF_ENTRIES_MAX - 1
const manifest = manifestOf('large')
const city = staff('city')

let rig: StorageChain
let real: ErasureCertificate

/** An object of so many extents that a proof has no room for all of its columns; all holders have signed that they deleted them. */
beforeAll(async () => {
  rig = await StorageChain.open(storageGenesis(3))
  const { data, parity } = await rig.facts(manifest)
  const width = data + parity
  const count = Math.ceil((PROVED_MAX + 5) / width)
  for (let first = 0; first < count; first += COMMIT_EXTENTS_MAX) {
    const extents = []
    for (let index = first; index < Math.min(count, first + COMMIT_EXTENTS_MAX); index++) {
      const facts = await rig.facts(manifest, index)
      extents.push(await rig.extent(facts, await rig.receipts(facts, [...Array(width).keys()])))
    }
    const object = { extents: count, bytes: count * data * SEGMENT_BYTES }
    await rig.must(await rig.commitTx(city, manifest, { first, extents, object }))
  }
  await rig.must(await rig.test.tx(city, draftStorageErase({ manifest, records: [] })))
  const columns = []
  for (let index = 0; index < count; index++) {
    const holders = (await getExtent(rig.reader, manifest, index))?.holders ?? []
    for (const [column, holder] of holders.entries()) {
      const by = signerOf(`${await rig.peerName(holder)} peer`)
      const of = { manifest, index, column }
      columns.push({ ...of, signature: await signErased(by, rig.test.id, of) })
    }
  }
  for (let at = 0; at < columns.length; at += 200)
    await rig.must(await rig.test.tx(city, draftStorageErased({ columns: columns.slice(at, at + 200) })))
  real = (await getErasureCertificate(rig.reader, manifest)) ?? real
})

const keysOf = (of: ErasureCertificate): StateKey[] => erasureStateKeys(of).slice(0, PROOF_ENTRIES_MAX)
const check = async (of: ErasureCertificate, keys = keysOf(of)) =>
  checkErasureCertificate(encodeErasureCertificate(of, await proveState(rig.test.chain, keys)), {
    chainId: rig.test.id,
  })

async function problemOf(checking: Promise<unknown>): Promise<string> {
  try {
    await checking
  } catch (error) {
    if (error instanceof ErasureCertificateError)
      return 'problem' in error.fault ? error.fault.problem : error.fault.code
    throw error
  }
  return 'accepted'
}

/** By a key that holds nothing. */
async function forged(index: number, column: number): Promise<ErasureCertificate['signed'][number]> {
  const signature = await signErased(signerOf('stranger peer'), rig.test.id, { manifest, index, column })
  return { ...(real.signed[0] ?? fail()), index, column, peer: peerIdOf('stranger'), signature }
}
const fail = (): never => {
  throw new Error('nothing is signed')
}

test('says of how many columns it is proved that their holders have signed, and of how many not', async () => {
  expect(real.signed.length).toBeGreaterThan(PROVED_MAX)
  const { certificate, proved } = await check(real)
  expect([certificate, proved]).toEqual([real, PROVED_MAX])
  const few = { ...real, signed: real.signed.slice(0, 7) }
  expect((await check(few)).proved).toBe(7)
  expect((await check({ ...real, signed: [] })).proved).toBe(0)
})

test('in words it claims what is proved, and tells the rest as what the peer says that made it', async () => {
  const rest = real.signed.length - PROVED_MAX
  const rows = new Map(certificateRows(await check(real)))
  expect(rows.get('proved')).toBe(`the holders of ${PROVED_MAX} columns have signed that they deleted them`)
  expect(rows.get('not proved')).toBe(`that ${rest} more signatures are those of holders`)
  expect(rows.get('waited for')).toBe('nobody, as the peer says that made this')
  expect(rows.get('columns')).toContain('said to be of')
  const few = new Map(certificateRows(await check({ ...real, signed: real.signed.slice(0, 2) })))
  expect([few.get('proved')?.includes(' 2 '), few.has('not proved')]).toEqual([true, false])
})

test('is refused with signatures of who never held a column, whether the proof leaves them out or shows that they are not there', async () => {
  const none = { ...real, signed: [await forged(0, 0)] }
  expect(await problemOf(check(none, keysOf({ ...real, signed: [] })))).toBe('its proof leaves out a column')
  expect(await problemOf(check(none))).toBe('a signature is not the one on the ledger')
  expect(await problemOf(check({ ...real, signed: [await forged(4_000, 63)] }))).toBe(
    'a signature is not the one on the ledger',
  )
})

test('is refused where a time is not the ledger’s, and where a column is named twice', async () => {
  const [first = fail(), second = fail()] = real.signed
  expect(await problemOf(check({ ...real, signed: [{ ...first, timeMs: first.timeMs + 1 }] }))).toBe(
    'a signature is not the one on the ledger',
  )
  for (const signed of [
    [first, first],
    [second, first],
  ])
    expect(await problemOf(check({ ...real, signed }))).toBe('a column is named twice, or out of order')
})

test('is refused where a signature that no proof shows is not of the peer that it names', async () => {
  const signed = [...real.signed]
  signed[PROVED_MAX] = { ...(signed[PROVED_MAX] ?? fail()), peer: peerIdOf('stranger') }
  expect(await problemOf(check({ ...real, signed }))).toBe('a signature is not of the peer that it names')
})
