/**
 * The ledger's database: one folder for each time that it was built, and a file that names the one in use. Another one can be
 * built beside it, and takes its place in one step; a damaged one is set aside. So what else the peer keeps (its objects, what its
 * validator must remember) never goes with it.
 *
 *   ledger/CURRENT   number of the folder in use
 *   ledger/000001    in use
 *   ledger/000002    being built from other peers
 *   ledger/damaged   the last one that was found damaged, for whoever looks into it
 *
 * A kill leaves the old one in use or the new one; folders that are neither in use nor being built are removed at the next start.
 *
 * @see docs/spec/ledger-folder.md
 */
import { readFile, readdir, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fromString } from 'uint8arrays/from-string'
import { faultOf } from '../core/coded-error.ts'
import { LEDGER_COPY_BYTES } from '../core/limits.ts'
import type { KeyChange, KeyValueStore, Log } from '../core/ports.ts'
import { isDamage } from '../ledger/chain.ts'
import { makeFolder, nodeFileSystem, writeFileDurably } from '../store/file-system.ts'
import { LevelStore, type LevelStoreOptions } from '../store/level-store.ts'

const CURRENT = 'CURRENT'
const DAMAGED = 'damaged'
const NUMBER_PATTERN = /^[0-9]{6}$/
const EVERYTHING = { from: new Uint8Array(0), to: new Uint8Array([0xff]) } as const

export interface LedgerDatabaseDeps extends LevelStoreOptions {
  readonly log: Log
}

export class LedgerDatabase implements KeyValueStore {
  readonly #deps: LedgerDatabaseDeps
  readonly #dir: string
  #number: number
  #store: LevelStore
  #next: LevelStore | undefined
  #onDamage: ((error: unknown) => void) | undefined

  private constructor(deps: LedgerDatabaseDeps, dir: string, number: number, store: LevelStore) {
    this.#deps = deps
    this.#dir = dir
    this.#number = number
    this.#store = store
  }

  /**
   * Opens the database in use, or begins one. One that can't be opened is set aside, and an empty one takes its place.
   *
   * @param dir - made where it is missing.
   * @param isDamaged - the one in use is known to be so, though it may open.
   * @param before - where versions before this folder kept the ledger: what is there is moved.
   * @throws {StoreError} `STORE_FOLDER_UNUSABLE`, `STORE_DISK_FULL`, `STORE_FSYNC_FAILED`
   */
  static async open(
    deps: LedgerDatabaseDeps,
    dir: string,
    before: KeyValueStore,
    isDamaged: boolean,
  ): Promise<LedgerDatabase> {
    await makeFolder(nodeFileSystem, dir)
    const current = await readCurrent(dir)
    const isMoving = current === undefined && !(await isEmpty(before))
    const numbers = (await readdir(dir)).filter((name) => NUMBER_PATTERN.test(name)).map(Number)
    // Without the file that says it, the older of two is the one that was in use: the newer one may be half built.
    const number = current ?? (numbers.length === 0 ? 1 : Math.min(...numbers))
    for (const found of numbers) {
      const isKept = found === number ? !isMoving : current !== undefined && found === current + 1
      if (!isKept) await rm(folderOf(dir, found), { recursive: true })
    }
    if (isDamaged && numbers.includes(number)) await setAside(dir, folderOf(dir, number))
    const database = new LedgerDatabase(deps, dir, number, await openOrSetAside(deps, dir, number))
    if (isMoving) await database.#copyFrom(before)
    if (current !== number) await database.#writeCurrent(number)
    await removeAll(before).catch((error: unknown) => {
      if (!isDamage(error)) throw error
    })
    return database
  }

  /** Called where damage shows, here or to whoever reads: see `damaged`. */
  whenDamaged(onDamage: (error: unknown) => void): void {
    this.#onDamage = onDamage
  }

  /** What was read doesn't fit together. */
  damaged(error: unknown): void {
    this.#onDamage?.(error)
  }

