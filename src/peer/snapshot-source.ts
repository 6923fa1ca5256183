/**
 * Where the parts of a snapshot come from: this peer's own chain, which it also serves to others, or another peer.
 *
 * Serving costs no copy: the state of an epoch's end is a version that pruning keeps, the newest one and the one before, while others
 * may still be fetching it.
 *
 * @see docs/spec/sync.md, snapshot.md
 */
import type { PeerId } from '@libp2p/interface'
import {
  EPOCH_ENDS_MAX,
  SNAPSHOT_ANSWER_BYTES_MAX,
  SNAPSHOT_HEADERS_BYTES,
  SNAPSHOT_HEADERS_MAX,
  SNAPSHOT_REQUEST_BYTES_MAX,
} from '../core/limits.ts'
import { faultOf } from '../core/coded-error.ts'
import type { KeyValueStore, Log } from '../core/ports.ts'
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
  readonly log: Log
}

/** This peer's chain as a source; takes a snapshot at each end of an epoch. */
export class SnapshotService implements SnapshotSource {
  readonly name = 'this peer'
  readonly #deps: SnapshotServiceDeps
  readonly #chunkBytes: number | undefined
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
    return (await SnapshotMaker.open(this.#deps.store, height, this.#chunkBytes)).chunk(from)
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

  /** The state after this block is a snapshot; older ones but for the one before may go. */
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
    const { chain, log, store } = this.#deps
    const own = await chain.reader.plainHeaderAt(height)
    const seed = own === undefined ? undefined : chain.validators(own.header.epoch)?.seed
    const before = seed === undefined ? undefined : await chain.reader.heightOfDigest(seed)
    await pruneState(store, { from: height, snapshots: before === undefined ? [] : [before] }, { signal })
    log.info({ height }, 'snapshot taken')
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
