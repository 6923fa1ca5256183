/**
 * Frames of `/apotheca/blocks/1`.
 *
 * Request: kind (1) || sha2-256 digest (32). Answer: status (1) || length (4, big-endian) || that many bytes.
 * Answers come in the order of their requests, so none needs a number. `done` has no answer: it tells the server that a
 * block has arrived whole, so that its buffer can hold another.
 *
 * @see docs/spec/block-exchange.md
 */
import { CodedError } from '../core/coded-error.ts'
import { BLOCK_BYTES_MAX } from '../core/limits.ts'

export type FrameFault = { code: 'BLOCK_FRAME_MALFORMED'; field: 'kind' | 'status' | 'length' | 'answer' }
export class FrameError extends CodedError<FrameFault> {}

export const DIGEST_BYTES = 32
export const REQUEST_BYTES = 1 + DIGEST_BYTES
export const ANSWER_HEAD_BYTES = 5

/** On the wire from 1: a zeroed frame is no request. */
const KINDS = ['want', 'have', 'done'] as const
const STATUS_BLOCK = 0
const STATUS_MISSING = 1
const STATUS_HAVE = 2

export type RequestKind = (typeof KINDS)[number]
export type AnswerStatus = 'block' | 'missing' | 'have'

export interface BlockRequest {
  readonly kind: RequestKind
  readonly digest: Uint8Array
}

export function encodeRequests(requests: readonly BlockRequest[]): Uint8Array {
  const bytes = new Uint8Array(requests.length * REQUEST_BYTES)
  requests.forEach((request, index) => {
    bytes[index * REQUEST_BYTES] = KINDS.indexOf(request.kind) + 1
    bytes.set(request.digest, index * REQUEST_BYTES + 1)
  })
  return bytes
}

export function encodeAnswerHead(status: AnswerStatus, length: number): Uint8Array {
  const bytes = new Uint8Array(ANSWER_HEAD_BYTES)
  bytes[0] = status === 'block' ? STATUS_BLOCK : status === 'missing' ? STATUS_MISSING : STATUS_HAVE
  new DataView(bytes.buffer).setUint32(1, length)
  return bytes
}

/** Cuts a byte stream into requests; holds at most one incomplete frame. */
export class RequestReader {
  readonly #frame = new Uint8Array(REQUEST_BYTES)
  #filled = 0

  /** @throws {FrameError} `BLOCK_FRAME_MALFORMED` */
  push(piece: Uint8Array, onRequest: (request: BlockRequest) => void): void {
    let offset = 0
    while (offset < piece.length) {
      const take = Math.min(REQUEST_BYTES - this.#filled, piece.length - offset)
      this.#frame.set(piece.subarray(offset, offset + take), this.#filled)
      this.#filled += take
      offset += take
      if (this.#filled < REQUEST_BYTES) return
      this.#filled = 0
      const kind = KINDS[(this.#frame[0] ?? 0) - 1]
      if (kind === undefined) throw new FrameError({ code: 'BLOCK_FRAME_MALFORMED', field: 'kind' })
      onRequest({ kind, digest: this.#frame.slice(1) })
    }
  }
}

export interface AnswerEvents {
  /** An answer begins; its `bytes` follow as parts (none when 0), then `onEnd`. */
  onHead(status: AnswerStatus, bytes: number): void
  /** A view of the transport's own buffer: not copied, not reused. */
  onPart(part: Uint8Array): void
  onEnd(): void
}

/** Cuts a byte stream into answers without copying what they carry. */
export class AnswerReader {
  readonly #events: AnswerEvents
  readonly #head = new Uint8Array(ANSWER_HEAD_BYTES)
  #headFilled = 0
  #bodyLeft = 0

  constructor(events: AnswerEvents) {
    this.#events = events
  }

  /** @throws {FrameError} `BLOCK_FRAME_MALFORMED` */
  push(piece: Uint8Array): void {
    let offset = 0
    while (offset < piece.length) {
      if (this.#bodyLeft > 0) {
        const end = Math.min(piece.length, offset + this.#bodyLeft)
        this.#bodyLeft -= end - offset
        this.#events.onPart(offset === 0 && end === piece.length ? piece : piece.subarray(offset, end))
        offset = end
        if (this.#bodyLeft === 0) this.#events.onEnd()
        continue
      }
      const take = Math.min(ANSWER_HEAD_BYTES - this.#headFilled, piece.length - offset)
      this.#head.set(piece.subarray(offset, offset + take), this.#headFilled)
      this.#headFilled += take
      offset += take
      if (this.#headFilled === ANSWER_HEAD_BYTES) this.#beginAnswer()
    }
  }

  #beginAnswer(): void {
    this.#headFilled = 0
    const status = statusOf(this.#head[0])
    const length = new DataView(this.#head.buffer).getUint32(1)
    // The length is a stranger's: refused before anything is kept for it.
    if (length > BLOCK_BYTES_MAX || (status !== 'block' && length > 0)) {
      throw new FrameError({ code: 'BLOCK_FRAME_MALFORMED', field: 'length' })
    }
    this.#events.onHead(status, length)
    this.#bodyLeft = length
    if (length === 0) this.#events.onEnd()
  }
}

function statusOf(byte: number | undefined): AnswerStatus {
  switch (byte) {
    case STATUS_BLOCK:
      return 'block'
    case STATUS_MISSING:
      return 'missing'
    case STATUS_HAVE:
      return 'have'
    default:
      throw new FrameError({ code: 'BLOCK_FRAME_MALFORMED', field: 'status' })
  }
}
