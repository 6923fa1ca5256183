/**
 * The sender's side of `/apotheca/shards/1`: one column of an extent to one holder.
 *
 * Bytes are sent as they are given, and may lie anywhere between here and the holder until it says that it has stored them: only
 * then may their memory be used again. A push that was lost never says so; its memory is left to the collector.
 *
 * @see docs/spec/shard-push.md
 */
import type { PeerId, Stream, StreamMessageEvent } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { CodedError, faultOf } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import type { ShardReceipt } from '../domain/shard-receipt.ts'
import type { ReceiptFault } from '../ledger/receipt.ts'
import type { P2pHost } from './host.ts'
import { SHARDS_PROTOCOL } from './protocols.ts'
import {
  type ReplyKind,
  ReplyReader,
  ShardFrameError,
  encodeCopyHead,
  encodePushHead,
  encodeShardHead,
  readStored,
} from './shard-frames.ts'
import {
  type Accepted,
  type Reserve,
  decodeAccepted,
  decodeRefused,
  decodeShardReceipt,
  encodeReserve,
} from './shard-messages.ts'
import { flushed, isClosed, piecesOf } from './stream-flow.ts'

export type ShardPushFault =
  /** The holder said no; `reason` is its fault's code. */
  | { code: 'SHARD_REFUSED'; peer: string; reason: string }
  | { code: 'SHARD_HOLDER_GONE'; peer: string; reason: string }
  | { code: 'SHARD_HOLDER_SILENT'; peer: string; silentMs: number }
export class ShardPushError extends CodedError<ShardPushFault> {
  /** What the holder said, with `SHARD_REFUSED`. */
  readonly refusal: ReceiptFault | undefined
  constructor(fault: ShardPushFault, options: ErrorOptions & { refusal?: ReceiptFault } = {}) {
    super(fault, options)
    this.refusal = options.refusal
  }
}

/** What is sent. Nobody writes to `bytes` before it is stored. */
export type PushedBlock =
  | {
      readonly kind: 'shard'
      readonly stripe: number
      readonly digest: Uint8Array
      readonly audit: Uint8Array
      readonly bytes: Uint8Array
    }
  | { readonly kind: 'copy'; readonly digest: Uint8Array; readonly bytes: Uint8Array }

interface Outstanding {
  readonly bytes: number
  readonly settle: (isStored: boolean) => void
}

export class ShardPush {
  readonly peer: PeerId
  readonly #stream: Stream
  readonly #reader = new ReplyReader((kind, body) => this.#onReply(kind, body))
  readonly #outstanding: Outstanding[] = []
  readonly #unsent: (readonly [head: Uint8Array, body: Uint8Array])[] = []
  #isSending = false
  #sent = 0
  #stored = 0
  #outstandingBytes = 0
  #progressMs = performance.now()
  #accepted: Accepted | undefined
  #loss: ShardPushError | undefined
  #answer: { resolve(kind: ReplyKind, body: Uint8Array): void; reject(error: Error): void } | undefined

