/**
 * The libp2p host of a peer: TCP, TLS 1.3 first and Noise for other IPFS programs, yamux, identify, gossipsub, members only.
 *
 * @see docs/decisions/0020-members-only-transport.md, 0021-turns-and-probes.md
 */
import { gossipsub, type GossipSub } from '@chainsafe/libp2p-gossipsub'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { type Identify, type IdentifyPush, identify, identifyPush } from '@libp2p/identify'
import type { Libp2p } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { socketTls } from './socket-tls.ts'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { createLibp2p, type Libp2pOptions } from 'libp2p'
import { CodedError } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { eagerYamux } from './eager-yamux.ts'
import { GossipIds } from './gossip-ids.ts'
import { MemberGate, type Members } from './member-gate.ts'

export type HostFault =
  | { code: 'P2P_LISTEN_FAILED'; address: string; reason: string }
  | { code: 'P2P_ADDRESS_MALFORMED'; address: string }
export class HostError extends CodedError<HostFault> {}

export interface HostServices extends Record<string, unknown> {
  readonly identify: Identify
  readonly identifyPush: IdentifyPush
  readonly pubsub: GossipSub
  readonly gossipIds: GossipIds
}
export type P2pHost = Libp2p<HostServices>

export type EncrypterName = 'tls' | 'noise'

export interface HostOptions {
  /** Seed of the peer's Ed25519 key, 32 bytes. */
  readonly privateKey: Uint8Array
  /** Multiaddrs such as `/ip4/0.0.0.0/tcp/4101`; none: this peer only dials. */
  readonly listen: readonly string[]
  /** Multiaddrs told to others in place of those listened on, for a peer behind address translation. */
  readonly announce?: readonly string[]
  readonly members: Members
  /** In order of preference. @default ['tls', 'noise'] */
  readonly encrypters?: readonly EncrypterName[]
  readonly log: Log
}

const ENCRYPTERS = { tls: socketTls, noise } as const
/** What the operating system says when an address can't be listened on. */
const LISTEN_REASON = /EADDRINUSE|EADDRNOTAVAIL|EACCES|EAFNOSUPPORT|ENOTFOUND|EAI_AGAIN/

/**
 * Starts a host, and listens.
 *
 * @throws {HostError} `P2P_LISTEN_FAILED`, `P2P_ADDRESS_MALFORMED`.
 */
export async function startHost(options: HostOptions): Promise<P2pHost> {
  const listen = options.listen.map((address) => parseAddress(address).toString())
  const announce = (options.announce ?? []).map((address) => parseAddress(address).toString())
  const gossipIds = new GossipIds()
  const config: Libp2pOptions<HostServices> = {
    privateKey: await generateKeyPairFromSeed('Ed25519', options.privateKey),
    addresses: { listen, announce },
    transports: [tcp()],
    connectionEncrypters: (options.encrypters ?? ['tls', 'noise']).map((name) => ENCRYPTERS[name]()),
    streamMuxers: [
      eagerYamux({
        maxInboundStreams: limits.P2P_STREAMS_PER_CONNECTION_MAX,
        maxOutboundStreams: limits.P2P_STREAMS_PER_CONNECTION_MAX,
        streamOptions: {
          maxStreamWindowSize: limits.P2P_STREAM_WINDOW_BYTES_MAX,
          maxReadBufferLength: limits.P2P_STREAM_READ_BUFFER_BYTES_MAX,
        },
      }),
    ],
    connectionGater: new MemberGate({ members: options.members, log: options.log }),
    connectionManager: {
      maxConnections: limits.P2P_CONNECTIONS_MAX,
      maxIncomingPendingConnections: limits.P2P_PENDING_INBOUND_MAX,
      inboundConnectionThreshold: limits.P2P_INBOUND_PER_SECOND_MAX,
      dialTimeout: limits.P2P_DIAL_TIMEOUT_MS,
    },
    connectionMonitor: {
      pingInterval: limits.P2P_PING_INTERVAL_MS,
      pingTimeout: { minTimeout: limits.P2P_PING_TIMEOUT_MS, maxTimeout: limits.P2P_PING_TIMEOUT_MS },
    },
    services: {
      identify: identify(),
      // A protocol registered after a connection was made (Helia starts late) is told to those already connected.
      identifyPush: identifyPush(),
      pubsub: memberGossip(gossipIds),
      gossipIds: () => gossipIds,
    },
  }
  try {
    return await createLibp2p(config)
  } catch (error) {
    throw listenFault(error, listen)
  }
}

/** @throws {HostError} `P2P_ADDRESS_MALFORMED` */
export function parseAddress(address: string): Multiaddr {
  try {
    return multiaddr(address)
  } catch (error) {
    throw new HostError({ code: 'P2P_ADDRESS_MALFORMED', address }, { cause: error })
  }
}

function memberGossip(ids: GossipIds): ReturnType<typeof gossipsub> {
  return gossipsub({
    // Messages speak for themselves by what is signed inside; who passed one on says nothing.
    globalSignaturePolicy: 'StrictNoSign',
    msgIdFn: (message) => ids.idOf(message.topic, message.data),
    // Groups are small: whoever publishes sends to all it knows, and one lost neighbour costs nothing.
    floodPublish: true,
    heartbeatInterval: 500,
    fallbackToFloodsub: false,
    doPX: false,
    // A peer alone in its consortium still publishes; so does one whose header others published first.
    allowPublishToZeroTopicPeers: true,
    ignoreDuplicatePublishError: true,
    maxInboundDataLength: limits.GOSSIP_RPC_BYTES_MAX,
    // "I don't want it" costs as much as a header.
    idontwantMinDataSize: limits.FINAL_HEADER_BYTES_MAX,
    // Peers of one site share an address, and a demo runs on one machine.
    scoreParams: { IPColocationFactorWeight: 0 },
  })
}

function listenFault(error: unknown, listen: readonly string[]): unknown {
  if (!(error instanceof Error) || error.name !== 'UnsupportedListenAddressesError') return error
  // libp2p folds the operating system's errors into one text, an address and its reason each.
  const address = listen.find((one) => error.message.includes(`${one}:`)) ?? listen.join(', ')
  const reason = LISTEN_REASON.exec(error.message)?.[0] ?? 'not a TCP address'
  return new HostError({ code: 'P2P_LISTEN_FAILED', address, reason }, { cause: error })
}
