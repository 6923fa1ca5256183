/**
 * What a validator said, in an append-only file of its own: a vote is durable here before it is sent (persist before send), so
 * that after a restart the peer never contradicts itself.
 *
 * A write that a crash cut short was never acknowledged and is cut off. Any other damage may have eaten a vote that was sent:
 * `VOTE_LOG_DAMAGED`, and the key must never sign again. The same where the log is gone (`VOTE_LOG_MISSING`). A failed write or
 * sync ends all writing: the process must end, and the next start looks at the disk itself.
 *
 * One process at a time: the lock of the peer's database, in the same data folder, sees to it.
 *
 * @see docs/spec/vote-log.md
 */
import { randomBytes } from 'node:crypto'
import { dirname } from 'node:path'
import { VOTE_LOG_APPEND_BYTES_MAX, VOTE_LOG_BYTES_MAX, VOTE_LOG_RECORD_BYTES_MAX } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { appendDurably } from './append-durably.ts'
import {
  ASIDE_SUFFIX,
  type FileSystem,
  makeFolder,
  nodeFileSystem,
  type OpenFile,
  openFile,
  readAt,
  syncFolder,
  unlinkIfThere,
  writeAllAt,
  writeFileDurably,
} from './file-system.ts'
import { reasonOf, StoreError } from './store-error.ts'
import { SyncGuard } from './sync-guard.ts'
import {
  decodeVoteLog,
  encodeVoteLogEnd,
  encodeVoteLogFrame,
  encodeVoteLogHeader,
  VOTE_LOG_SALT_BYTES,
  VoteLogError,
  voteLogFrameBytes,
  type VoteLogOwner,
  type VoteLogRecord,
} from './vote-log-frames.ts'
import { lengthOf } from './write-pieces.ts'

/** In the data folder of a peer. */
export const VOTES_FOLDER = 'votes'
const FILE_NAME = 'votes.log'

export interface VoteLogDeps {
  /** @default the machine's */
  readonly fs?: FileSystem
  readonly log: Log
}

export interface VoteLogOptions extends VoteLogOwner {
  readonly dir: string
  /** This key has signed before: without its log it may not sign again. */
  readonly mustExist: boolean
}

/** An append or a replacement that waits for its turn. */
interface Waiting {
  readonly kind: 'append' | 'replace'
  readonly records: readonly VoteLogRecord[]
  resolve(): void
  reject(error: unknown): void
}

export class VoteLog {
  readonly #fs: FileSystem
  readonly #log: Log
  readonly #options: VoteLogOptions
  readonly #guard: SyncGuard
  readonly #waiting: Waiting[] = []
  #file: OpenFile | undefined
  #salt: Uint8Array = new Uint8Array(VOTE_LOG_SALT_BYTES)
  #bytes = 0
  #records: readonly VoteLogRecord[] = []
  #working: Promise<void> | undefined
  #closed = false

  private constructor(deps: VoteLogDeps, options: VoteLogOptions) {
    this.#fs = deps.fs ?? nodeFileSystem
    this.#log = deps.log
    this.#options = options
    this.#guard = new SyncGuard(deps.log)
  }

  /**
   * Opens the log in a folder, or begins one; both are made where they are missing, and durable in the folder above when it
   * settles: a loss of power must not make a log disappear whose key was noted elsewhere as one that signs.
   *
   * @throws {VoteLogError} `VOTE_LOG_DAMAGED`, `VOTE_LOG_MISSING`, `VOTE_LOG_FOREIGN`
   * @throws {StoreError} `STORE_FOLDER_UNUSABLE`, `STORE_FSYNC_FAILED`
   */
  static async open(deps: VoteLogDeps, options: VoteLogOptions): Promise<VoteLog> {
    const log = new VoteLog(deps, options)
    try {
      await log.#load()
    } catch (error) {
      await log.#file?.close()
      if (error instanceof StoreError || error instanceof VoteLogError) throw error
      const fault = { code: 'STORE_FOLDER_UNUSABLE', dir: options.dir, reason: reasonOf(error) } as const
      throw new StoreError(fault, { cause: error })
    }
    return log
  }

  /** As found at the opening, in order; let go at the first `replace`, to free the memory. */
  get records(): readonly VoteLogRecord[] {
    return this.#records
  }

