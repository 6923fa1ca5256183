/**
 * The holder's side of `/apotheca/shards/1`: takes one column of an extent per stream.
 *
 *   reserve ──► accepted ──► shards and copies, in order ──► stored (count), as they become durable ──► finish ──► receipt
 *
 * Whatever is wrong is answered with `refused` and a fault, and ends the stream. Memory is bounded per stream and over all
 * streams: a stream that has brought more than the disk has taken is paused, so the sender's window fills and the sender waits.
 *
 * @see docs/spec/shard-push.md; peer/shard-holder.ts decides what is taken
 */
import type { Connection, PeerId, Stream, StreamMessageEvent } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { CodedError, faultOf } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { ShardReceipt } from '../domain/shard-receipt.ts'
import { receiptFault } from '../ledger/receipt.ts'
import { BufferPool } from './buffer-pool.ts'
import type { P2pHost } from './host.ts'
import { SHARDS_PROTOCOL } from './protocols.ts'
import {
  type PushKind,
  PushReader,
  type ReplyKind,
  ShardFrameError,
  encodeReplyHead,
  encodeStored,
  readShardHead,
} from './shard-frames.ts'
import { type Reserve, decodeReserve, encodeAccepted, encodeRefused, encodeShardReceipt } from './shard-messages.ts'
import { flushed, isClosed, piecesOf } from './stream-flow.ts'

export type ShardServeFault = { code: 'SHARD_STREAMS_TOO_MANY'; streamsMax: number }
export class ShardServeError extends CodedError<ShardServeFault> {}

/** What came, before anything of it is checked. */
export type ReceivedBlock =
  | {
      readonly kind: 'shard'
      readonly stripe: number
      readonly digest: Uint8Array
      readonly audit: Uint8Array
      readonly bytes: Uint8Array
    }
  | { readonly kind: 'copy'; readonly digest: Uint8Array; readonly bytes: Uint8Array }

/** Decides what is taken. Every method may throw a coded fault, which the sender is told. */
export interface ColumnTaker {
  reserve(request: Reserve, from: PeerId): Promise<ReservedColumn>
}

export interface ReservedColumn {
  /** See `Accepted`. */
  readonly held: Uint8Array
  /** Checks and stores; durable when settled. The blocks' memory is used again after that. */
  store(blocks: readonly ReceivedBlock[]): Promise<void>
  /** @param map - the extent map; empty where the reservation had it. */
  finish(map: Uint8Array): Promise<ShardReceipt>
  /** The stream has ended, in whatever way: the reservation ends. */
  end(): void
}

export interface ShardServerDeps {
  readonly host: Pick<P2pHost, 'handle' | 'unhandle'>
  readonly taker: ColumnTaker
  readonly log: Log
}

/** Written and synced together. */
const STORE_TOGETHER = 4

export class ShardServer {
  readonly #deps: ShardServerDeps
  readonly #pool = new BufferPool({ bufferBytes: limits.SEGMENT_BYTES, keptMax: limits.BLOCK_BUFFERS_KEPT })
  readonly #sessions = new Set<ReceiveSession>()
  #heldBytes = 0

  constructor(deps: ShardServerDeps) {
    this.#deps = deps
  }

  async start(): Promise<void> {
    const options = {
      maxInboundStreams: limits.SHARD_STREAMS_PER_CONNECTION_MAX,
      maxOutboundStreams: limits.SHARD_STREAMS_PER_CONNECTION_MAX,
    }
    await this.#deps.host.handle(SHARDS_PROTOCOL, (stream, connection) => this.#receive(stream, connection), options)
  }

