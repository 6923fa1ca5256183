/**
 * The few requests that a block store makes of an S3-compatible object store: get, put, delete and list, signed with Signature
 * Version 4, in path style, over connections that are kept.
 *
 * Every request may be repeated without harm: an object's name says what is in it. So whatever may pass (no answer, 5xx, 429)
 * is tried again, a few times, later each time; what won't (denied, no such bucket) is told at once.
 *
 * node:http instead of fetch(): the parts of a block go out without being joined, an answer comes into a buffer that is there
 * already, and one agent bounds the connections.
 */
import { createHash } from 'node:crypto'
import * as http from 'node:http'
import * as https from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import aws4 from 'aws4'
import {
  S3_ERROR_BYTES_MAX,
  S3_LIST_BYTES_MAX,
  S3_LIST_KEYS,
  S3_REQUEST_MS_MAX,
  S3_REQUESTS_MAX,
  S3_RETRY_MS,
  S3_RETRY_MS_MAX,
  S3_SILENCE_MS,
  S3_TRIES_MAX,
} from '../core/limits.ts'
import type { S3Credentials } from './s3-credentials.ts'
import { type ListPage, parseListPage } from './s3-list.ts'
import { reasonOf, StoreError } from './store-error.ts'

export interface S3Bucket {
  /** Origin, such as `https://s3.example.org:9000`. */
  readonly endpoint: string
  readonly bucket: string
  /** Of all keys: empty, or ends in `/`. */
  readonly prefix: string
  readonly region: string
}

export interface S3ClientOptions extends S3Bucket {
  readonly credentials: S3Credentials
  /** Silence after which a try is given up, in milliseconds. @default S3_SILENCE_MS */
  readonly silenceMs?: number
  /** @default S3_TRIES_MAX */
  readonly triesMax?: number
  /** Wait before the second try, in milliseconds. @default S3_RETRY_MS */
  readonly retryMs?: number
}

/** What the server says of an object that it has taken. */
export interface PutReceipt {
  /** SHA-256 that it computed, 44 characters of base64; absent where it computes none. */
  readonly sha256: string | undefined
  /** Without quotes. The MD5 of the bytes, or something of the server's own. */
  readonly etag: string | undefined
}

interface S3Request {
  readonly method: 'GET' | 'PUT' | 'DELETE'
  /** In the bucket, with its prefix; empty for the bucket itself. */
  readonly key: string
  readonly query?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly parts?: readonly Uint8Array[]
}

/** SHA-256 of nothing, in hex: what requests without a body are signed with. */
const EMPTY_SHA256 = createHash('sha256').digest('hex')
const NO_ROOM_CODES: ReadonlySet<string> = new Set([
  'QuotaExceeded',
  'XMinioStorageFull',
  'XMinioAdminBucketQuotaExceeded',
  'InsufficientStorage',
])
/** The body was damaged on its way, or didn't arrive in time: worth another try. */
const RETRIED_CODES: ReadonlySet<string> = new Set([
  'BadDigest',
  'IncompleteBody',
  'RequestTimeout',
  'XAmzContentSHA256Mismatch',
])
const RETRIED_STATUSES: ReadonlySet<number> = new Set([408, 429, 500, 502, 503, 504])

/** What may be otherwise the next time. */
class Transient extends Error {
  readonly reason: string
  readonly afterMs: number
  constructor(reason: string, options: ErrorOptions & { afterMs?: number } = {}) {
    super(reason, options)
    this.reason = reason
    this.afterMs = options.afterMs ?? 0
  }
}

export class S3Client {
  readonly #options: S3ClientOptions
  readonly #origin: URL
  readonly #agent: http.Agent
  readonly #closing = new AbortController()

  constructor(options: S3ClientOptions) {
    this.#options = options
    this.#origin = new URL(options.endpoint)
    const pool = { keepAlive: true, maxSockets: S3_REQUESTS_MAX, maxFreeSockets: S3_REQUESTS_MAX }
    this.#agent = this.#origin.protocol === 'https:' ? new https.Agent(pool) : new http.Agent(pool)
  }

