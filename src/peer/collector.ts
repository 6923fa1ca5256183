/**
 * Removes from this peer's store what nothing needs any more: mark and sweep, clocked by the time of final blocks and nothing else.
 *
 *   round ──► live set (live-walk.ts) ──► what isn't in it gets a durable mark: unreferenced since block time T
 *                                     └─► marks: live again ──► off; orphanMs old and still unreferenced ──► the block goes
 *                                     └─► erased objects: their blocks go at once (erasures.ts)
 *                                     └─► own objects that nobody keeps: the ledger is asked to forget them
 *
 * It errs towards keeping: where it can't tell what a block belongs to, nothing is removed at all; an object's blocks stay until the
 * ledger has forgotten it; and whoever is about to rely on a block is asked in the step in which it would go.
 *
 * A round holds 16 to 32 bytes for each block that is kept, some 30 MB at a million, and goes through store and marks in small slices
 * that let others go first.
 *
 * @see docs/decisions/0099-collection.md
 */
import type { CID } from 'multiformats/cid'
import { setImmediate as pause } from 'node:timers/promises'
import { faultOf } from '../core/coded-error.ts'
import {
  COLLECT_AGAIN_MS,
  COLLECT_CACHE_RATIO,
  COLLECT_CHECK_MS,
  COLLECT_FORGETS_MAX,
  COLLECT_ROUNDS,
  COLLECT_ROUND_MS_MAX,
  COLLECT_SLICE_BLOCKS,
} from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { ERASE } from '../domain/storage-erasure.ts'
import { draftStorageForget } from '../domain/storage-leases.ts'
import { getStorageParams } from '../domain/storage-params.ts'
import type { Chain } from '../ledger/chain.ts'
import { DigestSet } from '../shards/digest-set.ts'
import type { CollectionTime } from '../shards/live-set.ts'
import type { RemoveCapability } from '../store/blocks.ts'
import { CollectionReport, type CollectionSummary } from './collection-report.ts'
import { Erasures, type ErasuresDeps } from './erasures.ts'
import { type LiveView, type LiveWalkDeps, lookAtLive, mapHere } from './live-walk.ts'
import type { ObjectService } from './objects.ts'
import type { OrphanMarks, StoredMark } from './orphan-marks.ts'
import type { StagedColumn } from './staged-columns.ts'

export interface CollectorDeps extends Omit<LiveWalkDeps, 'chain' | 'marks' | 'objects' | 'pins'>, ErasuresDeps {
  readonly chain: Pick<Chain, 'head' | 'id' | 'onBlock' | 'reader'>
  readonly marks: OrphanMarks
  readonly objects: Pick<ObjectService, 'all' | 'unlist'>
  readonly capability: RemoveCapability
  readonly log: Log
}

interface Orphan {
  readonly digest: Uint8Array
  readonly mark: StoredMark
}

export class Collector {
  readonly #deps: CollectorDeps
  readonly #erasures: Erasures
  readonly #stopping = new AbortController()
  #roundStop = new AbortController()
  #endPause: (() => void) | undefined
  #stopListening: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #turn: Promise<unknown> = Promise.resolve()
  #forgetting: Promise<void> | undefined
  /** A round that was begun without being asked for; more than one never wait. */
  #isWaiting = false
  #lastMs = Number.NEGATIVE_INFINITY
  /** Block time at which an erasure that isn't done is taken up again. */
  #againMs = Number.POSITIVE_INFINITY

  constructor(deps: CollectorDeps) {
    this.#deps = deps
    this.#erasures = new Erasures(deps)
  }