  async stop(): Promise<void> {
    await this.#deps.host.unhandle(SHARDS_PROTOCOL)
    const ended = [...this.#sessions].map(async (session) => session.abort(new Error('the shard server stops')))
    await Promise.all(ended)
  }

  /** Columns that come in now, and what of them is not yet durable, in bytes. */
  stats(): { readonly streams: number; readonly heldBytes: number } {
    return { streams: this.#sessions.size, heldBytes: this.#heldBytes }
  }

  #receive(stream: Stream, connection: Connection): void {
    const peer = connection.remotePeer
    const isFull = this.#sessions.size >= limits.SHARD_STREAMS_MAX
    const session = new ReceiveSession(stream, {
      taker: this.#deps.taker,
      peer,
      pool: this.#pool,
      isFull,
      mayRead: () => this.#heldBytes < limits.SHARD_BYTES_HELD_MAX,
      onHeld: (bytes) => this.#onHeld(bytes),
    })
    this.#sessions.add(session)
    session
      .run()
      .catch((error: unknown) => {
        // A sender that went away is everyday; a fault of ours or of its frames is worth a line.
        if (!isClosed(stream)) {
          this.#deps.log.warn({ peer: peer.toString(), err: error, fault: faultOf(error) }, 'a shard stream was ended')
        }
        stream.abort(error instanceof Error ? error : new Error(String(error)))
      })
      .finally(() => {
        this.#sessions.delete(session)
        if (this.#sessions.size === 0) this.#pool.clear()
      })
  }

  #onHeld(bytes: number): void {
    this.#heldBytes += bytes
    if (bytes < 0) for (const session of this.#sessions) session.mayGoOn()
  }
}

interface SessionDeps {
  readonly taker: ColumnTaker
  readonly peer: PeerId
  readonly pool: BufferPool
  /** Only told so, and ended. */
  readonly isFull: boolean
  readonly mayRead: () => boolean
  /** Received (or, below 0, stored or dropped) bytes. */
  readonly onHeld: (bytes: number) => void
}

type Item =
  | { readonly kind: 'reserve'; readonly body: Uint8Array }
  | { readonly kind: 'finish'; readonly body: Uint8Array }
  | { readonly kind: 'block'; readonly block: ReceivedBlock; readonly buffer: Uint8Array }

/** One stream. */
class ReceiveSession {
  readonly #stream: Stream
  readonly #deps: SessionDeps
  readonly #items: Item[] = []
  readonly #reader: PushReader
  #incoming: { readonly kind: PushKind; readonly head: Uint8Array; readonly buffer: Uint8Array } | undefined
  #bytes = 0
  #filled = 0
  #heldBytes = 0
  #heardMs = performance.now()
  #isPaused = false
  #isEnded = false
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(stream: Stream, deps: SessionDeps) {
    this.#stream = stream
    this.#deps = deps
    this.#reader = new PushReader({
      onFrame: (kind, head, bytes) => this.#onFrame(kind, head, bytes),
      onPart: (part) => this.#onPart(part),
      onEnd: () => this.#onEnd(),
    })
  }

  /** @throws {ShardFrameError | StreamError}; what was refused is told, and not thrown */
  async run(): Promise<void> {
    this.#listen()
    const silence = setInterval(() => this.#checkSilence(), limits.SHARD_SENDER_SILENT_MS / 4)
    silence.unref()
    let column: ReservedColumn | undefined
    try {
      if (this.#deps.isFull) {
        throw new ShardServeError({ code: 'SHARD_STREAMS_TOO_MANY', streamsMax: limits.SHARD_STREAMS_MAX })
      }
      const first = await this.#next()
      if (first?.kind !== 'reserve') throw malformed('order')
      column = await this.#deps.taker.reserve(decodeReserve(first.body), this.#deps.peer)
      await this.#reply('accepted', encodeAccepted({ held: column.held }))
      await this.#receive(column)
    } catch (error) {
      await this.#refuse(error)
    } finally {
      clearInterval(silence)
      column?.end()
      this.#drop()
    }
  }

  abort(reason: Error): void {
    this.#fail(reason)
    this.#stream.abort(reason)
  }

  /** Others have made room. */
  mayGoOn(): void {
    if (!this.#isPaused || this.#isEnded || this.#isOverFull()) return
    this.#isPaused = false
    this.#heardMs = performance.now()
    if (!isClosed(this.#stream) && this.#stream.readStatus === 'paused') this.#stream.resume()
  }

  async #receive(column: ReservedColumn): Promise<void> {
    let stored = 0
    for (;;) {
      const item = await this.#next()
      if (item === undefined) throw new Error('the sender ended before the column was whole')
      if (item.kind === 'reserve') throw malformed('order')
      if (item.kind === 'finish') {
        const receipt = await column.finish(item.body)
        await this.#reply('receipt', encodeShardReceipt(receipt))
        await this.#close()
        return
      }
      const blocks = [item]
      for (let next = this.#items[0]; next?.kind === 'block' && blocks.length < STORE_TOGETHER; next = this.#items[0]) {
        blocks.push(next)
        this.#items.shift()
      }
      try {
        await column.store(blocks.map(({ block }) => block))
      } finally {
        for (const { buffer } of blocks) this.#release(buffer)
      }
      stored += blocks.length
      await this.#send(encodeStored(stored))
    }
  }

  #listen(): void {
    const stream = this.#stream
    const onMessage = (event: StreamMessageEvent): void => {
      if (this.#failure !== undefined) return
      this.#heardMs = performance.now()
      try {
        for (const piece of piecesOf(event.data)) this.#reader.push(piece)
      } catch (error) {
        this.#fail(error)
      }
      this.#pauseIfFull()
    }
    stream.addEventListener('message', onMessage)
    stream.addEventListener('remoteCloseWrite', () => this.#end())
    stream.addEventListener('close', (event) => this.#fail(event.error ?? new Error('the stream was closed')))
    if (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0) this.#end()
  }

  #onFrame(kind: PushKind, head: Uint8Array, bytes: number): void {
    if (kind === 'reserve' || kind === 'finish') {
      this.#push({ kind, body: head })
      return
    }
    const { pool } = this.#deps
    const isPooled = bytes >= limits.BLOCK_POOLED_BYTES_MIN && bytes <= pool.bufferBytes
    const buffer = isPooled ? pool.take() : new Uint8Array(bytes)
    this.#incoming = { kind, head, buffer }
    this.#bytes = bytes
    this.#filled = 0
    this.#hold(buffer.length)
  }

  #onPart(part: Uint8Array): void {
    this.#incoming?.buffer.set(part, this.#filled)
    this.#filled += part.length
  }

  #onEnd(): void {
    const incoming = this.#incoming
    if (incoming === undefined) return
    this.#incoming = undefined
    const { buffer, head, kind } = incoming
    const bytes = buffer.subarray(0, this.#bytes)
    const block: ReceivedBlock =
      kind === 'shard' ? { kind, ...readShardHead(head), bytes } : { kind: 'copy', digest: head, bytes }
    this.#push({ kind: 'block', block, buffer })
  }

  #push(item: Item): void {
    this.#items.push(item)
    this.#notify()
  }

  /** The next item; `undefined` where the sender says no more. */
  async #next(): Promise<Item | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      const item = this.#items.shift()
      if (item !== undefined) return item
      if (this.#isEnded) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes
    this.#deps.onHeld(bytes)
  }

  #release(buffer: Uint8Array): void {
    const { pool } = this.#deps
    if (buffer.length === pool.bufferBytes) pool.give(buffer)
    this.#hold(-buffer.length)
    this.mayGoOn()
  }

  #isOverFull(): boolean {
    return this.#heldBytes >= limits.SHARD_STREAM_BYTES_HELD || !this.#deps.mayRead()
  }

