/** Opening a peer's own notes and its ledger, also where a disk has damaged them. */
import { copyFile, mkdir, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Fault, faultOf } from '../core/coded-error.ts'
import type { KeyValueStore, Log } from '../core/ports.ts'
import { Chain, type ChainDeps, isDamage } from '../ledger/chain.ts'
import { freeBytesOf, nodeFileSystem } from '../store/file-system.ts'
import { LevelStore, type LevelStoreOptions } from '../store/level-store.ts'
import { StoreError } from '../store/store-error.ts'
import type { LedgerDatabase } from './ledger-database.ts'

const NOTES_FOLDER = 'state'
/** The damaged one, as it was found. */
const ASIDE = '-damaged'
/** A copy that LevelDB may mend. */
const MENDED = '-mended'
const SAVING = '-saving'
/** What was saved, whole: it takes the place of the damaged one. */
const SAVED = '-saved'
/** In saved notes, until whoever opens them has seen to what may be missing. */
const SAVED_KEY = new TextEncoder().encode('saved')

export type DataPart = 'notes' | 'ledger'

/** Which part of a peer's data folder an error says is damaged. @returns `undefined` for any other error */
export function damagedPart(error: unknown, dataDir: string): DataPart | undefined {
  if (!isDamage(error)) return undefined
  const fault: Fault & { dir?: unknown } = faultOf(error) ?? { code: '' }
  return fault.dir === join(dataDir, NOTES_FOLDER) ? 'notes' : 'ledger'
}

/**
 * Opens the database of what only this peer knows: its objects, its place in a scrub, what its validator must remember. From a damaged
 * one, what can be read is saved into another, which takes its place in one step; the damaged one is set aside.
 *
 * @param isDamaged - known to be so, though it may open.
 * @param onSaved - sees to what may be missing; asked again after a kill.
 * @throws {StoreError} as `LevelStore.open`, but for damage; `STORE_DISK_FULL`
 */
export async function openNotes(
  deps: LevelStoreOptions & { readonly log: Log },
  of: { readonly dataDir: string; readonly isDamaged: boolean },
  onSaved: (notes: KeyValueStore) => Promise<void>,
): Promise<LevelStore> {
  const dir = join(of.dataDir, NOTES_FOLDER)
  // A kill came between saving and this.
  await replaceBySaved(dir)
  const notes = (of.isDamaged ? undefined : await openUndamaged(deps, dir)) ?? (await openSaved(deps, dir))
  try {
    if ((await notes.get(SAVED_KEY)) !== undefined) {
      await onSaved(notes)
      await notes.batch([{ key: SAVED_KEY, value: undefined }])
    }
    return notes
  } catch (error) {
    await notes.close()
    throw error
  }
}

async function openUndamaged(
  deps: LevelStoreOptions & { readonly log: Log },
  dir: string,
): Promise<LevelStore | undefined> {
  try {
    return await LevelStore.open(dir, deps)
  } catch (error) {
    if (!isDamage(error)) throw error
    deps.log.error({ fault: faultOf(error) }, 'the notes of this peer are damaged: what can be read is saved')
    return undefined
  }
}

/** @throws {StoreError} `STORE_DISK_FULL` */
async function openSaved(deps: LevelStoreOptions & { readonly log: Log }, dir: string): Promise<LevelStore> {
  await copyReadableFiles(dir, dir + MENDED, deps.log)
  await rm(dir + SAVING, { recursive: true, force: true })
  const saving = await LevelStore.open(dir + SAVING)
  try {
    await LevelStore.salvage(dir + MENDED, saving)
  } catch (error) {
    if (!isDamage(error)) throw error
    const fault = faultOf(error)
    deps.log.error({ fault }, 'nothing of the notes of this peer could be saved: its list of objects is lost')
  } finally {
    await saving.batch([{ key: SAVED_KEY, value: new Uint8Array([1]) }])
    await saving.close()
  }
  await rename(dir + SAVING, dir + SAVED)
  await replaceBySaved(dir)
  await rm(dir + MENDED, { recursive: true, force: true })
  return LevelStore.open(dir, deps)
}

/** What couldn't be read stays in the damaged one, for who has better tools. */
async function copyReadableFiles(from: string, into: string, log: Log): Promise<void> {
  await rm(into, { recursive: true, force: true })
  await mkdir(into, { recursive: true, mode: 0o700 })
  const names = await readdir(from)
  const sizes = await Promise.all(names.map(async (name) => (await stat(join(from, name))).size))
  // The copy, what LevelDB writes while it mends it, and what is saved.
  const needed = 3 * sizes.reduce((sum, bytes) => sum + bytes, 0)
  const freeBytes = await freeBytesOf(nodeFileSystem, into)
  if (freeBytes < needed) throw new StoreError({ code: 'STORE_DISK_FULL', dir: into, freeBytes })
  for (const name of names) {
    try {
      await copyFile(join(from, name), join(into, name))
    } catch (error) {
      if (!isErrno(error, 'EIO')) throw error
      log.error({ err: error, file: name }, 'a file of the damaged notes can not be read')
    }
  }
}

/** The damaged one is set aside. A kill in between leaves what was saved, which then takes its place. */
async function replaceBySaved(dir: string): Promise<void> {
  if (!(await isThere(dir + SAVED))) return
  if (await isThere(dir)) {
    await rm(dir + ASIDE, { recursive: true, force: true })
    await rename(dir, dir + ASIDE)
  }
  await rename(dir + SAVED, dir)
}

async function isThere(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false
    throw error
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
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
