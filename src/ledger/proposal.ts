/** Making and executing a block on top of the final head or of a pending block. */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import type { ChainId, InstitutionId } from '../core/ids.ts'
import { BLOCK_BYTES_MAX, BLOCK_TXS_MAX, BLOCK_TX_BYTES_MAX } from '../core/limits.ts'
import type { KeyChange } from '../core/ports.ts'
import { leafHash, merkleRoot } from '../crypto/merkle.ts'
import { type Justification, bodyCid, encodeBody, txRootOf } from './block-body.ts'
import { readTx } from './block-bytes.ts'
import { BlockError, type Expected, HeaderError, leaderFault } from './block-check.ts'
import type { ChainState } from './chain-open.ts'
import { type DroppedTx, type Rules, execute } from './execution.ts'
import { parseLink } from './fields.ts'
import { HEADER_VERSION, type Header, encodeHeader, headerId } from './header.ts'
import type { EpochEnd } from './machine.ts'
import { type Receipt, encodeReceipt } from './receipt.ts'
import { BlockState, type EncodedChange, type StoredValue, treeChangeOf } from './state.ts'
import type { StateTree } from './state-tree.ts'
import type { SignedTx } from './transaction.ts'
import type { ValidatorSet } from './validators.ts'

export interface ProposalRequest {
  /** The final head, or a pending block. */
  readonly parent: CID
  /** Later than the parent's. */
  readonly view: number
  /** Later than the parent's. */
  readonly timeMs: number
  readonly proposer: InstitutionId
  readonly justify: Justification
  /** In the order they should stand, but for their lanes; those that don't fit or aren't admissible are left out. */
  readonly txs: readonly SignedTx[]
}

/** A block without its certificate. */
export interface Proposal {
  readonly id: CID
  readonly header: Uint8Array
  readonly body: Uint8Array
  readonly fields: Header
  readonly txs: readonly SignedTx[]
  /** Left out, and without a place in any later block: not even if the pending blocks below this one never become final. */
  readonly dropped: readonly DroppedTx[]
}

/** What a block does, worked out but not stored. */
export interface ExecutedBlock {
  readonly txs: readonly SignedTx[]
  readonly receipts: readonly Receipt[]
  readonly receiptsRoot: Uint8Array
  readonly dropped: readonly DroppedTx[]
  readonly changes: readonly EncodedChange[]
  /** The same, as they are read, by `stateKeyName`. */
  readonly values: ReadonlyMap<string, StoredValue | undefined>
  readonly tree: StateTree
  readonly treeWrites: readonly KeyChange[]
}

/** What a block is built on. */
export interface Ground {
  readonly chain: ChainId
  readonly rules: Rules
  /** A transaction that waits here, by its `leaf`. */
  readonly waiting: (leaf: Uint8Array) => SignedTx | undefined
  /** Of the block's epoch. */
  readonly set: ValidatorSet
  readonly parent: ChainState
  /** Reads the state after the parent. */
  readonly read: (namespace: string, key: Uint8Array) => Promise<StoredValue | undefined>
  readonly expected: Expected
  /** Where the block ends its epoch: what that changes. */
  readonly epochEnd: EpochEnd | undefined
}

/** Transactions of a block that another one made. */
export interface GivenTxs {
  readonly envelopes: readonly Uint8Array[]
  /** Of the envelopes, in their order. */
  readonly leaves: readonly Uint8Array[]
}

/** Executes transactions on the parent's state, which stays as it is. */
async function executeOn(ground: Ground, txs: readonly SignedTx[], timeMs: number): Promise<ExecutedBlock> {
  const { chain, parent, read, rules } = ground
  const height = parent.head.height + 1
  const state = new BlockState(read, height)
  state.apply(ground.epochEnd?.changes ?? [])
  const block = { chain, height, parent: parent.head.id.multihash.digest, timeMs }
  const { dropped, included, receipts } = await execute(rules, state, txs, block)
  const changes = state.changes()
  const { tree, writes } = await parent.tree.with(changes.map(treeChangeOf))
  const receiptsRoot = merkleRoot(receipts.map(encodeReceipt))
  return { txs: included, receipts, receiptsRoot, dropped, changes, values: state.values(), tree, treeWrites: writes }
}

