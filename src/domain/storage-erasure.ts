/**
 * Erasure on request (GDPR, article 17): the object is kept by nothing any more, every peer that holds a column deletes it and signs
 * that, and the ledger lists who has and who hasn't: the erasure certificate.
 *
 * What goes is the ciphertext. Wrapped keys stay on the ledger, as they stay in the blocks that brought them: they open nothing that
 * is left.
 *
 * @see docs/spec/storage-state.md; docs/decisions/0092-holds-and-erasure.md
 */
import type { CID } from 'multiformats/cid'
import { encodeCanonical } from '../core/codec.ts'
import type { ChainId, InstitutionId } from '../core/ids.ts'
import { COLUMNS_AT_ONCE_MAX, ERASE_RECORDS_MAX, TX_LARGE_BYTES_MAX } from '../core/limits.ts'
import type { Signer } from '../core/ports.ts'
import { type Decoded, list, object } from '../core/schema.ts'
import { type SignatureCheck, signMessage, verifyMany } from '../crypto/signatures.ts'
import { type PeerIdText, cborLink, peerIdKey, signatureBytes, timeMs } from '../ledger/fields.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import { type StateChange, type StateReader, type StateView, keyOf } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { getRecordCount } from './records.ts'
import { column } from './shard-receipt.ts'
import { type StorageColumnFault, HolderChanges, extentIndex } from './storage-columns.ts'
import { namingVersion, recordVersionRef } from './storage-holds.ts'
import { mayManage } from './storage-leases.ts'
import { STORAGE_LANE, institutionFault } from './storage-offers.ts'
import { returnStorage } from './storage-quota.ts'
import {
  type ExtentRef,
  OBJECT_NAMESPACE,
  type StoredObject,
  extentKey,
  getExtent,
  getStoragePeer,
  getStoredObject,
  objectChange,
  readUint16,
  storageNumber,
  uint16Bytes,
} from './storage-state.ts'

/** Key = digest of the manifest, number of the extent (4 bytes), column (2 bytes); value = who signed the deletion. */
export const ERASED_NAMESPACE = 'object-erased'
/** Type of the transaction by which an object is erased. */
export const ERASE = 'storage.erase'
const ERASED = 'storage.erased'
const URGENT_LANE = 0
const DIGEST_BYTES = 32

export type StorageErasureFault =
  | { code: 'OBJECT_UNKNOWN'; manifest: string }
  | { code: 'OBJECT_ERASED'; manifest: string }
  | { code: 'OBJECT_NOT_ERASED'; manifest: string }
  | { code: 'OBJECT_HELD'; manifest: string; holds: number }
  | { code: 'ERASURE_NOT_ENTITLED'; manifest: string; account: string; records: number }

const erase = object({
  manifest: cborLink,
  /** For a patient: every version of a record that names the object. */
  records: list(recordVersionRef, 0, ERASE_RECORDS_MAX),
})
export type StorageErase = Decoded<typeof erase>

const erased = object({
  columns: list(
    object({ manifest: cborLink, index: extentIndex, column, signature: signatureBytes }),
    1,
    COLUMNS_AT_ONCE_MAX,
  ),
})
export type StorageErased = Decoded<typeof erased>

const storedErased = object({ peer: storageNumber, timeMs, signature: signatureBytes })

/** A column of an erased object. */
export interface ErasedColumn {
  readonly index: number
  readonly column: number
  readonly peer: PeerIdText
  readonly institution: InstitutionId
}

export interface ErasureCertificate {
  readonly manifest: CID
  /** Block time of the request's transaction. */
  readonly erasedMs: number
  /** Deleted, with the peer's signature and the block time at which the ledger got it. */
  readonly signed: readonly (ErasedColumn & { readonly timeMs: number; readonly signature: Uint8Array })[]
  /** Held when it was erased, and not signed yet. */
  readonly waiting: readonly ErasedColumn[]
}

export const erasureTypes: Readonly<Record<string, TxType>> = {
  [ERASE]: txType({ lane: URGENT_LANE, payload: erase, apply: applyErase }),
  [ERASED]: txType({ lane: STORAGE_LANE, payload: erased, bytesMax: TX_LARGE_BYTES_MAX, apply: applyErased }),
}

