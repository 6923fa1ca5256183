/**
 * How long an object is kept: while a record names it, a legal hold is on it, or its lease lasts. What isn't kept any more stays
 * for `orphanMs` nevertheless; then the ledger may forget it.
 *
 *   whole:      kept until leaseMs ──► renewable for orphanMs ──► storage.forget
 *   unfinished: kept until startedMs + orphanMs ──────────► storage.forget after orphanMs
 *
 * @see docs/spec/storage-state.md
 */
import type { CID } from 'multiformats/cid'
import type { AccountId, InstitutionId } from '../core/ids.ts'
import { FORGET_EXTENTS_MAX } from '../core/limits.ts'
import { type Decoded, object } from '../core/schema.ts'
import { cborLink, timeMs } from '../ledger/fields.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import type { StorageParams } from '../ledger/storage-params.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { getInstitution } from './accounts.ts'
import { getRecordCount } from './records.ts'
import { HeldChanges } from './storage-held.ts'
import { STORAGE_LANE } from './storage-offers.ts'
import { getStorageParams } from './storage-params.ts'
import { type StorageQuotaFault, returnStorage, storageCost, takeStorage } from './storage-quota.ts'
import {
  CONTENT_NAMESPACE,
  OBJECT_NAMESPACE,
  type StoredObject,
  extentRemovals,
  getExtent,
  getStoredObject,
  isWhole,
  manifestOfContent,
  objectChange,
  storedBytes,
} from './storage-state.ts'
import { equals } from 'uint8arrays/equals'

const RENEW = 'storage.renew'
const RELEASE = 'storage.release'
const FORGET = 'storage.forget'

export type StorageLeaseFault =
  | { code: 'OBJECT_UNKNOWN'; manifest: string }
  | { code: 'OBJECT_NOT_YOURS'; manifest: string; account: string }
  | { code: 'OBJECT_ERASED'; manifest: string }
  | { code: 'OBJECT_UNFINISHED'; manifest: string; committed: number; extents: number }
  | { code: 'OBJECT_EXPIRED'; manifest: string }
  | { code: 'OBJECT_LEASE_NOT_LONGER'; leaseMs: number; current: number }
  | { code: 'OBJECT_LEASE_TOO_LONG'; leaseMs: number; latestMs: number }
  | { code: 'OBJECT_KEPT'; manifest: string; untilMs: number }

const renew = object({ manifest: cborLink, leaseMs: timeMs })
export type StorageRenew = Decoded<typeof renew>
const oneObject = object({ manifest: cborLink })
type OneObject = Decoded<typeof oneObject>

export const leaseTypes: Readonly<Record<string, TxType>> = {
  [RENEW]: txType({ lane: STORAGE_LANE, payload: renew, apply: applyRenew }),
  [RELEASE]: txType({ lane: STORAGE_LANE, payload: oneObject, apply: applyRelease }),
  [FORGET]: txType({ lane: STORAGE_LANE, payload: oneObject, apply: applyForget }),
}

/** Signed by who stored the object, or by its institution's own account. @param payload.leaseMs - block time. */
export function draftStorageRenew(payload: StorageRenew): DraftTx {
  return { lane: STORAGE_LANE, type: RENEW, payload }
}

/** Ends the lease now; a record that names the object, or a hold, keeps it nevertheless. Signed as a renewal is. */
export function draftStorageRelease(manifest: CID): DraftTx {
  return { lane: STORAGE_LANE, type: RELEASE, payload: { manifest } }
}

/** Takes an object that nobody has kept for `orphanMs` off the ledger, 256 extents at a time. Signed by any account. */
export function draftStorageForget(manifest: CID): DraftTx {
  return { lane: STORAGE_LANE, type: FORGET, payload: { manifest } }
}

/**
 * Whether an object must be kept. One that was erased on request never is.
 *
 * @param records - how many record versions name it; see `getRecordCount`.
 */
export function isKept(stored: StoredObject, records: number, params: StorageParams, blockTimeMs: number): boolean {
  if (stored.erasedMs > 0) return false
  return records > 0 || stored.holds > 0 || endMs(stored, params) > blockTimeMs
}

export async function isKeptNow(view: StateView, stored: StoredObject, blockTimeMs: number): Promise<boolean> {
  const records = await getRecordCount(view, stored.manifest)
  return isKept(stored, records, await getStorageParams(view), blockTimeMs)
}

/** Block time at which the object is kept no longer, records and holds aside. */
export function endMs(stored: StoredObject, params: StorageParams): number {
  return isWhole(stored) ? stored.leaseMs : stored.startedMs + params.orphanMs
}

/** Whether it is theirs to prolong and to let go: who stored the object, or its institution's own account. */
export async function mayManage(
  view: StateView,
  stored: StoredObject,
  { account, org }: { readonly account: AccountId; readonly org: InstitutionId },
): Promise<boolean> {
  if (org !== stored.org) return false
  return account === stored.account || (await getInstitution(view, org))?.account === account
}

