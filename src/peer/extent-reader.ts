/**
 * Reads shards of one extent in order: each from its own holder, all at once within a window, and rebuilt from others of its stripe
 * where its holder is gone or late. What lies here is read here. Nothing is handed out whose SHA-256 isn't what the map says.
 *
 *   window of stripes ──► who is asked for what: shards/stripe-read.ts ──► holders ──► in order to the consumer
 *                                                                              └► k of n ──► erasure code ──┘
 *
 * @see docs/decisions/0096-the-read-path.md
 */
import type { PeerId } from '@libp2p/interface'
import { equals } from 'uint8arrays/equals'
import {
  EXTENT_WINDOW_BYTES,
  HEDGE_TICK_LATE_MS,
  HEDGE_TICK_MS,
  HOLDERS_RETRY_MS,
  HOLDERS_RETURN_MS,
} from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { RAW, digestCid, sha256 } from '../crypto/hash.ts'
import type { ProviderFault } from '../p2p/block-fetch.ts'
import type { BlockFetcher } from '../p2p/block-fetcher.ts'
import type { BlockLinks } from '../p2p/block-links.ts'
import type { FetchedBlock, Want } from '../p2p/block-provider.ts'
import { rebuild } from '../shards/erasure.ts'
import type { ShardSource } from '../shards/stripe-read.ts'
import type { Blocks } from '../store/blocks.ts'
import { readHere } from './own-blocks.ts'
import type { PeerHistory } from './peer-history.ts'
import type { PlacedExtent, ShardPlace } from './placed-extent.ts'
import { type StripeTask, tasksOf } from './stripe-task.ts'
import { unavailable } from './unavailable.ts'

export interface ExtentReaderDeps {
  readonly store: Pick<Blocks, 'has' | 'read'>
  readonly fetcher: Pick<BlockFetcher, 'links'>
  readonly history: PeerHistory
  readonly log: Log
  /** This peer's own id. */
  readonly self: string
}

export class ExtentReader {
  readonly #deps: ExtentReaderDeps
  constructor(deps: ExtentReaderDeps) {
    this.#deps = deps
  }

  /**
   * Yields the shards at `places`, in that order. Each is released when nobody reads it any more.
   *
   * @throws {PeerError} `EXTENT_UNAVAILABLE`, after all shards before it; the signal's reason when aborted
   */
  async *read(
    placed: PlacedExtent,
    places: readonly ShardPlace[],
    options: { readonly signal: AbortSignal },
  ): AsyncGenerator<FetchedBlock, void, undefined> {
    const read = new ExtentRead(this.#deps, placed, places, options.signal)
    try {
      yield* read.blocks()
    } finally {
      read.close()
    }
  }
}

/** Needs nobody's disk. */
const EMPTY: FetchedBlock = {
  digest: sha256(new Uint8Array(0)),
  parts: [],
  bytes: 0,
  release: () => undefined,
}

interface Asked {
  readonly task: StripeTask
  readonly shard: number
}

class ExtentRead {
  readonly #deps: ExtentReaderDeps
  readonly #placed: PlacedExtent
  readonly #signal: AbortSignal
  readonly #links: BlockLinks
  readonly #tasks: readonly StripeTask[]
  readonly #open = new Set<StripeTask>()
  readonly #asked = new Map<number, Asked>()
  readonly #failures = new Map<string, string>()
  /** Holders whose connection ended. */
  readonly #gone = new Set<string>()
  readonly #tick: NodeJS.Timeout
  #nextTask = 0
  #nextWant = 0
  /** Of wanted shards that are asked for and not handed on. */
  #windowBytes = 0
  #tickMs = performance.now()
  #isClosed = false
  #failure: { readonly error: unknown } | undefined
  #wake: (() => void) | undefined

  constructor(deps: ExtentReaderDeps, placed: PlacedExtent, places: readonly ShardPlace[], signal: AbortSignal) {
    this.#deps = deps
    this.#placed = placed
    this.#signal = signal
    this.#tasks = tasksOf(placed.map.map, places)
    this.#links = deps.fetcher.links({
      onBlock: (peer, want, block, tookMs) => this.#onBlock(peer, want, block, tookMs),
      onMissing: (peer, want) => this.#onMissing(peer, want),
      onLost: (peer, wants, fault) => this.#onLost(peer, wants, fault),
    })
    this.#tick = setInterval(() => this.#onTick(), HEDGE_TICK_MS)
    this.#tick.unref()
    signal.addEventListener('abort', this.#notify)
  }

  async *blocks(): AsyncGenerator<FetchedBlock, void, undefined> {
    for (const task of this.#tasks) {
      for (const shard of task.wanted) {
        const block = await this.#take(task, shard)
        this.#windowBytes -= block.bytes
        this.#fill()
        yield block
      }
    }
  }

