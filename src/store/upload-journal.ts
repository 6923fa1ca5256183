/**
 * Which segments of open uploads are durable, one append-only file for each upload.
 *
 * Order: blocks durable in the store, then the digests here, then the acknowledged offset. So a journal never names a block
 * that isn't stored, and after a crash the upload goes on at what its journal says. A record that was cut short was never
 * acknowledged, and is cut off.
 *
 * @see docs/spec/upload-journal.md
 */
import { SEGMENTS_MAX, UPLOAD_JOURNALS_MAX, UPLOAD_META_BYTES_MAX, UPLOAD_RECORD_DIGESTS_MAX } from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { appendDurably } from './append-durably.ts'
import {
  ASIDE_SUFFIX,
  type FileSystem,
  makeFolder,
  nodeFileSystem,
  openFile,
  readAt,
  syncFolder,
  unlinkIfThere,
  writeFault,
  writeFileDurably,
} from './file-system.ts'
import { DIGEST_BYTES } from './pack-record.ts'
import { isNoRoom, reasonOf, StoreError } from './store-error.ts'
import { SyncGuard } from './sync-guard.ts'
import { decodeUpload, encodeUploadHeader, encodeUploadRecord, type JournalContent } from './upload-records.ts'

const SUFFIX = '.upload'
const ID_PATTERN = /^[A-Za-z0-9][A-Za-z0-9-]{7,63}$/

export interface UploadJournalDeps {
  /** @default the machine's */
  readonly fs?: FileSystem
  /** @default the machine's */
  readonly clock?: Clock
  readonly log: Log
  /** Asked when the disk is full: whether it has made room (see `BlockStore.releaseBallast`). @default none can be made */
  readonly onDiskFull?: () => Promise<boolean>
}

export interface UploadJournalOptions {
  readonly dir: string
  /** Uploads open at once. @default UPLOAD_JOURNALS_MAX */
  readonly uploadsMax?: number
}

export interface UploadSession {
  readonly id: string
  /** What the creator of the upload wrote. */
  readonly meta: Uint8Array
  /** Of the durable segments, in order; 32 bytes each. */
  readonly digests: readonly Uint8Array[]
  readonly createdAtMs: number
  readonly touchedAtMs: number
}

/** What is needed to go on with a journal. */
interface OpenJournal {
  bytes: number
  crc: number
  segments: number
  /** Appends to one journal come one after another. */
  turn: Promise<void>
}

export class UploadJournal {
  readonly #fs: FileSystem
  readonly #clock: Clock
  readonly #log: Log
  readonly #onDiskFull: () => Promise<boolean>
  readonly #dir: string
  readonly #uploadsMax: number
  readonly #guard: SyncGuard
  readonly #journals = new Map<string, OpenJournal>()
  #closed = false

  private constructor(deps: UploadJournalDeps, options: UploadJournalOptions) {
    this.#fs = deps.fs ?? nodeFileSystem
    this.#clock = deps.clock ?? { nowMs: () => Date.now() }
    this.#log = deps.log
    this.#onDiskFull = deps.onDiskFull ?? (async () => false)
    this.#dir = options.dir
    this.#uploadsMax = options.uploadsMax ?? UPLOAD_JOURNALS_MAX
    this.#guard = new SyncGuard(deps.log)
  }

  /** Opens the journals in a folder, which is made where it is missing. @throws {StoreError} `STORE_FOLDER_UNUSABLE` */
  static async open(deps: UploadJournalDeps, options: UploadJournalOptions): Promise<UploadJournal> {
    const journal = new UploadJournal(deps, options)
    await journal.#load()
    return journal
  }

