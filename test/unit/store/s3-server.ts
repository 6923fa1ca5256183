/**
 * An S3 server of its own for a test (the package s3rver, whose files lie in a temporary folder), and before it a proxy that can
 * be told to misbehave: real HTTP on both sides.
 *
 * Beside what s3rver does, the proxy does what real object stores do with `x-amz-content-sha256` and `x-amz-checksum-sha256`:
 * it compares the body, and answers with the checksum. And no folder of s3rver's becomes empty: with the last object of one it
 * deletes the folder and whatever was put into it meanwhile, so an object that it had acknowledged was gone.
 */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import * as http from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import S3rver from '@20minutes/s3rver'
import type { S3ClientOptions } from '../../../src/store/s3-client.ts'

export const BUCKET = 'apotheca-test'
/** The one account of s3rver. */
export const CREDENTIALS = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' }

export interface Passing {
  readonly method: string
  /** Path and query, decoded. */
  readonly url: string
  /** Of the request. */
  readonly body: Buffer
}

/** What the proxy does with one request instead of passing it on; undefined to pass it. */
export type Misbehaviour =
  | { readonly kind: 'status'; readonly status: number; readonly code?: string }
  /** Says nothing, and keeps the connection. */
  | { readonly kind: 'silence' }
  | { readonly kind: 'hang up' }
  /** Passes it on after so long. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Passes it on, and hangs up instead of the answer. */
  | { readonly kind: 'lose answer' }
  /** Answers with the server's status, and a body made of the server's. */
  | {
      readonly kind: 'alter'
      readonly body: (body: Buffer) => Buffer
      readonly headers?: http.OutgoingHttpHeaders
      readonly cutAfter?: number
    }
  /** Passes another body on than came. */
  | { readonly kind: 'store'; readonly body: (body: Buffer) => Buffer; readonly headers?: http.OutgoingHttpHeaders }

export class TestS3 implements AsyncDisposable {
  readonly #dir: string
  readonly #s3: { close(): Promise<void>; httpServer: http.Server }
  readonly #proxy: http.Server
  readonly #port: number
  /** All requests since the last look, as `METHOD path`. */
  readonly requests: string[] = []
  /** Requests under way at once, at most, so far. */
  busiest = 0
  /** Decides what happens to each request. */
  misbehave: (passing: Passing) => Misbehaviour | undefined = () => undefined
  /** Awaited between the server's answer and its way back. */
  answer: (passing: Passing) => Promise<void> = async () => undefined
  /** Whether it computes checksums, as most object stores do. */
  checksums = true
  #busy = 0

  private constructor(dir: string, s3: { close(): Promise<void>; httpServer: http.Server }, port: number) {
    this.#dir = dir
    this.#s3 = s3
    this.#port = port
    this.#proxy = http.createServer((request, response) => {
      this.#busy++
      this.busiest = Math.max(this.busiest, this.#busy)
      this.#serve(request, response)
        .catch(() => response.destroy())
        .finally(() => this.#busy--)
    })
  }

  static async start(): Promise<TestS3> {
    const dir = await mkdtemp(join(tmpdir(), 'apotheca-s3-'))
    const s3 = new S3rver({
      address: '127.0.0.1',
      port: 0,
      silent: true,
      directory: dir,
      vhostBuckets: false,
      configureBuckets: [{ name: BUCKET }],
    })
    const { port } = await s3.run()
    const server = new TestS3(dir, s3, port)
    await server.up()
    return server
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#proxy.address() as AddressInfo).port}`
  }

  /** Options of a client that loses patience a little sooner than in production. */
  options(more: Partial<S3ClientOptions> = {}): S3ClientOptions {
    const place = { endpoint: this.endpoint, bucket: BUCKET, prefix: 'peer/', region: 'us-east-1' }
    return { ...place, credentials: CREDENTIALS, silenceMs: 10_000, retryMs: 10, ...more }
  }

  /** For files of the test; removed with the server. */
  get folder(): string {
    return this.#dir
  }

