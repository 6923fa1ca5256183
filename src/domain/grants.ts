/**
 * Grants: which account may read one version of one record, for which purpose, from when until when. A grant carries the
 * content's key, wrapped to the grantee: consent and the means to read come in one transaction, from the patient alone.
 *
 * Default is no: outside its time, for another version or purpose, there is no grant.
 *
 * @see docs/spec/grants.md
 */
import type { CID } from 'multiformats/cid'
import { encodeCanonical } from '../core/codec.ts'
import { type AccountId, type RecordId, type TxId, accountIdOf, idHash, recordIdOf } from '../core/ids.ts'
import { CONSENT_PERIOD_MS_MAX } from '../core/limits.ts'
import { type Decoder, literal, object } from '../core/schema.ts'
import { type WrappedKey, wrappedKey } from '../crypto/envelope.ts'
import { accountId, recordId, timeMs, txId } from '../ledger/fields.ts'
import { type BlockContext, type StateMachine, type Step, type Tx, accept, refuse, txType } from '../ledger/machine.ts'
import { type ListOptions, type StateReader, type StateView, keyOf, uint32Bytes } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { currentKeys, getAccount } from './accounts.ts'
import { getRecord, recordVersionNumber } from './records.ts'

/** Key = record, version, grantee, purpose. */
const GRANT_NAMESPACE = 'grant'
/** Lists: key = grantee, record, version, purpose; value = true. */
const GRANTEE_NAMESPACE = 'grant-by-grantee'
const CONSENT_GRANT = 'consent.grant'
const CLINICAL_LANE = 1

/** HL7 v3 PurposeOfUse: the general purposes, and those of their special cases that this network tells apart. */
export const PURPOSES_OF_USE = [
  /** Treatment; care management; coordination of care; emergency treatment; break the glass. */
  'TREAT',
  'CAREMGT',
  'COC',
  'ETREAT',
  'BTG',
  /** Payment; claim attachment; coverage under a policy. */
  'HPAYMT',
  'CLMATTCH',
  'COVERAGE',
  /** Operations; legal; quality improvement; patient safety; training. */
  'HOPERAT',
  'HLEGAL',
  'HQUALIMP',
  'PATSFTY',
  'TRAIN',
  /** Research; clinical trial; disease-specific; population origins or ancestry. */
  'HRESCH',
  'CLINTRCH',
  'DSRCH',
  'POARCH',
  /** Public health; disaster; threat. */
  'PUBHLTH',
  'DISASTER',
  'THREAT',
  /** At the patient's request; the family's; a power of attorney. */
  'PATRQT',
  'FAMRQT',
  'PWATRNY',
] as const
export type PurposeOfUse = (typeof PURPOSES_OF_USE)[number]

export interface Grant {
  readonly record: RecordId
  readonly version: number
  readonly grantee: AccountId
  readonly purpose: PurposeOfUse
  /** Block time from which it holds. */
  readonly startMs: number
  /** Block time from which it holds no longer. */
  readonly endMs: number
  /** The content's key, wrapped to the grantee in `grantKeyContext`. */
  readonly key: WrappedKey
  /** Block time at which it was given. */
  readonly givenMs: number
  /** Transaction that gave it. */
  readonly tx: TxId
}

export type ConsentGrant = Omit<Grant, 'givenMs' | 'tx'>

export type ConsentFault =
  | { code: 'CONSENT_RECORD_UNKNOWN'; record: string }
  | { code: 'CONSENT_NOT_PATIENT'; record: string; account: string }
  | { code: 'CONSENT_VERSION_UNKNOWN'; record: string; version: number; versions: number }
  | { code: 'CONSENT_GRANTEE_UNKNOWN'; grantee: string }
  | { code: 'CONSENT_KEY_WRAP_WRONG'; wrap: string; expected: string }
  | { code: 'CONSENT_PERIOD_EMPTY'; startMs: number; endMs: number }
  | { code: 'CONSENT_EXPIRY_PAST'; endMs: number; blockTimeMs: number }
  | { code: 'CONSENT_PERIOD_TOO_LONG'; endMs: number; latestMs: number }
  | { code: 'CONSENT_GRANT_EXISTS'; tx: string; endMs: number }

