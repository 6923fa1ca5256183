/**
 * Brings this peer to the head of the chain, and rebuilds its ledger where that is damaged.
 *
 *   behind, a little ──► blocks, from one peer after the other, each executed
 *   behind, a lot, or their old blocks are gone ──► epochs, checked ──► snapshot and headers (takeover.ts) ──► blocks
 *   damaged ──► the same, from nothing; the damaged one is set aside
 *
 * What a peer says of its head is believed only as far as it shows it. One whose answer doesn't hold or doesn't come is named in
 * the log, and passed over for a while.
 *
 * @see docs/spec/sync.md
 */
import type { PeerId } from '@libp2p/interface'
import { CodecError } from '../core/codec.ts'
import { type CodedError, type Fault, faultOf } from '../core/coded-error.ts'
import {
  CATCH_UP_PASSED_OVER_MS,
  CATCH_UP_SNAPSHOT_BLOCKS,
  LEDGER_REBUILDS_MAX,
  SYNC_ANSWER_BYTES_MAX,
  SYNC_BLOCKS_MAX,
} from '../core/limits.ts'
import type { Clock, KeyValueStore, Log } from '../core/ports.ts'
import { BlockError, HeaderError } from '../ledger/block-check.ts'
import { type Chain, isDamage } from '../ledger/chain.ts'
import type { P2pHost } from '../p2p/host.ts'
import { SYNC_PROTOCOL } from '../p2p/protocols.ts'
import { RequestError, request } from '../p2p/request.ts'
import { PeerError } from './faults.ts'
import type { LedgerArrival } from './ledger-arrival.ts'
import type { LedgerDatabase } from './ledger-database.ts'
import { type SyncAnswer, decodeSyncAnswer, encodeSyncRequest } from './ledger-messages.ts'
import { type SnapshotService, type SnapshotServiceOptions, remoteSource } from './snapshot-source.ts'
import { type Shown, Takeover, type TakeoverProgress, shownBy } from './takeover.ts'

export const SYNC_LIMITS = { requestBytesMax: 64, answerBytesMax: SYNC_ANSWER_BYTES_MAX } as const

/** What this peer is doing to catch up. */
export type CatchUpStatus =
  | TakeoverProgress
  | { readonly by: 'blocks'; readonly height: number; readonly of: number }
  /** The ledger is damaged, and not being rebuilt: no member shows that it has it, or it was rebuilt too often. */
  | { readonly by: 'damaged'; readonly fault: Fault }

export interface CatchUpDeps {
  readonly chain: Chain
  readonly database: LedgerDatabase
  readonly snapshots: SnapshotService
  readonly arrival: Pick<LedgerArrival, 'came'>
  readonly host: P2pHost
  /** Opens a chain on a store, to see that it is one. */
  readonly tryOpen: (store: KeyValueStore) => Promise<void>
  /** Called when the process can't go on. */
  readonly onFailure: (error: unknown) => void
  readonly clock: Clock
  readonly log: Log
}

export interface CatchUpOptions extends SnapshotServiceOptions {
  /** A gap from which on a snapshot is taken. @default `CATCH_UP_SNAPSHOT_BLOCKS` */
  readonly snapshotBlocks?: number
}

/** Whoever must not use the chain while another takes its place. */
export interface Pausable {
  pause(): Promise<void>
  resume(): Promise<void>
}

/** `far`: a member says that so many blocks are missing that a snapshot is better, and shows the end of an epoch ahead; `stuck`: nobody has the next one. */
type Pulled =
  | { readonly outcome: 'done' }
  | { readonly outcome: 'stuck' }
  | { readonly outcome: 'far'; readonly peer: string; readonly head: number }

/** A head that a member told of. */
interface Told {
  readonly peer: PeerId
  readonly head: number
}

/** `nobody`: no member shows anything; `near`: none shows that a snapshot is of use. */
type TakenOver = 'nobody' | 'near' | 'taken'

