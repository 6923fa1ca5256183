/**
 * Admission: only members, decided while the connection is being made and after the encrypter has proven the peer id.
 *
 * A stranger gets no muxer, no protocol list and no identify; its socket is reset. Members come from the ledger, so the
 * set is asked for at each connection, and `dropStrangers` ends the connections of those that have left it.
 *
 * @see docs/decisions/0020-members-only-transport.md
 */
import type { ConnectionGater, Libp2p, MultiaddrConnection, PeerId } from '@libp2p/interface'
import { CodedError } from '../core/coded-error.ts'
import { P2P_STRANGER_LOG_INTERVAL_MS } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'

export type MemberFault = { code: 'P2P_NOT_A_MEMBER'; peer: string; address: string }
export class MemberError extends CodedError<MemberFault> {}

/** Peer ids, as text, that may connect now. */
export type Members = () => ReadonlySet<string>

export interface MemberGateDeps {
  readonly members: Members
  readonly log: Log
}

/** The connection gater of a host. Strangers that knock are counted, and logged once a minute. */
export class MemberGate implements ConnectionGater {
  readonly #deps: MemberGateDeps
  #refused = 0
  #refusedAtLastLog = 0
  #nextLogMs = 0

  constructor(deps: MemberGateDeps) {
    this.#deps = deps
  }

  /** Strangers refused on this side since the start, inbound only. */
  get refused(): number {
    return this.#refused
  }

  /** @throws {MemberError} `P2P_NOT_A_MEMBER`: libp2p hands it on to whoever dialed. */
  denyDialPeer(peer: PeerId): boolean {
    return this.#refuseOutbound(peer, '')
  }

  /** @throws {MemberError} `P2P_NOT_A_MEMBER`: libp2p hands it on to whoever dialed. */
  denyOutboundEncryptedConnection(peer: PeerId, connection: MultiaddrConnection): boolean {
    return this.#refuseOutbound(peer, connection.remoteAddr.toString())
  }

  denyInboundEncryptedConnection(peer: PeerId, connection: MultiaddrConnection): boolean {
    if (this.#deps.members().has(peer.toString())) return false
    this.#refused++
    const nowMs = performance.now()
    if (nowMs >= this.#nextLogMs) {
      this.#nextLogMs = nowMs + P2P_STRANGER_LOG_INTERVAL_MS
      const sinceLastLog = this.#refused - this.#refusedAtLastLog
      this.#refusedAtLastLog = this.#refused
      const fields = { peer: peer.toString(), address: connection.remoteAddr.toString(), sinceLastLog }
      this.#deps.log.warn({ ...fields, total: this.#refused }, 'refused a peer that is not a member')
    }
    return true
  }

  #refuseOutbound(peer: PeerId, address: string): boolean {
    if (this.#deps.members().has(peer.toString())) return false
    throw new MemberError({ code: 'P2P_NOT_A_MEMBER', peer: peer.toString(), address })
  }
}

/**
 * Ends the connections of peers that are no longer members.
 *
 * @returns the peer ids that were dropped.
 */
export function dropStrangers(host: Pick<Libp2p, 'getConnections'>, members: Members): string[] {
  const allowed = members()
  const dropped = new Set<string>()
  for (const connection of host.getConnections()) {
    const peer = connection.remotePeer.toString()
    if (allowed.has(peer)) continue
    dropped.add(peer)
    connection.abort(new MemberError({ code: 'P2P_NOT_A_MEMBER', peer, address: connection.remoteAddr.toString() }))
  }
  return [...dropped]
}
