/**
 * This peer's part in the ledger: it follows the chain, hands transactions to the validators, and says what became final.
 *
 *   gossiped header ──► certificate checked ──► body by CID ──► executed, stored ──► relayed, told to whoever waits
 *
 * A peer that is behind asks members for the blocks that it lacks (`/apotheca/sync/1`), and executes them as any other.
 */
import type { PeerId } from '@libp2p/interface'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError, type Fault, faultOf } from '../core/coded-error.ts'
import type { ChainId, TxId } from '../core/ids.ts'
import {
  SYNC_ANSWER_BYTES_MAX,
  SYNC_BLOCKS_BYTES_MAX,
  SYNC_BLOCKS_MAX,
  SYNC_INTERVAL_MS,
  TX_ANSWER_BYTES_MAX,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { byteString, integer, list, object } from '../core/schema.ts'
import type { BlockBytes } from '../ledger/block-bytes.ts'
import type { AcceptedBlock, Chain } from '../ledger/chain.ts'
import { type FinalHeader, decodeFinalHeader, encodeFinalHeader } from '../ledger/header.ts'
import type { Mempool } from '../ledger/mempool.ts'
import type { PlacedReceipt } from '../ledger/receipt-waiters.ts'
import { type SignedTx, decodeEnvelope } from '../ledger/transaction.ts'
import { HeaderGossip, type HeaderVerdict } from '../p2p/header-gossip.ts'
import type { P2pHost } from '../p2p/host.ts'
import { SYNC_PROTOCOL, TX_PROTOCOL } from '../p2p/protocols.ts'
import { RequestError, handleRequests, request } from '../p2p/request.ts'
import type { BlockStore } from '../store/block-store.ts'
import type { ContentService } from './content.ts'
import { PeerError } from './faults.ts'

export interface LedgerNodeDeps {
  readonly chain: Chain
  readonly mempool: Mempool
  readonly host: P2pHost
  readonly content: ContentService
  readonly store: BlockStore
  readonly clock: Clock
  readonly log: Log
}

/** Told of each transaction that begins to wait here; set by the validator. */
export type WakeValidator = () => void

const SYNC_LIMITS = { requestBytesMax: 64, answerBytesMax: SYNC_ANSWER_BYTES_MAX } as const
const TX_LIMITS = { requestBytesMax: TX_LARGE_BYTES_MAX, answerBytesMax: TX_ANSWER_BYTES_MAX } as const

const syncRequest = object({ from: integer(1), count: integer(1, SYNC_BLOCKS_MAX) })
const blockBytes = object({
  header: byteString(1, SYNC_BLOCKS_BYTES_MAX),
  certificate: byteString(1, SYNC_BLOCKS_BYTES_MAX),
  body: byteString(1, SYNC_BLOCKS_BYTES_MAX),
})
const syncAnswer = object({ head: integer(0), blocks: list(blockBytes, 0, SYNC_BLOCKS_MAX) })

export class LedgerNode {
  readonly #deps: LedgerNodeDeps
  readonly #gossip: HeaderGossip
  readonly #stopping = new AbortController()
  #wakeValidator: WakeValidator | undefined
  #catchingUp: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined
  #stopListening: (() => void) | undefined
  /** Highest head that a member told of. */
  #highestSeen = 0
  /** Settled once the newest block's parts can be fetched from here. */
  #offered: Promise<void> = Promise.resolve()

  constructor(deps: LedgerNodeDeps) {
    this.#deps = deps
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
    return Math.max(0, this.#highestSeen - this.#deps.chain.head.height)
  }

  async start(): Promise<void> {
    const { chain, host, log } = this.#deps
    this.#stopListening = chain.onBlock((block) => this.#onBlock(block))
    await handleRequests({ host, log }, SYNC_PROTOCOL, SYNC_LIMITS, async (bytes) => this.#answerSync(bytes))
    await handleRequests({ host, log }, TX_PROTOCOL, TX_LIMITS, async (bytes) => this.#answerTx(bytes))
    this.#gossip.start()
    host.addEventListener('peer:identify', this.#onIdentify)
    this.#timer = setInterval(() => this.catchUp(), SYNC_INTERVAL_MS)
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
    await this.#catchingUp
  }

  /** This peer validates: transactions wait here, and `wake` is called when one comes. */
  serveValidator(wake: WakeValidator): void {
    this.#wakeValidator = wake
  }

  /**
   * Submits a transaction to the validators.
   *
   * @param bytes - an envelope.
   * @throws {MempoolError}, {CodecError}, {CodedError} where it can't be in a block; {PeerError} `LEDGER_NO_VALIDATOR`
   */
  async submit(bytes: Uint8Array): Promise<TxId> {
    const tx = decodeEnvelope(bytes)
    if (this.#wakeValidator !== undefined) {
      await this.#admitTx(tx)
      return tx.id
    }
    const { host } = this.#deps
    let refusal: CodedError | undefined
    for (const peer of this.#validatorPeers()) {
      try {
        const answer = decodeCanonical(await request(host, peer, TX_PROTOCOL, bytes, TX_LIMITS)) as { fault?: Fault }
        if (answer.fault === undefined) return tx.id
        refusal = new CodedError(answer.fault)
      } catch (error) {
        if (!(error instanceof RequestError)) throw error
        this.#deps.log.warn({ peer: peer.toString(), fault: error.fault.code }, 'a validator took no transaction')
      }
    }
    if (refusal !== undefined) throw refusal
    throw new PeerError({ code: 'LEDGER_NO_VALIDATOR', institutions: this.#validatorInstitutions().join(', ') })
  }

  /** @throws the signal's reason */
  async waitForReceipt(id: TxId, signal: AbortSignal): Promise<PlacedReceipt> {
    return this.#deps.chain.waitForReceipt(id, { signal })
  }

  /** Tells the members of a block that was made final here. */
  async publish(final: FinalHeader): Promise<void> {
    const { certificateBytes, headerBytes } = final
    await this.#offered
    await this.#gossip.publish(encodeFinalHeader({ headerBytes, certificateBytes }))
  }

  /** Asks members for blocks that this peer lacks, until none has any. One at a time. */
  catchUp(): void {
    if (this.#catchingUp !== undefined || this.#stopping.signal.aborted) return
    this.#catchingUp = this.#pullAll()
      .catch((error: unknown) => this.#deps.log.warn({ err: error }, 'catching up failed'))
      .finally(() => {
        this.#catchingUp = undefined
      })
  }

  readonly #onIdentify = (): void => this.catchUp()

  async #admit(bytes: Uint8Array): Promise<HeaderVerdict> {
    const { chain, log } = this.#deps
    const judged = await chain.verifyFinalHeader(bytes)
    if (judged.verdict !== 'accept') {
      log.debug({ fault: judged.fault }, 'a header was not taken')
      return judged.verdict
    }
    const { final } = judged
    this.#highestSeen = Math.max(this.#highestSeen, final.header.height)
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
    if (height > chain.head.height + 1) {
      this.catchUp()
      return
    }
    const { certificateBytes: certificate, headerBytes: header } = final
    await chain.acceptBlock({ header, certificate, body: await content.block(body, { signal: this.#stopping.signal }) })
  }

  async #pullAll(): Promise<void> {
    for (const peer of this.#deps.host.getPeers()) {
      try {
        while (!this.#stopping.signal.aborted && (await this.#pull(peer))) {
          // As long as the member has more.
        }
      } catch (error) {
        if (this.#stopping.signal.aborted) return
        const fault = faultOf(error)
        this.#deps.log.debug(
          { peer: peer.toString(), fault, err: fault === undefined ? error : undefined },
          'a member gave no blocks',
        )
      }
    }
  }

  /** @returns whether the member may have more. */
  async #pull(peer: PeerId): Promise<boolean> {
    const { chain, host } = this.#deps
    const asked = encodeCanonical({ from: chain.head.height + 1, count: SYNC_BLOCKS_MAX })
    const options = { ...SYNC_LIMITS, signal: this.#stopping.signal }
    const answer = await request(host, peer, SYNC_PROTOCOL, asked, options)
    const { blocks, head } = syncAnswer(decodeCanonical(answer, SYNC_ANSWER_BYTES_MAX), 'sync')
    this.#highestSeen = Math.max(this.#highestSeen, head)
    for (const block of blocks) await chain.acceptBlock(block)
    return blocks.length > 0 && chain.head.height < head
  }

  async #answerSync(bytes: Uint8Array): Promise<Uint8Array> {
    const { reader, head } = this.#deps.chain
    const { count, from } = syncRequest(decodeCanonical(bytes), 'sync')
    const blocks: BlockBytes[] = []
    let total = 0
    for await (const { certificateBytes, header, headerBytes } of reader.headers(from, from + count - 1)) {
      const body = await reader.bodyAt(header.height)
      if (body === undefined) break
      total += headerBytes.length + certificateBytes.length + body.bytes.length
      if (blocks.length > 0 && total > SYNC_BLOCKS_BYTES_MAX) break
      blocks.push({ header: headerBytes, certificate: certificateBytes, body: body.bytes })
    }
    return encodeCanonical({ head: head.height, blocks })
  }

  async #answerTx(bytes: Uint8Array): Promise<Uint8Array> {
    if (this.#wakeValidator === undefined) {
      return encodeCanonical({
        fault: { code: 'LEDGER_NO_VALIDATOR', institutions: this.#validatorInstitutions().join(', ') },
      })
    }
    try {
      await this.#admitTx(decodeEnvelope(bytes))
      return encodeCanonical({})
    } catch (error) {
      const fault = faultOf(error)
      if (fault === undefined) throw error
      return encodeCanonical({ fault })
    }
  }

  async #admitTx(tx: SignedTx): Promise<void> {
    const { chain, clock, mempool } = this.#deps
    // The same transaction again is no fault: its sender may have lost the answer.
    if (mempool.has(tx.id) || (await chain.reader.receipt(tx.id)) !== undefined) return
    const nowMs = clock.nowMs()
    const fault = await chain.admissionFault(tx, nowMs)
    if (fault !== undefined) throw new CodedError(fault)
    const next = await chain.nextSeq(tx.body.account, tx.body.lane)
    if (mempool.has(tx.id)) return
    mempool.add(tx, next, Math.max(nowMs, chain.head.timeMs))
    this.#wakeValidator?.()
  }

  /** A block is final: its parts can be fetched by CID from here now. */
  #onBlock(block: AcceptedBlock): void {
    const { chain, log, mempool, store } = this.#deps
    const { final, txs } = block
    mempool.committed(txs, final.header.timeMs)
    const keep = async (): Promise<void> => {
      const body = await chain.reader.bodyAt(final.header.height)
      if (body === undefined) return
      await store.write([
        { digest: final.id.multihash.digest, parts: [final.headerBytes] },
        { digest: final.header.body.multihash.digest, parts: [body.bytes] },
      ])
    }
    // The chain's own store has them durably; a full block store only means that others fetch them elsewhere.
    this.#offered = keep().catch((error: unknown) =>
      log.warn({ err: error }, 'a block of the ledger was not kept for others'),
    )
    log.info({ height: final.header.height, block: final.id.toString(), txs: txs.length }, 'block final')
  }

  #validatorInstitutions(): string[] {
    return (this.#deps.chain.validators()?.validators ?? []).map((one) => one.institution)
  }

  #validatorPeers(): PeerId[] {
    const institutions = new Set(this.#validatorInstitutions())
    const { genesis } = this.#deps.chain
    const ids = new Set(
      genesis.institutions.filter((one) => institutions.has(one.id)).flatMap((one) => one.peers.map(String)),
    )
    return this.#deps.host.getPeers().filter((peer) => ids.has(peer.toString()))
  }
}