/** Signed by its institution's own account, by who stored the object while no record names it, or by the patient of all records that do. */
export function draftStorageErase(payload: StorageErase): DraftTx {
  return { lane: URGENT_LANE, type: ERASE, payload }
}

/** Signed by any account: the peers' own signatures count. */
export function draftStorageErased(payload: StorageErased): DraftTx {
  return { lane: STORAGE_LANE, type: ERASED, payload }
}

/** A peer's word that it has deleted its column, and all that it kept of the extent with it. @param signer - of the peer's own key. */
export function signErased(signer: Signer, chain: ChainId, of: ExtentRef & { column: number }): Promise<Uint8Array> {
  return signMessage(signer, 'erasure', chain, erasedBytes(of))
}

/** Where the state says that an object is erased, and what was signed: what a proof of an erasure is made of. */
export function erasureStateKeys({
  manifest,
  signed,
}: ErasureCertificate): { readonly namespace: string; readonly key: Uint8Array }[] {
  const keys = signed.map((one) => ({ namespace: ERASED_NAMESPACE, key: erasedKey({ manifest, ...one }) }))
  return [{ namespace: OBJECT_NAMESPACE, key: manifest.multihash.digest }, ...keys]
}

/** What the ledger noted of an erased column, from its state value. */
export function notedErasure(value: unknown): { readonly timeMs: number; readonly signature: Uint8Array } {
  return storedErased(value, 'object-erased')
}

/** The check of a peer's word that it has deleted its column. */
export function erasedCheck(
  chain: ChainId,
  of: ExtentRef & Pick<ErasedColumn, 'column' | 'peer'>,
  signature: Uint8Array,
): SignatureCheck {
  return { publicKey: peerIdKey(of.peer), signature, type: 'erasure', chain, message: erasedBytes(of) }
}

/** Who has signed the deletion and who hasn't; `undefined` where the object isn't erased, or isn't known. */
export async function getErasureCertificate(
  reader: StateReader,
  manifest: CID,
): Promise<ErasureCertificate | undefined> {
  const stored = await getStoredObject(reader, manifest)
  if (stored === undefined || stored.erasedMs === 0) return undefined
  // Holders first: a signature that comes meanwhile is then in both lists, and not in neither.
  const held: ErasedColumn[] = []
  for (let index = 0; index < stored.committed; index++) {
    const holders = (await getExtent(reader, manifest, index))?.holders ?? []
    for (const [at, holder] of holders.entries()) {
      if (holder !== undefined) held.push({ index, column: at, ...(await named(reader, holder)) })
    }
  }
  const signed: ErasureCertificate['signed'][number][] = []
  const done = new Set<string>()
  for await (const { key, value } of reader.list(ERASED_NAMESPACE, manifest.multihash.digest)) {
    const { peer: number, ...rest } = storedErased(value, 'object-erased')
    const index = new DataView(key.buffer, key.byteOffset).getUint32(DIGEST_BYTES)
    const of = readUint16(key, DIGEST_BYTES + 4)
    done.add(`${index} ${of}`)
    signed.push({ index, column: of, ...(await named(reader, number)), ...rest })
  }
  const waiting = held.filter(({ column: of, index }) => !done.has(`${index} ${of}`))
  return { manifest, erasedMs: stored.erasedMs, signed, waiting }
}

async function named(view: StateView, number: number): Promise<Pick<ErasedColumn, 'institution' | 'peer'>> {
  const entry = await getStoragePeer(view, number)
  if (entry === undefined) throw new Error(`no storage peer ${number}: the state is not one that this machine made`)
  return { peer: entry.peer, institution: entry.institution }
}