  start(): void {
    this.#stopListening = this.#deps.chain.onBlock(({ txs }) => {
      if (txs.some(({ body }) => body.type === ERASE)) this.#lastMs = Number.NEGATIVE_INFINITY
      this.#look()
    })
    this.#timer = setInterval(() => {
      this.#lastMs = Number.NEGATIVE_INFINITY
      this.#look()
    }, COLLECT_CHECK_MS)
    this.#timer.unref()
    this.#look()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#stopListening?.()
    clearInterval(this.#timer)
    this.#endPause?.()
    await this.#turn.catch(() => undefined)
    await this.#forgetting
  }

  /** The ledger is about to be exchanged for another one: rounds wait, and the one under way ends. */
  async pause(): Promise<void> {
    const before = this.#turn.catch(() => undefined)
    this.#turn = before.then(async () => new Promise<void>((resolve) => (this.#endPause = resolve)))
    this.#roundStop.abort()
    await before
  }

  async resume(): Promise<void> {
    this.#endPause?.()
    this.#endPause = undefined
    this.#look()
  }

  /**
   * A round now.
   *
   * @param options.dry - nothing is marked, removed or submitted.
   * @throws the signal's reason; faults of the store and the ledger's database
   */
  collect(options: { readonly dry: boolean; readonly signal: AbortSignal }): Promise<CollectionSummary> {
    const round = this.#turn.then(async () => this.#round(options))
    this.#turn = round.catch(() => undefined)
    return round
  }

  #look(): void {
    if (this.#isWaiting || this.#stopping.signal.aborted) return
    this.#isWaiting = true
    const round = this.#turn.then(async () => {
      this.#isWaiting = false
      if (await this.#isDue()) await this.#round({ dry: false, signal: this.#stopping.signal })
    })
    this.#turn = round.catch((error: unknown) => {
      if (this.#stopping.signal.aborted || this.#roundStop.signal.aborted) return
      const fault = faultOf(error)
      this.#deps.log.warn({ fault, ...(fault === undefined ? { err: error } : {}) }, 'a round of collection failed')
    })
  }

  async #isDue(): Promise<boolean> {
    const { orphanMs } = await getStorageParams(this.#deps.chain.reader)
    const { timeMs } = this.#deps.chain.head
    return timeMs >= this.#againMs || timeMs >= this.#lastMs + Math.min(COLLECT_ROUND_MS_MAX, orphanMs / COLLECT_ROUNDS)
  }

  async #round(given: { readonly dry: boolean; readonly signal: AbortSignal }): Promise<CollectionSummary> {
    this.#roundStop = new AbortController()
    const signal = AbortSignal.any([given.signal, this.#stopping.signal, this.#roundStop.signal])
    const { chain, log, marks, recent } = this.#deps
    if (!given.dry) this.#lastMs = chain.head.timeMs
    recent.beginRound()
    const { height } = chain.head
    const before = await marks.height()
    const view = await lookAtLive(this.#deps, signal)
    const report = new CollectionReport(view)
    if (view.unknown.length > 0) {
      log.warn({ blocks: view.unknown.length }, 'nothing is collected: blocks are missing that say what must stay')
      return report.summary()
    }
    // Another ledger came meanwhile: what was read may be of both. Or one is being caught up with, after damage: it doesn't name yet what it will.
    if (chain.head.height < height || height < before) return report.summary()
    if (!given.dry) await marks.noteHeight(height)
    const time = this.#timeOf(view)
    const marked = await this.#sweepMarks(view, time, { ...given, signal }, report)
    await this.#sweepStore(view, marked, { ...given, signal }, report)
    if (given.dry) return report.summary()
    await this.#lists(view)
    await this.#dropExpired(view)
    const { isOpen, removed } = await this.#erasures.carryOut(view, signal)
    report.removed(removed)
    this.#againMs = isOpen ? view.blockTimeMs + COLLECT_AGAIN_MS : Number.POSITIVE_INFINITY
    recent.endRound()
    const summary = report.summary()
    if (summary.removedBlocks > 0)
      log.info({ blocks: summary.removedBlocks, bytes: summary.removedBytes }, 'blocks collected')
    // Beside the next rounds: each waits for a block.
    this.#forgetting ??= this.#forget(view).finally(() => (this.#forgetting = undefined))
    return summary
  }

  #timeOf({ blockTimeMs, params }: LiveView): CollectionTime {
    const { capacityBytes, usedBytes } = this.#deps.store.stats()
    const isPressed = usedBytes > capacityBytes * COLLECT_CACHE_RATIO
    return { blockTimeMs, orphanMs: params.orphanMs, isPressed }
  }

  /** What was marked before. @returns what has a mark after it. */
  async #sweepMarks(
    { live }: LiveView,
    time: CollectionTime,
    { dry, signal }: { readonly dry: boolean; readonly signal: AbortSignal },
    report: CollectionReport,
  ): Promise<DigestSet> {
    const { marks, recent, store } = this.#deps
    const marked = new DigestSet()
    let due: Orphan[] = []
    let over: Uint8Array[] = []
    const flush = async (): Promise<void> => {
      signal.throwIfAborted()
      if (!dry) {
        await marks.write(over.map((digest) => ({ digest, mark: undefined })))
        await this.#remove(due, report)
      }
      due = []
      over = []
      await pause()
    }
    for await (const { digest, mark } of marks.list()) {
      const isHere = store.has(digest)
      const verdict = isHere && !recent.has(digest) ? live.verdict(digest, mark, time) : 'live'
      if (verdict === 'live') over.push(digest)
      else {
        marked.add(digest)
        report.orphan(mark, store.size(digest) ?? 0, verdict === 'due' ? time.blockTimeMs : undefined)
        if (verdict === 'due') due.push({ digest, mark })
      }
      if (due.length + over.length >= COLLECT_SLICE_BLOCKS) await flush()
    }
    await flush()
    return marked
  }

  /** Blocks first, then their marks. */
  async #remove(due: readonly Orphan[], report: CollectionReport): Promise<void> {
    const { capability, marks, recent, store } = this.#deps
    await Promise.all(
      due.map(async ({ digest }) => {
        const bytes = store.size(digest) ?? 0
        const went = await store.remove(digest, capability, (one) => recent.has(one))
        if (went) report.removed(1, bytes)
      }),
    )
    await marks.write(due.map(({ digest }) => ({ digest, mark: undefined })))
  }

  /** Marks what nothing needs and has no mark: first what is known to be of an object, then all the rest. */
  async #sweepStore(
    { beyond, blockTimeMs, live }: LiveView,
    marked: DigestSet,
    { dry, signal }: { readonly dry: boolean; readonly signal: AbortSignal },
    report: CollectionReport,
  ): Promise<void> {
    const { marks, recent, store } = this.#deps
    let found: Orphan[] = []
    const flush = async (): Promise<void> => {
      signal.throwIfAborted()
      if (!dry) await marks.write(found)
      found = []
      await pause()
    }
    const see = (digest: Uint8Array, mark: StoredMark): void => {
      if (live.isLive(digest) || marked.has(digest) || recent.has(digest) || !store.has(digest)) return
      marked.add(digest)
      report.orphan(mark, store.size(digest) ?? 0, undefined)
      found.push({ digest: digest.slice(), mark })
    }
    for (const { manifest, map: link, reason } of beyond) {
      const map = await mapHere(store, link)
      if (map === undefined) continue
      const mark = { sinceMs: blockTimeMs, reason, manifest }
      for (let stripe = 0; stripe < map.stripes.length; stripe++) {
        for (const { digest } of map.shardsOfStripe(stripe)) see(digest, mark)
      }
      for (const { cid } of map.fields.copies) see(cid.multihash.digest, mark)
      see(link.multihash.digest, mark)
      await flush()
    }
    let seen = 0
    for (const digest of store.digests()) {
      see(digest, { sinceMs: blockTimeMs, reason: 'unreferenced' })
      if (++seen % COLLECT_SLICE_BLOCKS === 0) await flush()
    }
    await flush()
  }

  /** Records of expired columns whose blocks are gone, or something else's: till then they say that these may go. */
  async #dropExpired({ blockTimeMs, live }: LiveView): Promise<void> {
    const { staged, store } = this.#deps
    const over: StagedColumn[] = []
    for (const column of staged.expired(blockTimeMs)) {
      const map = column.map === undefined ? undefined : await mapHere(store, column.map)
      const shards = map?.shardsOfColumn(column.column) ?? []
      const isHere = shards.some(({ digest }) => live.expired.has(digest) && live.isLoose(digest) && store.has(digest))
      if (!isHere) over.push(column)
    }
    await staged.remove(over)
  }

  /** Objects of this peer's list that the ledger has, and those that it has no more. */
  async #lists({ over, placed }: LiveView): Promise<void> {
    const { marks, objects } = this.#deps
    for (const manifest of placed) if (!(await marks.wasWhole(manifest))) await marks.noteWhole(manifest, true)
    for (const entry of over) {
      await objects.unlist(entry)
      await marks.noteWhole(entry.manifest, false)
    }
  }

  /** Takes own objects off the ledger that nobody has kept for long enough. */
  async #forget({ forgettable }: LiveView): Promise<void> {
    for (const manifest of forgettable.slice(0, COLLECT_FORGETS_MAX)) {
      if (this.#stopping.signal.aborted) return
      await this.#forgetOne(manifest)
    }
  }

  async #forgetOne(manifest: CID): Promise<void> {
    const { account, log } = this.#deps
    const { signal } = this.#stopping
    const object = manifest.toString()
    try {
      const { receipt } = await account.submit(draftStorageForget(manifest), signal)
      if (receipt.ok) log.info({ object }, 'an object that nobody keeps is off the ledger')
      // Renewed, held or named by a record meanwhile; or another peer was quicker.
      else log.info({ object, fault: receipt.fault }, 'the ledger keeps an object')
    } catch (error) {
      if (signal.aborted) return
      const fault = faultOf(error)
      log.info(
        { object, fault, ...(fault === undefined ? { err: error } : {}) },
        'an object stays on the ledger for now',
      )
    }
  }
}
