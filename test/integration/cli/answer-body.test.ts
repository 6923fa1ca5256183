import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { AnswerBody } from '../../../src/cli/answer-body.ts'
import { HTTP_HEAD_BYTES_MAX } from '../../../src/core/limits.ts'

const TOKEN = 'a token that is long enough for anyone'
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** A server that answers each request as it is told to. @returns its address, and what it was asked */
async function answering(
  answer: (socket: Socket) => unknown,
): Promise<{ url: string; asked: string[] } & AsyncDisposable> {
  const asked: string[] = []
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.once('data', (request) => {
      asked.push(request.toString())
      void answer(socket)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const end = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    server.close()
    await once(server, 'close')
  }
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, [Symbol.asyncDispose]: end }
}

function open(url: string, signal: AbortSignal = new AbortController().signal): Promise<AnswerBody> {
  return AnswerBody.open({ url, token: TOKEN }, { path: '/a?b=c', headers: { range: 'bytes=1-' }, signal })
}

const faultOf = (run: Promise<unknown>): Promise<unknown> =>
  run.then(
    () => undefined,
    (error: unknown) => (error as { fault?: unknown }).fault ?? error,
  )

test('a body is read as it was sent, in whatever pieces it comes and is asked for', async () => {
  const sent = randomBytes(3 * 1024 * 1024)
  const head = `HTTP/1.1 206 Partial Content\r\nX-Other: content-length\r\nContent-Length: ${sent.length}\r\n\r\n`
  await using server = await answering(async (socket) => {
    // The head in two pieces, cut within the empty line; its end with the first bytes of the body.
    socket.write(head.slice(0, -1))
    await turn()
    socket.write(Buffer.concat([Buffer.from(head.slice(-1)), sent.subarray(0, 10)]))
    await turn()
    socket.end(sent.subarray(10))
  })
  const body = await open(server.url)
  expect([body.status, body.bytes]).toEqual([206, sent.length])
  const got = Buffer.alloc(sent.length)
  const sizes = [1, 5, 100, 65_536, 1_000_000]
  for (let at = 0, turns = 0; at < got.length; turns++) {
    const size = Math.min(sizes[turns % sizes.length] as number, got.length - at)
    await body.fill(got.subarray(at, at + size))
    at += size
    if (turns % 3 === 0) await turn()
  }
  body.close()
  expect(got.equals(sent)).toBe(true)
  expect(server.asked[0]).toMatch(/^GET \/a\?b=c HTTP\/1\.1\r\nhost: 127\.0\.0\.1:\d+\r\n/)
  expect(server.asked[0]).toContain(`\r\nauthorization: Bearer ${TOKEN}\r\n`)
  expect(server.asked[0]).toContain('\r\nrange: bytes=1-\r\n')
})

test('an answer that ends early is PEER_BROKE_OFF, before its head, in it, and in its body', async () => {
  const head = 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n'
  for (const part of ['', head.slice(0, 20), `${head}only this`]) {
    await using server = await answering((socket) => socket.end(part))
    const fault = await faultOf(open(server.url).then((body) => body.fill(new Uint8Array(100))))
    expect(fault).toEqual({ code: 'PEER_BROKE_OFF' })
  }
})

test('asking for more than the answer holds is PEER_BROKE_OFF, not bytes of something else', async () => {
  await using server = await answering((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcdef'))
  const body = await open(server.url)
  expect(await faultOf(body.fill(new Uint8Array(4)))).toEqual({ code: 'PEER_BROKE_OFF' })
  body.close()
})

test.each([
  ['no HTTP', 'SSH-2.0-OpenSSH\r\n\r\n'],
  ['no length', 'HTTP/1.1 200 OK\r\n\r\n'],
  ['chunks', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n'],
  ['compressed', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-encoding: gzip\r\n\r\n'],
  ['a head without end', `HTTP/1.1 200 OK\r\n${'x'.repeat(HTTP_HEAD_BYTES_MAX)}`],
])('an answer that our API does not give is PEER_ANSWER_INVALID: %s', async (_words, answer) => {
  await using server = await answering((socket) => socket.write(answer))
  expect(await faultOf(open(server.url))).toEqual({ code: 'PEER_ANSWER_INVALID' })
})

test('where nobody listens it is PEER_UNREACHABLE with the address', async () => {
  const { url, ...server } = await answering(() => undefined)
  await server[Symbol.asyncDispose]()
  expect(await faultOf(open(url))).toEqual({ code: 'PEER_UNREACHABLE', url })
})

test('an aborted read ends with the reason, before it began and in the middle', async () => {
  await using server = await answering((socket) => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc'))
  const early = new Error('early')
  expect(await faultOf(open(server.url, AbortSignal.abort(early)))).toBe(early)
  const stop = new AbortController()
  const body = await open(server.url, stop.signal)
  const filling = faultOf(body.fill(new Uint8Array(9)))
  const late = new Error('late')
  stop.abort(late)
  expect(await filling).toBe(late)
})
