/**
 * One fetch: which block is asked of whom, and when it's asked again of another.
 *
 * A window of blocks is under way; each is asked of the provider with the most room. What a lost provider leaves is
 * asked of others at once; what a silent one holds is asked of others after `BLOCK_PROVIDER_SILENT_MS` (hedged: the first
 * good answer counts); and the oldest block of a slow one is asked of an idle one after `BLOCK_SLOW_MS`. Since wants are
 * only sent for blocks that fit the window, a consumer that stops reading stops the providers, too.
 *
 * @see docs/spec/block-exchange.md
 */
import type { PeerId } from '@libp2p/interface'
import { CodedError } from '../core/coded-error.ts'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { digestCid, RAW } from '../crypto/hash.ts'
import { BlockProvider, type FetchedBlock, type ProviderLoss, type Want } from './block-provider.ts'
import type { BufferPool } from './buffer-pool.ts'
import type { P2pHost } from './host.ts'

/** What a provider did that ended or paused its part in a fetch. `cid` is the digest as a raw CIDv1. */
export type ProviderFault =
  | { code: 'BLOCK_ALTERED'; cid: string; peer: string }
  | { code: 'BLOCK_PROVIDER_MALFORMED'; peer: string; field: string }
  | { code: 'BLOCK_PROVIDER_GONE'; peer: string; reason: string }
  | { code: 'BLOCK_PROVIDER_SILENT'; peer: string; silentMs: number }

export type FetchFault = {
  code: 'BLOCK_UNAVAILABLE'
  cid: string
  asked: readonly string[]
  /** Of those asked, who gave altered bytes; `none`. */
  altered: string
}
export class FetchError extends CodedError<FetchFault> {}

/** One verified block that has come in (not necessarily in order). */
export interface FetchProgress {
  readonly index: number
  readonly bytes: number
  readonly peer: PeerId
}

export interface FetchOptions {
  readonly signal?: AbortSignal | undefined
  /** Blocks asked for and not yet taken, in bytes, counted as blocks of 1 MiB. @default BLOCK_WINDOW_BYTES */
  readonly windowBytes?: number | undefined
  /**
   * Blocks lie in memory that is used again: the caller calls `release` on each when nobody reads it any more.
   * @default false
   */
  readonly pooled?: boolean | undefined
  readonly onProgress?: ((progress: FetchProgress) => void) | undefined
  readonly onProviderFault?: ((peer: PeerId, fault: ProviderFault) => void) | undefined
}

interface Slot extends Want {
  readonly askedMs: number
  readonly asked: Set<BlockProvider>
  readonly refused: Set<BlockProvider>
  block: FetchedBlock | undefined
}

/** How often silence is looked for; a tick that comes much later means that our own process was busy. */
const TICK_MS = 200
const TICK_LATE_MS = 600

export class BlockFetch {
  readonly #log: Log
  readonly #digests: readonly Uint8Array[]
  readonly #options: FetchOptions
  readonly #windowBlocks: number
  readonly #altered: string[] = []
  readonly #providers: readonly BlockProvider[]
  readonly #silent = new Set<BlockProvider>()
  readonly #slots = new Map<number, Slot>()
  readonly #tick: NodeJS.Timeout
  #next = 0
  #tickMs = performance.now()
  #wake: (() => void) | undefined

  constructor(
    deps: { host: Pick<P2pHost, 'dialProtocol'>; pool: BufferPool; log: Log },
    digests: readonly Uint8Array[],
    peers: readonly PeerId[],
    options: FetchOptions,
  ) {
    this.#log = deps.log
    this.#digests = digests
    this.#options = options
    this.#windowBlocks = Math.max(
      1,
      Math.floor((options.windowBytes ?? limits.BLOCK_WINDOW_BYTES) / limits.SEGMENT_BYTES),
    )
    const events = {
      onBlock: (provider: BlockProvider, want: Want, block: FetchedBlock) => this.#onBlock(provider, want, block),
      onMissing: (provider: BlockProvider, want: Want) => this.#onMissing(provider, want),
      onLost: (provider: BlockProvider, wants: readonly Want[], loss: ProviderLoss) =>
        this.#onLost(provider, wants, loss),
    }
    const pool = options.pooled === true ? deps.pool : undefined
    const unique = new Map(peers.map((peer) => [peer.toString(), peer]))
    this.#providers = [...unique.values()].map((peer) => new BlockProvider({ host: deps.host, pool }, peer, events))
    this.#tick = setInterval(() => this.#onTick(), TICK_MS)
    this.#tick.unref()
    options.signal?.addEventListener('abort', this.#onAbort)
  }

