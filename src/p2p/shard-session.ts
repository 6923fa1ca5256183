/**
 * The holder's side of one stream of `/apotheca/shards/1`: takes one column of an extent.
 *
 *   reserve ──► accepted ──► shards and copies, in order ──► stored (count), as they become durable ──► finish ──► receipt
 *
 * Whatever is wrong is answered with `refused` and a fault, and ends the stream. Memory is bounded per stream, per sender and over
 * all streams: beyond that no frame begins, so the sender's window fills and the sender waits. What a frame may need is set apart when
 * it begins, so its rest is always read: it waits for the sender alone, who has a bounded time for it.
 *
 * @see docs/spec/shard-push.md
 */
import type { PeerId, Stream, StreamMessageEvent } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { CodedError, faultOf } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import { receiptFault } from '../ledger/receipt.ts'
import type { BufferPool } from './buffer-pool.ts'
import {
  type PushKind,
  PushReader,
  type ReplyKind,
  ShardFrameError,
  encodeReplyHead,
  encodeStored,
  readShardHead,
} from './shard-frames.ts'
import { decodeReserve, encodeAccepted, encodeRefused, encodeShardReceipt } from './shard-messages.ts'
import type { ColumnTaker, ReceivedBlock, ReservedColumn } from './shard-server.ts'
import { flushed, isClosed, piecesOf } from './stream-flow.ts'

export type ShardServeFault =
  | { code: 'SHARD_STREAMS_TOO_MANY'; streamsMax: number }
  | { code: 'SHARD_SENDER_SILENT'; silentMs: number }
export class ShardServeError extends CodedError<ShardServeFault> {}

const NO_BYTES = new Uint8Array(0)
/** Written and synced together. */
const STORE_TOGETHER = 4

interface SessionDeps {
  readonly taker: ColumnTaker
  readonly peer: PeerId
  readonly pool: BufferPool
  readonly senderSilentMs: number
  /** Only told so, and ended. */
  readonly refusal: ShardServeFault | undefined
  /** Whether there is room for one more frame. */
  readonly mayBegin: () => boolean
  /** Received (or, below 0, stored or dropped) bytes. */
  readonly onHeld: (bytes: number) => void
}

/** A whole frame. `cost` is what was set apart for it. */
type Item = BlockItem | { readonly kind: 'reserve' | 'finish'; readonly body: Uint8Array; readonly cost: number }
interface BlockItem {
  readonly kind: 'block'
  readonly block: ReceivedBlock
  readonly buffer: Uint8Array
  readonly cost: number
}

/** A frame that has begun, and is not whole. */
interface Incoming {
  readonly cost: number
  readonly sinceMs: number
  /** Of a shard or a copy whose head has come. */
  block?: {
    readonly kind: 'shard' | 'copy'
    readonly head: Uint8Array
    readonly buffer: Uint8Array
    readonly bytes: number
  }
}

export class ReceiveSession {
  readonly #stream: Stream
  readonly #deps: SessionDeps
  readonly #items: Item[] = []
  readonly #reader: PushReader
  /** Came while a frame had to wait; at most what the window had room for. */
  #unread: Uint8Array[] = []
  /** Which frames are due: `reserve`, then blocks and `finish` once it is accepted, then none. */
  #due: 'reserve' | 'accepted' | 'blocks' | 'none' = 'reserve'
  #incoming: Incoming | undefined
  #filled = 0
  #heldBytes = 0
  #heardMs = performance.now()
  #isWaiting = false
  #isResuming = false
  #isEnded = false
  #failure: Error | undefined
  #wake: (() => void) | undefined

