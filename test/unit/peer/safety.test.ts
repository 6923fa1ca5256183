import { beforeEach, expect, test } from 'vitest'
import type { CID } from 'multiformats/cid'
import {
  auditCommittee,
  auditEpoch,
  draftAuditOpen,
  draftAuditVerdicts,
  getAuditRound,
} from '../../../src/domain/audit-rounds.ts'
import { draftStorageLost } from '../../../src/domain/storage-columns.ts'
import { getStoragePeer } from '../../../src/domain/storage-state.ts'
import { safetyOfAll, safetyOfObject } from '../../../src/peer/safety.ts'
import { StorageChain, storageGenesis } from '../domain/storage-rig.ts'
import { HOUR_MS, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'

let rig: StorageChain
let scan: CID
let row: readonly (number | undefined)[]
beforeEach(async () => {
  rig = await StorageChain.open(storageGenesis(10))
  const facts = await rig.facts(manifestOf('scan'))
  row = await rig.row(facts)
  const receipts = await rig.receipts(
    facts,
    facts.columns.map((_, column) => column),
  )
  scan = await rig.store(staff('city'), 'scan', { extents: [await rig.extent(facts, receipts)] })
})

/** The whole committee of a peer says so, in the round of now. */
async function judged(number: number, result: 'proven' | 'silent'): Promise<void> {
  const round = await getAuditRound(rig.reader)
  const peer = await getStoragePeer(rig.reader, number)
  if (round === undefined || peer === undefined) throw new Error('no round')
  const committee = auditCommittee(
    round.beacon,
    peer,
    rig.test.genesis.institutions.map(({ id }) => id),
  )
  for (const org of committee.slice(0, 3)) {
    await rig.must(
      await rig.test.tx(staff(org), draftAuditVerdicts({ epoch: round.epoch, verdicts: [{ number, result }] })),
    )
  }
}

test('a whole object on ten institutions survives any four, and nothing of it was proven yet', async () => {
  expect(await safetyOfObject(rig.reader, scan)).toEqual({
    objects: 1,
    bytes: 1_048_576,
    extents: 1,
    institutions: 10,
    survives: 4,
    repairingExtents: 0,
    repairingBytes: 0,
    provenMs: 0,
    away: [],
  })
})

test('a column that was given up counts as being repaired, until somebody confirms it', async () => {
  const org = await rig.peerName(row[2])
  await rig.must(
    await rig.test.tx(staff(org), draftStorageLost({ columns: [{ manifest: scan, index: 0, column: 2 }] })),
  )
  const hurt = { survives: 3, institutions: 9, repairingExtents: 1, repairingBytes: 1_048_576 }
  expect(await safetyOfAll(rig.reader)).toMatchObject({ objects: 1, ...hurt })
})

test('a silent holder is not counted on, and named; the last proof is that of the holder who proved itself longest ago', async () => {
  await rig.must(await rig.test.tx(staff('city'), draftAuditOpen(auditEpoch(rig.test.nowMs, HOUR_MS))))
  const [first = 0, ...others] = row as readonly number[]
  await judged(first, 'silent')
  for (const number of others) await judged(number, 'proven')
  const safety = await safetyOfAll(rig.reader)
  expect(safety).toMatchObject({ survives: 3, institutions: 9, repairingExtents: 1 })
  expect(safety.away).toEqual([{ institution: await rig.peerName(first), why: 'silent', sinceMs: expect.any(Number) }])
  expect(safety.provenMs).toBeGreaterThan(0)
})

test('what is not placed is a fault, and an empty ledger has nothing to lose', async () => {
  await expect(safetyOfObject(rig.reader, manifestOf('nothing'))).rejects.toThrow('OBJECT_NOT_PLACED')
  const empty = await StorageChain.open(storageGenesis(4))
  const nothing = await safetyOfAll(empty.reader)
  expect(nothing).toMatchObject({ objects: 0, extents: 0, institutions: 0 })
  expect(nothing.survives).toBeUndefined()
})
