/** A block of the own store for whoever can get it elsewhere, too. */
import { StoreError } from '../store/store-error.ts'
import type { Blocks } from '../store/blocks.ts'

/** @returns `undefined` also where the block lies here damaged: the store has noted that, and it is mended from others. */
export async function readHere(store: Pick<Blocks, 'read'>, digest: Uint8Array): Promise<Uint8Array | undefined> {
  try {
    return await store.read(digest)
  } catch (error) {
    if (error instanceof StoreError && error.fault.code === 'STORE_BLOCK_DAMAGED') return undefined
    throw error
  }
}