  constructor(stream: Stream, deps: SessionDeps) {
    this.#stream = stream
    this.#deps = deps
    this.#reader = new PushReader({
      mayBegin: (kind, bytes) => this.#mayBegin(kind, bytes),
      onFrame: (kind, head, bytes) => this.#onFrame(kind, head, bytes),
      onPart: (part) => this.#onPart(part),
      onEnd: () => this.#onEnd(),
    })
  }

  /** @throws {ShardFrameError | StreamError}; what was refused is told, and not thrown */
  async run(): Promise<void> {
    const { peer, refusal, senderSilentMs, taker } = this.#deps
    this.#listen()
    const silence = setInterval(() => this.#checkSilence(), senderSilentMs / 4)
    silence.unref()
    let column: ReservedColumn | undefined
    try {
      if (refusal !== undefined) throw new ShardServeError(refusal)
      const first = await this.#next()
      if (first?.kind !== 'reserve') throw malformed('order')
      try {
        column = await taker.reserve(decodeReserve(first.body), peer)
      } finally {
        this.#release(first)
      }
      await this.#reply('accepted', encodeAccepted({ held: column.held }))
      this.#due = 'blocks'
      this.mayGoOn()
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

  /** There may be room now. @returns whether a frame that waited has begun */
  mayGoOn(): boolean {
    if (!this.#isWaiting || this.#failure !== undefined || !this.#hasRoom()) return false
    this.#isWaiting = false
    this.#heardMs = performance.now()
    this.#readOn([])
    const stream = this.#stream
    if (!this.#isWaiting && !isClosed(stream) && stream.readStatus === 'paused') {
      // To pause it from within would have no effect: once it has handed out what it holds, it asks for more.
      this.#isResuming = true
      stream.resume()
      this.#isResuming = false
      this.#pauseIfWaiting()
    }
    this.#notify()
    return true
  }

  async #receive(column: ReservedColumn): Promise<void> {
    let stored = 0
    for (;;) {
      const item = await this.#next()
      if (item === undefined) throw new Error('the sender ended before the column was whole')
      if (item.kind !== 'block') {
        const receipt = await column.finish(item.body).finally(() => this.#release(item))
        await this.#reply('receipt', encodeShardReceipt(receipt))
        await this.#close()
        return
      }
      const blocks: BlockItem[] = [item]
      for (let next = this.#items[0]; next?.kind === 'block' && blocks.length < STORE_TOGETHER; next = this.#items[0]) {
        blocks.push(next)
        this.#items.shift()
      }
      try {
        await column.store(blocks.map(({ block }) => block))
      } finally {
        for (const one of blocks) this.#release(one)
      }
      stored += blocks.length
      await this.#send(encodeStored(stored))
    }
  }

  #listen(): void {
    const stream = this.#stream
    const onMessage = (event: StreamMessageEvent): void => {
      if (this.#failure === undefined) {
        this.#heardMs = performance.now()
        this.#readOn(piecesOf(event.data))
      }
      this.#pauseIfWaiting()
    }
    stream.addEventListener('message', onMessage)
    stream.addEventListener('remoteCloseWrite', () => this.#end())
    stream.addEventListener('close', (event) => this.#fail(event.error ?? new Error('the stream was closed')))
    if (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0) this.#end()
  }

  /** Reads what had to wait, then what came, until a frame has to wait. */
  #readOn(pieces: Iterable<Uint8Array>): void {
    // The empty piece: all of a frame that waited may have been its head.
    const waited = [...this.#unread, ...(this.#isWaiting ? [] : [NO_BYTES])]
    this.#unread = []
    try {
      for (const piece of [...waited, ...pieces]) {
        const taken = this.#isWaiting ? 0 : this.#reader.push(piece)
        if (this.#isWaiting && taken < piece.length) this.#unread.push(piece.subarray(taken))
      }
    } catch (error) {
      this.abort(error instanceof Error ? error : new Error(String(error)))
    }
  }

  /**
   * Sets apart what a frame needs, before anything of it is kept.
   *
   * @throws {ShardFrameError} for a frame that is not due
   */
  #mayBegin(kind: PushKind, bytes: number): boolean {
    const due = this.#due
    const isDue = due === 'reserve' ? kind === 'reserve' : due !== 'none' && kind !== 'reserve'
    if (!isDue) throw malformed('order')
    this.#isWaiting = !this.#hasRoom()
    if (this.#isWaiting) return false
    if (kind === 'reserve') this.#due = 'accepted'
    if (kind === 'finish') this.#due = 'none'
    // A large block has a buffer of the pool, whatever its size.
    const kept = bytes >= limits.BLOCK_POOLED_BYTES_MIN ? Math.max(bytes, this.#deps.pool.bufferBytes) : bytes
    this.#incoming = { cost: kept + limits.SHARD_FRAME_COST_BYTES, sinceMs: performance.now() }
    this.#hold(this.#incoming.cost)
    return true
  }

  #hasRoom(): boolean {
    return this.#due !== 'accepted' && this.#heldBytes < limits.SHARD_STREAM_BYTES_HELD && this.#deps.mayBegin()
  }

  #onFrame(kind: PushKind, head: Uint8Array, bytes: number): void {
    const incoming = this.#incoming
    if (incoming === undefined) return
    if (kind === 'reserve' || kind === 'finish') {
      this.#push({ kind, body: head, cost: incoming.cost })
      return
    }
    const { pool } = this.#deps
    const isPooled = bytes >= limits.BLOCK_POOLED_BYTES_MIN && bytes <= pool.bufferBytes
    incoming.block = { kind, head, buffer: isPooled ? pool.take() : new Uint8Array(bytes), bytes }
    this.#filled = 0
  }

  #onPart(part: Uint8Array): void {
    this.#incoming?.block?.buffer.set(part, this.#filled)
    this.#filled += part.length
  }

  #onEnd(): void {
    if (this.#incoming?.block === undefined) return
    const { block, cost } = this.#incoming
    const { buffer, head, kind } = block
    const bytes = buffer.subarray(0, block.bytes)
    const received: ReceivedBlock =
      kind === 'shard' ? { kind, ...readShardHead(head), bytes } : { kind: 'copy', digest: head, bytes }
    this.#push({ kind: 'block', block: received, buffer, cost })
  }

  #push(item: Item): void {
    this.#incoming = undefined
    this.#items.push(item)
    this.#notify()
  }

  /** The next item; `undefined` where the sender says no more. */
  async #next(): Promise<Item | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      const item = this.#items.shift()
      if (item !== undefined) return item
      if (this.#isEnded && !this.#isWaiting) return undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #hold(bytes: number): void {
    this.#heldBytes += bytes
    this.#deps.onHeld(bytes)
  }

  #release(item: Item): void {
    if (item.kind === 'block') this.#reuse(item.buffer)
    // From here on the sender may have to speak.
    this.#heardMs = performance.now()
    this.#hold(-item.cost)
  }

  #reuse(buffer: Uint8Array): void {
    const { pool } = this.#deps
    if (buffer.length === pool.bufferBytes) pool.give(buffer)
  }

  /** Nothing is read that has to wait, nor after the end. */
  #pauseIfWaiting(): void {
    const stream = this.#stream
    const mustWait = this.#isWaiting || this.#failure !== undefined
    if (!mustWait || this.#isResuming || isClosed(stream) || stream.readStatus !== 'readable') return
    stream.pause()
  }

  /** The rest of a frame waits for its sender, and for nobody else; whole frames, and one that may not begin, wait for this side. */
  #checkSilence(): void {
    const waits = this.#isWaiting || this.#heldBytes > 0
    const sinceMs = this.#incoming?.sinceMs ?? (waits ? undefined : this.#heardMs)
    const silentMs = this.#deps.senderSilentMs
    if (sinceMs === undefined || performance.now() - sinceMs < silentMs) return
    this.abort(new ShardServeError({ code: 'SHARD_SENDER_SILENT', silentMs }))
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
    // What ended the stream comes before what came of its end.
    if (isClosed(this.#stream) || this.#failure !== undefined) throw this.#failure ?? error
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
    this.#unread = []
    this.#notify()
  }

  #notify(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  /** Lets go of what is not stored. */
  #drop(): void {
    this.#isEnded = true
    this.#fail(new Error('the column is done'))
    for (const item of this.#items.splice(0)) this.#release(item)
    const incoming = this.#incoming
    this.#incoming = undefined
    if (incoming === undefined) return
    if (incoming.block !== undefined) this.#reuse(incoming.block.buffer)
    this.#hold(-incoming.cost)
  }
}

function malformed(field: 'order'): ShardFrameError {
  return new ShardFrameError({ code: 'SHARD_FRAME_MALFORMED', field })
}
