/** Opening a peer's own notes and its ledger, also where a disk has damaged them. */
import { cp, rm } from 'node:fs/promises'
import { faultOf } from '../core/coded-error.ts'
import type { KeyValueStore, Log } from '../core/ports.ts'
import { Chain, type ChainDeps, isDamage } from '../ledger/chain.ts'
import { LevelStore, type LevelStoreOptions } from '../store/level-store.ts'
import type { LedgerDatabase } from './ledger-database.ts'

const ASIDE = '-damaged'

/**
 * Opens the database of what only this peer knows: its objects, its place in a scrub, what its validator must remember. From a damaged
 * one, what can be read is saved; a copy of it as it was found is set aside.
 *
 * @returns `isSaved`: something may be missing.
 * @throws {StoreError} as `LevelStore.open`, but for damage
 */
export async function openNotes(
  deps: LevelStoreOptions & { readonly log: Log },
  dir: string,
): Promise<{ readonly notes: LevelStore; readonly isSaved: boolean }> {
  try {
    return { notes: await LevelStore.open(dir, deps), isSaved: false }
  } catch (error) {
    if (!isDamage(error)) throw error
    deps.log.error({ fault: faultOf(error) }, 'the notes of this peer are damaged: what can be read is saved')
  }
  await rm(dir + ASIDE, { recursive: true, force: true })
  await cp(dir, dir + ASIDE, { recursive: true })
  try {
    await LevelStore.salvage(dir)
    return { notes: await LevelStore.open(dir, deps), isSaved: true }
  } catch (error) {
    if (!isDamage(error)) throw error
    deps.log.error(
      { fault: faultOf(error) },
      'nothing of the notes of this peer could be saved: its list of objects is lost',
    )
  }
  await rm(dir, { recursive: true })
  return { notes: await LevelStore.open(dir, deps), isSaved: true }
}

/**
 * Opens the chain. A damaged one is set aside, and an empty one takes its place: it catches up like that of a new peer.
 *
 * @throws as `Chain.open`, but for damage
 */
export async function openChainOn(
  database: LedgerDatabase,
  deps: Omit<ChainDeps, 'store'>,
  genesisBytes: Uint8Array,
): Promise<Chain> {
  try {
    return await Chain.open({ ...deps, store: database }, { genesisBytes })
  } catch (error) {
    // It was whole when it came into use: the log of the database has lost its end.
    if (!isDamage(error) && faultOf(error)?.code !== 'CHAIN_SNAPSHOT_UNFINISHED') throw error
    deps.log.error({ fault: faultOf(error) }, 'the ledger is damaged: set aside, and fetched from the others')
  }
  await database.dropNext()
  await database.useNext('damaged')
  return Chain.open({ ...deps, store: database }, { genesisBytes })
}

/** Whether a store holds a whole chain. @throws as `Chain.open` */
export async function tryOpenChain(
  store: KeyValueStore,
  deps: Omit<ChainDeps, 'onDamage' | 'store'>,
  genesisBytes: Uint8Array,
): Promise<void> {
  await Chain.open({ ...deps, store }, { genesisBytes })
}
