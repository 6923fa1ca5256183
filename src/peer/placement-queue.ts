/**
 * Objects of this peer that are to be placed on the network. A job is durable before its object counts as stored here, and is
 * forgotten when the ledger has the whole object: whatever happens between, the peer goes on by itself.
 *
 *   put ──► whole here ──► job ──► waiting (for a table, for holders) ⇄ placing ──► placed: on the ledger
 *
 * @see placement-run.ts for one attempt; docs/decisions/0093-placement-is-a-job.md
 */
import type { CID } from 'multiformats/cid'
import { toString } from 'uint8arrays/to-string'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { type Fault, faultOf } from '../core/coded-error.ts'
import {
  COMMIT_EXTENTS_MAX,
  EXTENTS_MAX,
  PLACEMENTS_AT_ONCE,
  PLACEMENTS_FINISHED_KEPT,
  PLACEMENTS_MAX,
  PLACEMENT_RETRY_MS_MAX,
  PLACEMENT_RETRY_MS_MIN,
} from '../core/limits.ts'
import type { Clock, KeyValueStore } from '../core/ports.ts'
import { type Decoded, boolean, integer, list, object } from '../core/schema.ts'
import { cborLink, timeMs } from '../ledger/fields.ts'
import { getLayout } from '../domain/storage-table.ts'
import { PeerError } from './faults.ts'
import { type PlacementEvents, type PlacementRunDeps, placeObject, placesAnything } from './placement-run.ts'

const knownMap = object({ index: integer(0, EXTENTS_MAX - 1), link: cborLink })
const storedJob = object({
  manifest: cborLink,
  critical: boolean,
  notedMs: timeMs,
  /** Extent maps that some holders have shards of, of extents that aren't committed yet. */
  maps: list(knownMap, 0, 2 * COMMIT_EXTENTS_MAX),
})
type StoredJob = Decoded<typeof storedJob>

/** How far a job is. Of this life of the process: what is final stands on the ledger. */
export interface PlacementProgress {
  /** `placed`: this peer saw to it. */
  readonly state: 'waiting' | 'placing' | 'placed'
  readonly critical: boolean
  readonly extents: number
  readonly committed: number
  /** Data bytes of the object. */
  readonly bytes: number
  /** Of these, those that are with their holders. */
  readonly bytesPlaced: number
  /** Bytes of shards and copies that left this peer. */
  readonly bytesPushed: number
  /** Columns of its code. */
  readonly peers: number
  /** Institutions that were left behind, or that it waits for. */
  readonly missing: readonly string[]
  /** Why the last attempt failed. */
  readonly fault: Fault | undefined
}

interface Job {
  stored: StoredJob
  isRunning: boolean
  /** No sooner is it tried again. */
  dueMs: number
  tries: number
  progress: Omit<PlacementProgress, 'state' | 'critical'>
}

/** No further attempt changes it. */
const ENDED = 'OBJECT_ERASED'

const FIRST = new Uint8Array(0)
/** Keys are digests behind a byte of 0. */
const LAST = new Uint8Array([1])

export interface PlacementQueueDeps extends PlacementRunDeps {
  readonly chain: PlacementRunDeps['chain'] & { onBlock(listener: () => void): () => void }
  readonly state: KeyValueStore
  readonly clock: Clock
}

export class PlacementQueue {
  readonly #deps: PlacementQueueDeps
  /** In the order of their coming. */
  readonly #jobs = new Map<string, Job>()
  /** The newest that are placed, for whoever asks what it took. */
  readonly #finished = new Map<string, Job>()
  readonly #stopping = new AbortController()
  readonly #running = new Set<Promise<void>>()
  #stopListening: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  /** The ledger had no table: nothing is tried until it has. */
  #needTable = false

  private constructor(deps: PlacementQueueDeps) {
    this.#deps = deps
  }

  /** @param deps.state - this object's alone. */
  static async open(deps: PlacementQueueDeps): Promise<PlacementQueue> {
    const queue = new PlacementQueue(deps)
    const found: StoredJob[] = []
    for await (const { value } of deps.state.range({ from: FIRST, to: LAST })) {
      found.push(storedJob(decodeCanonical(value), 'placement'))
    }
    for (const stored of found.toSorted((a, b) => a.notedMs - b.notedMs)) queue.#add(stored)
    return queue
  }

