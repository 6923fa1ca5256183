/**
 * A long answer of the peer's HTTP API, read straight into its reader's buffers.
 *
 * node's HTTP client makes two buffers of every piece of a body, and a file of a gigabyte is twenty thousand pieces: half of a
 * download's CPU time went into making, paging in and collecting them (docs/decisions/0107-the-cli-reads-the-socket.md). So
 * this speaks the little of HTTP/1.1 that our own API answers with: one request, a status, a content-length, the bytes.
 */
import { connect, type Socket } from 'node:net'
import { HTTP_BODY_READ_BYTES, HTTP_HEAD_BYTES_MAX } from '../core/limits.ts'
import { CliError } from './faults.ts'
import type { PeerAddress } from './home.ts'

export interface BodyRequest {
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly signal: AbortSignal
}

const HEAD_END = '\r\n\r\n'
const STATUS = /^HTTP\/1\.1 (\d{3})[ \r]/
const LENGTH = /\r\ncontent-length: *(\d{1,16})\r\n/i
const CODED = /\r\n(?:transfer|content)-encoding:/i

export class AnswerBody {
  /** HTTP status: whoever asked deals with others than 200 and 206. */
  readonly status: number
  /** Of the body. */
  readonly bytes: number
  readonly #reader: SocketReader
  #left: number

  private constructor(reader: SocketReader, status: number, bytes: number) {
    this.#reader = reader
    this.status = status
    this.bytes = bytes
    this.#left = bytes
  }

  /** @throws {CliError} `PEER_UNREACHABLE`, `PEER_BROKE_OFF`, `PEER_ANSWER_INVALID`; the signal's reason */
  static async open(address: PeerAddress, request: BodyRequest): Promise<AnswerBody> {
    const reader = new SocketReader(address.url, request.signal)
    const { host } = new URL(address.url)
    const headers = { host, authorization: `Bearer ${address.token}`, connection: 'close', ...request.headers }
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
    reader.write([`GET ${request.path} HTTP/1.1`, ...lines, '', ''].join('\r\n'))
    const head = await reader.head()
    const status = STATUS.exec(head)?.[1]
    const length = LENGTH.exec(head)?.[1]
    if (status === undefined || length === undefined || CODED.test(head)) {
      reader.close()
      throw new CliError({ code: 'PEER_ANSWER_INVALID' })
    }
    return new AnswerBody(reader, Number(status), Number(length))
  }

  /** Fills `into` with the next bytes. @throws {CliError} `PEER_BROKE_OFF` where the answer ends early; the signal's reason */
  async fill(into: Uint8Array): Promise<void> {
    if (into.length > this.#left) throw new CliError({ code: 'PEER_BROKE_OFF' })
    this.#left -= into.length
    await this.#reader.fill(into)
  }

  close(): void {
    this.#reader.close()
  }
}

interface Waiting {
  readonly into: Uint8Array
  filled: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

/** Reads a socket on demand: while nobody waits for bytes it is paused, and the system's buffers fill. */
class SocketReader {
  readonly #url: string
  readonly #signal: AbortSignal
  readonly #socket: Socket
  readonly #onAbort = (): void => {
    this.#socket.destroy()
  }
  /** Read and not taken: a view of the socket's buffer, which stays as it is until the socket reads on. */
  #rest: Uint8Array = new Uint8Array(0)
  #head: string | undefined = ''
  #waiting: Waiting | undefined
  #isConnected = false
  #cause: unknown
  #isClosed = false

  constructor(url: string, signal: AbortSignal) {
    this.#url = url
    this.#signal = signal
    const { hostname, port } = new URL(url)
    this.#socket = connect({
      host: hostname.replace(/^\[|\]$/g, ''),
      port: Number(port),
      noDelay: true,
      onread: {
        buffer: Buffer.allocUnsafeSlow(HTTP_BODY_READ_BYTES),
        callback: (bytes, buffer) => this.#onRead(buffer.subarray(0, bytes)),
      },
    })
    this.#socket.once('connect', () => {
      this.#isConnected = true
    })
    this.#socket.once('error', (error) => {
      this.#cause = error
    })
    this.#socket.once('close', () => {
      this.#isClosed = true
      signal.removeEventListener('abort', this.#onAbort)
      this.#waiting?.reject(this.#failure())
    })
    signal.addEventListener('abort', this.#onAbort)
    if (signal.aborted) this.#onAbort()
  }

  write(text: string): void {
    this.#socket.write(text)
  }

  /** The answer's head, with the empty line that ends it. */
  async head(): Promise<string> {
    // Nothing is filled: it ends when the head is whole.
    await this.#wait(new Uint8Array(0))
    const head = this.#head ?? ''
    this.#head = undefined
    return head
  }

  async fill(into: Uint8Array): Promise<void> {
    const taken = Math.min(this.#rest.length, into.length)
    into.set(this.#rest.subarray(0, taken))
    this.#rest = this.#rest.subarray(taken)
    if (taken < into.length) await this.#wait(into.subarray(taken))
  }

  close(): void {
    this.#socket.destroy()
  }

  #wait(into: Uint8Array): Promise<void> {
    if (this.#isClosed) return Promise.reject(this.#failure())
    return new Promise((resolve, reject) => {
      this.#waiting = { into, filled: 0, resolve, reject }
      this.#socket.resume()
    })
  }

  #failure(): unknown {
    if (this.#signal.aborted) return this.#signal.reason
    if (!this.#isConnected) return new CliError({ code: 'PEER_UNREACHABLE', url: this.#url }, { cause: this.#cause })
    return new CliError({ code: 'PEER_BROKE_OFF' }, { cause: this.#cause })
  }

  /** @returns whether the socket may read on */
  #onRead(bytes: Uint8Array): boolean {
    const waiting = this.#waiting
    const body = this.#head === undefined ? bytes : this.#onHead(this.#head, bytes)
    if (body === undefined || waiting === undefined) return !this.#socket.destroyed
    const taken = Math.min(body.length, waiting.into.length - waiting.filled)
    waiting.into.set(body.subarray(0, taken), waiting.filled)
    waiting.filled += taken
    if (waiting.filled < waiting.into.length) return true
    this.#rest = body.subarray(taken)
    this.#waiting = undefined
    waiting.resolve()
    return false
  }

  /** @returns what follows the head; undefined while it isn't whole. */
  #onHead(before: string, bytes: Uint8Array): Uint8Array | undefined {
    const head = before + Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
    const end = head.indexOf(HEAD_END)
    if (end < 0 && head.length > HTTP_HEAD_BYTES_MAX) {
      this.#waiting?.reject(new CliError({ code: 'PEER_ANSWER_INVALID' }))
      this.#waiting = undefined
      this.#socket.destroy()
      return undefined
    }
    this.#head = end < 0 ? head : head.slice(0, end + HEAD_END.length)
    return end < 0 ? undefined : bytes.subarray(end + HEAD_END.length - before.length)
  }
}