/** Faults of a certified block that mean that the state here is another than the validators'. */
const DIFFERS: ReadonlySet<string> = new Set([
  'BLOCK_STATE_ROOT_WRONG',
  'BLOCK_RECEIPTS_ROOT_WRONG',
  'BLOCK_TX_INADMISSIBLE',
  'HEADER_HISTORY_ROOT_WRONG',
  'HEADER_NEXT_VALIDATORS_WRONG',
])

export class CatchUp {
  readonly #deps: CatchUpDeps
  readonly #snapshotBlocks: number
  readonly #stopping = new AbortController()
  /** Until when a peer is not asked. */
  readonly #passedOver = new Map<string, number>()
  #running: Promise<void> | undefined
  /** Once more, behind the one that runs. */
  #again = false
  #status: CatchUpStatus | undefined
  /** Highest head that a member told of. */
  #highestSeen = 0
  /** Whether a member answered in this pass. */
  #isAnswered = false
  #damage: Fault | undefined
  #rebuilds = 0
  #pausables: Pausable[] = []

  constructor(deps: CatchUpDeps, options: CatchUpOptions = {}) {
    this.#deps = deps
    this.#snapshotBlocks = options.snapshotBlocks ?? CATCH_UP_SNAPSHOT_BLOCKS
    deps.database.whenDamaged((error) => this.damaged(error))
  }

