/**
 * Resumable uploads of sealed streams, segment by segment.
 *
 *   bytes ──► segments of 1 MiB, hashed as they arrive ──► block store (fsync) ──► journal ──► acknowledged
 *
 * The acknowledged offset only ever counts segments whose blocks and whose journal entry are durable: after a crash on either
 * side the upload goes on there. Back-pressure: at most `UPLOAD_IN_FLIGHT_BYTES` wait for the disk; then the sender waits.
 *
 * An upload that is never committed to an object (see `objects.ts`) is removed with its blocks when it is aborted or expires,
 * but for blocks that something else put here too.
 */
import { createHash, type Hash, randomUUID } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { CID } from 'multiformats/cid'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import {
  SEGMENT_BYTES,
  SEGMENTS_MAX,
  UPLOAD_BATCH_SEGMENTS,
  UPLOAD_EXPIRY_INTERVAL_MS,
  UPLOAD_IN_FLIGHT_BYTES,
  UPLOADS_WHOLE_MAX,
} from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { integer, object } from '../core/schema.ts'
import { buildFileTree } from '../shards/unixfs-tree.ts'
import type { Blocks } from '../store/blocks.ts'
import type { UploadJournal } from '../store/upload-journal.ts'
import { PeerError, type PeerFault } from './faults.ts'
import { type FreshBlocks, FreshOwner } from './fresh-blocks.ts'

export interface UploadsDeps {
  readonly store: Blocks
  readonly journal: UploadJournal
  /** An upload's blocks, until it is committed. */
  readonly fresh: FreshBlocks
  readonly clock: Clock
  readonly log: Log
}

export interface UploadsOptions {
  /** Unfinished uploads at once. */
  readonly openMax: number
  /** Uploads at once that are whole and that no object names. @default UPLOADS_WHOLE_MAX */
  readonly wholeMax?: number
  /** An upload without progress for this long is removed. */
  readonly expireMs: number
}

export interface UploadState {
  readonly id: string
  /** Bytes in all. */
  readonly length: number
  /** Bytes durable here. */
  readonly offset: number
  /** UnixFS root of the bytes; present once all are here. */
  readonly content: CID | undefined
  readonly expiresAtMs: number
}

interface Session {
  readonly id: string
  readonly length: number
  readonly digests: Uint8Array[]
  /** Being written, and not in the journal yet. */
  readonly writing: Set<Uint8Array>
  /** Blocks that this upload brought here first: removed with it. */
  readonly fresh: FreshOwner
  touchedMs: number
  busy: boolean
  content: CID | undefined
}

interface Segment {
  readonly digest: Uint8Array
  readonly parts: readonly Uint8Array[]
  readonly bytes: number
}

const sessionMeta = object({ length: integer(0, SEGMENTS_MAX * SEGMENT_BYTES), createdMs: integer(0) })

export class UploadService {
  readonly #deps: UploadsDeps
  readonly #options: UploadsOptions
  readonly #sessions = new Map<string, Session>()
  /** How many of them are whole. */
  #whole = 0
  #timer: NodeJS.Timeout | undefined

  constructor(deps: UploadsDeps, options: UploadsOptions) {
    this.#deps = deps
    this.#options = options
  }