  start(): void {
    this.#stopListening = this.#deps.chain.onBlock(() => {
      if (!this.#needTable) return
      this.#lookForTable().catch((error: unknown) => this.#deps.log.warn({ err: error }, 'no look at the table'))
    })
    this.#startDue()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#stopListening?.()
    clearTimeout(this.#timer)
    await Promise.all(this.#running)
  }

  /** Jobs that aren't done. */
  get count(): number {
    return this.#jobs.size
  }

  /**
   * Notes an object that is whole here; durable when settled.
   *
   * @param critical - full copies on more institutions than may lie.
   * @throws {PeerError} `PLACEMENTS_TOO_MANY`
   */
  async note(manifest: CID, critical: boolean): Promise<void> {
    if (this.#jobs.has(nameOf(manifest))) return
    if (this.#jobs.size >= PLACEMENTS_MAX) {
      throw new PeerError({ code: 'PLACEMENTS_TOO_MANY', jobsMax: PLACEMENTS_MAX })
    }
    const stored = { manifest, critical, notedMs: this.#deps.clock.nowMs(), maps: [] }
    await this.#write(stored)
    this.#add(stored)
  }

  /** All that isn't done: objects that lie whole here, and maps of theirs. */
  list(): readonly { readonly manifest: CID; readonly maps: readonly CID[] }[] {
    return [...this.#jobs.values()].map(({ stored }) => ({
      manifest: stored.manifest,
      maps: stored.maps.map(({ link }) => link),
    }))
  }

  /** What was noted may be tried now: its object is listed. */
  wake(): void {
    this.#startDue()
  }

  /** Objects that aren't placed yet: all of their blocks here are needed. */
  manifests(): CID[] {
    return [...this.#jobs.values()].map(({ stored }) => stored.manifest)
  }

  /** `undefined`: there is no such job, or it was done long ago. */
  progress(manifest: CID): PlacementProgress | undefined {
    const name = nameOf(manifest)
    const open = this.#jobs.get(name)
    const job = open ?? this.#finished.get(name)
    if (job === undefined) return undefined
    const state = open === undefined ? 'placed' : job.isRunning ? 'placing' : 'waiting'
    return { state, critical: job.stored.critical, ...job.progress }
  }

  #add(stored: StoredJob): void {
    const progress = {
      extents: 0,
      committed: 0,
      bytes: 0,
      bytesPlaced: 0,
      bytesPushed: 0,
      peers: 0,
      missing: [],
      fault: undefined,
    }
    const job = { stored, isRunning: false, dueMs: 0, tries: 0, progress }
    this.#jobs.set(nameOf(stored.manifest), job)
  }

  #startDue(): void {
    if (this.#stopping.signal.aborted || this.#needTable) return
    clearTimeout(this.#timer)
    const nowMs = performance.now()
    let nextMs = Number.POSITIVE_INFINITY
    for (const job of this.#jobs.values()) {
      if (this.#running.size >= PLACEMENTS_AT_ONCE) return
      if (job.isRunning) continue
      if (job.dueMs > nowMs) {
        nextMs = Math.min(nextMs, job.dueMs)
        continue
      }
      job.isRunning = true
      const run = this.#run(job).finally(() => {
        job.isRunning = false
        this.#running.delete(run)
        this.#startDue()
      })
      this.#running.add(run)
    }
    if (nextMs === Number.POSITIVE_INFINITY) return
    this.#timer = setTimeout(() => this.#startDue(), nextMs - nowMs)
    this.#timer.unref()
  }

  async #lookForTable(): Promise<void> {
    const layout = await getLayout(this.#deps.chain.reader)
    if (!placesAnything(layout)) return
    this.#needTable = false
    this.#startDue()
  }

  async #run(job: Job): Promise<void> {
    const { log } = this.#deps
    const { manifest } = job.stored
    try {
      const outcome = await placeObject(this.#deps, job.stored, this.#eventsOf(job), this.#stopping.signal)
      if (outcome === 'no-table') {
        this.#needTable = true
        // It may have come since.
        await this.#lookForTable()
        return
      }
      await this.#remove(job)
      this.#finished.set(nameOf(manifest), job)
      for (const oldest of this.#finished.keys()) {
        if (this.#finished.size <= PLACEMENTS_FINISHED_KEPT) break
        this.#finished.delete(oldest)
      }
      log.info({ manifest: manifest.toString(), extents: job.progress.extents }, 'object placed')
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      const fault = faultOf(error)
      if (fault?.code === ENDED) {
        // A job that stays is tried again.
        await this.#remove(job).catch((failure: unknown) => log.warn({ err: failure }, 'a job was not forgotten'))
        return
      }
      const pauseMs = Math.min(PLACEMENT_RETRY_MS_MAX, PLACEMENT_RETRY_MS_MIN * 2 ** Math.min(job.tries++, 16))
      job.dueMs = performance.now() + pauseMs
      job.progress = { ...job.progress, fault }
      const why = fault === undefined ? { err: error } : { fault }
      log.warn({ manifest: manifest.toString(), pauseMs, ...why }, 'an object could not be placed yet')
    }
  }

  #eventsOf(job: Job): PlacementEvents {
    job.progress = { ...job.progress, bytesPlaced: 0, missing: [] }
    const set = (changed: Partial<Job['progress']>): void => {
      job.progress = { ...job.progress, ...changed }
    }
    return {
      onPlan: (plan) => set({ ...plan, committed: 0 }),
      onCommitted: (extents) => {
        set({ committed: job.progress.committed + extents, fault: undefined })
        // It goes on: the next pause begins small again.
        if (extents > 0) job.tries = 0
      },
      onStored: (dataBytes, sentBytes) =>
        set({
          bytesPlaced: job.progress.bytesPlaced + dataBytes,
          bytesPushed: job.progress.bytesPushed + sentBytes,
        }),
      onMissing: (institutions) => set({ missing: [...new Set(institutions)] }),
      onMap: async (map) => {
        const { committed } = job.progress
        const others = job.stored.maps.filter(({ index }) => index >= committed && index !== map.index)
        const stored = { ...job.stored, maps: [...others, map].slice(-2 * COMMIT_EXTENTS_MAX) }
        await this.#write(stored)
        job.stored = stored
      },
    }
  }

  async #write(stored: StoredJob): Promise<void> {
    await this.#deps.state.batch([{ key: keyOf(stored.manifest), value: encodeCanonical(stored) }])
  }

  async #remove({ stored }: Job): Promise<void> {
    await this.#deps.state.batch([{ key: keyOf(stored.manifest), value: undefined }])
    this.#jobs.delete(nameOf(stored.manifest))
  }
}

function keyOf(manifest: CID): Uint8Array {
  return Uint8Array.of(0, ...manifest.multihash.digest)
}

function nameOf(manifest: CID): string {
  return toString(manifest.multihash.digest, 'base64')
}