  /** Length of the file without its mark of the end: what tells when to `replace`. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * Adds records, durable when it settles: all of one call or none. Calls of the same moment share one write and one sync.
   *
   * @throws {VoteLogError} `VOTE_LOG_RECORD_TOO_LARGE`, `VOTE_LOG_FULL`: nothing was written, and the log goes on
   * @throws {StoreError} `STORE_FSYNC_FAILED`: final; `STORE_CLOSED`
   */
  async append(records: readonly VoteLogRecord[]): Promise<void> {
    checkSizes(records, VOTE_LOG_APPEND_BYTES_MAX)
    if (records.length > 0) await this.#enqueue('append', records)
  }

  /**
   * Rewrites the log with these records only, in one step: a crash leaves the log before or after it. Whatever was appended by
   * earlier calls is dropped; later calls come after it.
   *
   * @throws those of `append`
   */
  async replace(records: readonly VoteLogRecord[]): Promise<void> {
    checkSizes(records, VOTE_LOG_BYTES_MAX)
    await this.#enqueue('replace', records)
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#working
    await this.#file?.close()
  }

  get #path(): string {
    return `${this.#options.dir}/${FILE_NAME}`
  }

  async #load(): Promise<void> {
    const { dir, mustExist } = this.#options
    await makeFolder(this.#fs, dir)
    await unlinkIfThere(this.#fs, this.#path + ASIDE_SUFFIX)
    try {
      this.#file = await openFile(this.#fs, this.#path, 'r+')
    } catch (error) {
      if (reasonOf(error) !== 'ENOENT') throw error
      if (mustExist) throw new VoteLogError({ code: 'VOTE_LOG_MISSING', path: this.#path }, { cause: error })
      await this.#putNew([])
      await this.#guard.run(() => syncFolder(this.#fs, dirname(dir)))
      return
    }
    await this.#recover(this.#file)
    // A file that a killed process put in place may be seen now and not be on the disk yet.
    await this.#guard.run(() => syncFolder(this.#fs, dir))
    await this.#guard.run(() => syncFolder(this.#fs, dirname(dir)))
  }

  async #recover(file: OpenFile): Promise<void> {
    const { size } = await file.stat()
    const largest = VOTE_LOG_BYTES_MAX + encodeVoteLogEnd(this.#salt, 0).length
    if (size > largest) throw new VoteLogError({ code: 'VOTE_LOG_DAMAGED', path: this.#path, offset: largest })
    const content = decodeVoteLog(await readAt(file, 0, size), this.#options, this.#path)
    const { goodBytes, marked, records, salt } = content
    if (!marked && goodBytes < size) {
      this.#log.warn(
        { path: this.#path, bytes: size - goodBytes },
        'cut off the end of the vote log: a write that stopped',
      )
      await this.#guard.run(() => file.truncate(goodBytes))
    }
    // After a kill it may be whole in the page cache and on no disk. The mark says that it is, so it comes after.
    await this.#guard.run(() => file.datasync())
    this.#salt = salt
    this.#bytes = goodBytes
    this.#records = records
    if (!marked) await this.#markEnd(file)
  }

  #enqueue(kind: Waiting['kind'], records: readonly VoteLogRecord[]): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#closed) throw new StoreError({ code: 'STORE_CLOSED' })
      this.#guard.check()
      this.#waiting.push({ kind, records, resolve, reject })
      this.#working ??= this.#work().finally(() => {
        this.#working = undefined
      })
    })
  }

  /** Never throws: each caller is told of its own failure. */
  async #work(): Promise<void> {
    // Calls of the same moment belong to one write.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const turn = this.#takeTurn()
      try {
        this.#guard.check()
        const file = await this.#run(turn)
        for (const one of turn) one.resolve()
        await this.#markEnd(file)
      } catch (error) {
        for (const one of turn) one.reject(error)
      }
    }
  }

  /** The next replacement, or the next appends as far as they go into one frame. */
  #takeTurn(): readonly Waiting[] {
    let count = 1
    let bytes = voteLogFrameBytes(this.#waiting[0]?.records ?? [])
    while (this.#waiting[0]?.kind === 'append' && this.#waiting[count]?.kind === 'append') {
      bytes += voteLogFrameBytes(this.#waiting[count]?.records ?? [])
      if (bytes > VOTE_LOG_APPEND_BYTES_MAX) break
      count++
    }
    return this.#waiting.splice(0, count)
  }

  /** @returns the file, which now ends with what was written. */
  async #run(turn: readonly Waiting[]): Promise<OpenFile> {
    const records = turn.flatMap((one) => one.records)
    if (turn[0]?.kind === 'replace') return this.#finally(() => this.#putNew(records))
    const file = this.#file
    if (file === undefined) throw new StoreError({ code: 'STORE_CLOSED' })
    const frame = encodeVoteLogFrame(records, this.#salt, this.#bytes)
    const bytes = this.#bytes + lengthOf(frame)
    checkRoom(bytes)
    await this.#finally(() => appendDurably(file, this.#guard, frame, this.#bytes))
    this.#bytes = bytes
    return file
  }

  /** A failure here is final. */
  async #finally<T>(write: () => Promise<T>): Promise<T> {
    try {
      return await write()
    } catch (error) {
      if (error instanceof VoteLogError) throw error
      if (!this.#guard.failed) this.#guard.fail(error)
      this.#guard.check()
      throw error
    }
  }

  /** Puts a new file with these records in place of the one that may be there. */
  async #putNew(records: readonly VoteLogRecord[]): Promise<OpenFile> {
    const salt = randomBytes(VOTE_LOG_SALT_BYTES)
    const header = encodeVoteLogHeader(this.#options, salt)
    const frame = records.length === 0 ? [] : encodeVoteLogFrame(records, salt, header.length)
    const bytes = header.length + lengthOf(frame)
    checkRoom(bytes)
    const buffers = [header, ...frame, encodeVoteLogEnd(salt, bytes)]
    await this.#guard.run(() => writeFileDurably(this.#fs, this.#options.dir, FILE_NAME, buffers))
    const before = this.#file
    this.#file = await openFile(this.#fs, this.#path, 'r+')
    await before?.close()
    this.#salt = salt
    this.#bytes = bytes
    this.#records = []
    return this.#file
  }

  /** Says, for the next start, that all before is durable. Not synced itself: without it the end is merely less well guarded. */
  async #markEnd(file: OpenFile): Promise<void> {
    await this.#finally(() => writeAllAt(file, [encodeVoteLogEnd(this.#salt, this.#bytes)], this.#bytes))
  }
}

