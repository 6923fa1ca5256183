/**
 * Votes and proposals between validators: one long-lived stream for each direction of a pair, since gossip waits for its
 * heartbeat and a stream for each message costs a negotiation.
 *
 * Nothing here is reliable: a message may be lost with its stream, or dropped where a validator takes too little, oldest
 * first. The consensus sends again what matters. Within one stream messages arrive in order.
 *
 * Threats: a peer that may not join is refused; one that sends a length over the limit loses its stream; one that doesn't read
 * fills its own bounded queue; one that sends faster than it is read waits, since the stream is paused.
 *
 * @see docs/spec/consensus-stream.md
 */
import type { Connection, Stream } from '@libp2p/interface'
import { CodedError } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { ConsensusInbound } from './consensus-inbound.ts'
import { ConsensusOutbound } from './consensus-outbound.ts'
import type { P2pHost } from './host.ts'
import { CONSENSUS_PROTOCOL } from './protocols.ts'

export type ConsensusStreamFault = { code: 'CONSENSUS_STREAM_REFUSED'; peer: string }
export class ConsensusStreamError extends CodedError<ConsensusStreamFault> {}

export interface ConsensusStreamsDeps {
  readonly host: Pick<P2pHost, 'handle' | 'unhandle' | 'getConnections' | 'addEventListener' | 'removeEventListener'>
  readonly log: Log
  /**
   * Told each message in the order of its stream. Where it answers with a promise, the next message of that peer waits for it,
   * and the peer is made to wait in turn.
   */
  readonly onMessage: (from: string, bytes: Uint8Array) => void | Promise<void>
  /** Whether this peer, named by its id, may be a validator now. */
  readonly mayJoin: (peer: string) => boolean
}

export interface ConsensusStreamsOptions {
  /** The largest message, both ways. @default CONSENSUS_MESSAGE_BYTES_MAX */
  readonly messageBytesMax?: number
}

export interface ConsensusStreamsStats {
  readonly streamsIn: number
  readonly streamsOut: number
  readonly messagesSent: number
  readonly messagesReceived: number
  /** Not sent: the queue was full, the message too large, or the peer no validator. */
  readonly messagesDropped: number
  readonly bytesQueued: number
  /** Streams of peers that may not join. */
  readonly refused: number
  /** Streams ended for a length over the limit. */
  readonly malformed: number
}

export class ConsensusStreams {
  readonly #deps: ConsensusStreamsDeps
  readonly #messageBytesMax: number
  readonly #inbound = new Map<string, ConsensusInbound>()
  readonly #outbound = new Map<string, ConsensusOutbound>()
  readonly #counts = { sent: 0, received: 0, dropped: 0, refused: 0, malformed: 0 }
  #running = false

  constructor(deps: ConsensusStreamsDeps, options: ConsensusStreamsOptions = {}) {
    this.#deps = deps
    this.#messageBytesMax = options.messageBytesMax ?? limits.CONSENSUS_MESSAGE_BYTES_MAX
  }

