/**
 * A lock that the system takes back when its process dies, however it dies: that of a LevelDB database without entries. Node has no
 * file locks of its own, and a file with a process id in it outlives the process.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, rename, rm } from 'node:fs/promises'
import { ClassicLevel } from 'classic-level'
import { reasonOf, StoreError } from './store-error.ts'

export class FolderLock implements AsyncDisposable {
  readonly #dir: string
  readonly #db: ClassicLevel

  private constructor(dir: string, db: ClassicLevel) {
    this.#dir = dir
    this.#db = db
  }

  /** @param dir - made, and removed with the lock. @throws {StoreError} `STORE_FOLDER_IN_USE`, `STORE_FOLDER_UNUSABLE` */
  static async take(dir: string): Promise<FolderLock> {
    await mkdir(dir, { recursive: true, mode: 0o700 })
    const opened = await tryOpen(dir)
    if (opened !== 'damaged') return new FolderLock(dir, opened)
    // A power cut: there is nothing in it to lose.
    await ClassicLevel.destroy(dir)
    const again = await tryOpen(dir)
    if (again === 'damaged') throw new StoreError({ code: 'STORE_FOLDER_UNUSABLE', dir, reason: 'LEVEL_CORRUPTION' })
    return new FolderLock(dir, again)
  }

  /** Taken away before it is let go: who comes next makes a lock of its own. */
  async [Symbol.asyncDispose](): Promise<void> {
    const aside = `${this.#dir}.${randomUUID()}`
    // Where an open folder can't be moved it stays, empty.
    const moved = await rename(this.#dir, aside).then(
      () => true,
      () => false,
    )
    await this.#db.close()
    if (moved) await rm(aside, { recursive: true, force: true })
  }
}

async function tryOpen(dir: string): Promise<ClassicLevel | 'damaged'> {
  const db = new ClassicLevel(dir)
  try {
    await db.open()
    return db
  } catch (error) {
    const reason = reasonOf(error instanceof Error && error.cause !== undefined ? error.cause : error)
    if (reason === 'LEVEL_LOCKED') throw new StoreError({ code: 'STORE_FOLDER_IN_USE', dir }, { cause: error })
    if (reason === 'LEVEL_CORRUPTION') return 'damaged'
    throw new StoreError({ code: 'STORE_FOLDER_UNUSABLE', dir, reason }, { cause: error })
  }
}
