/** Whether a bucket has room, within the capacity that the operator gave: no object store tells how much it has itself. */
import { StoreError } from './store-error.ts'

export class BucketRoom {
  readonly #usedBytes: () => number
  readonly #capacityBytes: number
  readonly #limitBytes: number
  /** Admitted, and not yet counted as used. */
  #pendingBytes = 0

  constructor(usedBytes: () => number, options: { readonly capacityBytes: number; readonly fullRatio: number }) {
    this.#usedBytes = usedBytes
    this.#capacityBytes = options.capacityBytes
    this.#limitBytes = Math.floor(options.capacityBytes * options.fullRatio)
  }

  /** @throws {StoreError} `STORE_S3_FULL` when `bytes` more have no room now. */
  check(askedBytes: number): void {
    const usedBytes = this.#usedBytes() + this.#pendingBytes
    if (usedBytes + askedBytes <= this.#limitBytes) return
    const [capacityBytes, limitBytes] = [this.#capacityBytes, this.#limitBytes]
    throw new StoreError({ code: 'STORE_S3_FULL', usedBytes, capacityBytes, limitBytes, askedBytes })
  }

  /** Takes room for a write; the caller gives it back with `release` when that has settled. @throws {StoreError} as `check` */
  reserve(bytes: number): void {
    this.check(bytes)
    this.#pendingBytes += bytes
  }

  release(bytes: number): void {
    this.#pendingBytes -= bytes
  }
}
