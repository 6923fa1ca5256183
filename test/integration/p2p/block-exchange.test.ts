import type { PeerId, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { expect, test, vi } from 'vitest'
import {
  BLOCK_PEER_BLOCKS_MAX,
  BLOCK_PEER_STREAMS_MAX,
  BLOCK_READ_AHEAD,
  BLOCK_STREAMS_PER_CONNECTION_MAX,
  BLOCK_UNCONFIRMED_MAX,
  BLOCK_WANTS_QUEUED_MAX,
  SEGMENT_BYTES,
} from '../../../src/core/limits.ts'
import { rawCid } from '../../../src/crypto/hash.ts'
import type { ProviderFault } from '../../../src/p2p/block-fetch.ts'
import { BlockFetcher } from '../../../src/p2p/block-fetcher.ts'
import { encodeAnswerHead, encodeRequests } from '../../../src/p2p/block-frames.ts'
import type { FetchedBlock } from '../../../src/p2p/block-provider.ts'
import { BlockServer, type BlockSource } from '../../../src/p2p/block-server.ts'
import { BLOCKS_PROTOCOL } from '../../../src/p2p/protocols.ts'
import { startProvider } from './provider-child.ts'
import { ReusingSource, blockOf, digestOf, digestsOf, range, TestSource } from './test-blocks.ts'
import { faultOf, membersOf, startPeer, type TestPeer } from './test-peer.ts'

interface Provider extends TestPeer {
  readonly server: BlockServer
}

async function provide(
  word: string,
  members: ReadonlySet<string>,
  source: BlockSource,
  options: { sendMs?: number } = {},
): Promise<Provider> {
  const peer = await startPeer(word, members)
  const server = new BlockServer({ host: peer.host, source, log: peer.log }, options)
  await server.start()
  return { ...peer, server }
}

async function dial(reader: TestPeer, ...addresses: readonly string[]): Promise<PeerId[]> {
  return Promise.all(addresses.map(async (address) => (await reader.host.dial(multiaddr(address))).remotePeer))
}

function joined(block: FetchedBlock): Uint8Array {
  return Buffer.concat(block.parts)
}

async function all(blocks: AsyncIterable<FetchedBlock>): Promise<Uint8Array[]> {
  const digests: Uint8Array[] = []
  for await (const block of blocks) {
    const bytes = joined(block)
    expect(bytes.length).toBe(block.bytes)
    digests.push(digestOf(bytes))
  }
  return digests
}

test('blocks of every size come in the order asked, each with the bytes of its digest', async () => {
  const members = await membersOf('alice', 'bob')
  const blocks = [0, 1, 5, 16_383, 65_536, SEGMENT_BYTES, 2 * SEGMENT_BYTES].map((bytes) =>
    new Uint8Array(bytes).fill(bytes % 251),
  )
  const byDigest = new Map(blocks.map((block) => [rawCid(block).toString(), block]))
  const keyOf = (digest: Uint8Array): string => Buffer.from(digest).toString('hex')
  const held = new Map([...byDigest.values()].map((block) => [keyOf(digestOf(block)), block]))
  const source = {
    has: (digest: Uint8Array) => held.has(keyOf(digest)),
    readUnverified: async (digest: Uint8Array) => held.get(keyOf(digest)),
  }
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, source)
  const providers = await dial(alice, bob.address)
  // Each several times, and mixed.
  const digests = range(40).map((turn) => digestOf(blocks[(turn * 3) % blocks.length] ?? new Uint8Array()))
  expect(await all(new BlockFetcher(alice).fetch(digests, providers))).toEqual(digests)
  await vi.waitFor(() => expect(bob.server.stats()).toMatchObject({ streams: 0, blocksHeld: 0, blocksSent: 40 }))
})