export const purposeOfUse: Decoder<PurposeOfUse> = literal(...PURPOSES_OF_USE)
const consentGrant: Decoder<ConsentGrant> = object({
  record: recordId,
  version: recordVersionNumber,
  grantee: accountId,
  purpose: purposeOfUse,
  startMs: timeMs,
  endMs: timeMs,
  key: wrappedKey,
})
const storedGrant = object({ startMs: timeMs, endMs: timeMs, key: wrappedKey, givenMs: timeMs, tx: txId })

const utf8 = new TextEncoder()
const ID_BYTES = 32
const VERSION_BYTES = 4
const PURPOSE_OFFSET = 2 * ID_BYTES + VERSION_BYTES

/** What names a grant: for one purpose, an account has at most one on a version. */
export type GrantName = Pick<Grant, 'record' | 'version' | 'grantee' | 'purpose'>

/** A grant in a list; `cursor` is where the next page continues (`ListOptions.after`). */
export interface ListedGrant {
  readonly grant: Grant
  readonly cursor: Uint8Array
}

export async function getGrant(view: StateView, name: GrantName): Promise<Grant | undefined> {
  const { grantee, purpose, record, version } = name
  const value = await view.get(GRANT_NAMESPACE, grantKey(name))
  return value === undefined ? undefined : { record, version, grantee, purpose, ...storedGrant(value, 'grant') }
}

/** Whether a grant holds at a time of the chain. */
export function isInForce(grant: Pick<Grant, 'startMs' | 'endMs'>, atMs: number): boolean {
  return grant.startMs <= atMs && atMs < grant.endMs
}

/**
 * The grant by which an account may read a version of a record now.
 *
 * @param atMs - block time, such as the head's.
 * @param purpose - only a grant for this purpose. @default any
 * @returns of several, the one that ends last; `undefined`: reading is not allowed.
 */
export async function grantInForce(
  reader: StateReader,
  asked: { readonly record: RecordId; readonly version: number; readonly grantee: AccountId },
  atMs: number,
  purpose?: PurposeOfUse,
): Promise<Grant | undefined> {
  let best: Grant | undefined
  const prefix = keyOf(idHash(asked.record), uint32Bytes(asked.version), idHash(asked.grantee))
  for await (const { grant } of listGrants(reader, prefix)) {
    if (!isInForce(grant, atMs) || (purpose !== undefined && grant.purpose !== purpose)) continue
    if (best === undefined || grant.endMs > best.endMs) best = grant
  }
  return best
}

/** Grants on a record, by version; lapsed ones too, until they are replaced. */
export function listGrantsOfRecord(
  reader: StateReader,
  record: RecordId,
  options?: ListOptions,
): AsyncGenerator<ListedGrant> {
  return listGrants(reader, idHash(record), options)
}

/** Grants to an account, by record; lapsed ones too, until they are replaced. */
export async function* listGrantsOfGrantee(
  reader: StateReader,
  grantee: AccountId,
  options?: ListOptions,
): AsyncGenerator<ListedGrant> {
  for await (const { key } of reader.list(GRANTEE_NAMESPACE, idHash(grantee), options)) {
    const record = recordIdOf(key.slice(ID_BYTES, 2 * ID_BYTES))
    const version = versionAt(key, 2 * ID_BYTES)
    const grant = await getGrant(reader, { record, version, grantee, purpose: purposeAt(key) })
    if (grant !== undefined) yield { grant, cursor: key }
  }
}

export const grantsMachine: StateMachine = {
  namespaces: [GRANT_NAMESPACE, GRANTEE_NAMESPACE],
  types: { [CONSENT_GRANT]: txType({ lane: CLINICAL_LANE, payload: consentGrant, apply: applyGrant }) },
}

/** A grant, signed by the patient of the record alone. */
export function draftConsentGrant(payload: ConsentGrant): DraftTx {
  return { lane: CLINICAL_LANE, type: CONSENT_GRANT, payload }
}

/** What the content's key is bound to when it is wrapped to the grantee: moved to another grant, it doesn't open. */
export function grantKeyContext(bound: {
  readonly record: RecordId
  readonly version: number
  readonly manifest: CID
  readonly grantee: AccountId
}): Uint8Array {
  const { grantee, manifest, record, version } = bound
  return encodeCanonical({ use: 'apotheca/grant-key/1', record, version, manifest, grantee })
}

