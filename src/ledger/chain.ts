/**
 * The chain: the one agreed order of blocks, and the state they lead to.
 *
 * A block is executed when it is proposed, by whoever votes on it, and waits as pending on top of the final head. It becomes part of
 * the chain with a finalize certificate of its own or of a block built on it. Everything that it writes goes to the store in one
 * durable batch; what is in memory (head, tree, history) moves on after that, so a crash at any point leaves the last block whole.
 * Blocks are taken one after the other.
 *
 * @see docs/spec/chain-store.md; pending-blocks.ts has what isn't final, block-check.ts the rules for blocks, execution.ts those for
 *   transactions
 */
import type { CID } from 'multiformats/cid'
import { type Fault, faultOf } from '../core/coded-error.ts'
import type { AccountId, ChainId, TxId } from '../core/ids.ts'
import type { Clock, KeyValueStore, Log } from '../core/ports.ts'
import { rangeProof } from '../crypto/merkle.ts'
import { type BlockBytes, readFinal } from './block-bytes.ts'
import { type Head, HeaderError, ballotFault } from './block-check.ts'
import { type AcceptedBlock, BlockTree } from './block-tree.ts'
import type { Certificate } from './certificate.ts'
import { type OpenedChain, openChain } from './chain-open.ts'
import { ChainReader } from './chain-reader.ts'
import { ChainStore } from './chain-store.ts'
import { type Rules, SEQ_NAMESPACE, admissionFault, nextSeq } from './execution.ts'
import type { HeaderVerdict } from './final-headers.ts'
import { genesisCid } from './genesis.ts'
import type { Genesis } from './genesis.ts'
import type { Header } from './header.ts'
import { type AccountDirectory, Registry, type StateMachine } from './machine.ts'
import type { Proposal, ProposalRequest } from './proposal.ts'
import { QUOTA_NAMESPACE } from './quota.ts'
import { type PlacedReceipt, ReceiptWaiters } from './receipt-waiters.ts'
import { type StateProof, treeKey } from './state-proof.ts'
import type { Lane, SignedTx } from './transaction.ts'
import type { ValidatorSet } from './validators.ts'
import { VerifiedSignatures } from './verified-signatures.ts'

export interface ChainDeps {
  /** Opened for this chain alone. */
  readonly store: KeyValueStore
  readonly clock: Clock
  readonly log: Log
  readonly machines: readonly StateMachine[]
  readonly directory: AccountDirectory
  /** A transaction that waits here, by its `leaf`: blocks of others hold them too, and are executed with what was decoded. @default none */
  readonly waiting?: (leaf: Uint8Array) => SignedTx | undefined
  /** Told where the store turns out to be damaged; must not throw. */
  readonly onDamage?: (error: unknown) => void
}

/** Whether an error says that a store can't be relied on any more. */
export function isDamage(error: unknown): boolean {
  return DAMAGE.has(faultOf(error)?.code ?? '')
}

const DAMAGE: ReadonlySet<string> = new Set(['CHAIN_DAMAGED', 'STORE_DATABASE_DAMAGED'])

export class Chain {
  readonly id: ChainId
  readonly genesis: Genesis
  readonly genesisBytes: Uint8Array
  /** Reads blocks, receipts and state. */
  readonly reader: ChainReader
  readonly #deps: ChainDeps
  readonly #store: ChainStore
  readonly #rules: Rules
  #tree: BlockTree
  readonly #waiters = new ReceiptWaiters()
  readonly #listeners = new Set<(block: AcceptedBlock) => void>()
  #turn: Promise<unknown> = Promise.resolve()

