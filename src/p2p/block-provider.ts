/**
 * One provider of one fetch: a stream of `/apotheca/blocks/1`, the wants it was asked in order, and the check of every
 * block against its digest while it comes in. What the transport delivers is lent (decision 0106): in a pooled fetch it is copied
 * together, into memory that is used again, else piece by piece.
 */
import { createHash, type Hash } from 'node:crypto'
import type { PeerId, Stream, StreamMessageEvent } from '@libp2p/interface'
import { equals } from 'uint8arrays/equals'
import { BLOCK_POOLED_BYTES_MIN } from '../core/limits.ts'
import { AnswerReader, type AnswerStatus, type BlockRequest, encodeRequests, FrameError } from './block-frames.ts'
import type { BufferPool } from './buffer-pool.ts'
import { readsAtOnce } from './eager-yamux.ts'
import type { P2pHost } from './host.ts'
import { BLOCKS_PROTOCOL } from './protocols.ts'
import { piecesOf } from './stream-flow.ts'

/** A block whose SHA-256 is `digest`. */
export interface FetchedBlock {
  readonly digest: Uint8Array
  /** In a pooled fetch one part, else the pieces as they came. Nobody writes to them before `release`. */
  readonly parts: readonly Uint8Array[]
  readonly bytes: number
  /**
   * Says that nobody reads the parts any more. In a pooled fetch the next block then lies in the same memory. Never called:
   * the collector takes the block, at its price.
   */
  release(): void
}

/** One position of a fetch. */
export interface Want {
  readonly index: number
  readonly digest: Uint8Array
}

export interface ProviderEvents {
  onBlock(provider: BlockProvider, want: Want, block: FetchedBlock): void
  onMissing(provider: BlockProvider, want: Want): void
  /** The provider is of no more use for this fetch; `wants` are those it leaves unanswered. */
  onLost(provider: BlockProvider, wants: readonly Want[], loss: ProviderLoss): void
}

export type ProviderLoss =
  | { readonly kind: 'altered'; readonly want: Want }
  | { readonly kind: 'malformed'; readonly field: string }
  | { readonly kind: 'gone'; readonly reason: string }

/** Wants at one provider before its pace is known. */
const FIRST_DEPTH = 4
/** Wants at one provider, in time: enough to cover a round trip and a hiccup, little enough to lose. */
const DEPTH_MS = 250
/** Confirmations that are worth a message of their own. */
const CONFIRMED_TOGETHER = 4

