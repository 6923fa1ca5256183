/**
 * The folder of pack files: their names, sizes and open handles, and changes of a record's state in place.
 *
 * Which file is the newest is told by its number. The salt in the name goes into every record's CRC; a name lies elsewhere on
 * the disk than the file, so that no single bad sector takes a whole pack away.
 */
import { randomBytes } from 'node:crypto'
import { STORE_OPEN_PACKS_MAX } from '../core/limits.ts'
import { Coalesced } from './coalesced.ts'
import {
  type FileSystem,
  type OpenFile,
  openFile,
  syncFolder,
  unlinkIfThere,
  writeAllAt,
  writeFileDurably,
} from './file-system.ts'
import { encodePackIndex, type PackEntry } from './pack-index-file.ts'
import { PACK_MARK, PACK_SALT_BYTES, type RecordState, stateMagic } from './pack-record.ts'
import type { SyncGuard } from './sync-guard.ts'

const NAME_PATTERN = /^p(\d{8,10})-([0-9a-f]{16})$/
const PACK_SUFFIX = '.pack'
export const INDEX_SUFFIX = '.index'

/** Bounds what is under way, not what one sync covers. */
const MARKS_AT_ONCE = 1_024

/** One pack file. Sizes in bytes, of whole records with header and padding. */
export class Pack {
  /** Handle in this process, 1 or more; in the index. */
  readonly number: number
  /** Order of creation, in the file's name. */
  readonly id: number
  readonly salt: Uint8Array
  readonly name: string
  /** What is durable. */
  sizeBytes: number = PACK_MARK.length
  records = 0
  liveBytes = 0
  /** Damaged records and lost regions: kept until they are repaired or set aside. */
  keptBytes = 0
  readonly lost: { readonly offset: number; readonly bytes: number }[] = []
  /** Whether there is an index file that must go before a record's state changes. */
  indexed = false
  /** What that file covers. */
  indexedBytes = 0
  /** Changes of records that are under way, or failed: what the disk says then is not known. */
  rewrites = 0
  /** Blocks were copied out of it: the index has them elsewhere, and it has them too. */
  emptying = false

  constructor(number: number, id: number, salt: Uint8Array) {
    this.number = number
    this.id = id
    this.salt = salt
    this.name = `p${String(id).padStart(8, '0')}-${Buffer.from(salt).toString('hex')}`
  }

  /** Bytes of removed records: what rewriting this pack would free. */
  get deadBytes(): number {
    return this.sizeBytes - PACK_MARK.length - this.liveBytes - this.keptBytes
  }
}

interface Handle {
  readonly file: Promise<OpenFile>
  users: number
}

export class PackFolder {
  readonly fs: FileSystem
  readonly dir: string
  readonly #guard: SyncGuard
  readonly #packs = new Map<number, Pack>()
  /** In the order of last use. */
  readonly #handles = new Map<number, Handle>()
  readonly #syncs = new Map<number, Coalesced>()
  readonly #indexWork = new Map<number, Promise<void>>()
  readonly #removals = new Map<number, Promise<void>>()
  readonly #idle = new Map<number, () => void>()
  #nextNumber = 1
  #idMax = 0

  constructor(fs: FileSystem, dir: string, guard: SyncGuard) {
    this.fs = fs
    this.dir = dir
    this.#guard = guard
  }

