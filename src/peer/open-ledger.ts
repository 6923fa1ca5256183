/** Opening a peer's own notes and its ledger, also where a disk has damaged them. */
import { existsSync } from 'node:fs'
import { cp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Fault, faultOf } from '../core/coded-error.ts'
import type { KeyValueStore, Log } from '../core/ports.ts'
import { Chain, type ChainDeps, isDamage } from '../ledger/chain.ts'
import { LevelStore, type LevelStoreOptions } from '../store/level-store.ts'
import type { LedgerDatabase } from './ledger-database.ts'

const NOTES_FOLDER = 'state'
const ASIDE = '-damaged'
const SAVING = '-saving'
/** What was saved, whole: it takes the place of the damaged one. */
const SAVED = '-saved'

/** What a start found damaged after it had opened it: LevelDB reads a table when it is asked for something in it. */
export interface FoundDamaged {
  notes: boolean
  ledger: boolean
}

/** Which part of a peer's data folder an error says is damaged. @returns `undefined` for any other error */
export function damagedPart(error: unknown, dataDir: string): keyof FoundDamaged | undefined {
  if (!isDamage(error)) return undefined
  const fault: Fault & { dir?: unknown } = faultOf(error) ?? { code: '' }
  return fault.dir === join(dataDir, NOTES_FOLDER) ? 'notes' : 'ledger'
}

/**
 * Opens the database of what only this peer knows: its objects, its place in a scrub, what its validator must remember. From a damaged
 * one, what can be read is saved; a copy of it as it was found is set aside.
 *
 * @param isDamaged - known to be so, though it may open.
 * @returns `isSaved`: something may be missing.
 * @throws {StoreError} as `LevelStore.open`, but for damage
 */
export async function openNotes(
  deps: LevelStoreOptions & { readonly log: Log },
  dataDir: string,
  isDamaged: boolean,
): Promise<{ readonly notes: LevelStore; readonly isSaved: boolean }> {
  const { log } = deps
  const dir = join(dataDir, NOTES_FOLDER)
  // A kill came between saving and this.
  let isSaved = await replaceBySaved(dir)
  if (!isDamaged) {
    try {
      return { notes: await LevelStore.open(dir, deps), isSaved }
    } catch (error) {
      if (!isDamage(error)) throw error
      log.error({ fault: faultOf(error) }, 'the notes of this peer are damaged: what can be read is saved')
    }
  }
  await rm(dir + ASIDE, { recursive: true, force: true })
  await cp(dir, dir + ASIDE, { recursive: true })
  try {
    await LevelStore.salvage(dir, dir + SAVING)
    await rename(dir + SAVING, dir + SAVED)
    isSaved = await replaceBySaved(dir)
    return { notes: await LevelStore.open(dir, deps), isSaved }
  } catch (error) {
    if (!isDamage(error)) throw error
    log.error(
      { fault: faultOf(error) },
      'nothing of the notes of this peer could be saved: its list of objects is lost',
    )
  }
  await rm(dir, { recursive: true })
  return { notes: await LevelStore.open(dir, deps), isSaved: true }
}

async function replaceBySaved(dir: string): Promise<boolean> {
  if (!existsSync(dir + SAVED)) return false
  await rm(dir, { recursive: true, force: true })
  await rename(dir + SAVED, dir)
  return true
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
