/**
 * Records: which sealed documents a patient has, who wrote each version, and which institution keeps it. Nothing is
 * overwritten: an amendment is a new version beside the old ones.
 *
 * The content lies in the store under the CID of its manifest; here stand the CID and the content's key, wrapped to the
 * patient. Whoever may read besides holds a grant; see `grants.ts`.
 *
 * @see docs/spec/records.md; docs/decisions/0035-who-may-write-records.md
 */
import type { CID } from 'multiformats/cid'
import { encodeCanonical } from '../core/codec.ts'
import { type AccountId, type InstitutionId, type RecordId, type TxId, idHash, recordIdOf } from '../core/ids.ts'
import { RECORD_VERSIONS_MAX } from '../core/limits.ts'
import { type Decoder, integer, object, text } from '../core/schema.ts'
import { type WrappedKey, wrappedKey } from '../crypto/envelope.ts'
import { accountId, cborLink, institutionId, recordId, timeMs, txId } from '../ledger/fields.ts'
import { type BlockContext, type StateMachine, type Step, type Tx, accept, refuse, txType } from '../ledger/machine.ts'
import {
  type ListOptions,
  type StateChange,
  type StateReader,
  type StateView,
  keyOf,
  uint32Bytes,
  uint64Bytes,
} from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { currentKeys, getAccount } from './accounts.ts'

const RECORD_NAMESPACE = 'record'
const VERSION_NAMESPACE = 'record-version'
/** Lists: key = patient, time, record; value = true. */
const PATIENT_NAMESPACE = 'record-by-patient'
/** Lists: key = custodian with its length, time, record; value = true. */
const CUSTODIAN_NAMESPACE = 'record-by-custodian'
/** Key = digest of a manifest; value = how many versions of records name it. */
const MANIFEST_NAMESPACE = 'record-manifest'
const RECORD_ADD = 'record.add'
const RECORD_AMEND = 'record.amend'
const CLINICAL_LANE = 1

export interface MedicalRecord {
  readonly id: RecordId
  readonly patient: AccountId
  /** Such as `imaging`; the patient's consent may name it. */
  readonly category: string
  /** Institution whose duty it is to keep the record: the home of who added it. */
  readonly custodian: InstitutionId
  /** Account that added it. */
  readonly author: AccountId
  /** Block time. */
  readonly addedMs: number
  /** How many versions there are; they are numbered from 1. */
  readonly versions: number
}

export interface RecordVersion {
  readonly record: RecordId
  /** From 1. */
  readonly version: number
  readonly manifest: CID
  /** The content's key, wrapped to the patient in `recordKeyContext`. */
  readonly key: WrappedKey
  readonly author: AccountId
  readonly org: InstitutionId
  /** Block time. */
  readonly timeMs: number
  /** Transaction that wrote it. */
  readonly tx: TxId
}

export interface RecordAdd {
  readonly patient: AccountId
  readonly category: string
  readonly manifest: CID
  readonly key: WrappedKey
}

export interface RecordAmend {
  readonly record: RecordId
  readonly manifest: CID
  readonly key: WrappedKey
}

export type RecordFault =
  | { code: 'RECORD_PATIENT_UNKNOWN'; patient: string }
  | { code: 'RECORD_PATIENT_NOT_PERSON'; patient: string }
  | { code: 'RECORD_KEY_WRAP_WRONG'; wrap: string; expected: string }
  | { code: 'RECORD_UNKNOWN'; record: string }
  | { code: 'RECORD_NOT_AUTHOR'; record: string; account: string }
  | { code: 'RECORD_VERSIONS_FULL'; record: string; versionsMax: number }

export const category: Decoder<string> = text(1, 32, /^[a-z0-9-]+$/)
export const recordVersionNumber: Decoder<number> = integer(1, RECORD_VERSIONS_MAX)

const recordAdd: Decoder<RecordAdd> = object({ patient: accountId, category, manifest: cborLink, key: wrappedKey })
const recordAmend: Decoder<RecordAmend> = object({ record: recordId, manifest: cborLink, key: wrappedKey })
const storedRecord = object({
  patient: accountId,
  category,
  custodian: institutionId,
  author: accountId,
  addedMs: timeMs,
  versions: recordVersionNumber,
})
const storedVersion = object({
  manifest: cborLink,
  key: wrappedKey,
  author: accountId,
  org: institutionId,
  timeMs,
  tx: txId,
})
const recordCount = integer(0)
const utf8 = new TextEncoder()
const ID_BYTES = 32

