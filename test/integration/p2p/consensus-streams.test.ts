import { multiaddr } from '@multiformats/multiaddr'
import { Uint8ArrayList } from 'uint8arraylist'
import { expect, test, vi } from 'vitest'
import {
  CONSENSUS_MESSAGE_BYTES_MAX,
  CONSENSUS_QUEUE_BYTES_MAX,
  CONSENSUS_QUEUE_MESSAGES_MAX,
  P2P_STREAM_READ_BUFFER_BYTES_MAX,
} from '../../../src/core/limits.ts'
import { ConsensusStreams, type ConsensusStreamsDeps } from '../../../src/p2p/consensus-streams.ts'
import { CONSENSUS_PROTOCOL } from '../../../src/p2p/protocols.ts'
import { membersOf, startPeer, type TestPeer } from './test-peer.ts'

interface Validator extends AsyncDisposable {
  readonly peer: TestPeer
  readonly streams: ConsensusStreams
  readonly seen: { from: string; bytes: Uint8Array }[]
}

const WAIT = { timeout: 10_000, interval: 10 }

async function startValidator(
  word: string,
  members: ReadonlySet<string>,
  options: { listen?: string; mayJoin?: (peer: string) => boolean; onMessage?: ConsensusStreamsDeps['onMessage'] } = {},
): Promise<Validator> {
  const peer = await startPeer(word, members, options.listen === undefined ? {} : { listen: [options.listen] })
  const seen: { from: string; bytes: Uint8Array }[] = []
  const onMessage = options.onMessage ?? ((from, bytes) => void seen.push({ from, bytes }))
  const mayJoin = options.mayJoin ?? ((id) => members.has(id))
  const streams = new ConsensusStreams({ host: peer.host, log: peer.log, onMessage, mayJoin })
  await streams.start()
  const dispose = async (): Promise<void> => {
    await streams.stop()
    await peer[Symbol.asyncDispose]()
  }
  return { peer, streams, seen, [Symbol.asyncDispose]: dispose }
}

async function connect(a: Validator, b: Validator): Promise<void> {
  await a.peer.host.dial(multiaddr(b.peer.address))
}

/** A message that tells its number. */
function numbered(number: number, length = 150): Uint8Array {
  const bytes = new Uint8Array(length).fill(number % 256)
  new DataView(bytes.buffer).setUint32(0, number)
  return bytes
}

const numberOf = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0)

test('messages of all sizes arrive whole and in order, both ways, with the name of their sender', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startValidator('bob', members)
  await connect(alice, bob)
  const sizes = [4, 150, 16_384, 70_000, CONSENSUS_MESSAGE_BYTES_MAX, 5]
  for (const [i, size] of sizes.entries()) {
    alice.streams.send(bob.peer.id, numbered(i, size))
    bob.streams.send(alice.peer.id, numbered(i, size))
  }
  for (const [at, sender] of [
    [bob, alice],
    [alice, bob],
  ] as const) {
    await vi.waitFor(() => expect(at.seen).toHaveLength(sizes.length), WAIT)
    expect(at.seen.map(({ from }) => from)).toEqual(sizes.map(() => sender.peer.id))
    const whole = at.seen.map(({ bytes }, i) => Buffer.compare(bytes, numbered(i, sizes[i])))
    expect(whole).toEqual(sizes.map(() => 0))
  }
  expect(alice.streams.stats()).toMatchObject({ streamsIn: 1, streamsOut: 1, messagesSent: 6, messagesDropped: 0 })
})

test('what was sent before the peer connected arrives when it does', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startValidator('bob', members)
  alice.streams.send(bob.peer.id, numbered(1))
  expect(alice.streams.queued(bob.peer.id)).toBe(1)
  await connect(bob, alice)
  await vi.waitFor(() => expect(bob.seen).toHaveLength(1), WAIT)
})

test('a flood of ten thousand votes paced by the queue arrives complete and in order', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startValidator('bob', members)
  await connect(alice, bob)
  for (let i = 0; i < 10_000; i++) {
    alice.streams.send(bob.peer.id, numbered(i))
    if (i % 500 === 499) await vi.waitFor(() => expect(alice.streams.queued(bob.peer.id)).toBe(0), WAIT)
  }
  await vi.waitFor(() => expect(bob.seen).toHaveLength(10_000), WAIT)
  expect(bob.seen.every(({ bytes }, i) => numberOf(bytes) === i)).toBe(true)
})