async function applyErase(
  view: StateView,
  tx: Tx<StorageErase>,
  block: BlockContext,
): Promise<Step<StorageErasureFault>> {
  const manifest = tx.payload.manifest.toString()
  const stored = await getStoredObject(view, tx.payload.manifest)
  if (stored === undefined) return refuse({ code: 'OBJECT_UNKNOWN', manifest })
  if (stored.erasedMs > 0) return refuse({ code: 'OBJECT_ERASED', manifest })
  const records = await getRecordCount(view, stored.manifest)
  const isStorers = (await mayManage(view, stored, tx)) && (records === 0 || (await isOwnAccount(view, tx)))
  if (!isStorers && !(await isPatientOfAll(view, tx, stored))) {
    return refuse({ code: 'ERASURE_NOT_ENTITLED', manifest, account: tx.account, records })
  }
  if (stored.holds > 0) return refuse({ code: 'OBJECT_HELD', manifest, holds: stored.holds })
  const { timeMs: nowMs } = block
  const returned = await returnStorage(view, stored, { bytes: stored.stored, fromMs: nowMs, nowMs })
  return accept([objectChange({ ...stored, erasedMs: block.timeMs }), ...returned])
}

async function isOwnAccount(view: StateView, tx: Tx<StorageErase>): Promise<boolean> {
  return (await institutionFault(view, tx)) === undefined
}

/**
 * Whether all record versions that name the object are this patient's, and one of them was written by somebody else of the institution that
 * stored it. Anyone may write a record that names any manifest: with less, whoever wrote one about himself could erase what is
 * another's.
 */
async function isPatientOfAll(view: StateView, tx: Tx<StorageErase>, stored: StoredObject): Promise<boolean> {
  const { records } = tx.payload
  const distinct = new Set(records.map(({ record, version }) => `${record} ${version}`)).size
  if (distinct !== records.length || distinct !== (await getRecordCount(view, stored.manifest))) return false
  let isVouched = false
  for (const ref of records) {
    const found = await namingVersion(view, ref, stored.manifest)
    if (found === undefined || found.record.patient !== tx.account) return false
    if (found.written.org === stored.org && found.written.author !== tx.account) isVouched = true
  }
  return isVouched
}

async function applyErased(
  view: StateView,
  tx: Tx<StorageErased>,
  block: BlockContext,
): Promise<Step<StorageColumnFault | StorageErasureFault>> {
  const holders = new HolderChanges(view)
  const changes: StateChange[] = []
  const signatures: SignatureCheck[] = []
  for (const item of tx.payload.columns) {
    const ref = { manifest: item.manifest.toString(), index: item.index, column: item.column }
    const stored = await getStoredObject(view, item.manifest)
    if (stored === undefined) return refuse({ code: 'OBJECT_UNKNOWN', manifest: ref.manifest })
    if (stored.erasedMs === 0) return refuse({ code: 'OBJECT_NOT_ERASED', manifest: ref.manifest })
    const extent = await holders.extent(item)
    const holder = extent?.holders[item.column]
    const peer = holder === undefined ? undefined : await getStoragePeer(view, holder)
    if (extent === undefined || peer === undefined) return refuse({ code: 'COLUMN_NOT_HELD', ...ref })
    const { signature } = item
    signatures.push({
      publicKey: peerIdKey(peer.peer),
      signature,
      type: 'erasure',
      chain: block.chain,
      message: erasedBytes(item),
    })
    holders.set(extent, item.column, undefined)
    const value = { peer: peer.number, timeMs: block.timeMs, signature }
    changes.push({ namespace: ERASED_NAMESPACE, key: erasedKey(item), value })
  }
  const bad = (await verifyMany(signatures)).indexOf(false)
  const item = tx.payload.columns[bad]
  if (item !== undefined) {
    const { column: at, index, manifest } = item
    return refuse({ code: 'COLUMN_SIGNATURE_WRONG', manifest: manifest.toString(), index, column: at })
  }
  return accept([...changes, ...(await holders.changes())])
}

function erasedBytes({ column: of, index, manifest }: ExtentRef & { readonly column: number }): Uint8Array {
  return encodeCanonical({ manifest, index, column: of })
}

function erasedKey({ column: of, index, manifest }: ExtentRef & { readonly column: number }): Uint8Array {
  return keyOf(extentKey(manifest.multihash.digest, index), uint16Bytes(of))
}
