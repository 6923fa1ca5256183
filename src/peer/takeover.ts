/**
 * Takes over the chain from other peers where executing it would take too long, or where their old blocks are gone.
 *
 * Each part is asked of one peer after the other, and checked before it is kept (ledger/chain-takeover.ts). One whose answer
 * doesn't hold, or doesn't come, is passed over for the rest of it. What was taken stays over a restart.
 *
 * @see docs/spec/sync.md
 */
import { CodecError } from '../core/codec.ts'
import { type CodedError, faultOf } from '../core/coded-error.ts'
import type { KeyValueStore } from '../core/ports.ts'
import type { FinalHeader } from '../ledger/header.ts'
import { HeaderError } from '../ledger/block-check.ts'
import { ChainTakeover, checkFinal } from '../ledger/chain-takeover.ts'
import type { Chain } from '../ledger/chain.ts'
import { SnapshotError } from '../ledger/snapshot.ts'
import type { SnapshotBuilder } from '../ledger/snapshot-builder.ts'
import { RangeProofError } from '../ledger/state-range.ts'
import { RequestError } from '../p2p/request.ts'
import { PeerError } from './faults.ts'
import type { SnapshotSource } from './snapshot-source.ts'

/** How far it came. */
export type TakeoverProgress =
  | { readonly by: 'epochs'; readonly epoch: number }
  /** `chunks`: about how many there are in all, as far as can be told from the keys so far. */
  | { readonly by: 'snapshot'; readonly height: number; readonly chunk: number; readonly chunks: number }
  /** `left`: how many headers are still to come. */
  | { readonly by: 'headers'; readonly height: number; readonly left: number }

export interface TakeoverDeps {
  /** Of this takeover alone. */
  readonly store: KeyValueStore
  readonly genesisBytes: Uint8Array
  /** Other peers, in the order in which they are asked. */
  readonly peers: readonly SnapshotSource[]
  /** This peer's own chain, if it can be relied on: what it has is not asked of others. */
  readonly own: SnapshotSource | undefined
  readonly onProgress: (progress: TakeoverProgress) => void
  /** A peer that isn't asked again. */
  readonly onPassedOver: (peer: SnapshotSource, error: CodedError) => void
  readonly signal: AbortSignal
}

const KEY_SPACE = 2 ** 32

/** What a peer shows of the chain ahead of ours. */
export interface Shown {
  readonly height: number
  /** The block of this height is the last of its epoch: its state can be taken, and there may be more behind it. */
  readonly isEpochEnd: boolean
}

/** Errors that are the answering peer's: all else is ours. */
function isSources(error: unknown): error is CodedError {
  if (error instanceof HeaderError || error instanceof RangeProofError) return true
  if (error instanceof SnapshotError || error instanceof CodecError) return true
  return error instanceof RequestError
}

/**
 * How far a peer shows that it is, by headers which the validators of our epoch made final: one answer and two certificates at the most.
 *
 * @returns `undefined` where it shows nothing of this epoch.
 * @throws {HeaderError} {CodecError} {RequestError} where what it shows doesn't hold, or didn't come
 */
export async function shownBy(
  source: Pick<SnapshotSource, 'epochs'>,
  chain: Pick<Chain, 'id' | 'head' | 'validators'>,
): Promise<Shown | undefined> {
  const epoch = chain.head.nextEpoch
  const set = chain.validators(epoch)
  if (set === undefined) return undefined
  const { ends, newest } = await source.epochs(epoch)
  const [end] = ends
  const given = end ?? newest
  if (given === null) return undefined
  try {
    const { header } = checkFinal(given, chain.id, set)
    return { height: header.height, isEpochEnd: end !== undefined && header.nextValidators !== undefined }
  } catch (error) {
    if (error instanceof HeaderError && error.fault.code === 'HEADER_EPOCH_UNKNOWN') return undefined
    throw error
  }
}

export class Takeover {
  readonly #deps: TakeoverDeps
  readonly #takeover: ChainTakeover
  /** Those that are still asked; the next one is first. */
  #peers: readonly SnapshotSource[]
  #own: SnapshotSource | undefined

  private constructor(deps: TakeoverDeps, takeover: ChainTakeover) {
    this.#deps = deps
    this.#takeover = takeover
    this.#peers = deps.peers
    this.#own = deps.own
  }

  /** @throws as `ChainTakeover.open` */
  static async open(deps: TakeoverDeps): Promise<Takeover> {
    return new Takeover(deps, await ChainTakeover.open(deps.store, deps.genesisBytes))
  }

  /** Height of the block whose state is to be taken; 0: no epoch has ended. */
  get targetHeight(): number {
    return this.#takeover.target?.header.height ?? 0
  }

