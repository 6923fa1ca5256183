/** Keys, changes and entries for tests of the state tree, ranges and snapshots. */
import * as fc from 'fast-check'
import { sha256 } from '../../../src/crypto/hash.ts'
import { type EncodedChange, encodeStateValue, treeChangeOf, uint32Bytes } from '../../../src/ledger/state.ts'
import { StoredStateTree } from '../../../src/ledger/state-tree.ts'
import type { TreeChange } from '../../../src/ledger/state-tree-update.ts'
import type { KeyValueStore } from '../../../src/core/ports.ts'
import { stateWrites } from '../../../src/ledger/chain-store.ts'
import { hexOf } from '../../vectors/load.ts'

export interface Leafy {
  readonly key: Uint8Array
  readonly valueHash: Uint8Array
}
/** What a tree should hold: by hex of the key. */
export type Model = Map<string, Leafy>

/** Keys that share long prefixes as well as keys spread by a hash: both kinds of shape. */
export const keyArb = fc.oneof(
  fc.nat({ max: 400 }).map((n) => sha256(new Uint8Array([n & 0xff, n >> 8]))),
  fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 255 }), fc.constantFrom(0, 15, 31)).map(([head, bits, at]) => {
    const key = new Uint8Array(32).fill(head)
    key[at] = bits
    return key
  }),
)
const valueArb = fc.nat({ max: 50 }).map((n) => sha256(new Uint8Array([n])))
export const changesArb = fc
  .array(fc.record({ key: keyArb, valueHash: fc.option(valueArb, { nil: undefined, freq: 3 }) }), { maxLength: 40 })
  .map(distinct)

/** At most one change for each key, as a block makes them. */
function distinct(changes: readonly { key: Uint8Array; valueHash: Uint8Array | undefined }[]): TreeChange[] {
  const byKey = new Map(changes.map((change) => [hexOf(change.key), change]))
  return [...byKey.values()].map((change) => ({ ...change, entry: undefined }))
}

export function applyTo(model: Model, changes: readonly TreeChange[]): Model {
  const next = new Map(model)
  for (const { key, valueHash } of changes) {
    if (valueHash === undefined) next.delete(hexOf(key))
    else next.set(hexOf(key), { key, valueHash })
  }
  return next
}

export const treeEntries = (count: number): (TreeChange & Leafy)[] =>
  Array.from({ length: count }, (_one, index) => {
    const key = sha256(uint32Bytes(index))
    return { key, valueHash: sha256(key), entry: undefined }
  })

/** Entries of the flat state, as block `height` writes them. */
export function flatChanges(indices: readonly number[], height: number, valueBytes = 20): EncodedChange[] {
  return indices.map((index) => ({
    namespace: index % 3 === 0 ? 'record' : 'grant',
    key: uint32Bytes(index),
    bytes: encodeStateValue({ version: height, value: { index, filler: new Uint8Array(valueBytes) } }),
  }))
}

/** Stores a block that changes just this, as a chain does. */
export async function storeBlock(
  store: KeyValueStore,
  tree: StoredStateTree,
  changes: readonly EncodedChange[],
): Promise<StoredStateTree> {
  const { tree: next, writes } = await tree.with(changes.map(treeChangeOf))
  await store.batch([...stateWrites(changes), ...writes])
  next.stored()
  return next
}

export async function treeOf(store: KeyValueStore, changes: readonly TreeChange[]): Promise<StoredStateTree> {
  const { tree, writes } = await StoredStateTree.beforeGenesis(store).with(changes)
  await store.batch(writes)
  tree.stored()
  return tree
}
