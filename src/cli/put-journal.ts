/**
 * The note of a `put` under way: what an interrupted one needs to go on. One JSON line each, appended before the bytes that
 * it speaks of are sent:
 *
 * - the object key, wrapped to the account that stores (nobody else can go on);
 * - per file its upload and stream header; per segment the digest of its ciphertext; at the end its CID.
 *
 * A segment whose digest stands here may have been seen by the peer. When it is sealed again under the same header it must
 * come out the same: another plaintext under the same nonce would reveal both. So every digest is compared, and a journal
 * that a power cut may have shortened (another boot of this machine) is not used at all. For the same reason one process at a time
 * puts one thing.
 */
import { appendFileSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { uptime } from 'node:os'
import * as dagJson from '@ipld/dag-json'
import type { CID } from 'multiformats/cid'
import { faultOf } from '../core/coded-error.ts'
import { byteString, cid, integer, list, object, optional, text } from '../core/schema.ts'
import { LISTING_FILES_MAX, SEGMENTS_MAX } from '../core/limits.ts'
import { type WrappedKey, wrappedKey } from '../crypto/envelope.ts'
import { FolderLock } from '../store/folder-lock.ts'
import { CliError } from './faults.ts'

const head = object({
  version: integer(1, 1),
  boot: text(1, 64),
  source: text(1, 128),
  account: text(1, 64),
  key: wrappedKey,
})
const line = object({
  file: integer(0, LISTING_FILES_MAX),
  upload: optional(text(36, 36)),
  header: optional(byteString(40)),
  digests: optional(list(byteString(32), 1, SEGMENTS_MAX)),
  content: optional(cid()),
})

export interface FileNote {
  upload: string
  header: Uint8Array
  readonly digests: Uint8Array[]
  content: CID | undefined
}

export interface PutHead {
  /** Fingerprint of what is being stored: paths, sizes, times. */
  readonly source: string
  readonly account: string
  readonly key: WrappedKey
}

export class PutJournal {
  readonly #path: string
  readonly head: PutHead
  readonly files = new Map<number, FileNote>()

  private constructor(path: string, head: PutHead) {
    this.#path = path
    this.head = head
  }

  /** Keeps the note for this process, until it is let go or the process ends. @throws {CliError} `PUT_UNDER_WAY` */
  static async lock(path: string): Promise<AsyncDisposable> {
    try {
      return await FolderLock.take(`${path}.lock`)
    } catch (error) {
      if (faultOf(error)?.code !== 'STORE_FOLDER_IN_USE') throw error
      throw new CliError({ code: 'PUT_UNDER_WAY' }, { cause: error })
    }
  }

  static async create(path: string, start: PutHead): Promise<PutJournal> {
    await writeFile(path, jsonLine({ version: 1, boot: await bootId(), ...start }), { mode: 0o600 })
    return new PutJournal(path, start)
  }

  /**
   * Reads the note of an interrupted put.
   *
   * @returns undefined when there is none, and `usable: false` when it can only serve to clean up after it.
   * @throws {CliError} `UPLOAD_JOURNAL_INVALID`
   */
  static async load(path: string): Promise<{ journal: PutJournal; usable: boolean } | undefined> {
    let written: string
    try {
      written = await readFile(path, 'utf8')
    } catch {
      return undefined
    }
    // A last line without its end was being written when the process died: nothing was sent on its account.
    const lines = written.slice(0, written.lastIndexOf('\n') + 1).split('\n')
    try {
      const { boot, source, account, key } = head(dagJson.parse(lines[0] ?? ''), 'journal')
      const journal = new PutJournal(path, { source, account, key })
      for (const one of lines.slice(1)) if (one !== '') journal.#take(line(dagJson.parse(one), 'journal'))
      return { journal, usable: boot === (await bootId()) }
    } catch (error) {
      throw new CliError({ code: 'UPLOAD_JOURNAL_INVALID', file: path }, { cause: error })
    }
  }

  opened(file: number, upload: string, header: Uint8Array): FileNote {
    const note = { upload, header, digests: [], content: undefined }
    this.files.set(file, note)
    this.#append({ file, upload, header })
    return note
  }

  /** To be called before the segment is sent. */
  sealed(file: number, digest: Uint8Array): void {
    this.files.get(file)?.digests.push(digest)
    this.#append({ file, digests: [digest] })
  }

  stored(file: number, content: CID): void {
    const note = this.files.get(file)
    if (note !== undefined) note.content = content
    this.#append({ file, content })
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true })
  }

  #append(value: object): void {
    appendFileSync(this.#path, jsonLine(value))
  }

  #take(entry: ReturnType<typeof line>): void {
    let note = this.files.get(entry.file)
    if (entry.upload !== undefined || note === undefined) {
      note = { upload: entry.upload ?? '', header: entry.header ?? new Uint8Array(40), digests: [], content: undefined }
      this.files.set(entry.file, note)
    }
    for (const digest of entry.digests ?? []) note.digests.push(digest)
    if (entry.content !== undefined) note.content = entry.content
  }
}

function jsonLine(value: object): string {
  return `${dagJson.stringify(value)}\n`
}

/** Names this run of the machine: after another boot the tail of an unsynced file can't be trusted. */
async function bootId(): Promise<string> {
  try {
    return (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
  } catch {
    // Not Linux: the minute the machine started, give or take.
    return `minute-${Math.round((Date.now() / 1_000 - uptime()) / 120)}`
  }
}
