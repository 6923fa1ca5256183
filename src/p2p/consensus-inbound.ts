/** The reading end of a consensus stream: frames in order, one message handed on at a time. */
import type { Stream, StreamMessageEvent } from '@libp2p/interface'
import { CodedError } from '../core/coded-error.ts'
import type { Log } from '../core/ports.ts'
import { FrameLengthError, FrameReader } from './consensus-frames.ts'
import { piecesOf } from './stream-flow.ts'

export type ConsensusFrameFault = {
  code: 'CONSENSUS_FRAME_MALFORMED'
  peer: string
  bytes: number
  bytesMax: number
}
export class ConsensusFrameError extends CodedError<ConsensusFrameFault> {}

export interface ConsensusInboundDeps {
  readonly log: Log
  readonly onMessage: (bytes: Uint8Array) => void | Promise<void>
  /** Asked before each message is handed on. */
  readonly mayContinue: () => boolean
  readonly onMalformed: () => void
  readonly onEnd: () => void
}

export interface ConsensusInboundOptions {
  readonly stream: Stream
  readonly peer: string
  readonly messageBytesMax: number
}

export class ConsensusInbound {
  readonly #deps: ConsensusInboundDeps
  readonly #options: ConsensusInboundOptions
  readonly #reader: FrameReader
  /** What came in one event of the stream and is not yet read: at most what the stream holds while it is paused. */
  #pieces: Uint8Array[] = []
  /** Where to go on in the first piece. */
  #at = 0
  #busy = false
  #ended = false

  constructor(deps: ConsensusInboundDeps, options: ConsensusInboundOptions) {
    this.#deps = deps
    this.#options = options
    this.#reader = new FrameReader(options.messageBytesMax)
  }

  listen(): void {
    const { stream } = this.#options
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      for (const piece of piecesOf(event.data)) this.#pieces.push(piece)
      this.#drain()
    })
    stream.addEventListener('remoteCloseWrite', () => this.end(new Error('the peer closed its consensus stream')))
    stream.addEventListener('close', () => this.#finish())
    if (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0) this.end(new Error('closed at once'))
  }

  end(reason: Error): void {
    this.#finish()
    this.#options.stream.abort(reason)
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    this.#pieces = []
    this.#deps.onEnd()
  }

  /** Reads what is there, until a message makes it wait. */
  #drain(): void {
    while (!this.#busy && !this.#ended) {
      const piece = this.#pieces[0]
      if (piece === undefined) return
      const frame = this.#readFrame(piece)
      if (frame !== undefined) this.#deliver(frame)
    }
  }

  #readFrame(piece: Uint8Array): Uint8Array | undefined {
    const { peer, messageBytesMax } = this.#options
    try {
      const { next, frame } = this.#reader.read(piece, this.#at)
      this.#at = next
      if (next === piece.length) {
        this.#pieces.shift()
        this.#at = 0
      }
      return frame
    } catch (error) {
      if (!(error instanceof FrameLengthError)) throw error
      const fault = { code: 'CONSENSUS_FRAME_MALFORMED', peer, bytes: error.bytes, bytesMax: messageBytesMax } as const
      this.#deps.log.warn({ fault }, 'ended a consensus stream')
      this.#deps.onMalformed()
      this.end(new ConsensusFrameError(fault, { cause: error }))
      return undefined
    }
  }

  #deliver(frame: Uint8Array): void {
    if (!this.#deps.mayContinue()) {
      this.end(new Error('the peer is no validator any more'))
      return
    }
    try {
      const handled = this.#deps.onMessage(frame)
      if (handled !== undefined) this.#waitFor(handled)
    } catch (error) {
      this.#logFailure(error)
    }
  }

  /** The stream is paused: what the peer sends on stays in its window, and then with the peer. */
  #waitFor(handled: Promise<void>): void {
    const { stream } = this.#options
    this.#busy = true
    stream.pause()
    handled
      .catch((error: unknown) => this.#logFailure(error))
      .finally(() => {
        this.#busy = false
        this.#drain()
        if (!this.#busy && !this.#ended) stream.resume()
      })
      .catch((error: unknown) => this.end(error instanceof Error ? error : new Error(String(error))))
  }

  /** Our bug, not the peer's: the stream goes on. */
  #logFailure(error: unknown): void {
    this.#deps.log.error({ err: error, peer: this.#options.peer }, 'a consensus message could not be handled')
  }
}
