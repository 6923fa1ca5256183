/**
 * The final head and the blocks executed on top of it: what comes next, and how it becomes final.
 *
 * Calls must not overlap, and the chain sees to that: each looks at head and store in several steps.
 *
 * @see chain.ts for what callers see; pending-blocks.ts, block-check.ts, proposal.ts
 */
import type { CID } from 'multiformats/cid'
import type { ChainId, TxId } from '../core/ids.ts'
import { PENDING_FULL_BLOCKS_MAX } from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { leafHash, rangeRoot } from '../crypto/merkle.ts'
import { type BlockBytes, readBody, readFinal, readHeader } from './block-bytes.ts'
import {
  BlockError,
  HeaderError,
  ballotFault,
  bodyFault,
  chainFault,
  justificationFault,
  leaderFault,
  placeFault,
} from './block-check.ts'
import { type Certificate, encodeCertificate } from './certificate.ts'
import type { ChainState } from './chain-open.ts'
import type { ChainStore } from './chain-store.ts'
import { type DroppedTx, type Rules, admissionFault } from './execution.ts'
import { FinalHeaders } from './final-headers.ts'
import type { FinalHeader, Header } from './header.ts'
import {
  type PendingBlock,
  PendingBlocks,
  PendingError,
  type UncertifiedBlock,
  finalWrites,
  nextSet,
  pendingBlock,
} from './pending-blocks.ts'
import { type Ground, type Proposal, type ProposalRequest, executeGiven, makeProposal } from './proposal.ts'
import type { Receipt } from './receipt.ts'
import type { SignedTx } from './transaction.ts'
import type { ValidatorSet } from './validators.ts'

/** Version of the placement layout while there is none. */
const NO_LAYOUT = 0

export interface BlockTreeDeps {
  readonly chain: ChainId
  readonly store: ChainStore
  readonly rules: Rules
  /** See `ChainDeps`. */
  readonly waiting: (leaf: Uint8Array) => SignedTx | undefined
  readonly clock: Clock
  readonly log: Log
  /** Told of each block once it is stored; must not throw. */
  readonly onFinal: (block: AcceptedBlock) => void
}

/** A block that has just become part of the chain. */
export interface AcceptedBlock {
  readonly final: FinalHeader
  readonly bodyBytes: Uint8Array
  readonly txs: readonly SignedTx[]
  readonly receipts: readonly Receipt[]
}

/** A block that is said to be final, or to be an ancestor of one that is. */
interface GivenBlock {
  readonly final: FinalHeader
  readonly body: Uint8Array
}

/** Faults of a transaction that has no place in this block and may have one in a later. */
const NOT_FOR_EVER: ReadonlySet<string> = new Set(['TX_EXPIRES_TOO_FAR', 'TX_QUOTA_EXHAUSTED'])

export class BlockTree {
  readonly headers: FinalHeaders
  readonly #deps: BlockTreeDeps
  readonly #epochs: ValidatorSet[]
  readonly #pending = new PendingBlocks()
  #state: ChainState

  constructor(deps: BlockTreeDeps, opened: { readonly state: ChainState; readonly epochs: readonly ValidatorSet[] }) {
    const { chain, clock, log, store } = deps
    this.#deps = deps
    this.#epochs = [...opened.epochs]
    this.#state = opened.state
    const setOf = (epoch: number): ValidatorSet | undefined => this.#epochs[epoch]
    this.headers = new FinalHeaders({ chain, store, head: () => this.state.head, setOf, clock, log })
  }

  /** After the newest final block. */
  get state(): ChainState {
    return this.#state
  }

  validators(epoch: number): ValidatorSet | undefined {
    return this.#epochs[epoch]
  }

