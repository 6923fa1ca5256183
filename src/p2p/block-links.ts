/**
 * Streams of `/apotheca/blocks/1` to several peers for one reader, who says which block is asked of whom: shards of one extent
 * lie at one peer each. `BlockFetch` is for blocks that any of its providers may have.
 *
 * @see docs/spec/block-exchange.md
 */
import type { PeerId } from '@libp2p/interface'
import { BLOCK_PROVIDER_LOST_MS } from '../core/limits.ts'
import { type ProviderFault, lossFault } from './block-fetch.ts'
import { BlockProvider, type FetchedBlock, type Want } from './block-provider.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { P2pHost } from './host.ts'

export interface BlockLinkEvents {
  /** @param tookMs - since it was the next to be answered. */
  onBlock(peer: PeerId, want: Want, block: FetchedBlock, tookMs: number): void
  onMissing(peer: PeerId, want: Want): void
  /** The peer is of no more use for this reader; `wants` are those it leaves unanswered. */
  onLost(peer: PeerId, wants: readonly Want[], fault: ProviderFault): void
}

interface Link {
  readonly provider: BlockProvider
  /** Since when its oldest want is the next to be answered. */
  sinceMs: number
}

export class BlockLinks {
  readonly #host: Pick<P2pHost, 'dialProtocol'>
  readonly #pool: BufferPool
  readonly #events: BlockLinkEvents
  readonly #onClose: () => void
  readonly #links = new Map<string, Link>()

  constructor(
    deps: { readonly host: Pick<P2pHost, 'dialProtocol'>; readonly pool: BufferPool; readonly onClose: () => void },
    events: BlockLinkEvents,
  ) {
    this.#host = deps.host
    this.#pool = deps.pool
    this.#onClose = deps.onClose
    this.#events = events
  }

  /** Buffers that this reader's blocks lie in, for what it makes of them. */
  get pool(): BufferPool {
    return this.#pool
  }

  ask(peer: PeerId, want: Want): void {
    const link = this.#linkTo(peer)
    if (link.provider.outstanding.length === 0) link.sinceMs = performance.now()
    link.provider.ask(want)
  }

  /** Wants that a peer hasn't answered. */
  outstanding(peer: PeerId): number {
    return this.#links.get(peer.toString())?.provider.outstanding.length ?? 0
  }

  /** Whether a peer was given up. */
  isLost(peer: PeerId): boolean {
    return this.#links.get(peer.toString())?.provider.isLost === true
  }

  /** Gives a peer that was given up another chance: the next want opens a new stream. */
  forget(peer: PeerId): void {
    if (this.isLost(peer)) this.#links.delete(peer.toString())
  }

  /** Peers that let their oldest want wait for longer than `limitMs`, with what they owe; gives up those that are silent for too long. */
  waiting(
    nowMs: number,
    limitMs: (peer: PeerId) => number,
  ): { readonly peer: PeerId; readonly wants: readonly Want[] }[] {
    const late: { peer: PeerId; wants: readonly Want[] }[] = []
    for (const { provider, sinceMs } of this.#links.values()) {
      if (provider.isLost || provider.outstanding.length === 0) continue
      const silentMs = Math.round(provider.silentMs(nowMs))
      if (silentMs >= BLOCK_PROVIDER_LOST_MS) provider.lose({ kind: 'gone', reason: `silent for ${silentMs} ms` })
      else if (nowMs - sinceMs >= limitMs(provider.peer))
        late.push({ peer: provider.peer, wants: provider.outstanding })
    }
    return late
  }

  /** For so long all waited for this process, and not it for them. */
  excuse(nowMs: number, heldUpMs: number): void {
    for (const link of this.#links.values()) {
      link.sinceMs = Math.min(nowMs, link.sinceMs + heldUpMs)
      link.provider.excuse(nowMs)
    }
  }

  close(): void {
    for (const { provider } of this.#links.values()) if (!provider.isLost) provider.close()
    this.#onClose()
  }

  #linkTo(peer: PeerId): Link {
    const known = this.#links.get(peer.toString())
    if (known !== undefined) return known
    const took = (): number => {
      const nowMs = performance.now()
      const tookMs = nowMs - link.sinceMs
      link.sinceMs = nowMs
      return tookMs
    }
    const provider = new BlockProvider({ host: this.#host, pool: this.#pool }, peer, {
      onBlock: (_provider, want, block) => this.#events.onBlock(peer, want, block, took()),
      onMissing: (_provider, want) => {
        took()
        this.#events.onMissing(peer, want)
      },
      onLost: (_provider, wants, loss) => this.#events.onLost(peer, wants, lossFault(peer, loss)),
    })
    const link: Link = { provider, sinceMs: performance.now() }
    this.#links.set(peer.toString(), link)
    return link
  }
}