  close(): void {
    this.#isClosed = true
    clearInterval(this.#tick)
    this.#signal.removeEventListener('abort', this.#notify)
    this.#links.close()
    for (const task of this.#tasks.slice(0, this.#nextTask)) task.close()
  }

  async #take(task: StripeTask, shard: number): Promise<FetchedBlock> {
    for (;;) {
      this.#signal.throwIfAborted()
      if (this.#failure !== undefined) throw this.#failure.error
      this.#fill()
      const block = task.take(shard)
      if (block !== undefined) return block
      if (task.isHopeless && !this.#mayStillCome(task)) throw this.#unavailable(task, shard)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  /** Whether holders that went away may come back in time; asks those again that did. */
  #mayStillCome(task: StripeTask): boolean {
    const nowMs = performance.now()
    task.hopelessSinceMs ??= nowMs
    const gone = task.shards.flatMap((_, shard) => {
      const peer = task.reasons.has(shard) ? undefined : this.#holderOf(task, shard)
      return peer !== undefined && this.#gone.has(peer.toString()) ? [{ shard, peer }] : []
    })
    if (gone.length === 0 || nowMs - task.hopelessSinceMs > HOLDERS_RETURN_MS) return false
    if (nowMs - task.retriedMs < HOLDERS_RETRY_MS) return true
    task.retriedMs = nowMs
    for (const { peer, shard } of gone) {
      if (!this.#deps.history.isConnected(peer)) continue
      this.#links.forget(peer)
      task.read.again(shard)
    }
    this.#pump(task)
    return true
  }

  readonly #notify = (): void => {
    this.#wake?.()
    this.#wake = undefined
  }

  /** Opens stripes while they fit the window; one always does. */
  #fill(): void {
    for (;;) {
      const task = this.#tasks[this.#nextTask]
      if (task === undefined) return
      if (this.#windowBytes > 0 && this.#windowBytes + task.wantedBytes > EXTENT_WINDOW_BYTES) return
      this.#nextTask++
      this.#windowBytes += task.wantedBytes
      this.#open.add(task)
      for (const [shard, { bytes, digest }] of task.shards.entries()) {
        if (bytes === 0 && equals(digest, EMPTY.digest)) task.came(shard, EMPTY)
        else if (this.#deps.store.has(digest)) task.here.add(shard)
      }
      this.#pump(task)
    }
  }

  /** Asks for what the stripe needs now, or rebuilds. */
  #pump(task: StripeTask): void {
    if (this.#isClosed) return
    for (const shard of task.read.next((number) => this.#sourceOf(task, number))) this.#ask(task, shard)
    if (task.read.canRebuild) this.#tryRebuild(task)
    if (task.isDone) this.#open.delete(task)
    this.#notify()
  }

  #sourceOf(task: StripeTask, shard: number): ShardSource | undefined {
    if (task.here.has(shard)) return { reach: 'near', cost: 0 }
    const peer = this.#holderOf(task, shard)
    if (peer === undefined || peer.toString() === this.#deps.self || this.#links.isLost(peer)) return undefined
    const { history } = this.#deps
    const cost = (1 + this.#links.outstanding(peer)) * (1 + history.medianMs(peer))
    if (!history.isConnected(peer)) return { reach: 'away', cost }
    return { reach: history.isLate(peer) ? 'late' : 'ready', cost }
  }

  #holderOf(task: StripeTask, shard: number): PeerId | undefined {
    return this.#placed.holders[task.columnOf(shard)]?.peer
  }

  #ask(task: StripeTask, shard: number): void {
    if (task.here.has(shard)) {
      this.#readHere(task, shard).catch((error: unknown) => {
        this.#failure ??= { error }
        this.#notify()
      })
      return
    }
    const peer = this.#holderOf(task, shard)
    const digest = task.shards[shard]?.digest
    if (peer === undefined || digest === undefined) return
    const index = this.#nextWant++
    this.#asked.set(index, { task, shard })
    this.#links.ask(peer, { index, digest })
  }

  async #readHere(task: StripeTask, shard: number): Promise<void> {
    const { bytes: expected, digest } = task.shards[shard] ?? { bytes: 0, digest: new Uint8Array(0) }
    const bytes = await readHere(this.#deps.store, digest)
    if (bytes?.length === expected) {
      task.came(shard, { digest, parts: [bytes], bytes: bytes.length, release: () => undefined })
    } else {
      // Damaged, and noted: the others have it, or enough to rebuild it.
      task.here.delete(shard)
      task.read.again(shard)
    }
    this.#pump(task)
  }

  #onBlock(peer: PeerId, want: Want, block: FetchedBlock, tookMs: number): void {
    this.#deps.history.answered(peer, tookMs)
    const asked = this.#answered(want)
    if (asked === undefined || this.#isClosed) {
      block.release()
      return
    }
    const { shard, task } = asked
    if (block.bytes === task.shards[shard]?.bytes) task.came(shard, block)
    else {
      // The map lies about the length of what it names.
      block.release()
      this.#fail(task, shard, 'has a shard of another size than the map says')
    }
    this.#pump(task)
  }

  #onMissing(peer: PeerId, want: Want): void {
    this.#deps.history.lacking(peer)
    const asked = this.#answered(want)
    if (asked === undefined) return
    this.#fail(asked.task, asked.shard, 'does not have it')
    this.#pump(asked.task)
  }

  #onLost(peer: PeerId, wants: readonly Want[], fault: ProviderFault): void {
    const { history, log } = this.#deps
    history.failed(peer, fault)
    log.warn({ fault }, 'a holder of shards failed')
    this.#failures.set(peer.toString(), lossText(fault))
    if (fault.code === 'BLOCK_PROVIDER_GONE') this.#gone.add(peer.toString())
    else this.#gone.delete(peer.toString())
    const tasks = new Set<StripeTask>()
    for (const want of wants) {
      const asked = this.#answered(want)
      if (asked === undefined) continue
      asked.task.read.failed(asked.shard)
      tasks.add(asked.task)
    }
    // In the order in which they are consumed.
    for (const task of this.#open) if (tasks.has(task)) this.#pump(task)
  }

  #answered(want: Want): Asked | undefined {
    const asked = this.#asked.get(want.index)
    this.#asked.delete(want.index)
    return asked
  }

  #fail(task: StripeTask, shard: number, why: string): void {
    task.reasons.set(shard, why)
    task.read.failed(shard)
  }

