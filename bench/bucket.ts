/**
 * Blocks in a bucket, beside the same bytes over bare HTTP to the same server, unsigned, unchecked and unnoted; and the start with
 * a million blocks. The server is another process on this machine and keeps all in memory. What is measured is the CPU time of the peer's
 * side: over loopback it is what limits.
 */
import { fork } from 'node:child_process'
import { createHash, randomFillSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import * as http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NewBlock } from '../src/store/blocks.ts'
import { S3BlockStore } from '../src/store/s3-block-store.ts'
import { beside, type Figure, median, reaches, staysUnder } from './figure.ts'
import { mbPerS } from './limits.ts'

const MIB = 1024 * 1024
const AT_ONCE = 16
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

export async function benchBucket(options: { quick: boolean }): Promise<Figure[]> {
  return [...(await throughput(options.quick)), ...(await startOf(options.quick ? 50_000 : 1_000_000))]
}

async function throughput(quick: boolean): Promise<Figure[]> {
  await using server = await Server.start(0)
  const count = quick ? 64 : 512
  const runs: { put: number; get: number; barePut: number; bareGet: number }[] = []
  for (let round = 0; round < (quick ? 1 : 5); round++) {
    const blocks = Array.from({ length: count }, newBlock)
    const bytes = count * MIB
    const barePut = await timed(blocks, async ({ digest, parts }) => server.bare('PUT', digest, parts))
    const bareGet = await timed(blocks, async ({ digest }) => server.bare('GET', digest, []))
    const store = await server.open()
    const put = await timed([blocks], async (all) => store.write(all))
    const get = await timed(blocks, async ({ digest }) => store.read(digest))
    await store.close()
    runs.push({ put, get, barePut, bareGet })
    for (const run of runs.slice(-1))
      for (const key of ['put', 'get', 'barePut', 'bareGet'] as const) run[key] = mbPerS(bytes, run[key])
  }
  const [put, get, barePut, bareGet] = (['put', 'get', 'barePut', 'bareGet'] as const).map((key) =>
    median(runs.map((run) => run[key])),
  ) as [number, number, number, number]
  return [
    reaches('bucket', 'write blocks of 1 MiB', put, 'MB/CPU s', barePut, 0.35),
    beside('bucket', 'limit: bare PUT', barePut, 'MB/CPU s', barePut),
    reaches('bucket', 'read them, checked', get, 'MB/CPU s', bareGet, 0.35),
    beside('bucket', 'limit: bare GET', bareGet, 'MB/CPU s', bareGet),
  ]
}

async function startOf(count: number): Promise<Figure[]> {
  await using server = await Server.start(count)
  const listedMs = await timed('0123456789abcdef'.split(''), async (digit) => server.bareList(digit))
  const listing = process.cpuUsage()
  const first = await server.open()
  const byList = msSince(listing)
  const found = first.stats().blocks
  await first.close()
  if (found !== count) throw new Error(`${found} blocks of ${count} were listed`)
  const reading = process.cpuUsage()
  const second = await server.open()
  const byFile = msSince(reading)
  await second.close()
  const name = `${count} blocks`
  return [
    reaches('bucket', `start by listing ${name}`, count / byList, 'blocks/CPU ms', count / listedMs, 0.3),
    beside('bucket', 'limit: bare lists', count / listedMs, 'blocks/CPU ms', count / listedMs),
    staysUnder('bucket', `start by the file of ${name}`, byFile, 'CPU ms', byList / 2),
  ]
}

function newBlock(): NewBlock {
  const bytes = randomFillSync(new Uint8Array(MIB))
  return { digest: new Uint8Array(createHash('sha256').update(bytes).digest()), parts: [bytes] }
}

/** Sixteen at a time. @returns milliseconds of CPU time of this process */
async function timed<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<number> {
  const start = process.cpuUsage()
  const rest = items.values()
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of rest) await work(item)
    }),
  )
  return msSince(start)
}

function msSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start)
  return (user + system) / 1_000
}

class Server implements AsyncDisposable {
  readonly #end: () => Promise<void>
  readonly #port: number
  readonly #dir: string
  readonly #agent = new http.Agent({ keepAlive: true, maxSockets: AT_ONCE })

  private constructor(port: number, dir: string, end: () => Promise<void>) {
    this.#port = port
    this.#dir = dir
    this.#end = end
  }

  static async start(blocks: number): Promise<Server> {
    const path = fileURLToPath(new URL('bucket-server.ts', import.meta.url))
    const child = fork(path, [String(blocks)], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] })
    const [line] = (await once(child.stdout ?? child, 'data')) as [Buffer]
    const dir = await mkdtemp(join(tmpdir(), 'apotheca-bench-'))
    return new Server(Number(line), dir, async () => {
      const ended = once(child, 'exit')
      child.disconnect()
      await ended
      await rm(dir, { recursive: true, force: true })
    })
  }

  open(): Promise<S3BlockStore> {
    const place = { endpoint: `http://127.0.0.1:${this.#port}`, bucket: 'b', prefix: 'p/', region: 'us-east-1' }
    const credentials = { accessKeyId: 'bench', secretAccessKey: 'bench' }
    return S3BlockStore.open(
      { log: silent },
      { s3: { ...place, credentials }, dir: this.#dir, owner: 'bench', capacityBytes: 2 ** 50, ballastBytes: 0 },
    )
  }

  async bare(method: 'PUT' | 'GET', digest: Uint8Array, parts: readonly Uint8Array[]): Promise<void> {
    const hex = Buffer.from(digest).toString('hex')
    const headers = { 'x-amz-content-sha256': hex, 'content-length': parts.reduce((sum, part) => sum + part.length, 0) }
    const request = this.#request(method, `/b/bare/${hex}`, headers)
    for (const part of parts) request.write(part)
    await drained(request)
  }

  /** All pages of one sixteenth. */
  async bareList(digit: string): Promise<void> {
    let after = ''
    for (;;) {
      const query = `list-type=2&prefix=p/blocks/${digit}${after === '' ? '' : `&start-after=${after}`}`
      const text = Buffer.concat(await drained(this.#request('GET', `/b?${query}`, {}))).toString('latin1')
      if (!text.includes('<IsTruncated>true')) return
      const from = text.lastIndexOf('<Key>') + 5
      after = text.slice(from, text.indexOf('<', from))
    }
  }

  #request(method: string, path: string, headers: http.OutgoingHttpHeaders): http.ClientRequest {
    return http.request({ host: '127.0.0.1', port: this.#port, method, path, headers, agent: this.#agent })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy()
    await this.#end()
  }
}

/** @returns the answer's body, in pieces. */
async function drained(request: http.ClientRequest): Promise<readonly Buffer[]> {
  request.end()
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk)
  return chunks
}
