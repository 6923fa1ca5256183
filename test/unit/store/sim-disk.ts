/**
 * A disk in memory that behaves as badly as real ones may: what was not synced can be lost in any part and any order at a
 * crash, names too; writes can fail, run out of room, or not be confirmed. One seed gives one behaviour.
 */
import { dirname } from 'node:path'
import type { FileSystem, OpenFile } from '../../../src/store/file-system.ts'

/** The unit that a disk writes whole. */
const SECTOR_BYTES = 512

export type DiskOperation =
  | 'open'
  | 'read'
  | 'writev'
  | 'datasync'
  | 'sync'
  | 'truncate'
  | 'rename'
  | 'unlink'
  | 'readdir'
  | 'statfs' // prettier-ignore

class SystemError extends Error {
  readonly code: string
  constructor(code: string) {
    super(code)
    this.code = code
  }
}

interface Inode {
  /** As processes see it. */
  bytes: Uint8Array
  /** As the disk has it. */
  synced: Uint8Array
  /** Counts changes of `bytes`. */
  changes: number
  syncedChanges: number
}

type NameChange = { readonly path: string; readonly inode: Inode | undefined }

export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

export class SimDisk implements FileSystem {
  readonly #random: () => number
  readonly #files = new Map<string, Inode>()
  readonly #syncedNames = new Map<string, Inode>()
  readonly #folders = new Set<string>()
  /** By folder: names changed and not synced, in order. */
  readonly #changes = new Map<string, NameChange[]>()
  capacityBytes = Number.POSITIVE_INFINITY
  /** Makes an operation fail with the code that it returns. */
  fault: (operation: DiskOperation, path: string) => string | undefined = () => undefined
  /** After so many operations, power is lost: nothing settles any more. */
  operationsLeft = Number.POSITIVE_INFINITY
  readonly crashed: Promise<void>
  #crash: () => void = () => undefined

  constructor(seed: number) {
    this.#random = seededRandom(seed)
    this.crashed = new Promise((resolve) => {
      this.#crash = resolve
    })
  }