  async #load(): Promise<void> {
    await makeFolder(this.#fs, this.#dir)
    try {
      for (const name of await this.#fs.readdir(this.#dir)) {
        if (name.endsWith(ASIDE_SUFFIX)) await unlinkIfThere(this.#fs, `${this.#dir}/${name}`)
        const id = name.slice(0, -SUFFIX.length)
        if (name.endsWith(SUFFIX) && ID_PATTERN.test(id)) await this.#recover(id)
      }
      // What a killed process began or forgot may be seen now and not be on the disk yet.
      await this.#guard.run(() => syncFolder(this.#fs, this.#dir))
    } catch (error) {
      if (error instanceof StoreError) throw error
      throw new StoreError({ code: 'STORE_FOLDER_UNUSABLE', dir: this.#dir, reason: reasonOf(error) }, { cause: error })
    }
  }

  /** Takes up one journal: cuts off what is not right at its end, and syncs what is. */
  async #recover(id: string): Promise<void> {
    const file = await openFile(this.#fs, this.#path(id), 'r+')
    let content: JournalContent | undefined
    try {
      const { size } = await file.stat()
      content = decodeUpload(await readAt(file, 0, size))
      if (content !== undefined && content.goodBytes < size) {
        const { goodBytes } = content
        this.#log.warn(
          { upload: id, bytes: size - goodBytes },
          'cut off the end of an upload journal; it goes on before',
        )
        await this.#guard.run(() => file.truncate(goodBytes))
      }
      // After a kill it may be whole in the page cache and on no disk.
      await this.#guard.run(() => file.datasync())
    } finally {
      await file.close()
    }
    if (content === undefined) {
      this.#log.error({ upload: id }, 'an upload journal is damaged; it was set aside, and the upload must start again')
      await this.#fs.rename(this.#path(id), `${this.#dir}/${id}.damaged`)
      return
    }
    const { goodBytes, crc, digests } = content
    this.#journals.set(id, { bytes: goodBytes, crc, segments: digests.length, turn: Promise.resolve() })
  }

  /**
   * Begins an upload, durable when it settles.
   *
   * @param id - 8 to 64 of a-z, A-Z, 0-9 and -.
   * @param meta - at most `UPLOAD_META_BYTES_MAX` bytes.
   * @throws {StoreError} `STORE_UPLOAD_ID_INVALID`, `STORE_UPLOAD_EXISTS`, `STORE_UPLOADS_TOO_MANY`, `STORE_UPLOAD_TOO_LARGE`,
   *   `STORE_DISK_FULL`, `STORE_FSYNC_FAILED`, `STORE_WRITE_FAILED`
   */
  async create(id: string, meta: Uint8Array): Promise<void> {
    this.#checkWritable()
    if (!ID_PATTERN.test(id)) throw new StoreError({ code: 'STORE_UPLOAD_ID_INVALID' })
    if (this.#journals.has(id)) throw new StoreError({ code: 'STORE_UPLOAD_EXISTS', id })
    if (this.#journals.size >= this.#uploadsMax) {
      throw new StoreError({ code: 'STORE_UPLOADS_TOO_MANY', uploadsMax: this.#uploadsMax })
    }
    checkCount('bytes of description', meta.length, UPLOAD_META_BYTES_MAX)
    const nowMs = this.#clock.nowMs()
    const { bytes, crc } = encodeUploadHeader(nowMs, meta)
    const write = this.#withRoom(() => writeFileDurably(this.#fs, this.#dir, id + SUFFIX, [bytes]))
    // Taken at once: another upload of the same id, or one too many, is refused meanwhile.
    this.#journals.set(id, {
      bytes: bytes.length,
      crc,
      segments: 0,
      turn: write.catch(() => undefined),
    })
    try {
      await write
    } catch (error) {
      this.#journals.delete(id)
      throw error
    }
  }

  /**
   * Notes segments whose blocks are durable in the store; they are acknowledged when it settles.
   *
   * @param digests - in the order of the segments; at most `UPLOAD_RECORD_DIGESTS_MAX`.
   * @throws {StoreError} `STORE_UPLOAD_UNKNOWN`, `STORE_UPLOAD_TOO_LARGE`, and those of `create`
   */
  async append(id: string, digests: readonly Uint8Array[]): Promise<void> {
    this.#checkWritable()
    const journal = this.#journal(id)
    checkCount('digests in one call', digests.length, UPLOAD_RECORD_DIGESTS_MAX)
    checkCount('segments', journal.segments + digests.length, SEGMENTS_MAX)
    if (digests.some(({ length }) => length !== DIGEST_BYTES)) {
      throw new StoreError({ code: 'STORE_HASH_UNSUPPORTED', hash: 'of another length than 32 bytes' })
    }
    if (digests.length === 0) return
    const append = journal.turn.then(() => this.#withRoom(() => this.#append(id, journal, digests)))
    journal.turn = append.catch(() => undefined)
    await append
  }

  async #append(id: string, journal: OpenJournal, digests: readonly Uint8Array[]): Promise<void> {
    this.#checkWritable()
    if (this.#journals.get(id) !== journal) throw new StoreError({ code: 'STORE_UPLOAD_UNKNOWN', id })
    const nowMs = this.#clock.nowMs()
    const { bytes, crc } = encodeUploadRecord(nowMs, digests, journal.crc)
    const file = await openFile(this.#fs, this.#path(id), 'r+')
    try {
      await appendDurably(file, this.#guard, [bytes], journal.bytes)
    } finally {
      await file.close()
    }
    journal.bytes += bytes.length
    journal.crc = crc
    journal.segments += digests.length
  }

  /** Reads a session back. @returns undefined where there is none. */
  async load(id: string): Promise<UploadSession | undefined> {
    this.#checkOpen()
    const journal = this.#journals.get(id)
    if (journal === undefined) return undefined
    const file = await openFile(this.#fs, this.#path(id), 'r')
    try {
      const content = decodeUpload(await readAt(file, 0, journal.bytes))
      if (content === undefined) return undefined
      const { meta, digests, createdAtMs, touchedAtMs } = content
      return { id, meta, digests, createdAtMs, touchedAtMs }
    } finally {
      await file.close()
    }
  }

  /** All sessions. */
  async list(): Promise<readonly UploadSession[]> {
    const sessions: UploadSession[] = []
    for (const id of this.#journals.keys()) {
      const session = await this.load(id)
      if (session !== undefined) sessions.push(session)
    }
    return sessions
  }

  /** Forgets an upload, durably; its blocks are the caller's. @returns whether it was there. */
  async remove(id: string): Promise<boolean> {
    this.#checkWritable()
    const journal = this.#journals.get(id)
    if (journal === undefined) return false
    await journal.turn
    if (!this.#journals.delete(id)) return false
    await unlinkIfThere(this.#fs, this.#path(id))
    await this.#guard.run(() => syncFolder(this.#fs, this.#dir))
    return true
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#journals.values()].map(({ turn }) => turn))
  }

  /** On a full disk, tries once more after room was made. */
  async #withRoom(write: () => Promise<void>): Promise<void> {
    try {
      await write()
    } catch (error) {
      if (!isNoRoom(error) || !(await this.#onDiskFull())) throw await writeFault(this.#fs, this.#dir, error)
      try {
        await write()
      } catch (again) {
        throw await writeFault(this.#fs, this.#dir, again)
      }
    }
  }

  #journal(id: string): OpenJournal {
    const journal = this.#journals.get(id)
    if (journal === undefined) throw new StoreError({ code: 'STORE_UPLOAD_UNKNOWN', id })
    return journal
  }

  #path(id: string): string {
    return `${this.#dir}/${id}${SUFFIX}`
  }

  #checkWritable(): void {
    this.#checkOpen()
    this.#guard.check()
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreError({ code: 'STORE_CLOSED' })
  }
}

function checkCount(part: string, count: number, countMax: number): void {
  if (count > countMax) throw new StoreError({ code: 'STORE_UPLOAD_TOO_LARGE', part, count, countMax })
}
