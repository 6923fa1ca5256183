/**
 * Serves blocks to members over `/apotheca/blocks/1`: answers in the order of the requests, reads a little ahead, writes
 * with back-pressure. Memory is bounded per stream (wants queued, blocks read ahead), per reader, and over all of them (blocks
 * held). A reader that stops reading loses its stream after `BLOCK_SERVER_STALL_MS`, one that trickles after `BLOCK_SERVER_SEND_MS_MAX`.
 *
 * @see docs/spec/block-exchange.md
 */
import type { Connection, Stream, StreamMessageEvent } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { equals } from 'uint8arrays/equals'
import { CodedError } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { type AnswerStatus, type BlockRequest, encodeAnswerHead, RequestReader } from './block-frames.ts'
import { BufferPool } from './buffer-pool.ts'
import type { P2pHost } from './host.ts'
import { PeerShares } from './peer-shares.ts'
import { BLOCKS_PROTOCOL } from './protocols.ts'
import { flushed, isClosed, piecesOf } from './stream-flow.ts'

export type ServeFault =
  | { code: 'BLOCK_WANTS_TOO_MANY'; wantsMax: number }
  | { code: 'BLOCK_STREAMS_TOO_MANY'; streamsMax: number }
export class ServeError extends CodedError<ServeFault> {}

/** Where blocks are read from. Unverified: the receiver verifies each, and reading twice would cost the bulk rate. */
export interface BlockSource {
  readUnverified(digest: Uint8Array): Promise<Uint8Array | undefined>
  /**
   * Reads into a buffer that has been used before, where the source can: it spares the collector much work (decision 0022).
   *
   * @returns the block's size; when that is more than `into.length`, nothing was written. `undefined`: not here.
   */
  readInto?(digest: Uint8Array, into: Uint8Array): Promise<number | undefined>
  has(digest: Uint8Array): boolean
}

export interface BlockServerDeps {
  readonly host: Pick<P2pHost, 'handle' | 'unhandle'>
  readonly source: BlockSource
  readonly log: Log
}

export interface BlockServerStats {
  readonly streams: number
  /** Blocks read and not yet written. */
  readonly blocksHeld: number
  /** Buffers remembered of blocks whose readers have not confirmed them. */
  readonly unconfirmed: number
  readonly blocksSent: number
  readonly bytesSent: number
}

