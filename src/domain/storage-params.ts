/** The chain's parameters of storage, as its genesis gave them. */
import type { StateChange, StateView } from '../ledger/state.ts'
import { type StorageParams, completeStorageParams, storageParams } from '../ledger/storage-params.ts'

export const STORAGE_PARAMS_NAMESPACE = 'storage-params'
/** One entry. */
const KEY = new TextEncoder().encode('params')

export async function getStorageParams(view: StateView): Promise<StorageParams> {
  return completeStorageParams(storageParams((await view.get(STORAGE_PARAMS_NAMESPACE, KEY)) ?? {}, 'storage-params'))
}

/** All of them, so that a chain keeps its rules when a later release has other defaults. */
export function storageParamsChange(given: Partial<StorageParams>): StateChange {
  return { namespace: STORAGE_PARAMS_NAMESPACE, key: KEY, value: completeStorageParams(given) }
}
