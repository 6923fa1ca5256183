import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { ConnectionEncrypter, Libp2p, Stream } from '@libp2p/interface'
import { tcp } from '@libp2p/tcp'
import { tls, type TLSComponents } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { expect, test, vi } from 'vitest'
import { socketTls } from '../../../src/p2p/socket-tls.ts'
import { piecesOf } from '../../../src/p2p/stream-flow.ts'

const ECHO = '/test/echo/1'
const PAYLOAD = randomBytes(3 * 1024 * 1024 + 1)
const STRANGER = '12D3KooWQCkBm1BYtkHpocxCwMgR8yjitEeHGx8spzcDLGt2gkBm'

type Peer = Libp2p & AsyncDisposable

/** A libp2p that has nothing but TCP, the encrypter and yamux. */
async function start(encrypter: (components: TLSComponents) => ConnectionEncrypter): Promise<Peer> {
  const libp2p = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [encrypter],
    streamMuxers: [yamux()],
  })
  await libp2p.handle(ECHO, (stream) => {
    stream.addEventListener('message', ({ data }) => {
      stream.send(data)
    })
    stream.addEventListener('remoteCloseWrite', () => void stream.close())
  })
  return Object.assign(libp2p, { [Symbol.asyncDispose]: async () => libp2p.stop() })
}

function addressOf(peer: Peer): string {
  return peer.getMultiaddrs()[0]?.toString() ?? ''
}

/** The SHA-256 of what comes back of `PAYLOAD`. */
async function echoed(stream: Stream): Promise<string> {
  const hash = createHash('sha256')
  const whole = new Promise<void>((resolve, reject) => {
    stream.addEventListener('message', ({ data }) => {
      for (const piece of piecesOf(data)) hash.update(piece)
    })
    stream.addEventListener('remoteCloseWrite', () => resolve())
    stream.addEventListener('close', ({ error }) => (error === undefined ? resolve() : reject(error)))
  })
  stream.send(PAYLOAD)
  await stream.close()
  await whole
  return hash.digest('hex')
}

/** The sockets under the connections of a peer: internal to libp2p, and what the encrypter builds on. */
function socketsOf(peer: Peer): Socket[] {
  return peer.getConnections().map((connection) => {
    const { maConn } = connection as unknown as { maConn: { socket: Socket } }
    return maConn.socket
  })
}

const sent = createHash('sha256').update(PAYLOAD).digest('hex')

test.each([
  ['it dials itself', socketTls, socketTls],
  ['it dials the library', socketTls, tls],
  ['the library dials it', tls, socketTls],
])('bytes come back as they were sent, %s', async (_words, dialing, listening) => {
  await using dialer = await start(dialing())
  await using listener = await start(listening())
  const connection = await dialer.dial(multiaddr(addressOf(listener)))
  expect(connection.encryption).toBe('/tls/1.0.0')
  // Chosen within the handshake: no round trip for the muxer.
  expect(connection.multiplexer).toBe('/yamux/1.0.0')
  expect(connection.remotePeer.toString()).toBe(listener.peerId.toString())
  await vi.waitFor(() => expect(listener.getPeers().map(String)).toEqual([dialer.peerId.toString()]))
  expect(await echoed(await connection.newStream(ECHO))).toBe(sent)
  const [back] = listener.getConnections()
  expect(await echoed((await back?.newStream(ECHO)) as Stream)).toBe(sent)
})

test('both ends read their sockets in TLS, not in JavaScript', async () => {
  await using dialer = await start(socketTls())
  await using listener = await start(socketTls())
  await dialer.dial(multiaddr(addressOf(listener)))
  await vi.waitFor(() => expect(listener.getConnections()).toHaveLength(1))
  for (const socket of [...socketsOf(dialer), ...socketsOf(listener)]) {
    expect(socket.listenerCount('data')).toBe(0)
    expect(socket.bytesRead).toBeGreaterThan(0)
  }
})

test('a peer that is another than the one dialed is refused, and both ends let go', async () => {
  await using dialer = await start(socketTls())
  await using listener = await start(socketTls())
  const address = addressOf(listener).replace(/[^/]*$/, STRANGER)
  await expect(dialer.dial(multiaddr(address))).rejects.toThrow(/expected|unexpected/i)
  await vi.waitFor(() => expect([...dialer.getConnections(), ...listener.getConnections()]).toEqual([]))
})

test('a connection aborted while bytes flow both ways ends at both ends', async () => {
  await using dialer = await start(socketTls())
  await using listener = await start(socketTls())
  for (const aborts of ['dialer', 'listener'] as const) {
    const connection = await dialer.dial(multiaddr(addressOf(listener)))
    await vi.waitFor(() => expect(listener.getConnections()).toHaveLength(1))
    const stream = await connection.newStream(ECHO)
    const ended = once(stream, 'close')
    stream.addEventListener('message', () => {
      const victim = aborts === 'dialer' ? connection : listener.getConnections()[0]
      // Inside the delivery of bytes, which is where OpenSSL's state must not be freed.
      victim?.abort(new Error('struck'))
    })
    stream.send(PAYLOAD)
    await ended
    await vi.waitFor(() => expect([...dialer.getConnections(), ...listener.getConnections()]).toEqual([]))
  }
})

test('a client that speaks no TLS after it chose TLS is cut off, and the next one is served', async () => {
  await using listener = await start(socketTls())
  const port = Number(/\/tcp\/(\d+)/.exec(addressOf(listener))?.[1])
  const line = (text: string): Buffer => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)])
  const socket = connect(port, '127.0.0.1')
  // All at once: what follows the choice reaches the listener with it.
  socket.write(Buffer.concat([line('/multistream/1.0.0'), line('/tls/1.0.0'), Buffer.alloc(512, 'x')]))
  socket.on('error', () => undefined)
  socket.resume()
  await once(socket, 'close')
  await using dialer = await start(socketTls())
  const connection = await dialer.dial(multiaddr(addressOf(listener)))
  expect(await echoed(await connection.newStream(ECHO))).toBe(sent)
})