async function applyGrant(view: StateView, tx: Tx<ConsentGrant>, block: BlockContext): Promise<Step<ConsentFault>> {
  const { endMs, grantee, key, purpose, record, startMs, version } = tx.payload
  const fault = (await subjectFault(view, tx)) ?? periodFault(startMs, endMs, block.timeMs)
  if (fault !== undefined) return refuse(fault)
  const name = { record, version, grantee, purpose }
  const earlier = await getGrant(view, name)
  // One that is yet to begin counts too: only a lapsed grant makes room.
  if (earlier !== undefined && earlier.endMs > block.timeMs) {
    return refuse({ code: 'CONSENT_GRANT_EXISTS', tx: earlier.tx, endMs: earlier.endMs })
  }
  const value = { startMs, endMs, key, givenMs: block.timeMs, tx: tx.id }
  return accept([
    { namespace: GRANT_NAMESPACE, key: grantKey(name), value },
    { namespace: GRANTEE_NAMESPACE, key: granteeKey(name), value: true },
  ])
}

async function subjectFault(view: StateView, tx: Tx<ConsentGrant>): Promise<ConsentFault | undefined> {
  const { grantee, key, record: id, version } = tx.payload
  const record = await getRecord(view, id)
  if (record === undefined) return { code: 'CONSENT_RECORD_UNKNOWN', record: id }
  if (tx.account !== record.patient) return { code: 'CONSENT_NOT_PATIENT', record: id, account: tx.account }
  const { versions } = record
  if (version > versions) return { code: 'CONSENT_VERSION_UNKNOWN', record: id, version, versions }
  const account = await getAccount(view, grantee)
  if (account === undefined) return { code: 'CONSENT_GRANTEE_UNKNOWN', grantee }
  const expected = currentKeys(account).encryption.wrap
  return key.wrap === expected ? undefined : { code: 'CONSENT_KEY_WRAP_WRONG', wrap: key.wrap, expected }
}

function periodFault(startMs: number, endMs: number, blockTimeMs: number): ConsentFault | undefined {
  if (startMs >= endMs) return { code: 'CONSENT_PERIOD_EMPTY', startMs, endMs }
  // Block time, not the wall clock: replay years later must reach the same verdict.
  if (endMs <= blockTimeMs) return { code: 'CONSENT_EXPIRY_PAST', endMs, blockTimeMs }
  const latestMs = Math.min(startMs, blockTimeMs) + CONSENT_PERIOD_MS_MAX
  return endMs > latestMs ? { code: 'CONSENT_PERIOD_TOO_LONG', endMs, latestMs } : undefined
}

async function* listGrants(
  reader: StateReader,
  prefix: Uint8Array,
  options?: ListOptions,
): AsyncGenerator<ListedGrant> {
  for await (const { key, value } of reader.list(GRANT_NAMESPACE, prefix, options)) {
    const record = recordIdOf(key.slice(0, ID_BYTES))
    const version = versionAt(key, ID_BYTES)
    const grantee = accountIdOf(key.slice(ID_BYTES + VERSION_BYTES, PURPOSE_OFFSET))
    const grant = { record, version, grantee, purpose: purposeAt(key), ...storedGrant(value, 'grant') }
    yield { grant, cursor: key }
  }
}

function grantKey(name: GrantName): Uint8Array {
  const { grantee, purpose, record, version } = name
  return keyOf(idHash(record), uint32Bytes(version), idHash(grantee), utf8.encode(purpose))
}

function granteeKey(name: GrantName): Uint8Array {
  const { grantee, purpose, record, version } = name
  return keyOf(idHash(grantee), idHash(record), uint32Bytes(version), utf8.encode(purpose))
}

function versionAt(key: Uint8Array, offset: number): number {
  return new DataView(key.buffer, key.byteOffset, key.byteLength).getUint32(offset)
}

/** In both keys the purpose stands last, after the same number of bytes. */
function purposeAt(key: Uint8Array): PurposeOfUse {
  return purposeOfUse(new TextDecoder().decode(key.subarray(PURPOSE_OFFSET)), 'grant.purpose')
}
