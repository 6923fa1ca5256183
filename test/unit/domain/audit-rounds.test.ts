import type { CID } from 'multiformats/cid'
import { beforeEach, describe, expect, test } from 'vitest'
import { type LeafProof, isProven, leafBytes, shardEntry } from '../../../src/domain/audit-proof.ts'
import {
  type AuditVerdict,
  auditCommittee,
  auditEpoch,
  draftAuditAppeal,
  draftAuditOpen,
  draftAuditVerdicts,
  getAuditRound,
} from '../../../src/domain/audit-rounds.ts'
import { type NamedLeaf, getStanding } from '../../../src/domain/audit-standing.ts'
import type { ExtentFacts } from '../../../src/domain/shard-receipt.ts'
import { draftStorageLost } from '../../../src/domain/storage-columns.ts'
import { draftStorageErase } from '../../../src/domain/storage-erasure.ts'
import { getPeerSet } from '../../../src/domain/storage-offers.ts'
import { getStoragePeer } from '../../../src/domain/storage-state.ts'
import { AUDIT_LEAF_BYTES } from '../../../src/core/limits.ts'
import { inclusionProof, merkleRoot } from '../../../src/crypto/merkle.ts'
import { HOUR_MS, peerIdOf, staff } from '../ledger/network.ts'
import { manifestOf } from '../ledger/samples.ts'
import { DAY_MS, StorageChain, storageGenesis } from './storage-rig.ts'

/** A shard of two leaves and a bit in each of four columns. */
const SHARD_BYTES = 2 * AUDIT_LEAF_BYTES + 100
const scan: CID = manifestOf('scan')

function shardOf(column: number): Uint8Array {
  return Uint8Array.from({ length: SHARD_BYTES }, (_, at) => (at * 7 + column * 13 + (at >>> 9)) & 0xff)
}

function leavesOf(shard: Uint8Array): Uint8Array[] {
  return [0, 1, 2].map((leaf) => shard.subarray(leaf * AUDIT_LEAF_BYTES, (leaf + 1) * AUDIT_LEAF_BYTES))
}

const audits = [0, 1, 2, 3].map((column) => merkleRoot(leavesOf(shardOf(column))))
const entries = audits.map((audit, column) => shardEntry({ stripe: 0, column, bytes: SHARD_BYTES, audit }))

function proofOf(column: number, leaf: number): LeafProof {
  const leaves = leavesOf(shardOf(column))
  return {
    stripe: 0,
    column,
    shardBytes: SHARD_BYTES,
    audit: audits[column] as Uint8Array,
    shard: column,
    shards: 4,
    shardPath: inclusionProof(entries, column),
    leaf,
    bytes: leaves[leaf] as Uint8Array,
    leafPath: inclusionProof(leaves, leaf),
  }
}

let rig: StorageChain
let facts: ExtentFacts
let row: readonly (number | undefined)[]

async function start(institutions = 6): Promise<void> {
  rig = await StorageChain.open(storageGenesis(institutions))
  const shape = { root: merkleRoot(entries), segments: 2, columns: [0, 1, 2, 3].map(() => SHARD_BYTES) }
  // The shards above are those of 2+2.
  facts = await rig.facts(scan, 0, institutions < 7 ? shape : {})
  row = await rig.row(facts)
  const receipts = await rig.receipts(
    facts,
    facts.columns.map((_, column) => column),
  )
  const object = { bytes: SHARD_BYTES }
  await rig.store(staff('city'), 'scan', { object, extents: [await rig.extent(facts, receipts)] })
}
beforeEach(() => start())

const epochNow = (): number => auditEpoch(rig.test.nowMs, HOUR_MS)
const open = async (org = 'city', epoch = epochNow()): Promise<string> =>
  rig.outcome(await rig.test.tx(staff(org), draftAuditOpen(epoch)))
const judge = async (org: string, ...verdicts: readonly AuditVerdict[]): Promise<string> =>
  rig.outcome(await rig.test.tx(staff(org), draftAuditVerdicts({ epoch: epochNow(), verdicts })))
const institutions = () => rig.test.genesis.institutions.map(({ id }) => id)

async function committeeOf(number: number): Promise<string[]> {
  const round = await getAuditRound(rig.reader)
  const peer = await getStoragePeer(rig.reader, number)
  if (round === undefined || peer === undefined) throw new Error('no round')
  return auditCommittee(round.beacon, peer, institutions())
}

/** A majority of the committee says so. */
async function majority(verdict: AuditVerdict): Promise<void> {
  for (const org of (await committeeOf(verdict.number)).slice(0, 3)) expect(await judge(org, verdict)).toBe('ok')
}

/** Into the next audit epoch, and its round opened. */
async function nextRound(): Promise<void> {
  await rig.pass(HOUR_MS)
  expect(await open()).toBe('ok')
}