  async start(): Promise<void> {
    this.#running = true
    this.#deps.host.addEventListener('connection:open', this.#onConnection)
    await this.#deps.host.handle(CONSENSUS_PROTOCOL, (stream, connection) => this.#accept(stream, connection), {
      maxInboundStreams: limits.CONSENSUS_STREAMS_PER_CONNECTION_MAX,
      maxOutboundStreams: limits.CONSENSUS_STREAMS_PER_CONNECTION_MAX,
    })
  }

  async stop(): Promise<void> {
    this.#running = false
    this.#deps.host.removeEventListener('connection:open', this.#onConnection)
    await this.#deps.host.unhandle(CONSENSUS_PROTOCOL)
    const stopped = new Error('the consensus streams stop')
    for (const inbound of this.#inbound.values()) inbound.end(stopped)
    for (const outbound of this.#outbound.values()) outbound.stop()
    this.#inbound.clear()
    this.#outbound.clear()
  }

  /**
   * Sends a message, or queues it until the peer is connected and takes it. Never throws, never waits.
   *
   * @param peer - peer id.
   * @param message - 1 to `messageBytesMax` bytes; not to be changed afterwards.
   */
  send(peer: string, message: Uint8Array): void {
    const fits = message.length > 0 && message.length <= this.#messageBytesMax
    if (!this.#running || !fits || !this.#deps.mayJoin(peer)) {
      this.#counts.dropped++
      if (!fits) this.#deps.log.error({ bytes: message.length }, 'a consensus message of this size cannot be sent')
      return
    }
    this.#outboundTo(peer).send(message)
  }

  /** Messages that wait for a peer. */
  queued(peer: string): number {
    return this.#outbound.get(peer)?.queued ?? 0
  }

  stats(): ConsensusStreamsStats {
    const outbound = [...this.#outbound.values()]
    return {
      streamsIn: this.#inbound.size,
      streamsOut: outbound.filter((one) => one.isOpen).length,
      messagesSent: this.#counts.sent,
      messagesReceived: this.#counts.received,
      messagesDropped: this.#counts.dropped,
      bytesQueued: outbound.reduce((sum, one) => sum + one.queuedBytes, 0),
      refused: this.#counts.refused,
      malformed: this.#counts.malformed,
    }
  }

  #outboundTo(peer: string): ConsensusOutbound {
    const known = this.#outbound.get(peer)
    if (known !== undefined) return known
    const outbound = new ConsensusOutbound(
      {
        log: this.#deps.log,
        connection: () => newestConnection(this.#deps.host, peer),
        mayJoin: () => this.#deps.mayJoin(peer),
        onSent: (messages) => (this.#counts.sent += messages),
        onDropped: (messages) => (this.#counts.dropped += messages),
      },
      { peer },
    )
    this.#outbound.set(peer, outbound)
    return outbound
  }

  readonly #onConnection = (event: CustomEvent<Connection>): void => {
    const peer = event.detail.remotePeer.toString()
    const outbound = this.#outbound.get(peer)
    if (outbound === undefined) return
    if (this.#deps.mayJoin(peer)) {
      outbound.hurry()
      return
    }
    outbound.stop()
    this.#outbound.delete(peer)
  }

  #accept(stream: Stream, connection: Connection): void {
    const peer = connection.remotePeer.toString()
    if (!this.#mayContinue(peer)) {
      stream.abort(new ConsensusStreamError({ code: 'CONSENSUS_STREAM_REFUSED', peer }))
      return
    }
    const before = this.#inbound.get(peer)
    const inbound = new ConsensusInbound(
      {
        log: this.#deps.log,
        onMessage: (bytes) => {
          this.#counts.received++
          return this.#deps.onMessage(peer, bytes)
        },
        mayContinue: () => this.#mayContinue(peer),
        onMalformed: () => this.#counts.malformed++,
        onEnd: () => {
          if (this.#inbound.get(peer) === inbound) this.#inbound.delete(peer)
        },
      },
      { stream, peer, messageBytesMax: this.#messageBytesMax },
    )
    this.#inbound.set(peer, inbound)
    // The peer knows best which of its streams it uses: the one before may hang on a connection that is dead.
    before?.end(new Error('the peer opened a newer consensus stream'))
    inbound.listen()
  }

  /** Asked at the beginning and at each message: a validator may cease to be one. */
  #mayContinue(peer: string): boolean {
    if (!this.#running) return false
    if (this.#deps.mayJoin(peer)) return true
    this.#counts.refused++
    this.#deps.log.debug({ peer }, 'refused a consensus stream of a peer that is no validator')
    return false
  }
}

/** After a restart of the peer, an older connection may still look open. */
function newestConnection(host: ConsensusStreamsDeps['host'], peer: string): Connection | undefined {
  return host
    .getConnections()
    .filter((one) => one.status === 'open' && one.remotePeer.toString() === peer)
    .toSorted((a, b) => b.timeline.open - a.timeline.open)[0]
}