test('after the other side restarted, messages flow again both ways by themselves', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  const bob = await startValidator('bob', members)
  await connect(alice, bob)
  alice.streams.send(bob.peer.id, numbered(1))
  bob.streams.send(alice.peer.id, numbered(1))
  await vi.waitFor(() => expect([alice.seen.length, bob.seen.length]).toEqual([1, 1]), WAIT)
  await bob[Symbol.asyncDispose]()
  await vi.waitFor(() => expect(alice.streams.stats()).toMatchObject({ streamsIn: 0, streamsOut: 0 }), WAIT)
  alice.streams.send(bob.peer.id, numbered(2))
  await using again = await startValidator('bob', members)
  await connect(again, alice)
  again.streams.send(alice.peer.id, numbered(3))
  await vi.waitFor(() => expect(again.seen.map(({ bytes }) => numberOf(bytes))).toEqual([2]), WAIT)
  await vi.waitFor(() => expect(alice.seen.map(({ bytes }) => numberOf(bytes))).toEqual([1, 3]), WAIT)
})

test('a stream that is lost while the connection stays is opened again', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startValidator('bob', members)
  await connect(alice, bob)
  alice.streams.send(bob.peer.id, numbered(1))
  await vi.waitFor(() => expect(bob.seen).toHaveLength(1), WAIT)
  for (const connection of bob.peer.host.getConnections()) {
    for (const stream of connection.streams) if (stream.protocol === CONSENSUS_PROTOCOL) stream.abort(new Error('lost'))
  }
  await vi.waitFor(() => expect(alice.streams.stats().streamsOut).toBe(0), WAIT)
  alice.streams.send(bob.peer.id, numbered(2))
  await vi.waitFor(() => expect(bob.seen).toHaveLength(2), WAIT)
})

test('a member that is no validator is refused, and one that ceases to be one loses its stream', async () => {
  const members = await membersOf('alice', 'bob')
  const validators = new Set<string>()
  await using alice = await startValidator('alice', members, { mayJoin: (id) => validators.has(id) })
  await using bob = await startValidator('bob', members)
  await connect(bob, alice)
  bob.streams.send(alice.peer.id, numbered(1))
  await vi.waitFor(() => expect(alice.streams.stats().refused).toBeGreaterThan(0), WAIT)
  alice.streams.send(bob.peer.id, numbered(1))
  expect(alice.streams.stats()).toMatchObject({ streamsIn: 0, messagesDropped: 1 })
  expect(alice.seen).toEqual([])

  validators.add(bob.peer.id)
  await vi.waitFor(() => {
    bob.streams.send(alice.peer.id, numbered(2))
    expect(alice.seen.length).toBeGreaterThan(0)
  }, WAIT)

  validators.clear()
  const count = alice.seen.length
  bob.streams.send(alice.peer.id, numbered(3))
  await vi.waitFor(() => expect(alice.streams.stats().streamsIn).toBe(0), WAIT)
  expect(alice.seen.length).toBe(count)
})

test('a length of zero or over the limit ends the stream, before its bytes are kept, and the next stream is served', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startPeer('bob', members)
  const connection = await bob.host.dial(multiaddr(alice.peer.address))
  for (const head of [
    [0, 0, 0, 0],
    [0, 0x30, 0, 1],
    [255, 255, 255, 255],
  ]) {
    const bad = await connection.newStream(CONSENSUS_PROTOCOL)
    bad.send(Uint8Array.from(head))
    await vi.waitFor(() => expect(bad.status).toBe('reset'), WAIT)
  }
  expect(alice.streams.stats()).toMatchObject({ malformed: 3, streamsIn: 0 })
  const good = await connection.newStream(CONSENSUS_PROTOCOL)
  // In pieces of one byte.
  for (const byte of [0, 0, 0, 3, 7, 8, 9]) good.send(Uint8Array.of(byte))
  await vi.waitFor(() => expect(alice.seen.map(({ bytes }) => [...bytes])).toEqual([[7, 8, 9]]), WAIT)
})

test('a newer stream of the same peer takes the place of the old one', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startPeer('bob', members)
  const connection = await bob.host.dial(multiaddr(alice.peer.address))
  const old = await connection.newStream(CONSENSUS_PROTOCOL)
  old.send(Uint8Array.of(0, 0, 0, 1, 1))
  await vi.waitFor(() => expect(alice.seen).toHaveLength(1), WAIT)
  const newer = await connection.newStream(CONSENSUS_PROTOCOL)
  newer.send(Uint8Array.of(0, 0, 0, 1, 2))
  await vi.waitFor(() => expect(alice.seen).toHaveLength(2), WAIT)
  await vi.waitFor(() => expect(old.status).toBe('reset'), WAIT)
  expect(alice.streams.stats().streamsIn).toBe(1)
})