  /**
   * Reads an object into a buffer.
   *
   * @returns its size, or undefined where there is none; more than `into.length`: the buffer holds a part of it.
   * @throws {StoreError} `STORE_S3_UNREACHABLE`, `STORE_S3_DENIED`, `STORE_S3_BUCKET_MISSING`, `STORE_S3_REFUSED`, `STORE_CLOSED`
   */
  get(key: string, into: Uint8Array): Promise<number | undefined> {
    return this.#send({ method: 'GET', key }, async (response) => {
      if (await this.#isMissing(response)) return undefined
      return fill(response, into)
    })
  }

  /**
   * Writes an object of at most a few megabytes.
   *
   * @param sha256 - of the parts together, 32 bytes: signed, so that a server that checks it takes nothing else.
   * @throws {StoreError} as `get`; `STORE_S3_NO_ROOM`
   */
  put(key: string, parts: readonly Uint8Array[], sha256: Uint8Array): Promise<PutReceipt> {
    const digest = Buffer.from(sha256)
    const headers = {
      'x-amz-content-sha256': digest.toString('hex'),
      'x-amz-checksum-sha256': digest.toString('base64'),
      'content-length': String(parts.reduce((sum, part) => sum + part.length, 0)),
      'content-type': 'application/octet-stream',
    }
    return this.#send({ method: 'PUT', key, headers, parts }, async (response) => {
      await this.#check(response)
      const { etag, 'x-amz-checksum-sha256': checksum } = response.headers
      return { etag: etag?.replaceAll('"', ''), sha256: checksum === undefined ? undefined : String(checksum) }
    })
  }

  /** Deletes an object, whether there is one or not. @throws {StoreError} as `get` */
  delete(key: string): Promise<void> {
    return this.#send({ method: 'DELETE', key }, async (response) => {
      await this.#isMissing(response)
    })
  }

  /** One page of keys that begin with `prefix` and come after `after`, in order. @throws {StoreError} as `get` */
  list(prefix: string, after: string | undefined): Promise<ListPage> {
    const query = [
      ['list-type', '2'],
      ['max-keys', String(S3_LIST_KEYS)],
      ['prefix', this.#options.prefix + prefix],
      ...(after === undefined ? [] : [['start-after', this.#options.prefix + after]]),
    ]
      .map(([name = '', value = '']) => `${name}=${encodeURIComponent(value)}`)
      .join('&')
    return this.#send({ method: 'GET', key: '', query }, async (response) => {
      await this.#check(response)
      const xml = await textOf(response, S3_LIST_BYTES_MAX)
      const page = xml === undefined ? undefined : parseListPage(xml, this.#options.prefix)
      if (page === undefined) throw this.refused('its list cannot be read')
      return page
    })
  }

  /** Ends all requests. */
  close(): void {
    this.#closing.abort()
    this.#agent.destroy()
  }

  async #send<T>(request: S3Request, take: (response: http.IncomingMessage) => Promise<T>): Promise<T> {
    const { endpoint, retryMs = S3_RETRY_MS, triesMax = S3_TRIES_MAX } = this.#options
    for (let tries = 1; ; tries++) {
      try {
        return await this.#try(request, take)
      } catch (error) {
        if (this.#closing.signal.aborted) throw new StoreError({ code: 'STORE_CLOSED' }, { cause: error })
        if (!(error instanceof Transient)) throw error
        if (tries >= triesMax) {
          const fault = { code: 'STORE_S3_UNREACHABLE', endpoint, reason: error.reason } as const
          throw new StoreError(fault, { cause: error })
        }
        const waitMs = Math.max(error.afterMs, retryMs * 2 ** (tries - 1) * (0.5 + Math.random()))
        await sleep(Math.min(waitMs, S3_RETRY_MS_MAX), undefined, { signal: this.#closing.signal }).catch(
          () => undefined,
        )
      }
    }
  }

  /** @throws {Transient} where another try may do better */
  #try<T>(request: S3Request, take: (response: http.IncomingMessage) => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const outgoing = this.#open(request)
      const fail = (reason: string, cause?: unknown): void => {
        clearTimeout(silence)
        clearTimeout(whole)
        outgoing.destroy()
        reject(cause instanceof StoreError || cause instanceof Transient ? cause : new Transient(reason, { cause }))
      }
      let silence: NodeJS.Timeout | undefined
      let whole: NodeJS.Timeout | undefined
      // The time in the queue for a connection is our own doing, and doesn't count.
      outgoing.once('socket', () => {
        silence = setTimeout(() => fail('no answer'), this.#options.silenceMs ?? S3_SILENCE_MS)
        whole = setTimeout(() => fail('too slow'), S3_REQUEST_MS_MAX)
      })
      outgoing.once('error', (error) => fail(reasonOf(error), error))
      outgoing.once('response', (response) => {
        response.on('data', () => silence?.refresh())
        response.pause()
        take(response).then(
          (value) => {
            clearTimeout(silence)
            clearTimeout(whole)
            // What nobody wanted is read all the same: so the connection can be used again.
            if (!response.readableEnded) response.resume()
            resolve(value)
          },
          (error: unknown) => fail(reasonOf(error), error),
        )
      })
      for (const part of request.parts ?? []) outgoing.write(part)
      outgoing.end()
    })
  }

  #open({ method, key, query, headers }: S3Request): http.ClientRequest {
    const { bucket, prefix, region, credentials } = this.#options
    const path = `/${bucket}${key === '' ? '' : `/${prefix}${key}`}${query === undefined ? '' : `?${query}`}`
    const signed = aws4.sign(
      {
        service: 's3',
        region,
        method,
        path,
        headers: { host: this.#origin.host, 'x-amz-content-sha256': EMPTY_SHA256, ...headers },
      },
      { ...credentials },
    )
    const request = this.#origin.protocol === 'https:' ? https.request : http.request
    const { hostname, port } = this.#origin
    return request({
      host: hostname.replace(/^\[(.*)\]$/, '$1'),
      ...(port === '' ? {} : { port }),
      method,
      path: signed.path ?? path,
      headers: signed.headers ?? {},
      agent: this.#agent,
      signal: this.#closing.signal,
    })
  }

  /** @returns true where there is no such object. @throws as `#check` */
  async #isMissing(response: http.IncomingMessage): Promise<boolean> {
    if (response.statusCode !== 404) {
      await this.#check(response)
      return false
    }
    const code = await errorCode(response)
    if (code === 'NoSuchBucket') throw this.#bucketMissing()
    return true
  }

  /** @throws {StoreError}, {Transient} unless the answer is a good one */
  async #check(response: http.IncomingMessage): Promise<void> {
    const status = response.statusCode ?? 0
    if (status >= 200 && status < 300) return
    const code = await errorCode(response)
    const reason = code === undefined ? `HTTP ${status}` : `HTTP ${status} ${code}`
    const { bucket } = this.#options
    if (status === 507 || (code !== undefined && NO_ROOM_CODES.has(code))) {
      throw new StoreError({ code: 'STORE_S3_NO_ROOM', bucket, reason })
    }
    if (RETRIED_STATUSES.has(status) || (code !== undefined && RETRIED_CODES.has(code))) {
      const afterMs = Number(response.headers['retry-after']) * 1_000
      throw new Transient(reason, Number.isFinite(afterMs) ? { afterMs } : {})
    }
    if (status === 401 || status === 403) throw new StoreError({ code: 'STORE_S3_DENIED', bucket, reason })
    if (code === 'NoSuchBucket') throw this.#bucketMissing()
    throw this.refused(reason)
  }

  #bucketMissing(): StoreError {
    const { bucket, endpoint } = this.#options
    return new StoreError({ code: 'STORE_S3_BUCKET_MISSING', endpoint, bucket })
  }

  refused(reason: string): StoreError {
    return new StoreError({ code: 'STORE_S3_REFUSED', bucket: this.#options.bucket, reason })
  }
}

/** @returns bytes of the answer's body; more than `into.length` when it has more than that: the rest is not read. */
async function fill(response: http.IncomingMessage, into: Uint8Array): Promise<number> {
  let filled = 0
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    if (filled + chunk.length > into.length) return into.length + 1
    into.set(chunk, filled)
    filled += chunk.length
  }
  return filled
}

/** @returns undefined where it is longer than that. */
async function textOf(response: http.IncomingMessage, bytesMax: number): Promise<string | undefined> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of response as AsyncIterable<Uint8Array>) {
    bytes += chunk.length
    if (bytes > bytesMax) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The code in an error's XML: a word of letters and digits, nothing else of what the server says. */
async function errorCode(response: http.IncomingMessage): Promise<string | undefined> {
  return /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec((await textOf(response, S3_ERROR_BYTES_MAX)) ?? '')?.[1]
}
