/**
 * Where the parts of a snapshot come from: this peer's own chain, which it also serves to others, or another peer.
 *
 * Serving costs no copy: the state of an epoch's end is a version that pruning keeps: the newest one and the one before, and others as
 * long as someone fetches them. To fetch a large state takes longer than two epochs, and whoever begins anew with each is never done.
 *
 * @see docs/spec/sync.md, snapshot.md
 */
import type { PeerId } from '@libp2p/interface'
import {
  EPOCH_ENDS_MAX,
  SNAPSHOTS_ASKED_MAX,
  SNAPSHOT_ANSWER_BYTES_MAX,
  SNAPSHOT_ASKED_MS,
  SNAPSHOT_HEADERS_BYTES,
  SNAPSHOT_HEADERS_MAX,
  SNAPSHOT_REQUEST_BYTES_MAX,
} from '../core/limits.ts'
import { faultOf } from '../core/coded-error.ts'
import type { Clock, KeyValueStore, Log } from '../core/ports.ts'
import type { Chain } from '../ledger/chain.ts'
import { type CertifiedHeader, epochEnds } from '../ledger/chain-takeover.ts'
import type { FinalHeader } from '../ledger/header.ts'
import { SnapshotMaker } from '../ledger/snapshot-maker.ts'
import { pruneState } from '../ledger/state-tree-prune.ts'
import type { P2pHost } from '../p2p/host.ts'
import { SNAPSHOT_PROTOCOL } from '../p2p/protocols.ts'
import { handleRequests, request } from '../p2p/request.ts'
import {
  type EpochsAnswer,
  type SnapshotRequest,
  decodeEpochsAnswer,
  decodeHeadersAnswer,
  decodeSnapshotRequest,
  encodeEpochsAnswer,
  encodeHeadersAnswer,
  encodeSnapshotRequest,
} from './snapshot-messages.ts'

/** What `ChainTakeover` needs; every answer is untrusted. */
export interface SnapshotSource {
  /** For the log. */
  readonly name: string
  /** Last headers of epochs from this one on, and the newest final header. */
  epochs(from: number): Promise<EpochsAnswer>
  /** A part of the state of a height: see `SnapshotMaker.chunk`. */
  chunk(height: number, from: Uint8Array): Promise<Uint8Array>
  /** Headers downwards from a height. */
  headers(from: number): Promise<readonly Uint8Array[]>
}

const LIMITS = { requestBytesMax: SNAPSHOT_REQUEST_BYTES_MAX, answerBytesMax: SNAPSHOT_ANSWER_BYTES_MAX } as const

export interface SnapshotServiceOptions {
  /** @default `SNAPSHOT_CHUNK_BYTES` */
  readonly chunkBytes?: number
}

export interface SnapshotServiceDeps {
  readonly chain: Chain
  /** The chain's. */
  readonly store: KeyValueStore
  readonly host: P2pHost
  readonly clock: Clock
  readonly log: Log
}

/** This peer's chain as a source; takes a snapshot at each end of an epoch. */
export class SnapshotService implements SnapshotSource {
  readonly name = 'this peer'
  readonly #deps: SnapshotServiceDeps
  readonly #chunkBytes: number | undefined
  /** When a chunk of a height's state was served last. */
  readonly #askedMs = new Map<number, number>()
  #stopping = new AbortController()
  #pruning: Promise<void> = Promise.resolve()
  #stopListening: (() => void) | undefined

  constructor(deps: SnapshotServiceDeps, options: SnapshotServiceOptions = {}) {
    this.#deps = deps
    this.#chunkBytes = options.chunkBytes
  }