test('a receiver that stalls: the sender keeps the newest messages within its bounds, counts the rest, and goes on after', async () => {
  const members = await membersOf('alice', 'bob')
  let release = (): void => undefined
  const stalled = new Promise<void>((resolve) => {
    release = resolve
  })
  const seen: number[] = []
  await using alice = await startValidator('alice', members)
  await using bob = await startValidator('bob', members, {
    onMessage: async (_from, bytes) => {
      seen.push(numberOf(bytes))
      await stalled
    },
  })
  await connect(alice, bob)
  const message = (i: number): Uint8Array => numbered(i, 256 * 1024)
  for (let i = 0; i < 200; i++) {
    alice.streams.send(bob.peer.id, message(i))
    // Lets the transport take what it will.
    await new Promise((resolve) => {
      setImmediate(resolve)
    })
    expect(alice.streams.stats().bytesQueued).toBeLessThanOrEqual(CONSENSUS_QUEUE_BYTES_MAX)
  }
  const { messagesDropped, messagesSent } = alice.streams.stats()
  expect(messagesDropped).toBeGreaterThan(100)
  expect(messagesDropped + messagesSent + alice.streams.queued(bob.peer.id)).toBe(200)
  expect(seen).toEqual([0])
  const held = bob.peer.host
    .getConnections()
    .flatMap((one) => one.streams)
    .reduce((sum, stream) => sum + stream.readBufferLength, 0)
  expect(held).toBeLessThanOrEqual(P2P_STREAM_READ_BUFFER_BYTES_MAX)
  release()
  await vi.waitFor(() => expect(seen.at(-1)).toBe(199), WAIT)
  expect(seen).toEqual([...seen].sort((a, b) => a - b))
  expect(seen).toHaveLength(200 - messagesDropped)
})

test('messages for a peer that never comes are bounded by number, oldest dropped first', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startValidator('bob', members)
  const sent = CONSENSUS_QUEUE_MESSAGES_MAX + 100
  for (let i = 0; i < sent; i++) alice.streams.send(bob.peer.id, numbered(i))
  expect(alice.streams.queued(bob.peer.id)).toBe(CONSENSUS_QUEUE_MESSAGES_MAX)
  expect(alice.streams.stats().messagesDropped).toBe(100)
  await connect(alice, bob)
  await vi.waitFor(() => expect(bob.seen).toHaveLength(CONSENSUS_QUEUE_MESSAGES_MAX), WAIT)
  expect(numberOf(bob.seen[0]?.bytes ?? new Uint8Array(4))).toBe(100)
})

test('a message that cannot be handled does not end the stream', async () => {
  const members = await membersOf('alice', 'bob')
  const seen: number[] = []
  await using alice = await startValidator('alice', members)
  await using bob = await startValidator('bob', members, {
    onMessage: (_from, bytes) => {
      const number = numberOf(bytes)
      seen.push(number)
      if (number === 1) throw new Error('a bug')
      return number === 2 ? Promise.reject(new Error('another')) : undefined
    },
  })
  await connect(alice, bob)
  for (let i = 0; i < 5; i++) alice.streams.send(bob.peer.id, numbered(i))
  await vi.waitFor(() => expect(seen).toEqual([0, 1, 2, 3, 4]), WAIT)
  expect(bob.peer.log.lines.filter(({ level }) => level === 'error')).toHaveLength(2)
})

test('send never throws: too large, empty, to a peer unknown, or after the stop', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  const [bob = ''] = [...members].filter((id) => id !== alice.peer.id)
  alice.streams.send(bob, new Uint8Array(CONSENSUS_MESSAGE_BYTES_MAX + 1))
  alice.streams.send(bob, new Uint8Array(0))
  alice.streams.send('no peer id at all', numbered(1))
  await alice.streams.stop()
  alice.streams.send(bob, numbered(1))
  expect(alice.streams.stats()).toMatchObject({ messagesDropped: 4, bytesQueued: 0 })
})

test('bytes on a stream of the wrong direction end it', async () => {
  const members = await membersOf('alice', 'bob')
  await using alice = await startValidator('alice', members)
  await using bob = await startPeer('bob', members)
  let received = 0
  await bob.host.handle(CONSENSUS_PROTOCOL, (stream) => {
    stream.addEventListener('message', () => {
      received++
      stream.send(new Uint8ArrayList(new Uint8Array(1_000)))
    })
  })
  await bob.host.dial(multiaddr(alice.peer.address))
  alice.streams.send(bob.id, numbered(1))
  await vi.waitFor(() => expect(received).toBe(1), WAIT)
  await vi.waitFor(() => {
    alice.streams.send(bob.id, numbered(2))
    expect(received).toBeGreaterThan(2)
  }, WAIT)
  const answers = alice.peer.log.lines.filter(({ fields }) => JSON.stringify(fields).includes(bob.id))
  expect(answers.length).toBeGreaterThan(1)
})
