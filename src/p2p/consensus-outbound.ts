/** The writing end of a consensus stream: a bounded queue, and a stream that is opened again after a loss. */
import type { Connection, Stream } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { encodeFrameHead } from './consensus-frames.ts'
import { CONSENSUS_PROTOCOL } from './protocols.ts'
import { flushed, isClosed } from './stream-flow.ts'

export interface ConsensusOutboundDeps {
  readonly log: Log
  /** The connection to open a stream on; undefined while the peer is not connected. */
  readonly connection: () => Connection | undefined
  readonly mayJoin: () => boolean
  readonly onSent: (messages: number) => void
  readonly onDropped: (messages: number) => void
}

export class ConsensusOutbound {
  readonly #deps: ConsensusOutboundDeps
  readonly #peer: string
  readonly #stopping = new AbortController()
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #stream: Stream | undefined
  #opening = false
  #flushing = false
  #pumpPlanned = false
  #failures = 0
  #timer: NodeJS.Timeout | undefined

  constructor(deps: ConsensusOutboundDeps, options: { peer: string }) {
    this.#deps = deps
    this.#peer = options.peer
  }

  get isOpen(): boolean {
    return this.#stream !== undefined
  }

  get queued(): number {
    return this.#queue.length
  }

  get queuedBytes(): number {
    return this.#queuedBytes
  }

  send(message: Uint8Array): void {
    this.#queue.push(message)
    this.#queuedBytes += message.length
    let dropped = 0
    while (
      this.#queue.length > limits.CONSENSUS_QUEUE_MESSAGES_MAX ||
      (this.#queuedBytes > limits.CONSENSUS_QUEUE_BYTES_MAX && this.#queue.length > 1)
    ) {
      this.#queuedBytes -= this.#queue.shift()?.length ?? 0
      dropped++
    }
    if (dropped > 0) this.#deps.onDropped(dropped)
    if (this.#pumpPlanned) return
    // What is sent in the same moment leaves together; nothing waits for a timer.
    this.#pumpPlanned = true
    queueMicrotask(() => {
      this.#pumpPlanned = false
      this.#pump()
    })
  }

  /** Opens the stream now, where it isn't: the peer has connected. */
  hurry(): void {
    this.#failures = 0
    this.#open()
  }

  stop(): void {
    this.#stopping.abort()
    clearTimeout(this.#timer)
    this.#queue = []
    this.#queuedBytes = 0
    this.#stream?.abort(new Error('the consensus streams stop'))
    this.#stream = undefined
  }

  #pump(): void {
    const stream = this.#stream
    if (stream === undefined) {
      // Where a pause is under way, its end opens the stream.
      if (this.#timer === undefined) this.#open()
      return
    }
    if (this.#flushing) return
    try {
      while (this.#queue.length > 0 && isReady(stream)) this.#write(stream)
    } catch (error) {
      this.#drop(stream, error)
      return
    }
    if (this.#queue.length > 0) this.#pumpWhenFlushed(stream)
  }

  /** Writes one large message, or several small ones. */
  #write(stream: Stream): void {
    const bytes = new Uint8ArrayList()
    let messages = 0
    for (const message of this.#queue) {
      if (messages > 0 && bytes.byteLength + message.length > limits.CONSENSUS_WRITE_BYTES) break
      bytes.append(encodeFrameHead(message.length))
      bytes.append(message)
      this.#queuedBytes -= message.length
      messages++
    }
    this.#queue.splice(0, messages)
    stream.send(bytes)
    this.#deps.onSent(messages)
  }

  #pumpWhenFlushed(stream: Stream): void {
    this.#flushing = true
    flushed(stream, limits.CONSENSUS_STREAM_STALL_MS).then(
      () => {
        this.#flushing = false
        this.#pump()
      },
      (error: unknown) => {
        this.#flushing = false
        this.#drop(stream, error)
      },
    )
  }

  #open(): void {
    if (this.#stream !== undefined || this.#opening || this.#stopping.signal.aborted) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    const connection = this.#deps.connection()
    // `hurry` comes with the next connection.
    if (connection === undefined || !this.#deps.mayJoin()) return
    this.#opening = true
    const timeout = AbortSignal.timeout(limits.CONSENSUS_OPEN_TIMEOUT_MS)
    connection.newStream(CONSENSUS_PROTOCOL, { signal: AbortSignal.any([timeout, this.#stopping.signal]) }).then(
      (stream) => {
        this.#opening = false
        this.#take(stream)
      },
      (error: unknown) => {
        this.#opening = false
        this.#deps.log.debug({ peer: this.#peer, err: error }, 'could not open a consensus stream')
        this.#reopenLater()
      },
    )
  }

  #take(stream: Stream): void {
    if (this.#stopping.signal.aborted) {
      stream.abort(new Error('the consensus streams stop'))
      return
    }
    this.#stream = stream
    const openedAtMs = performance.now()
    stream.addEventListener('close', () => {
      // One that lasted was no failure of opening: it is opened again at once.
      if (performance.now() - openedAtMs >= limits.CONSENSUS_REOPEN_MS_MAX) this.#failures = 0
      this.#drop(stream, new Error('the stream was closed'))
    })
    // Nobody answers on this stream: bytes here are a broken or hostile peer, and would be kept for a reader.
    stream.addEventListener('message', () => this.#drop(stream, new Error('bytes on a stream of one direction')))
    if (isClosed(stream)) this.#drop(stream, new Error('the stream was closed'))
    else this.#pump()
  }

  /** Gives a stream up; what it held is lost. */
  #drop(stream: Stream, error: unknown): void {
    stream.abort(error instanceof Error ? error : new Error(String(error)))
    if (this.#stream !== stream) return
    this.#stream = undefined
    this.#deps.log.debug({ peer: this.#peer, err: error }, 'a consensus stream ended')
    this.#reopenLater()
  }

  #reopenLater(): void {
    if (this.#stopping.signal.aborted || this.#timer !== undefined) return
    const ms = Math.min(
      limits.CONSENSUS_REOPEN_MS_MAX,
      limits.CONSENSUS_REOPEN_MS_MIN * 2 ** Math.min(this.#failures++, 16),
    )
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#open()
    }, ms)
    this.#timer.unref()
  }
}

/** Whether what is sent now leaves at once. */
function isReady(stream: Stream): boolean {
  return stream.writeBufferLength === 0 && !stream.writableNeedsDrain
}