const named = (column: number, leaf: number): NamedLeaf => ({ manifest: scan, index: 0, stripe: 0, column, leaf })
const holder = (column: number): number => row[column] ?? -1
const accuse = (column: number, leaf = 0): Promise<void> =>
  majority({ number: holder(column), result: 'false', leaf: named(column, leaf) })
const standing = (column: number) => getStanding(rig.reader, holder(column))
const appeal = async (column: number, ...proofs: readonly LeafProof[]): Promise<string> => {
  const org = await rig.peerName(holder(column))
  const leaves = proofs.map((proof) => ({ manifest: scan, index: 0, proof }))
  return rig.outcome(await rig.test.tx(staff(org), draftAuditAppeal({ peer: peerIdOf(org), leaves })))
}
const isActive = async (column: number): Promise<boolean> =>
  (await getPeerSet(rig.reader)).active.includes(holder(column))

describe('audit.open', () => {
  test('opens the round of this epoch once, with a beacon of its own', async () => {
    expect(await open('city', epochNow() + 1)).toBe('AUDIT_EPOCH_WRONG')
    expect(await open()).toBe('ok')
    const first = await getAuditRound(rig.reader)
    expect(await open('north')).toBe('AUDIT_OPEN_ALREADY')
    await nextRound()
    const second = await getAuditRound(rig.reader)
    expect(second?.epoch).toBe((first?.epoch ?? 0) + 1)
    expect(second?.beacon).not.toEqual(first?.beacon)
  })
})

describe('a committee', () => {
  test('has five other institutions, and is another one with another beacon', async () => {
    await open()
    const number = holder(0)
    const peer = await getStoragePeer(rig.reader, number)
    const committee = await committeeOf(number)
    expect(new Set(committee).size).toBe(5)
    expect(committee).not.toContain(peer?.institution)
    const many = Array.from({ length: 20 }, (_, at) => `i${at}` as (typeof committee)[number]) as never
    const drawn = (fill: number): string =>
      auditCommittee(new Uint8Array(32).fill(fill), { number, institution: 'x' as never }, many).join(' ')
    expect(new Set([1, 2, 3, 4, 5].map(drawn)).size).toBe(5)
    expect(drawn(1)).toBe(drawn(1))
  })
})

describe('audit.verdicts', () => {
  test('three of five prove a peer, two do not', async () => {
    await open()
    const [a = '', b = '', c = ''] = await committeeOf(holder(0))
    const verdict = { number: holder(0), result: 'proven' } as const
    expect(await judge(a, verdict)).toBe('ok')
    expect(await judge(a, verdict)).toBe('ok')
    expect(await judge(b, verdict)).toBe('ok')
    expect((await standing(0)).provenMs).toBe(0)
    expect(await judge(c, verdict)).toBe('ok')
    expect((await standing(0)).provenMs).toBe(rig.nowMs)
  })

  test('are refused from who is not in the committee, of another epoch, before the round, of nobody, and without a leaf', async () => {
    const verdict = { number: holder(0), result: 'proven' } as const
    expect(await judge('city', verdict)).toBe('AUDIT_NOT_OPEN')
    await open()
    const own = await rig.peerName(holder(0))
    expect(await judge(own, verdict)).toBe('AUDIT_NOT_COMMITTEE')
    const [first = ''] = await committeeOf(holder(0))
    const late = draftAuditVerdicts({ epoch: epochNow() - 1, verdicts: [verdict] })
    expect(await rig.outcome(await rig.test.tx(staff(first), late))).toBe('AUDIT_EPOCH_WRONG')
    expect(await judge(first, { number: 999, result: 'proven' })).toBe('AUDIT_PEER_UNKNOWN')
    expect(await judge(first, { number: holder(0), result: 'false' })).toBe('TX_PAYLOAD_MALFORMED')
    expect((await standing(0)).provenMs).toBe(0)
  })

  test('a silent peer fails after a day of silence, and not before; an answer ends the silence', async () => {
    // Ten institutions: two silent columns of four are what it takes to fail at once.
    await start(10)
    await open()
    await majority({ number: holder(0), result: 'silent' })
    const since = (await standing(0)).silentMs
    expect(since).toBe(rig.nowMs)
    await nextRound()
    await majority({ number: holder(0), result: 'proven' })
    expect((await standing(0)).silentMs).toBe(0)
    await nextRound()
    await majority({ number: holder(0), result: 'silent' })
    await rig.pass(DAY_MS - HOUR_MS)
    expect(await open()).toBe('ok')
    await majority({ number: holder(0), result: 'silent' })
    expect(await isActive(0)).toBe(true)
    await nextRound()
    await majority({ number: holder(0), result: 'silent' })
    expect(await isActive(0)).toBe(false)
    expect((await standing(0)).failedMs).toBe(rig.nowMs)
  })

  test('silent peers fail at once where a group is near its end', async () => {
    await start(10)
    await open()
    await majority({ number: holder(0), result: 'silent' })
    expect(await isActive(0)).toBe(true)
    // 6+4: with two of a row silent, two spare columns are left of four.
    await majority({ number: holder(1), result: 'silent' })
    expect([await isActive(0), await isActive(1)]).toEqual([false, false])
  })
})