test('of several providers each delivers a part, and what one misses comes from the other', async () => {
  const members = await membersOf('alice', 'bob', 'carol')
  const bobs = new TestSource(
    range(60).filter((index) => index % 3 !== 0),
    SEGMENT_BYTES,
  )
  const carols = new TestSource(
    range(60).filter((index) => index % 3 !== 1),
    SEGMENT_BYTES,
  )
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, bobs)
  await using carol = await provide('carol', members, carols)
  const providers = await dial(alice, bob.address, carol.address)
  const digests = digestsOf(60, SEGMENT_BYTES)
  expect(await all(new BlockFetcher(alice).fetch(digests, providers))).toEqual(digests)
  expect(bobs.reads).toBeGreaterThanOrEqual(20)
  expect(carols.reads).toBeGreaterThanOrEqual(20)
})

test('a block nobody has is BLOCK_UNAVAILABLE with its CID and who was asked, after all blocks before it', async () => {
  const members = await membersOf('alice', 'bob', 'carol')
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, new TestSource(range(5), 1_000))
  await using carol = await provide('carol', members, new TestSource(range(5), 1_000))
  const providers = await dial(alice, bob.address, carol.address)
  const seen: Uint8Array[] = []
  const fetch = async (): Promise<void> => {
    for await (const block of new BlockFetcher(alice).fetch(digestsOf(8, 1_000), providers)) seen.push(block.digest)
  }
  const cid = rawCid(blockOf(5, 1_000)).toString()
  expect(await faultOf(fetch())).toEqual({ code: 'BLOCK_UNAVAILABLE', cid, asked: [bob.id, carol.id], altered: 'none' })
  expect(seen).toEqual(digestsOf(5, 1_000))
  expect(await faultOf(all(new BlockFetcher(alice).fetch(digestsOf(1, 1_000), [])))).toMatchObject({ asked: [] })
})

test('a provider that alters a block is given up and named; an honest one delivers', async () => {
  const members = await membersOf('alice', 'mallory', 'bob')
  const honest = new TestSource(range(30), SEGMENT_BYTES)
  const altered = digestOf(blockOf(3, SEGMENT_BYTES))
  const lying: BlockSource = {
    has: () => true,
    readUnverified: async (digest) => {
      const block = await honest.readUnverified(digest)
      if (block !== undefined && Buffer.compare(digest, altered) === 0) block[SEGMENT_BYTES - 1] = 1
      return block
    },
  }
  await using alice = await startPeer('alice', members)
  await using mallory = await provide('mallory', members, lying)
  const [liar] = await dial(alice, mallory.address)
  if (liar === undefined) throw new Error('not connected')
  const cid = rawCid(blockOf(3, SEGMENT_BYTES)).toString()
  const fault: ProviderFault = { code: 'BLOCK_ALTERED', cid, peer: mallory.id }
  // Alone: nothing of the altered block is handed on.
  const seen: Uint8Array[] = []
  const alone = async (): Promise<void> => {
    for await (const block of new BlockFetcher(alice).fetch(digestsOf(30, SEGMENT_BYTES), [liar]))
      seen.push(block.digest)
  }
  expect(await faultOf(alone())).toEqual({ code: 'BLOCK_UNAVAILABLE', cid, asked: [mallory.id], altered: mallory.id })
  expect(seen).toEqual(digestsOf(3, SEGMENT_BYTES))
  expect(alice.log.lines.map((line) => line.fields)).toContainEqual({ fault })
  // Beside an honest one. Only what the liar is asked first can be altered, so it's first and alone for a moment.
  await using bob = await provide('bob', members, honest)
  const providers = [liar, ...(await dial(alice, bob.address))]
  const digests = [altered, ...digestsOf(30, SEGMENT_BYTES)]
  const faults: ProviderFault[] = []
  const onProviderFault = (_peer: PeerId, one: ProviderFault): void => void faults.push(one)
  expect(await all(new BlockFetcher(alice).fetch(digests, providers, { onProviderFault }))).toEqual(digests)
  expect(faults).toEqual([fault])
})

