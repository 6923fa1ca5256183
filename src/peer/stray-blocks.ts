/**
 * Mends damaged blocks that are part of no column of this peer's: bodies of the ledger, and what lies here beside the shards. Any
 * member may have them.
 */
import { REPAIR_STRAY_RETRY_MS } from '../core/limits.ts'
import { toString } from 'uint8arrays/to-string'
import type { BlockFetcher } from '../p2p/block-fetcher.ts'
import { FetchError } from '../p2p/block-fetch.ts'
import type { Blocks } from '../store/blocks.ts'
import { joined } from './block-parts.ts'
import type { ByteRate } from './byte-rate.ts'

export interface StrayBlocksDeps {
  readonly store: Pick<Blocks, 'damaged' | 'has' | 'write'>
  readonly fetcher: Pick<BlockFetcher, 'fetch' | 'findProviders'>
  readonly rate: ByteRate
}

export class StrayBlocks {
  readonly #deps: StrayBlocksDeps
  /** Nobody had them; when they are asked for again. */
  readonly #notFound = new Map<string, number>()

  constructor(deps: StrayBlocksDeps) {
    this.#deps = deps
  }

  /** Damaged blocks that nobody had when last asked. */
  get notFound(): number {
    return this.#notFound.size
  }

  /** @returns how many were mended. @throws the signal's reason; faults of the store */
  async mend(signal: AbortSignal): Promise<number> {
    const { store } = this.#deps
    const damaged = store.damaged()
    const names = new Set(damaged.map(nameOf))
    for (const name of this.#notFound.keys()) if (!names.has(name)) this.#notFound.delete(name)
    let mended = 0
    for (const digest of damaged) {
      if (store.has(digest) || (this.#notFound.get(nameOf(digest)) ?? 0) > performance.now()) continue
      if (await this.#mendOne(digest, signal)) {
        mended++
        this.#notFound.delete(nameOf(digest))
      } else this.#notFound.set(nameOf(digest), performance.now() + REPAIR_STRAY_RETRY_MS)
    }
    return mended
  }

  async #mendOne(digest: Uint8Array, signal: AbortSignal): Promise<boolean> {
    const { fetcher, rate, store } = this.#deps
    await rate.ready(signal)
    const providers = await fetcher.findProviders(digest, signal)
    if (providers.length === 0) return false
    try {
      for await (const block of fetcher.fetch([digest], providers, { signal })) {
        try {
          rate.spend(block.bytes)
          await store.write([{ digest, parts: [joined(block.parts, block.bytes)] }])
        } finally {
          block.release()
        }
      }
      return true
    } catch (error) {
      if (error instanceof FetchError) return false
      throw error
    }
  }
}

const nameOf = (digest: Uint8Array): string => toString(digest, 'base64')
