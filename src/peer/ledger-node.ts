/**
 * This peer's part in the ledger: it follows the chain, hands transactions to the validators, and says what became final.
 *
 *   gossiped header ──► certificate checked ──► body by CID ──► executed, stored ──► relayed, told to whoever waits
 *
 * A peer that is behind asks members for the blocks that it lacks (`/apotheca/sync/1`), and executes them as any other.
 */
import type { PeerId } from '@libp2p/interface'
import { CodecError } from '../core/codec.ts'
import { CodedError, faultOf } from '../core/coded-error.ts'
import type { ChainId, InstitutionId, TxId } from '../core/ids.ts'
import {
  SYNC_BLOCKS_BYTES_MAX,
  SYNC_INTERVAL_MS,
  TRANSACTIONS_SHARE_WINDOW_MS,
  TX_ANSWER_BYTES_MAX,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import type { BlockBytes } from '../ledger/block-bytes.ts'
import type { AcceptedBlock } from '../ledger/block-tree.ts'
import type { Chain } from '../ledger/chain.ts'
import { type FinalHeader, decodeFinalHeader, encodeFinalHeader } from '../ledger/header.ts'
import type { Mempool } from '../ledger/mempool.ts'
import { receiptFault } from '../ledger/receipt.ts'
import type { PlacedReceipt } from '../ledger/receipt-waiters.ts'
import { type SignedTx, decodeEnvelope } from '../ledger/transaction.ts'
import { HeaderGossip, type HeaderVerdict } from '../p2p/header-gossip.ts'
import type { P2pHost } from '../p2p/host.ts'
import { SYNC_PROTOCOL, TX_PROTOCOL } from '../p2p/protocols.ts'
import { RequestError, handleRequests, request } from '../p2p/request.ts'
import type { Blocks } from '../store/blocks.ts'
import {
  CatchUp,
  type CatchUpDeps,
  type CatchUpOptions,
  type CatchUpStatus,
  type Pausable,
  SYNC_LIMITS,
} from './catch-up.ts'
import type { ContentService } from './content.ts'
import { PeerError } from './faults.ts'
import { HandOver } from './hand-over.ts'
import type { MemberSet } from './member-set.ts'
import { RecentReceipts } from './recent-receipts.ts'
import { SharedTransactions } from './shared-transactions.ts'
import { SnapshotService } from './snapshot-source.ts'
import { TransactionTurns } from './transaction-turns.ts'
import { decodeSyncRequest, decodeTxAnswer, encodeSyncAnswer, encodeTxAnswer } from './ledger-messages.ts'

export interface LedgerNodeDeps extends Pick<CatchUpDeps, 'arrival' | 'database' | 'onFailure' | 'tryOpen'> {
  readonly members: Pick<MemberSet, 'institutions'>
  readonly chain: Chain
  readonly mempool: Mempool
  readonly host: P2pHost
  readonly content: ContentService
  readonly store: Blocks
  readonly clock: Clock
  readonly log: Log
}

/** This peer's validator, as far as transactions concern it. */
export interface ServedValidator {
  /** Whether its key votes in this epoch. */
  isVoting(): boolean
  /** A transaction begins to wait here. */
  wake(): void
  /** Hands transactions that came from outside to the other validators. */
  share(envelopes: readonly Uint8Array[]): void
}

const TX_LIMITS = { requestBytesMax: TX_LARGE_BYTES_MAX, answerBytesMax: TX_ANSWER_BYTES_MAX } as const

export class LedgerNode {
  readonly #deps: LedgerNodeDeps
  readonly #gossip: HeaderGossip
  readonly #stopping = new AbortController()
  #validator: ServedValidator | undefined
  readonly #recent = new RecentReceipts()
  /** Taken in lately: handed on together. */
  #toShare: Uint8Array[] = []
  readonly #turns = new TransactionTurns()
  readonly #shared: SharedTransactions
  readonly #snapshots: SnapshotService
  readonly #catchUp: CatchUp
  readonly #handOver: HandOver
  #timer: NodeJS.Timeout | undefined
  #stopListening: (() => void) | undefined
  /** Settled once the newest block's parts can be fetched from here. */
  #offered: Promise<void> = Promise.resolve()

  constructor(deps: LedgerNodeDeps, options: CatchUpOptions = {}) {
    this.#deps = deps
    const { chain, clock, database: store, host, log, mempool } = deps
    const admit = async (tx: SignedTx): Promise<boolean> => this.#admitTx(tx)
    this.#shared = new SharedTransactions({ turns: this.#turns, mempool, admit, clock, log })
    this.#snapshots = new SnapshotService({ chain, clock, store, host, log }, options)
    this.#catchUp = new CatchUp({ ...deps, snapshots: this.#snapshots }, options)
    this.#handOver = new HandOver({
      mempool,
      votes: () => this.#votes(),
      forward: async (envelope, round) => this.#forward(envelope, round),
      log,
    })
    this.#gossip = new HeaderGossip(
      {
        pubsub: deps.host.services.pubsub,
        gossipIds: deps.host.services.gossipIds,
        admit: async (bytes) => this.#admit(bytes),
        idOf: (bytes) => decodeFinalHeader(bytes).id.multihash.digest,
        log: deps.log,
      },
      { chain: deps.chain.id },
    )
  }

  get chainId(): ChainId {
    return this.#deps.chain.id
  }

  /** How far this peer knows to be behind, in blocks. */
  get behind(): number {
    return this.#catchUp.behind
  }

  /** What this peer does about it; `undefined` where there is nothing to do. */
  get catchingUp(): CatchUpStatus | undefined {
    return this.#catchUp.status
  }

  async start(): Promise<void> {
    const { chain, host, log } = this.#deps
    this.#stopListening = chain.onBlock((block) => this.#onBlock(block))
    await handleRequests({ host, log }, SYNC_PROTOCOL, SYNC_LIMITS, async (bytes) => this.#answerSync(bytes))
    await handleRequests({ host, log }, TX_PROTOCOL, TX_LIMITS, async (bytes, from) => this.#answerTx(bytes, from))
    await this.#snapshots.start()
    this.#gossip.start()
    host.addEventListener('peer:identify', this.#onIdentify)
    this.#timer = setInterval(() => {
      this.catchUp()
      this.#handOver.now()
    }, SYNC_INTERVAL_MS)
    this.catchUp()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    clearInterval(this.#timer)
    this.#stopListening?.()
    this.#gossip.stop()
    const { host } = this.#deps
    host.removeEventListener('peer:identify', this.#onIdentify)
    await Promise.all([host.unhandle(SYNC_PROTOCOL), host.unhandle(TX_PROTOCOL)])
    await this.#turns.stop()
    await this.#handOver.stop()
    await this.#catchUp.stop()
    await this.#snapshots.stop()
  }

  /** This peer validates: transactions wait here, and its validator is told of them. @param validator - `undefined`: not any more. */
  serveValidator(validator: ServedValidator | undefined): void {
    this.#validator = validator
  }

  /** Transactions that another validator took in; untrusted. They are not handed on again. */
  takeShared(from: InstitutionId, envelopes: readonly Uint8Array[]): void {
    this.#shared.take(from, envelopes)
  }

  /**
   * Submits a transaction to the validators.
   *
   * @param bytes - an envelope.
   * @throws {MempoolError}, {CodecError}, {CodedError} where it can't be in a block; {PeerError} `LEDGER_NO_VALIDATOR`
   */
  async submit(bytes: Uint8Array): Promise<TxId> {
    const tx = decodeEnvelope(bytes)
    if (this.#votes()) {
      if (await this.#admitTx(tx)) this.#share(bytes)
    } else {
      await this.#forward(bytes, this.#handOver.rounds)
      await this.#keep(tx)
    }
    return tx.id
  }

  /** The receipt of a transaction, if it is final. */
  async receipt(id: TxId): Promise<PlacedReceipt | undefined> {
    return this.#recent.get(id) ?? this.#deps.chain.reader.receipt(id)
  }

  /** @throws the signal's reason */
  async waitForReceipt(id: TxId, signal: AbortSignal): Promise<PlacedReceipt> {
    return this.#recent.get(id) ?? this.#deps.chain.waitForReceipt(id, { signal })
  }

  /** Tells the members of a block that was made final here. */
  async publish(final: FinalHeader): Promise<void> {
    const { certificateBytes, headerBytes } = final
    await this.#offered
    await this.#gossip.publish(encodeFinalHeader({ headerBytes, certificateBytes }))
  }

  /** Asks members for what this peer lacks, until none has any. One at a time. */
  catchUp(): void {
    this.#catchUp.now()
  }

  /** The ledger turned out to be damaged: it is rebuilt from the other members. */
  damaged(error: unknown): void {
    this.#catchUp.damaged(error)
  }

  /** Stops using the chain while another one takes its place. */
  pauseMeanwhile(pausable: Pausable): void {
    this.#catchUp.pauseMeanwhile(pausable)
  }

  readonly #onIdentify = (): void => this.#catchUp.memberCame()

  async #admit(bytes: Uint8Array): Promise<HeaderVerdict> {
    const { chain, log } = this.#deps
    const judged = await chain.verifyFinalHeader(bytes)
    if (judged.verdict !== 'accept') {
      log.debug({ fault: judged.fault }, 'a header was not taken')
      return judged.verdict
    }
    const { final } = judged
    this.#catchUp.seen(final.header.height)
    // The certificate is enough to relay it; the body is fetched meanwhile.
    this.#take(final).catch((error: unknown) => {
      log.info({ height: final.header.height, fault: faultOf(error) }, 'asking others for a block')
      this.catchUp()
    })
    return 'accept'
  }

  async #take(final: FinalHeader): Promise<void> {
    const { chain, content } = this.#deps
    const { body, height } = final.header
    if (height <= chain.head.height) return
    // Executed already: the certificate is all that was missing.
    if (chain.isPending(final.id)) {
      await chain.finalize(final.id, final.certificate)
      return
    }
    if (height > chain.head.height + 1) {
      this.catchUp()
      return
    }
    const { certificateBytes: certificate, headerBytes: header } = final
    const { signal } = this.#stopping
    await chain.acceptBlock({ header, certificate, body: await content.block(body, { signal, from: 'members' }) })
  }

  async #answerSync(bytes: Uint8Array): Promise<Uint8Array> {
    const { reader, head } = this.#deps.chain
    const { count, from } = decodeSyncRequest(bytes)
    const blocks: BlockBytes[] = []
    let total = 0
    let endOfFinal = 0
    for await (const { certificate, certificateBytes, header, headerBytes } of reader.headers(from, from + count - 1)) {
      const body = await reader.bodyAt(header.height)
      if (body === undefined) break
      total += headerBytes.length + certificateBytes.length + body.bytes.length
      if (blocks.length > 0 && total > SYNC_BLOCKS_BYTES_MAX) break
      blocks.push({ header: headerBytes, certificate: certificateBytes, body: body.bytes })
      if (certificate.kind === 'finalize') endOfFinal = blocks.length
    }
    // What is behind the last finalize certificate proves nothing yet: it comes with the next answer, unless it fills this one.
    return encodeSyncAnswer({ head: head.height, blocks: endOfFinal === 0 ? blocks : blocks.slice(0, endOfFinal) })
  }

  async #answerTx(bytes: Uint8Array, from: PeerId): Promise<Uint8Array> {
    if (!this.#votes()) {
      const institutions = this.#validatorInstitutions().join(', ')
      return encodeTxAnswer({ fault: receiptFault(new PeerError({ code: 'LEDGER_NO_VALIDATOR', institutions }).fault) })
    }
    try {
      // What waits of one member is bounded by its streams. It may hand on what it didn't verify: it doesn't vote.
      const isNew = await this.#turns.run(from.toString(), async () => this.#admitTx(decodeEnvelope(bytes)))
      if (isNew) this.#share(bytes)
      return encodeTxAnswer({})
    } catch (error) {
      const fault = faultOf(error)
      if (fault === undefined) throw error
      return encodeTxAnswer({ fault: receiptFault(fault) })
    }
  }

  /** Gives a transaction to a validator that takes it. @throws as `submit` */
  async #forward(bytes: Uint8Array, round: number): Promise<void> {
    const { host } = this.#deps
    let refusal: CodedError | undefined
    for (const peer of this.#validatorPeers(round)) {
      try {
        const { fault } = decodeTxAnswer(await request(host, peer, TX_PROTOCOL, bytes, TX_LIMITS))
        if (fault === undefined) return
        refusal = new CodedError(fault)
      } catch (error) {
        if (!(error instanceof RequestError) && !(error instanceof CodecError)) throw error
        this.#deps.log.warn({ peer: peer.toString(), fault: error.fault.code }, 'a validator took no transaction')
      }
    }
    if (refusal !== undefined) throw refusal
    throw new PeerError({ code: 'LEDGER_NO_VALIDATOR', institutions: this.#validatorInstitutions().join(', ') })
  }

  /** The validator that took it may die before others have it: it waits here too, and is handed over again until it is final. */
  async #keep(tx: SignedTx): Promise<void> {
    try {
      await this.#admitTx(tx)
    } catch (error) {
      const fault = faultOf(error)
      if (fault === undefined) throw error
      // This peer may be behind who took it, or full.
      this.#deps.log.debug({ tx: tx.id, fault }, 'a transaction is not kept for handing over')
    }
  }

  #votes(): boolean {
    return this.#validator?.isVoting() === true
  }

  #share(bytes: Uint8Array): void {
    this.#toShare.push(bytes)
    if (this.#toShare.length > 1) return
    setTimeout(() => {
      const envelopes = this.#toShare.splice(0)
      // An epoch may have ended since they were taken in.
      if (this.#votes()) this.#validator?.share(envelopes)
      else this.#handOver.now()
    }, TRANSACTIONS_SHARE_WINDOW_MS)
  }

  /** @returns whether it is new here. */
  async #admitTx(tx: SignedTx): Promise<boolean> {
    const { chain, clock, mempool } = this.#deps
    // The same transaction again is no fault: its sender may have lost the answer.
    if (mempool.has(tx.id)) return false
    const nowMs = clock.nowMs()
    const fault = await chain.admissionFault(tx, nowMs)
    if (fault !== undefined) {
      // One that is final has used its turn.
      if ((await this.receipt(tx.id)) !== undefined) return false
      throw new CodedError(fault)
    }
    const next = await chain.nextSeq(tx.body.account, tx.body.lane)
    if (mempool.has(tx.id)) return false
    // It became final just now.
    if (tx.body.seq < next && (await this.receipt(tx.id)) !== undefined) return false
    mempool.add(tx, next, Math.max(nowMs, chain.head.timeMs))
    this.#validator?.wake()
    return true
  }

  /** A block is final: its parts can be fetched by CID from here now. */
  #onBlock(block: AcceptedBlock): void {
    const { log, mempool, store } = this.#deps
    const { bodyBytes, final, txs } = block
    mempool.committed(txs, final.header.timeMs)
    this.#recent.add(block)
    if (final.header.nextValidators !== undefined) this.#handOver.now()
    const parts = [
      { digest: final.id.multihash.digest, parts: [final.headerBytes] },
      { digest: final.header.body.multihash.digest, parts: [bodyBytes] },
    ]
    // The chain's own store has them durably; a full block store only means that others fetch them elsewhere.
    this.#offered = store
      .write(parts)
      .catch((error: unknown) => log.warn({ err: error }, 'a block of the ledger was not kept for others'))
    log.info({ height: final.header.height, block: final.id.toString(), txs: txs.length }, 'block final')
  }

  #validatorInstitutions(): string[] {
    return (this.#deps.chain.validators()?.validators ?? []).map((one) => one.institution)
  }

  /** Peers of the validators that are connected, beginning with another validator in each round, and not with the same at all peers. */
  #validatorPeers(round: number): PeerId[] {
    const { host, members } = this.#deps
    const institutions = this.#validatorInstitutions()
    const begin = (round + (host.peerId.toMultihash().digest.at(-1) ?? 0)) % Math.max(1, institutions.length)
    const peers = host.getPeers()
    return [...institutions.slice(begin), ...institutions.slice(0, begin)].flatMap((institution) =>
      peers.filter((peer) => members.institutions.get(peer.toString()) === institution),
    )
  }
}
