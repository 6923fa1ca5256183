/** One stripe on its way in: what came, who may still read it, and what is wanted of it. */
import type { FetchedBlock } from '../p2p/block-provider.ts'
import type { ExtentMap, Shard } from '../shards/extent-map.ts'
import { StripeRead } from '../shards/stripe-read.ts'
import type { ShardPlace } from './placed-extent.ts'

interface Held {
  readonly block: FetchedBlock
  /** Handed on, and not yet given back. */
  isOut: boolean
  /** Nobody will ask for it again. */
  isSpent: boolean
}

export class StripeTask {
  readonly stripe: number
  readonly shards: readonly Shard[]
  /** Numbers of the shards that are to be handed on, in that order. */
  readonly wanted: readonly number[]
  readonly wantedBytes: number
  readonly read: StripeRead
  /** Shards that lie in the own store. */
  readonly here = new Set<number>()
  /** Why shards don't come. */
  readonly reasons = new Map<number, string>()
  /** By `performance.now()`: since when too few holders are left, and when they were last asked again. */
  hopelessSinceMs: number | undefined
  retriedMs = 0
  readonly #data: number
  readonly #held = new Map<number, Held>()
  #isClosed = false

  constructor(map: ExtentMap, stripe: number, wanted: readonly number[]) {
    const code = map.stripes[stripe] ?? { data: 1, parity: 0 }
    this.stripe = stripe
    this.shards = map.shardsOfStripe(stripe)
    this.wanted = wanted
    this.wantedBytes = wanted.reduce((sum, shard) => sum + (this.shards[shard]?.bytes ?? 0), 0)
    this.#data = code.data
    this.read = new StripeRead(code, wanted)
  }

  /** All that is wanted is here: what else comes is of no use. */
  get isDone(): boolean {
    return this.read.missing.length === 0
  }

  get isHopeless(): boolean {
    return this.read.isHopeless
  }

  /** Parity that came. */
  get parityHere(): number[] {
    return [...this.#held.keys()].filter((shard) => shard >= this.#data)
  }

  columnOf(shard: number): number {
    return this.shards[shard]?.column ?? -1
  }

  bytesOf(shard: number): readonly Uint8Array[] | undefined {
    return this.#held.get(shard)?.block.parts
  }

  /** A shard has come, verified. */
  came(shard: number, block: FetchedBlock): void {
    // Twice: asked for and rebuilt. Or too late for anybody.
    if (this.#held.has(shard) || this.isDone || this.#isClosed) {
      block.release()
      return
    }
    this.#held.set(shard, { block, isOut: false, isSpent: !this.wanted.includes(shard) })
    this.read.here(shard)
    if (this.isDone) this.#releaseSpent()
  }

  /** A wanted shard to hand on; whoever has it gives it back by its `release`. */
  take(shard: number): FetchedBlock | undefined {
    const held = this.#held.get(shard)
    if (held === undefined || held.isSpent) return undefined
    held.isOut = true
    held.isSpent = true
    const release = (): void => {
      held.isOut = false
      if (this.isDone || this.#isClosed) this.#release(shard)
    }
    return { ...held.block, release }
  }

  /** A shard that came turned out to be of no use for the others. */
  spoil(shard: number, why: string): void {
    this.reasons.set(shard, why)
    this.read.spoiled(shard)
    if (this.#held.get(shard)?.isOut === false) this.#release(shard)
  }

  close(): void {
    this.#isClosed = true
    for (const [shard, held] of this.#held) if (!held.isOut) this.#release(shard)
  }

  #releaseSpent(): void {
    for (const [shard, held] of this.#held) if (held.isSpent && !held.isOut) this.#release(shard)
  }

  #release(shard: number): void {
    const held = this.#held.get(shard)
    this.#held.delete(shard)
    held?.block.release()
  }
}

/** Stripes in the order of their shards; neighbours of one stripe are read together. */
export function tasksOf(map: ExtentMap, places: readonly ShardPlace[]): StripeTask[] {
  const groups: { readonly stripe: number; readonly wanted: number[] }[] = []
  for (const { shard, stripe } of places) {
    const last = groups.at(-1)
    if (last?.stripe === stripe && !last.wanted.includes(shard)) last.wanted.push(shard)
    else groups.push({ stripe, wanted: [shard] })
  }
  return groups.map(({ stripe, wanted }) => new StripeTask(map, stripe, wanted))
}
