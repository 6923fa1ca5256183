/**
 * Blocks for validators that missed them: one after the other for each, and not the same one again at once. Whoever asks for more
 * than that asks again later, so that asking costs no more than it should.
 */
import type { CID } from 'multiformats/cid'
import { CONSENSUS_SERVE_INTERVAL_MS } from '../core/limits.ts'
import type { ReplicaDeps } from './replica-ports.ts'
import type { Block } from './simplex-state.ts'

export interface BlockParts {
  readonly header: Uint8Array
  readonly body: Uint8Array
}

export class BlockService {
  readonly #deps: Pick<ReplicaDeps, 'chain' | 'monotonicMs'>
  readonly #againMs: number
  /** By validator. */
  readonly #last = new Map<number, { readonly id: string; readonly atMs: number; readonly isUnderWay: boolean }>()

  /** @param options.againMs - before the same block is given to the same validator again. */
  constructor(deps: Pick<ReplicaDeps, 'chain' | 'monotonicMs'>, options: { readonly againMs: number }) {
    this.#deps = deps
    this.#againMs = options.againMs
  }

  /**
   * @param held - the block, where it isn't final.
   * @returns `undefined` where this peer doesn't have it, or it was asked for too soon.
   */
  async block(to: number, block: CID, held: Block | undefined): Promise<BlockParts | undefined> {
    const atMs = this.#deps.monotonicMs()
    const id = block.toString()
    const last = this.#last.get(to)
    const pauseMs = last?.id === id ? this.#againMs : CONSENSUS_SERVE_INTERVAL_MS
    if (last !== undefined && (last.isUnderWay || atMs < last.atMs + pauseMs)) return undefined
    this.#last.set(to, { id, atMs, isUnderWay: true })
    try {
      return held === undefined ? await this.#finalBlock(block) : { header: held.headerBytes, body: held.body }
    } finally {
      this.#last.set(to, { id, atMs, isUnderWay: false })
    }
  }

  async #finalBlock(id: CID): Promise<BlockParts | undefined> {
    const { reader } = this.#deps.chain
    const final = await reader.headerById(id)
    const body = final === undefined ? undefined : await reader.bodyAt(final.header.height)
    return final === undefined || body === undefined ? undefined : { header: final.headerBytes, body: body.bytes }
  }
}