  private constructor(stream: Stream, peer: PeerId) {
    this.#stream = stream
    this.peer = peer
    stream.addEventListener('message', (event: StreamMessageEvent) => this.#onMessage(event))
    stream.addEventListener('remoteCloseWrite', () => this.#gone('the holder ended the stream'))
    stream.addEventListener('close', (event) => this.#gone(event.error?.message ?? 'the stream was closed'))
  }

  /**
   * Asks a holder to take a column, and waits for its answer.
   *
   * @throws {ShardPushError} any of its codes; the signal's reason when aborted.
   */
  static async open(
    host: Pick<P2pHost, 'dialProtocol'>,
    peer: PeerId,
    reserve: Reserve,
    signal: AbortSignal,
  ): Promise<ShardPush> {
    const timeout = AbortSignal.timeout(limits.SHARD_RESERVE_TIMEOUT_MS)
    const either = AbortSignal.any([signal, timeout])
    let stream: Stream
    try {
      stream = await host.dialProtocol(peer, SHARDS_PROTOCOL, { signal: either })
    } catch (error) {
      signal.throwIfAborted()
      const reason = timeout.aborted ? 'it could not be reached in time' : 'it could not be reached'
      throw new ShardPushError({ code: 'SHARD_HOLDER_GONE', peer: peer.toString(), reason }, { cause: error })
    }
    const push = new ShardPush(stream, peer)
    try {
      const body = encodeReserve(reserve)
      push.#enqueue(encodePushHead('reserve', body.length), body)
      push.#accepted = decodeAccepted(await push.#waitFor('accepted', limits.SHARD_RESERVE_TIMEOUT_MS, signal))
    } catch (error) {
      push.close(error instanceof Error ? error.message : String(error))
      throw error
    }
    return push
  }

  /** Bits of what the holder has already; see `Accepted`. */
  get held(): Uint8Array {
    return this.#accepted?.held ?? new Uint8Array(0)
  }

  /** Why nothing more can be pushed; `undefined`: it can. */
  get loss(): ShardPushError | undefined {
    return this.#loss
  }

  /** Given and not yet stored there. */
  get outstandingBytes(): number {
    return this.#outstandingBytes
  }

  /** How long the holder has stored nothing although it owes something; 0 when it owes nothing. */
  silentMs(nowMs: number): number {
    return this.#outstanding.length === 0 ? 0 : nowMs - this.#progressMs
  }

  /** Grants a silent holder a fresh start: the silence was our own process being busy. */
  excuse(nowMs: number): void {
    this.#progressMs = nowMs
  }

  /** @returns whether the holder has stored it; `false`: the push is lost. */
  push(block: PushedBlock): Promise<boolean> {
    if (this.#loss !== undefined) return Promise.resolve(false)
    const { bytes, digest } = block
    const head =
      block.kind === 'shard'
        ? encodeShardHead({ stripe: block.stripe, digest, audit: block.audit, bytes: bytes.length })
        : encodeCopyHead({ digest, bytes: bytes.length })
    if (this.#outstanding.length === 0) this.#progressMs = performance.now()
    this.#outstandingBytes += bytes.length
    const settled = new Promise<boolean>((resolve) => {
      this.#outstanding.push({ bytes: bytes.length, settle: resolve })
    })
    this.#sent++
    this.#enqueue(head, bytes)
    return settled
  }

  /**
   * Ends the column. To be called once everything that was pushed is stored.
   *
   * @param map - the extent map; empty where the reservation had it.
   * @throws {ShardPushError} any of its codes
   */
  async finish(map: Uint8Array, signal: AbortSignal): Promise<ShardReceipt> {
    if (this.#loss !== undefined) throw this.#loss
    this.#enqueue(encodePushHead('finish', map.length), map)
    const body = await this.#waitFor('receipt', limits.SHARD_FINISH_TIMEOUT_MS, signal)
    let receipt: ShardReceipt
    try {
      receipt = decodeShardReceipt(body)
    } catch (error) {
      throw this.#gone('its receipt is malformed', error)
    }
    this.#loss = new ShardPushError({ code: 'SHARD_HOLDER_GONE', peer: this.peer.toString(), reason: 'it is done' })
    this.#stream.close({ signal: AbortSignal.timeout(limits.SHARD_RESERVE_TIMEOUT_MS) }).catch((error: unknown) => {
      this.#stream.abort(error instanceof Error ? error : new Error(String(error)))
    })
    return receipt
  }

  /** Gives the push up. */
  close(reason: string): void {
    this.#gone(reason)
  }

  /** Gives a holder up that has been silent for too long. */
  giveUpSilent(silentMs: number): void {
    const peer = this.peer.toString()
    this.#lose(new ShardPushError({ code: 'SHARD_HOLDER_SILENT', peer, silentMs: Math.round(silentMs) }))
  }

  #enqueue(head: Uint8Array, body: Uint8Array): void {
    this.#unsent.push([head, body])
    if (this.#isSending) return
    this.#isSending = true
    this.#sendAll().catch((error: unknown) => this.#gone('it takes nothing', error))
  }

  async #sendAll(): Promise<void> {
    try {
      for (let next = this.#unsent.shift(); next !== undefined; next = this.#unsent.shift()) {
        this.#stream.send(new Uint8ArrayList(...next))
        // Whether the holder is too slow is for whoever compares it with others to say.
        await flushed(this.#stream, limits.SHARD_SENDER_SILENT_MS)
      }
    } finally {
      this.#isSending = false
    }
  }

  async #waitFor(wanted: ReplyKind, timeoutMs: number, signal: AbortSignal): Promise<Uint8Array> {
    if (this.#loss !== undefined) throw this.#loss
    const { promise, reject, resolve } = Promise.withResolvers<Uint8Array>()
    this.#answer = {
      resolve: (kind, body) => {
        if (kind === wanted) resolve(body)
        else reject(this.#gone('it gave another answer than was due'))
      },
      reject,
    }
    const timer = setTimeout(() => this.giveUpSilent(timeoutMs), timeoutMs)
    const onAbort = (): void => this.close('the placement was stopped')
    signal.addEventListener('abort', onAbort, { once: true })
    if (signal.aborted) onAbort()
    try {
      return await promise
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
      this.#answer = undefined
    }
  }

  #onMessage(event: StreamMessageEvent): void {
    if (this.#loss !== undefined) return
    try {
      for (const piece of piecesOf(event.data)) this.#reader.push(piece)
    } catch (error) {
      this.#gone('its answer is malformed', error)
    }
  }

  #onReply(kind: ReplyKind, body: Uint8Array): void {
    if (kind === 'refused') {
      const refusal = decodeRefused(body)
      const fault = { code: 'SHARD_REFUSED', peer: this.peer.toString(), reason: refusal.code } as const
      this.#lose(new ShardPushError(fault, { refusal }))
    } else if (kind === 'stored') this.#onStored(readStored(body))
    else if (this.#answer === undefined) throw new ShardFrameError({ code: 'SHARD_FRAME_MALFORMED', field: 'answer' })
    else this.#answer.resolve(kind, body)
  }

  #onStored(count: number): void {
    // More than was sent, or fewer than before: whatever it counts, it isn't these shards.
    if (count <= this.#stored || count > this.#sent) {
      throw new ShardFrameError({ code: 'SHARD_FRAME_MALFORMED', field: 'count' })
    }
    const settled = this.#outstanding.splice(0, count - this.#stored)
    this.#stored = count
    this.#progressMs = performance.now()
    for (const { bytes, settle } of settled) {
      this.#outstandingBytes -= bytes
      settle(true)
    }
  }

  #gone(reason: string, cause?: unknown): ShardPushError {
    const coded = faultOf(cause)
    const said = coded === undefined ? reason : `${reason} (${coded.code})`
    return this.#lose(
      new ShardPushError({ code: 'SHARD_HOLDER_GONE', peer: this.peer.toString(), reason: said }, { cause }),
    )
  }

  #lose(error: ShardPushError): ShardPushError {
    if (this.#loss !== undefined) return this.#loss
    this.#loss = error
    this.#unsent.length = 0
    for (const { settle } of this.#outstanding.splice(0)) settle(false)
    this.#outstandingBytes = 0
    if (!isClosed(this.#stream)) this.#stream.abort(error)
    this.#answer?.reject(error)
    return error
  }
}
