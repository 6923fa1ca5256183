/**
 * The chain: the one agreed order of blocks, and the state they lead to.
 *
 * A block becomes part of it only with a finalize certificate, and only if executing it gives the roots that its header
 * states. Everything that it writes goes to the store in one durable batch; what is in memory (head, tree, history) moves on
 * after that, so a crash at any point leaves the last block whole. Blocks are taken one after the other.
 *
 * Whoever proposes must save the proposal before it is signed, and sign the saved one after a restart: see `saveProposal`.
 *
 * @see docs/spec/chain-store.md; block-check.ts has the rules for blocks, execution.ts those for transactions
 */
import { equals } from 'uint8arrays/equals'
import { CodecError } from '../core/codec.ts'
import type { Fault } from '../core/coded-error.ts'
import type { AccountId, ChainId, TxId } from '../core/ids.ts'
import type { Clock, KeyValueStore, Log } from '../core/ports.ts'
import { appendLeaf, leafHash, rangeProof, rangeRoot } from '../crypto/merkle.ts'
import type { BlockBody } from './block-body.ts'
import { type BlockBytes, readBody, readFinal, readTx } from './block-bytes.ts'
import {
  BlockError,
  type Expected,
  type Head,
  HeaderError,
  type HeaderFault,
  bodyFault,
  chainFault,
  endsEpoch,
  finalityFault,
  justificationFault,
  placeFault,
  timeFault,
} from './block-check.ts'
import { type ChainState, type OpenedChain, openChain } from './chain-open.ts'
import { ChainReader } from './chain-reader.ts'
import {
  ChainStore,
  ChainStoreError,
  type SavedProposal,
  blockWrites,
  epochWrite,
  historyWrites,
  proposalWrite,
  stateWrites,
} from './chain-store.ts'
import { type Rules, SEQ_NAMESPACE, admissionFault, nextSeq } from './execution.ts'
import { genesisCid } from './genesis.ts'
import type { Genesis } from './genesis.ts'
import { type FinalHeader, type Header, decodeFinalHeader, decodeHeader, headerId } from './header.ts'
import { type AccountDirectory, Registry, type StateMachine } from './machine.ts'
import { type ExecutedBlock, type Proposal, type ProposalRequest, executeBlock, makeProposal } from './proposal.ts'
import { type Receipt, encodeReceipts } from './receipt.ts'
import { type PlacedReceipt, ReceiptWaiters } from './receipt-waiters.ts'
import { type StateProof, treeKey } from './state-proof.ts'
import type { Lane, SignedTx } from './transaction.ts'
import type { ValidatorSet } from './validators.ts'

/** Version of the placement layout while there is none. */
const NO_LAYOUT = 0

export interface ChainDeps {
  /** Opened for this chain alone. */
  readonly store: KeyValueStore
  readonly clock: Clock
  readonly log: Log
  readonly machines: readonly StateMachine[]
  readonly directory: AccountDirectory
}

/** A block that has just become part of the chain. */
export interface AcceptedBlock {
  readonly final: FinalHeader
  readonly txs: readonly SignedTx[]
  readonly receipts: readonly Receipt[]
}

/** What gossip should do with a header: relay it, drop it, or hold it against the sender. */
export type HeaderVerdict =
  | { readonly verdict: 'accept'; readonly final: FinalHeader }
  | { readonly verdict: 'ignore' | 'reject'; readonly fault: HeaderFault }

/** Faults that aren't the sender's doing: an old message, our clock, our lag; or a fork, which is worth more than blame. */
const NOT_THE_SENDERS: ReadonlySet<HeaderFault['code']> = new Set([
  'HEADER_KNOWN',
  'HEADER_TIME_AHEAD',
  'HEADER_EPOCH_UNKNOWN',
  'HEADER_FORK',
])

