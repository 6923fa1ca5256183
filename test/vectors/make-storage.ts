/**
 * Makes storage.json: `node test/vectors/make-storage.ts > test/vectors/storage.json`.
 *
 * What storage peers sign, where extents lie, and one transaction of each type with the state that they leave. Another byte is another
 * protocol: peers would refuse each other's receipts, or fork.
 */
import { DAG_CBOR, digestCid } from '../../src/crypto/hash.ts'
import { draftStorageConfirm, draftStorageLost } from '../../src/domain/storage-columns.ts'
import { draftStorageCommit } from '../../src/domain/storage-commit.ts'
import { draftStorageErase, draftStorageErased, signErased } from '../../src/domain/storage-erasure.ts'
import { draftStorageHold, draftStorageUnhold } from '../../src/domain/storage-holds.ts'
import { draftStorageForget, draftStorageRelease, draftStorageRenew } from '../../src/domain/storage-leases.ts'
import { draftStorageLayout } from '../../src/domain/storage-layout.ts'
import { draftStorageDrain, draftStorageRemove, getPeerSet } from '../../src/domain/storage-offers.ts'
import { extentGroup } from '../../src/domain/storage-table.ts'
import type { DraftTx, SignedTx } from '../../src/ledger/transaction.ts'
import { sha256 } from '../../src/crypto/hash.ts'
import { DAY_MS, StorageChain, storageGenesis } from '../unit/domain/storage-rig.ts'
import { HOUR_MS, type Person, peerIdOf, signerOf, staff } from '../unit/ledger/network.ts'
import { manifestOf } from '../unit/ledger/samples.ts'
import { hexOf } from './load.ts'

/** Longer bodies, placement tables, are pinned by their hash. */
const BODY_BYTES_SHOWN = 4_096

export async function storageVectors(): Promise<object> {
  const rig = await StorageChain.bare(storageGenesis(6, { storage: { orphanMs: 1_000 } }))
  const transactions: object[] = []
  const play = async (tx: SignedTx): Promise<void> => {
    const outcome = await rig.outcome(tx)
    const { bodyBytes } = tx
    const body = bodyBytes.length > BODY_BYTES_SHOWN ? { sha256: hexOf(sha256(bodyBytes)) } : { body: hexOf(bodyBytes) }
    transactions.push({ type: tx.body.type, ...body, outcome, stateRoot: hexOf(rig.test.chain.head.stateRoot) })
  }
  const send = async (by: Person, draft: DraftTx): Promise<void> => play(await rig.test.tx(by, draft))
  const [city, lab] = [staff('city'), staff('lab')]
  for (const name of ['city', 'north', 'south', 'east', 'west', 'lab']) await play(await rig.offer(name))
  await send(lab, draftStorageDrain(peerIdOf('lab')))
  await send(lab, draftStorageRemove(peerIdOf('lab')))
  // A table of its own, turning round: vectors don't depend on the planner.
  const rows = Uint16Array.from({ length: 1_024 * 4 }, (_, at) => (Math.floor(at / 4) + (at % 4)) % 5)
  const { version } = await getPeerSet(rig.reader)
  for (const draft of draftStorageLayout({ base: version, groups: 1_024, code: { data: 2, parity: 2 }, rows })) {
    await send(city, draft)
  }
  const scan = manifestOf('scan')
  const facts = await rig.facts(scan)
  await send(city, draftStorageCommit(await rig.payload(scan, { extents: [await rig.extent(facts)] })))
  const peerOf = async (column: number): Promise<string> => rig.peerName((await rig.row(facts))[column])
  const columns = [{ manifest: scan, index: 0, receipt: await rig.receipt(facts, 3) }]
  await send(staff(await peerOf(3)), draftStorageConfirm({ columns }))
  await send(staff(await peerOf(0)), draftStorageLost({ columns: [{ manifest: scan, index: 0, column: 0 }] }))
  await send(city, draftStorageRenew({ manifest: scan, leaseMs: rig.test.nowMs + 60 * DAY_MS }))
  await send(city, draftStorageHold({ manifest: scan, reason: 'case-17' }))
  await send(city, draftStorageErase({ manifest: scan, records: [] }))
  await send(city, draftStorageUnhold(scan))
  await send(city, draftStorageRelease(scan))
  await send(city, draftStorageErase({ manifest: scan, records: [] }))
  const erased = { manifest: scan, index: 0, column: 1 }
  const signature = await signErased(signerOf(`${await peerOf(1)} peer`), rig.test.id, erased)
  await send(city, draftStorageErased({ columns: [{ ...erased, signature }] }))
  const gone = manifestOf('gone')
  await send(city, draftStorageCommit(await rig.payload(gone, { object: { leaseMs: 0 } })))
  await rig.pass(2_000)
  await send(lab, draftStorageForget(gone))
  const expiresMs = rig.test.genesis.timeMs + HOUR_MS
  return {
    note: 'Made by test/vectors/make-storage.ts from keys that are SHA-256("apotheca test key: " + name). Bytes in hex.',
    chain: rig.test.id,
    groups: [0, 1, 2, 4_095].map((index) => ({
      manifest: scan.toString(),
      index,
      group: extentGroup(digestCid(DAG_CBOR, scan.multihash.digest), index),
    })),
    receipt: {
      peer: peerIdOf('city'),
      extent: { ...facts, manifest: scan.toString(), map: facts.map.toString(), root: hexOf(facts.root) },
      column: 0,
      expiresMs,
      signature: hexOf((await rig.receipt(facts, 0, { by: 'city', expiresMs })).signature),
    },
    erasure: { peer: peerIdOf(await peerOf(1)), ...erased, manifest: scan.toString(), signature: hexOf(signature) },
    transactions,
  }
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await storageVectors(), null, 2)}\n`)
