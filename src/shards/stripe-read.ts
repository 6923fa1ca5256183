/**
 * Reads some shards of one stripe: which shards are asked for, and when there are enough to rebuild those that don't come.
 * Pure: whoever reads tells what happened, and asks what to do next.
 *
 *   wanted ──► asked of their holders ──► here
 *     │ nobody to ask, late, or failed
 *     └──► as many others as make `data` shards that come in time ──► rebuilt
 *
 * A late shard is still waited for: the first way to a wanted one counts. When one of the others is late in its turn, all
 * that are left are asked: two holders that stopped together cost one more pause, and not one each.
 *
 * @see docs/decisions/0096-the-read-path.md
 */
import type { Code } from './stripes.ts'

/** How soon a shard would come, were it asked for now: `near` lies here, `late` holders are silent, `away` ones not connected. */
export type Reach = 'near' | 'ready' | 'late' | 'away'

export interface ShardSource {
  readonly reach: Reach
  /** Orders those of the same reach; less is better. */
  readonly cost: number
}

type ShardState = 'idle' | 'asked' | 'late' | 'here' | 'failed'

const IN_TIME: ReadonlySet<Reach> = new Set(['near', 'ready'])

export class StripeRead {
  readonly #code: Code
  readonly #wanted: readonly number[]
  readonly #states: ShardState[]
  /** Shards asked for that nobody wants but for rebuilding. */
  readonly #others = new Set<number>()
  #isHurried = false

  /** @param wanted - numbers within the stripe, data before parity. */
  constructor(code: Code, wanted: readonly number[]) {
    this.#code = code
    this.#wanted = wanted
    this.#states = Array.from({ length: code.data + code.parity }, () => 'idle')
  }

  /** Wanted shards that are not here. */
  get missing(): number[] {
    return this.#wanted.filter((shard) => this.#states[shard] !== 'here')
  }

  /** Whether what is missing can be made of what is here. */
  get canRebuild(): boolean {
    return this.#count('here') >= this.#code.data && this.missing.length > 0
  }

  /** Whether a shard is waited for, and not late. */
  isComing(shard: number): boolean {
    return this.#states[shard] === 'asked'
  }

  here(shard: number): void {
    this.#states[shard] = 'here'
  }

  /** Its holder lets wait for it. */
  late(shard: number): void {
    if (this.#states[shard] !== 'asked') return
    this.#states[shard] = 'late'
    this.#isHurried ||= this.#others.has(shard)
  }

  /** It comes from nowhere. */
  failed(shard: number): void {
    if (this.#states[shard] === 'here') return
    this.#states[shard] = 'failed'
    this.#isHurried ||= this.#others.has(shard)
  }

  /** What came of it is of no use. */
  spoiled(shard: number): void {
    this.#states[shard] = 'failed'
  }

  /** It didn't come from where it was asked for, and may be asked for elsewhere. */
  again(shard: number): void {
    if (this.#states[shard] !== 'here') this.#states[shard] = 'idle'
  }

  /**
   * Shards to ask for now; they count as asked from here on.
   *
   * @param sourceOf - `undefined`: there is nobody to ask.
   */
  next(sourceOf: (shard: number) => ShardSource | undefined): number[] {
    const { data } = this.#code
    const sources = this.#states.map((state, shard) => (state === 'idle' ? sourceOf(shard) : undefined))
    const chosen = this.#wanted.filter((shard) => IN_TIME.has(sources[shard]?.reach ?? 'away'))
    this.#ask(chosen)
    if (this.missing.every((shard) => this.#states[shard] === 'asked')) return chosen
    const rest = sources
      .flatMap((source, shard) => (source === undefined || this.#states[shard] !== 'idle' ? [] : { shard, ...source }))
      .toSorted((one, other) => one.cost - other.cost)
    const needed = (...states: ShardState[]): number => data - this.#count('here', ...states)
    for (const reach of ['near', 'ready'] as const) {
      const some = rest.filter((one) => one.reach === reach).map(({ shard }) => shard)
      const count = this.#isHurried ? some.length : Math.max(0, needed('asked'))
      chosen.push(...this.#ask(some.slice(0, count)))
    }
    // Those that hardly answer only where the others can't be enough.
    for (const reach of ['late', 'away'] as const) {
      if (needed('asked', 'late') <= 0) break
      const some = rest.filter((one) => one.reach === reach).map(({ shard }) => shard)
      chosen.push(...this.#ask(some))
    }
    return chosen
  }

  /** Whether a wanted shard can't come any more; to be asked after `next` had nothing to ask for. */
  get isHopeless(): boolean {
    const outstanding = this.#count('asked', 'late')
    if (this.#count('here') + outstanding >= this.#code.data) return false
    return this.missing.some((shard) => !['asked', 'late'].includes(this.#states[shard] ?? 'failed'))
  }

  #ask(shards: readonly number[]): readonly number[] {
    for (const shard of shards) {
      this.#states[shard] = 'asked'
      if (!this.#wanted.includes(shard)) this.#others.add(shard)
    }
    return shards
  }

  #count(...states: ShardState[]): number {
    return this.#states.filter((state) => states.includes(state)).length
  }
}