  /** Takes up the sessions that a stop or a crash left open, and removes from time to time those that expired. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.expire().catch((error: unknown) => this.#deps.log.warn({ err: error }, 'expired uploads were not removed'))
    }, UPLOAD_EXPIRY_INTERVAL_MS)
    for (const { id, meta, digests, touchedAtMs } of await this.#deps.journal.list()) {
      // A block may have been found damaged since it was acknowledged: the sender begins that upload anew.
      if (digests.some((digest) => !this.#deps.store.has(digest))) {
        await this.#deps.journal.remove(id)
        continue
      }
      const { length } = sessionMeta(decodeCanonical(meta), 'upload')
      const session: Session = {
        id,
        length,
        digests: [...digests],
        writing: new Set(),
        // What was here before is not known any more after a restart: nothing of it may be removed.
        fresh: new FreshOwner(),
        touchedMs: touchedAtMs,
        busy: false,
        content: undefined,
      }
      this.#sessions.set(id, session)
      if (offsetOf(session) === length) this.#noteWhole(session, buildFileTree(session.digests, length).root)
    }
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
  }

  /**
   * @param length - bytes of the sealed stream.
   * @throws {PeerError} `UPLOAD_TOO_MANY`, `UPLOADS_NOT_NAMED`, `UPLOAD_TOO_LARGE`; {StoreError} `STORE_FULL`
   */
  async create(length: number): Promise<UploadState> {
    if (this.#noRoom() !== undefined) await this.expire()
    const fault = this.#noRoom()
    if (fault !== undefined) throw new PeerError(fault)
    if (length > SEGMENTS_MAX * SEGMENT_BYTES) {
      throw new PeerError({ code: 'UPLOAD_TOO_LARGE', bytes: length, bytesMax: SEGMENTS_MAX * SEGMENT_BYTES })
    }
    await this.#deps.store.checkRoom(length)
    const session: Session = {
      id: randomUUID(),
      length,
      digests: [],
      writing: new Set(),
      fresh: new FreshOwner(),
      touchedMs: this.#deps.clock.nowMs(),
      busy: false,
      content: undefined,
    }
    await this.#deps.journal.create(session.id, encodeCanonical({ length, createdMs: session.touchedMs }))
    this.#sessions.set(session.id, session)
    return this.#stateOf(session)
  }

  #noRoom(): PeerFault | undefined {
    const { openMax, wholeMax = UPLOADS_WHOLE_MAX } = this.#options
    if (this.#sessions.size - this.#whole >= openMax) return { code: 'UPLOAD_TOO_MANY', openMax }
    return this.#whole >= wholeMax ? { code: 'UPLOADS_NOT_NAMED', wholeMax } : undefined
  }

  /** @throws {PeerError} `UPLOAD_UNKNOWN` */
  state(id: string): UploadState {
    return this.#stateOf(this.#session(id))
  }

  /**
   * Receives bytes from `offset` on. When the source ends or breaks off early, whole segments received so far stay
   * acknowledged; a part of a segment is dropped.
   *
   * @throws {PeerError} `UPLOAD_UNKNOWN`, `UPLOAD_BUSY`, `UPLOAD_OFFSET`, `UPLOAD_OVERRUN`; faults of the store
   */
  async receive(id: string, offset: number, source: Readable): Promise<UploadState> {
    const session = this.#session(id)
    if (session.busy) throw new PeerError({ code: 'UPLOAD_BUSY' })
    const acknowledged = offsetOf(session)
    if (offset !== acknowledged) throw new PeerError({ code: 'UPLOAD_OFFSET', offset, acknowledged })
    session.busy = true
    try {
      if (session.content === undefined) {
        const complete = await this.#pump(session, source)
        if (complete) await this.#finish(session)
      }
    } finally {
      session.busy = false
      session.touchedMs = this.#deps.clock.nowMs()
    }
    return this.#stateOf(session)
  }

  /** Removes an upload and the blocks that only it brought here. @throws {PeerError} `UPLOAD_UNKNOWN`, `UPLOAD_BUSY` */
  async abort(id: string): Promise<void> {
    const session = this.#session(id)
    if (session.busy) throw new PeerError({ code: 'UPLOAD_BUSY' })
    this.#delete(session)
    await this.#deps.journal.remove(session.id)
    await this.#deps.fresh.remove(session.fresh)
  }

  /** These files belong to an object now: forgets their sessions, keeps their blocks. */
  async commit(files: readonly CID[]): Promise<void> {
    const roots = new Set(files.map(String))
    for (const session of [...this.#sessions.values()]) {
      if (session.content !== undefined && roots.has(session.content.toString())) await this.#forget(session)
    }
  }

  /** Blocks that open uploads rely on, the inner nodes of their trees aside. */
  *digests(): Generator<Uint8Array> {
    for (const { digests, writing } of this.#sessions.values()) {
      yield* digests
      yield* writing
    }
  }

  /** Roots of uploads that are whole and belong to no object yet. */
  roots(): readonly CID[] {
    return [...this.#sessions.values()].flatMap(({ content }) => content ?? [])
  }

  /** Removes uploads that made no progress for `expireMs`. */
  async expire(): Promise<void> {
    const before = this.#deps.clock.nowMs() - this.#options.expireMs
    for (const session of [...this.#sessions.values()]) {
      if (session.busy || session.touchedMs >= before) continue
      this.#deps.log.info({ upload: session.id, offset: offsetOf(session) }, 'upload expired')
      await this.abort(session.id)
    }
  }

  /** Reads the source into segments; resolves true when the last byte is durable, false when the source broke off. */
  #pump(session: Session, source: Readable): Promise<boolean> {
    const cutter = new SegmentCutter(session.length - offsetOf(session))
    return new Promise((resolve, reject) => {
      const queue: Segment[] = []
      let waitingBytes = 0
      let draining = false
      let ended = false
      let failure: { error: Error } | undefined
      const settle = (): void => {
        if (draining) return
        if (failure !== undefined) reject(failure.error)
        else if (ended && queue.length === 0) resolve(offsetOf(session) === session.length)
      }
      const fail = (error: unknown): void => {
        failure ??= { error: error instanceof Error ? error : new Error(String(error)) }
        queue.length = 0
        source.off('data', receive)
        // Read to the end, so that the answer reaches a sender that is still sending.
        source.resume()
        settle()
      }
      const drain = async (): Promise<void> => {
        draining = true
        // The journal's entries follow each other; the next batch's blocks are written meanwhile.
        let noted = Promise.resolve()
        try {
          while (queue.length > 0) {
            const batch = queue.splice(0, UPLOAD_BATCH_SEGMENTS)
            await this.#write(session, batch)
            for (const segment of batch) waitingBytes -= segment.bytes
            if (source.isPaused() && waitingBytes < UPLOAD_IN_FLIGHT_BYTES / 2) source.resume()
            await noted
            noted = this.#note(session, batch)
            // Awaited above or below; until then its failure has no other listener.
            noted.catch(() => undefined)
            if (queue.length === 0) await noted
          }
          draining = false
          settle()
        } catch (error) {
          await noted.catch(() => undefined)
          draining = false
          fail(error)
        }
      }
      const receive = (chunk: Uint8Array): void => {
        try {
          for (const segment of cutter.push(chunk)) {
            queue.push(segment)
            waitingBytes += segment.bytes
          }
        } catch (error) {
          fail(error)
          return
        }
        if (waitingBytes >= UPLOAD_IN_FLIGHT_BYTES) source.pause()
        if (!draining && queue.length > 0) void drain()
      }
      const end = (): void => {
        if (ended) return
        ended = true
        const last = failure === undefined ? cutter.end() : undefined
        if (last !== undefined) queue.push(last)
        if (!draining && queue.length > 0) void drain()
        else settle()
      }
      source.on('data', receive)
      source.once('end', end)
      // A connection that breaks: what came before stays.
      source.once('error', end)
      source.once('close', end)
    })
  }

  /** Blocks first, then the journal, then the offset: the order that makes an acknowledgement true. */
  async #write(session: Session, batch: readonly Segment[]): Promise<void> {
    const digests = batch.map((segment) => segment.digest)
    for (const digest of digests) session.writing.add(digest)
    this.#deps.fresh.claim(session.fresh, digests)
    await this.#deps.store.write(batch)
  }

  async #note(session: Session, batch: readonly Segment[]): Promise<void> {
    const digests = batch.map((segment) => segment.digest)
    await this.#deps.journal.append(session.id, digests)
    session.digests.push(...digests)
    for (const digest of digests) session.writing.delete(digest)
    session.touchedMs = this.#deps.clock.nowMs()
  }

  async #finish(session: Session): Promise<void> {
    const tree = buildFileTree(session.digests, session.length)
    if (tree.nodes.length > 0) {
      const nodes = tree.nodes.map((node) => ({ digest: node.cid.multihash.digest, parts: [node.bytes] }))
      this.#deps.fresh.claim(
        session.fresh,
        nodes.map((node) => node.digest),
      )
      await this.#deps.store.write(nodes)
    }
    this.#noteWhole(session, tree.root)
  }

  #noteWhole(session: Session, content: CID): void {
    session.content = content
    this.#whole++
  }

  #delete(session: Session): void {
    if (this.#sessions.delete(session.id) && session.content !== undefined) this.#whole--
  }

  async #forget(session: Session): Promise<void> {
    this.#delete(session)
    this.#deps.fresh.keep(session.fresh)
    await this.#deps.journal.remove(session.id)
  }

  #session(id: string): Session {
    const session = this.#sessions.get(id)
    if (session === undefined) throw new PeerError({ code: 'UPLOAD_UNKNOWN' })
    return session
  }

  #stateOf(session: Session): UploadState {
    const { id, length, content } = session
    return { id, length, offset: offsetOf(session), content, expiresAtMs: session.touchedMs + this.#options.expireMs }
  }
}

