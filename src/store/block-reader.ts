/**
 * Reads blocks out of packs, checks them against their names, and quarantines what is damaged: wrong bytes are never handed on
 * as right ones.
 */
import type { Log } from '../core/ports.ts'
import { sha256 } from '../crypto/hash.ts'
import type { BlockIndex, BlockPlace } from './block-index.ts'
import { readAt, readAtInto } from './file-system.ts'
import type { PackFolder } from './pack-folder.ts'
import { readRecordHeader, RECORD_HEADER_BYTES, recordBytes, writeRecordHeader } from './pack-record.ts'
import { hexOf, type Quarantine } from './quarantine.ts'
import { reasonOf, StoreError } from './store-error.ts'

/** The disk can't read this, or has it no more; any other failure (too many open files) says nothing about the block. */
const DAMAGE_REASONS: ReadonlySet<string> = new Set(['EIO', 'ENOENT'])

export interface BlockReaderDeps {
  readonly folder: PackFolder
  readonly index: BlockIndex
  readonly quarantine: Quarantine
  readonly log: Log
}

export class BlockReader {
  readonly #deps: BlockReaderDeps

  constructor(deps: BlockReaderDeps) {
    this.#deps = deps
  }

  /**
   * @returns the right bytes, or undefined when the block isn't here (any more: it may just have been quarantined).
   * @throws {StoreError} `STORE_READ_FAILED`
   */
  async verified(digest: Uint8Array): Promise<Uint8Array | undefined> {
    const { index } = this.#deps
    let place = index.find(digest)
    // Twice: what went wrong on the way from the disk isn't damage on it, and the block may have been moved meanwhile.
    for (let attempt = 0; attempt < 2 && place !== undefined; attempt++) {
      const bytes = await this.payload(place)
      if (bytes !== undefined && isNamed(bytes, digest)) return bytes
      const now = index.find(digest)
      if (attempt === 1 && isSame(place, now)) await this.#setApart(digest, place)
      place = now
    }
    return undefined
  }

  /** The bytes of a block as they are; undefined when the disk doesn't have or can't read them. @throws as `verified` */
  payload(place: BlockPlace): Promise<Uint8Array | undefined> {
    return this.#bytes(place.pack, place.offset + RECORD_HEADER_BYTES, place.length)
  }

  /** As `payload`, into a buffer of at least the block's size. @returns whether all of it could be read. @throws as `verified` */
  async payloadInto(place: BlockPlace, into: Uint8Array): Promise<boolean> {
    const target = into.subarray(0, place.length)
    const read = await this.#reading(async () =>
      this.#deps.folder.withFile(place.pack, (file) => readAtInto(file, place.offset + RECORD_HEADER_BYTES, target)),
    )
    return read === place.length
  }

  /** Checks header and payload where they lie, and quarantines on damage. @returns whether the record is right. */
  async check(digest: Uint8Array, place: BlockPlace): Promise<boolean> {
    const { folder, index } = this.#deps
    const pack = folder.get(place.pack)
    const bytes = await this.#bytes(place.pack, place.offset, RECORD_HEADER_BYTES + place.length)
    if (bytes !== undefined && isNamed(bytes.subarray(RECORD_HEADER_BYTES), digest)) {
      const header = readRecordHeader(bytes, pack.salt, place.offset)
      if (header?.state === 'live' && header.length === place.length) return true
    }
    // Removed or moved while it was read.
    if (!isSame(place, index.find(digest))) return true
    await this.#setApart(digest, place)
    return false
  }

  async #bytes(pack: number, offset: number, length: number): Promise<Uint8Array | undefined> {
    const bytes = await this.#reading(async () =>
      this.#deps.folder.withFile(pack, (file) => readAt(file, offset, length)),
    )
    return bytes?.length === length ? bytes : undefined
  }

  /** @returns undefined where the disk doesn't have, or can't read, what is asked for. */
  async #reading<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read()
    } catch (error) {
      const reason = reasonOf(error)
      if (DAMAGE_REASONS.has(reason)) return undefined
      throw new StoreError({ code: 'STORE_READ_FAILED', reason }, { cause: error })
    }
  }

  /** Quarantines a damaged block: it is here no more, its bytes are kept, and its header says so (and is right again). */
  async #setApart(digest: Uint8Array, place: BlockPlace): Promise<void> {
    const { folder, index, quarantine, log } = this.#deps
    const pack = folder.get(place.pack)
    const bytes = recordBytes(place.length)
    index.delete(digest)
    pack.liveBytes -= bytes
    pack.keptBytes += bytes
    quarantine.add(digest, place)
    log.error({ digest: hexOf(digest), pack: pack.name, offset: place.offset }, 'a block is damaged')
    const header = new Uint8Array(RECORD_HEADER_BYTES)
    writeRecordHeader(header, { state: 'damaged', length: place.length, digest }, pack.salt, place.offset)
    try {
      await folder.rewrite(pack, place.offset, header)
    } catch (error) {
      log.error({ err: error, pack: pack.name }, 'a damaged block could not be marked; it will be found again')
    }
  }
}

function isSame(place: BlockPlace, other: BlockPlace | undefined): boolean {
  return other?.pack === place.pack && other.offset === place.offset
}

function isNamed(bytes: Uint8Array, digest: Uint8Array): boolean {
  return sha256(bytes).every((byte, i) => byte === digest[i])
}
