/** The network between institutions: delay, loss, duplication, reordering, and links that are down. */
import type { InstitutionId } from '../../src/core/ids.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'

export interface Weather {
  readonly delayMs: { readonly low: number; readonly high: number }
  readonly lossRatio: number
  readonly duplicateRatio: number
  /** Messages of one link may overtake each other. */
  readonly reorders: boolean
}

export const CALM: Weather = {
  delayMs: { low: 1, high: 15 },
  lossRatio: 0,
  duplicateRatio: 0,
  reorders: false,
}

export interface NetworkDeps {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly deliver: (from: InstitutionId, to: InstitutionId, bytes: Uint8Array) => void
}

export class Network {
  weather: Weather = CALM
  readonly #deps: NetworkDeps
  /** `from>to` of links that are down. */
  readonly #down = new Set<string>()
  /** Milliseconds that everything from or to an institution takes longer. */
  readonly #slow = new Map<InstitutionId, number>()
  readonly #arrivals = new Map<string, number>()

  constructor(deps: NetworkDeps) {
    this.#deps = deps
  }

  send(from: InstitutionId, to: InstitutionId, bytes: Uint8Array): void {
    const { deliver, random, scheduler } = this.#deps
    const { duplicateRatio, lossRatio } = this.weather
    if (!this.isUp(from, to) || random.chance(lossRatio)) return
    const copies = random.chance(duplicateRatio) ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      scheduler.at(this.#arrivalMs(from, to), () => {
        // A link that went down meanwhile loses what is on it.
        if (this.isUp(from, to)) deliver(from, to, bytes)
      })
    }
  }

  isUp(from: InstitutionId, to: InstitutionId): boolean {
    return !this.#down.has(`${from}>${to}`)
  }

  cut(from: InstitutionId, to: InstitutionId): void {
    this.#down.add(`${from}>${to}`)
  }

  /** All links are up again. */
  mend(): void {
    this.#down.clear()
  }

  slow(institution: InstitutionId, byMs: number): void {
    this.#slow.set(institution, byMs)
  }

  heal(): void {
    this.mend()
    this.#slow.clear()
    this.weather = CALM
  }

  #arrivalMs(from: InstitutionId, to: InstitutionId): number {
    const { random, scheduler } = this.#deps
    const { delayMs, reorders } = this.weather
    const slowMs = (this.#slow.get(from) ?? 0) + (this.#slow.get(to) ?? 0)
    const atMs = scheduler.nowMs + delayMs.low + random.unit() * (delayMs.high - delayMs.low) + slowMs * random.unit()
    const link = `${from}>${to}`
    const inOrderMs = reorders ? atMs : Math.max(atMs, this.#arrivals.get(link) ?? 0)
    this.#arrivals.set(link, inOrderMs)
    return inOrderMs
  }
}
