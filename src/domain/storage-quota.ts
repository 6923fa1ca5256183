/**
 * How much an institution may have stored, over time. There are no coins: each institution has a bucket of MiB-hours that block time
 * refills, at `quotaMib` for each hour, up to `quotaMib` for one `leaseMs` (`orphanMs` where that is longer). A commit takes what its
 * columns need until the end of the lease, a longer lease the difference; what is let go or erased early comes back.
 *
 * So an institution may fill `quotaMib` with leases of the common length at once, and keep so much renewed for ever. What a record names
 * after its lease costs nothing more: nobody who could forget to pay decides over a patient's record.
 *
 * All arithmetic is of whole MiB and hours, so that every peer counts alike.
 *
 * @see docs/spec/storage-state.md, "Quota"; docs/decisions/0114-storage-quotas.md
 */
import type { InstitutionId } from '../core/ids.ts'
import { integer, object } from '../core/schema.ts'
import { timeMs } from '../ledger/fields.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import type { StorageParams } from '../ledger/storage-params.ts'
import { getStorageParams } from './storage-params.ts'
import type { StoredObject } from './storage-state.ts'

/** Key = institution; no entry: a full bucket. */
export const STORAGE_QUOTA_NAMESPACE = 'storage-quota'

export type StorageQuotaFault = {
  code: 'STORAGE_QUOTA_EXHAUSTED'
  org: string
  mibHours: number
  left: number
  fitsMs: number
}

/** What an institution may have stored for one lease of the common length, and how much of that it may add now. */
export interface StorageQuota {
  readonly bytes: number
  readonly leftBytes: number
  readonly leaseMs: number
}

interface Bucket {
  readonly mibHours: number
  /** Block time up to which it was refilled. */
  readonly timeMs: number
}

const HOUR_MS = 3_600_000
const MIB = 1024 * 1024

const utf8 = new TextEncoder()
const bucket = object({ mibHours: integer(0), timeMs })

/** @returns MiB-hours, each begun one counted. @param fromMs, untilMs - block time. */
export function storageCost(bytes: number, fromMs: number, untilMs: number): number {
  return Math.ceil(bytes / MIB) * Math.ceil(Math.max(0, untilMs - fromMs) / HOUR_MS)
}

export async function getStorageQuota(view: StateView, org: InstitutionId, nowMs: number): Promise<StorageQuota> {
  const params = await getStorageParams(view)
  const left = (await refilled(view, org, params, nowMs)).mibHours / fullMibHours(params)
  const { quotaMib } = params
  return { bytes: quotaMib * MIB, leftBytes: Math.floor(quotaMib * left) * MIB, leaseMs: commonMs(params) }
}

/**
 * Takes from an institution's bucket.
 *
 * @returns the change of the state, none where it costs nothing; or the fault.
 */
export async function takeStorage(
  view: StateView,
  of: { readonly org: InstitutionId; readonly mibHours: number; readonly nowMs: number },
): Promise<{ readonly changes: readonly StateChange[] } | { readonly fault: StorageQuotaFault }> {
  const { mibHours, nowMs, org } = of
  if (mibHours === 0) return { changes: [] }
  const params = await getStorageParams(view)
  const held = await refilled(view, org, params, nowMs)
  if (held.mibHours < mibHours) {
    const hours = Math.ceil((mibHours - held.mibHours) / params.quotaMib)
    const fitsMs = mibHours > fullMibHours(params) ? 0 : held.timeMs + hours * HOUR_MS
    return { fault: { code: 'STORAGE_QUOTA_EXHAUSTED', org, mibHours, left: held.mibHours, fitsMs } }
  }
  return { changes: [entry(org, { ...held, mibHours: held.mibHours - mibHours })] }
}

/**
 * Gives back what the rest of an object's lease was taken for: whole MiB and whole hours only.
 *
 * @param of.bytes - of its columns that go. @param of.fromMs - block time from which they lie there no more.
 */
export async function returnStorage(
  view: StateView,
  { leaseMs, org }: Pick<StoredObject, 'leaseMs' | 'org'>,
  of: { readonly bytes: number; readonly fromMs: number; readonly nowMs: number },
): Promise<readonly StateChange[]> {
  const { bytes, fromMs, nowMs } = of
  const mibHours = Math.floor(bytes / MIB) * Math.floor(Math.max(0, leaseMs - fromMs) / HOUR_MS)
  if (mibHours === 0) return []
  const params = await getStorageParams(view)
  const held = await refilled(view, org, params, nowMs)
  return [entry(org, { ...held, mibHours: Math.min(fullMibHours(params), held.mibHours + mibHours) })]
}

function fullMibHours(params: StorageParams): number {
  return params.quotaMib * Math.ceil(commonMs(params) / HOUR_MS)
}

/** What a common lease takes: nothing is gone before `orphanMs`. */
function commonMs({ leaseMs, orphanMs }: StorageParams): number {
  return Math.max(leaseMs, orphanMs)
}

async function refilled(view: StateView, org: InstitutionId, params: StorageParams, nowMs: number): Promise<Bucket> {
  const full = fullMibHours(params)
  const value = await view.get(STORAGE_QUOTA_NAMESPACE, utf8.encode(org))
  if (value === undefined) return { mibHours: full, timeMs: nowMs }
  const held = bucket(value, 'storage-quota')
  const hours = Math.floor(Math.max(0, nowMs - held.timeMs) / HOUR_MS)
  // Asked first, so that a century without a transaction is no number beyond 2^53.
  if (hours >= Math.ceil((full - held.mibHours) / params.quotaMib)) return { mibHours: full, timeMs: nowMs }
  return { mibHours: held.mibHours + hours * params.quotaMib, timeMs: held.timeMs + hours * HOUR_MS }
}

function entry(org: InstitutionId, value: Bucket): StateChange {
  return { namespace: STORAGE_QUOTA_NAMESPACE, key: utf8.encode(org), value }
}