  async get(key: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return await this.#store.get(key)
    } catch (error) {
      throw this.#noted(error)
    }
  }

  async batch(changes: readonly KeyChange[]): Promise<void> {
    try {
      await this.#store.batch(changes)
    } catch (error) {
      throw this.#noted(error)
    }
  }

  async *range(options: Parameters<KeyValueStore['range']>[0]): AsyncGenerator<{ key: Uint8Array; value: Uint8Array }> {
    try {
      yield* this.#store.range(options)
    } catch (error) {
      throw this.#noted(error)
    }
  }

  async close(): Promise<void> {
    await this.#next?.close()
    await this.#store.close()
  }

  /** The one that is built beside the one in use: new, or as it was left. A damaged one is begun anew. */
  async next(): Promise<KeyValueStore> {
    return this.#openNext()
  }

  /** Deletes what was built beside the one in use, if anything was. */
  async dropNext(): Promise<void> {
    await this.#next?.close()
    this.#next = undefined
    await rm(folderOf(this.#dir, this.#number + 1), { recursive: true, force: true })
  }

  /**
   * Lets the next one take the place of the one in use.
   *
   * @param old - what becomes of that: `damaged` sets it aside, in place of the one set aside before.
   */
  async useNext(old: 'damaged' | 'done with'): Promise<void> {
    const next = await this.#openNext()
    const [before, folder] = [this.#store, folderOf(this.#dir, this.#number)]
    await this.#writeCurrent(this.#number + 1)
    this.#number++
    this.#store = next
    this.#next = undefined
    await before.close().catch((error: unknown) => this.#deps.log.warn({ err: error }, 'the old ledger did not close'))
    if (old === 'damaged') await setAside(this.#dir, folder)
    else await rm(folder, { recursive: true })
  }

  async #openNext(): Promise<LevelStore> {
    const folder = folderOf(this.#dir, this.#number + 1)
    if (this.#next === undefined) {
      try {
        this.#next = await LevelStore.open(folder, this.#deps)
      } catch (error) {
        if (!isDamage(error)) throw error
        await rm(folder, { recursive: true })
        this.#next = await LevelStore.open(folder, this.#deps)
      }
    }
    return this.#next
  }

  #noted(error: unknown): unknown {
    if (isDamage(error)) this.damaged(error)
    return error
  }

  async #writeCurrent(number: number): Promise<void> {
    await writeFileDurably(nodeFileSystem, this.#dir, CURRENT, [fromString(`${number}\n`)])
  }

  async #copyFrom(before: KeyValueStore): Promise<void> {
    const { log } = this.#deps
    try {
      let [batch, bytes]: [KeyChange[], number] = [[], 0]
      for await (const { key, value } of before.range(EVERYTHING)) {
        batch.push({ key, value })
        bytes += key.length + value.length
        if (bytes < LEDGER_COPY_BYTES) continue
        await this.#store.batch(batch)
        ;[batch, bytes] = [[], 0]
      }
      if (batch.length > 0) await this.#store.batch(batch)
    } catch (error) {
      if (!isDamage(error)) throw error
      log.error({ fault: faultOf(error) }, 'the ledger is damaged and was not moved; the others have it')
      await removeAll(this.#store)
    }
  }
}

/** The number of the folder in use; `undefined` where nothing says it. */
async function readCurrent(dir: string): Promise<number | undefined> {
  const text = await readFile(join(dir, CURRENT), 'utf8').catch(() => '')
  const number = Number(text.trim())
  return Number.isSafeInteger(number) && number > 0 ? number : undefined
}

async function isEmpty(store: KeyValueStore): Promise<boolean> {
  try {
    for await (const _entry of store.range({ ...EVERYTHING, limit: 1 })) return false
    return true
  } catch (error) {
    if (!isDamage(error)) throw error
    return false
  }
}

function folderOf(dir: string, number: number): string {
  return join(dir, String(number).padStart(6, '0'))
}

async function openOrSetAside(deps: LedgerDatabaseDeps, dir: string, number: number): Promise<LevelStore> {
  const folder = folderOf(dir, number)
  try {
    return await LevelStore.open(folder, deps)
  } catch (error) {
    if (!isDamage(error)) throw error
    deps.log.error({ fault: faultOf(error) }, 'the ledger is damaged: set aside, and fetched from the others')
    await setAside(dir, folder)
    return LevelStore.open(folder, deps)
  }
}

async function setAside(dir: string, folder: string): Promise<void> {
  await rm(join(dir, DAMAGED), { recursive: true, force: true })
  await rename(folder, join(dir, DAMAGED))
}

async function removeAll(store: KeyValueStore): Promise<void> {
  let from: Uint8Array = EVERYTHING.from
  for (;;) {
    const gone: KeyChange[] = []
    let bytes = 0
    for await (const { key, value } of store.range({ ...EVERYTHING, from })) {
      gone.push({ key, value: undefined })
      bytes += key.length + value.length
      if (bytes >= LEDGER_COPY_BYTES) break
    }
    const last = gone.at(-1)
    if (last === undefined) return
    await store.batch(gone)
    from = last.key
  }
}
