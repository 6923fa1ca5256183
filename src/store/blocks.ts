/**
 * The port behind which blocks are kept, each named by its SHA-256: `BlockStore` keeps them in packs on a local disk,
 * `S3BlockStore` in a bucket of an object store. Whoever reads and writes blocks sees only this.
 *
 * What every implementation promises: a block is durable before its `write` settles; wrong bytes are never handed out as
 * right ones; nothing is removed without the capability; what exceeds the capacity is refused with the numbers.
 */
import type { ScrubOptions, ScrubReport } from './scrubber.ts'

declare const brand: unique symbol

/**
 * The right to remove blocks. A store obeys only the very object that it was opened with, and only the collector (and whoever
 * aborts uploads) is handed that: nothing else in the process can remove a block, whatever it calls.
 */
export class RemoveCapability {
  declare readonly [brand]: 'remove'
}

/** A block to store; `parts` are not copied, and must not change until the promise settles. */
export interface NewBlock {
  /** SHA-256 of the parts together, 32 bytes; the caller has checked it. */
  readonly digest: Uint8Array
  readonly parts: readonly Uint8Array[]
}

export interface BlockStoreStats {
  readonly blocks: number
  /** Of all blocks, without what keeping them adds. */
  readonly bytes: number
  /** What counts against the capacity: all packs, or all blocks of a bucket. */
  readonly usedBytes: number
  readonly capacityBytes: number
  /** On the local disk, as last asked. */
  readonly freeBytes: number
  /** Found damaged and not yet repaired. */
  readonly damagedBlocks: number
  /** Parts of packs that nobody can tell what they were. */
  readonly lostBytes: number
}

export interface Blocks {
  /** Whether the block is here, durable, and not known to be damaged. */
  has(digest: Uint8Array): boolean

  /** Bytes of the block. */
  size(digest: Uint8Array): number | undefined

  /** Digests of all blocks, in no order. */
  digests(): Generator<Uint8Array>

  /** Digests of damaged blocks that await repair: write them again. At most `STORE_DAMAGE_LISTED_MAX`. */
  damaged(): readonly Uint8Array[]

  stats(): BlockStoreStats

  /** @throws {StoreError} `STORE_FULL`, `STORE_S3_FULL` when so many bytes have no room now; they are not set apart. */
  checkRoom(bytes: number): Promise<void>

  /**
   * Stores blocks, durable when it settles; that is the back-pressure. Blocks that are here already cost nothing. Of a call
   * that fails nothing is acknowledged; a bucket may keep some of its blocks all the same.
   *
   * @param blocks - whose digests the caller has checked; parts must not change until it settles.
   * @throws {StoreError} `STORE_FULL`, `STORE_BLOCK_TOO_LARGE`, `STORE_CLOSED`, and those of the implementation
   */
  write(blocks: readonly NewBlock[]): Promise<void>

  /**
   * Reads a block and checks its hash.
   *
   * @returns a fresh array; undefined when the block isn't here.
   * @throws {StoreError} `STORE_BLOCK_DAMAGED`, once; from then on it isn't here. `STORE_READ_FAILED`, `STORE_S3_UNREACHABLE`
   */
  read(digest: Uint8Array): Promise<Uint8Array | undefined>

  /** Reads a block for whoever checks its hash anyway. @throws {StoreError} as `read` */
  readUnverified(digest: Uint8Array): Promise<Uint8Array | undefined>

  /**
   * As `readUnverified`, into a buffer that is used again.
   *
   * @returns the block's size; more than `into.length`: the buffer holds nothing. @throws {StoreError} as `read`
   */
  readInto(digest: Uint8Array, into: Uint8Array): Promise<number | undefined>

  /** Reads everything and checks it, slowly. See `ScrubOptions`. */
  scrub(options?: ScrubOptions): Promise<ScrubReport>

  /**
   * Removes a block, for good when it settles.
   *
   * @param isWanted - asked in the very step in which the block goes, after any wait: `true` leaves it.
   * @returns whether it was here, and went.
   * @throws {StoreError} `STORE_REMOVE_REFUSED` for any other capability than the one the store was opened with.
   */
  remove(
    digest: Uint8Array,
    capability: RemoveCapability | undefined,
    isWanted?: (digest: Uint8Array) => boolean,
  ): Promise<boolean>

  /** Gives the ballast's room to other logs on the local disk. @returns whether there was any to give. */
  releaseBallast(): Promise<boolean>

  /** Finishes what is under way, and leaves what makes the next start fast. */
  close(): Promise<void>
}
