/**
 * libp2p's TLS 1.3 (`/tls/1.0.0`) on the TCP socket itself.
 *
 * What is spoken is what `@libp2p/tls` speaks: its certificates, its checks, its early choice of the muxer. That library
 * runs node's TLS over a stream in JavaScript over the socket; here node's TLS takes the socket's handle, so ciphertext never
 * becomes an object in JavaScript. That is half of the CPU time of a bulk transfer: docs/decisions/0105-tls-on-the-socket.md.
 *
 * @see https://github.com/libp2p/specs/blob/master/tls/tls.md
 */
import { once } from 'node:events'
import { Socket } from 'node:net'
import { connect, TLSSocket, type TLSSocketOptions } from 'node:tls'
import type {
  AbortOptions,
  ConnectionEncrypter,
  MessageStream,
  SecureConnectionOptions,
  SecuredConnection,
  StreamMessageEvent,
} from '@libp2p/interface'
import { tls, type TLSComponents } from '@libp2p/tls'
import { generateCertificate, verifyPeerCertificate } from '@libp2p/tls/utils'
import { AbstractMessageStream, type SendResult } from '@libp2p/utils'
import type { Uint8ArrayList } from 'uint8arraylist'
import { lendReads } from './lent-reads.ts'
import { piecesOf } from './stream-flow.ts'

/** What a peer names in the choice of the muxer when it knows none early. */
const NO_EARLY_MUXER = 'libp2p'

export const socketTls =
  () =>
  (components: TLSComponents): ConnectionEncrypter =>
    new SocketTls(components)

class SocketTls implements ConnectionEncrypter {
  readonly protocol = '/tls/1.0.0'
  readonly #components: TLSComponents
  readonly #overStreams: ConnectionEncrypter

  constructor(components: TLSComponents) {
    this.#components = components
    this.#overStreams = tls()(components)
  }

  secureInbound(connection: MessageStream, options: SecureConnectionOptions = {}): Promise<SecuredConnection> {
    const socket = socketOf(connection)
    if (socket === undefined) return this.#overStreams.secureInbound(connection, options)
    return this.#secure(connection, socket, 'server', options)
  }

  secureOutbound(connection: MessageStream, options: SecureConnectionOptions = {}): Promise<SecuredConnection> {
    const socket = socketOf(connection)
    if (socket === undefined) return this.#overStreams.secureOutbound(connection, options)
    return this.#secure(connection, socket, 'client', options)
  }

