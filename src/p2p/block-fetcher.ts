/**
 * Fetches blocks from members over `/apotheca/blocks/1`, in order, each verified.
 *
 * @see docs/spec/block-exchange.md
 */
import type { PeerId, Stream, StreamMessageEvent } from '@libp2p/interface'
import * as limits from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { BlockFetch, type FetchOptions } from './block-fetch.ts'
import { type BlockLinkEvents, BlockLinks } from './block-links.ts'
import { AnswerReader, type AnswerStatus, encodeRequests } from './block-frames.ts'
import type { FetchedBlock } from './block-provider.ts'
import { BufferPool } from './buffer-pool.ts'
import type { P2pHost } from './host.ts'
import { BLOCKS_PROTOCOL } from './protocols.ts'
import { piecesOf } from './stream-flow.ts'

export interface BlockFetcherDeps {
  readonly host: Pick<P2pHost, 'dialProtocol' | 'getPeers'>
  readonly log: Log
}

export class BlockFetcher {
  readonly #deps: BlockFetcherDeps
  readonly #pool = new BufferPool({ bufferBytes: limits.SEGMENT_BYTES, keptMax: limits.BLOCK_BUFFERS_KEPT })
  #fetching = 0

  constructor(deps: BlockFetcherDeps) {
    this.#deps = deps
  }

  /**
   * Asks every connected member whether it has a block.
   *
   * Settles when all have answered, or `BLOCK_HAVE_GRACE_MS` after the first yes, or after `BLOCK_HAVE_TIMEOUT_MS`.
   *
   * @param digest - sha2-256, 32 bytes.
   * @returns those that said yes, quickest first; none is not a fault.
   */
  async findProviders(digest: Uint8Array, signal?: AbortSignal): Promise<PeerId[]> {
    signal?.throwIfAborted()
    const found: PeerId[] = []
    const ending = new AbortController()
    const end = (): void => ending.abort()
    signal?.addEventListener('abort', end, { once: true })
    const timer = setTimeout(end, limits.BLOCK_HAVE_TIMEOUT_MS)
    let grace: NodeJS.Timeout | undefined
    try {
      const asked = this.#deps.host.getPeers().map(async (peer) => {
        if (!(await askHave(this.#deps.host, peer, digest, ending.signal))) return
        found.push(peer)
        grace ??= setTimeout(end, limits.BLOCK_HAVE_GRACE_MS)
      })
      await Promise.allSettled(asked)
    } finally {
      clearTimeout(timer)
      clearTimeout(grace)
      signal?.removeEventListener('abort', end)
    }
    signal?.throwIfAborted()
    return found
  }

  /**
   * Yields the blocks of `digests`, in order.
   *
   * Blocks arrive from all providers at once. One that delivers an altered block is given up for this fetch; one that
   * goes away or falls silent is replaced by another.
   *
   * @param digests - sha2-256, 32 bytes each; the same digest may occur again.
   * @param providers - members to ask; connected already, or with addresses that the host knows.
   * @throws {FetchError} `BLOCK_UNAVAILABLE`, after all blocks before it were yielded; the signal's reason when aborted.
   */
  async *fetch(
    digests: readonly Uint8Array[],
    providers: readonly PeerId[],
    options: FetchOptions = {},
  ): AsyncGenerator<FetchedBlock, void, undefined> {
    const fetch = new BlockFetch({ ...this.#deps, pool: this.#pool }, digests, providers, options)
    this.#fetching++
    try {
      for (let index = 0; index < digests.length; index++) yield await fetch.take(index)
    } finally {
      fetch.close()
      this.#ended()
    }
  }

  /** Streams for a reader who knows which block lies where; all its blocks are pooled. To be closed once. */
  links(events: BlockLinkEvents): BlockLinks {
    this.#fetching++
    return new BlockLinks({ host: this.#deps.host, pool: this.#pool, onClose: () => this.#ended() }, events)
  }

  #ended(): void {
    if (--this.#fetching === 0) this.#pool.clear()
  }
}

/** @returns false also for who can't be asked: an answer isn't owed. */
async function askHave(
  host: Pick<P2pHost, 'dialProtocol'>,
  peer: PeerId,
  digest: Uint8Array,
  signal: AbortSignal,
): Promise<boolean> {
  let stream: Stream | undefined
  try {
    stream = await host.dialProtocol(peer, BLOCKS_PROTOCOL, { signal })
    const status = await firstAnswer(stream, digest, signal)
    await stream.close({ signal })
    return status === 'have'
  } catch (error) {
    stream?.abort(error instanceof Error ? error : new Error(String(error)))
    return false
  }
}

function firstAnswer(stream: Stream, digest: Uint8Array, signal: AbortSignal): Promise<AnswerStatus> {
  return new Promise((resolve, reject) => {
    const reader = new AnswerReader({
      onHead: (status) => resolve(status),
      onPart: () => undefined,
      onEnd: () => undefined,
    })
    const gone = (): void => reject(new Error('the stream ended before the answer'))
    stream.addEventListener('message', (event: StreamMessageEvent) => {
      try {
        for (const piece of piecesOf(event.data)) reader.push(piece)
      } catch (error) {
        reject(error as Error)
      }
    })
    stream.addEventListener('remoteCloseWrite', gone)
    stream.addEventListener('close', gone)
    signal.addEventListener('abort', gone, { once: true })
    stream.send(encodeRequests([{ kind: 'have', digest }]))
  })
}