describe('an accused peer', () => {
  test('that shows the leaf is cleared', async () => {
    await open()
    await accuse(1, 2)
    expect((await standing(1)).accusedMs).toBe(rig.nowMs + HOUR_MS)
    expect(await appeal(1, proofOf(1, 2))).toBe('ok')
    expect(await standing(1)).toMatchObject({ accusedMs: 0, leaves: [], failedMs: 0 })
    await nextRound()
    await nextRound()
    expect(await isActive(1)).toBe(true)
    expect(await appeal(1)).toBe('AUDIT_NOT_ACCUSED')
  })

  test('that shows nothing, another leaf, or altered bytes fails when its time is over', async () => {
    await open()
    await accuse(1, 0)
    const good = proofOf(1, 0)
    const altered = { ...good, bytes: good.bytes.map((byte, at) => (at === 5 ? byte ^ 1 : byte)) }
    expect(await appeal(1, altered)).toBe('AUDIT_LEAF_WRONG')
    expect(await appeal(1, proofOf(1, 1))).toBe('AUDIT_LEAF_NOT_NAMED')
    expect(await appeal(1, proofOf(2, 0))).toBe('AUDIT_LEAF_NOT_NAMED')
    expect(await appeal(1)).toBe('ok')
    expect((await standing(1)).leaves).toHaveLength(3)
    await nextRound()
    await nextRound()
    expect(await isActive(1)).toBe(false)
    expect((await standing(1)).failedMs).toBeGreaterThan(0)
  })

  test('need not show what it does not hold any more', async () => {
    await open()
    await accuse(1)
    const org = await rig.peerName(holder(1))
    await rig.must(
      await rig.test.tx(staff(org), draftStorageLost({ columns: [{ manifest: scan, index: 0, column: 1 }] })),
    )
    expect(await appeal(1)).toBe('ok')
    expect((await standing(1)).accusedMs).toBe(0)
  })

  test('need not show what was erased on request', async () => {
    await open()
    await accuse(1)
    await rig.must(await rig.test.tx(staff('city'), draftStorageErase({ manifest: scan, records: [] })))
    expect(await appeal(1)).toBe('ok')
    expect((await standing(1)).accusedMs).toBe(0)
  })

  test('that failed may offer again when it has proven what it holds', async () => {
    await open()
    await accuse(1)
    await nextRound()
    await nextRound()
    const org = await rig.peerName(holder(1))
    expect(await rig.outcome(await rig.offer(org))).toBe('STORAGE_PEER_FAILED')
    await majority({ number: holder(1), result: 'proven' })
    expect(await rig.outcome(await rig.offer(org))).toBe('ok')
    expect(await isActive(1)).toBe(true)
  })

  test('is not helped by another institution', async () => {
    await open()
    await accuse(1, 0)
    const org = await rig.peerName(holder(1))
    const other = await rig.peerName(holder(2))
    const leaves = [{ manifest: scan, index: 0, proof: proofOf(1, 0) }]
    const tx = await rig.test.tx(staff(other), draftAuditAppeal({ peer: peerIdOf(org), leaves }))
    expect(await rig.outcome(tx)).toBe('STORAGE_PEER_NOT_MEMBER')
  })
})

describe('a leaf', () => {
  const root = merkleRoot(entries)

  test('of every shard leads to the extent’s root', () => {
    for (const column of [0, 1, 2, 3]) {
      for (const leaf of [0, 1, 2]) expect(isProven(root, proofOf(column, leaf))).toBe(true)
    }
    expect(leafBytes(SHARD_BYTES, 2)).toBe(100)
  })

  test('is no proof with anything about it changed', () => {
    const good = proofOf(1, 1)
    const lies: LeafProof[] = [
      { ...good, column: 2 },
      { ...good, stripe: 1 },
      { ...good, shardBytes: SHARD_BYTES + AUDIT_LEAF_BYTES },
      { ...good, audit: new Uint8Array(32) },
      { ...good, shard: 2 },
      { ...good, shards: 8 },
      { ...good, leaf: 0 },
      { ...good, leaf: 3 },
      { ...good, bytes: good.bytes.subarray(1) },
      { ...good, leafPath: good.leafPath.slice(1) },
      { ...good, shardPath: [] },
    ]
    for (const lie of lies) expect(isProven(root, lie)).toBe(false)
    expect(isProven(new Uint8Array(32), good)).toBe(false)
  })
})