  async #secure(
    connection: MessageStream,
    socket: Socket,
    side: 'client' | 'server',
    options: SecureConnectionOptions,
  ): Promise<SecuredConnection> {
    await takeOver(connection, socket)
    const muxers = this.#components.upgrader.getStreamMuxers()
    const early = options.skipStreamMuxerNegotiation === true ? [] : [...muxers.keys()]
    const tlsOptions: TLSSocketOptions = {
      ...(await generateCertificate(this.#components.privateKey, options)),
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      // Certificates are self-signed; `verifyPeerCertificate` judges them.
      rejectUnauthorized: false,
      requestCert: true,
      ALPNProtocols: [...early, NO_EARLY_MUXER],
    }
    // Certificates take time to make, and a socket without its handle can't be taken over.
    if (socket.destroyed) throw ended()
    const secured =
      side === 'server' ? new TLSSocket(socket, { ...tlsOptions, isServer: true }) : connect({ ...tlsOptions, socket })
    secured.on('error', (error: Error) => connection.abort(error))
    try {
      await handshake(secured, options.signal)
      const { raw } = secured.getPeerCertificate()
      const remotePeer = await verifyPeerCertificate(raw, options.remotePeer, connection.log)
      if (secured.destroyed) throw ended()
      const streamMuxer = typeof secured.alpnProtocol === 'string' ? muxers.get(secured.alpnProtocol) : undefined
      return {
        remotePeer,
        connection: new SecuredStream(connection, secured),
        ...(streamMuxer === undefined ? {} : { streamMuxer }),
      }
    } catch (error) {
      connection.abort(error instanceof Error ? error : new Error(String(error)))
      throw error
    }
  }
}

/** What a connection of `@libp2p/tcp` has beside its interface. */
interface SocketConnection {
  readonly socket?: unknown
  sendReset(error: Error): void
}

/** The TCP socket under a connection; undefined where there is another transport, or something between. */
function socketOf(connection: MessageStream): Socket | undefined {
  const { socket } = connection as unknown as SocketConnection
  return socket instanceof Socket && !socket.destroyed ? socket : undefined
}

/** Ends the connection's own reading of the socket, and puts back what it has read of the handshake. */
async function takeOver(connection: MessageStream, socket: Socket): Promise<void> {
  socket.pause()
  socket.removeAllListeners('data')
  // In a turn of its own: a reset frees OpenSSL's state, and what calls for one may run inside OpenSSL.
  ;(connection as unknown as SocketConnection).sendReset = () => {
    setImmediate(() => socket.resetAndDestroy())
  }
  const early: Uint8Array[] = []
  const collect = (event: StreamMessageEvent): void => {
    early.push(...piecesOf(event.data))
  }
  connection.addEventListener('message', collect)
  // What the connection holds comes in a microtask.
  await turn()
  connection.removeEventListener('message', collect)
  if (early.length > 0) socket.unshift(Buffer.concat(early))
}

/** @throws what the handshake failed with; the signal's reason. */
async function handshake(secured: TLSSocket, signal: AbortSignal | undefined): Promise<void> {
  const stopped = new AbortController()
  const stop = { signal: signal === undefined ? stopped.signal : AbortSignal.any([signal, stopped.signal]) }
  try {
    await Promise.race([
      once(secured, 'secure', stop),
      once(secured, 'close', stop).then(() => {
        throw ended()
      }),
    ])
  } finally {
    stopped.abort()
  }
  // Out of OpenSSL, which called: what a refused peer's connection goes through must not run inside it.
  await turn()
}

function ended(): Error {
  return new Error('the connection ended during the handshake')
}

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** The plaintext side. */
class SecuredStream extends AbstractMessageStream {
  readonly #connection: MessageStream
  readonly #socket: TLSSocket

  constructor(connection: MessageStream, socket: TLSSocket) {
    const { direction, inactivityTimeout, log, maxReadBufferLength } = connection
    super({ direction, inactivityTimeout, log, maxReadBufferLength })
    this.#connection = connection
    this.#socket = socket
    socket.on('data', (bytes: Uint8Array) => this.onData(bytes))
    socket.on('drain', () => this.safeDispatchEvent('drain'))
    connection.addEventListener('close', (event) => {
      if (event.error === undefined) this.onTransportClosed()
      else if (event.local === true) this.abort(event.error)
      else this.onRemoteReset()
    })
  }

  /** From now on messages are lent to their listener, see lent-reads.ts. @returns false where they can't be */
  lend(): boolean {
    const lent = lendReads(this.#socket, (bytes) => {
      const isTaken = this.readStatus === 'readable' && this.listenerCount('message') > 0
      this.onData(isTaken ? bytes : new Uint8Array(bytes))
    })
    // What was read before has waited for its turn, and comes first.
    if (lent) while (this.#socket.read() !== null);
    return lent
  }

  sendData(data: Uint8ArrayList): SendResult {
    let sentBytes = 0
    let canSendMore = true
    for (const piece of data) {
      sentBytes += piece.length
      canSendMore = this.#socket.write(piece)
      if (!canSendMore) break
    }
    return { sentBytes, canSendMore }
  }

  sendReset(error: Error): void {
    this.#connection.abort(error)
  }

  sendPause(): void {
    this.#socket.pause()
  }

  sendResume(): void {
    this.#socket.resume()
  }

  async close(options?: AbortOptions): Promise<void> {
    if (this.#socket.closed) return
    const closed = once(this.#socket, 'close', options)
    this.#socket.destroySoon()
    await closed
  }
}
