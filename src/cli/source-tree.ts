/** What lies on disk to be stored: a file, or a folder's files, with a fingerprint that tells whether they changed. */
import { type FileHandle, lstat, open, readdir } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { toString } from 'uint8arrays/to-string'
import { LISTING_FILES_MAX } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import type { ListingEntry } from '../shards/listing.ts'
import { ListingError } from '../shards/listing.ts'
import { CliError } from './faults.ts'
import type { PlainSource } from './seal-upload.ts'

export interface SourceFile {
  readonly entry: ListingEntry
  readonly path: string
  /** Size, times and inode, as text. */
  readonly stamp: string
}

export interface SourceTree {
  readonly kind: 'file' | 'folder'
  /** Files and empty folders, by path. */
  readonly files: readonly SourceFile[]
  /** Hash over every stamp and path. */
  readonly fingerprint: string
}

/** @throws {CliError} `PUT_UNREADABLE`, `PUT_NOT_A_FILE`; {ListingError} `LISTING_TOO_LARGE` */
export async function scanSource(given: string): Promise<SourceTree> {
  const root = resolve(given)
  const files: SourceFile[] = []
  const visit = async (path: string, name: string): Promise<void> => {
    const stat = await lstat(path, { bigint: true })
    const stamp = `${stat.size} ${stat.mtimeNs} ${stat.ctimeNs} ${stat.ino}`
    const mtimeMs = Math.max(0, Number(stat.mtimeMs))
    if (stat.isFile()) {
      files.push({ entry: { kind: 'file', path: name, bytes: Number(stat.size), mtimeMs }, path, stamp })
    } else if (stat.isDirectory()) {
      const names = (await readdir(path)).sort()
      for (const child of names) await visit(join(path, child), name === '' ? child : `${name}/${child}`)
      if (names.length === 0 && name !== '') {
        files.push({ entry: { kind: 'folder', path: name, bytes: 0, mtimeMs }, path, stamp: '' })
      }
    } else throw new CliError({ code: 'PUT_NOT_A_FILE' })
    if (files.length > LISTING_FILES_MAX)
      throw new ListingError({ code: 'LISTING_TOO_LARGE', filesMax: LISTING_FILES_MAX })
  }
  try {
    const isFile = (await lstat(root)).isFile()
    await visit(root, isFile ? basename(root) : '')
    if (files.length === 0) throw new CliError({ code: 'PUT_UNREADABLE', reason: 'the folder is empty' })
    const stamps = files.map((file) => `${file.path}\0${file.stamp}`).join('\n')
    return {
      kind: isFile ? 'file' : 'folder',
      files,
      fingerprint: toString(sha256(new TextEncoder().encode(stamps)), 'hex'),
    }
  } catch (error) {
    throw unreadable(error)
  }
}

/** One file opened for sealing. @throws {CliError} `PUT_UNREADABLE` */
export async function openSource(file: SourceFile): Promise<PlainSource & { close(): Promise<void> }> {
  let handle: FileHandle
  try {
    handle = await open(file.path, 'r')
  } catch (error) {
    throw unreadable(error)
  }
  return {
    bytes: file.entry.bytes,
    read: async (into, position) => {
      let filled = 0
      while (filled < into.length) {
        const { bytesRead } = await handle.read(into, filled, into.length - filled, position + filled)
        if (bytesRead === 0) throw new CliError({ code: 'PUT_FILE_CHANGED' })
        filled += bytesRead
      }
    },
    close: async () => handle.close(),
  }
}

function unreadable(error: unknown): Error {
  const code = (error as NodeJS.ErrnoException).code
  // A system error's message holds the path, and paths of studies name people.
  return error instanceof Error && 'syscall' in error
    ? new CliError({ code: 'PUT_UNREADABLE', reason: code ?? 'unknown' }, { cause: error })
    : (error as Error)
}