  /**
   * Follows the epochs as far as any peer knows them.
   *
   * @returns the newest final header that a peer has shown, checked; `undefined` where none has any.
   */
  async newest(): Promise<FinalHeader | undefined> {
    const { signal } = this.#deps
    let newest: FinalHeader | undefined
    for (const source of this.#own === undefined ? this.#peers : [this.#own, ...this.#peers]) {
      signal.throwIfAborted()
      try {
        const found = await this.#follow(source)
        if (found !== undefined && found.header.height > (newest?.header.height ?? 0)) newest = found
      } catch (error) {
        this.#passOver(source, error)
      }
    }
    return newest
  }

  /**
   * Fetches all, so that the store is the chain up to the target.
   *
   * @throws {PeerError} `SNAPSHOT_NO_SOURCE` where no peer is left to ask; what was taken stays for the next time
   */
  async fetch(): Promise<void> {
    const snapshot = await this.#takeover.snapshot()
    await this.#fetchState(snapshot)
    await this.#fetchHeaders()
    await this.#takeover.finish(snapshot)
  }

  async #follow(source: SnapshotSource): Promise<FinalHeader | undefined> {
    for (;;) {
      const { epoch } = this.#takeover
      this.#deps.onProgress({ by: 'epochs', epoch })
      const { ends, newest } = await source.epochs(epoch)
      if (ends.length > 0) {
        await this.#takeover.follow(ends)
        continue
      }
      if (newest === null) return undefined
      try {
        return this.#takeover.checkFinal(newest)
      } catch (error) {
        // A peer that is behind shows one of an earlier epoch: no lie, and of no use.
        if (error instanceof HeaderError && error.fault.code === 'HEADER_EPOCH_UNKNOWN') return undefined
        throw error
      }
    }
  }

  async #fetchState(snapshot: SnapshotBuilder): Promise<void> {
    const { height } = snapshot.target
    const start = snapshot.next === undefined ? 1 : partOf(snapshot.next)
    for (let chunk = 1; snapshot.next !== undefined; chunk++) {
      const from = snapshot.next
      // Keys are hashes: they are spread evenly.
      const done = (partOf(from) - start) / (1 - start)
      const chunks = done > 0 ? Math.max(chunk, Math.round((chunk - 1) / done)) : chunk
      this.#deps.onProgress({ by: 'snapshot', height, chunk, chunks })
      await this.#fromOne(async (source) => snapshot.add(await source.chunk(height, from)))
    }
  }

  async #fetchHeaders(): Promise<void> {
    const target = this.#takeover.target
    let below = target?.headerBytes
    while (below !== undefined) {
      const wanted = await this.#takeover.nextHeader(below)
      if (wanted === undefined) return
      this.#deps.onProgress({ by: 'headers', height: this.targetHeight, left: wanted.height })
      const take = async (source: SnapshotSource): Promise<void> => {
        below = await this.#takeover.addHeaders(wanted, await source.headers(wanted.height))
      }
      if (!(await this.#fromOwn(take))) await this.#fromOne(take)
    }
  }

  /** @returns whether this peer's own chain had it. */
  async #fromOwn(take: (source: SnapshotSource) => Promise<void>): Promise<boolean> {
    if (this.#own === undefined) return false
    try {
      await take(this.#own)
      return true
    } catch (error) {
      if (faultOf(error) === undefined) throw error
      // Not that far; further down it is asked again, unless what it has is something else.
      if (faultOf(error)?.code !== 'HEADER_PARENT_UNKNOWN') this.#own = undefined
      return false
    }
  }

  /** Lets one peer after the other try, each in its turn. */
  async #fromOne(take: (source: SnapshotSource) => Promise<void>): Promise<void> {
    for (;;) {
      this.#deps.signal.throwIfAborted()
      const [source, ...others] = this.#peers
      if (source === undefined) throw new PeerError({ code: 'SNAPSHOT_NO_SOURCE', height: this.targetHeight })
      this.#peers = [...others, source]
      try {
        await take(source)
        return
      } catch (error) {
        this.#passOver(source, error)
      }
    }
  }

  #passOver(source: SnapshotSource, error: unknown): void {
    this.#deps.signal.throwIfAborted()
    if (source === this.#own) {
      if (faultOf(error) === undefined) throw error
      this.#own = undefined
      return
    }
    if (!isSources(error)) throw error
    this.#peers = this.#peers.filter((one) => one !== source)
    this.#deps.onPassedOver(source, error)
  }
}

/** How much of all tree keys lies before this one, 0 to 1. */
function partOf(key: Uint8Array): number {
  return new DataView(key.buffer, key.byteOffset).getUint32(0) / KEY_SPACE
}