  /** Settles when no request is under way: those of a client that was killed end too. */
  async idle(): Promise<void> {
    while (this.#busy > 0) await new Promise((resolve) => setImmediate(resolve))
  }

  /** Where s3rver keeps the bytes of a block's object. */
  fileOf(digest: Uint8Array): string {
    const hex = Buffer.from(digest).toString('hex')
    return join(this.#dir, BUCKET, 'peer', 'blocks', hex.slice(0, 2), `${hex}._S3rver_object`)
  }

  /** Stops listening: connections are refused, until `up`. */
  async down(): Promise<void> {
    const port = (this.#proxy.address() as AddressInfo).port
    this.#proxy.closeAllConnections()
    this.#proxy.close()
    await once(this.#proxy, 'close')
    this.#lastPort = port
  }

  #lastPort = 0

  async up(): Promise<void> {
    this.#proxy.listen(this.#lastPort, '127.0.0.1')
    await once(this.#proxy, 'listening')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#proxy.closeAllConnections()
    this.#proxy.close()
    // What was passed on is still answered.
    await this.idle()
    this.#s3.httpServer.closeAllConnections()
    await this.#s3.close()
    await rm(this.#dir, { recursive: true, force: true })
  }

  async #serve(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const body = await bodyOf(request)
    const { method = '', url = '' } = request
    const passing = { method, url: decodeURIComponent(url), body }
    this.requests.push(`${method} ${passing.url}`)
    const what = this.misbehave(passing)
    if (what?.kind === 'silence') return
    if (what?.kind === 'hang up') return void response.destroy()
    if (what?.kind === 'status') return answerError(response, what.status, what.code)
    if (what?.kind === 'delay') await sleep(what.ms)
    const signed = request.headers['x-amz-content-sha256']
    if (method === 'PUT' && this.checksums && signed !== sha256Hex(body)) {
      return answerError(response, 400, 'XAmzContentSHA256Mismatch')
    }
    if (method === 'DELETE') await this.#keepFolder(passing.url)
    const passed = what?.kind === 'store' ? what.body(body) : body
    const answer = await this.#pass(request, passed)
    await this.answer(passing)
    if (what?.kind === 'lose answer') return void response.destroy()
    const checksum =
      method === 'PUT' && this.checksums ? createHash('sha256').update(passed).digest('base64') : undefined
    const altered = what?.kind === 'alter' ? what.body(answer.body) : answer.body
    const headers = {
      ...answer.headers,
      ...(checksum === undefined ? {} : { 'x-amz-checksum-sha256': checksum }),
      ...(what?.kind === 'alter' ? { 'content-length': altered.length, ...what.headers } : {}),
      ...(what?.kind === 'store' ? what.headers : {}),
    }
    response.writeHead(answer.status, headers)
    if (what?.kind !== 'alter' || what.cutAfter === undefined) return void response.end(altered)
    response.write(altered.subarray(0, what.cutAfter), () => response.destroy())
  }

  async #keepFolder(path: string): Promise<void> {
    const folder = join(this.#dir, dirname(path))
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, '.kept'), '')
  }

  async #pass(
    request: http.IncomingMessage,
    body: Buffer,
  ): Promise<{ status: number; headers: http.IncomingHttpHeaders; body: Buffer }> {
    const headers = { ...request.headers, 'content-length': String(body.length) }
    const { method, url: path } = request
    const outgoing = http.request({ host: '127.0.0.1', port: this.#port, method, path, headers, agent: false })
    outgoing.end(body)
    const [incoming] = (await once(outgoing, 'response')) as [http.IncomingMessage]
    const received = await bodyOf(incoming)
    const kept = { ...incoming.headers }
    for (const name of ['connection', 'keep-alive', 'transfer-encoding']) delete kept[name]
    return { status: incoming.statusCode ?? 0, headers: kept, body: received }
  }
}

async function bodyOf(message: http.IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function answerError(response: http.ServerResponse, status: number, code = 'InternalError'): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>for a test</Message></Error>`)
}

function sha256Hex(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