export async function getRecord(view: StateView, id: RecordId): Promise<MedicalRecord | undefined> {
  const value = await view.get(RECORD_NAMESPACE, idHash(id))
  return value === undefined ? undefined : { id, ...storedRecord(value, 'record') }
}

export async function getRecordVersion(
  view: StateView,
  record: RecordId,
  version: number,
): Promise<RecordVersion | undefined> {
  const value = await view.get(VERSION_NAMESPACE, keyOf(idHash(record), uint32Bytes(version)))
  return value === undefined ? undefined : { record, version, ...storedVersion(value, 'version') }
}

/** How many versions of records name this manifest, whether or not its object is stored. */
export async function getRecordCount(view: StateView, manifest: CID): Promise<number> {
  return recordCount((await view.get(MANIFEST_NAMESPACE, manifest.multihash.digest)) ?? 0, 'record-manifest')
}

/** Where a record and some of its versions stand in the state: what a proof of it is made of. */
export function recordStateKeys(
  id: RecordId,
  versions: { readonly from: number; readonly to: number },
): { readonly namespace: string; readonly key: Uint8Array }[] {
  const keys = [{ namespace: RECORD_NAMESPACE, key: idHash(id) }]
  for (let version = versions.from; version <= versions.to; version++) {
    keys.push({ namespace: VERSION_NAMESPACE, key: keyOf(idHash(id), uint32Bytes(version)) })
  }
  return keys
}

/** @returns which record, or version of one, a state key is of; `undefined` where it is of neither. */
export function recordOfStateKey(
  namespace: string,
  key: Uint8Array,
): { readonly record: RecordId; readonly version?: number } | undefined {
  if (namespace === RECORD_NAMESPACE && key.length === ID_BYTES) return { record: recordIdOf(key) }
  if (namespace !== VERSION_NAMESPACE || key.length !== ID_BYTES + 4) return undefined
  return { record: recordIdOf(key.slice(0, ID_BYTES)), version: versionOfKey(key) }
}

/** All versions of a record, the first first. */
export async function* listVersions(
  reader: StateReader,
  record: RecordId,
  options?: ListOptions,
): AsyncGenerator<RecordVersion> {
  for await (const { key, value } of reader.list(VERSION_NAMESPACE, idHash(record), options)) {
    yield { record, version: versionOfKey(key), ...storedVersion(value, 'version') }
  }
}

/** A record in a list; `cursor` is where the next page continues (`ListOptions.after`). */
export interface ListedRecord {
  readonly record: MedicalRecord
  readonly cursor: Uint8Array
}

function versionOfKey(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset, key.byteLength).getUint32(ID_BYTES)
}

/** Records of a patient, by the time they were added. */
export function listRecordsOfPatient(
  reader: StateReader,
  patient: AccountId,
  options?: ListOptions,
): AsyncGenerator<ListedRecord> {
  return listBy(reader, PATIENT_NAMESPACE, idHash(patient), options)
}

/** Records that an institution keeps, by the time they were added. */
export function listRecordsOfCustodian(
  reader: StateReader,
  custodian: InstitutionId,
  options?: ListOptions,
): AsyncGenerator<ListedRecord> {
  return listBy(reader, CUSTODIAN_NAMESPACE, custodianPrefix(custodian), options)
}

async function* listBy(
  reader: StateReader,
  namespace: string,
  prefix: Uint8Array,
  options?: ListOptions,
): AsyncGenerator<ListedRecord> {
  for await (const { key } of reader.list(namespace, prefix, options)) {
    const record = await getRecord(reader, recordIdOf(key.slice(-ID_BYTES)))
    if (record !== undefined) yield { record, cursor: key }
  }
}

export const recordsMachine: StateMachine = {
  namespaces: [RECORD_NAMESPACE, VERSION_NAMESPACE, PATIENT_NAMESPACE, CUSTODIAN_NAMESPACE, MANIFEST_NAMESPACE],
  types: {
    [RECORD_ADD]: txType({ lane: CLINICAL_LANE, payload: recordAdd, apply: applyAdd }),
    [RECORD_AMEND]: txType({ lane: CLINICAL_LANE, payload: recordAmend, apply: applyAmend }),
  },
}

/** The record's id is made of the transaction's hash: see `recordIdOfTx`. */
export function draftRecordAdd(payload: RecordAdd): DraftTx {
  return { lane: CLINICAL_LANE, type: RECORD_ADD, payload }
}