async function applyRenew(
  view: StateView,
  tx: Tx<StorageRenew>,
  block: BlockContext,
): Promise<Step<StorageLeaseFault | StorageQuotaFault>> {
  const { leaseMs, manifest } = tx.payload
  const found = await managed(view, tx, manifest)
  if (!found.ok) return refuse(found.fault)
  const { stored } = found
  if (!isWhole(stored)) {
    const { committed, extents } = stored
    return refuse({ code: 'OBJECT_UNFINISHED', manifest: manifest.toString(), committed, extents })
  }
  const params = await getStorageParams(view)
  if (!(await isKeptNow(view, stored, block.timeMs)) && stored.leaseMs + params.orphanMs <= block.timeMs) {
    return refuse({ code: 'OBJECT_EXPIRED', manifest: manifest.toString() })
  }
  const latestMs = block.timeMs + params.leaseMaxMs
  if (leaseMs > latestMs) return refuse({ code: 'OBJECT_LEASE_TOO_LONG', leaseMs, latestMs })
  if (leaseMs <= stored.leaseMs) return refuse({ code: 'OBJECT_LEASE_NOT_LONGER', leaseMs, current: stored.leaseMs })
  // Since its end it lay there for nothing, unless a record or a hold kept it.
  const fromMs = (await isKeptBesides(view, stored)) ? Math.max(stored.leaseMs, block.timeMs) : stored.leaseMs
  const mibHours = storageCost(stored.stored, fromMs, leaseMs)
  const quota = await takeStorage(view, { org: stored.org, mibHours, nowMs: block.timeMs })
  if ('fault' in quota) return refuse(quota.fault)
  return accept([objectChange({ ...stored, leaseMs }), ...quota.changes])
}

async function applyRelease(view: StateView, tx: Tx<OneObject>, block: BlockContext): Promise<Step<StorageLeaseFault>> {
  const found = await managed(view, tx, tx.payload.manifest)
  if (!found.ok) return refuse(found.fault)
  const { stored } = found
  const { timeMs: nowMs } = block
  const { orphanMs } = await getStorageParams(view)
  const of = { bytes: stored.stored, fromMs: nowMs + orphanMs, nowMs }
  const returned = (await isKeptBesides(view, stored)) ? [] : await returnStorage(view, stored, of)
  return accept([objectChange({ ...stored, leaseMs: Math.min(stored.leaseMs, block.timeMs) }), ...returned])
}

/** Whether a record or a hold keeps it, so that it goes on filling disks whatever its lease says. */
async function isKeptBesides(view: StateView, stored: StoredObject): Promise<boolean> {
  return stored.holds > 0 || (await getRecordCount(view, stored.manifest)) > 0
}

async function managed(
  view: StateView,
  tx: Tx<unknown>,
  of: CID,
): Promise<
  { readonly ok: true; readonly stored: StoredObject } | { readonly ok: false; readonly fault: StorageLeaseFault }
> {
  const no = (fault: StorageLeaseFault) => ({ ok: false, fault }) as const
  const manifest = of.toString()
  const stored = await getStoredObject(view, of)
  if (stored === undefined) return no({ code: 'OBJECT_UNKNOWN', manifest })
  if (!(await mayManage(view, stored, tx))) return no({ code: 'OBJECT_NOT_YOURS', manifest, account: tx.account })
  return stored.erasedMs > 0 ? no({ code: 'OBJECT_ERASED', manifest }) : { ok: true, stored }
}

async function applyForget(view: StateView, tx: Tx<OneObject>, block: BlockContext): Promise<Step<StorageLeaseFault>> {
  const of = tx.payload.manifest
  const manifest = of.toString()
  const stored = await getStoredObject(view, of)
  if (stored === undefined) return refuse({ code: 'OBJECT_UNKNOWN', manifest })
  // Its extents say who has signed the erasure, and who hasn't.
  if (stored.erasedMs > 0) return refuse({ code: 'OBJECT_ERASED', manifest })
  const params = await getStorageParams(view)
  const untilMs = endMs(stored, params) + params.orphanMs
  if ((await isKeptNow(view, stored, block.timeMs)) || untilMs > block.timeMs) {
    return refuse({ code: 'OBJECT_KEPT', manifest, untilMs })
  }
  const committed = Math.max(0, stored.committed - FORGET_EXTENTS_MAX)
  const held = new HeldChanges()
  const changes: StateChange[] = []
  let bytes = 0
  for (let index = committed; index < stored.committed; index++) {
    const extent = await getExtent(view, of, index)
    if (extent === undefined) continue
    for (const [column, size] of extent.columns.entries()) {
      const holder = extent.holders[column]
      if (holder !== undefined) held.remove(holder, size)
    }
    bytes += storedBytes(extent)
    changes.push(...extentRemovals(extent))
  }
  const isGone = committed === 0
  return accept([
    ...changes,
    ...(await held.changes(view)),
    // Of an upload that was given up: its lease was for what it would have been.
    ...(await returnStorage(view, stored, { bytes, fromMs: block.timeMs, nowMs: block.timeMs })),
    isGone
      ? { namespace: OBJECT_NAMESPACE, key: of.multihash.digest, value: undefined }
      : // Unfinished, and begun so long ago that nothing but a record or a hold brings it back.
        objectChange({ ...stored, committed, stored: stored.stored - bytes, startedMs: 0 }),
    ...(await contentRemovals(view, stored)),
  ])
}

async function contentRemovals(view: StateView, { content, manifest }: StoredObject): Promise<StateChange[]> {
  const named = await manifestOfContent(view, content)
  if (named === undefined || !equals(named, manifest.multihash.digest)) return []
  return [{ namespace: CONTENT_NAMESPACE, key: content.multihash.digest, value: undefined }]
}