  /**
   * The block at `index`; to be called for 0, 1, 2 … in turn.
   *
   * @throws {FetchError} `BLOCK_UNAVAILABLE`; the signal's reason when aborted.
   */
  async take(index: number): Promise<FetchedBlock> {
    for (;;) {
      this.#options.signal?.throwIfAborted()
      this.#pump()
      const slot = this.#slots.get(index)
      if (slot?.block !== undefined) {
        this.#slots.delete(index)
        // The freed place is asked for before the caller works on this block.
        this.#pump()
        return slot.block
      }
      if (slot === undefined || this.#isHopeless(slot)) throw this.#unavailable(index)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  close(): void {
    clearInterval(this.#tick)
    this.#options.signal?.removeEventListener('abort', this.#onAbort)
    for (const provider of this.#providers) if (!provider.isLost) provider.close()
    for (const slot of this.#slots.values()) slot.block?.release()
    this.#slots.clear()
  }

  readonly #onAbort = (): void => this.#notify()

  #notify(): void {
    this.#wake?.()
    this.#wake = undefined
  }

  /** Fills the window, and finds someone for every block that nobody is asked for. */
  #pump(): void {
    for (const slot of this.#slots.values()) {
      if (slot.block === undefined && slot.asked.size === 0) this.#assign(slot)
    }
    while (this.#slots.size < this.#windowBlocks) {
      const digest = this.#digests[this.#next]
      if (digest === undefined) return
      const nowMs = performance.now()
      const slot: Slot = {
        index: this.#next,
        digest,
        askedMs: nowMs,
        asked: new Set(),
        refused: new Set(),
        block: undefined,
      }
      this.#next++
      this.#slots.set(slot.index, slot)
      this.#assign(slot)
    }
  }

  #assign(slot: Slot): void {
    const provider = this.#choose(slot)
    if (provider === undefined) return
    slot.asked.add(provider)
    provider.ask(slot)
  }

  #usable(slot: Slot): BlockProvider[] {
    return this.#providers.filter((one) => !one.isLost && !slot.refused.has(one) && !slot.asked.has(one))
  }

  /** The one with the most room; a silent one only when there's no other. */
  #choose(slot: Slot): BlockProvider | undefined {
    const usable = this.#usable(slot)
    const speaking = usable.filter((one) => !this.#silent.has(one))
    const from = speaking.length > 0 ? speaking : usable
    let best: BlockProvider | undefined
    let bestRoom = 0
    for (const one of from) {
      const room = from.length === 1 ? this.#windowBlocks - one.outstanding.length : one.room(this.#windowBlocks)
      if (room > bestRoom) {
        best = one
        bestRoom = room
      }
    }
    return best
  }

  #isHopeless(slot: Slot): boolean {
    return slot.asked.size === 0 && this.#usable(slot).length === 0
  }

  #onBlock(provider: BlockProvider, want: Want, block: FetchedBlock): void {
    this.#silent.delete(provider)
    const slot = this.#slots.get(want.index)
    if (slot !== undefined && slot.block === undefined) {
      slot.block = block
      this.#options.onProgress?.({ index: want.index, bytes: block.bytes, peer: provider.peer })
      this.#notify()
    } else {
      // Hedged, and another delivered it first.
      block.release()
    }
    this.#pump()
  }

  #onMissing(provider: BlockProvider, want: Want): void {
    this.#silent.delete(provider)
    const slot = this.#slots.get(want.index)
    slot?.asked.delete(provider)
    slot?.refused.add(provider)
    this.#pump()
    this.#notify()
  }

  #onLost(provider: BlockProvider, wants: readonly Want[], loss: ProviderLoss): void {
    this.#silent.delete(provider)
    for (const want of wants) this.#slots.get(want.index)?.asked.delete(provider)
    if (loss.kind === 'altered') this.#altered.push(provider.peer.toString())
    this.#report(provider, lossFault(provider.peer, loss))
    this.#pump()
    this.#notify()
  }

  #report(provider: BlockProvider, fault: ProviderFault): void {
    this.#log.warn({ fault }, 'a block provider failed')
    this.#options.onProviderFault?.(provider.peer, fault)
  }

  #onTick(): void {
    const nowMs = performance.now()
    const late = nowMs - this.#tickMs > TICK_LATE_MS
    this.#tickMs = nowMs
    for (const provider of this.#providers) {
      if (provider.isLost) continue
      if (late) provider.excuse(nowMs)
      const silentMs = Math.round(provider.silentMs(nowMs))
      if (silentMs >= limits.BLOCK_PROVIDER_LOST_MS) {
        provider.lose({ kind: 'gone', reason: `silent for ${silentMs} ms` })
      } else if (silentMs >= limits.BLOCK_PROVIDER_SILENT_MS) {
        if (!this.#silent.has(provider)) {
          this.#silent.add(provider)
          this.#report(provider, { code: 'BLOCK_PROVIDER_SILENT', peer: provider.peer.toString(), silentMs })
        }
      } else {
        this.#silent.delete(provider)
      }
    }
    this.#hedge(nowMs)
  }

  /** Asks again, of others, what silent providers hold and what slow ones hold back. */
  #hedge(nowMs: number): void {
    // A slow provider is doing its best: only who has nothing else to do helps it.
    const idle = new Set(this.#providers.filter((one) => !one.isLost && one.outstanding.length === 0))
    for (const slot of this.#slots.values()) {
      if (slot.block !== undefined || slot.asked.size !== 1) continue
      const [holder] = slot.asked
      const isSilent = holder !== undefined && this.#silent.has(holder)
      const isSlow = nowMs - slot.askedMs >= limits.BLOCK_SLOW_MS
      if (!isSilent && !isSlow) continue
      const other = this.#choose(slot)
      if (other === undefined || this.#silent.has(other) || (!isSilent && !idle.has(other))) continue
      slot.asked.add(other)
      other.ask(slot)
    }
  }

  #unavailable(index: number): FetchError {
    const digest = this.#digests[index] ?? new Uint8Array()
    const asked = this.#providers.map((one) => one.peer.toString())
    return new FetchError({
      code: 'BLOCK_UNAVAILABLE',
      cid: cidText(digest),
      asked,
      altered: this.#altered.join(', ') || 'none',
    })
  }
}

export function lossFault(peerId: PeerId, loss: ProviderLoss): ProviderFault {
  const peer = peerId.toString()
  switch (loss.kind) {
    case 'altered':
      return { code: 'BLOCK_ALTERED', cid: cidText(loss.want.digest), peer }
    case 'malformed':
      return { code: 'BLOCK_PROVIDER_MALFORMED', peer, field: loss.field }
    case 'gone':
      return { code: 'BLOCK_PROVIDER_GONE', peer, reason: loss.reason }
    default:
      return loss satisfies never
  }
}

function cidText(digest: Uint8Array): string {
  return digestCid(RAW, digest).toString()
}
