/**
 * Reads all that is stored once in so many days, at a bounded rate, and goes on where it was after a restart. What it finds
 * damaged is quarantined by the store; repair from other peers reads the store's list.
 */
import { fromString } from 'uint8arrays/from-string'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { SCRUB_CHECK_MS, SCRUB_SLICE_MS } from '../core/limits.ts'
import type { Clock, KeyValueStore, Log } from '../core/ports.ts'
import { integer, nullable, object } from '../core/schema.ts'
import type { Blocks } from '../store/blocks.ts'

export interface ScrubScheduleDeps {
  readonly store: Blocks
  readonly state: KeyValueStore
  readonly clock: Clock
  readonly log: Log
}

export interface ScrubScheduleOptions {
  readonly scrubDays: number
  readonly scrubBytesPerSecondMax: number
}

const DAY_MS = 86_400_000
const KEY = fromString('progress', 'utf8')
const progress = object({
  /** When the round that is under way, or the last one, began. */
  beganMs: integer(0),
  /** Where to go on; null once the round is done. */
  position: nullable(object({ packId: integer(0), offset: integer(0) })),
})

export class ScrubSchedule {
  readonly #deps: ScrubScheduleDeps
  readonly #options: ScrubScheduleOptions
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> = Promise.resolve()

  constructor(deps: ScrubScheduleDeps, options: ScrubScheduleOptions) {
    this.#deps = deps
    this.#options = options
  }

  start(): void {
    this.#timer = setInterval(() => {
      clearInterval(this.#timer)
      this.#running = this.#round()
        .catch((error: unknown) => this.#deps.log.error({ err: error }, 'scrubbing failed'))
        .finally(() => {
          if (!this.#stopping.signal.aborted) this.start()
        })
    }, SCRUB_CHECK_MS)
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    clearInterval(this.#timer)
    await this.#running
  }

  /** Goes on with the round under way, or begins one when it is time. */
  async #round(): Promise<void> {
    const { clock, log, state, store } = this.#deps
    const saved = await state.get(KEY)
    let at = saved === undefined ? undefined : progress(decodeCanonical(saved), 'scrub')
    const due = at === undefined || at.beganMs + this.#options.scrubDays * DAY_MS <= clock.nowMs()
    if (at?.position === null && !due) return
    if (at === undefined || at.position === null) at = { beganMs: clock.nowMs(), position: { packId: 0, offset: 0 } }
    while (at.position !== null && !this.#stopping.signal.aborted) {
      const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(SCRUB_SLICE_MS)])
      const report = await store.scrub({
        from: at.position,
        signal,
        bytesPerSecondMax: this.#options.scrubBytesPerSecondMax,
      })
      at = { ...at, position: report.position ?? null }
      await state.batch([{ key: KEY, value: encodeCanonical(at) }])
      if (report.damaged.length > 0) log.error({ blocks: report.damaged.length }, 'scrubbing found damaged blocks')
    }
    if (at.position === null) log.info({ tookMs: clock.nowMs() - at.beganMs }, 'all of the store is scrubbed')
  }
}