  /** Packs in the order of their creation. */
  get packs(): readonly Pack[] {
    return [...this.#packs.values()]
  }

  get(number: number): Pack {
    const pack = this.#packs.get(number)
    if (pack === undefined) throw new RangeError('no such pack')
    return pack
  }

  /** Bytes of all packs: what the store takes on the disk, but for its index files. */
  get usedBytes(): number {
    let bytes = 0
    for (const pack of this.#packs.values()) bytes += pack.sizeBytes
    return bytes
  }

  packPath(pack: Pack): string {
    return `${this.dir}/${pack.name}${PACK_SUFFIX}`
  }

  indexPath(pack: Pack): string {
    return `${this.dir}/${pack.name}${INDEX_SUFFIX}`
  }

  /** Takes up the packs among these file names. @returns the salt of each index file whose pack is gone, by its name. */
  adopt(names: readonly string[]): ReadonlyMap<string, Uint8Array> {
    const found: { id: number; salt: Uint8Array }[] = []
    const indexes = new Map<string, Uint8Array>()
    for (const name of names) {
      const dot = name.indexOf('.')
      const match = NAME_PATTERN.exec(name.slice(0, dot))
      if (match?.[1] === undefined || match[2] === undefined) continue
      const salt = new Uint8Array(Buffer.from(match[2], 'hex'))
      if (name.endsWith(PACK_SUFFIX)) found.push({ id: Number(match[1]), salt })
      else if (name.endsWith(INDEX_SUFFIX)) indexes.set(name, salt)
    }
    found.sort((a, b) => a.id - b.id || Buffer.compare(a.salt, b.salt))
    for (const { id, salt } of found) {
      const pack = this.#add(id, salt)
      pack.indexed = indexes.delete(`${pack.name}${INDEX_SUFFIX}`)
    }
    return indexes
  }

  #add(id: number, salt: Uint8Array): Pack {
    const pack = new Pack(this.#nextNumber++, id, salt)
    this.#idMax = Math.max(this.#idMax, id)
    this.#packs.set(pack.number, pack)
    return pack
  }

  /** A new, empty pack, whose name is durable; the handle is the caller's. */
  async create(): Promise<{ pack: Pack; file: OpenFile }> {
    const pack = this.#add(this.#idMax + 1, randomBytes(PACK_SALT_BYTES))
    try {
      const file = await openFile(this.fs, this.packPath(pack), 'wx')
      try {
        await writeAllAt(file, [PACK_MARK], 0)
        await this.#guard.run(() => file.datasync())
        await this.#guard.run(() => syncFolder(this.fs, this.dir))
        return { pack, file }
      } catch (error) {
        await file.close()
        throw error
      }
    } catch (error) {
      this.#packs.delete(pack.number)
      await unlinkIfThere(this.fs, this.packPath(pack)).catch(() => false)
      throw error
    }
  }

  /**
   * Lets `use` work with the open file of a pack, which is not unlinked meanwhile. No other task runs between the call and
   * the hold, so a place looked up just before stays right.
   */
  async withFile<T>(number: number, use: (file: OpenFile) => Promise<T>): Promise<T> {
    const handle = this.#hold(number)
    try {
      return await use(await handle.file)
    } catch (error) {
      // A file that could not be opened may be there the next time.
      if (this.#handles.get(number) === handle && (await isRejected(handle.file))) this.#handles.delete(number)
      throw error
    } finally {
      handle.users--
      if (handle.users === 0) this.#idle.get(number)?.()
      this.#evict()
    }
  }

  #hold(number: number): Handle {
    const handle = this.#handles.get(number) ?? {
      file: openFile(this.fs, this.packPath(this.get(number)), 'r+'),
      users: 0,
    }
    handle.users++
    this.#handles.delete(number)
    this.#handles.set(number, handle)
    return handle
  }

  #evict(): void {
    if (this.#handles.size <= STORE_OPEN_PACKS_MAX) return
    for (const [number, handle] of this.#handles) {
      if (handle.users > 0) continue
      this.#handles.delete(number)
      void closeQuietly(handle)
      if (this.#handles.size <= STORE_OPEN_PACKS_MAX) return
    }
  }

  /**
   * Overwrites the start of a record (its state, or its whole header), durable when it settles. Calls at the same time share
   * one sync. Where the pack is being removed, its going is waited for instead.
   */
  async rewrite(pack: Pack, offset: number, bytes: Uint8Array): Promise<void> {
    this.#guard.check()
    if (!this.#packs.has(pack.number)) return
    const removal = this.#removals.get(pack.number)
    if (removal !== undefined) return removal
    // At once, so that no index file is made of what the disk doesn't say yet.
    pack.rewrites++
    // One hold from the first to the last step: the pack can't be removed in between.
    await this.withFile(pack.number, async (file) => {
      await this.dropIndex(pack)
      await writeAllAt(file, [bytes], offset)
      let sync = this.#syncs.get(pack.number)
      if (sync === undefined) {
        sync = new Coalesced(() => this.withFile(pack.number, (held) => this.#guard.run(() => held.datasync())))
        this.#syncs.set(pack.number, sync)
      }
      await sync.run()
    })
    pack.rewrites--
  }

  /** Changes the state of records, durably; many share a sync. A pack that is gone took its records with it. */
  async mark(
    records: readonly { readonly pack: number; readonly offset: number }[],
    state: RecordState,
  ): Promise<void> {
    const magic = stateMagic(state)
    for (let i = 0; i < records.length; i += MARKS_AT_ONCE) {
      await Promise.all(
        records.slice(i, i + MARKS_AT_ONCE).map(async ({ pack: number, offset }) => {
          const pack = this.#packs.get(number)
          if (pack !== undefined) await this.rewrite(pack, offset, magic)
        }),
      )
    }
  }

  /** Durably removes the index file, before the pack changes other than at its end: it would say what is no longer so. */
  async dropIndex(pack: Pack): Promise<void> {
    if (!pack.indexed && !this.#indexWork.has(pack.number)) return
    await this.#afterIndexWork(pack, async () => {
      if (!pack.indexed) return
      await unlinkIfThere(this.fs, this.indexPath(pack))
      await this.#guard.run(() => syncFolder(this.fs, this.dir))
      pack.indexed = false
    })
  }

  /**
   * Writes the index file, unless memory and disk differ about the pack's records: an index file must say what the pack says,
   * or a removed block could come back when it is dropped.
   *
   * @param entries - all live and damaged records of the pack, by offset, at the moment of the call.
   */
  async writeIndex(pack: Pack, entries: () => readonly PackEntry[]): Promise<void> {
    await this.#afterIndexWork(pack, async () => {
      // Lost parts have no place in an index file: such a pack is read at each start, and reported again.
      if (pack.rewrites > 0 || pack.emptying || pack.lost.length > 0) return
      if (pack.indexed && pack.indexedBytes === pack.sizeBytes) return
      const { sizeBytes } = pack
      const bytes = encodePackIndex(pack.salt, sizeBytes, entries())
      // From here on a change of state drops it first, however far the writing got.
      pack.indexed = true
      await writeFileDurably(this.fs, this.dir, `${pack.name}${INDEX_SUFFIX}`, [bytes])
      pack.indexedBytes = sizeBytes
    })
  }

  /** One thing at a time with a pack's index file: a stale one must never come back. */
  #afterIndexWork(pack: Pack, work: () => Promise<void>): Promise<void> {
    const turn = (this.#indexWork.get(pack.number) ?? Promise.resolve()).then(work, work)
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (this.#indexWork.get(pack.number) === settled) this.#indexWork.delete(pack.number)
      })
    this.#indexWork.set(pack.number, settled)
    return turn
  }

  /** Durably unlinks a pack that holds nothing any more, once nobody reads it. */
  async remove(pack: Pack): Promise<void> {
    const removal = this.#remove(pack)
    this.#removals.set(pack.number, removal)
    try {
      await removal
    } finally {
      this.#removals.delete(pack.number)
    }
  }

  async #remove(pack: Pack): Promise<void> {
    const handle = this.#handles.get(pack.number)
    if (handle !== undefined) {
      while (handle.users > 0) await new Promise<void>((resolve) => this.#idle.set(pack.number, resolve))
      this.#idle.delete(pack.number)
      this.#handles.delete(pack.number)
      await closeQuietly(handle)
    }
    await this.dropIndex(pack)
    await unlinkIfThere(this.fs, this.packPath(pack))
    await this.#guard.run(() => syncFolder(this.fs, this.dir))
    this.#packs.delete(pack.number)
    this.#syncs.delete(pack.number)
  }

  async close(): Promise<void> {
    const handles = [...this.#handles.values()]
    this.#handles.clear()
    await Promise.all(handles.map(closeQuietly))
  }
}

async function closeQuietly(handle: Handle): Promise<void> {
  // Nothing unsynced is behind it, so a failure loses nothing.
  await handle.file.then((file) => file.close()).catch(() => undefined)
}

async function isRejected(promise: Promise<unknown>): Promise<boolean> {
  return promise.then(
    () => false,
    () => true,
  )
}
