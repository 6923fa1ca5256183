/**
 * One request, one answer, on a stream of its own.
 *
 * Request: length (4, big-endian) || bytes. Answer: status (1) || length (4) || bytes; with status 1 the bytes are the
 * code of a fault, in UTF-8. Both sides refuse a length over the protocol's limits before they keep a byte of it.
 *
 * @see docs/spec/request.md
 */
import type { PeerId, Stream, StreamMessageEvent } from '@libp2p/interface'
import { Uint8ArrayList } from 'uint8arraylist'
import { CodedError, faultOf } from '../core/coded-error.ts'
import { REQUEST_STREAMS_PER_CONNECTION_MAX, REQUEST_TIMEOUT_MS } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { P2pHost } from './host.ts'
import { flushed, piecesOf } from './stream-flow.ts'

export type RequestFault =
  | { code: 'REQUEST_TIMEOUT'; protocol: string; peer: string; timeoutMs: number }
  | { code: 'REQUEST_PEER_UNREACHABLE'; protocol: string; peer: string }
  | { code: 'REQUEST_TOO_LARGE'; bytes: number; bytesMax: number }
  | { code: 'REQUEST_ANSWER_MALFORMED'; protocol: string; peer: string }
  /** The other side refused; `reason` is its fault's code. */
  | { code: 'REQUEST_REFUSED'; protocol: string; peer: string; reason: string }
export class RequestError extends CodedError<RequestFault> {}

/** Largest request and answer of one protocol, in bytes. */
export interface RequestLimits {
  readonly requestBytesMax: number
  readonly answerBytesMax: number
}

/** A fault thrown with a code reaches the requester as that code; any other error as `INTERNAL`. */
export type RequestHandler = (request: Uint8Array, from: PeerId) => Uint8Array | Promise<Uint8Array>

const STATUS_DONE = 0
const STATUS_REFUSED = 1
const LENGTH_BYTES = 4
const STATUS_BYTES = 1
const REASON_PATTERN = /^[A-Z][A-Z0-9_]{0,63}$/

/** Serves a protocol until the host stops, or `host.unhandle(protocol)`. */
export async function handleRequests(
  deps: { host: Pick<P2pHost, 'handle'>; log: Log },
  protocol: string,
  bounds: RequestLimits,
  handler: RequestHandler,
): Promise<void> {
  await deps.host.handle(
    protocol,
    (stream, connection) => {
      const from = connection.remotePeer
      serve(stream, from, bounds, handler, deps.log).catch((error: unknown) => {
        deps.log.debug({ protocol, peer: from.toString(), err: error }, 'a request stream was ended')
        stream.abort(error instanceof Error ? error : new Error(String(error)))
      })
    },
    { maxInboundStreams: REQUEST_STREAMS_PER_CONNECTION_MAX },
  )
}

/**
 * Sends one request and awaits its answer.
 *
 * @throws {RequestError} `REQUEST_TIMEOUT`, `REQUEST_PEER_UNREACHABLE`, `REQUEST_TOO_LARGE`, `REQUEST_ANSWER_MALFORMED`,
 * `REQUEST_REFUSED`; the signal's reason when aborted.
 */
export async function request(
  host: Pick<P2pHost, 'dialProtocol'>,
  peer: PeerId,
  protocol: string,
  bytes: Uint8Array,
  options: RequestLimits & { timeoutMs?: number; signal?: AbortSignal },
): Promise<Uint8Array> {
  if (bytes.length > options.requestBytesMax) {
    throw new RequestError({ code: 'REQUEST_TOO_LARGE', bytes: bytes.length, bytesMax: options.requestBytesMax })
  }
  const timeoutMs = options.timeoutMs ?? REQUEST_TIMEOUT_MS
  const timeout = AbortSignal.timeout(timeoutMs)
  const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal])
  const where = { protocol, peer: peer.toString() }
  let stream: Stream | undefined
  try {
    stream = await host.dialProtocol(peer, protocol, { signal })
    const answer = new FrameCollector(stream, STATUS_BYTES, options.answerBytesMax)
    stream.send(new Uint8ArrayList(lengthHead(bytes.length), bytes))
    const { head, body } = await answer.frame(signal)
    await stream.close({ signal })
    if (head[0] === STATUS_DONE) return body
    const reason = new TextDecoder().decode(body.subarray(0, 64))
    if (head[0] !== STATUS_REFUSED || !REASON_PATTERN.test(reason)) throw new MalformedFrame()
    throw new RequestError({ code: 'REQUEST_REFUSED', ...where, reason })
  } catch (error) {
    stream?.abort(error instanceof Error ? error : new Error(String(error)))
    options.signal?.throwIfAborted()
    if (error instanceof RequestError) throw error
    if (timeout.aborted) throw new RequestError({ code: 'REQUEST_TIMEOUT', ...where, timeoutMs }, { cause: error })
    const code = error instanceof MalformedFrame ? 'REQUEST_ANSWER_MALFORMED' : 'REQUEST_PEER_UNREACHABLE'
    throw new RequestError({ code, ...where }, { cause: error })
  }
}

