/** Opening a chain: a new store gets the state of the genesis; an old one is read, and its state checked against its head. */
import { equals } from 'uint8arrays/equals'
import type { KeyValueStore } from '../core/ports.ts'
import { sha256 } from '../crypto/hash.ts'
import { EMPTY_RANGE, type MountainRange, appendLeaf, leafHash, peakPositions } from '../crypto/merkle.ts'
import type { Head } from './block-check.ts'
import { ChainStore, ChainStoreError, epochWrite, genesisWrites, historyWrites, stateWrites } from './chain-store.ts'
import { type Genesis, chainIdOf, decodeGenesis, genesisCid } from './genesis.ts'
import { decodeHeader, headerId } from './header.ts'
import type { StateMachine } from './machine.ts'
import { BlockState } from './state.ts'
import { treeKey } from './state-proof.ts'
import { MemoryStateTree, type StateTree } from './state-tree.ts'
import type { ValidatorSet } from './validators.ts'

/** What is in memory of the newest final block. */
export interface ChainState {
  readonly head: Head
  readonly tree: StateTree
  /** Over the digests of the genesis and all headers up to the head. */
  readonly history: MountainRange
}

export interface OpenedChain {
  readonly genesis: Genesis
  readonly state: ChainState
  /** By epoch, from 0. */
  readonly epochs: readonly ValidatorSet[]
}

/**
 * @throws {ChainStoreError} `CHAIN_FORMAT_UNKNOWN`, `CHAIN_OTHER_GENESIS`, `CHAIN_DAMAGED`
 * @throws {GenesisError} {CodecError} where the genesis is not one
 */
export async function openChain(
  backing: KeyValueStore,
  genesisBytes: Uint8Array,
  machines: readonly StateMachine[],
): Promise<OpenedChain> {
  const genesis = decodeGenesis(genesisBytes)
  const store = new ChainStore(backing)
  const found = await store.genesis()
  if (found === undefined) await begin(store, genesisBytes, genesis, machines)
  else if (!equals(found, genesisBytes)) {
    const given = chainIdOf(genesisBytes)
    throw new ChainStoreError({ code: 'CHAIN_OTHER_GENESIS', found: chainIdOf(found), given })
  }
  const tree = await readTree(store)
  const head = await readHead(store, genesisBytes, genesis, tree.root)
  return {
    genesis,
    state: { head, tree, history: await readHistory(store, head) },
    epochs: await readEpochs(store, head),
  }
}

async function begin(
  store: ChainStore,
  bytes: Uint8Array,
  genesis: Genesis,
  machines: readonly StateMachine[],
): Promise<void> {
  const state = new BlockState(async () => undefined, 0)
  for (const machine of machines) state.apply(machine.genesis?.(genesis) ?? [])
  const seed = sha256(bytes)
  const { nodes } = appendLeaf(EMPTY_RANGE, leafHash(seed))
  const epoch = epochWrite({ epoch: 0, seed, validators: genesis.validators })
  await store.write([...genesisWrites(bytes), epoch, ...historyWrites(nodes), ...stateWrites(state.changes())])
}

/** The tree of all of the flat state: about half a second for 100,000 keys. */
async function readTree(store: ChainStore): Promise<MemoryStateTree> {
  const entries: { key: Uint8Array; valueHash: Uint8Array }[] = []
  for await (const { bytes, key, namespace } of store.allState()) {
    entries.push({ key: treeKey(namespace, key), valueHash: sha256(bytes) })
  }
  return MemoryStateTree.of(entries)
}

async function readHead(
  store: ChainStore,
  genesisBytes: Uint8Array,
  genesis: Genesis,
  stateRoot: Uint8Array,
): Promise<Head> {
  const height = await store.headHeight()
  if (height === 0) {
    return { height, id: genesisCid(genesisBytes), view: 0, timeMs: genesis.timeMs, stateRoot, nextEpoch: 0 }
  }
  const bytes = await store.header(height)
  if (bytes === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: height })
  const header = decodeHeader(bytes)
  if (!equals(header.stateRoot, stateRoot)) {
    throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'state', at: height })
  }
  const nextEpoch = header.epoch + (header.nextValidators === undefined ? 0 : 1)
  return { height, id: headerId(bytes), view: header.view, timeMs: header.timeMs, stateRoot, nextEpoch }
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