  async start(): Promise<void> {
    const { chain, host, log } = this.#deps
    await handleRequests({ host, log }, SNAPSHOT_PROTOCOL, LIMITS, async (bytes) =>
      this.#answer(decodeSnapshotRequest(bytes)),
    )
    this.#stopListening = chain.onBlock(({ final }) => {
      if (final.header.nextValidators !== undefined) this.#take(final.header.height)
    })
  }

  async stop(): Promise<void> {
    this.#stopListening?.()
    await this.pause()
    await this.#deps.host.unhandle(SNAPSHOT_PROTOCOL)
  }

  /** Writes nothing until the next snapshot: the store is about to be another. */
  async pause(): Promise<void> {
    this.#stopping.abort()
    await this.#pruning
    this.#stopping = new AbortController()
  }

  async epochs(from: number): Promise<EpochsAnswer> {
    const { chain } = this.#deps
    const ends: CertifiedHeader[] = []
    let bytes = 0
    for await (const end of epochEnds(chain, from)) {
      ends.push(end)
      bytes += end.header.length + end.certificate.length
      if (ends.length === EPOCH_ENDS_MAX || bytes >= SNAPSHOT_HEADERS_BYTES) break
    }
    return { ends, newest: await this.#newest() }
  }

  async chunk(height: number, from: Uint8Array): Promise<Uint8Array> {
    const chunk = await (await SnapshotMaker.open(this.#deps.store, height, this.#chunkBytes)).chunk(from)
    this.#askedMs.set(height, this.#deps.clock.nowMs())
    return chunk
  }

  async headers(from: number): Promise<readonly Uint8Array[]> {
    const headers: Uint8Array[] = []
    let bytes = 0
    for (let height = from; height > 0 && headers.length < SNAPSHOT_HEADERS_MAX; height--) {
      const found = await this.#deps.chain.reader.plainHeaderAt(height)
      if (found === undefined) break
      headers.push(found.headerBytes)
      bytes += found.headerBytes.length
      if (bytes >= SNAPSHOT_HEADERS_BYTES) break
    }
    return headers
  }

  async #answer(asked: SnapshotRequest): Promise<Uint8Array> {
    switch (asked.kind) {
      case 'epochs':
        return encodeEpochsAnswer(await this.epochs(asked.from))
      case 'chunk':
        return this.chunk(asked.height, asked.from)
      case 'headers':
        return encodeHeadersAnswer({ headers: await this.headers(asked.from) })
      default:
        return asked satisfies never
    }
  }

  /** The newest block with a finalize certificate of its own; the head nearly always has one. */
  async #newest(): Promise<CertifiedHeader | null> {
    const { head, reader } = this.#deps.chain
    let final: FinalHeader | undefined
    for (let height = head.height; height > 0; height--) {
      final = await reader.headerAt(height)
      if (final === undefined || final.certificate.kind === 'finalize') break
    }
    return final === undefined ? null : { header: final.headerBytes, certificate: final.certificateBytes }
  }

  /** The state after this block is a snapshot; of older ones those that nobody fetches may go. */
  #take(height: number): void {
    const { signal } = this.#stopping
    this.#pruning = this.#pruning
      .then(async () => {
        if (!signal.aborted) await this.#prune(height, signal)
      })
      .catch((error: unknown) =>
        this.#deps.log.warn({ err: error, fault: faultOf(error) }, 'old state was not pruned; it is at the next epoch'),
      )
  }

  async #prune(height: number, signal: AbortSignal): Promise<void> {
    const { log, store } = this.#deps
    const snapshots = await this.#stillFetched(height)
    const kept = await pruneState(store, { from: height, snapshots }, { signal })
    for (const asked of this.#askedMs.keys()) if (asked < (kept.snapshots[0] ?? kept.from)) this.#askedMs.delete(asked)
    log.info({ height, kept: kept.snapshots.length }, 'snapshot taken')
  }

  /**
   * The end of the epoch before this one's, and earlier ones as far as someone fetches them. Not other versions, and none that is older:
   * who goes on asking must not hold them for ever.
   */
  async #stillFetched(height: number): Promise<number[]> {
    const { chain, clock } = this.#deps
    const earliestMs = clock.nowMs() - SNAPSHOT_ASKED_MS
    const ends: number[] = []
    const last = (await chain.reader.plainHeaderAt(height))?.header.epoch ?? 0
    for (let epoch = last; epoch > Math.max(0, last - SNAPSHOTS_ASKED_MAX); epoch--) {
      const set = chain.validators(epoch)
      const end = set === undefined ? undefined : await chain.reader.heightOfDigest(set.seed)
      if (end === undefined) break
      if (epoch === last || (this.#askedMs.get(end) ?? 0) > earliestMs) ends.push(end)
    }
    return ends
  }
}

/** Another peer. */
export function remoteSource(host: P2pHost, peer: PeerId, signal: AbortSignal): SnapshotSource {
  const ask = async (asked: SnapshotRequest): Promise<Uint8Array> =>
    request(host, peer, SNAPSHOT_PROTOCOL, encodeSnapshotRequest(asked), { ...LIMITS, signal })
  return {
    name: peer.toString(),
    epochs: async (from) => decodeEpochsAnswer(await ask({ kind: 'epochs', from })),
    chunk: async (height, from) => ask({ kind: 'chunk', height, from }),
    headers: async (from) => decodeHeadersAnswer(await ask({ kind: 'headers', from })).headers,
  }
}