export class BlockProvider {
  readonly peer: PeerId
  readonly #host: Pick<P2pHost, 'dialProtocol'>
  readonly #pool: BufferPool | undefined
  readonly #events: ProviderEvents
  readonly #closing = new AbortController()
  readonly #reader = new AnswerReader({
    onHead: (status, bytes) => this.#onHead(status, bytes),
    onPart: (part) => this.#onPart(part),
    onEnd: () => this.#onEnd(),
  })
  /** Asked and not fully answered, in the order asked. */
  #wants: Want[] = []
  #unsent: BlockRequest[] = []
  #stream: Stream | undefined
  #opening = false
  #flushing = false
  #lost = false
  #status: AnswerStatus = 'missing'
  #parts: Uint8Array[] = []
  #bytes = 0
  #buffer: Uint8Array | undefined
  #hash: Hash = createHash('sha256')
  #lastByteMs = 0
  #lastBlockMs = 0
  #blockMs = 0
  #missedLast = false

  /** @param pool - for a pooled fetch. */
  constructor(
    deps: { host: Pick<P2pHost, 'dialProtocol'>; pool: BufferPool | undefined },
    peer: PeerId,
    events: ProviderEvents,
  ) {
    this.#host = deps.host
    this.#pool = deps.pool
    this.peer = peer
    this.#events = events
  }

  get isLost(): boolean {
    return this.#lost
  }

  /** Wants not yet answered. */
  get outstanding(): readonly Want[] {
    return this.#wants
  }

  /** How long this provider has been silent while it owes something; 0 when it owes nothing. */
  silentMs(nowMs: number): number {
    return this.#wants.length === 0 ? 0 : nowMs - this.#lastByteMs
  }

  /** Grants a silent provider a fresh start: the silence was our own process being busy. */
  excuse(nowMs: number): void {
    this.#lastByteMs = nowMs
  }

  /** How many more wants fit its pace. */
  room(windowBlocks: number): number {
    if (this.#missedLast) return 1 - this.#wants.length
    const paced = this.#blockMs === 0 ? FIRST_DEPTH : 2 + Math.ceil(DEPTH_MS / this.#blockMs)
    return Math.min(windowBlocks, paced) - this.#wants.length
  }

  ask(want: Want): void {
    if (this.#wants.length === 0) {
      this.#lastByteMs = performance.now()
      this.#lastBlockMs = this.#lastByteMs
    }
    this.#wants.push(want)
    this.#enqueue({ kind: 'want', digest: want.digest })
  }

  /** Ends the stream without an event. */
  close(): void {
    this.#lost = true
    this.#closing.abort()
    const stream = this.#stream
    if (stream === undefined) return
    if (this.#wants.length > 0) stream.abort(new Error('the fetch ended'))
    else
      stream.close().catch((error: unknown) => stream.abort(error instanceof Error ? error : new Error(String(error))))
  }

  /** Gives the provider up. */
  lose(loss: ProviderLoss): void {
    if (this.#lost) return
    this.#lost = true
    this.#closing.abort()
    const wants = this.#wants
    this.#wants = []
    this.#unsent = []
    this.#parts = []
    if (this.#buffer !== undefined) this.#pool?.give(this.#buffer)
    this.#buffer = undefined
    this.#stream?.abort(new Error(`the provider was given up: ${loss.kind}`))
    this.#events.onLost(this, wants, loss)
  }

  /** One message for all frames of one turn; a confirmation alone waits for a want, or for more of its kind. */
  #enqueue(request: BlockRequest): void {
    this.#unsent.push(request)
    if (this.#flushing || (request.kind === 'done' && this.#unsent.length < CONFIRMED_TOGETHER)) return
    this.#flushing = true
    queueMicrotask(() => this.#send())
  }

  #send(): void {
    this.#flushing = false
    if (this.#lost || this.#unsent.length === 0) return
    if (this.#stream === undefined) {
      if (!this.#opening) this.#open().catch((error: unknown) => this.#gone(error))
      return
    }
    const frames = encodeRequests(this.#unsent)
    this.#unsent = []
    try {
      // A window of wants is half a kilobyte: no need to wait for room.
      this.#stream.send(frames)
    } catch (error) {
      this.#gone(error)
    }
  }

  async #open(): Promise<void> {
    this.#opening = true
    const stream = await this.#host.dialProtocol(this.peer, BLOCKS_PROTOCOL, { signal: this.#closing.signal })
    if (this.#lost) {
      stream.abort(new Error('the fetch ended'))
      return
    }
    this.#stream = stream
    readsAtOnce(stream)
    stream.addEventListener('message', (event: StreamMessageEvent) => this.#onMessage(event))
    stream.addEventListener('remoteCloseWrite', () => this.#gone('the provider closed the stream'))
    stream.addEventListener('close', (event) => this.#gone(event.error ?? 'the stream was closed'))
    this.#send()
  }

  #gone(reason: unknown): void {
    this.lose({ kind: 'gone', reason: reason instanceof Error ? reason.message : String(reason) })
  }

  #onMessage(event: StreamMessageEvent): void {
    this.#lastByteMs = performance.now()
    try {
      for (const piece of piecesOf(event.data)) {
        if (this.#lost) return
        this.#reader.push(piece)
      }
    } catch (error) {
      if (error instanceof FrameError) this.lose({ kind: 'malformed', field: error.fault.field })
      else throw error
    }
  }

  #onHead(status: AnswerStatus, bytes: number): void {
    // An answer to nothing, or of a kind that was not asked for.
    if (this.#wants.length === 0 || status === 'have') {
      throw new FrameError({ code: 'BLOCK_FRAME_MALFORMED', field: 'answer' })
    }
    this.#status = status
    this.#parts = []
    this.#bytes = 0
    this.#hash = createHash('sha256')
    const pool = this.#pool
    const isPooled = pool !== undefined && bytes >= BLOCK_POOLED_BYTES_MIN && bytes <= pool.bufferBytes
    this.#buffer = isPooled ? pool.take() : undefined
  }

  #onPart(part: Uint8Array): void {
    this.#hash.update(part)
    if (this.#buffer === undefined) this.#parts.push(new Uint8Array(part))
    else this.#buffer.set(part, this.#bytes)
    this.#bytes += part.length
  }

  #onEnd(): void {
    const want = this.#wants.shift()
    if (want === undefined || this.#lost) return
    this.#missedLast = this.#status === 'missing'
    if (this.#missedLast) {
      this.#events.onMissing(this, want)
      return
    }
    if (!equals(this.#hash.digest(), want.digest)) {
      // The altered block's want is among those it leaves.
      this.#wants.unshift(want)
      this.lose({ kind: 'altered', want })
      return
    }
    this.#enqueue({ kind: 'done', digest: want.digest })
    const nowMs = performance.now()
    const tookMs = nowMs - this.#lastBlockMs
    this.#lastBlockMs = nowMs
    this.#blockMs = this.#blockMs === 0 ? tookMs : 0.8 * this.#blockMs + 0.2 * tookMs
    this.#events.onBlock(this, want, this.#takeBlock(want.digest))
  }

  #takeBlock(digest: Uint8Array): FetchedBlock {
    const bytes = this.#bytes
    let buffer = this.#buffer
    const parts = buffer === undefined ? this.#parts : [buffer.subarray(0, bytes)]
    this.#parts = []
    this.#buffer = undefined
    const release = (): void => {
      if (buffer !== undefined) this.#pool?.give(buffer)
      // Said twice is said once: by then the buffer may be another block's.
      buffer = undefined
    }
    return { digest, parts, bytes, release }
  }
}
