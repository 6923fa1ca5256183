/**
 * Reads blocks that all holders of an extent keep whole: extent maps, manifests, tree nodes. Whoever is quick is asked first; where no
 * holder has it, all other members are: who stored it, or kept a copy, may have it still.
 */
import type { PeerId } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import type { BlockFetcher } from '../p2p/block-fetcher.ts'
import { FetchError } from '../p2p/block-fetch.ts'
import type { Blocks } from '../store/blocks.ts'
import { joined } from './block-parts.ts'
import { readHere } from './own-blocks.ts'
import type { PeerHistory } from './peer-history.ts'
import { type Holder, type Holders, distinctHolders } from './placed-extent.ts'
import { unavailable } from './unavailable.ts'

export interface CopyReaderDeps {
  readonly store: Pick<Blocks, 'read'>
  readonly fetcher: Pick<BlockFetcher, 'fetch' | 'findProviders'>
  readonly history: PeerHistory
  /** This peer's own id. */
  readonly self: string
}

/** Those who have it, and the number of their extent. */
export interface CopyPlace {
  readonly extent: number
  readonly holders: Holders
}

export class CopyReader {
  readonly #deps: CopyReaderDeps
  constructor(deps: CopyReaderDeps) {
    this.#deps = deps
  }

  /** @throws {PeerError} `EXTENT_UNAVAILABLE`; the signal's reason */
  async read(cid: CID, { extent, holders }: CopyPlace, signal: AbortSignal): Promise<Uint8Array> {
    const { fetcher, history, self, store } = this.#deps
    const { digest } = cid.multihash
    const here = await readHere(store, digest)
    if (here !== undefined) return here
    const others = distinctHolders(holders).filter(({ peer }) => peer.toString() !== self)
    const lacking = new Set<string>()
    const askAll = async (peers: readonly PeerId[]): Promise<Uint8Array | undefined> => {
      const onProviderFault: NonNullable<Parameters<BlockFetcher['fetch']>[2]>['onProviderFault'] = (peer, fault) => {
        history.failed(peer, fault)
      }
      try {
        for await (const block of fetcher.fetch([digest], peers, { signal, onProviderFault })) {
          return joined(block.parts, block.bytes)
        }
      } catch (error) {
        if (!(error instanceof FetchError)) throw error
      }
      for (const peer of peers) lacking.add(peer.toString())
      return undefined
    }
    const connected = others.filter(({ peer }) => history.isConnected(peer))
    const costOf = ({ peer }: Holder): number => (history.isLate(peer) ? 1e6 : 0) + history.medianMs(peer)
    const ordered = connected.toSorted((one, other) => costOf(one) - costOf(other))
    const away = others.filter((one) => !connected.includes(one))
    for (const some of [ordered, away]) {
      const found = some.length === 0 ? undefined : await askAll(some.map(({ peer }) => peer))
      if (found !== undefined) return found
    }
    const asked = new Set(others.map(({ peer }) => peer.toString()))
    const elsewhere = (await fetcher.findProviders(digest, signal)).filter((peer) => !asked.has(peer.toString()))
    const found = elsewhere.length === 0 ? undefined : await askAll(elsewhere)
    if (found !== undefined) return found
    const missing = others.map((holder) => {
      const why = lacking.has(holder.peer.toString()) ? 'does not give it' : undefined
      return { digest: undefined, holder, why }
    })
    throw unavailable(history, { cid, extent, needed: 1, present: 0, missing })
  }
}
