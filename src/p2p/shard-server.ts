/**
 * Takes columns of extents from members over `/apotheca/shards/1`: how many at once, and how much memory, for each sender and in all.
 *
 * @see docs/spec/shard-push.md; shard-session.ts for one column; peer/shard-holder.ts decides what is taken
 */
import type { Connection, PeerId, Stream } from '@libp2p/interface'
import { faultOf } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { ShardReceipt } from '../domain/shard-receipt.ts'
import { BufferPool } from './buffer-pool.ts'
import type { P2pHost } from './host.ts'
import { PeerShares } from './peer-shares.ts'
import { SHARDS_PROTOCOL } from './protocols.ts'
import { ShardFrameError } from './shard-frames.ts'
import type { Reserve } from './shard-messages.ts'
import { ReceiveSession, ShardServeError } from './shard-session.ts'
import { isClosed } from './stream-flow.ts'

/** What came, before anything of it is checked. */
export type ReceivedBlock =
  | {
      readonly kind: 'shard'
      readonly stripe: number
      readonly digest: Uint8Array
      readonly audit: Uint8Array
      readonly bytes: Uint8Array
    }
  | { readonly kind: 'copy'; readonly digest: Uint8Array; readonly bytes: Uint8Array }

/** Decides what is taken. Every method may throw a coded fault, which the sender is told. */
export interface ColumnTaker {
  reserve(request: Reserve, from: PeerId): Promise<ReservedColumn>
}

export interface ReservedColumn {
  /** See `Accepted`. */
  readonly held: Uint8Array
  /** Checks and stores; durable when settled. The blocks' memory is used again after that. */
  store(blocks: readonly ReceivedBlock[]): Promise<void>
  /** @param map - the extent map; empty where the reservation had it. */
  finish(map: Uint8Array): Promise<ShardReceipt>
  /** The stream has ended, in whatever way: the reservation ends. */
  end(): void
}

export interface ShardServerDeps {
  readonly host: Pick<P2pHost, 'handle' | 'unhandle'>
  readonly taker: ColumnTaker
  readonly log: Log
}

/** What all streams of one sender share. */
interface SenderShare {
  heldBytes: number
}

export class ShardServer {
  readonly #deps: ShardServerDeps
  readonly #senderSilentMs: number
  readonly #pool = new BufferPool({ bufferBytes: limits.SEGMENT_BYTES, keptMax: limits.BLOCK_BUFFERS_KEPT })
  readonly #sessions = new Set<ReceiveSession>()
  readonly #senders = new PeerShares<SenderShare>(limits.SHARD_PEER_STREAMS_MAX, () => ({ heldBytes: 0 }))
  /** Of all sessions, those that were not refused. */
  #streams = 0
  #heldBytes = 0

  /** @param options.senderSilentMs - longest silence, and longest time for one frame. @default SHARD_SENDER_SILENT_MS */
  constructor(deps: ShardServerDeps, { senderSilentMs = limits.SHARD_SENDER_SILENT_MS } = {}) {
    this.#deps = deps
    this.#senderSilentMs = senderSilentMs
  }

  async start(): Promise<void> {
    const options = {
      maxInboundStreams: limits.SHARD_STREAMS_PER_CONNECTION_MAX,
      maxOutboundStreams: limits.SHARD_STREAMS_PER_CONNECTION_MAX,
    }
    await this.#deps.host.handle(SHARDS_PROTOCOL, (stream, connection) => this.#receive(stream, connection), options)
  }

  async stop(): Promise<void> {
    await this.#deps.host.unhandle(SHARDS_PROTOCOL)
    const ended = [...this.#sessions].map(async (session) => session.abort(new Error('the shard server stops')))
    await Promise.all(ended)
  }

  /** Columns that come in now, and what of them is not yet durable, in bytes. */
  stats(): { readonly streams: number; readonly heldBytes: number } {
    return { streams: this.#streams, heldBytes: this.#heldBytes }
  }

  #receive(stream: Stream, connection: Connection): void {
    const peer = connection.remotePeer
    const isFull = this.#streams >= limits.SHARD_STREAMS_MAX
    const share = isFull ? undefined : this.#senders.enter(peer.toString())
    if (share !== undefined) this.#streams++
    const streamsMax = isFull ? limits.SHARD_STREAMS_MAX : limits.SHARD_PEER_STREAMS_MAX
    const session = new ReceiveSession(stream, {
      taker: this.#deps.taker,
      peer,
      pool: this.#pool,
      senderSilentMs: this.#senderSilentMs,
      refusal: share === undefined ? { code: 'SHARD_STREAMS_TOO_MANY', streamsMax } : undefined,
      mayBegin: () => share !== undefined && this.#hasRoom(share),
      onHeld: (bytes) => this.#onHeld(share, bytes),
    })
    this.#sessions.add(session)
    session
      .run()
      .catch((error: unknown) => {
        // A sender that went away is everyday; a fault of ours, of its frames or of its pace is worth a line.
        if (!isClosed(stream) || error instanceof ShardFrameError || error instanceof ShardServeError) {
          this.#deps.log.warn({ peer: peer.toString(), err: error, fault: faultOf(error) }, 'a shard stream was ended')
        }
        stream.abort(error instanceof Error ? error : new Error(String(error)))
      })
      .finally(() => {
        this.#sessions.delete(session)
        if (share !== undefined) {
          this.#streams--
          this.#senders.leave(peer.toString())
        }
        if (this.#sessions.size === 0) this.#pool.clear()
      })
  }

  #hasRoom({ heldBytes }: SenderShare): boolean {
    return heldBytes < limits.SHARD_PEER_BYTES_HELD_MAX && this.#heldBytes < limits.SHARD_BYTES_HELD_MAX
  }

  #onHeld(share: SenderShare | undefined, bytes: number): void {
    if (share !== undefined) share.heldBytes += bytes
    this.#heldBytes += bytes
    if (bytes >= 0) return
    for (const session of [...this.#sessions]) {
      if (!session.mayGoOn()) continue
      // To the end of the line: else whoever came first would always be the first to get room.
      this.#sessions.delete(session)
      this.#sessions.add(session)
    }
  }
}