async function serve(
  stream: Stream,
  from: PeerId,
  bounds: RequestLimits,
  handler: RequestHandler,
  log: Log,
): Promise<void> {
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS)
  const { body } = await new FrameCollector(stream, 0, bounds.requestBytesMax).frame(signal)
  let status = STATUS_DONE
  let answer: Uint8Array
  try {
    answer = await handler(body, from)
    if (answer.length > bounds.answerBytesMax) {
      throw new RequestError({ code: 'REQUEST_TOO_LARGE', bytes: answer.length, bytesMax: bounds.answerBytesMax })
    }
  } catch (error) {
    const fault = faultOf(error)
    if (fault === undefined) log.error({ err: error, protocol: stream.protocol }, 'a request handler failed')
    status = STATUS_REFUSED
    answer = new TextEncoder().encode(fault?.code ?? 'INTERNAL')
  }
  stream.send(new Uint8ArrayList(Uint8Array.of(status), lengthHead(answer.length), answer))
  await flushed(stream, REQUEST_TIMEOUT_MS)
  // Closing ends this side only; who has its answer and doesn't end the other keeps a stream of ours.
  const timer = setTimeout(() => stream.abort(new Error('the requester went on')), REQUEST_TIMEOUT_MS)
  timer.unref()
  stream.addEventListener('close', () => clearTimeout(timer))
  await stream.close({ signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS) })
}

/** A length over the limit, an unknown status, an end before the whole frame, or bytes after it. */
class MalformedFrame extends Error {}

/** Collects one frame: `headBytes`, a length, and that many bytes. Whoever sends more is cut off: nothing else bounds what comes. */
class FrameCollector {
  readonly #stream: Stream
  readonly #headBytes: number
  readonly #bytesMax: number
  readonly #received = new Uint8ArrayList()
  #settle: { resolve(): void; reject(error: Error): void } | undefined
  #failure: Error | undefined

  constructor(stream: Stream, headBytes: number, bytesMax: number) {
    this.#stream = stream
    this.#headBytes = headBytes
    this.#bytesMax = bytesMax
    stream.addEventListener('message', (event: StreamMessageEvent) => this.#onMessage(event))
    stream.addEventListener('remoteCloseWrite', () => this.#end())
    stream.addEventListener('close', () => this.#end())
    if (stream.remoteWriteStatus === 'closed' && stream.readBufferLength === 0) this.#end()
  }

  /** @throws {MalformedFrame}; the signal's reason. */
  async frame(signal: AbortSignal): Promise<{ head: Uint8Array; body: Uint8Array }> {
    await new Promise<void>((resolve, reject) => {
      this.#settle = { resolve, reject }
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      if (this.#failure !== undefined) reject(this.#failure)
      else if (this.#excess() === 0) resolve()
    })
    const start = this.#headBytes + LENGTH_BYTES
    // A copy of its own, and a plain one: the transport's pieces are Buffers, whose `slice` doesn't copy.
    const bytes = Uint8Array.from(this.#received.subarray(0, start + this.#bodyBytes()))
    return { head: bytes.subarray(0, this.#headBytes), body: bytes.subarray(start) }
  }

  #bodyBytes(): number {
    return this.#received.getUint32(this.#headBytes)
  }

  /** Bytes after the frame; below 0 those that it still lacks; `undefined` before its length is known. */
  #excess(): number | undefined {
    const start = this.#headBytes + LENGTH_BYTES
    if (this.#received.byteLength < start) return undefined
    return this.#received.byteLength - start - this.#bodyBytes()
  }

  #onMessage(event: StreamMessageEvent): void {
    if (this.#failure !== undefined) return
    for (const piece of piecesOf(event.data)) this.#received.append(piece)
    const excess = this.#excess()
    if (excess === undefined) return
    if (this.#bodyBytes() > this.#bytesMax) this.#refuse('the length is over the limit')
    else if (excess > 0) this.#refuse('bytes after the frame')
    else if (excess === 0) this.#settle?.resolve()
  }

  #refuse(problem: string): void {
    const error = new MalformedFrame(problem)
    this.#fail(error)
    this.#stream.abort(error)
  }

  #end(): void {
    if (this.#excess() !== 0) this.#fail(new Error('the stream ended before the whole frame'))
  }

  #fail(error: Error): void {
    this.#failure ??= error
    this.#settle?.reject(error)
  }
}

function lengthHead(length: number): Uint8Array {
  const head = new Uint8Array(LENGTH_BYTES)
  new DataView(head.buffer).setUint32(0, length)
  return head
}