const signals = ['SIGKILL', 'SIGSTOP'] as const
test.each(signals)(
  'a provider process that gets %s in mid-fetch is replaced without a stall of 2 s',
  async (signal) => {
    const members = await membersOf('alice', 'bob', 'carol')
    const task = { members: [...members], blocks: 64, blockBytes: SEGMENT_BYTES }
    await using alice = await startPeer('alice', members)
    await using bob = await startProvider({ ...task, word: 'bob' })
    await using carol = await startProvider({ ...task, word: 'carol' })
    const providers = await dial(alice, bob.address, carol.address)
    const digests = digestsOf(64, SEGMENT_BYTES)
    const faults: string[] = []
    const onProviderFault = (_peer: PeerId, fault: ProviderFault): void => void faults.push(fault.code)
    let lastMs = performance.now()
    let longestMs = 0
    let count = 0
    for await (const block of new BlockFetcher(alice).fetch(digests, providers, { onProviderFault })) {
      expect(digestOf(joined(block))).toEqual(digests[count])
      longestMs = Math.max(longestMs, performance.now() - lastMs)
      lastMs = performance.now()
      if (++count === 8) bob.process.kill(signal)
    }
    expect(count).toBe(64)
    expect(longestMs).toBeLessThan(2_000)
    // The rest of a short fetch may be helped out by the idle one before the silence is long enough to report.
    if (signal === 'SIGKILL') expect(faults).toEqual(['BLOCK_PROVIDER_GONE'])
    else expect(['', 'BLOCK_PROVIDER_SILENT']).toContain(faults.join())
  },
)

test('a provider that trickles does not set the pace: who is idle helps with what it holds back', async () => {
  const members = await membersOf('alice', 'bob', 'carol')
  await using alice = await startPeer('alice', members)
  await using bob = await startPeer('bob', members)
  await using carol = await provide('carol', members, new TestSource(range(48), SEGMENT_BYTES))
  // Never silent for long, and 100 s for its first block.
  await bob.host.handle(BLOCKS_PROTOCOL, (stream) => {
    stream.addEventListener('message', () => stream.send(encodeAnswerHead('block', SEGMENT_BYTES)), { once: true })
    const trickle = setInterval(() => {
      if (stream.writeStatus === 'writable') stream.send(new Uint8Array(1_024))
      else clearInterval(trickle)
    }, 100)
  })
  const providers = await dial(alice, bob.address, carol.address)
  const digests = digestsOf(48, SEGMENT_BYTES)
  const sinceMs = performance.now()
  expect(await all(new BlockFetcher(alice).fetch(digests, providers))).toEqual(digests)
  expect(performance.now() - sinceMs).toBeLessThan(5_000)
})

test('the only provider killed in mid-fetch is BLOCK_UNAVAILABLE at once, not a hang', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await startProvider({ word: 'bob', members: [...members], blocks: 200, blockBytes: SEGMENT_BYTES })
  const providers = await dial(alice, bob.address)
  const fetch = async (): Promise<void> => {
    let count = 0
    for await (const _block of new BlockFetcher(alice).fetch(digestsOf(200, SEGMENT_BYTES), providers)) {
      if (++count === 3) bob.process.kill('SIGKILL')
    }
  }
  expect(await faultOf(fetch())).toMatchObject({ code: 'BLOCK_UNAVAILABLE', asked: [providers[0]?.toString()] })
})

test('members are asked who has a block; those that do not answer are not waited for once one has it', async () => {
  const members = await membersOf('alice', 'bob', 'carol', 'dave')
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, new TestSource(range(4), 1_000))
  await using carol = await provide('carol', members, new TestSource([], 1_000))
  await using dave = await startProvider({ word: 'dave', members: [...members], blocks: 1, blockBytes: 1_000 })
  await dial(alice, bob.address, carol.address, dave.address)
  const fetcher = new BlockFetcher(alice)
  dave.process.kill('SIGSTOP')
  const sinceMs = performance.now()
  const found = await fetcher.findProviders(digestOf(blockOf(3, 1_000)))
  expect(found.map(String)).toEqual([bob.id])
  expect(performance.now() - sinceMs).toBeLessThan(1_000)
  expect(await fetcher.findProviders(digestOf(blockOf(9, 1_000)))).toEqual([])
})

