import { multiaddr } from '@multiformats/multiaddr'
import { expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import { handleRequests, type RequestHandler, request } from '../../../src/p2p/request.ts'
import { faultOf, membersOf, startPeer, type TestPeer } from './test-peer.ts'

const PROTOCOL = '/test/request/1'
const bounds = { requestBytesMax: 1_000_000, answerBytesMax: 2_000_000 }

async function twoPeers(handler: RequestHandler): Promise<{ alice: TestPeer; bob: TestPeer } & AsyncDisposable> {
  const members = await membersOf('alice', 'bob')
  const alice = await startPeer('alice', members)
  const bob = await startPeer('bob', members)
  await handleRequests(bob, PROTOCOL, bounds, handler)
  await alice.host.dial(multiaddr(bob.address))
  const dispose = async (): Promise<void> => {
    await Promise.all([alice[Symbol.asyncDispose](), bob[Symbol.asyncDispose]()])
  }
  return { alice, bob, [Symbol.asyncDispose]: dispose }
}

test('requests and answers of any size up to the limits arrive whole, many at a time', async () => {
  await using peers = await twoPeers((bytes) => new Uint8Array([...bytes.subarray(0, 1), ...bytes]))
  const { alice, bob } = peers
  const sizes = [0, 1, 70_000, bounds.requestBytesMax]
  const answers = sizes.map(async (size) => {
    return request(alice.host, bob.host.peerId, PROTOCOL, new Uint8Array(size).fill(size % 251), bounds)
  })
  const lengths = (await Promise.all(answers)).map((answer) => answer.length)
  expect(lengths).toEqual([0, 2, 70_001, bounds.requestBytesMax + 1])
})

test('the handler learns who asks', async () => {
  await using peers = await twoPeers((_bytes, from) => new TextEncoder().encode(from.toString()))
  const answer = await request(peers.alice.host, peers.bob.host.peerId, PROTOCOL, new Uint8Array(), bounds)
  expect(new TextDecoder().decode(answer)).toBe(peers.alice.id)
})

test("a handler's fault reaches the requester as its code, a bug only as INTERNAL", async () => {
  class RefusedError extends CodedError<{ code: 'TX_REFUSED' }> {}
  await using peers = await twoPeers((bytes) => {
    throw bytes.length === 0 ? new RefusedError({ code: 'TX_REFUSED' }) : new Error('secret detail')
  })
  const ask = (bytes: Uint8Array): Promise<unknown> =>
    faultOf(request(peers.alice.host, peers.bob.host.peerId, PROTOCOL, bytes, bounds))
  expect(await ask(new Uint8Array())).toMatchObject({
    code: 'REQUEST_REFUSED',
    reason: 'TX_REFUSED',
    peer: peers.bob.id,
  })
  expect(await ask(new Uint8Array(1))).toMatchObject({ code: 'REQUEST_REFUSED', reason: 'INTERNAL' })
})

test('a handler that never answers is REQUEST_TIMEOUT after the time given', async () => {
  await using peers = await twoPeers(() => new Promise<Uint8Array>(() => undefined))
  const options = { ...bounds, timeoutMs: 200 }
  const fault = await faultOf(request(peers.alice.host, peers.bob.host.peerId, PROTOCOL, new Uint8Array(), options))
  expect(fault).toMatchObject({ code: 'REQUEST_TIMEOUT', timeoutMs: 200 })
})

test("over a limit: refused here before sending, by the handler's side, and on the answer", async () => {
  await using peers = await twoPeers((bytes) => new Uint8Array(bytes.length * 3))
  const { alice, bob } = peers
  const large = new Uint8Array(bounds.requestBytesMax + 1)
  const ask = (bytes: Uint8Array, limits: typeof bounds): Promise<unknown> =>
    faultOf(request(alice.host, bob.host.peerId, PROTOCOL, bytes, limits))
  expect(await ask(large, bounds)).toMatchObject({ code: 'REQUEST_TOO_LARGE' })
  const generous = { ...bounds, requestBytesMax: large.length }
  expect(await ask(large, generous)).toMatchObject({ code: 'REQUEST_PEER_UNREACHABLE' })
  expect(await ask(new Uint8Array(900_000), bounds)).toMatchObject({
    code: 'REQUEST_REFUSED',
    reason: 'REQUEST_TOO_LARGE',
  })
  const strict = { ...bounds, answerBytesMax: 10 }
  expect(await ask(new Uint8Array(100), strict)).toMatchObject({ code: 'REQUEST_ANSWER_MALFORMED' })
})

test('a peer that does not speak the protocol, or is gone, is REQUEST_PEER_UNREACHABLE', async () => {
  await using peers = await twoPeers((bytes) => bytes)
  const { alice, bob } = peers
  const ask = (protocol: string): Promise<unknown> =>
    faultOf(request(alice.host, bob.host.peerId, protocol, new Uint8Array(), bounds))
  expect(await ask('/test/unknown/1')).toMatchObject({ code: 'REQUEST_PEER_UNREACHABLE', peer: bob.id })
  await bob.host.stop()
  expect(await ask(PROTOCOL)).toMatchObject({ code: 'REQUEST_PEER_UNREACHABLE' })
})

test("an aborted request ends with the caller's reason", async () => {
  await using peers = await twoPeers(() => new Promise<Uint8Array>(() => undefined))
  const reason = new Error('the user went away')
  const options = { ...bounds, signal: AbortSignal.abort(reason) }
  await expect(request(peers.alice.host, peers.bob.host.peerId, PROTOCOL, new Uint8Array(), options)).rejects.toBe(
    reason,
  )
})

test('who goes on after the frame is cut off, on both sides: nothing else would bound what comes', async () => {
  await using peers = await twoPeers((bytes) => bytes)
  const { alice, bob } = peers
  const frame = (status: readonly number[]): Uint8Array => Uint8Array.from([...status, 0, 0, 0, 1, 7])
  const stream = await alice.host.dialProtocol(bob.host.peerId, PROTOCOL)
  const ended = new Promise((resolve) => stream.addEventListener('close', resolve, { once: true }))
  stream.send(frame([]))
  const flood = setInterval(() => stream.status === 'open' && stream.send(new Uint8Array(65_536)), 1)
  await ended
  clearInterval(flood)
  expect(stream.status).toBe('reset')

  const done = Promise.withResolvers<string>()
  await bob.host.handle('/test/liar/1', (answering) => {
    answering.addEventListener('close', () => done.resolve(answering.status), { once: true })
    answering.send(frame([0]))
    const timer = setInterval(() => {
      if (answering.status === 'reset' || answering.status === 'closed' || answering.status === 'aborted')
        clearInterval(timer)
      else answering.send(new Uint8Array(65_536))
    }, 1)
  })
  // It may have come whole before the rest did.
  await request(alice.host, bob.host.peerId, '/test/liar/1', new Uint8Array(1), bounds).catch(() => undefined)
  expect(await done.promise).toBe('reset')
})