  #onTick(): void {
    const { history } = this.#deps
    const nowMs = performance.now()
    const heldUpMs = nowMs - this.#tickMs - HEDGE_TICK_MS
    this.#tickMs = nowMs
    if (heldUpMs > HEDGE_TICK_LATE_MS) this.#links.excuse(nowMs, heldUpMs)
    for (const { peer, wants } of this.#links.waiting(nowMs, (one) => history.hedgeMs(one))) {
      history.late(peer)
      for (const want of wants) {
        const asked = this.#asked.get(want.index)
        asked?.task.read.late(asked.shard)
      }
    }
    for (const task of this.#open) this.#pump(task)
  }

  #tryRebuild(task: StripeTask): void {
    try {
      this.#rebuild(task)
    } catch (error) {
      this.#failure ??= { error }
    }
  }

  #rebuild(task: StripeTask): void {
    const { map } = this.#placed.map
    const wanted = task.read.missing
    const { pool } = this.#links
    const buffers = wanted.map(() => pool.take())
    const out = buffers.map((buffer, at) => buffer.subarray(0, task.shards[wanted[at] ?? 0]?.bytes ?? 0))
    const stripe = map.stripes[task.stripe] ?? { data: 1, parity: 0 }
    const shards = task.shards.map((_, shard) => task.bytesOf(shard))
    rebuild({ code: stripe, shards, wanted, shardBytes: map.stripeBytes(task.stripe), out })
    const rebuilt = wanted.map((shard, at) => ({ shard, buffer: buffers[at], bytes: out[at] ?? new Uint8Array(0) }))
    for (const { buffer, bytes, shard } of rebuilt) {
      const { digest } = task.shards[shard] ?? { digest: new Uint8Array(0) }
      const free = releaseOnce(() => buffer !== undefined && pool.give(buffer))
      if (equals(sha256(bytes), digest)) {
        task.came(shard, { digest, parts: [bytes], bytes: bytes.length, release: free })
      } else {
        free()
        // All it was made of is what the map names: the map's parity doesn't belong to its data.
        for (const parity of task.parityHere) task.spoil(parity, 'has parity that does not fit the data')
      }
    }
    if (task.read.missing.length > 0) {
      this.#deps.log.error({ extent: task.stripe, shard: wanted.join() }, 'a rebuilt shard had another hash')
      this.#pump(task)
    }
  }

  #unavailable(task: StripeTask, shard: number): Error {
    const { extent, holders } = this.#placed
    const digestOf = (number: number): Uint8Array => task.shards[number]?.digest ?? new Uint8Array(32)
    const isLost = (number: number): boolean => task.bytesOf(number) === undefined && !task.read.isComing(number)
    const lost = task.shards.map((_, number) => number).filter(isLost)
    const byColumn = lost.toSorted((one, other) => task.columnOf(one) - task.columnOf(other))
    const missing = byColumn.map((number) => {
      const holder = holders[task.columnOf(number)]
      const isOwn = holder?.peer.toString() === this.#deps.self
      const why = isOwn ? 'lost on its own disk' : this.#failures.get(holder?.peer.toString() ?? '')
      return { digest: digestOf(number), holder, why: task.reasons.get(number) ?? why }
    })
    const present = task.shards.length - lost.length
    const cid = digestCid(RAW, digestOf(shard))
    const needed = this.#placed.map.map.stripes[task.stripe]?.data ?? 0
    return unavailable(this.#deps.history, { cid, extent: extent.index, needed, present, missing })
  }
}

function lossText(fault: ProviderFault): string {
  switch (fault.code) {
    case 'BLOCK_ALTERED':
      return 'gave altered bytes'
    case 'BLOCK_PROVIDER_MALFORMED':
      return 'gave broken answers'
    case 'BLOCK_PROVIDER_GONE':
      return 'went away'
    case 'BLOCK_PROVIDER_SILENT':
      return 'is silent'
    default:
      return fault satisfies never
  }
}

function releaseOnce(release: () => void): () => void {
  let isReleased = false
  return () => {
    if (!isReleased) release()
    isReleased = true
  }
}