test('a consumer that stops taking blocks stops the provider within the window', async () => {
  const members = await membersOf('alice', 'bob')
  const source = new TestSource(range(100), SEGMENT_BYTES)
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, source)
  const providers = await dial(alice, bob.address)
  const blocks = new BlockFetcher(alice).fetch(digestsOf(100, SEGMENT_BYTES), providers, {
    windowBytes: 4 * SEGMENT_BYTES,
  })
  await blocks.next()
  // One taken, four more in the window: then the provider has answered everything it was asked, and waits.
  await vi.waitFor(() => expect(bob.server.stats()).toMatchObject({ blocksSent: 5, blocksHeld: 0 }))
  expect(source.reads).toBe(5)
  await blocks.return()
  await vi.waitFor(() => expect(bob.server.stats().streams).toBe(0))
})

async function rawStream(reader: TestPeer, provider: TestPeer): Promise<Stream> {
  return reader.host.dialProtocol(multiaddr(provider.address), BLOCKS_PROTOCOL)
}

test('a reader that asks for much and reads nothing holds no more than the read-ahead in the server', async () => {
  const members = await membersOf('alice', 'bob')
  const source = new TestSource(range(BLOCK_WANTS_QUEUED_MAX), SEGMENT_BYTES)
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, source)
  const stream = await rawStream(alice, bob)
  stream.pause()
  const digests = digestsOf(BLOCK_WANTS_QUEUED_MAX, SEGMENT_BYTES)
  stream.send(encodeRequests(digests.slice(0, 200).map((digest) => ({ kind: 'want', digest }))))
  // Full when the window of the paused stream is used up, and one block waits to be written.
  await vi.waitFor(() => expect(bob.server.stats().blocksHeld).toBe(1 + BLOCK_READ_AHEAD - 1))
  const { reads } = source
  expect(reads).toBeLessThan(20)
  await expect(vi.waitUntil(() => source.reads > reads, { timeout: 500 })).rejects.toThrow('Timed out')
  stream.abort(new Error('enough'))
  await vi.waitFor(() => expect(bob.server.stats()).toMatchObject({ streams: 0, blocksHeld: 0 }))
})

/** As many streams as a connection takes, over each of so many connections. */
async function streamsOver(connections: number, reader: TestPeer, provider: TestPeer): Promise<Stream[]> {
  const streams: Stream[] = []
  for (let at = 0; at < connections; at++) {
    const connection = await reader.host.dial(multiaddr(provider.address), { force: true })
    for (let stream = 0; stream < BLOCK_STREAMS_PER_CONNECTION_MAX; stream++) {
      streams.push(await connection.newStream(BLOCKS_PROTOCOL))
    }
  }
  return streams
}

test('one member that reads nothing, over several connections, leaves the server to all others', async () => {
  const members = await membersOf('mallory', 'alice', 'bob')
  await using mallory = await startPeer('mallory', members)
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, new TestSource(range(40), SEGMENT_BYTES))
  const digests = digestsOf(40, SEGMENT_BYTES)
  const wants = encodeRequests(digests.slice(0, 8).map((digest) => ({ kind: 'want', digest })))
  const streams = await streamsOver(3, mallory, bob)
  for (const stream of streams) {
    // Those beyond its share are reset by now.
    if (stream.status !== 'open') continue
    stream.pause()
    stream.send(wants)
  }
  await vi.waitFor(() => expect(bob.server.stats().blocksHeld).toBe(BLOCK_PEER_BLOCKS_MAX))
  await vi.waitFor(() => expect(bob.server.stats().streams).toBe(BLOCK_PEER_STREAMS_MAX))
  expect(bob.log.lines.map((line) => line.message)).toContain('a block stream was refused')
  const providers = await dial(alice, bob.address)
  expect(await all(new BlockFetcher(alice).fetch(digests, providers))).toEqual(digests)
  expect(bob.server.stats().blocksHeld).toBe(BLOCK_PEER_BLOCKS_MAX)
  for (const stream of streams) stream.abort(new Error('enough'))
  await vi.waitFor(() => expect(bob.server.stats()).toMatchObject({ streams: 0, blocksHeld: 0 }))
})