  #pauseIfFull(): void {
    if (this.#isPaused || this.#failure !== undefined || isClosed(this.#stream) || !this.#isOverFull()) return
    if (this.#stream.readStatus !== 'readable') return
    this.#isPaused = true
    this.#stream.pause()
  }

  #checkSilence(): void {
    const waits = this.#items.length > 0 || this.#isPaused || this.#heldBytes > 0
    if (waits || performance.now() - this.#heardMs < limits.SHARD_SENDER_SILENT_MS) return
    this.abort(new Error('the sender fell silent'))
  }

  async #reply(kind: ReplyKind, body: Uint8Array): Promise<void> {
    await this.#send(encodeReplyHead(kind, body.length), body)
  }

  async #send(...parts: Uint8Array[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    this.#stream.send(new Uint8ArrayList(...parts))
    if (this.#stream.writableNeedsDrain) await flushed(this.#stream, limits.BLOCK_SERVER_STALL_MS)
  }

  /** Tells the sender what is wrong, where there is someone to tell. */
  async #refuse(error: unknown): Promise<void> {
    if (isClosed(this.#stream) || this.#failure !== undefined) throw error
    const fault = faultOf(error)
    if (fault === undefined) {
      if (this.#isEnded) throw error
      await this.#reply('refused', encodeRefused({ code: 'INTERNAL' }))
      throw error
    }
    await this.#reply('refused', encodeRefused(receiptFault(fault)))
    await this.#close()
  }

  /** Says that no more will be said; a sender that goes on regardless is cut off. */
  async #close(): Promise<void> {
    const stream = this.#stream
    await flushed(stream, limits.BLOCK_SERVER_STALL_MS)
    await stream.close({ signal: AbortSignal.timeout(limits.BLOCK_SERVER_STALL_MS) })
    const timer = setTimeout(() => stream.abort(new Error('the sender went on')), limits.SHARD_RESERVE_TIMEOUT_MS)
    timer.unref()
    stream.addEventListener('close', () => clearTimeout(timer))
  }

  #end(): void {
    this.#isEnded = true
    this.#notify()
  }

  #fail(error: unknown): void {
    this.#failure ??= error instanceof Error ? error : new Error(String(error))
    this.#notify()
  }

  #notify(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  /** Lets go of what is not stored. */
  #drop(): void {
    this.#isEnded = true
    this.#failure ??= new Error('the column is done')
    for (const item of this.#items.splice(0)) if (item.kind === 'block') this.#release(item.buffer)
    if (this.#incoming !== undefined) this.#release(this.#incoming.buffer)
    this.#incoming = undefined
  }
}

function malformed(field: 'order'): ShardFrameError {
  return new ShardFrameError({ code: 'SHARD_FRAME_MALFORMED', field })
}
