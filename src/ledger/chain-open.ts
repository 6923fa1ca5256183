/** Opening a chain: a new store gets the state of the genesis; of an old one the head is read, and the root of its state checked. */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { CHAIN_RECHECKED_HEADERS, TREE_FILL_ENTRIES } from '../core/limits.ts'
import type { KeyValueStore } from '../core/ports.ts'
import { sha256 } from '../crypto/hash.ts'
import { EMPTY_RANGE, type MountainRange, appendLeaf, leafHash, peakPositions } from '../crypto/merkle.ts'
import type { Head } from './block-check.ts'
import {
  ChainStore,
  ChainStoreError,
  TAKEOVER_KEY,
  epochWrite,
  genesisWrites,
  historyWrites,
  stateWrites,
} from './chain-store.ts'
import { type Genesis, chainIdOf, decodeGenesis, genesisCid } from './genesis.ts'
import { decodeHeader, headerId } from './header.ts'
import type { StateMachine } from './machine.ts'
import { unfinishedSnapshot } from './snapshot-builder.ts'
import { BlockState, decodeStateValue, treeChangeOf } from './state.ts'
import { type StateTree, StoredStateTree } from './state-tree.ts'
import { TreeFiller } from './state-tree-filler.ts'
import type { TreeChange } from './state-tree-update.ts'
import type { ValidatorSet } from './validators.ts'

/** What is in memory of the newest final block, or of a pending one. */
export interface ChainState {
  readonly head: Head
  readonly tree: StateTree
  /** Over the digests of the genesis and all headers up to this block's. */
  readonly history: MountainRange
}

export interface OpenedChain {
  readonly genesis: Genesis
  readonly state: ChainState
  /** By epoch, from 0. */
  readonly epochs: readonly ValidatorSet[]
}

/**
 * @throws {ChainStoreError} `CHAIN_FORMAT_UNKNOWN`, `CHAIN_OTHER_GENESIS`, `CHAIN_SNAPSHOT_UNFINISHED`, `CHAIN_DAMAGED`
 * @throws {GenesisError} {CodecError} where the genesis is not one
 */
export async function openChain(
  backing: KeyValueStore,
  genesisBytes: Uint8Array,
  machines: readonly StateMachine[],
): Promise<OpenedChain> {
  const genesis = decodeGenesis(genesisBytes)
  const snapshot = await unfinishedSnapshot(backing)
  if (snapshot !== undefined || (await backing.get(TAKEOVER_KEY)) !== undefined) {
    throw new ChainStoreError({ code: 'CHAIN_SNAPSHOT_UNFINISHED', height: snapshot?.height ?? 0 })
  }
  const store = new ChainStore(backing)
  const found = await store.genesis()
  if (found === undefined) await begin(backing, genesisBytes, genesis, machines)
  else if (!equals(found, genesisBytes)) {
    const given = chainIdOf(genesisBytes)
    throw new ChainStoreError({ code: 'CHAIN_OTHER_GENESIS', found: chainIdOf(found), given })
  }
  const tree = await readTree(backing, store)
  const head = await readHead(store, genesisBytes, genesis, tree.root)
  await checkRecent(store, head)
  return {
    genesis,
    state: { head, tree, history: await readHistory(store, head) },
    epochs: await readEpochs(store, head),
  }
}

async function begin(
  backing: KeyValueStore,
  bytes: Uint8Array,
  genesis: Genesis,
  machines: readonly StateMachine[],
): Promise<void> {
  const state = new BlockState(async () => undefined, 0)
  for (const machine of machines) state.apply(machine.genesis?.(genesis) ?? [])
  const seed = sha256(bytes)
  const { nodes } = appendLeaf(EMPTY_RANGE, leafHash(seed))
  const epoch = epochWrite({ epoch: 0, seed, validators: genesis.validators })
  const changes = state.changes()
  const { writes } = await StoredStateTree.beforeGenesis(backing).with(changes.map(treeChangeOf))
  await backing.batch([...genesisWrites(bytes), epoch, ...historyWrites(nodes), ...stateWrites(changes), ...writes])
}

/** The tree as it was stored with the head; made of the flat state where a version before there were stored trees wrote the store. */
async function readTree(backing: KeyValueStore, store: ChainStore): Promise<StateTree> {
  const height = await store.headHeight()
  const tree = await StoredStateTree.at(backing, height)
  if (tree !== undefined) return tree
  let filler = TreeFiller.of(backing, height)
  let batch: TreeChange[] = []
  const fill = async (): Promise<void> => {
    const { filler: next, writes } = await filler.add(batch)
    await store.write(writes)
    filler = next
    batch = []
  }
  for await (const entry of store.allState()) {
    batch.push({ ...treeChangeOf(entry), version: decodeStateValue(entry.bytes).version })
    if (batch.length === TREE_FILL_ENTRIES) await fill()
  }
  await fill()
  await store.write([filler.finish()])
  return readTree(backing, store)
}

async function readHead(
  store: ChainStore,
  genesisBytes: Uint8Array,
  genesis: Genesis,
  stateRoot: Uint8Array,
): Promise<Head> {
  const height = await store.headHeight()
  if (height === 0) {
    return {
      height,
      id: genesisCid(genesisBytes),
      view: 0,
      timeMs: genesis.timeMs,
      stateRoot,
      nextEpoch: 0,
      endsEpoch: false,
    }
  }
  const bytes = await store.header(height)
  if (bytes === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: height })
  const header = decodeHeader(bytes)
  if (!equals(header.stateRoot, stateRoot)) {
    throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'state', at: height })
  }
  const endsEpoch = header.nextValidators !== undefined
  const nextEpoch = header.epoch + (endsEpoch ? 1 : 0)
  return { height, id: headerId(bytes), view: header.view, timeMs: header.timeMs, stateRoot, nextEpoch, endsEpoch }
}

/**
 * Whether the newest blocks are there without a gap. A database whose log is damaged may open with a batch missing between others:
 * values of that block would be old ones, unnoticed.
 */
async function checkRecent(store: ChainStore, head: Head): Promise<void> {
  const { height, id } = head
  if (height === 0) return
  let [expected, parent] = [Math.max(1, height - CHAIN_RECHECKED_HEADERS), undefined as CID | undefined]
  for await (const { bytes, height: at } of store.headers(expected, height)) {
    const isNext = at === expected && (parent === undefined || decodeHeader(bytes).parent.equals(parent))
    if (!isNext) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: expected })
    parent = headerId(bytes)
    expected++
  }
  if (parent?.equals(id) !== true) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: expected })
}

async function readHistory(store: ChainStore, head: Head): Promise<MountainRange> {
  const size = head.height + 1
  const peaks: Uint8Array[] = []
  for (const position of peakPositions(size)) peaks.push(await store.node(position))
  return { size, peaks }
}

async function readEpochs(store: ChainStore, head: Head): Promise<ValidatorSet[]> {
  const epochs: ValidatorSet[] = []
  for (let epoch = 0; epoch <= head.nextEpoch; epoch++) {
    const set = await store.epoch(epoch)
    if (set === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'epoch', at: epoch })
    epochs.push(set)
  }
  return epochs
}
