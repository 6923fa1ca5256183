/**
 * Helia on the peer's own libp2p host: bitswap with members, and nothing else. No bootstrap, no DHT, no delegated routing,
 * no HTTP gateway; the one router names those who hold a block by the ledger, and else the members that are connected.
 *
 * The package `helia` loads every transport libp2p has (WebRTC, mDNS, UPnP …) although none is used here; so it's loaded
 * when this function is called, after the peer listens.
 *
 * @see docs/decisions/0024-helia-for-members.md
 */
import type { Router } from '@helia/interface'
import type { PeerId } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import type { HeliaWithLibp2p } from '@helia/libp2p'
import type { Blockstore } from 'interface-blockstore'
import { HOLDERS_TIMEOUT_MS } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { HostServices, P2pHost } from './host.ts'

export type MemberHelia = HeliaWithLibp2p<HostServices>

export const MEMBERS_ROUTER = 'apotheca-members'

/** Who holds a block by the ledger; none: it doesn't say. */
export type FindHolders = (cid: CID, signal: AbortSignal) => Promise<readonly PeerId[]>

/**
 * Starts Helia. `stop()` of what is returned ends bitswap, and leaves the host running.
 *
 * @param deps.blockstore - verifies what is put, and refuses `delete` (Helia's own garbage collection must find it so).
 */
export async function startHelia(deps: {
  host: P2pHost
  blockstore: Blockstore
  findHolders: FindHolders
  log: Log
}): Promise<MemberHelia> {
  const sinceMs = performance.now()
  const [{ createHeliaLight }, { withBitswap }] = await Promise.all([import('helia'), import('@helia/bitswap')])
  const light = createHeliaLight({ blockstore: deps.blockstore, routers: [membersRouter(deps.host, deps.findHolders)] })
  // `withLibp2pLight` would make a host of its own: ours is running, and admits only members.
  const helia: MemberHelia = Object.assign(light, { libp2p: deps.host })
  await withBitswap(helia).start()
  deps.log.info({ tookMs: Math.round(performance.now() - sinceMs) }, 'bitswap is up')
  return helia
}

/**
 * Bitswap asks who might have a block: who holds it, and any connected member where that isn't known. Sessions need this; a plain
 * want is broadcast to all.
 */
export function membersRouter(host: Pick<P2pHost, 'getConnections'>, findHolders: FindHolders): Router {
  return {
    name: MEMBERS_ROUTER,
    async *findProviders(cid, options) {
      const asked = new Set<string>()
      for (const holder of await findHolders(cid, options?.signal ?? AbortSignal.timeout(HOLDERS_TIMEOUT_MS))) {
        const multiaddrs = host.getConnections(holder).map(({ remoteAddr }) => remoteAddr)
        if (multiaddrs.length === 0) continue
        asked.add(holder.toString())
        yield { id: holder.toCID(), multiaddrs, router: MEMBERS_ROUTER, fallback: false }
      }
      if (asked.size > 0) return
      for (const connection of host.getConnections()) {
        const peer = connection.remotePeer.toString()
        if (asked.has(peer)) continue
        asked.add(peer)
        const id = connection.remotePeer.toCID()
        yield { id, multiaddrs: [connection.remoteAddr], router: MEMBERS_ROUTER, fallback: false }
      }
    },
  }
}