  /** How far this peer knows to be behind, in blocks. */
  get behind(): number {
    return Math.max(0, this.#highestSeen - this.#deps.chain.head.height)
  }

  get status(): CatchUpStatus | undefined {
    if (this.#status?.by !== 'blocks') return this.#status
    // Blocks that come one by one as they are made are no catching up.
    return this.behind > 1 ? { by: 'blocks', height: this.#deps.chain.head.height, of: this.#highestSeen } : undefined
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await this.#running
  }

  /** Stops using the chain while another one takes its place. */
  pauseMeanwhile(pausable: Pausable): void {
    this.#pausables.push(pausable)
  }

  /** A member made a block of this height final. */
  seen(height: number): void {
    this.#highestSeen = Math.max(this.#highestSeen, height)
  }

  /** The ledger can't be relied on: it is rebuilt. */
  damaged(error: unknown): void {
    if (this.#damage !== undefined || this.#stopping.signal.aborted) return
    this.#damage = faultOf(error) ?? { code: 'INTERNAL' }
    this.#deps.log.error({ fault: this.#damage }, 'the ledger is damaged: it is rebuilt from the other members')
    this.#again = true
    this.now()
  }

  /** A member connected: it may have what the others don't. */
  memberCame(): void {
    this.#again = true
    this.now()
  }

  /** Asks members for what this peer lacks, until none has any. One at a time. */
  now(): void {
    if (this.#running !== undefined || this.#stopping.signal.aborted) return
    this.#again = false
    this.#isAnswered = false
    this.#running = this.#pass()
      .then(() => {
        if (this.#isAnswered && this.#damage === undefined) this.#deps.arrival.came()
      })
      .catch((error: unknown) => {
        if (this.#stopping.signal.aborted) return
        if (isDamage(error)) this.damaged(error)
        this.#deps.log.warn({ err: error, fault: faultOf(error) }, 'catching up failed; it is tried again')
      })
      .finally(() => {
        this.#running = undefined
        if (this.#damage === undefined) this.#status = undefined
        if (this.#again) this.now()
      })
  }

  async #pass(): Promise<void> {
    if (this.#damage !== undefined && !(await this.#rebuild(this.#damage))) return
    const pulled = await this.#pullAll(this.#snapshotBlocks)
    if (pulled.outcome === 'done') return
    if (pulled.outcome === 'stuck') {
      if ((await this.#takeOver(1)) === 'taken') await this.#pullAll(Number.POSITIVE_INFINITY)
      return
    }
    const found = await this.#takeOverIfPossible(this.#snapshotBlocks)
    if (found === 'near') {
      this.#passOver(pulled.peer, new PeerError({ code: 'SYNC_HEAD_UNPROVED', head: pulled.head }))
    }
    await this.#pullAll(Number.POSITIVE_INFINITY)
    const isThere = this.behind < this.#snapshotBlocks && !this.#stopping.signal.aborted
    if (found === 'no source' && isThere) await this.#deps.database.dropNext()
  }

  /** Blocks take longer than a snapshot, but members keep them all, and a snapshot no longer than it is asked for. */
  async #takeOverIfPossible(gapMin: number): Promise<TakenOver | 'no source'> {
    try {
      return await this.#takeOver(gapMin)
    } catch (error) {
      if (faultOf(error)?.code !== 'SNAPSHOT_NO_SOURCE') throw error
      this.#deps.log.warn({ fault: faultOf(error) }, 'no snapshot could be taken: catching up by blocks')
      return 'no source'
    }
  }

  /** @returns whether it is whole again. */
  async #rebuild(damage: Fault): Promise<boolean> {
    this.#status = { by: 'damaged', fault: damage }
    if (this.#rebuilds >= LEDGER_REBUILDS_MAX) {
      const { fault } = new PeerError({ code: 'LEDGER_REBUILT_OFTEN', times: this.#rebuilds, reason: damage.code })
      this.#status = { by: 'damaged', fault }
      return false
    }
    const found = await this.#takeOver(this.#snapshotBlocks)
    if (found === 'nobody') {
      this.#status = { by: 'damaged', fault: new PeerError({ code: 'LEDGER_NOT_FOUND', reason: damage.code }).fault }
      return false
    }
    // Few blocks: executed again from the genesis on.
    if (found === 'near') {
      await this.#deps.database.dropNext()
      await this.#deps.database.next()
      await this.#swap()
    }
    return true
  }

  /** Takes a snapshot, if members show that this peer is so far behind. */
  async #takeOver(gapMin: number): Promise<TakenOver> {
    const { chain, database, host, snapshots } = this.#deps
    const { signal } = this.#stopping
    const isWhole = this.#damage === undefined
    const height = isWhole ? chain.head.height : 0
    const takeover = await Takeover.open({
      store: await database.next(),
      genesisBytes: chain.genesisBytes,
      peers: this.#peers().map((peer) => remoteSource(host, peer, signal)),
      own: isWhole ? snapshots : undefined,
      onProgress: (progress) => {
        this.#status = progress
      },
      onPassedOver: (peer, error) => this.#passOver(peer.name, error),
      signal,
    })
    const newest = await takeover.newest()
    if (newest === undefined) return 'nobody'
    const isFar = newest.header.height - height >= gapMin && takeover.targetHeight > height
    if (!isFar) {
      await database.dropNext()
      // What members told beyond that, they couldn't show.
      this.#highestSeen = Math.max(height, newest.header.height)
      return 'near'
    }
    this.#deps.log.info({ height, to: takeover.targetHeight }, 'taking a snapshot from other members')
    await takeover.fetch()
    await this.#deps.tryOpen(await database.next())
    await this.#swap()
    return 'taken'
  }

  /** What was built takes the place of the ledger in use. */
  async #swap(): Promise<void> {
    const { chain, database, log, onFailure, snapshots } = this.#deps
    for (const one of this.#pausables) await one.pause()
    await snapshots.pause()
    const isDamaged = this.#damage !== undefined
    try {
      await chain.reopen(async () => database.useNext(isDamaged ? 'damaged' : 'done with'))
    } catch (error) {
      // Neither the old one nor the new one can be relied on in this process; the next one opens what is in use then.
      onFailure(error)
      throw error
    }
    if (isDamaged) this.#rebuilds++
    this.#damage = undefined
    log.info({ height: chain.head.height }, 'the ledger was rebuilt from other members')
    for (const one of this.#pausables) await one.resume()
  }

  /** @param gapMax - a member that shows it is further ahead is asked for nothing. */
  async #pullAll(gapMax: number): Promise<Pulled> {
    const { chain } = this.#deps
    let turns = this.#peers()
    const start = chain.head.height
    let from = start + 1
    const silent: Told[] = []
    this.#status = { by: 'blocks', height: start, of: this.#highestSeen }
    for (let [peer] = turns; peer !== undefined && !this.#stopping.signal.aborted; [peer] = turns) {
      turns = turns.slice(1)
      try {
        const { blocks, head } = await this.#ask(peer, from)
        this.#isAnswered = true
        const isFar = head - chain.head.height >= gapMax && (await this.#shown({ peer, head })).isEpochEnd
        if (isFar) return { outcome: 'far', peer: peer.toString(), head }
        if (blocks.length === 0) {
          if (head >= from) silent.push({ peer, head })
          continue
        }
        this.seen(head)
        const accepted = await this.#accept(blocks)
        const next = chain.head.height + 1
        // None is final yet where the answer ended within a long run that a later certificate covers: they wait as pending.
        from = accepted > 0 ? next : Math.max(next, from + blocks.length)
        // As long as the member has more, in its next turn.
        if (from <= head) turns = [...turns, peer]
      } catch (error) {
        this.#notTaken(peer, error)
      }
    }
    const isStuck = chain.head.height === start && (await this.#isEndAhead(silent))
    return { outcome: isStuck ? 'stuck' : 'done' }
  }

  /** @returns whether any of those who gave nothing shows that an epoch has ended ahead of our head: its state may be had. */
  async #isEndAhead(silent: readonly Told[]): Promise<boolean> {
    let isThere = false
    for (const told of silent) {
      try {
        if ((await this.#shown(told)).isEpochEnd) isThere = true
      } catch (error) {
        this.#notTaken(told.peer, error)
      }
    }
    return isThere
  }

  /**
   * What a member shows of the head that it told of. Before anything is opened or followed: to tell costs a member nothing.
   *
   * @throws {PeerError} `SYNC_HEAD_UNPROVED` where that is less; {HeaderError} {CodecError} {RequestError}
   */
  async #shown({ head, peer }: Told): Promise<Shown> {
    const { chain, host } = this.#deps
    const shown = await shownBy(remoteSource(host, peer, this.#stopping.signal), chain)
    // Behind the end of our epoch are others, whose validators are named there: those are followed with a snapshot.
    if (shown === undefined || (!shown.isEpochEnd && shown.height < head)) {
      throw new PeerError({ code: 'SYNC_HEAD_UNPROVED', head })
    }
    this.seen(shown.height)
    return shown
  }

  async #ask(peer: PeerId, from: number): Promise<SyncAnswer> {
    const asked = encodeSyncRequest({ from, count: SYNC_BLOCKS_MAX })
    const options = { ...SYNC_LIMITS, signal: this.#stopping.signal }
    return decodeSyncAnswer(await request(this.#deps.host, peer, SYNC_PROTOCOL, asked, options))
  }

  async #accept(blocks: SyncAnswer['blocks']): Promise<number> {
    try {
      return await this.#deps.chain.acceptBlocks(blocks)
    } catch (error) {
      const fault = faultOf(error)
      // Their certificates were checked first: a quorum has executed them, and it gave something else here.
      if (fault === undefined || !DIFFERS.has(fault.code)) throw error
      this.damaged(new PeerError({ code: 'LEDGER_DIFFERS', reason: fault.code }, { cause: error }))
      throw error
    }
  }

  #notTaken(peer: PeerId, error: unknown): void {
    this.#stopping.signal.throwIfAborted()
    if (this.#damage !== undefined) throw error
    const isTheirs =
      error instanceof HeaderError ||
      error instanceof BlockError ||
      error instanceof CodecError ||
      error instanceof RequestError ||
      error instanceof PeerError
    if (!isTheirs) throw error
    this.#passOver(peer.toString(), error)
  }

  #passOver(peer: string, error: CodedError): void {
    const { clock, log } = this.#deps
    log.warn(
      { peer, fault: error.fault },
      'a member is passed over in catching up: its answer does not hold, or did not come',
    )
    this.#passedOver.set(peer, clock.nowMs() + CATCH_UP_PASSED_OVER_MS)
  }

  /** Connected members; those that were passed over, only where there is no other. */
  #peers(): PeerId[] {
    const nowMs = this.#deps.clock.nowMs()
    for (const [peer, untilMs] of this.#passedOver) if (untilMs <= nowMs) this.#passedOver.delete(peer)
    const connected = this.#deps.host.getPeers()
    const usable = connected.filter((peer) => !this.#passedOver.has(peer.toString()))
    return usable.length > 0 ? usable : connected
  }
}