  /** The disk as the next start finds it when only the process was killed: all is there, synced or not. */
  afterKill(seed: number): SimDisk {
    const next = new SimDisk(seed)
    const copies = new Map<Inode, Inode>()
    const copy = (inode: Inode): Inode => {
      const one = copies.get(inode) ?? { ...inode }
      copies.set(inode, one)
      return one
    }
    for (const [path, inode] of this.#files) next.#files.set(path, copy(inode))
    for (const [path, inode] of this.#syncedNames) next.#syncedNames.set(path, copy(inode))
    for (const folder of this.#folders) next.#folders.add(folder)
    for (const [folder, changes] of this.#changes) {
      const copied = changes.map(({ path, inode }) => ({ path, inode: inode === undefined ? undefined : copy(inode) }))
      next.#changes.set(folder, copied)
    }
    return next
  }

  /** The disk as the next start finds it after a loss of power: of what was not synced, any part. */
  afterCrash(seed: number): SimDisk {
    const next = new SimDisk(seed)
    const names = new Map(this.#syncedNames)
    for (const changes of this.#changes.values()) {
      // A file system logs names in order: a beginning of the changes is there.
      for (const { path, inode } of changes.slice(0, Math.floor(this.#random() * (changes.length + 1)))) {
        if (inode === undefined) names.delete(path)
        else names.set(path, inode)
      }
    }
    for (const [path, inode] of names) next.put(path, this.#survivor(inode))
    for (const folder of this.#folders) next.#folders.add(folder)
    return next
  }

  /** Puts a durable file in place. */
  put(path: string, bytes: Uint8Array): void {
    const inode = { bytes: bytes.slice(), synced: bytes.slice(), changes: 0, syncedChanges: 0 }
    this.#files.set(path, inode)
    this.#syncedNames.set(path, inode)
    this.#folders.add(dirname(path))
  }

  /** Files as processes see them. */
  get files(): ReadonlyMap<string, Uint8Array> {
    return new Map([...this.#files].map(([path, { bytes }]) => [path, bytes]))
  }

  #survivor({ bytes, synced }: Inode): Uint8Array {
    const lengths = [synced.length, bytes.length, Math.floor(this.#random() * (bytes.length + 1))]
    const length = lengths[Math.floor(this.#random() * lengths.length)] ?? 0
    // Where a length is durable and bytes are not, there are zeros.
    const left = new Uint8Array(Math.max(length, Math.min(synced.length, bytes.length)))
    for (let at = 0; at < left.length; at += SECTOR_BYTES) {
      const source = this.#random() < 0.5 ? synced : bytes
      left.set(source.subarray(at, Math.min(at + SECTOR_BYTES, left.length)), at)
    }
    return left
  }

  async #step(operation: DiskOperation, path: string): Promise<void> {
    for (let ticks = Math.floor(this.#random() * 4); ticks > 0; ticks--) await Promise.resolve()
    if (--this.operationsLeft < 0) {
      this.#crash()
      await new Promise<never>(() => undefined)
    }
    const code = this.fault(operation, path)
    if (code !== undefined) throw new SystemError(code)
  }

  async open(path: string, flags: string): Promise<OpenFile> {
    await this.#step('open', path)
    if (this.#folders.has(path)) return this.#openFolder(path)
    let inode = this.#files.get(path)
    if (flags === 'wx') {
      if (inode !== undefined) throw new SystemError('EEXIST')
      inode = { bytes: new Uint8Array(0), synced: new Uint8Array(0), changes: 0, syncedChanges: 0 }
      this.#name(path, inode)
    }
    if (inode === undefined) throw new SystemError('ENOENT')
    return this.#openFile(path, inode)
  }

  #openFile(path: string, inode: Inode): OpenFile {
    return {
      read: async (buffer, offset, length, position) => {
        await this.#step('read', path)
        const part = inode.bytes.subarray(position, position + length)
        buffer.set(part, offset)
        return { bytesRead: part.length }
      },
      writev: async (buffers, position) => {
        await this.#step('writev', path)
        // A system may take a part only.
        const all = Buffer.concat(buffers)
        const asked = this.#random() < 0.2 ? Math.ceil(all.length * this.#random()) : all.length
        const used = [...this.#files.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
        const room = this.capacityBytes - used + Math.max(0, inode.bytes.length - position)
        const bytesWritten = Math.min(asked, room)
        if (bytesWritten <= 0) throw new SystemError('ENOSPC')
        const grown = new Uint8Array(Math.max(inode.bytes.length, position + bytesWritten))
        grown.set(inode.bytes)
        grown.set(all.subarray(0, bytesWritten), position)
        inode.bytes = grown
        inode.changes++
        return { bytesWritten }
      },
      datasync: async () => {
        const { bytes, changes } = inode
        await this.#step('datasync', path)
        // Of two syncs at the same time, the one that began earlier may settle later.
        if (changes < inode.syncedChanges) return
        inode.synced = bytes
        inode.syncedChanges = changes
      },
      sync: async () => {
        await this.#step('sync', path)
        inode.synced = inode.bytes
        inode.syncedChanges = inode.changes
      },
      truncate: async (length) => {
        await this.#step('truncate', path)
        const cut = new Uint8Array(length)
        cut.set(inode.bytes.subarray(0, length))
        inode.bytes = cut
        inode.changes++
      },
      stat: async () => ({ size: inode.bytes.length }),
      close: async () => undefined,
    }
  }

  #openFolder(path: string): OpenFile {
    const refuse = async (): Promise<never> => {
      throw new SystemError('EISDIR')
    }
    const sync = async (): Promise<void> => {
      await this.#step('sync', path)
      for (const { path: name, inode } of this.#changes.get(path) ?? []) {
        if (inode === undefined) this.#syncedNames.delete(name)
        else this.#syncedNames.set(name, inode)
      }
      this.#changes.delete(path)
    }
    return {
      read: refuse,
      writev: refuse,
      truncate: refuse,
      stat: refuse,
      sync,
      datasync: sync,
      close: async () => undefined,
    }
  }

  /** @param inode - undefined takes the name away. */
  #name(path: string, inode: Inode | undefined): void {
    if (inode === undefined) this.#files.delete(path)
    else this.#files.set(path, inode)
    const folder = dirname(path)
    this.#changes.set(folder, [...(this.#changes.get(folder) ?? []), { path, inode }])
  }

  async mkdir(path: string): Promise<void> {
    for (let folder = path; folder !== '/'; folder = dirname(folder)) this.#folders.add(folder)
  }

  async readdir(path: string): Promise<string[]> {
    await this.#step('readdir', path)
    return [...this.#files.keys()].filter((file) => dirname(file) === path).map((file) => file.slice(path.length + 1))
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step('rename', from)
    const inode = this.#files.get(from)
    if (inode === undefined) throw new SystemError('ENOENT')
    this.#name(to, inode)
    this.#name(from, undefined)
  }

  async stat(path: string): Promise<{ size: number }> {
    const inode = this.#files.get(path)
    if (inode === undefined) throw new SystemError('ENOENT')
    return { size: inode.bytes.length }
  }

  async unlink(path: string): Promise<void> {
    await this.#step('unlink', path)
    if (!this.#files.has(path)) throw new SystemError('ENOENT')
    this.#name(path, undefined)
  }

  async statfs(path: string): Promise<{ bavail: number; bsize: number }> {
    await this.#step('statfs', path)
    const used = [...this.#files.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)
    return { bavail: Math.min(this.capacityBytes - used, Number.MAX_SAFE_INTEGER), bsize: 1 }
  }
}
