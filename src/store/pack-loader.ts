/**
 * Rebuilds the index at a start: from the index files where they hold, from the packs themselves where not. After a crash the
 * end of the newest pack is read, verified, and synced, before anything in it counts as stored: what was written and never
 * acknowledged may be whole in the page cache and on no disk.
 */
import type { Log } from '../core/ports.ts'
import type { BlockIndex, BlockPlace } from './block-index.ts'
import { ASIDE_SUFFIX, type OpenFile, openFile, readAt, syncFolder, unlinkIfThere } from './file-system.ts'
import { INDEX_SUFFIX, type Pack, type PackFolder } from './pack-folder.ts'
import { decodePackIndex, type PackEntry, type PackIndex } from './pack-index-file.ts'
import { PACK_MARK, recordBytes } from './pack-record.ts'
import { type ScanResult, scanPack } from './pack-scan.ts'
import type { Quarantine } from './quarantine.ts'
import type { SyncGuard } from './sync-guard.ts'

/** Packs read side by side: as many as the thread pool has threads. */
const PARALLEL_PACKS = 4

export interface PackLoaderDeps {
  readonly folder: PackFolder
  readonly index: BlockIndex
  readonly quarantine: Quarantine
  readonly guard: SyncGuard
  readonly log: Log
}

export interface LoadedPacks {
  /** The pack to go on with, if there is one. */
  readonly newest: Pack | undefined
  /** Copies of blocks that a newer pack holds too: a crash during a rewrite leaves them. */
  readonly duplicates: readonly BlockPlace[]
  /** Packs whose index file was missing or didn't hold. */
  readonly scanned: readonly Pack[]
}

export async function loadPacks(deps: PackLoaderDeps): Promise<LoadedPacks> {
  const { folder } = deps
  const names = await folder.fs.readdir(folder.dir)
  for (const name of names) if (name.endsWith(ASIDE_SUFFIX)) await unlinkIfThere(folder.fs, `${folder.dir}/${name}`)
  // What a killed process did to names may be seen now and not be on the disk yet: an index file could come back.
  await deps.guard.run(() => syncFolder(folder.fs, folder.dir))
  const orphans = folder.adopt(names)
  const newest = await dropUnborn(deps)
  const scanned: Pack[] = []
  const duplicates: BlockPlace[] = []
  const load = async (pack: Pack): Promise<void> => {
    const indexHeld = await readPack(deps, pack, pack === newest, (entry) =>
      duplicates.push(...enter(deps, pack, entry)),
    )
    if (!indexHeld) scanned.push(pack)
  }
  const waiting = [...folder.packs]
  const next = async (): Promise<void> => {
    for (let pack = waiting.shift(); pack !== undefined; pack = waiting.shift()) await load(pack)
  }
  await Promise.all(Array.from({ length: PARALLEL_PACKS }, next))
  for (const [name, salt] of orphans) await reportMissing(deps, name, salt)
  return { newest, duplicates, scanned }
}

/** An index file goes before its pack does: one that is alone tells of a pack that somebody took away. */
async function reportMissing(deps: PackLoaderDeps, name: string, salt: Uint8Array): Promise<void> {
  const index = await readIndexFile(deps, name, salt, Number.MAX_SAFE_INTEGER)
  const missing = [...(index?.entries() ?? [])].filter(({ digest }) => deps.index.find(digest) === undefined)
  for (const { digest } of missing) deps.quarantine.addMissing(digest)
  if (missing.length > 0)
    deps.log.error({ index: name, blocks: missing.length }, 'a pack is gone; its blocks await repair')
}

/** A pack whose creation a crash cut short holds nothing. @returns the newest of the others. */
async function dropUnborn(deps: PackLoaderDeps): Promise<Pack | undefined> {
  const { folder } = deps
  for (const pack of folder.packs.toReversed()) {
    const { size } = await folder.fs.stat(folder.packPath(pack))
    if (size > PACK_MARK.length) return pack
    await folder.remove(pack)
  }
  return undefined
}

