import { multiaddr } from '@multiformats/multiaddr'
import { expect, test, vi } from 'vitest'
import { BLOCK_BUFFERS_KEPT, SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { BlockFetcher } from '../../../src/p2p/block-fetcher.ts'
import { AnswerReader, encodeRequests } from '../../../src/p2p/block-frames.ts'
import type { FetchedBlock } from '../../../src/p2p/block-provider.ts'
import { BlockServer } from '../../../src/p2p/block-server.ts'
import { BLOCKS_PROTOCOL } from '../../../src/p2p/protocols.ts'
import { handleRequests, request } from '../../../src/p2p/request.ts'
import { piecesOf } from '../../../src/p2p/stream-flow.ts'
import { digestOf, digestsOf, range, ReusingSource } from './test-blocks.ts'
import { membersOf, startPeer, type TestPeer } from './test-peer.ts'

interface Pair extends AsyncDisposable {
  readonly alice: TestPeer
  readonly bob: TestPeer
  readonly source: ReusingSource
  readonly server: BlockServer
}

async function startPair(blocks: number, bytes: number): Promise<Pair> {
  const members = await membersOf('alice', 'bob')
  const alice = await startPeer('alice', members)
  const bob = await startPeer('bob', members)
  const source = new ReusingSource(range(blocks), bytes)
  const server = new BlockServer({ host: bob.host, source, log: bob.log })
  await server.start()
  await alice.host.dial(multiaddr(bob.address))
  const dispose = async (): Promise<void> => {
    await Promise.all([alice[Symbol.asyncDispose](), bob[Symbol.asyncDispose]()])
  }
  return { alice, bob, source, server, [Symbol.asyncDispose]: dispose }
}

function digestOfParts(block: FetchedBlock): Uint8Array {
  return digestOf(Buffer.concat(block.parts))
}

test('a pooled fetch whose blocks are released uses few buffers on both sides, and every block is right', async () => {
  await using pair = await startPair(200, SEGMENT_BYTES)
  const digests = digestsOf(200, SEGMENT_BYTES)
  const memories = new Set<ArrayBufferLike>()
  let index = 0
  const fetcher = new BlockFetcher(pair.alice)
  for await (const block of fetcher.fetch(digests, [pair.bob.host.peerId], { pooled: true })) {
    expect(digestOfParts(block)).toEqual(digests[index++])
    for (const part of block.parts) memories.add(part.buffer)
    block.release()
  }
  expect(index).toBe(200)
  expect(memories.size).toBeLessThanOrEqual(BLOCK_BUFFERS_KEPT)
  // Those confirmed a little late are beside those kept.
  expect(pair.source.buffers.size).toBeLessThanOrEqual(2 * BLOCK_BUFFERS_KEPT)
})

test('blocks of a pooled fetch that are not released, or released twice, stay as they were', async () => {
  await using pair = await startPair(60, SEGMENT_BYTES)
  const digests = digestsOf(60, SEGMENT_BYTES)
  const kept: FetchedBlock[] = []
  let index = 0
  for await (const block of new BlockFetcher(pair.alice).fetch(digests, [pair.bob.host.peerId], { pooled: true })) {
    if (index++ % 2 === 0) kept.push(block)
    else block.release()
    block.parts.at(0)
    if (index % 2 === 0) block.release()
  }
  expect(kept.map(digestOfParts)).toEqual(digests.filter((_, at) => at % 2 === 0))
})

test('small blocks and blocks over a buffer are fetched in a pooled fetch, too', async () => {
  for (const bytes of [8, 2 * SEGMENT_BYTES]) {
    await using pair = await startPair(5, bytes)
    const blocks: Uint8Array[] = []
    const digests = digestsOf(5, bytes)
    for await (const block of new BlockFetcher(pair.alice).fetch(digests, [pair.bob.host.peerId], { pooled: true })) {
      blocks.push(digestOfParts(block))
      block.release()
    }
    expect(blocks).toEqual(digests)
  }
})

test('the server uses no buffer again before its block is confirmed: a reader that never confirms gets right bytes', async () => {
  await using pair = await startPair(40, SEGMENT_BYTES)
  const { alice, bob, source } = pair
  const digests = digestsOf(40, SEGMENT_BYTES)
  const stream = await alice.host.dialProtocol(bob.host.peerId, BLOCKS_PROTOCOL)
  const received: Uint8Array[] = []
  let parts: Uint8Array[] = []
  const reader = new AnswerReader({
    onHead: () => {
      parts = []
    },
    onPart: (part) => void parts.push(part),
    onEnd: () => void received.push(digestOf(Buffer.concat(parts))),
  })
  stream.addEventListener('message', (event) => {
    for (const piece of piecesOf(event.data)) reader.push(piece)
  })
  stream.send(encodeRequests(digests.map((digest) => ({ kind: 'want', digest }))))
  await vi.waitFor(() => expect(received).toHaveLength(40), { timeout: 10_000 })
  expect(received).toEqual(digests)
  expect(source.buffers.size).toBe(40)
  stream.abort(new Error('enough'))
})

test('requests on the same connection are answered while blocks stream at full rate', async () => {
  await using pair = await startPair(16, SEGMENT_BYTES)
  const { alice, bob, server } = pair
  const bounds = { requestBytesMax: 100, answerBytesMax: 100 }
  await handleRequests(bob, '/test/echo/1', bounds, (bytes) => bytes)
  // The same blocks again and again, until the requests are through: without turns for others none would be.
  const digests = range(40).flatMap(() => digestsOf(16, SEGMENT_BYTES))
  const blocks = new BlockFetcher(alice).fetch(digests, [bob.host.peerId], { pooled: true })
  const stop = new AbortController()
  const streaming = (async () => {
    for await (const block of blocks) {
      block.release()
      if (stop.signal.aborted) return
    }
    throw new Error('the blocks ended before the requests')
  })()
  await vi.waitFor(() => expect(server.stats().blocksSent).toBeGreaterThan(8))
  for (let turn = 0; turn < 5; turn++) {
    const answer = request(alice.host, bob.host.peerId, '/test/echo/1', Uint8Array.of(turn), {
      ...bounds,
      timeoutMs: 2_000,
    })
    expect(await Promise.race([answer, streaming])).toEqual(Uint8Array.of(turn))
  }
  stop.abort()
  await streaming
})
