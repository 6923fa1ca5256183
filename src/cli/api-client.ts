/** The CLI's side of the peer's HTTP API. Faults of the peer come back as `ApiError` with the peer's own sentence. */
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http'
import * as dagJson from '@ipld/dag-json'
import { CodedError, type Fault } from '../core/coded-error.ts'
import { API_ANSWER_BYTES_MAX, API_CONNECTIONS_MAX } from '../core/limits.ts'
import { AnswerBody } from './answer-body.ts'
import { CliError } from './faults.ts'
import type { PeerAddress } from './home.ts'

/** A fault that the peer answered with. */
export class ApiError extends CodedError {
  /** The peer's sentence and what to do, as it wrote them. */
  readonly sentence: string
  readonly todo: string
  readonly status: number
  constructor(fault: Fault, words: { sentence: string; todo: string; status: number }) {
    super(fault)
    this.sentence = words.sentence
    this.todo = words.todo
    this.status = words.status
  }
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

export interface CallOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  readonly signal?: AbortSignal
}

export class ApiClient {
  readonly #address: PeerAddress
  readonly #agent = new Agent({ keepAlive: true, maxSockets: API_CONNECTIONS_MAX })

  constructor(address: PeerAddress) {
    this.#address = address
  }

  get url(): string {
    return this.#address.url
  }

  close(): void {
    this.#agent.destroy()
  }

  /** One call, its answer whole. @throws {ApiError}; {CliError} `PEER_UNREACHABLE`, `PEER_ANSWER_INVALID` */
  async call(path: string, options: CallOptions = {}): Promise<Answer> {
    const { sent, answer } = this.open(path, options)
    if (options.body === undefined) sent.end()
    else sent.end(options.body)
    const message = await answer
    return { status: message.statusCode ?? 0, headers: message.headers, body: await collect(message) }
  }

  /** A call answered in DAG-JSON. @throws as `call` */
  async get<T>(path: string, options: CallOptions = {}): Promise<T> {
    return decodeAnswer((await this.call(path, options)).body)
  }

  /**
   * A call whose body is sent as it is read, answered in DAG-JSON.
   *
   * @param body - each piece is on its way before the next is asked for.
   * @throws as `call`; what `body` throws
   */
  async send<T>(path: string, body: AsyncIterable<Uint8Array>, options: CallOptions): Promise<T> {
    const { sent, answer } = this.open(path, options)
    let isAnswered = false
    // A refusal comes before all is sent: then there is no use in sending on, nor in waiting for a write that won't end.
    const answered = answer
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        isAnswered = true
      })
    try {
      for await (const piece of body) {
        await Promise.race([new Promise<void>((resolve) => sent.write(piece, () => resolve())), answered])
        if (isAnswered) break
      }
    } catch (error) {
      sent.destroy()
      throw error
    }
    if (!isAnswered) sent.end()
    return decodeAnswer(await collect(await answer))
  }

  /** A call whose answer is read as it comes. @throws as `call` */
  async stream(path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const { sent, answer } = this.open(path, options)
    sent.end()
    return answer
  }

  /** A call whose long answer is read into the caller's buffers. @throws as `call` */
  async body(
    path: string,
    options: { headers: Readonly<Record<string, string>>; signal: AbortSignal },
  ): Promise<AnswerBody> {
    const body = await AnswerBody.open(this.#address, { path, ...options })
    if (body.status === 200 || body.status === 206) return body
    try {
      if (body.bytes > API_ANSWER_BYTES_MAX) throw new CliError({ code: 'PEER_ANSWER_INVALID' })
      const problem = Buffer.alloc(body.bytes)
      await body.fill(problem)
      throw apiError(body.status, problem)
    } finally {
      body.close()
    }
  }

  /** A call whose body the caller writes; `answer` settles when the peer's status and headers are here. */
  open(path: string, options: CallOptions): { sent: ClientRequest; answer: Promise<IncomingMessage> } {
    const headers: Record<string, string> = { authorization: `Bearer ${this.#address.token}`, ...options.headers }
    if (options.body !== undefined) headers['content-length'] = String(options.body.length)
    const sent = request(`${this.#address.url}${path}`, {
      agent: this.#agent,
      method: options.method ?? 'GET',
      headers,
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    })
    sent.setNoDelay(true)
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      sent.once('response', (message) => {
        if ((message.statusCode ?? 0) < 400) resolve(message)
        else {
          collect(message)
            .then((body) => reject(apiError(message.statusCode ?? 0, body)), reject)
            // Refused before all of it was sent: the rest of the body must not stand in the way of the next call.
            .finally(() => (sent.writableFinished ? undefined : sent.destroy()))
        }
      })
      sent.once('error', (error) => {
        if (options.signal?.aborted === true) reject(options.signal.reason)
        else reject(new CliError({ code: 'PEER_UNREACHABLE', url: this.#address.url }, { cause: error }))
      })
    })
    return { sent, answer }
  }
}

function decodeAnswer<T>(body: Buffer): T {
  try {
    return dagJson.decode<T>(body)
  } catch (error) {
    throw new CliError({ code: 'PEER_ANSWER_INVALID' }, { cause: error })
  }
}

async function collect(message: IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = []
  let bytes = 0
  try {
    for await (const piece of message as AsyncIterable<Buffer>) {
      bytes += piece.length
      if (bytes > API_ANSWER_BYTES_MAX) throw new CliError({ code: 'PEER_ANSWER_INVALID' })
      pieces.push(piece)
    }
  } catch (error) {
    throw error instanceof CliError ? error : new CliError({ code: 'PEER_BROKE_OFF' }, { cause: error })
  }
  return Buffer.concat(pieces)
}

function apiError(status: number, body: Buffer): Error {
  // An answer to HEAD has no body: what is asked so is an upload.
  if (body.length === 0 && status === 404) {
    return new ApiError(
      { code: 'UPLOAD_UNKNOWN' },
      { sentence: 'There is no such upload here.', todo: 'Start it again.', status },
    )
  }
  try {
    const problem = JSON.parse(body.toString('utf8')) as Record<string, unknown>
    const { code, title, detail, fields } = problem
    if (typeof code === 'string' && typeof title === 'string' && typeof detail === 'string') {
      const rest = typeof fields === 'object' && fields !== null ? fields : {}
      return new ApiError({ ...rest, code }, { sentence: title, todo: detail, status })
    }
  } catch {
    // Not a problem document: answered by something that isn't our peer.
  }
  return new CliError({ code: 'PEER_ANSWER_INVALID' })
}
