/**
 * Who holds which column, after the commit: peers confirm what they rebuilt or took over, and give up what they lost.
 *
 * Repair and moving are one thing: a peer that the table assigns a column fetches or rebuilds it, makes it durable, and confirms it.
 * Whoever held it before may let it go then.
 *
 * @see docs/spec/storage-state.md
 */
import type { CID } from 'multiformats/cid'
import { COLUMNS_AT_ONCE_MAX, EXTENTS_MAX, TX_LARGE_BYTES_MAX } from '../core/limits.ts'
import { type Decoded, integer, list, object } from '../core/schema.ts'
import { type SignatureCheck, verifyMany } from '../crypto/signatures.ts'
import { cborLink } from '../ledger/fields.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { column, receiptCheck, shardReceipt } from './shard-receipt.ts'
import { HeldChanges } from './storage-held.ts'
import { STORAGE_LANE, type StorageOfferFault, institutionFault } from './storage-offers.ts'
import {
  type Extent,
  type ExtentRef,
  type StoragePeerEntry,
  extentChanges,
  getExtent,
  getStoragePeer,
  getStoredObject,
} from './storage-state.ts'
import { type StorageLayout, assignedRow, getLayout } from './storage-table.ts'

export const CONFIRM = 'storage.confirm'
export const LOST = 'storage.lost'

export type StorageColumnFault =
  | { code: 'STORAGE_NO_LAYOUT' }
  | { code: 'EXTENT_UNKNOWN'; manifest: string; index: number }
  | { code: 'COLUMN_ERASED'; manifest: string; index: number; column: number }
  | { code: 'COLUMN_NOT_ASSIGNED'; manifest: string; index: number; column: number }
  | { code: 'COLUMN_NOT_HELD'; manifest: string; index: number; column: number }
  | { code: 'COLUMN_RECEIPT_EXPIRED'; manifest: string; index: number; column: number; blockTimeMs: number }
  | { code: 'COLUMN_SIGNATURE_WRONG'; manifest: string; index: number; column: number }

export const extentIndex = integer(0, EXTENTS_MAX - 1)
const confirm = object({
  columns: list(object({ manifest: cborLink, index: extentIndex, receipt: shardReceipt }), 1, COLUMNS_AT_ONCE_MAX),
})
export type StorageConfirm = Decoded<typeof confirm>
const lost = object({
  columns: list(object({ manifest: cborLink, index: extentIndex, column }), 1, COLUMNS_AT_ONCE_MAX),
})
export type StorageLost = Decoded<typeof lost>

export const columnTypes: Readonly<Record<string, TxType>> = {
  [CONFIRM]: txType({ lane: STORAGE_LANE, payload: confirm, bytesMax: TX_LARGE_BYTES_MAX, apply: applyConfirm }),
  [LOST]: txType({ lane: STORAGE_LANE, payload: lost, bytesMax: TX_LARGE_BYTES_MAX, apply: applyLost }),
}

/** Signed by any account of the institution whose peers hold these columns now. */
export function draftStorageConfirm(payload: StorageConfirm): DraftTx {
  return { lane: STORAGE_LANE, type: CONFIRM, payload }
}

/** Signed by the account of the institution whose peers lost these columns. */
export function draftStorageLost(payload: StorageLost): DraftTx {
  return { lane: STORAGE_LANE, type: LOST, payload }
}

/** Extents that a confirmation or a loss names. @param payload - of a transaction that was accepted. */
export function namedExtents(type: typeof CONFIRM | typeof LOST, payload: unknown): ExtentRef[] {
  const { columns } = type === CONFIRM ? confirm(payload, 'payload') : lost(payload, 'payload')
  return columns.map(({ index, manifest }) => ({ manifest, index }))
}

/** Extents whose holders change within one transaction. */
export class HolderChanges {
  readonly #view: StateView
  readonly #extents = new Map<string, Extent | undefined>()
  readonly #changed = new Set<string>()
  readonly #held = new HeldChanges()

  constructor(view: StateView) {
    this.#view = view
  }

