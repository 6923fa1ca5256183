/**
 * Blocks that are executed and not final: a tree on top of the final head. Consensus executes a block before it votes, and
 * builds on a notarized block before that one is final; which branch becomes final is known only later.
 *
 * Each block holds what it changed and the state tree after it. Reading the state for a child goes through the changes of its
 * ancestors, newest first, then to the store. Nothing of a pending block is stored; a restart executes it again.
 *
 * @see docs/decisions/0054-blocks-before-they-are-final.md
 */
import type { CID } from 'multiformats/cid'
import { CodedError } from '../core/coded-error.ts'
import { PENDING_BLOCKS_MAX } from '../core/limits.ts'
import type { KeyChange } from '../core/ports.ts'
import { type CompleteNode, appendLeaf, leafHash } from '../crypto/merkle.ts'
import type { Certificate } from './certificate.ts'
import type { ChainState } from './chain-open.ts'
import { blockWrites, epochWrite, historyWrites, stateWrites } from './chain-store.ts'
import type { Header } from './header.ts'
import type { ExecutedBlock } from './proposal.ts'
import { encodeReceipts } from './receipt.ts'
import { type StoredValue, stateKeyName } from './state.ts'
import type { ValidatorSet } from './validators.ts'

export type PendingFault =
  | { code: 'CHAIN_PENDING_FULL'; blocks: number; blocksMax: number }
  | { code: 'CHAIN_NOT_PENDING'; block: string }
export class PendingError extends CodedError<PendingFault> {}

/** A block as it is proposed: without a certificate of its own. */
export interface UncertifiedBlock {
  readonly id: CID
  readonly header: Header
  readonly headerBytes: Uint8Array
  readonly bodyBytes: Uint8Array
  /** Certificate of its parent that its body carries. */
  readonly parentCert: Certificate | null
}

export interface PendingBlock extends UncertifiedBlock {
  readonly executed: ExecutedBlock
  /** What the next block on it is built on. */
  readonly after: ChainState
  /** Of the history, complete with this block. */
  readonly nodes: readonly CompleteNode[]
}

type ReadStored = (namespace: string, key: Uint8Array) => Promise<StoredValue | undefined>

export class PendingBlocks {
  readonly #byId = new Map<string, PendingBlock>()

  get(id: CID): PendingBlock | undefined {
    return this.#byId.get(id.toString())
  }

  /**
   * Makes room for a block on this parent. Where there is none, blocks without children go, those of the oldest views first: during
   * a partition every leader's proposal fails and stays, and none of them may keep out the one that ends it.
   *
   * @throws {PendingError} `CHAIN_PENDING_FULL` where all are ancestors of the new one
   */
  makeRoom(parent: CID): void {
    while (this.#byId.size >= PENDING_BLOCKS_MAX) {
      const blocks = [...this.#byId.values()]
      const kept = new Set([...blocks.map(({ header }) => header.parent), parent].map(String))
      const [oldest] = blocks.filter(({ id }) => !kept.has(id.toString())).sort((a, b) => a.header.view - b.header.view)
      if (oldest === undefined) {
        throw new PendingError({ code: 'CHAIN_PENDING_FULL', blocks: blocks.length, blocksMax: PENDING_BLOCKS_MAX })
      }
      this.drop(oldest.id)
    }
  }

  add(block: PendingBlock): void {
    this.#byId.set(block.id.toString(), block)
  }

  /** The pending blocks from the one above the head to this one, oldest first; none where it isn't pending. */
  path(id: CID): PendingBlock[] {
    const path: PendingBlock[] = []
    for (let block = this.get(id); block !== undefined; block = this.get(block.header.parent)) path.push(block)
    return path.reverse()
  }

  /** Reads the state after a pending block, or after the head. */
  readAfter(id: CID, final: ReadStored): ReadStored {
    return async (namespace, key) => {
      const name = stateKeyName(namespace, key)
      for (let block = this.get(id); block !== undefined; block = this.get(block.header.parent)) {
        const { values } = block.executed
        if (values.has(name)) return values.get(name)
      }
      return final(namespace, key)
    }
  }

  /** Takes out a block and all that are built on it. */
  drop(id: CID): void {
    if (!this.#byId.delete(id.toString())) return
    for (const block of [...this.#byId.values()]) if (block.header.parent.equals(id)) this.drop(block.id)
  }

  /** A block became final: only those built on it stay. */
  finalized(id: CID): void {
    const final = this.get(id)
    if (final === undefined) return
    for (const block of [...this.#byId.values()]) {
      if (block.header.height === final.header.height && !block.id.equals(id)) this.drop(block.id)
    }
    this.#byId.delete(id.toString())
  }
}

/** The validators of the epoch that begins after this block, if it ends one. */
export function nextSet({ header, id }: UncertifiedBlock): ValidatorSet | undefined {
  if (header.nextValidators === undefined) return undefined
  return { epoch: header.epoch + 1, seed: id.multihash.digest, validators: header.nextValidators }
}

export function pendingBlock(given: UncertifiedBlock, parent: ChainState, executed: ExecutedBlock): PendingBlock {
  const { header, id } = given
  const { height, timeMs, view } = header
  const { nodes, range } = appendLeaf(parent.history, leafHash(id.multihash.digest))
  const endsEpoch = header.nextValidators !== undefined
  const nextEpoch = header.epoch + (endsEpoch ? 1 : 0)
  const head = { height, id, view, timeMs, stateRoot: executed.tree.root, nextEpoch, endsEpoch }
  return {
    ...given,
    executed,
    after: { head, tree: executed.tree, history: range },
    nodes,
  }
}

/** All that is stored when a block becomes final: one batch. */
export function finalWrites(pending: PendingBlock, certificateBytes: Uint8Array): KeyChange[] {
  const { bodyBytes, executed, header, headerBytes, id, nodes } = pending
  const next = nextSet(pending)
  return [
    ...blockWrites({
      height: header.height,
      id,
      header: headerBytes,
      certificate: certificateBytes,
      body: bodyBytes,
      receipts: encodeReceipts(executed.receipts),
      txs: executed.txs.map((tx) => tx.id),
    }),
    ...historyWrites(nodes),
    ...stateWrites(executed.changes),
    ...executed.treeWrites,
    ...(next === undefined ? [] : [epochWrite(next)]),
  ]
}
