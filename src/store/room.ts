/**
 * Whether there is room: within the capacity that the operator gave, and within what the disk really has. A refusal says
 * exactly how much of each there was.
 */
import { STORE_FREE_CHECK_BYTES, STORE_FREE_CHECK_MS, STORE_PRESSED_RATIO } from '../core/limits.ts'
import type { Clock } from '../core/ports.ts'
import { type FileSystem, freeBytesOf } from './file-system.ts'
import { StoreError } from './store-error.ts'

export interface RoomOptions {
  readonly dir: string
  /** What the packs may take in all, in bytes. */
  readonly capacityBytes: number
  /** What must stay free on the disk, in bytes. */
  readonly reserveFreeBytes: number
  /** New blocks are refused above this part of the capacity. */
  readonly fullRatio: number
}

export class Room {
  readonly #deps: { readonly fs: FileSystem; readonly clock: Clock; readonly usedBytes: () => number }
  readonly #options: RoomOptions
  /** Admitted, and not yet counted as used. */
  #pendingBytes = 0
  #freeBytes = 0
  #checkedAtMs = Number.NEGATIVE_INFINITY
  #sinceCheckBytes = 0
  #refused = false

  constructor(
    deps: { readonly fs: FileSystem; readonly clock: Clock; readonly usedBytes: () => number },
    options: RoomOptions,
  ) {
    this.#deps = deps
    this.#options = options
  }

  get limitBytes(): number {
    return Math.floor(this.#options.capacityBytes * this.#options.fullRatio)
  }

  get capacityBytes(): number {
    return this.#options.capacityBytes
  }

  /** Free on the disk, as last asked. */
  get freeBytes(): number {
    return this.#freeBytes
  }

  /** Full or nearly so: time to tidy up more thoroughly than usual. */
  get pressed(): boolean {
    if (this.#refused) return true
    const used = this.#deps.usedBytes() + this.#pendingBytes
    return (
      used > this.limitBytes * STORE_PRESSED_RATIO ||
      this.#freeBytes < this.#options.reserveFreeBytes / STORE_PRESSED_RATIO
    )
  }

  /**
   * Takes room for a write; the caller gives it back with `release` when the write has settled, and its bytes are counted as
   * used or are not there.
   *
   * @throws {StoreError} `STORE_FULL`
   */
  async reserve(bytes: number): Promise<void> {
    await this.#decide(bytes, true)
  }

  release(bytes: number): void {
    this.#pendingBytes -= bytes
  }

  /** @throws {StoreError} `STORE_FULL` when `bytes` more have no room now. */
  async check(bytes: number): Promise<void> {
    await this.#decide(bytes, false)
  }

  async #decide(bytes: number, take: boolean): Promise<void> {
    const age = this.#deps.clock.nowMs() - this.#checkedAtMs
    // A clock that was set back must not keep an old figure alive.
    const stale = age < 0 || age >= STORE_FREE_CHECK_MS || this.#sinceCheckBytes >= STORE_FREE_CHECK_BYTES
    if (stale) await this.refresh()
    // A refusal is made with fresh figures only.
    else if (this.#refusal(bytes) !== undefined) await this.refresh()
    // In one step from here on: others decide at the same time.
    const refusal = this.#refusal(bytes)
    this.#refused = refusal !== undefined
    if (refusal !== undefined) throw refusal
    if (!take) return
    this.#pendingBytes += bytes
    this.#sinceCheckBytes += bytes
  }

  /** Asks the disk. */
  async refresh(): Promise<void> {
    this.#freeBytes = await freeBytesOf(this.#deps.fs, this.#options.dir)
    this.#checkedAtMs = this.#deps.clock.nowMs()
    this.#sinceCheckBytes = 0
  }

  #refusal(askedBytes: number): StoreError | undefined {
    const { capacityBytes, reserveFreeBytes } = this.#options
    const usedBytes = this.#deps.usedBytes() + this.#pendingBytes
    // What was admitted after the disk was asked, or is under way, may not be in its figure yet.
    const freeBytes = Math.max(0, this.#freeBytes - Math.max(this.#pendingBytes, this.#sinceCheckBytes))
    const limitBytes = this.limitBytes
    if (usedBytes + askedBytes <= limitBytes && freeBytes - askedBytes >= reserveFreeBytes) return undefined
    return new StoreError({
      code: 'STORE_FULL',
      usedBytes,
      capacityBytes,
      limitBytes,
      freeBytes,
      reserveFreeBytes,
      askedBytes,
    })
  }
}
