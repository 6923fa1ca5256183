/**
 * Keystore files on disk: for their owner's eyes, written whole or not at all.
 *
 * A keystore is the only copy of its keys. So a new file is written aside, synced, and put in place in one step, and the folder
 * is synced too; and an existing file is replaced only where the caller says so.
 */
import { randomBytes } from 'node:crypto'
import { constants, type FileHandle, link, mkdir, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { CodedError } from '../core/coded-error.ts'
import { KEYSTORE_BYTES_MAX } from '../core/limits.ts'

export type KeystoreFileFault =
  | { code: 'KEYSTORE_FILE_MODE'; path: string; mode: string }
  | { code: 'KEYSTORE_FILE_MISSING'; path: string }
  | { code: 'KEYSTORE_FILE_EXISTS'; path: string }
  | { code: 'KEYSTORE_FILE_TOO_LARGE'; path: string; bytes: number; bytesMax: number }
  | { code: 'KEYSTORE_FILE_FAILED'; path: string; reason: string }
export class KeystoreFileError extends CodedError<KeystoreFileFault> {}

const OWNER_ONLY = 0o600
const FOLDER_OWNER_ONLY = 0o700
const PERMISSIONS = 0o777
const NOT_OWNER = 0o077
const SUFFIX_BYTES = 6

/**
 * Writes a keystore, durable when the promise settles. The folder is made where it is missing, for its owner only.
 *
 * @param options.replace - whether an existing file may be replaced. @default false
 * @throws {KeystoreFileError} `KEYSTORE_FILE_EXISTS`, `KEYSTORE_FILE_TOO_LARGE`, `KEYSTORE_FILE_FAILED`
 */
export async function writeKeystoreFile(
  path: string,
  bytes: Uint8Array,
  options: { readonly replace?: boolean } = {},
): Promise<void> {
  checkSize(path, bytes.length)
  const folder = dirname(path)
  const aside = join(folder, `.${basename(path)}.${randomBytes(SUFFIX_BYTES).toString('hex')}`)
  try {
    const topmostMade = await mkdir(folder, { recursive: true, mode: FOLDER_OWNER_ONLY })
    try {
      await writeSynced(aside, bytes)
      if (options.replace === true) await rename(aside, path)
      else await linkNew(aside, path)
    } finally {
      await rm(aside, { force: true })
    }
    await syncFolders(folder, topmostMade)
  } catch (error) {
    throw fileError(path, error)
  }
}

/**
 * Reads a keystore that nobody but its owner can read.
 *
 * @throws {KeystoreFileError} `KEYSTORE_FILE_MODE`, `KEYSTORE_FILE_MISSING`, `KEYSTORE_FILE_TOO_LARGE`, `KEYSTORE_FILE_FAILED`
 */
export async function readKeystoreFile(path: string): Promise<Uint8Array> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, constants.O_RDONLY)
    // The open file is asked, not its name: nothing can be swapped between the check and the read.
    const { mode, size } = await handle.stat()
    // Windows has no such bits; there the folder's access list guards the file.
    if (process.platform !== 'win32' && (mode & NOT_OWNER) !== 0) {
      throw new KeystoreFileError({ code: 'KEYSTORE_FILE_MODE', path, mode: modeText(mode) })
    }
    checkSize(path, size)
    return new Uint8Array(await handle.readFile())
  } catch (error) {
    if (codeOf(error) === 'ENOENT') {
      throw new KeystoreFileError({ code: 'KEYSTORE_FILE_MISSING', path }, { cause: error })
    }
    throw fileError(path, error)
  } finally {
    await handle?.close()
  }
}

/** link() refuses where the name is taken; a check before rename() would leave a gap. */
async function linkNew(from: string, path: string): Promise<void> {
  try {
    await link(from, path)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') {
      throw new KeystoreFileError({ code: 'KEYSTORE_FILE_EXISTS', path }, { cause: error })
    }
    throw error
  }
}

async function writeSynced(path: string, bytes: Uint8Array): Promise<void> {
  const handle = await open(path, 'wx', OWNER_ONLY)
  try {
    // The mode given to open() is cut by the umask, never widened; a umask that cuts the owner's own bits is undone here.
    await handle.chmod(OWNER_ONLY)
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Syncs the folder, and every one above it that has a new entry because it was made just now. */
async function syncFolders(folder: string, topmostMade: string | undefined): Promise<void> {
  // Windows can't open a folder, and its file systems log the rename themselves.
  if (process.platform === 'win32') return
  const above = topmostMade === undefined ? resolve(folder) : dirname(resolve(topmostMade))
  for (let one = resolve(folder); ; one = dirname(one)) {
    const handle = await open(one, constants.O_RDONLY)
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
    if (one === above || one === dirname(one)) return
  }
}

function checkSize(path: string, bytes: number): void {
  if (bytes > KEYSTORE_BYTES_MAX) {
    throw new KeystoreFileError({ code: 'KEYSTORE_FILE_TOO_LARGE', path, bytes, bytesMax: KEYSTORE_BYTES_MAX })
  }
}

function modeText(mode: number): string {
  return (mode & PERMISSIONS).toString(8).padStart(4, '0')
}

function fileError(path: string, error: unknown): KeystoreFileError {
  if (error instanceof KeystoreFileError) return error
  return new KeystoreFileError({ code: 'KEYSTORE_FILE_FAILED', path, reason: codeOf(error) }, { cause: error })
}

/** The system's name of an error, such as `EACCES`. */
function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
}