/** Cuts a stream into segments without copying, hashing each piece once as it comes. */
class SegmentCutter {
  #left: number
  #parts: Uint8Array[] = []
  #bytes = 0
  #hash: Hash = createHash('sha256')

  /** @param left - bytes that the stream is to have. */
  constructor(left: number) {
    this.#left = left
  }

  /** @throws {PeerError} `UPLOAD_OVERRUN` */
  push(chunk: Uint8Array): Segment[] {
    if (chunk.length > this.#left) throw new PeerError({ code: 'UPLOAD_OVERRUN', bytes: chunk.length - this.#left })
    this.#left -= chunk.length
    const segments: Segment[] = []
    let offset = 0
    while (offset < chunk.length) {
      const take = Math.min(chunk.length - offset, SEGMENT_BYTES - this.#bytes)
      const part = take === chunk.length ? chunk : chunk.subarray(offset, offset + take)
      this.#hash.update(part)
      this.#parts.push(part)
      this.#bytes += take
      offset += take
      if (this.#bytes === SEGMENT_BYTES) segments.push(this.#cut())
    }
    return segments
  }

  /** The last, short segment, if the stream came whole. */
  end(): Segment | undefined {
    return this.#left > 0 || this.#bytes === 0 ? undefined : this.#cut()
  }

  #cut(): Segment {
    const segment = { digest: new Uint8Array(this.#hash.digest()), parts: this.#parts, bytes: this.#bytes }
    this.#hash = createHash('sha256')
    this.#parts = []
    this.#bytes = 0
    return segment
  }
}

function offsetOf(session: { digests: readonly Uint8Array[]; length: number }): number {
  return Math.min(session.digests.length * SEGMENT_BYTES, session.length)
}