/**
 * Sets a log aside whose key will not sign any more, whatever state it is in: another key may begin its own then. No process
 * has it open.
 *
 * @param name - what it is called from now on, in the same folder.
 * @returns its new path; `undefined` where there is no log.
 * @throws {StoreError} `STORE_FOLDER_UNUSABLE`
 */
export async function setVoteLogAside(
  dir: string,
  name: string,
  fs: FileSystem = nodeFileSystem,
): Promise<string | undefined> {
  const path = `${dir}/${name}`
  try {
    await fs.rename(`${dir}/${FILE_NAME}`, path)
    await syncFolder(fs, dir)
    return path
  } catch (error) {
    if (reasonOf(error) === 'ENOENT') return undefined
    throw new StoreError({ code: 'STORE_FOLDER_UNUSABLE', dir, reason: reasonOf(error) }, { cause: error })
  }
}

function checkRoom(bytes: number): void {
  if (bytes > VOTE_LOG_BYTES_MAX) {
    throw new VoteLogError({ code: 'VOTE_LOG_FULL', bytes, bytesMax: VOTE_LOG_BYTES_MAX })
  }
}

function checkSizes(records: readonly VoteLogRecord[], bytesMax: number): void {
  const largest = records.reduce((most, { payload }) => Math.max(most, payload.length), 0)
  if (largest > VOTE_LOG_RECORD_BYTES_MAX) {
    const fault = { code: 'VOTE_LOG_RECORD_TOO_LARGE', bytes: largest, bytesMax: VOTE_LOG_RECORD_BYTES_MAX } as const
    throw new VoteLogError(fault)
  }
  const bytes = voteLogFrameBytes(records)
  if (bytes > bytesMax) throw new VoteLogError({ code: 'VOTE_LOG_RECORD_TOO_LARGE', bytes, bytesMax })
}