/** @returns the places of copies that don't count. */
function enter(deps: PackLoaderDeps, pack: Pack, entry: PackEntry): BlockPlace[] {
  const { index, quarantine, folder } = deps
  const { digest, offset, length } = entry
  const bytes = recordBytes(length)
  const place = { pack: pack.number, offset, length }
  pack.records++
  if (entry.state === 'damaged') {
    pack.keptBytes += bytes
    quarantine.add(digest, place)
    return []
  }
  pack.liveBytes += bytes
  const other = index.set(digest, place)
  if (other === undefined) return []
  // Packs are read side by side, so which is newer is told by their numbers.
  const older = other.pack < place.pack || (other.pack === place.pack && other.offset < place.offset) ? other : place
  if (older === place) index.set(digest, other)
  folder.get(older.pack).liveBytes -= bytes
  return [older]
}

/** @returns whether the index file told all. */
async function readPack(
  deps: PackLoaderDeps,
  pack: Pack,
  newest: boolean,
  take: (entry: PackEntry) => void,
): Promise<boolean> {
  const { size } = await deps.folder.fs.stat(deps.folder.packPath(pack))
  const cached = await readIndex(deps, pack, size)
  for (const entry of cached?.entries() ?? []) take(entry)
  const from = cached?.coveredBytes ?? PACK_MARK.length
  pack.indexedBytes = from
  pack.sizeBytes = size
  const told = cached !== undefined && from >= size
  if (newest || !told) await readRest(deps, pack, { from, newest, take })
  return told
}

/** Reads what the index file doesn't tell, from the pack itself. */
async function readRest(
  deps: PackLoaderDeps,
  pack: Pack,
  { from, newest, take }: { from: number; newest: boolean; take: (entry: PackEntry) => void },
): Promise<void> {
  const { folder, guard } = deps
  const size = pack.sizeBytes
  await folder.withFile(pack.number, async (file) => {
    const scan = await scanPack(file, { salt: pack.salt, from, sizeBytes: size, verify: newest, onEntry: take })
    const lost = [...scan.lost]
    if (scan.torn && !newest) lost.push({ offset: scan.endBytes, bytes: size - scan.endBytes })
    if (newest) await settleEnd(deps, file, scan.torn, scan.endBytes, size)
    // A killed process may have left records and their states in the page cache only. Where an index file tells all, none
    // has changed since it was written.
    await guard.run(() => file.datasync())
    if (newest || !scan.torn) pack.sizeBytes = scan.endBytes
    await reportDamage(deps, pack, lost, scan.unmarked)
  })
}

async function reportDamage(
  deps: PackLoaderDeps,
  pack: Pack,
  lost: ScanResult['lost'],
  unmarked: readonly number[],
): Promise<void> {
  for (const region of lost) {
    deps.log.error(
      { pack: pack.name, ...region },
      'a part of a pack is damaged beyond recognition; it was left in place',
    )
    pack.lost.push(region)
    pack.keptBytes += region.bytes
  }
  if (unmarked.length === 0) return
  deps.log.error({ pack: pack.name, blocks: unmarked.length }, 'blocks at the end of the newest pack are damaged')
  // The next start may not read payloads again: the headers must say it.
  await deps.folder.mark(
    unmarked.map((offset) => ({ pack: pack.number, offset })),
    'damaged',
  )
}

/** Cuts off a write that stopped; brings the length to where the next record goes. */
async function settleEnd(
  deps: PackLoaderDeps,
  file: OpenFile,
  torn: boolean,
  endBytes: number,
  size: number,
): Promise<void> {
  if (torn) deps.log.info({ bytes: size - endBytes }, 'cut off a write that was never acknowledged')
  if (endBytes !== size) await deps.guard.run(() => file.truncate(endBytes))
}

async function readIndex(deps: PackLoaderDeps, pack: Pack, packBytes: number): Promise<PackIndex | undefined> {
  return pack.indexed ? readIndexFile(deps, `${pack.name}${INDEX_SUFFIX}`, pack.salt, packBytes) : undefined
}

async function readIndexFile(
  deps: PackLoaderDeps,
  name: string,
  salt: Uint8Array,
  packBytes: number,
): Promise<PackIndex | undefined> {
  const { folder, log } = deps
  try {
    const file = await openFile(folder.fs, `${folder.dir}/${name}`, 'r')
    try {
      const { size } = await file.stat()
      const index = decodePackIndex(await readAt(file, 0, size), salt, packBytes)
      if (index === undefined) log.warn({ index: name }, 'an index file does not fit its pack; reading the pack')
      return index
    } finally {
      await file.close()
    }
  } catch (error) {
    log.warn({ err: error, index: name }, 'an index file cannot be read; reading the pack')
    return undefined
  }
}
