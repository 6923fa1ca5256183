import { STORE_PACK_BYTES } from '../core/limits.ts'
import { StoreError } from './store-error.ts'

export interface BlockStoreOptions {
  readonly dir: string
  /** What the packs may take in all, in bytes. */
  readonly capacityBytes: number
  /** What must stay free on the disk, in bytes. @default STORE_RESERVE_FREE_BYTES */
  readonly reserveFreeBytes?: number
  /** New blocks are refused above this part of the capacity: 0 to 1. @default STORE_FULL_RATIO */
  readonly fullRatio?: number
  /** Given up on a full disk, so that logs can finish; 0 for none. @default STORE_BALLAST_BYTES */
  readonly ballastBytes?: number
  /** Size at which a pack is closed. @default STORE_PACK_BYTES */
  readonly packBytes?: number
}

/** @throws {StoreError} `STORE_OPTIONS_INVALID` */
export function checkOptions(options: BlockStoreOptions): void {
  const { capacityBytes, reserveFreeBytes = 0, fullRatio = 1, ballastBytes = 0, packBytes = STORE_PACK_BYTES } = options
  const rules: readonly [keyof BlockStoreOptions, boolean, string][] = [
    ['capacityBytes', Number.isSafeInteger(capacityBytes) && capacityBytes > 0, 'a number of bytes above 0'],
    ['reserveFreeBytes', Number.isSafeInteger(reserveFreeBytes) && reserveFreeBytes >= 0, 'a number of bytes'],
    ['fullRatio', fullRatio > 0 && fullRatio <= 1, 'more than 0 and at most 1'],
    ['ballastBytes', Number.isSafeInteger(ballastBytes) && ballastBytes >= 0, 'a number of bytes'],
    [
      'packBytes',
      Number.isSafeInteger(packBytes) && packBytes > 0 && packBytes <= STORE_PACK_BYTES,
      `up to ${STORE_PACK_BYTES}`,
    ],
  ]
  for (const [option, holds, expected] of rules) {
    if (!holds) throw new StoreError({ code: 'STORE_OPTIONS_INVALID', option, expected })
  }
}
