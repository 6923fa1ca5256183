/**
 * What this peer has seen of the others since it was started: whether they are connected and since when not, how quickly they
 * give blocks, and what they gave that was wrong. A read asks the quick ones first and knows when one is late; a failed read
 * says who was away since when; `peer status` shows who needs a look.
 */
import type { PeerId } from '@libp2p/interface'
import { HEDGE_MS_FIRST, HEDGE_MS_MAX, HEDGE_MS_MIN, HOLDER_LATE_MS, PEER_PACE_SAMPLES } from '../core/limits.ts'
import type { Clock } from '../core/ports.ts'
import type { ProviderFault } from '../p2p/block-fetch.ts'
import type { P2pHost } from '../p2p/host.ts'

/** How a peer served blocks to this one. */
export interface PeerReads {
  readonly blocks: number
  /** Of the last ones, in milliseconds. */
  readonly medianMs: number
  readonly p95Ms: number
  /** How often it let wait for longer than was waited for. */
  readonly late: number
  /** Blocks that it should have and hadn't. */
  readonly lacking: number
  /** Blocks with another hash than was asked for, and broken answers. */
  readonly altered: number
}

export interface HedgeBounds {
  readonly minMs: number
  /** For one that never gave anything. */
  readonly firstMs: number
  readonly maxMs: number
}

interface Seen {
  readonly samples: number[]
  blocks: number
  late: number
  lacking: number
  altered: number
  /** By `performance.now()`: until then it counts as late. */
  lateUntilMs: number
  /** By the wall clock. */
  lastSeenMs: number | undefined
}

const P95 = 0.95

export class PeerHistory {
  readonly #host: Pick<P2pHost, 'addEventListener' | 'removeEventListener' | 'getConnections'>
  readonly #clock: Clock
  readonly #bounds: HedgeBounds
  readonly #peers = new Map<string, Seen>()
  #startedMs: number

  /** @param options - bounds of how long a holder is waited for. @default the limits' */
  constructor(
    deps: {
      readonly host: Pick<P2pHost, 'addEventListener' | 'removeEventListener' | 'getConnections'>
      readonly clock: Clock
    },
    options: HedgeBounds = { minMs: HEDGE_MS_MIN, firstMs: HEDGE_MS_FIRST, maxMs: HEDGE_MS_MAX },
  ) {
    this.#bounds = options
    this.#host = deps.host
    this.#clock = deps.clock
    this.#startedMs = deps.clock.nowMs()
  }

  start(): void {
    this.#startedMs = this.#clock.nowMs()
    this.#host.addEventListener('peer:disconnect', this.#onDisconnect)
  }

  stop(): void {
    this.#host.removeEventListener('peer:disconnect', this.#onDisconnect)
  }

  isConnected(peer: PeerId): boolean {
    return this.#host.getConnections(peer).some(({ status }) => status === 'open')
  }

  /** Since when a peer isn't connected; the start of this one, where it never was. */
  awaySinceMs(peer: PeerId): number {
    return this.#peers.get(peer.toString())?.lastSeenMs ?? this.#startedMs
  }

  /** It gave a block. @param tookMs - since it was the next to be answered */
  answered(peer: PeerId, tookMs: number): void {
    const seen = this.#of(peer)
    seen.blocks++
    seen.lateUntilMs = 0
    seen.samples.push(tookMs)
    if (seen.samples.length > PEER_PACE_SAMPLES) seen.samples.shift()
  }

  /** It lets wait for longer than `hedgeMs`. */
  late(peer: PeerId): void {
    const seen = this.#of(peer)
    const nowMs = performance.now()
    if (seen.lateUntilMs < nowMs) seen.late++
    seen.lateUntilMs = nowMs + HOLDER_LATE_MS
  }

  /** It hasn't a block that it should have. */
  lacking(peer: PeerId): void {
    this.#of(peer).lacking++
  }

  failed(peer: PeerId, fault: ProviderFault): void {
    if (fault.code === 'BLOCK_ALTERED' || fault.code === 'BLOCK_PROVIDER_MALFORMED') this.#of(peer).altered++
    else if (fault.code === 'BLOCK_PROVIDER_SILENT') this.late(peer)
  }

  /** Whether it was late a moment ago, and has given nothing since. */
  isLate(peer: PeerId): boolean {
    return (this.#peers.get(peer.toString())?.lateUntilMs ?? 0) > performance.now()
  }

  /** How long a block of it is waited for before others are asked: what 19 of 20 took. */
  hedgeMs(peer: PeerId): number {
    const samples = this.#peers.get(peer.toString())?.samples ?? []
    const { firstMs, maxMs, minMs } = this.#bounds
    return samples.length === 0 ? firstMs : Math.min(maxMs, Math.max(minMs, quantile(samples, P95)))
  }

  medianMs(peer: PeerId): number {
    return quantile(this.#peers.get(peer.toString())?.samples ?? [], 0.5)
  }

  /** `undefined`: it was asked for nothing. */
  reads(peer: string): PeerReads | undefined {
    const seen = this.#peers.get(peer)
    if (seen === undefined || seen.blocks + seen.late + seen.lacking + seen.altered === 0) return undefined
    const { altered, blocks, lacking, late, samples } = seen
    const medianMs = Math.round(quantile(samples, 0.5))
    return { blocks, medianMs, p95Ms: Math.round(quantile(samples, P95)), late, lacking, altered }
  }

  readonly #onDisconnect = (event: CustomEvent<PeerId>): void => {
    this.#of(event.detail).lastSeenMs = this.#clock.nowMs()
  }

  #of(peer: PeerId): Seen {
    const name = peer.toString()
    const known = this.#peers.get(name)
    if (known !== undefined) return known
    // Only members connect, and only members are asked: there are few.
    const seen = { samples: [], blocks: 0, late: 0, lacking: 0, altered: 0, lateUntilMs: 0, lastSeenMs: undefined }
    this.#peers.set(name, seen)
    return seen
  }
}

/** 0 where there are no samples. */
function quantile(samples: readonly number[], part: number): number {
  const sorted = samples.toSorted((one, other) => one - other)
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0
}
