/**
 * Frames of `/apotheca/shards/1`, both ways: kind (1) || length (4, big-endian) || that many bytes. A shard and a copy are so
 * large that they pass through in parts; the other frames are collected whole.
 *
 * @see docs/spec/shard-push.md
 */
import { CodedError } from '../core/coded-error.ts'
import {
  BLOCK_BYTES_MAX,
  EXTENT_MAP_BYTES_MAX,
  SEGMENT_BYTES,
  SHARD_ANSWER_BYTES_MAX,
  SHARD_RESERVE_BYTES_MAX,
} from '../core/limits.ts'

export type ShardFrameFault = {
  code: 'SHARD_FRAME_MALFORMED'
  field: 'kind' | 'length' | 'order' | 'count' | 'answer'
}
export class ShardFrameError extends CodedError<ShardFrameFault> {}

/** What the sender says. On the wire from 1. */
export type PushKind = 'reserve' | 'shard' | 'copy' | 'finish'
/** What the holder says. On the wire from 1. */
export type ReplyKind = 'accepted' | 'stored' | 'refused' | 'receipt'

export const SHARD_FRAME_HEAD_BYTES = 5
const DIGEST_BYTES = 32
const STRIPE_BYTES = 4
/** Before the bytes of a shard: stripe, SHA-256, audit root. */
export const SHARD_HEAD_BYTES = STRIPE_BYTES + 2 * DIGEST_BYTES
/** Before the bytes of a copy: its SHA-256. */
export const COPY_HEAD_BYTES = DIGEST_BYTES
/** In `stored`: how many shards and copies are durable. */
export const STORED_BYTES = 4

/** Bounds of a frame, and how many of its bytes come before those that pass through in parts. */
interface FrameForm {
  readonly bytesMin: number
  readonly bytesMax: number
  /** @default all: the frame is collected whole */
  readonly headBytes?: number
}

const PUSH_FORMS: Readonly<Record<PushKind, FrameForm>> = {
  reserve: { bytesMin: 1, bytesMax: SHARD_RESERVE_BYTES_MAX },
  shard: { bytesMin: SHARD_HEAD_BYTES, bytesMax: SHARD_HEAD_BYTES + SEGMENT_BYTES, headBytes: SHARD_HEAD_BYTES },
  copy: { bytesMin: COPY_HEAD_BYTES, bytesMax: COPY_HEAD_BYTES + BLOCK_BYTES_MAX, headBytes: COPY_HEAD_BYTES },
  finish: { bytesMin: 0, bytesMax: EXTENT_MAP_BYTES_MAX },
}
const REPLY_FORMS: Readonly<Record<ReplyKind, FrameForm>> = {
  accepted: { bytesMin: 1, bytesMax: SHARD_ANSWER_BYTES_MAX },
  stored: { bytesMin: STORED_BYTES, bytesMax: STORED_BYTES },
  refused: { bytesMin: 1, bytesMax: SHARD_ANSWER_BYTES_MAX },
  receipt: { bytesMin: 1, bytesMax: SHARD_ANSWER_BYTES_MAX },
}
const PUSH_KINDS = Object.keys(PUSH_FORMS) as PushKind[]
const REPLY_KINDS = Object.keys(REPLY_FORMS) as ReplyKind[]

/** @param bytes - of what follows. */
export function encodePushHead(kind: PushKind, bytes: number): Uint8Array {
  return frameHead(PUSH_KINDS.indexOf(kind), bytes)
}

/** @param bytes - of what follows. */
export function encodeReplyHead(kind: ReplyKind, bytes: number): Uint8Array {
  return frameHead(REPLY_KINDS.indexOf(kind), bytes)
}

/** The head of a frame and what stands before the shard's bytes. */
export function encodeShardHead(shard: {
  readonly stripe: number
  readonly digest: Uint8Array
  readonly audit: Uint8Array
  readonly bytes: number
}): Uint8Array {
  const head = new Uint8Array(SHARD_FRAME_HEAD_BYTES + SHARD_HEAD_BYTES)
  head.set(encodePushHead('shard', SHARD_HEAD_BYTES + shard.bytes))
  new DataView(head.buffer).setUint32(SHARD_FRAME_HEAD_BYTES, shard.stripe)
  head.set(shard.digest, SHARD_FRAME_HEAD_BYTES + STRIPE_BYTES)
  head.set(shard.audit, SHARD_FRAME_HEAD_BYTES + STRIPE_BYTES + DIGEST_BYTES)
  return head
}

export function encodeCopyHead(copy: { readonly digest: Uint8Array; readonly bytes: number }): Uint8Array {
  const head = new Uint8Array(SHARD_FRAME_HEAD_BYTES + COPY_HEAD_BYTES)
  head.set(encodePushHead('copy', COPY_HEAD_BYTES + copy.bytes))
  head.set(copy.digest, SHARD_FRAME_HEAD_BYTES)
  return head
}

/** @param head - `SHARD_HEAD_BYTES` long. */
export function readShardHead(head: Uint8Array): { stripe: number; digest: Uint8Array; audit: Uint8Array } {
  return {
    stripe: new DataView(head.buffer, head.byteOffset).getUint32(0),
    digest: head.slice(STRIPE_BYTES, STRIPE_BYTES + DIGEST_BYTES),
    audit: head.slice(STRIPE_BYTES + DIGEST_BYTES, SHARD_HEAD_BYTES),
  }
}

export function encodeStored(count: number): Uint8Array {
  const bytes = new Uint8Array(SHARD_FRAME_HEAD_BYTES + STORED_BYTES)
  bytes.set(encodeReplyHead('stored', STORED_BYTES))
  new DataView(bytes.buffer).setUint32(SHARD_FRAME_HEAD_BYTES, count)
  return bytes
}