export class BlockServer {
  readonly #deps: BlockServerDeps
  readonly #sendMs: number
  readonly #slots = new Slots(limits.BLOCK_SERVER_BLOCKS_MAX)
  readonly #pool = new BufferPool({ bufferBytes: limits.SEGMENT_BYTES, keptMax: limits.BLOCK_BUFFERS_KEPT })
  readonly #readers = new PeerShares<ReaderShare>(limits.BLOCK_PEER_STREAMS_MAX, () => ({
    slots: new Slots(limits.BLOCK_PEER_BLOCKS_MAX),
    unconfirmed: 0,
  }))
  readonly #streams = new Set<Stream>()
  #blocksSent = 0
  #bytesSent = 0

  /** @param options.sendMs - longest time for one answer. @default BLOCK_SERVER_SEND_MS_MAX */
  constructor(deps: BlockServerDeps, { sendMs = limits.BLOCK_SERVER_SEND_MS_MAX } = {}) {
    this.#deps = deps
    this.#sendMs = sendMs
  }

  async start(): Promise<void> {
    const options = {
      maxInboundStreams: limits.BLOCK_STREAMS_PER_CONNECTION_MAX,
      maxOutboundStreams: limits.BLOCK_STREAMS_PER_CONNECTION_MAX,
    }
    await this.#deps.host.handle(BLOCKS_PROTOCOL, (stream, connection) => this.#serve(stream, connection), options)
  }

  async stop(): Promise<void> {
    await this.#deps.host.unhandle(BLOCKS_PROTOCOL)
    for (const stream of this.#streams) stream.abort(new Error('the block server stops'))
  }

  stats(): BlockServerStats {
    const counts = { blocksSent: this.#blocksSent, bytesSent: this.#bytesSent }
    let unconfirmed = 0
    for (const reader of this.#readers.all()) unconfirmed += reader.unconfirmed
    return { streams: this.#streams.size, blocksHeld: this.#slots.held, unconfirmed, ...counts }
  }

  #serve(stream: Stream, connection: Connection): void {
    const peer = connection.remotePeer.toString()
    const reader = this.#readers.enter(peer)
    if (reader === undefined) {
      const error = new ServeError({ code: 'BLOCK_STREAMS_TOO_MANY', streamsMax: limits.BLOCK_PEER_STREAMS_MAX })
      this.#deps.log.warn({ peer, err: error }, 'a block stream was refused')
      stream.abort(error)
      return
    }
    const shared = { source: this.#deps.source, slots: this.#slots, pool: this.#pool, reader, sendMs: this.#sendMs }
    const session = new ServeSession(stream, shared, (bytes) => {
      this.#blocksSent++
      this.#bytesSent += bytes
    })
    this.#streams.add(stream)
    session
      .run()
      .catch((error: unknown) => {
        // A reader that went away is everyday; a fault of ours or of its frames is worth a line.
        if (!isClosed(stream)) this.#deps.log.warn({ peer, err: error }, 'a block stream was ended')
        stream.abort(error instanceof Error ? error : new Error(String(error)))
      })
      .finally(() => {
        this.#streams.delete(stream)
        this.#readers.leave(peer)
        if (this.#streams.size === 0) this.#pool.clear()
      })
  }
}

interface Answer {
  readonly status: AnswerStatus
  readonly block: Uint8Array | undefined
  /** The pool's buffer that `block` lies in. */
  readonly buffer: Uint8Array | undefined
}

const MISSING: Answer = { status: 'missing', block: undefined, buffer: undefined }

/** What all streams of one reader share. */
interface ReaderShare {
  readonly slots: Slots
  /** Buffers remembered until it confirms their blocks. */
  unconfirmed: number
}

/** What all streams of a server share. */
interface Shared {
  readonly source: BlockSource
  readonly slots: Slots
  readonly pool: BufferPool
  readonly reader: ReaderShare
  readonly sendMs: number
}

/** A buffer that may still be on its way: the transport reads from it until the reader confirms the block. */
interface Unconfirmed {
  readonly digest: Uint8Array
  readonly buffer: Uint8Array
}

/** One stream: a queue of requests, a few answers being read, one being written. */
class ServeSession {
  readonly #stream: Stream
  readonly #shared: Shared
  readonly #onSent: (bytes: number) => void
  readonly #requests: BlockRequest[] = []
  readonly #answers: { readonly digest: Uint8Array; readonly answer: Promise<Answer> }[] = []
  readonly #unconfirmed: Unconfirmed[] = []
  readonly #reader = new RequestReader()
  #noMoreRequests = false
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(stream: Stream, shared: Shared, onSent: (bytes: number) => void) {
    this.#stream = stream
    this.#shared = shared
    this.#onSent = onSent
  }

  /** @throws {FrameError | ServeError | StreamError} */
  async run(): Promise<void> {
    const { signal } = this.#listen()
    try {
      for (;;) {
        if (this.#failure !== undefined) throw this.#failure
        this.#readAhead(signal)
        const next = this.#answers.shift()
        if (next === undefined) {
          if (this.#noMoreRequests) break
          await new Promise<void>((resolve) => {
            this.#wake = resolve
          })
          continue
        }
        await this.#write(next.digest, await next.answer)
      }
      await this.#stream.close()
    } finally {
      for (const { answer } of this.#answers) answer.then((one) => this.#drop(one)).catch(() => undefined)
      this.#shared.reader.unconfirmed -= this.#unconfirmed.length
      this.#unconfirmed.length = 0
    }
  }

  #listen(): { signal: AbortSignal } {
    const closed = new AbortController()
    const wake = (): void => {
      this.#wake?.()
      this.#wake = undefined
    }
    const fail = (error: unknown): void => {
      this.#failure ??= error instanceof Error ? error : new Error(String(error))
      closed.abort(this.#failure)
      wake()
    }
    const onMessage = (event: StreamMessageEvent): void => {
      if (this.#failure !== undefined) return
      try {
        for (const piece of piecesOf(event.data)) this.#reader.push(piece, (request) => this.#onRequest(request))
        wake()
      } catch (error) {
        fail(error)
      }
    }
    const onNoMore = (): void => {
      this.#noMoreRequests = true
      wake()
    }
    this.#stream.addEventListener('message', onMessage)
    this.#stream.addEventListener('remoteCloseWrite', onNoMore)
    this.#stream.addEventListener('close', (event) => fail(event.error ?? new Error('the stream was closed')))
    if (this.#stream.remoteWriteStatus === 'closed') onNoMore()
    return { signal: closed.signal }
  }

  #onRequest(request: BlockRequest): void {
    if (request.kind === 'done') {
      this.#confirm(request.digest)
      return
    }
    if (this.#requests.length >= limits.BLOCK_WANTS_QUEUED_MAX) {
      throw new ServeError({ code: 'BLOCK_WANTS_TOO_MANY', wantsMax: limits.BLOCK_WANTS_QUEUED_MAX })
    }
    this.#requests.push(request)
  }

  /** The block is at the other end, so nothing on this side reads its buffer any more. */
  #confirm(digest: Uint8Array): void {
    const at = this.#unconfirmed.findIndex((one) => equals(one.digest, digest))
    const [confirmed] = at < 0 ? [] : this.#unconfirmed.splice(at, 1)
    if (confirmed === undefined) return
    this.#shared.reader.unconfirmed--
    this.#shared.pool.give(confirmed.buffer)
  }

  /** What isn't remembered is the collector's: nobody can tell when it has left. */
  #remember(one: Unconfirmed): void {
    const { reader } = this.#shared
    if (reader.unconfirmed < limits.BLOCK_UNCONFIRMED_MAX) reader.unconfirmed++
    else if (this.#unconfirmed.shift() === undefined) return
    this.#unconfirmed.push(one)
  }

  #readAhead(signal: AbortSignal): void {
    while (this.#answers.length < limits.BLOCK_READ_AHEAD) {
      const request = this.#requests.shift()
      if (request === undefined) return
      const answer = this.#answer(request, signal)
      // Awaited in its turn; until then a failure must not count as unhandled.
      answer.catch(() => undefined)
      this.#answers.push({ digest: request.digest, answer })
    }
  }

  async #answer({ kind, digest }: BlockRequest, signal: AbortSignal): Promise<Answer> {
    if (kind === 'have') return this.#shared.source.has(digest) ? { ...MISSING, status: 'have' } : MISSING
    await this.#takeSlot(signal)
    let answer = MISSING
    try {
      answer = await this.#read(digest)
    } finally {
      if (answer.block === undefined) this.#giveSlot()
    }
    return answer
  }

  /** Its reader's first: whoever waits for itself doesn't stand in the line of all. */
  async #takeSlot(signal: AbortSignal): Promise<void> {
    const { reader, slots } = this.#shared
    await reader.slots.take(signal)
    try {
      await slots.take(signal)
    } catch (error) {
      reader.slots.give()
      throw error
    }
  }

  #giveSlot(): void {
    this.#shared.slots.give()
    this.#shared.reader.slots.give()
  }

  async #read(digest: Uint8Array): Promise<Answer> {
    const { source, pool } = this.#shared
    if (source.readInto !== undefined) {
      const buffer = pool.take()
      const bytes = await source.readInto(digest, buffer)
      if (bytes !== undefined && bytes <= buffer.length) {
        return { status: 'block', block: buffer.subarray(0, bytes), buffer }
      }
      pool.give(buffer)
      if (bytes === undefined) return MISSING
    }
    const block = await source.readUnverified(digest)
    if (block === undefined || block.length > limits.BLOCK_BYTES_MAX) return MISSING
    return { status: 'block', block, buffer: undefined }
  }

  async #write(digest: Uint8Array, answer: Answer): Promise<void> {
    if (this.#failure !== undefined) {
      this.#drop(answer)
      throw this.#failure
    }
    const { block, buffer } = answer
    const head = encodeAnswerHead(answer.status, block?.length ?? 0)
    try {
      if (buffer !== undefined) this.#remember({ digest, buffer })
      this.#stream.send(block === undefined ? head : new Uint8ArrayList(head, block))
      await flushed(this.#stream, limits.BLOCK_SERVER_STALL_MS, this.#shared.sendMs)
      if (block !== undefined) this.#onSent(block.length)
    } finally {
      if (block !== undefined) this.#giveSlot()
    }
  }

  /** Gives back what was read and never sent. */
  #drop({ block, buffer }: Answer): void {
    if (block !== undefined) this.#giveSlot()
    if (buffer !== undefined) this.#shared.pool.give(buffer)
  }
}

/** Counts the blocks in memory; whoever wants one more waits its turn. */
class Slots {
  readonly #max: number
  readonly #waiting: (() => void)[] = []
  #held = 0

  constructor(max: number) {
    this.#max = max
  }

  get held(): number {
    return this.#held
  }

  async take(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#held < this.#max) {
      this.#held++
      return
    }
    await new Promise<void>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(grant), 1)
        reject(signal.reason as Error)
      }
      const grant = (): void => {
        signal.removeEventListener('abort', onAbort)
        resolve()
      }
      this.#waiting.push(grant)
      signal.addEventListener('abort', onAbort, { once: true })
    })
  }

  give(): void {
    const next = this.#waiting.shift()
    // Handed over, not counted down and up: nobody overtakes who waited.
    if (next === undefined) this.#held--
    else next()
  }
}
