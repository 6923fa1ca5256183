/**
 * A file of no use but its size. When the disk is full it is given up, so that what must still be written (the ledger's state,
 * the journal, the votes) can be; blocks are refused until there is room to put it back.
 */
import { randomBytes } from 'node:crypto'
import type { Log } from '../core/ports.ts'
import { Coalesced } from './coalesced.ts'
import { type FileSystem, freeBytesOf, openFile, syncFolder, unlinkIfThere, writeFileDurably } from './file-system.ts'
import { isNoRoom } from './store-error.ts'

const NAME = 'ballast'
/** Written over and over: a file system that compresses or deduplicates a piece still stores it once, others all. */
const PIECE_BYTES = 1024 * 1024

export class Ballast {
  readonly #fs: FileSystem
  readonly #dir: string
  readonly #bytes: number
  readonly #log: Log
  readonly #restoring = new Coalesced(() => this.#restore())
  #present = false
  #impossible = false

  /** @param bytes - 0 for none. */
  constructor(
    deps: { readonly fs: FileSystem; readonly log: Log },
    options: { readonly dir: string; readonly bytes: number },
  ) {
    this.#fs = deps.fs
    this.#log = deps.log
    this.#dir = options.dir
    this.#bytes = options.bytes
  }

  /** Whether it is in place, or can't be for another reason than room; while it isn't, the disk counts as full. */
  get present(): boolean {
    return this.#present || this.#impossible || this.#bytes === 0
  }

  async open(): Promise<void> {
    this.#present = await this.#isThere()
    if (!this.#present) await this.restore()
  }

  /** Gives its room to whoever writes next. @returns whether there was any to give. */
  async release(): Promise<boolean> {
    if (!this.#present) return false
    this.#present = false
    await unlinkIfThere(this.#fs, this.#path)
    await syncFolder(this.#fs, this.#dir)
    this.#log.warn({ bytes: this.#bytes }, 'the disk is full: the ballast was given up, blocks are refused')
    return true
  }

  /** Puts it back where there is room for it and as much again. @returns whether it is in place. */
  async restore(): Promise<boolean> {
    if (!this.present) await this.#restoring.run()
    return this.present
  }

  async #restore(): Promise<void> {
    if (this.present) return
    try {
      if ((await freeBytesOf(this.#fs, this.#dir)) < 2 * this.#bytes) return
      const piece = randomBytes(Math.min(PIECE_BYTES, this.#bytes))
      const pieces = Array.from({ length: Math.ceil(this.#bytes / piece.length) }, (_, index) =>
        piece.subarray(0, Math.min(piece.length, this.#bytes - index * piece.length)),
      )
      await writeFileDurably(this.#fs, this.#dir, NAME, pieces)
      this.#present = true
    } catch (error) {
      this.#impossible = !isNoRoom(error)
      this.#log.warn({ err: error }, 'the ballast could not be put in place')
    }
  }

  get #path(): string {
    return `${this.#dir}/${NAME}`
  }

  async #isThere(): Promise<boolean> {
    if (this.#bytes === 0) return false
    try {
      const file = await openFile(this.#fs, this.#path, 'r')
      try {
        const { size } = await file.stat()
        if (size === this.#bytes) return true
      } finally {
        await file.close()
      }
      // Another size was configured.
      await unlinkIfThere(this.#fs, this.#path)
      return false
    } catch {
      return false
    }
  }
}