export class Chain {
  readonly id: ChainId
  readonly genesis: Genesis
  readonly genesisBytes: Uint8Array
  /** Reads blocks, receipts and state. */
  readonly reader: ChainReader
  readonly #deps: ChainDeps
  readonly #store: ChainStore
  readonly #rules: Rules
  readonly #epochs: ValidatorSet[]
  readonly #waiters = new ReceiptWaiters()
  readonly #listeners = new Set<(block: AcceptedBlock) => void>()
  #state: ChainState
  /** The last proposal made here, so that it isn't executed twice. */
  #executed: { readonly id: string; readonly block: ExecutedBlock } | undefined
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(deps: ChainDeps, genesisBytes: Uint8Array, registry: Registry, opened: OpenedChain) {
    this.#deps = deps
    this.#store = new ChainStore(deps.store)
    this.#rules = { registry, directory: deps.directory }
    this.#epochs = [...opened.epochs]
    this.#state = opened.state
    this.reader = new ChainReader(this.#store)
    this.genesis = opened.genesis
    this.genesisBytes = genesisBytes
    this.id = genesisCid(genesisBytes).toString() as ChainId
  }

  /**
   * Opens the chain of a genesis, new or as it was left.
   *
   * @throws {ChainStoreError} `CHAIN_FORMAT_UNKNOWN`, `CHAIN_OTHER_GENESIS`, `CHAIN_DAMAGED`
   * @throws {MachineError} where two machines claim one name
   * @throws {GenesisError} {CodecError} where the genesis is not one
   */
  static async open(deps: ChainDeps, options: { readonly genesisBytes: Uint8Array }): Promise<Chain> {
    const registry = new Registry(deps.machines, [SEQ_NAMESPACE])
    const opened = await openChain(deps.store, options.genesisBytes, deps.machines)
    return new Chain(deps, options.genesisBytes, registry, opened)
  }

  get head(): Head {
    return this.#state.head
  }

  /** Validators of an epoch, as far as this chain knows them. @default epoch of the next block */
  validators(epoch: number = this.head.nextEpoch): ValidatorSet | undefined {
    return this.#epochs[epoch]
  }

  /**
   * Whether a transaction may wait for a block, at this time and after the newest final block.
   *
   * @returns the fault that speaks against it, or `undefined`. A transaction ahead of its turn may wait.
   */
  admissionFault(tx: SignedTx, nowMs: number): Promise<Fault | undefined> {
    const timeMs = Math.max(nowMs, this.head.timeMs)
    return admissionFault(this.#rules, this.reader, tx, { chain: this.id, timeMs }, { ahead: true })
  }

  /** The `seq` of the account's next transaction in a lane. */
  nextSeq(account: AccountId, lane: Lane): Promise<number> {
    return nextSeq(this.reader, account, lane)
  }

  /**
   * Makes the next block of these transactions, and executes it. Nothing is stored.
   *
   * @throws {HeaderError} `HEADER_PROPOSER_WRONG`, `HEADER_TIME_NOT_LATER`, `HEADER_VIEW_WRONG`
   */
  proposeBlock(request: ProposalRequest): Promise<Proposal> {
    return this.#oneByOne(async () => {
      const { head } = this.#state
      const set = this.#setOf(head.nextEpoch)
      const parentCert = (await this.reader.certificateAt(head.height)) ?? null
      const expected = this.#expected()
      const { block, proposal } = await makeProposal(
        { chain: this.id, rules: this.#rules, store: this.#store, state: this.#state, set, expected, parentCert },
        request,
      )
      this.#executed = { id: proposal.id.toString(), block }
      return proposal
    })
  }

  /**
   * Stores a proposal; once this settles it may be signed. A different one for the same place is refused for ever: signing
   * both would be equivocation.
   *
   * @throws {ChainStoreError} `CHAIN_PROPOSAL_CONFLICT`
   */
  saveProposal(proposal: SavedProposal): Promise<void> {
    return this.#oneByOne(async () => {
      const saved = await this.#savedProposal()
      if (saved !== undefined && !equals(saved.header, proposal.header)) {
        throw new ChainStoreError({ code: 'CHAIN_PROPOSAL_CONFLICT', height: this.head.height + 1 })
      }
      if (saved === undefined) await this.#store.write([proposalWrite(proposal)])
    })
  }

  /** The proposal that was saved for the next block: after a restart, this one is signed and no other. */
  savedProposal(): Promise<SavedProposal | undefined> {
    return this.#oneByOne(() => this.#savedProposal())
  }

  /**
   * Takes a final block: checks it, executes it, stores it.
   *
   * @param given - untrusted.
   * @returns `known` where the chain has it already.
   * @throws {HeaderError} {BlockError} any of their codes; nothing is changed then
   */
  acceptBlock(given: BlockBytes): Promise<'accepted' | 'known'> {
    return this.#oneByOne(async () => {
      const final = readFinal(given)
      if (await this.#isKnown(final)) return 'known'
      this.#checkHeader(final)
      const body = readBody(given.body)
      await this.#checkBody(final.header, given.body, body)
      const block = await this.#executedAs(final, body)
      await this.#commit(final, given.body, block)
      return 'accepted'
    })
  }

  /**
   * Judges a gossiped header without its body and its parent: is it final, on this chain?
   *
   * @param bytes - untrusted gossip message; see `encodeFinalHeader`.
   */
  async verifyFinalHeader(bytes: Uint8Array): Promise<HeaderVerdict> {
    let final: FinalHeader
    try {
      final = decodeFinalHeader(bytes)
    } catch (error) {
      if (!(error instanceof CodecError)) throw error
      return { verdict: 'reject', fault: { code: 'HEADER_MALFORMED', problem: error.fault.code } }
    }
    const fault = await this.#gossipFault(final)
    if (fault === undefined) return { verdict: 'accept', final }
    return { verdict: NOT_THE_SENDERS.has(fault.code) ? 'ignore' : 'reject', fault }
  }

  /** The receipt of a transaction, as soon as it is final. */
  async waitForReceipt(id: TxId, options: { readonly signal?: AbortSignal } = {}): Promise<PlacedReceipt> {
    // Wait first, then look: a block that comes between the two is not missed.
    const stop = new AbortController()
    const signal = options.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal])
    const waiting = this.#waiters.wait(id, signal)
    waiting.catch(() => undefined)
    const found = await this.reader.receipt(id)
    if (found === undefined) return waiting
    stop.abort()
    return found
  }

  /** Calls `listener` after each block that is accepted. @returns how to stop. */
  onBlock(listener: (block: AcceptedBlock) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** A key's value at the head, or its absence, with the proof under the head's state root. */
  proveState(
    namespace: string,
    key: Uint8Array,
  ): Promise<{ readonly head: Head; readonly value: Uint8Array | undefined; readonly proof: StateProof }> {
    return this.#oneByOne(async () => {
      const { head, tree } = this.#state
      const value = await this.#store.storedBytes(namespace, key)
      return { head, value, proof: await tree.prove(treeKey(namespace, key)) }
    })
  }

  /**
   * Proof that the block of a height is under the `historyRoot` of a later header.
   *
   * @param height - 0 (the genesis) to `under - 1`.
   * @param under - height of the later header, at most one above the head.
   */
  proveHistory(height: number, under: number): Promise<Uint8Array[]> {
    return rangeProof(height, under, (position) => this.#store.node(position))
  }

  #oneByOne<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(work, work)
    this.#turn = result.catch(() => undefined)
    return result
  }

  #setOf(epoch: number): ValidatorSet {
    const set = this.#epochs[epoch]
    if (set === undefined) throw new HeaderError({ code: 'HEADER_EPOCH_UNKNOWN', epoch })
    return set
  }

  #expected(): Expected {
    const { head, history } = this.#state
    const isLast = endsEpoch(head.height + 1)
    return {
      historyRoot: rangeRoot(history),
      layoutVersion: NO_LAYOUT,
      nextValidators: isLast ? this.#setOf(head.nextEpoch).validators : undefined,
    }
  }

  async #savedProposal(): Promise<SavedProposal | undefined> {
    const saved = await this.#store.proposal()
    // One that was overtaken by another final block is of no use, and can't be signed for the next place.
    return saved !== undefined && decodeHeader(saved.header).parent.equals(this.head.id) ? saved : undefined
  }

  /** @throws {HeaderError} `HEADER_FORK`, or what is wrong with a header at a height that is taken */
  async #isKnown(final: FinalHeader): Promise<boolean> {
    const { height } = final.header
    if (height > this.head.height) return false
    const known = await this.#store.header(height)
    if (known !== undefined && equals(known, final.headerBytes)) return true
    const fault = chainFault(final.header, this.id) ?? this.#finalityFault(final)
    throw new HeaderError(fault ?? this.#fork(final, known))
  }

  #fork(final: FinalHeader, known: Uint8Array | undefined): HeaderFault {
    const { height } = final.header
    const knownId = known === undefined ? '' : headerId(known).toString()
    this.#deps.log.error({ height, block: final.id.toString(), known: knownId }, 'two final blocks at one height')
    return { code: 'HEADER_FORK', height, block: final.id.toString(), known: knownId }
  }

  #finalityFault(final: FinalHeader): HeaderFault | undefined {
    const { epoch } = final.header
    const set = this.#epochs[epoch]
    return set === undefined ? { code: 'HEADER_EPOCH_UNKNOWN', epoch } : finalityFault(final, this.id, set)
  }

  async #gossipFault(final: FinalHeader): Promise<HeaderFault | undefined> {
    const { header } = final
    const early = chainFault(header, this.id)
    if (early !== undefined) return early
    try {
      // The head itself is relayed still: it may have come to this peer by another way than gossip.
      if ((await this.#isKnown(final)) && header.height < this.head.height) {
        return { code: 'HEADER_KNOWN', height: header.height }
      }
    } catch (error) {
      if (error instanceof HeaderError) return error.fault
      throw error
    }
    return this.#finalityFault(final) ?? timeFault(header, this.#deps.clock.nowMs())
  }

  #checkHeader(final: FinalHeader): void {
    const { header } = final
    const fault =
      chainFault(header, this.id) ??
      placeFault(header, this.head, this.#expected()) ??
      timeFault(header, this.#deps.clock.nowMs()) ??
      this.#finalityFault(final)
    if (fault !== undefined) throw new HeaderError(fault)
  }

  async #checkBody(header: Header, bytes: Uint8Array, body: BlockBody): Promise<void> {
    const parentCertificate = await this.#store.certificate(this.head.height)
    const fault =
      bodyFault(header, bytes, body) ??
      justificationFault(header, body.justify, this.id, { parentCertificate, setOf: (epoch) => this.#epochs[epoch] })
    if (fault !== undefined) throw new BlockError(fault)
  }

  /** Executes the block, or takes what was executed when it was proposed here. */
  async #executedAs(final: FinalHeader, body: BlockBody): Promise<ExecutedBlock> {
    if (this.#executed?.id === final.id.toString()) return this.#executed.block
    const { height, timeMs } = final.header
    const txs = body.txs.map((bytes, index) => readTx(bytes, index))
    const context = { chain: this.id, height, timeMs }
    const block = await executeBlock({ rules: this.#rules, store: this.#store, state: this.#state }, txs, context)
    const dropped = block.dropped[0]
    if (dropped !== undefined) {
      const index = txs.indexOf(dropped.tx)
      throw new BlockError({ code: 'BLOCK_TX_INADMISSIBLE', index, problem: dropped.fault.code })
    }
    if (!equals(block.receiptsRoot, final.header.receiptsRoot)) {
      throw new BlockError({ code: 'BLOCK_RECEIPTS_ROOT_WRONG', height })
    }
    if (!equals(block.tree.root, final.header.stateRoot)) {
      throw new BlockError({ code: 'BLOCK_STATE_ROOT_WRONG', height })
    }
    return block
  }

  async #commit(final: FinalHeader, body: Uint8Array, block: ExecutedBlock): Promise<void> {
    const { header, id } = final
    const { height, timeMs, view } = header
    const { nodes, range } = appendLeaf(this.#state.history, leafHash(id.multihash.digest))
    const next: ValidatorSet | undefined =
      header.nextValidators === undefined
        ? undefined
        : { epoch: header.epoch + 1, seed: id.multihash.digest, validators: header.nextValidators }
    await this.#store.write([
      ...blockWrites({
        height,
        id,
        header: final.headerBytes,
        certificate: final.certificateBytes,
        body,
        receipts: encodeReceipts(block.receipts),
        txs: block.txs.map((tx) => tx.id),
      }),
      ...historyWrites(nodes),
      ...stateWrites(block.changes),
      ...block.treeWrites,
      ...(next === undefined ? [] : [epochWrite(next)]),
    ])
    if (next !== undefined) this.#epochs.push(next)
    const head: Head = { height, id, view, timeMs, stateRoot: header.stateRoot, nextEpoch: next?.epoch ?? header.epoch }
    this.#state = { head, tree: block.tree, history: range }
    this.#executed = undefined
    for (const [index, receipt] of block.receipts.entries()) this.#waiters.settle({ receipt, height, index })
    this.#announce({ final, txs: block.txs, receipts: block.receipts })
  }

  #announce(block: AcceptedBlock): void {
    for (const listener of this.#listeners) {
      try {
        listener(block)
      } catch (error) {
        // The block is stored: a listener's bug must not look like the block's fault.
        this.#deps.log.error({ err: error, height: block.final.header.height }, 'block listener failed')
      }
    }
  }
}
