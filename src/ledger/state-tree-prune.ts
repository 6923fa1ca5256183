/**
 * Pruning of the stored state tree: what only old versions need is deleted, but for a few versions that are kept whole.
 *
 * Every version lists what it made stale: keys that no version from it on needs, each with the version that wrote it. A key
 * written by u and stale since v serves the versions u to v - 1. Once all versions from v on suffice, it is deleted, or, where a
 * kept version lies between, held for the newest such one until that is given up. So the disk holds the newest tree, the kept
 * ones as far as they differ, and what the versions not pruned yet replaced.
 *
 * Before anything is deleted, a record says what stays readable; every batch takes its lists with it. A kill between any two
 * leaves work to do and nothing wrong: the next run goes on.
 *
 * @see docs/spec/state-tree.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { STATE_PRUNE_KEYS } from '../core/limits.ts'
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { type Decoder, integer, list, object } from '../core/schema.ts'
import { ChainStoreError } from './chain-store.ts'
import {
  KEPT_KEY,
  type KeyBounds,
  decodeKeyList,
  encodeKeyList,
  heldBelow,
  heldKey,
  lastVersionIn,
  staleUpTo,
  versionIn,
} from './state-tree-keys.ts'

/** Which versions stay readable. */
export interface KeptVersions {
  /** This one and all after it. */
  readonly from: number
  /** Earlier ones, ascending: snapshots. */
  readonly snapshots: readonly number[]
}

/** A handful: the newest snapshot, and the one before while peers still fetch it. */
const SNAPSHOTS_MAX = 16
const ALL: KeptVersions = { from: 0, snapshots: [] }
const keptVersions: Decoder<KeptVersions> = object({
  from: integer(0),
  snapshots: list(integer(0), 0, SNAPSHOTS_MAX),
})

/** Whether a version can still be read as a whole. */
export async function isKept(store: KeyValueStore, version: number): Promise<boolean> {
  const kept = await readKept(store)
  return version >= kept.from || kept.snapshots.includes(version)
}

/**
 * Deletes what the wanted versions don't need. What was given up once stays given up, whatever is wanted later. Snapshots are
 * to be given up oldest first: what one holds is looked at when all kept ones are newer.
 *
 * @param wanted - `from` at most the newest final height, since pending blocks read that version.
 * @param options - `keysMax`: how many keys one batch may have before it is written.
 * @returns what stays readable.
 * @throws {ChainStoreError} `CHAIN_DAMAGED`
 */
export async function pruneState(
  store: KeyValueStore,
  wanted: KeptVersions,
  options: { readonly keysMax?: number; readonly signal?: AbortSignal } = {},
): Promise<KeptVersions> {
  const { keysMax = STATE_PRUNE_KEYS, signal } = options
  const before = await readKept(store)
  const kept = stillThere(before, wanted)
  await store.batch([{ key: KEPT_KEY, value: encodeCanonical(kept) }])
  const oldest = kept.snapshots[0] ?? kept.from
  await inBatches(store, heldBelow(oldest), { keysMax, signal }, () => undefined)
  await inBatches(store, staleUpTo(kept.from), { keysMax, signal }, (written, stale) =>
    kept.snapshots.findLast((version) => version >= written && version < stale),
  )
  return kept
}

async function readKept(store: KeyValueStore): Promise<KeptVersions> {
  const bytes = await store.get(KEPT_KEY)
  return bytes === undefined ? ALL : keptVersions(decodeCanonical(bytes), 'kept')
}

function stillThere(before: KeptVersions, wanted: KeptVersions): KeptVersions {
  const from = Math.max(before.from, wanted.from)
  const there = [...new Set(wanted.snapshots)]
    .filter((version) => version < from && (version >= before.from || before.snapshots.includes(version)))
    .sort((one, other) => one - other)
  return { from, snapshots: there.slice(-SNAPSHOTS_MAX) }
}

/**
 * Goes through lists of keys, each list deleted in the batch that takes care of its keys.
 *
 * @param holder - the kept version that still needs a key written by one version and stale since another.
 */
async function inBatches(
  store: KeyValueStore,
  lists: KeyBounds,
  options: { readonly keysMax: number; readonly signal: AbortSignal | undefined },
  holder: (written: number, stale: number) => number | undefined,
): Promise<void> {
  let { from } = lists
  for (;;) {
    const changes: KeyChange[] = []
    for await (const { key, value } of store.range({ ...lists, from })) {
      if (changes.length >= options.keysMax) break
      // The next batch goes on here: LevelDB walks over what was deleted before it.
      from = key
      const stale = lastVersionIn(key)
      const keys = decodeKeyList(value)
      if (keys === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'stale state', at: stale })
      const held = new Map<number, Uint8Array[]>()
      for (const one of keys) {
        const version = holder(versionIn(one), stale)
        if (version === undefined) changes.push({ key: one, value: undefined })
        else
          held
            .set(version, held.get(version) ?? [])
            .get(version)
            ?.push(one)
      }
      for (const [version, some] of held) changes.push({ key: heldKey(version, stale), value: encodeKeyList(some) })
      changes.push({ key, value: undefined })
    }
    if (changes.length === 0 || options.signal?.aborted === true) return
    await store.batch(changes)
  }
}