test('a reader that never confirms, on many streams, makes the server remember no more buffers than on one', async () => {
  const members = await membersOf('mallory', 'bob')
  await using mallory = await startPeer('mallory', members)
  const source = new ReusingSource(range(20), SEGMENT_BYTES)
  await using bob = await provide('bob', members, source)
  const wants = encodeRequests(digestsOf(20, SEGMENT_BYTES).map((digest) => ({ kind: 'want', digest })))
  for (const stream of await streamsOver(1, mallory, bob)) {
    stream.addEventListener('message', () => undefined)
    stream.send(wants)
  }
  const sent = BLOCK_STREAMS_PER_CONNECTION_MAX * 20
  await vi.waitFor(() => expect(bob.server.stats().blocksSent).toBe(sent), { timeout: 20_000 })
  expect(sent).toBeGreaterThan(BLOCK_UNCONFIRMED_MAX)
  expect(bob.server.stats().unconfirmed).toBe(BLOCK_UNCONFIRMED_MAX)
})

test('a reader that has not taken an answer in time loses its stream, and the memory behind it is free', async () => {
  const members = await membersOf('mallory', 'bob')
  await using mallory = await startPeer('mallory', members)
  await using bob = await provide('bob', members, new TestSource(range(4), SEGMENT_BYTES), { sendMs: 500 })
  const stream = await rawStream(mallory, bob)
  stream.pause()
  stream.send(encodeRequests(digestsOf(4, SEGMENT_BYTES).map((digest) => ({ kind: 'want', digest }))))
  await vi.waitFor(() => expect(stream.status).toBe('reset'), { timeout: 10_000 })
  expect(bob.log.lines.map((line) => line.fields)).toMatchObject([{ err: { fault: { code: 'STREAM_SLOW' } } }])
  await vi.waitFor(() => expect(bob.server.stats()).toMatchObject({ streams: 0, blocksHeld: 0 }))
})

test.each([
  ['more wants than the queue takes', encodeRequests(digestsOf(600, 8).map((digest) => ({ kind: 'want', digest })))],
  ['an unknown kind of request', new Uint8Array(33).fill(9)],
])('%s ends the stream, and the server goes on', async (_what, bytes) => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, new TestSource(range(2), SEGMENT_BYTES))
  const stream = await rawStream(alice, bob)
  stream.pause()
  stream.send(bytes)
  await vi.waitFor(() => expect(stream.status).toBe('reset'))
  expect(bob.log.lines.map((line) => line.message)).toContain('a block stream was ended')
  const providers = await dial(alice, bob.address)
  expect(await all(new BlockFetcher(alice).fetch(digestsOf(2, SEGMENT_BYTES), providers))).toHaveLength(2)
})

test('a provider that answers with a length over the limit is given up', async () => {
  const members = await membersOf('alice', 'mallory')
  await using alice = await startPeer('alice', members)
  await using mallory = await startPeer('mallory', members)
  await mallory.host.handle(BLOCKS_PROTOCOL, (stream) => {
    stream.addEventListener('message', () => stream.send(Uint8Array.of(0, 0xff, 0xff, 0xff, 0xff)))
  })
  const providers = await dial(alice, mallory.address)
  const faults: ProviderFault[] = []
  const onProviderFault = (_peer: PeerId, fault: ProviderFault): void => void faults.push(fault)
  const fetch = all(new BlockFetcher(alice).fetch(digestsOf(2, 8), providers, { onProviderFault }))
  expect(await faultOf(fetch)).toMatchObject({ code: 'BLOCK_UNAVAILABLE' })
  expect(faults).toEqual([{ code: 'BLOCK_PROVIDER_MALFORMED', peer: mallory.id, field: 'length' }])
})

test("an aborted fetch ends with the caller's reason and closes its streams", async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startPeer('alice', members)
  await using bob = await provide('bob', members, new TestSource(range(50), SEGMENT_BYTES))
  const providers = await dial(alice, bob.address)
  const abort = new AbortController()
  const reason = new Error('the user went away')
  const fetch = async (): Promise<void> => {
    const { signal } = abort
    for await (const _block of new BlockFetcher(alice).fetch(digestsOf(50, SEGMENT_BYTES), providers, { signal })) {
      abort.abort(reason)
    }
  }
  await expect(fetch()).rejects.toBe(reason)
  await vi.waitFor(() => expect(bob.server.stats()).toMatchObject({ streams: 0, blocksHeld: 0 }))
})
