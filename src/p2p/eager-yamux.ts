/**
 * yamux that hands on what has come of a frame, where the library waits for the whole of it.
 *
 * A frame may be as large as the window: whole, it is hundreds of pieces that are kept, and one whose length is a lie fills memory
 * before the window says no. So each data frame is read as the smaller ones that its sender might have sent instead; and bytes
 * that are lent (lent-reads.ts) go to the readers that take them at once, and are copied for all others.
 *
 * @see https://github.com/hashicorp/yamux/blob/master/spec.md, docs/decisions/0106-received-bytes-are-lent.md
 */
import type { MessageStream, Stream, StreamMuxer, StreamMuxerFactory } from '@libp2p/interface'
import { yamux, type YamuxMuxerInit } from '@libp2p/yamux'
import type { Uint8ArrayList } from 'uint8arraylist'
import { piecesOf } from './stream-flow.ts'

const HEADER_BYTES = 12
const TYPE_DATA = 0
const FLAG_SYN = 1
const FLAG_ACK = 2
const NO_BYTES = new Uint8Array()

export interface YamuxHeader {
  readonly type: number
  readonly flag: number
  readonly streamID: number
  readonly length: number
}

export interface YamuxFrame {
  readonly header: YamuxHeader
  /** Of data frames: `header.length` bytes. */
  readonly data?: Uint8Array
}

export const eagerYamux = (init: YamuxMuxerInit) => (): StreamMuxerFactory => new EagerYamux(init)

/** Streams whose reader copies what it keeps before it returns. */
const readAtOnce = new WeakSet<Stream>()

/** Says that the listener of a stream's messages keeps no piece of them after it returned, and never pauses. */
export function readsAtOnce(stream: Stream): void {
  readAtOnce.add(stream)
}

/** A connection that may lend what it read. */
interface Lender {
  /** Called by whoever hands on what it is lent; @returns whether it will be lent */
  lend(): boolean
}

class EagerYamux implements StreamMuxerFactory {
  readonly protocol: string
  readonly #library: StreamMuxerFactory

  constructor(init: YamuxMuxerInit) {
    this.#library = yamux(init)()
    this.protocol = this.#library.protocol
  }

  createStreamMuxer(connection: MessageStream): StreamMuxer {
    const muxer = this.#library.createStreamMuxer(connection)
    const lends = 'lend' in connection && (connection as MessageStream & Lender).lend()
    const mayLend = (streamID: number): boolean =>
      muxer.streams.some((stream) => stream.id === String(streamID) && readAtOnce.has(stream))
    // Before its first bytes: they come in a later turn than the one it is made in.
    return Object.assign(muxer, { decoder: new FrameReader(lends ? mayLend : () => true) })
  }
}

/** Cuts the bytes of a connection into frames; in the place of the library's decoder. */
export class FrameReader {
  readonly #mayLend: (streamID: number) => boolean
  readonly #head = new Uint8Array(HEADER_BYTES)
  #headFilled = 0
  /** The rest of the data frame that is being read. */
  #frame: YamuxHeader | undefined

  /** @param mayLend - whether a stream takes bytes that are only valid until the next are asked for. */
  constructor(mayLend: (streamID: number) => boolean) {
    this.#mayLend = mayLend
  }

  /** @throws {Error} named `InvalidFrameError`, as the library's */
  *emitFrames(bytes: Uint8Array | Uint8ArrayList): Generator<YamuxFrame> {
    for (const piece of piecesOf(bytes)) {
      let offset = 0
      while (offset < piece.length) {
        if (this.#frame === undefined) {
          const take = Math.min(HEADER_BYTES - this.#headFilled, piece.length - offset)
          this.#head.set(piece.subarray(offset, offset + take), this.#headFilled)
          this.#headFilled += take
          offset += take
          if (this.#headFilled < HEADER_BYTES) return
          this.#headFilled = 0
          const header = headerOf(this.#head)
          if (header.type === TYPE_DATA && header.length > 0) this.#frame = header
          else yield header.type === TYPE_DATA ? { header, data: NO_BYTES } : { header }
        } else {
          const end = Math.min(piece.length, offset + this.#frame.length)
          yield this.#part(this.#frame, piece.subarray(offset, end))
          offset = end
        }
      }
    }
  }

  /** What has come of a frame: the first part opens the stream, and the last one ends it. */
  #part(frame: YamuxHeader, bytes: Uint8Array): YamuxFrame {
    const left = frame.length - bytes.length
    const opening = frame.flag & (FLAG_SYN | FLAG_ACK)
    this.#frame = left === 0 ? undefined : { ...frame, flag: frame.flag & ~opening, length: left }
    const flag = left === 0 ? frame.flag : opening
    const data = this.#mayLend(frame.streamID) ? bytes : new Uint8Array(bytes)
    return { header: { ...frame, flag, length: bytes.length }, data }
  }
}

function headerOf(head: Uint8Array): YamuxHeader {
  const view = new DataView(head.buffer)
  if (view.getUint8(0) !== 0) {
    // By this name the muxer tells the other side that it broke the protocol.
    throw Object.assign(new Error('yamux: unknown version'), { name: 'InvalidFrameError' })
  }
  return {
    type: view.getUint8(1),
    flag: view.getUint16(2),
    streamID: view.getUint32(4),
    length: view.getUint32(8),
  }
}