  /** The extent with what the transaction has changed so far. */
  async extent({ index, manifest }: ExtentRef): Promise<Extent | undefined> {
    const name = nameOf(manifest, index)
    if (!this.#extents.has(name)) this.#extents.set(name, await getExtent(this.#view, manifest, index))
    return this.#extents.get(name)
  }

  set(extent: Extent, at: number, holder: number | undefined): void {
    const before = extent.holders[at]
    const bytes = extent.columns[at] ?? 0
    if (before === holder) return
    if (before !== undefined) this.#held.remove(before, bytes)
    if (holder !== undefined) this.#held.add(holder, bytes)
    const name = nameOf(extent.manifest, extent.index)
    this.#changed.add(name)
    this.#extents.set(name, { ...extent, holders: extent.holders.with(at, holder) })
  }

  async changes(): Promise<StateChange[]> {
    const changed = [...this.#changed].map((name) => this.#extents.get(name)).filter((extent) => extent !== undefined)
    return [...changed.flatMap(extentChanges), ...(await this.#held.changes(this.#view))]
  }
}

const nameOf = (manifest: CID, index: number): string => `${manifest.toString()} ${index}`

async function applyConfirm(
  view: StateView,
  tx: Tx<StorageConfirm>,
  block: BlockContext,
): Promise<Step<StorageColumnFault>> {
  const layout = await getLayout(view)
  if (layout === undefined) return refuse({ code: 'STORAGE_NO_LAYOUT' })
  const changes = new HolderChanges(view)
  const signatures: SignatureCheck[] = []
  for (const item of tx.payload.columns) {
    const { column: at, expiresMs, signature } = item.receipt
    const named = { manifest: item.manifest.toString(), index: item.index, column: at }
    const extent = await changes.extent(item)
    if (extent === undefined) return refuse({ code: 'EXTENT_UNKNOWN', manifest: named.manifest, index: item.index })
    if (await isErased(view, item)) return refuse({ code: 'COLUMN_ERASED', ...named })
    if (expiresMs <= block.timeMs) {
      return refuse({ code: 'COLUMN_RECEIPT_EXPIRED', ...named, blockTimeMs: block.timeMs })
    }
    const peer = await assignedPeer(view, layout, extent, at)
    // Only in the name of its institution: else a receipt that a peer gave before it lost the column could be shown again.
    if (peer === undefined || peer.institution !== tx.org) return refuse({ code: 'COLUMN_NOT_ASSIGNED', ...named })
    signatures.push(receiptCheck(peer.peer, block.chain, { extent, column: at, expiresMs }, signature))
    changes.set(extent, at, peer.number)
  }
  const bad = (await verifyMany(signatures)).indexOf(false)
  const item = tx.payload.columns[bad]
  if (item !== undefined) {
    const { index, manifest, receipt } = item
    return refuse({ code: 'COLUMN_SIGNATURE_WRONG', manifest: manifest.toString(), index, column: receipt.column })
  }
  return accept(await changes.changes())
}

async function assignedPeer(
  view: StateView,
  layout: StorageLayout,
  extent: Extent,
  at: number,
): Promise<StoragePeerEntry | undefined> {
  const number = (await assignedRow(view, layout, extent.group, extent))[at]
  const peer = number === undefined ? undefined : await getStoragePeer(view, number)
  return peer?.state === 'removed' ? undefined : peer
}

async function applyLost(view: StateView, tx: Tx<StorageLost>): Promise<Step<StorageColumnFault | StorageOfferFault>> {
  const fault = await institutionFault(view, tx)
  if (fault !== undefined) return refuse(fault)
  const changes = new HolderChanges(view)
  for (const item of tx.payload.columns) {
    const named = { manifest: item.manifest.toString(), index: item.index, column: item.column }
    const extent = await changes.extent(item)
    if (extent === undefined) return refuse({ code: 'EXTENT_UNKNOWN', manifest: named.manifest, index: item.index })
    // Its holder signs the erasure instead.
    if (await isErased(view, item)) return refuse({ code: 'COLUMN_ERASED', ...named })
    const holder = extent.holders[item.column]
    const peer = holder === undefined ? undefined : await getStoragePeer(view, holder)
    if (peer?.institution !== tx.org) return refuse({ code: 'COLUMN_NOT_HELD', ...named })
    changes.set(extent, item.column, undefined)
  }
  return accept(await changes.changes())
}

async function isErased(view: StateView, { manifest }: ExtentRef): Promise<boolean> {
  return ((await getStoredObject(view, manifest))?.erasedMs ?? 0) > 0
}