  private constructor(deps: ChainDeps, genesisBytes: Uint8Array, registry: Registry, opened: OpenedChain) {
    this.#deps = deps
    this.#store = new ChainStore(deps.store)
    this.#rules = { registry, directory: deps.directory, signatures: new VerifiedSignatures() }
    this.reader = new ChainReader(this.#store)
    this.genesis = opened.genesis
    this.genesisBytes = genesisBytes
    this.id = genesisCid(genesisBytes).toString() as ChainId
    this.#tree = this.#treeOf(opened)
  }

  /**
   * Opens the chain of a genesis, new or as it was left.
   *
   * @throws {ChainStoreError} `CHAIN_FORMAT_UNKNOWN`, `CHAIN_OTHER_GENESIS`, `CHAIN_DAMAGED`
   * @throws {MachineError} where two machines claim one name
   * @throws {GenesisError} {CodecError} where the genesis is not one
   */
  static async open(deps: ChainDeps, options: { readonly genesisBytes: Uint8Array }): Promise<Chain> {
    const registry = new Registry(deps.machines, [SEQ_NAMESPACE, QUOTA_NAMESPACE])
    const opened = await openChain(deps.store, options.genesisBytes, deps.machines)
    return new Chain(deps, options.genesisBytes, registry, opened)
  }

  /**
   * Goes on with what another store holds: the same chain, further on or from its beginning. Nobody is told of the blocks between.
   *
   * @param change - makes the store given to `open` read and write the other one; no call of this chain's is under way meanwhile.
   * @throws as `open`; the chain then stays at its old head
   */
  reopen(change: () => Promise<void>): Promise<void> {
    return this.#oneByOne(async () => {
      await change()
      this.#store.changed()
      this.#tree = this.#treeOf(await openChain(this.#deps.store, this.genesisBytes, this.#deps.machines))
    })
  }

  /** The newest final block. */
  get head(): Head {
    return this.#tree.state.head
  }

  /** Validators of an epoch, as far as this chain knows them. @default epoch of the next block */
  validators(epoch: number = this.head.nextEpoch): ValidatorSet | undefined {
    return this.#tree.validators(epoch)
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
   * Executes a block made of these on its parent, and keeps it pending. Nothing is stored.
   *
   * Far from the last final block it holds no transactions: see `PENDING_FULL_BLOCKS_MAX`.
   *
   * @param request.justify - checked by the caller.
   * @throws {HeaderError} `HEADER_PARENT_UNKNOWN`, `HEADER_EPOCH_NOT_FINAL`, `HEADER_PROPOSER_WRONG`, `HEADER_TIME_NOT_LATER`,
   *   `HEADER_VIEW_WRONG`
   * @throws {PendingError} `CHAIN_PENDING_FULL`
   */
  propose(request: ProposalRequest): Promise<Proposal> {
    return this.#oneByOne(() => this.#tree.propose(request))
  }

  /**
   * Checks and executes a block that has no certificate yet, and keeps it pending. Its time against the wall clock and the
   * signatures in its justification are the caller's to check.
   *
   * @param given - untrusted. One that is pending already is not executed again.
   * @throws {HeaderError} {BlockError} any of their codes; `HEADER_PARENT_UNKNOWN` where the parent is neither the head nor
   *   pending, `HEADER_KNOWN` where the block is final already
   * @throws {PendingError} `CHAIN_PENDING_FULL`
   */
  addPending(given: {
    readonly header: Uint8Array
    readonly body: Uint8Array
  }): Promise<{ readonly id: CID; readonly header: Header }> {
    return this.#oneByOne(() => this.#tree.addPending(given))
  }

  isPending(id: CID): boolean {
    return this.#tree.isPending(id)
  }

  /** Transactions in the pending blocks from this one down to the head: what a block on it can't hold again. */
  pendingTxs(tip: CID): ReadonlySet<TxId> {
    return this.#tree.pendingTxs(tip)
  }

  /** Lets go of a pending block that nobody was told of, such as an empty one that was not worth proposing. */
  forget(id: CID): Promise<void> {
    return this.#oneByOne(async () => this.#tree.forget(id))
  }

  /**
   * Makes a pending block and its pending ancestors final, oldest first, each in one durable batch. Blocks that can't become final any
   * more are let go. A block that is final already stays as it is.
   *
   * @param certificate - a finalize certificate of the block, its signatures checked by the caller.
   * @throws {PendingError} `CHAIN_NOT_PENDING`
   * @throws {HeaderError} `HEADER_CERTIFICATE_INVALID` where it is of another block or of another kind
   */
  finalize(id: CID, certificate: Certificate): Promise<void> {
    return this.#oneByOne(() => this.#tree.finalize(id, certificate))
  }

  /**
   * Takes final blocks in order, such as a peer gives to one that is behind: checks them, executes them, stores them.
   *
   * Each has a finalize certificate, or is followed in the list by descendants of which one has. Blocks at the end that none covers
   * are kept pending, if their own notarize certificates hold: the list ended too early.
   *
   * @param blocks - untrusted. Those that the chain has are passed over.
   * @returns how many became part of the chain.
   * @throws {HeaderError} {BlockError} any of their codes. Blocks up to the last finalize certificate before the bad one are taken; the
   *   others leave nothing behind
   */
  acceptBlocks(blocks: readonly BlockBytes[]): Promise<number> {
    return this.#oneByOne(() => this.#tree.acceptBlocks(blocks))
  }

  /**
   * Takes a block that has a finalize certificate: see `acceptBlocks`.
   *
   * @returns `known` where the chain has it already.
   */
  async acceptBlock(given: BlockBytes): Promise<'accepted' | 'known'> {
    const { certificate, header, id } = readFinal(given)
    if (certificate.kind !== 'finalize') {
      const fault = ballotFault(certificate, id, header, 'finalize')
      if (fault !== undefined) throw new HeaderError(fault)
    }
    return (await this.acceptBlocks([given])) === 0 ? 'known' : 'accepted'
  }

  /**
   * Judges a gossiped header without its body and its parent: is it final, on this chain?
   *
   * @param bytes - untrusted gossip message; see `encodeFinalHeader`.
   */
  verifyFinalHeader(bytes: Uint8Array): Promise<HeaderVerdict> {
    return this.#tree.headers.judge(bytes)
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
      const { head, tree } = this.#tree.state
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
    this.#turn = result.catch((error: unknown) => {
      if (isDamage(error)) this.#deps.onDamage?.(error)
    })
    return result
  }

  #treeOf(opened: OpenedChain): BlockTree {
    const { clock, log, waiting = () => undefined } = this.#deps
    const deps = { chain: this.id, store: this.#store, rules: this.#rules, waiting, clock, log }
    return new BlockTree({ ...deps, onFinal: (block) => this.#announce(block) }, opened)
  }

  #announce(block: AcceptedBlock): void {
    const { height } = block.final.header
    for (const [index, receipt] of block.receipts.entries()) this.#waiters.settle({ receipt, height, index })
    for (const listener of this.#listeners) {
      try {
        listener(block)
      } catch (error) {
        // The block is stored: a listener's bug must not look like the block's fault.
        this.#deps.log.error({ err: error, height }, 'block listener failed')
      }
    }
  }
}