/** @param body - `STORED_BYTES` long. */
export function readStored(body: Uint8Array): number {
  return new DataView(body.buffer, body.byteOffset).getUint32(0)
}

export interface FrameEvents<Kind> {
  /**
   * Whether a frame of so many bytes may be read now; before anything is kept of it. May throw.
   *
   * @default all may
   */
  mayBegin?(kind: Kind, bytes: number): boolean
  /** A frame that was collected whole, or the head of one that passes through: then `bytes` follow. */
  onFrame(kind: Kind, head: Uint8Array, bytes: number): void
  /** A view of the transport's own buffer: not copied, not reused. */
  onPart(part: Uint8Array): void
  /** What passed through is complete. */
  onEnd(): void
}

export class PushReader {
  readonly #frames: FrameCutter<PushKind>
  constructor(events: FrameEvents<PushKind>) {
    this.#frames = new FrameCutter(PUSH_KINDS, PUSH_FORMS, events)
  }

  /**
   * @returns how many bytes were taken: fewer where a frame may not begin yet. Then the rest is to be given again, even if it is empty.
   * @throws {ShardFrameError} `SHARD_FRAME_MALFORMED`; what `mayBegin` throws
   */
  push(piece: Uint8Array): number {
    return this.#frames.push(piece)
  }
}

export class ReplyReader {
  readonly #frames: FrameCutter<ReplyKind>
  constructor(onFrame: (kind: ReplyKind, body: Uint8Array) => void) {
    this.#frames = new FrameCutter(REPLY_KINDS, REPLY_FORMS, {
      onFrame,
      onPart: () => undefined,
      onEnd: () => undefined,
    })
  }

  /** @throws {ShardFrameError} `SHARD_FRAME_MALFORMED` */
  push(piece: Uint8Array): void {
    this.#frames.push(piece)
  }
}

/** Cuts a byte stream into frames; what passes through is not copied. */
class FrameCutter<Kind extends string> {
  readonly #kinds: readonly Kind[]
  readonly #forms: Readonly<Record<Kind, FrameForm>>
  readonly #events: FrameEvents<Kind>
  readonly #frameHead = new Uint8Array(SHARD_FRAME_HEAD_BYTES)
  #headFilled = 0
  #kind: Kind | undefined
  /** What is collected of the frame. */
  #head = new Uint8Array(0)
  #filled = 0
  /** Bytes that still pass through. */
  #through = 0
  #isThrough = false

  constructor(kinds: readonly Kind[], forms: Readonly<Record<Kind, FrameForm>>, events: FrameEvents<Kind>) {
    this.#kinds = kinds
    this.#forms = forms
    this.#events = events
  }

  push(piece: Uint8Array): number {
    let offset = 0
    for (;;) {
      if (this.#headFilled === SHARD_FRAME_HEAD_BYTES && !this.#begin()) return offset
      if (offset >= piece.length) return offset
      const rest = offset === 0 ? piece : piece.subarray(offset)
      if (this.#kind === undefined) offset += this.#readFrameHead(rest)
      else if (this.#filled < this.#head.length) offset += this.#collect(rest)
      else offset += this.#passThrough(rest)
    }
  }

  #readFrameHead(rest: Uint8Array): number {
    const take = Math.min(SHARD_FRAME_HEAD_BYTES - this.#headFilled, rest.length)
    this.#frameHead.set(rest.subarray(0, take), this.#headFilled)
    this.#headFilled += take
    return take
  }

  /** @returns `false`: the frame has to wait. */
  #begin(): boolean {
    const kind = this.#kinds[(this.#frameHead[0] ?? 0) - 1]
    if (kind === undefined) throw new ShardFrameError({ code: 'SHARD_FRAME_MALFORMED', field: 'kind' })
    const bytes = new DataView(this.#frameHead.buffer).getUint32(1)
    const { bytesMax, bytesMin, headBytes } = this.#forms[kind]
    // The length is a stranger's: refused before anything is kept for it.
    if (bytes < bytesMin || bytes > bytesMax) {
      throw new ShardFrameError({ code: 'SHARD_FRAME_MALFORMED', field: 'length' })
    }
    if (this.#events.mayBegin?.(kind, bytes) === false) return false
    this.#headFilled = 0
    this.#kind = kind
    this.#head = new Uint8Array(headBytes ?? bytes)
    this.#filled = 0
    this.#isThrough = headBytes !== undefined
    this.#through = bytes - this.#head.length
    if (this.#head.length === 0) this.#onHead()
    return true
  }

  #collect(rest: Uint8Array): number {
    const take = Math.min(this.#head.length - this.#filled, rest.length)
    this.#head.set(rest.subarray(0, take), this.#filled)
    this.#filled += take
    if (this.#filled === this.#head.length) this.#onHead()
    return take
  }

  #onHead(): void {
    const kind = this.#kind
    if (kind === undefined) return
    if (this.#through === 0) this.#kind = undefined
    this.#events.onFrame(kind, this.#head, this.#through)
    if (this.#through === 0 && this.#isThrough) this.#events.onEnd()
  }

  #passThrough(rest: Uint8Array): number {
    const take = Math.min(this.#through, rest.length)
    this.#through -= take
    this.#events.onPart(take === rest.length ? rest : rest.subarray(0, take))
    if (this.#through === 0) {
      this.#kind = undefined
      this.#events.onEnd()
    }
    return take
  }
}

function frameHead(kind: number, bytes: number): Uint8Array {
  const head = new Uint8Array(SHARD_FRAME_HEAD_BYTES)
  head[0] = kind + 1
  new DataView(head.buffer).setUint32(1, bytes)
  return head
}