/**
 * Executes a block that another one made, and compares what it leads to with what its header states.
 *
 * @throws {BlockError} `BLOCK_LANE_ORDER_WRONG`, `BLOCK_TX_INADMISSIBLE`, `BLOCK_RECEIPTS_ROOT_WRONG`, `BLOCK_STATE_ROOT_WRONG`
 */
export async function executeGiven(ground: Ground, header: Header, given: GivenTxs): Promise<ExecutedBlock> {
  const txs = given.envelopes.map((bytes, index) => {
    const leaf = given.leaves[index] ?? leafHash(bytes)
    // One that waits here was decoded and checked when it came.
    return ground.waiting(leaf) ?? readTx(bytes, leaf, index)
  })
  const { height } = header
  const misplaced = txs.findIndex((tx, index) => tx.body.lane < (txs[index - 1]?.body.lane ?? 0))
  if (misplaced !== -1) throw new BlockError({ code: 'BLOCK_LANE_ORDER_WRONG', height, index: misplaced })
  const block = await executeOn(ground, txs, header.timeMs)
  const dropped = block.dropped[0]
  if (dropped !== undefined) {
    const index = txs.indexOf(dropped.tx)
    throw new BlockError({ code: 'BLOCK_TX_INADMISSIBLE', index, problem: dropped.fault.code })
  }
  if (!equals(block.receiptsRoot, header.receiptsRoot)) {
    throw new BlockError({ code: 'BLOCK_RECEIPTS_ROOT_WRONG', height })
  }
  if (!equals(block.tree.root, header.stateRoot)) throw new BlockError({ code: 'BLOCK_STATE_ROOT_WRONG', height })
  return block
}

/** @throws {HeaderError} `HEADER_PROPOSER_WRONG`, `HEADER_TIME_NOT_LATER`, `HEADER_VIEW_WRONG` */
export async function makeProposal(
  ground: Ground,
  request: ProposalRequest,
): Promise<{ readonly proposal: Proposal; readonly executed: ExecutedBlock }> {
  const { chain, expected, set } = ground
  const { head } = ground.parent
  const { justify, proposer, timeMs, view } = request
  const place = { view, parentView: head.view, proposer }
  const fault = leaderFault(place, set)
  if (fault !== undefined) throw new HeaderError(fault)
  if (timeMs <= head.timeMs) {
    throw new HeaderError({ code: 'HEADER_TIME_NOT_LATER', timeMs, parentTimeMs: head.timeMs })
  }
  const executed = await executeOn(ground, fitting(byLane(request.txs), justify), timeMs)
  const txs = executed.txs.map((tx) => tx.bytes)
  const body = encodeBody({ txs, justify })
  const fields: Header = {
    ...place,
    version: HEADER_VERSION,
    chain: parseLink(chain),
    epoch: set.epoch,
    height: head.height + 1,
    parent: head.id,
    timeMs,
    body: bodyCid(body),
    txRoot: txRootOf(executed.txs.map((tx) => tx.leaf)),
    stateRoot: executed.tree.root,
    receiptsRoot: executed.receiptsRoot,
    historyRoot: expected.historyRoot,
    layoutVersion: expected.layoutVersion,
    ...(expected.nextValidators === undefined ? {} : { nextValidators: expected.nextValidators }),
  }
  const header = encodeHeader(fields)
  const { dropped, txs: included } = executed
  return { executed, proposal: { id: headerId(header), header, body, fields, txs: included, dropped } }
}

/** What stands before an envelope in the body: type and length. */
const TX_HEAD_BYTES = 5

/** Urgent lanes first, so that a revocation comes before what it revokes; else as they were given. */
function byLane(txs: readonly SignedTx[]): SignedTx[] {
  return txs.toSorted((a, b) => a.body.lane - b.body.lane)
}

/** As many of the transactions, from the first, as a block holds beside what justifies it. */
function fitting(txs: readonly SignedTx[], justify: Justification): SignedTx[] {
  const frameBytes = encodeBody({ txs: [], justify }).length + BLOCK_TXS_MAX * TX_HEAD_BYTES
  const bytesMax = Math.min(BLOCK_TX_BYTES_MAX, BLOCK_BYTES_MAX - frameBytes)
  const fit: SignedTx[] = []
  let bytes = 0
  for (const tx of txs.slice(0, BLOCK_TXS_MAX)) {
    bytes += tx.bytes.length
    if (bytes > bytesMax) break
    fit.push(tx)
  }
  return fit
}
