/**
 * Legal holds: while one is on an object, it is kept and can't be erased, whatever its lease and whoever asks.
 *
 * An institution has one hold on an object, and only itself lifts it. Reasons are codes that institutions agree on, never text: a
 * ledger can't forget a name.
 *
 * @see docs/spec/storage-state.md
 */
import type { CID } from 'multiformats/cid'
import type { InstitutionId } from '../core/ids.ts'
import { type Decoded, object, optional, text } from '../core/schema.ts'
import { accountId, cborLink, institutionId, recordId, timeMs } from '../ledger/fields.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import { type StateReader, type StateView, keyOf } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { getInstitution } from './accounts.ts'
import { getRecord, getRecordVersion, recordVersionNumber } from './records.ts'
import { endMs, isKeptNow } from './storage-leases.ts'
import { type StorageOfferFault, institutionFault } from './storage-offers.ts'
import { getStorageParams } from './storage-params.ts'
import { type StoredObject, getStoredObject, objectChange } from './storage-state.ts'

/** Key = digest of the manifest, institution; value = the hold. */
export const HOLD_NAMESPACE = 'object-hold'
const HOLD = 'storage.hold'
const UNHOLD = 'storage.unhold'
const URGENT_LANE = 0
const DIGEST_BYTES = 32

export type StorageHoldFault =
  | { code: 'OBJECT_UNKNOWN'; manifest: string }
  | { code: 'OBJECT_ERASED'; manifest: string }
  | { code: 'OBJECT_EXPIRED'; manifest: string }
  | { code: 'HOLD_NOT_ENTITLED'; manifest: string; org: string }
  | { code: 'HOLD_EXISTS'; manifest: string; org: string }
  | { code: 'HOLD_UNKNOWN'; manifest: string; org: string }

/** A version of a record. */
export const recordVersionRef = object({ record: recordId, version: recordVersionNumber })
export type RecordVersionRef = Decoded<typeof recordVersionRef>

export const holdReason = text(1, 32, /^[a-z0-9](?:[a-z0-9.-]{0,30}[a-z0-9])?$/)
const hold = object({
  manifest: cborLink,
  reason: holdReason,
  /** Names the object, and is kept by who places the hold: needed by a custodian that didn't store the object. */
  record: optional(recordVersionRef),
})
export type StorageHold = Decoded<typeof hold>
const unhold = object({ manifest: cborLink })

const storedHold = object({ reason: holdReason, account: accountId, sinceMs: timeMs })
export interface LegalHold extends Decoded<typeof storedHold> {
  readonly institution: InstitutionId
}

export const holdTypes: Readonly<Record<string, TxType>> = {
  [HOLD]: txType({ lane: URGENT_LANE, payload: hold, apply: applyHold }),
  [UNHOLD]: txType({ lane: URGENT_LANE, payload: unhold, apply: applyUnhold }),
}

/** Signed by the own account of a court, a regulator, the institution that stored the object, or the custodian of a record that names it. */
export function draftStorageHold(payload: StorageHold): DraftTx {
  return { lane: URGENT_LANE, type: HOLD, payload }
}

/** Lifts the own hold. */
export function draftStorageUnhold(manifest: CID): DraftTx {
  return { lane: URGENT_LANE, type: UNHOLD, payload: { manifest } }
}

/** Holds on an object, by institution. */
export async function* listHolds(reader: StateReader, manifest: CID): AsyncGenerator<LegalHold> {
  for await (const { key, value } of reader.list(HOLD_NAMESPACE, manifest.multihash.digest)) {
    const institution = institutionId(new TextDecoder().decode(key.subarray(DIGEST_BYTES)), 'object-hold.institution')
    yield { institution, ...storedHold(value, 'object-hold') }
  }
}

/** The version of a record, if it names this object. */
export async function namingVersion(view: StateView, { record, version }: RecordVersionRef, manifest: CID) {
  const found = await getRecord(view, record)
  const written = await getRecordVersion(view, record, version)
  return found !== undefined && written?.manifest.equals(manifest) === true ? { record: found, written } : undefined
}

async function applyHold(
  view: StateView,
  tx: Tx<StorageHold>,
  block: BlockContext,
): Promise<Step<StorageHoldFault | StorageOfferFault>> {
  const { org, payload } = tx
  const manifest = payload.manifest.toString()
  const notOwn = await institutionFault(view, tx)
  if (notOwn !== undefined) return refuse(notOwn)
  const stored = await getStoredObject(view, payload.manifest)
  if (stored === undefined) return refuse({ code: 'OBJECT_UNKNOWN', manifest })
  if (!(await isEntitled(view, tx, stored))) return refuse({ code: 'HOLD_NOT_ENTITLED', manifest, org })
  if (stored.erasedMs > 0) return refuse({ code: 'OBJECT_ERASED', manifest })
  const params = await getStorageParams(view)
  const isOver = endMs(stored, params) + params.orphanMs <= block.timeMs
  // A hold on what the peers were free to delete would promise what nobody can keep.
  if (isOver && !(await isKeptNow(view, stored, block.timeMs))) return refuse({ code: 'OBJECT_EXPIRED', manifest })
  const key = holdKey(stored, org)
  if ((await view.get(HOLD_NAMESPACE, key)) !== undefined) return refuse({ code: 'HOLD_EXISTS', manifest, org })
  const value = { reason: payload.reason, account: tx.account, sinceMs: block.timeMs }
  return accept([{ namespace: HOLD_NAMESPACE, key, value }, objectChange({ ...stored, holds: stored.holds + 1 })])
}

async function isEntitled(view: StateView, tx: Tx<StorageHold>, stored: StoredObject): Promise<boolean> {
  const { org, payload } = tx
  const role = (await getInstitution(view, org))?.role
  if (role === 'court' || role === 'regulator' || org === stored.org) return true
  if (payload.record === undefined) return false
  return (await namingVersion(view, payload.record, payload.manifest))?.record.custodian === org
}

async function applyUnhold(
  view: StateView,
  tx: Tx<Decoded<typeof unhold>>,
  block: BlockContext,
): Promise<Step<StorageHoldFault | StorageOfferFault>> {
  const { org, payload } = tx
  const manifest = payload.manifest.toString()
  const notOwn = await institutionFault(view, tx)
  if (notOwn !== undefined) return refuse(notOwn)
  const stored = await getStoredObject(view, payload.manifest)
  if (stored === undefined) return refuse({ code: 'OBJECT_UNKNOWN', manifest })
  const key = holdKey(stored, org)
  if ((await view.get(HOLD_NAMESPACE, key)) === undefined) return refuse({ code: 'HOLD_UNKNOWN', manifest, org })
  // Until now it was kept: the time in which it can be renewed begins now, and not years ago.
  const leaseMs = Math.max(stored.leaseMs, block.timeMs)
  return accept([
    { namespace: HOLD_NAMESPACE, key, value: undefined },
    objectChange({ ...stored, holds: stored.holds - 1, leaseMs }),
  ])
}

function holdKey({ manifest }: StoredObject, institution: InstitutionId): Uint8Array {
  return keyOf(manifest.multihash.digest, new TextEncoder().encode(institution))
}
