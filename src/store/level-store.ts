/**
 * The state database on classic-level (LevelDB). A batch is durable when it settles. LevelDB's lock makes it the lock of the
 * daemon's whole data folder: open it first, close it last.
 *
 * Every value carries a CRC-32C of its key and itself, since LevelDB checks its own sums only where it must. What that can't
 * see (a key that is gone) shows in the ledger's state root.
 *
 * @see docs/spec/state-store.md
 */
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { LEDGER_COPY_BYTES, STORE_LEVEL_FILES_MAX } from '../core/limits.ts'
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { crc32c } from './crc32c.ts'
import { freeBytesOf, makeFolder, nodeFileSystem } from './file-system.ts'
import { reasonOf, StoreError } from './store-error.ts'

const CRC_BYTES = 4
const ENCODING = { keyEncoding: 'view', valueEncoding: 'view' } as const
/** LevelDB passes on the system's message and no code. */
const NO_ROOM_PATTERN = /No space left on device|Disk quota exceeded/

const CURRENT = 'CURRENT'
const DATA_FILE_PATTERN = /\.(ldb|log)$/
const BROKEN_FILE_PATTERN = /\.(ldb|log): (Invalid argument|No such file or directory|Input\/output error)/

export interface LevelStoreOptions {
  /** Asked when the disk is full: whether it has made room (see `BlockStore.releaseBallast`). @default none can be made */
  readonly onDiskFull?: () => Promise<boolean>
}

type Database = ClassicLevel<Uint8Array, Uint8Array>

export class LevelStore implements KeyValueStore {
  readonly #dir: string
  readonly #onDiskFull: () => Promise<boolean>
  #db: Database
  #reopening: Promise<void> | undefined
  /** Why nothing is written any more. */
  #failure: string | undefined
  #closed = false

  private constructor(dir: string, db: Database, options: LevelStoreOptions) {
    this.#dir = dir
    this.#db = db
    this.#onDiskFull = options.onDiskFull ?? (async () => false)
  }

  /**
   * @param dir - made where it is missing.
   * @throws {StoreError} `STORE_FOLDER_IN_USE`, `STORE_DATABASE_DAMAGED`, `STORE_FOLDER_UNUSABLE`
   */
  static async open(dir: string, options: LevelStoreOptions = {}): Promise<LevelStore> {
    await makeFolder(nodeFileSystem, dir)
    return new LevelStore(dir, await openDatabase(dir), options)
  }

  /**
   * Copies what can still be read of a damaged database into another one, durably; the rest is gone, unseen.
   *
   * @param dir - mended in place as far as LevelDB can.
   * @throws {StoreError} `STORE_DATABASE_DAMAGED` where nothing can be read; `STORE_DISK_FULL`
   */
  static async salvage(dir: string, into: LevelStore): Promise<void> {
    try {
      await ClassicLevel.repair(dir)
    } catch (error) {
      if (isNoRoom(error)) {
        const freeBytes = await freeBytesOf(nodeFileSystem, dir)
        throw new StoreError({ code: 'STORE_DISK_FULL', dir, freeBytes }, { cause: error })
      }
      throw new StoreError({ code: 'STORE_DATABASE_DAMAGED', dir, part: 'manifest or log' }, { cause: error })
    }
    const from = await openDatabase(dir)
    try {
      await copyReadable(from, into)
    } finally {
      await from.close()
    }
  }

  /** @throws {StoreError} `STORE_DATABASE_DAMAGED`, `STORE_READ_FAILED`, `STORE_CLOSED` */
  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    if (this.#closed || this.#reopening !== undefined) await this.#ready()
    let stored: Uint8Array | undefined
    try {
      // On this thread: most of what is asked for is in memory, and a trip to another thread takes ten times as long. A block reads
      // some twenty keys for each of its transactions.
      stored = this.#db.getSync(key)
    } catch (error) {
      throw this.#readFault(error)
    }
    return stored === undefined ? undefined : this.#unsealed(key, stored)
  }

