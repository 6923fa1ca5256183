/**
 * The few operations of a file system that the store uses. Production gives it `node:fs/promises`; the tests of fsync
 * failures, lost writes and full disks give it one that misbehaves.
 */
import * as nodeFs from 'node:fs/promises'
import { StoreError, isNoRoom, reasonOf } from './store-error.ts'

/** An open file. Positions and lengths are in bytes. */
export interface OpenFile {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
  writev(buffers: readonly Uint8Array[], position: number): Promise<{ bytesWritten: number }>
  /** fdatasync: the bytes and the length are on the disk when it settles. */
  datasync(): Promise<void>
  /** fsync: for folders, the names in it are on the disk when it settles. */
  sync(): Promise<void>
  truncate(length: number): Promise<void>
  stat(): Promise<{ size: number }>
  close(): Promise<void>
}

export interface FileSystem {
  /** @param flags - `r`, `r+` or `wx`. */
  open(path: string, flags: string, mode: number): Promise<OpenFile>
  mkdir(path: string, options: { recursive: true; mode: number }): Promise<unknown>
  readdir(path: string): Promise<string[]>
  rename(from: string, to: string): Promise<void>
  unlink(path: string): Promise<void>
  stat(path: string): Promise<{ size: number }>
  statfs(path: string): Promise<{ bavail: number; bsize: number }>
}

/** What is stored may name people to whoever can link it: for the owner's eyes. */
const FILE_MODE = 0o600
const FOLDER_MODE = 0o700

export const nodeFileSystem: FileSystem = {
  // writev() of a FileHandle takes mutable arrays by its types, and doesn't change them.
  open: async (path, flags, mode) => (await nodeFs.open(path, flags, mode)) as unknown as OpenFile,
  mkdir: (path, options) => nodeFs.mkdir(path, options),
  readdir: (path) => nodeFs.readdir(path),
  rename: (from, to) => nodeFs.rename(from, to),
  unlink: (path) => nodeFs.unlink(path),
  stat: (path) => nodeFs.stat(path),
  statfs: (path) => nodeFs.statfs(path),
}

export function openFile(fs: FileSystem, path: string, flags: 'r' | 'r+' | 'wx'): Promise<OpenFile> {
  return fs.open(path, flags, FILE_MODE)
}

/** @throws {StoreError} `STORE_FOLDER_UNUSABLE` */
export async function makeFolder(fs: FileSystem, dir: string): Promise<void> {
  try {
    await fs.mkdir(dir, { recursive: true, mode: FOLDER_MODE })
  } catch (error) {
    throw new StoreError({ code: 'STORE_FOLDER_UNUSABLE', dir, reason: reasonOf(error) }, { cause: error })
  }
}

/** Makes the names in a folder durable. */
export async function syncFolder(fs: FileSystem, dir: string): Promise<void> {
  // Windows can't open a folder, and its file systems log names themselves.
  if (process.platform === 'win32') return
  const folder = await openFile(fs, dir, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/**
 * Reads exactly `length` bytes, or fewer where the file ends.
 *
 * @returns a fresh array whose length is the number of bytes there were.
 */
export async function readAt(file: OpenFile, position: number, length: number): Promise<Uint8Array> {
  // Not zeroed first: each byte that is handed on was read.
  const buffer = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
  const filled = await readAtInto(file, position, buffer)
  return filled === length ? buffer : buffer.subarray(0, filled)
}

/** Fills `into` from `position`, or as much of it as there is. @returns bytes read */
export async function readAtInto(file: OpenFile, position: number, into: Uint8Array): Promise<number> {
  let filled = 0
  while (filled < into.length) {
    const { bytesRead } = await file.read(into, filled, into.length - filled, position + filled)
    if (bytesRead === 0) break
    filled += bytesRead
  }
  return filled
}

/** Writes all of `buffers`, without copying them; the system may take a part at a time. */
export async function writeAllAt(file: OpenFile, buffers: readonly Uint8Array[], position: number): Promise<number> {
  let rest = buffers.filter((buffer) => buffer.length > 0)
  let at = position
  while (rest.length > 0) {
    let { bytesWritten } = await file.writev(rest, at)
    at += bytesWritten
    let whole = 0
    while (whole < rest.length && bytesWritten >= (rest[whole]?.length ?? 0)) bytesWritten -= rest[whole++]?.length ?? 0
    rest = rest.slice(whole)
    const first = rest[0]
    if (first !== undefined && bytesWritten > 0) rest[0] = first.subarray(bytesWritten)
  }
  return at - position
}

/** Puts a whole small file in place in one step: aside, synced, renamed, folder synced. */
export async function writeFileDurably(
  fs: FileSystem,
  dir: string,
  name: string,
  buffers: readonly Uint8Array[],
): Promise<void> {
  const aside = `${dir}/${name}${ASIDE_SUFFIX}`
  await unlinkIfThere(fs, aside)
  const file = await openFile(fs, aside, 'wx')
  try {
    try {
      await writeAllAt(file, buffers, 0)
      await file.datasync()
    } finally {
      await file.close()
    }
    await fs.rename(aside, `${dir}/${name}`)
  } catch (error) {
    await unlinkIfThere(fs, aside)
    throw error
  }
  await syncFolder(fs, dir)
}

/** Files with this ending were never put in place: rubbish of a crash. */
export const ASIDE_SUFFIX = '.new'

/** @returns whether it was there. */
export async function unlinkIfThere(fs: FileSystem, path: string): Promise<boolean> {
  try {
    await fs.unlink(path)
    return true
  } catch (error) {
    if (reasonOf(error) === 'ENOENT') return false
    throw error
  }
}

/** Free bytes for this process on the disk under `dir`. */
export async function freeBytesOf(fs: FileSystem, dir: string): Promise<number> {
  const { bavail, bsize } = await fs.statfs(dir)
  return bavail * bsize
}

/** The coded error for a write that failed and left nothing behind. */
export async function writeFault(fs: FileSystem, dir: string, error: unknown): Promise<StoreError> {
  if (error instanceof StoreError) return error
  if (!isNoRoom(error)) {
    return new StoreError({ code: 'STORE_WRITE_FAILED', reason: reasonOf(error) }, { cause: error })
  }
  const freeBytes = await freeBytesOf(fs, dir).catch(() => 0)
  return new StoreError({ code: 'STORE_DISK_FULL', dir, freeBytes }, { cause: error })
}
