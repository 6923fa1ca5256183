/** Making and executing a block on top of the head. */
import type { CID } from 'multiformats/cid'
import type { ChainId, InstitutionId } from '../core/ids.ts'
import { BLOCK_TXS_MAX, BLOCK_TX_BYTES_MAX } from '../core/limits.ts'
import type { KeyChange } from '../core/ports.ts'
import { merkleRoot } from '../crypto/merkle.ts'
import { bodyCid, encodeBody, txRootOf } from './block-body.ts'
import { type Expected, HeaderError } from './block-check.ts'
import type { Certificate } from './certificate.ts'
import type { ChainState } from './chain-open.ts'
import type { ChainStore, SavedProposal } from './chain-store.ts'
import { type DroppedTx, type Rules, execute } from './execution.ts'
import { parseLink } from './fields.ts'
import { HEADER_VERSION, type Header, encodeHeader, headerId } from './header.ts'
import type { BlockContext } from './machine.ts'
import { type Receipt, encodeReceipt } from './receipt.ts'
import { BlockState, type EncodedChange, treeChangeOf } from './state.ts'
import type { StateTree } from './state-tree.ts'
import type { SignedTx } from './transaction.ts'
import { type ValidatorSet, leaderOf } from './validators.ts'

export interface ProposalRequest {
  /** In the order they should stand; those that don't fit or aren't admissible are left out. */
  readonly txs: readonly SignedTx[]
  /** Of the block; later than the head's. */
  readonly timeMs: number
  readonly proposer: InstitutionId
  /** Later than the head's. @default the head's + 1 */
  readonly view?: number
  /** One for each view between the head's and this. @default none */
  readonly nullifyCerts?: readonly Certificate[]
}

/** A block without its certificate. */
export interface Proposal extends SavedProposal {
  readonly id: CID
  readonly fields: Header
  readonly txs: readonly SignedTx[]
  /** Left out because they have no place in any block, now or ever, or not before their turn. */
  readonly dropped: readonly DroppedTx[]
}

/** What a block does, worked out but not stored. */
export interface ExecutedBlock {
  readonly txs: readonly SignedTx[]
  readonly receipts: readonly Receipt[]
  readonly receiptsRoot: Uint8Array
  readonly dropped: readonly DroppedTx[]
  readonly changes: readonly EncodedChange[]
  readonly tree: StateTree
  readonly treeWrites: readonly KeyChange[]
}

interface Ground {
  readonly rules: Rules
  readonly store: ChainStore
  readonly state: ChainState
}

/** Executes transactions on the final state; the state itself stays as it is. */
export async function executeBlock(
  ground: Ground,
  txs: readonly SignedTx[],
  context: BlockContext,
): Promise<ExecutedBlock> {
  const { rules, state, store } = ground
  const blockState = new BlockState((namespace, key) => store.stored(namespace, key), context.height)
  const { dropped, included, receipts } = await execute(rules, blockState, txs, context)
  const changes = blockState.changes()
  const { tree, writes } = await state.tree.with(changes.map(treeChangeOf))
  const receiptsRoot = merkleRoot(receipts.map(encodeReceipt))
  return { txs: included, receipts, receiptsRoot, dropped, changes, tree, treeWrites: writes }
}

/** @throws {HeaderError} `HEADER_PROPOSER_WRONG`, `HEADER_TIME_NOT_LATER`, `HEADER_VIEW_WRONG` */
export async function makeProposal(
  ground: Ground & {
    readonly chain: ChainId
    readonly set: ValidatorSet
    readonly expected: Expected
    readonly parentCert: Certificate | null
  },
  request: ProposalRequest,
): Promise<{ readonly proposal: Proposal; readonly block: ExecutedBlock }> {
  const { chain, expected, set, state } = ground
  const { proposer, timeMs } = request
  const { head } = state
  const view = request.view ?? head.view + 1
  const leader = set.validators[leaderOf(set, view)]?.institution ?? ''
  if (view <= head.view) throw new HeaderError({ code: 'HEADER_VIEW_WRONG', view, parentView: head.view })
  if (proposer !== leader) throw new HeaderError({ code: 'HEADER_PROPOSER_WRONG', proposer, leader })
  if (timeMs <= head.timeMs) {
    throw new HeaderError({ code: 'HEADER_TIME_NOT_LATER', timeMs, parentTimeMs: head.timeMs })
  }
  const height = head.height + 1
  const block = await executeBlock(ground, fitting(request.txs), { chain, height, timeMs })
  const txs = block.txs.map((tx) => tx.bytes)
  const justify = { parentCert: ground.parentCert, nullifyCerts: request.nullifyCerts ?? [] }
  const body = encodeBody({ txs, evidence: [], justify })
  const fields: Header = {
    version: HEADER_VERSION,
    chain: parseLink(chain),
    epoch: set.epoch,
    view,
    height,
    parent: head.id,
    parentView: head.view,
    timeMs,
    proposer,
    body: bodyCid(body),
    txRoot: txRootOf(txs),
    stateRoot: block.tree.root,
    receiptsRoot: block.receiptsRoot,
    historyRoot: expected.historyRoot,
    layoutVersion: expected.layoutVersion,
    ...(expected.nextValidators === undefined ? {} : { nextValidators: expected.nextValidators }),
  }
  const header = encodeHeader(fields)
  return { block, proposal: { id: headerId(header), header, body, fields, txs: block.txs, dropped: block.dropped } }
}

/** As many of the transactions, from the first, as a block holds. */
function fitting(txs: readonly SignedTx[]): SignedTx[] {
  const fit: SignedTx[] = []
  let bytes = 0
  for (const tx of txs.slice(0, BLOCK_TXS_MAX)) {
    bytes += tx.bytes.length
    if (bytes > BLOCK_TX_BYTES_MAX) break
    fit.push(tx)
  }
  return fit
}