  /** @throws {StoreError} `STORE_DISK_FULL`, `STORE_FSYNC_FAILED`, `STORE_DATABASE_DAMAGED`, `STORE_CLOSED` */
  async batch(changes: readonly KeyChange[]): Promise<void> {
    const operations = changes.map(({ key, value }) =>
      value === undefined
        ? ({ type: 'del', key } as const)
        : ({ type: 'put', key, value: sealed(key, value) } as const),
    )
    for (let attempt = 0; ; attempt++) {
      await this.#ready()
      this.#checkWritable()
      try {
        await this.#db.batch(operations, { sync: true })
        return
      } catch (error) {
        const madeRoom = await this.#afterFailedWrite(error)
        if (!madeRoom || attempt > 0) {
          throw new StoreError(
            { code: 'STORE_DISK_FULL', dir: this.#dir, freeBytes: await freeBytesOf(nodeFileSystem, this.#dir) },
            { cause: error },
          )
        }
      }
    }
  }

  /** @throws {StoreError} as `get` */
  async *range(options: {
    from: Uint8Array
    to: Uint8Array
    reverse?: boolean
    limit?: number
  }): AsyncGenerator<{ key: Uint8Array; value: Uint8Array }> {
    await this.#ready()
    const { from, to, reverse = false, limit = -1 } = options
    const iterator = this.#db.iterator({ gte: from, lt: to, reverse, limit })
    try {
      for (;;) {
        const entry = await iterator.next()
        if (entry === undefined) return
        yield { key: plain(entry[0]), value: this.#unsealed(entry[0], entry[1]) }
      }
    } catch (error) {
      throw this.#readFault(error)
    } finally {
      await iterator.close()
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#reopening?.catch(() => undefined)
    await this.#db.close()
  }

  async #ready(): Promise<void> {
    await this.#reopening?.catch(() => undefined)
    if (this.#closed) throw new StoreError({ code: 'STORE_CLOSED' })
  }

  #checkWritable(): void {
    if (this.#failure !== undefined) throw new StoreError({ code: 'STORE_FSYNC_FAILED', reason: this.#failure })
  }

  /**
   * A log that was cut short must not be written on. On a full disk the database is opened anew, which reads the log and drops
   * its end; after any other failure nobody knows what is on the disk, and a restart must look.
   *
   * @returns whether room was made, so that the batch may be tried again.
   */
  async #afterFailedWrite(error: unknown): Promise<boolean> {
    if (this.#closed) throw new StoreError({ code: 'STORE_CLOSED' })
    if (codeOf(error) === 'LEVEL_CORRUPTION') throw this.#damaged('log', error)
    if (codeOf(error) === 'LEVEL_DATABASE_NOT_OPEN' && this.#reopening !== undefined) return true
    if (!isNoRoom(error)) {
      this.#failure ??= codeOf(error)
      this.#checkWritable()
    }
    const madeRoom = await this.#onDiskFull()
    this.#reopening ??= this.#reopen().finally(() => {
      this.#reopening = undefined
    })
    await this.#reopening
    return madeRoom
  }

  async #reopen(): Promise<void> {
    try {
      await this.#db.close()
      this.#db = await openDatabase(this.#dir)
    } catch (error) {
      this.#failure ??= codeOf(error)
      throw new StoreError({ code: 'STORE_FSYNC_FAILED', reason: this.#failure }, { cause: error })
    }
  }

  #unsealed(key: Uint8Array, stored: Uint8Array): Uint8Array {
    const value = unsealed(key, stored)
    if (value === undefined) throw this.#damaged('value', undefined)
    return value
  }

  #damaged(part: string, cause: unknown): StoreError {
    return new StoreError({ code: 'STORE_DATABASE_DAMAGED', dir: this.#dir, part }, { cause })
  }

  #readFault(error: unknown): StoreError {
    if (error instanceof StoreError) return error
    if (codeOf(error) === 'LEVEL_CORRUPTION' || isBrokenFile(error)) return this.#damaged('table', error)
    return new StoreError({ code: 'STORE_READ_FAILED', reason: codeOf(error) }, { cause: error })
  }
}

/** Entry by entry: those that an iterator has read ahead are lost with the error that follows them. */
async function copyReadable(from: Database, to: LevelStore): Promise<void> {
  let [batch, bytes]: [KeyChange[], number] = [[], 0]
  try {
    for await (const [key, stored] of from.iterator({ highWaterMarkBytes: 1 })) {
      const value = unsealed(key, stored)
      // With flipped bits: LevelDB keeps it where the rest of its table makes sense.
      if (value === undefined) continue
      batch.push({ key, value })
      bytes += key.length + stored.length
      if (bytes < LEDGER_COPY_BYTES) continue
      await to.batch(batch)
      ;[batch, bytes] = [[], 0]
    }
  } catch (error) {
    // Told at the end of all: the stretches that can't be read were left out.
    if (codeOf(error) !== 'LEVEL_CORRUPTION' && !isBrokenFile(error)) throw error
  }
  await to.batch(batch)
}

async function openDatabase(dir: string): Promise<Database> {
  try {
    if (await hasLostManifest(dir)) throw new StoreError({ code: 'STORE_DATABASE_DAMAGED', dir, part: CURRENT })
    const db: Database = new ClassicLevel(dir, { ...ENCODING, maxOpenFiles: STORE_LEVEL_FILES_MAX, compression: false })
    await db.open()
    return db
  } catch (error) {
    if (error instanceof StoreError) throw error
    const code = codeOf(error)
    if (code === 'LEVEL_LOCKED') throw new StoreError({ code: 'STORE_FOLDER_IN_USE', dir }, { cause: error })
    if (code === 'LEVEL_CORRUPTION' || isBrokenFile(error)) {
      throw new StoreError({ code: 'STORE_DATABASE_DAMAGED', dir, part: 'manifest or log' }, { cause: error })
    }
    throw new StoreError({ code: 'STORE_FOLDER_UNUSABLE', dir, reason: code }, { cause: error })
  }
}

/**
 * Whether nothing says which manifest counts, or what says it names none. Without the file CURRENT LevelDB begins anew, and removes
 * whatever else is there; where it names what isn't there, that looks to it like a folder that can't be used.
 */
async function hasLostManifest(dir: string): Promise<boolean> {
  const names = await readdir(dir)
  if (!names.includes(CURRENT)) return names.some((name) => DATA_FILE_PATTERN.test(name))
  const manifest = await readFile(join(dir, CURRENT), 'latin1')
  return !manifest.endsWith('\n') || !names.includes(manifest.slice(0, -1))
}

/** The value and its CRC in one buffer. */
function sealed(key: Uint8Array, value: Uint8Array): Uint8Array {
  // From Node's pool, and not cleared: every byte is written, and LevelDB takes a copy at once. Some thousand for each block.
  const stored = Buffer.allocUnsafe(value.length + CRC_BYTES)
  stored.set(value)
  stored.writeUInt32BE(crc32c(value, crc32c(key)), value.length)
  return stored
}

/** @returns `undefined` where the value isn't what was stored under the key */
function unsealed(key: Uint8Array, stored: Uint8Array): Uint8Array | undefined {
  const end = stored.length - CRC_BYTES
  if (end < 0) return undefined
  const value = plain(stored).subarray(0, end)
  const crc = new DataView(stored.buffer, stored.byteOffset + end, CRC_BYTES).getUint32(0)
  return crc === crc32c(value, crc32c(key)) ? value : undefined
}

/** LevelDB hands out Buffers, whose `slice` is another than that of the array they seem to be. */
function plain(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
}

/** abstract-level wraps the reason of a failed open. */
function codeOf(error: unknown): string {
  if (error instanceof Error && error.cause instanceof Error && 'code' in error.cause) return reasonOf(error.cause)
  return reasonOf(error)
}

/** A table that is shorter than its index says, or gone, or on a sector that can't be read. */
function isBrokenFile(error: unknown): boolean {
  return error instanceof Error && BROKEN_FILE_PATTERN.test(`${error.message} ${String(error.cause)}`)
}

function isNoRoom(error: unknown): boolean {
  return error instanceof Error && NO_ROOM_PATTERN.test(`${error.message} ${String(error.cause)}`)
}
