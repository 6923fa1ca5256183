/**
 * Helia on the peer's own libp2p host: bitswap with members, and nothing else. No bootstrap, no DHT, no delegated routing,
 * no HTTP gateway; the one router names the members that are connected.
 *
 * The package `helia` loads every transport libp2p has (WebRTC, mDNS, UPnP …) although none is used here; so it's loaded
 * when this function is called, after the peer listens.
 *
 * @see docs/decisions/0024-helia-for-members.md
 */
import type { Router } from '@helia/interface'
import type { HeliaWithLibp2p } from '@helia/libp2p'
import type { Blockstore } from 'interface-blockstore'
import type { Log } from '../core/ports.ts'
import type { HostServices, P2pHost } from './host.ts'

export type MemberHelia = HeliaWithLibp2p<HostServices>

export const MEMBERS_ROUTER = 'apotheca-members'

/**
 * Starts Helia. `stop()` of what is returned ends bitswap, and leaves the host running.
 *
 * @param deps.blockstore - verifies what is put, and refuses `delete` (Helia's own garbage collection must find it so).
 */
export async function startHelia(deps: { host: P2pHost; blockstore: Blockstore; log: Log }): Promise<MemberHelia> {
  const sinceMs = performance.now()
  const [{ createHeliaLight }, { withBitswap }] = await Promise.all([import('helia'), import('@helia/bitswap')])
  const light = createHeliaLight({ blockstore: deps.blockstore, routers: [membersRouter(deps.host)] })
  // `withLibp2pLight` would make a host of its own: ours is running, and admits only members.
  const helia: MemberHelia = Object.assign(light, { libp2p: deps.host })
  await withBitswap(helia).start()
  deps.log.info({ tookMs: Math.round(performance.now() - sinceMs) }, 'bitswap is up')
  return helia
}

/** Bitswap asks who might have a block: any connected member. Sessions need this; a plain want is broadcast to all. */
export function membersRouter(host: Pick<P2pHost, 'getConnections'>): Router {
  return {
    name: MEMBERS_ROUTER,
    async *findProviders() {
      const asked = new Set<string>()
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
