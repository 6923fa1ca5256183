/**
 * After a failed fsync nobody knows what is on the disk, and the system reports a failure only once: a second fsync may
 * succeed though the bytes are gone. So the first failure ends all writing until a restart, which looks at the disk itself.
 */
import type { Log } from '../core/ports.ts'
import { reasonOf, StoreError } from './store-error.ts'

export class SyncGuard {
  readonly #log: Log
  #reason: string | undefined

  constructor(log: Log) {
    this.#log = log
  }

  get failed(): boolean {
    return this.#reason !== undefined
  }

  /** @throws {StoreError} `STORE_FSYNC_FAILED` once a sync has failed. */
  check(): void {
    if (this.#reason !== undefined) throw new StoreError({ code: 'STORE_FSYNC_FAILED', reason: this.#reason })
  }

  /** Runs a sync; its failure, or that of another one meanwhile, is final. @throws {StoreError} `STORE_FSYNC_FAILED` */
  async run(sync: () => Promise<void>): Promise<void> {
    try {
      await sync()
    } catch (error) {
      this.fail(error)
    }
    this.check()
  }

  fail(error: unknown): void {
    this.#reason ??= reasonOf(error)
    this.#log.error({ err: error }, 'the disk did not confirm a write; nothing more is written until a restart')
  }
}