export function draftRecordAmend(payload: RecordAmend): DraftTx {
  return { lane: CLINICAL_LANE, type: RECORD_AMEND, payload }
}

/** Id of the record that a `record.add` transaction adds. */
export function recordIdOfTx(tx: TxId): RecordId {
  return recordIdOf(idHash(tx))
}

/**
 * What the content's key is bound to when it is wrapped to the patient: moved to another manifest or patient, it doesn't
 * open.
 */
export function recordKeyContext(bound: { readonly patient: AccountId; readonly manifest: CID }): Uint8Array {
  return encodeCanonical({ use: 'apotheca/record-key/1', patient: bound.patient, manifest: bound.manifest })
}

async function applyAdd(view: StateView, tx: Tx<RecordAdd>, block: BlockContext): Promise<Step<RecordFault>> {
  const { account: author, org: custodian } = tx
  const { category: name, key, manifest, patient } = tx.payload
  const fault = await keyFault(view, patient, key)
  if (fault !== undefined) return refuse(fault)
  const id = recordIdOf(tx.hash)
  const record: MedicalRecord = { id, patient, category: name, custodian, author, addedMs: block.timeMs, versions: 1 }
  const place = keyOf(uint64Bytes(block.timeMs), idHash(id))
  return accept([
    recordChange(record),
    await namedChange(view, manifest),
    versionChange({ record: id, version: 1, manifest, key, author, org: custodian, timeMs: block.timeMs, tx: tx.id }),
    { namespace: PATIENT_NAMESPACE, key: keyOf(idHash(patient), place), value: true },
    { namespace: CUSTODIAN_NAMESPACE, key: keyOf(custodianPrefix(custodian), place), value: true },
  ])
}

async function applyAmend(view: StateView, tx: Tx<RecordAmend>, block: BlockContext): Promise<Step<RecordFault>> {
  const { account: author, org } = tx
  const { key, manifest, record: id } = tx.payload
  const record = await getRecord(view, id)
  if (record === undefined) return refuse({ code: 'RECORD_UNKNOWN', record: id })
  const mayWrite = author === record.author || author === record.patient || org === record.custodian
  if (!mayWrite) return refuse({ code: 'RECORD_NOT_AUTHOR', record: id, account: author })
  if (record.versions >= RECORD_VERSIONS_MAX) {
    return refuse({ code: 'RECORD_VERSIONS_FULL', record: id, versionsMax: RECORD_VERSIONS_MAX })
  }
  const fault = await keyFault(view, record.patient, key)
  if (fault !== undefined) return refuse(fault)
  const version = record.versions + 1
  return accept([
    recordChange({ ...record, versions: version }),
    await namedChange(view, manifest),
    versionChange({ record: id, version, manifest, key, author, org, timeMs: block.timeMs, tx: tx.id }),
  ])
}

/** The patient must be a person, and the key wrapped in the way that the patient's own key opens. */
async function keyFault(view: StateView, patient: AccountId, key: WrappedKey): Promise<RecordFault | undefined> {
  const account = await getAccount(view, patient)
  if (account === undefined) return { code: 'RECORD_PATIENT_UNKNOWN', patient }
  if (account.kind !== 'person') return { code: 'RECORD_PATIENT_NOT_PERSON', patient }
  const expected = currentKeys(account).encryption.wrap
  return key.wrap === expected ? undefined : { code: 'RECORD_KEY_WRAP_WRONG', wrap: key.wrap, expected }
}

async function namedChange(view: StateView, manifest: CID): Promise<StateChange> {
  const count = await getRecordCount(view, manifest)
  return { namespace: MANIFEST_NAMESPACE, key: manifest.multihash.digest, value: count + 1 }
}

function recordChange(record: MedicalRecord): StateChange {
  const { id, ...value } = record
  return { namespace: RECORD_NAMESPACE, key: idHash(id), value }
}

function versionChange(written: RecordVersion): StateChange {
  const { record, version, ...value } = written
  return { namespace: VERSION_NAMESPACE, key: keyOf(idHash(record), uint32Bytes(version)), value }
}

/** The length first, so that `city` is no prefix of `city-west`. */
function custodianPrefix(custodian: InstitutionId): Uint8Array {
  const name = utf8.encode(custodian)
  return keyOf(new Uint8Array([name.length]), name)
}