  /** See `Chain.propose`. */
  async propose(request: ProposalRequest): Promise<Proposal> {
    const ground = await this.#groundOn(request.parent, this.state.head.height + 1)
    const isFar = this.#pending.path(request.parent).length >= PENDING_FULL_BLOCKS_MAX
    const { executed, proposal } = await makeProposal(ground, isFar ? { ...request, txs: [] } : request)
    const { body: bodyBytes, fields, header: headerBytes, id } = proposal
    const given = { id, header: fields, headerBytes, bodyBytes, parentCert: request.justify.parentCert }
    this.#pending.makeRoom(request.parent)
    this.#pending.add(pendingBlock(given, ground.parent, executed))
    return { ...proposal, dropped: await this.#droppedForEver(proposal.dropped, request.timeMs) }
  }

  /** See `Chain.addPending`. */
  async addPending(given: {
    readonly header: Uint8Array
    readonly body: Uint8Array
  }): Promise<{ readonly id: CID; readonly header: Header }> {
    const { header, id } = readHeader(given.header)
    if (this.isPending(id)) return { id, header }
    if ((await this.#deps.store.heightOf(id)) !== undefined) {
      throw new HeaderError({ code: 'HEADER_KNOWN', height: header.height })
    }
    const uncertified = { id, header, headerBytes: given.header, bodyBytes: given.body }
    const pending = await this.#execute(uncertified, 'certificates checked')
    this.#pending.makeRoom(header.parent)
    this.#pending.add(pending)
    return { id, header }
  }

  isPending(id: CID): boolean {
    return this.#pending.get(id) !== undefined
  }

  pendingTxs(tip: CID): ReadonlySet<TxId> {
    return new Set(this.#pending.path(tip).flatMap(({ executed }) => executed.txs.map((tx) => tx.id)))
  }

  forget(id: CID): void {
    this.#pending.drop(id)
  }

  /** See `Chain.finalize`. */
  async finalize(id: CID, certificate: Certificate): Promise<void> {
    const pending = this.#pending.get(id)
    if (pending === undefined) {
      if ((await this.#deps.store.heightOf(id)) !== undefined) return
      throw new PendingError({ code: 'CHAIN_NOT_PENDING', block: id.toString() })
    }
    const fault = ballotFault(certificate, id, pending.header, 'finalize')
    if (fault !== undefined) throw new HeaderError(fault)
    await this.#commitUpTo(id, certificate)
  }

  /** See `Chain.acceptBlocks`. */
  async acceptBlocks(blocks: readonly BlockBytes[]): Promise<number> {
    const before = this.state.head.height
    let run: GivenBlock[] = []
    for (const given of blocks) {
      const final = readFinal(given)
      if (run.length === 0 && (await this.headers.isKnown(final))) continue
      run.push({ final, body: given.body })
      if (final.certificate.kind !== 'finalize') continue
      await this.#addRun(run, 'finalize')
      await this.#commitUpTo(final.id, final.certificate)
      run = []
    }
    if (run.length > 0) await this.#addRun(run, 'notarize')
    return this.state.head.height - before
  }

  #setOf(epoch: number): ValidatorSet {
    const set = this.#epochs[epoch]
    if (set === undefined) throw new HeaderError({ code: 'HEADER_EPOCH_UNKNOWN', epoch })
    return set
  }

  /**
   * @param height - said of the block, for the fault.
   * @throws {HeaderError} `HEADER_PARENT_UNKNOWN`, `HEADER_EPOCH_NOT_FINAL`
   */
  async #groundOn(parentId: CID, height: number): Promise<Ground> {
    const isHead = parentId.equals(this.state.head.id)
    const parent = isHead ? this.#state : this.#pending.get(parentId)?.after
    if (parent === undefined) {
      throw new HeaderError({ code: 'HEADER_PARENT_UNKNOWN', parent: parentId.toString(), height })
    }
    const { head, history } = parent
    if (!isHead && head.endsEpoch) {
      throw new HeaderError({ code: 'HEADER_EPOCH_NOT_FINAL', epoch: head.nextEpoch, parent: parentId.toString() })
    }
    const set = this.#setOf(head.nextEpoch)
    const read = this.#pending.readAfter(parentId, (namespace, key) => this.#deps.store.stored(namespace, key))
    const view = { get: async (namespace: string, key: Uint8Array) => (await read(namespace, key))?.value }
    const { chain, rules, waiting } = this.#deps
    const epochEnd = await rules.registry.epochEnd(view, { height: head.height + 1, epoch: set.epoch })
    const nextValidators = epochEnd?.validators
    const expected = { historyRoot: rangeRoot(history), layoutVersion: NO_LAYOUT, nextValidators }
    return { chain, rules, waiting, set, parent, read, expected, epochEnd }
  }

  /** What of these could not stand in a block on the final head either. */
  async #droppedForEver(dropped: readonly DroppedTx[], timeMs: number): Promise<DroppedTx[]> {
    const { chain, rules, store } = this.#deps
    const forEver: DroppedTx[] = []
    for (const { tx } of dropped) {
      const fault = await admissionFault(rules, store, tx, { chain, timeMs }, { ahead: true })
      if (fault !== undefined && !NOT_FOR_EVER.has(fault.code)) forEver.push({ tx, fault })
    }
    return forEver
  }

  /** Checks a block against its parent, and executes it. */
  async #execute(
    given: Omit<UncertifiedBlock, 'parentCert'>,
    signatures: 'certificates checked' | 'check certificates',
  ): Promise<PendingBlock> {
    const { bodyBytes, header } = given
    const early = chainFault(header, this.#deps.chain)
    if (early !== undefined) throw new HeaderError(early)
    const ground = await this.#groundOn(header.parent, header.height)
    const { head } = ground.parent
    const headerFault = placeFault(header, head, ground.expected) ?? leaderFault(header, ground.set)
    if (headerFault !== undefined) throw new HeaderError(headerFault)
    const body = readBody(bodyBytes)
    const known = {
      parent: head,
      parentCertificate: await this.#deps.store.certificate(head.height),
      ...(signatures === 'certificates checked' ? {} : { setOf: (epoch: number) => this.#epochs[epoch] }),
    }
    const leaves = body.txs.map(leafHash)
    const fault =
      bodyFault(header, bodyBytes, leaves) ?? justificationFault(header, body.justify, this.#deps.chain, known)
    if (fault !== undefined) throw new BlockError(fault)
    const executed = await executeGiven(ground, header, { envelopes: body.txs, leaves })
    return pendingBlock({ ...given, parentCert: body.justify.parentCert }, ground.parent, executed)
  }

  /**
   * Executes blocks in a row, after it is sure that validators stand behind each: by the finalize certificate of the last, or by
   * a notarize certificate of its own. All of them are pending afterwards, or none that wasn't before.
   */
  async #addRun(run: readonly GivenBlock[], kind: 'finalize' | 'notarize'): Promise<void> {
    this.#checkRun(run.map(({ final }) => final))
    for (const { final } of kind === 'finalize' ? run.slice(-1) : run) {
      const fault = this.headers.fault(final, kind)
      if (fault !== undefined) throw new HeaderError(fault)
    }
    const added: CID[] = []
    try {
      for (const { body, final } of run) {
        const { header, headerBytes, id } = final
        if (this.isPending(id)) continue
        const pending = await this.#execute({ id, header, headerBytes, bodyBytes: body }, 'check certificates')
        // Blocks that a quorum made final are stored in a moment, and there are no more of them than one answer holds.
        if (kind === 'notarize') this.#pending.makeRoom(header.parent)
        this.#pending.add(pending)
        added.push(id)
      }
    } catch (error) {
      for (const id of added) this.#pending.drop(id)
      throw error
    }
  }

  /** Whether the headers follow one another, and the first follows what is here. */
  #checkRun(run: readonly FinalHeader[]): void {
    let parent: CID | undefined
    for (const { header, id } of run) {
      const isLinked =
        parent === undefined
          ? header.parent.equals(this.state.head.id) || this.isPending(header.parent) || this.isPending(id)
          : header.parent.equals(parent)
      const { nextEpoch } = this.state.head
      const { epoch, height } = header
      const early = chainFault(header, this.#deps.chain)
      if (early !== undefined) throw new HeaderError(early)
      if (!isLinked) throw new HeaderError({ code: 'HEADER_PARENT_UNKNOWN', parent: header.parent.toString(), height })
      if (epoch !== nextEpoch) throw new HeaderError({ code: 'HEADER_EPOCH_WRONG', epoch, expected: nextEpoch })
      parent = id
    }
  }

  /** @param certificate - of the last; its ancestors have the certificate that their child carries. */
  async #commitUpTo(id: CID, certificate: Certificate): Promise<void> {
    const path = this.#pending.path(id)
    for (const [index, pending] of path.entries()) {
      const own = index === path.length - 1 ? certificate : path[index + 1]?.parentCert
      if (own === undefined || own === null) throw new Error('a block with a parent carries a certificate of it')
      await this.#commit(pending, own)
    }
  }

  async #commit(pending: PendingBlock, certificate: Certificate): Promise<void> {
    const { bodyBytes, executed, header, headerBytes, id } = pending
    const certificateBytes = encodeCertificate(certificate)
    await this.#deps.store.write(finalWrites(pending, certificateBytes))
    this.#deps.store.written(executed.values)
    executed.tree.stored()
    const next = nextSet(pending)
    if (next !== undefined) this.#epochs.push(next)
    this.#state = pending.after
    this.#pending.finalized(id)
    const { receipts, txs } = executed
    this.#deps.onFinal({ final: { id, header, certificate, headerBytes, certificateBytes }, bodyBytes, txs, receipts })
  }
}
