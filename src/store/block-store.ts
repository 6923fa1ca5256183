/**
 * The durable store of blocks on a local disk, each named by its SHA-256.
 *
 *   write ──► room? ──► append to the newest pack + fdatasync ──► index ──► acknowledged
 *   read  ──► index ──► pack ──► SHA-256 ──► bytes, or quarantine and STORE_BLOCK_DAMAGED
 *
 * What was acknowledged survives kill -9 and power loss. The index is in memory, a cache of what the packs say. Wrong bytes
 * are never served. One process at a time may open a folder: the caller holds the lock of the data folder (`LevelStore`).
 *
 * @see docs/spec/pack.md, docs/spec/block-index.md, docs/decisions/0010-packs-for-all-blocks.md
 */
import { randomBytes } from 'node:crypto'
import {
  BLOCK_BYTES_MAX,
  STORE_BALLAST_BYTES,
  STORE_FULL_RATIO,
  STORE_PACK_BYTES,
  STORE_RESERVE_FREE_BYTES,
} from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { Ballast } from './ballast.ts'
import { BlockIndex, type BlockPlace } from './block-index.ts'
import { BlockReader } from './block-reader.ts'
import { type BlockStoreOptions, checkOptions } from './block-store-options.ts'
import type { Blocks, BlockStoreStats, NewBlock, RemoveCapability } from './blocks.ts'
import { Compactor } from './compactor.ts'
import { type FileSystem, makeFolder, nodeFileSystem } from './file-system.ts'
import { PackAppender } from './pack-appender.ts'
import { type Pack, PackFolder } from './pack-folder.ts'
import { loadPacks } from './pack-loader.ts'
import { DIGEST_BYTES, recordBytes } from './pack-record.ts'
import { hexOf, Quarantine } from './quarantine.ts'
import { Room } from './room.ts'
import { type ScrubOptions, type ScrubReport, scrubPacks } from './scrubber.ts'
import { reasonOf, StoreError } from './store-error.ts'
import { SyncGuard } from './sync-guard.ts'
import { lengthOf, pieces } from './write-pieces.ts'

export interface BlockStoreDeps {
  /** @default the machine's */
  readonly fs?: FileSystem
  readonly clock: Clock
  readonly log: Log
  /** @default nothing may be removed */
  readonly capability?: RemoveCapability
}

export class BlockStore implements Blocks {
  readonly #fs: FileSystem
  readonly #log: Log
  readonly #capability: RemoveCapability | undefined
  readonly #dir: string
  readonly #guard: SyncGuard
  readonly #folder: PackFolder
  readonly #index = new BlockIndex(randomBytes(8))
  readonly #quarantine: Quarantine
  readonly #reader: BlockReader
  readonly #appender: PackAppender
  readonly #compactor: Compactor
  readonly #room: Room
  readonly #ballast: Ballast
  /** By digest: blocks that are written and not yet durable. */
  readonly #inFlight = new Map<string, Promise<void>>()
  /** What `close` waits for. */
  readonly #background = new Set<Promise<void>>()
  #closed = false

  private constructor(deps: BlockStoreDeps, options: BlockStoreOptions) {
    const { dir, capacityBytes } = options
    const { clock, log, fs = nodeFileSystem } = deps
    this.#fs = fs
    this.#log = log
    this.#capability = deps.capability
    this.#dir = dir
    this.#guard = new SyncGuard(log)
    this.#folder = new PackFolder(fs, `${dir}/packs`, this.#guard)
    this.#quarantine = new Quarantine(fs, `${dir}/quarantine`)
    this.#reader = new BlockReader({ folder: this.#folder, index: this.#index, quarantine: this.#quarantine, log })
    this.#ballast = new Ballast({ fs, log }, { dir, bytes: options.ballastBytes ?? STORE_BALLAST_BYTES })
    this.#room = new Room(
      { fs, clock, usedBytes: () => this.#folder.usedBytes },
      {
        dir,
        capacityBytes,
        reserveFreeBytes: options.reserveFreeBytes ?? STORE_RESERVE_FREE_BYTES,
        fullRatio: options.fullRatio ?? STORE_FULL_RATIO,
      },
    )
    this.#appender = new PackAppender(
      { folder: this.#folder, guard: this.#guard, log, onClosed: (pack) => this.#track(this.#writeIndex(pack)) },
      { packBytes: options.packBytes ?? STORE_PACK_BYTES },
    )
    this.#compactor = new Compactor({
      folder: this.#folder,
      index: this.#index,
      appender: this.#appender,
      quarantine: this.#quarantine,
      room: this.#room,
      guard: this.#guard,
      log,
      reader: this.#reader,
    })
  }

  /**
   * Opens the store in a folder, which is made where it is missing.
   *
   * @throws {StoreError} `STORE_OPTIONS_INVALID`, `STORE_FOLDER_UNUSABLE`, `STORE_FSYNC_FAILED`
   */
  static async open(deps: BlockStoreDeps, options: BlockStoreOptions): Promise<BlockStore> {
    checkOptions(options)
    const store = new BlockStore(deps, options)
    await store.#load()
    return store
  }

  async #load(): Promise<void> {
    const fs = this.#fs
    const quarantineDir = `${this.#dir}/quarantine`
    await makeFolder(fs, this.#folder.dir)
    await makeFolder(fs, quarantineDir)
    try {
      this.#quarantine.adopt(await fs.readdir(quarantineDir))
      const { newest, duplicates, scanned } = await loadPacks({
        folder: this.#folder,
        index: this.#index,
        quarantine: this.#quarantine,
        guard: this.#guard,
        log: this.#log,
      })
      await this.#folder.mark(duplicates, 'removed')
      if (newest !== undefined) await this.#appender.resume(newest)
      for (const digest of this.#quarantine.digests)
        if (this.#index.find(digest) !== undefined) await this.#repaired(digest)
      this.#track(this.#writeIndexes(scanned))
      await this.#ballast.open()
      await this.#room.refresh()
    } catch (error) {
      await this.#appender.close()
      await this.#folder.close()
      if (error instanceof StoreError) throw error
      throw new StoreError({ code: 'STORE_FOLDER_UNUSABLE', dir: this.#dir, reason: reasonOf(error) }, { cause: error })
    }
  }

  /** Whether the block is here, durable, and not known to be damaged. */
  has(digest: Uint8Array): boolean {
    return this.#index.find(digest) !== undefined
  }

  /** Bytes of the block. */
  size(digest: Uint8Array): number | undefined {
    return this.#index.find(digest)?.length
  }

  /** Digests of all blocks, in no order. */
  digests(): Generator<Uint8Array> {
    return this.#index.digests()
  }

  /** Digests of damaged blocks that await repair: write them again. At most `STORE_DAMAGE_LISTED_MAX`. */
  damaged(): readonly Uint8Array[] {
    return this.#quarantine.digests
  }

  stats(): BlockStoreStats {
    return {
      blocks: this.#index.size,
      bytes: this.#index.bytes,
      usedBytes: this.#folder.usedBytes,
      capacityBytes: this.#room.capacityBytes,
      freeBytes: this.#room.freeBytes,
      damagedBlocks: this.#quarantine.count,
      lostBytes: this.#folder.packs.reduce((sum, { lost }) => lost.reduce((part, { bytes }) => part + bytes, sum), 0),
    }
  }

  /** @throws {StoreError} `STORE_FULL` when so many bytes have no room now; they are not set apart. */
  async checkRoom(bytes: number): Promise<void> {
    this.#checkOpen()
    await this.#room.check(bytes)
  }

  /**
   * Stores blocks, durable when it settles; that is the back-pressure. Up to `STORE_CALL_BYTES_MAX` a call is all or nothing;
   * a larger one goes in pieces of that size. Blocks that are here already cost nothing.
   *
   * @param blocks - whose digests the caller has checked; parts must not change until it settles.
   * @throws {StoreError} `STORE_FULL`, `STORE_DISK_FULL`, `STORE_FSYNC_FAILED`, `STORE_WRITE_FAILED`, `STORE_BLOCK_TOO_LARGE`,
   *   `STORE_CLOSED`
   */
  async write(blocks: readonly NewBlock[]): Promise<void> {
    for (const { digest, parts } of blocks) {
      if (digest.length !== DIGEST_BYTES) {
        throw new StoreError({ code: 'STORE_HASH_UNSUPPORTED', hash: `of ${digest.length} bytes` })
      }
      const bytes = lengthOf(parts)
      if (bytes > BLOCK_BYTES_MAX)
        throw new StoreError({ code: 'STORE_BLOCK_TOO_LARGE', bytes, bytesMax: BLOCK_BYTES_MAX })
    }
    for (const piece of pieces(blocks)) await this.#writePiece(piece)
  }

  async #writePiece(blocks: readonly NewBlock[]): Promise<void> {
    this.#checkOpen()
    this.#guard.check()
    const missing = blocks.filter(({ digest }) => !this.has(digest))
    if (missing.length === 0) return
    const askedBytes = missing.reduce((sum, { parts }) => sum + recordBytes(lengthOf(parts)), 0)
    await this.#reserve(askedBytes)
    try {
      this.#checkOpen()
      await this.#appendMissing(missing)
    } catch (error) {
      if (error instanceof StoreError && error.fault.code === 'STORE_DISK_FULL') await this.#ballast.release()
      throw error
    } finally {
      this.#room.release(askedBytes)
    }
  }

  async #reserve(askedBytes: number): Promise<void> {
    if (!this.#ballast.present && !(await this.#ballast.restore())) {
      await this.#room.refresh()
      throw new StoreError({ code: 'STORE_DISK_FULL', dir: this.#dir, freeBytes: this.#room.freeBytes })
    }
    try {
      await this.#room.reserve(askedBytes)
    } catch (error) {
      // What was removed may still take room.
      this.#track(this.#compactor.run())
      throw error
    }
  }

  /** Appends what is neither here nor under way, and waits for all of it. */
  async #appendMissing(blocks: readonly NewBlock[]): Promise<void> {
    const fresh = new Map<string, NewBlock>()
    const waits: Promise<void>[] = []
    for (const block of blocks) {
      const key = hexOf(block.digest)
      const underWay = this.#inFlight.get(key)
      if (underWay !== undefined) waits.push(underWay)
      else if (!this.has(block.digest)) fresh.set(key, block)
    }
    if (fresh.size > 0) {
      const list = [...fresh.values()]
      const append = this.#appender.append(list, (places) => this.#enter(list, places))
      for (const key of fresh.keys()) this.#inFlight.set(key, append)
      const forget = (): void => {
        for (const key of fresh.keys()) this.#inFlight.delete(key)
      }
      waits.push(append.finally(forget))
    }
    await Promise.all(waits)
    for (const { digest } of fresh.values()) if (this.#quarantine.has(digest)) await this.#repaired(digest)
  }

  #enter(blocks: readonly NewBlock[], places: readonly BlockPlace[]): void {
    for (const [i, { digest }] of blocks.entries()) {
      const place = places[i]
      if (place === undefined) continue
      this.#index.set(digest, place)
      this.#folder.get(place.pack).liveBytes += recordBytes(place.length)
    }
  }

  /** A good copy is here: the damaged one is waste now. */
  async #repaired(digest: Uint8Array): Promise<void> {
    const damaged = this.#quarantine.take(digest)
    if (damaged === undefined) return
    if (damaged.place === undefined) return this.#quarantine.dropAside(digest)
    this.#folder.get(damaged.place.pack).keptBytes -= recordBytes(damaged.place.length)
    await this.#folder.mark([damaged.place], 'removed')
  }

  /**
   * Reads a block and checks its hash.
   *
   * @returns a fresh array; undefined when the block isn't here.
   * @throws {StoreError} `STORE_BLOCK_DAMAGED`, once; from then on it isn't here. `STORE_READ_FAILED`
   */
  async read(digest: Uint8Array): Promise<Uint8Array | undefined> {
    this.#checkOpen()
    const here = this.has(digest)
    const bytes = await this.#reader.verified(digest)
    if (here && bytes === undefined && this.#quarantine.has(digest)) throw damagedFault(digest)
    return bytes
  }

  /** Reads a block for whoever checks its hash anyway. @throws {StoreError} as `read` */
  async readUnverified(digest: Uint8Array): Promise<Uint8Array | undefined> {
    this.#checkOpen()
    const place = this.#index.find(digest)
    if (place === undefined) return undefined
    return (await this.#reader.payload(place)) ?? this.read(digest)
  }

  /**
   * As `readUnverified`, into a buffer that is used again.
   *
   * @returns the block's size; more than `into.length`: nothing was written. @throws {StoreError} as `read`
   */
  async readInto(digest: Uint8Array, into: Uint8Array): Promise<number | undefined> {
    this.#checkOpen()
    const place = this.#index.find(digest)
    if (place === undefined || place.length > into.length) return place?.length
    if (await this.#reader.payloadInto(place, into)) return place.length
    const bytes = await this.read(digest)
    if (bytes !== undefined) into.set(bytes)
    return bytes?.length
  }

  /** Reads everything and checks it, slowly. See `ScrubOptions`. */
  scrub(options: ScrubOptions = {}): Promise<ScrubReport> {
    this.#checkOpen()
    return scrubPacks({ folder: this.#folder, index: this.#index, reader: this.#reader }, options)
  }

  /**
   * Removes a block, for good when it settles; its room is freed soon after.
   *
   * @returns whether it was here.
   * @throws {StoreError} `STORE_REMOVE_REFUSED` for any other capability than the one the store was opened with.
   */
  remove(
    digest: Uint8Array,
    capability: RemoveCapability | undefined,
    isWanted?: (digest: Uint8Array) => boolean,
  ): Promise<boolean> {
    const removal = this.#remove(digest, capability, isWanted)
    this.#track(
      removal.then(
        () => undefined,
        () => undefined,
      ),
    )
    return removal
  }

  async #remove(
    digest: Uint8Array,
    capability: RemoveCapability | undefined,
    isWanted: ((digest: Uint8Array) => boolean) | undefined,
  ): Promise<boolean> {
    if (capability === undefined || capability !== this.#capability) {
      throw new StoreError({ code: 'STORE_REMOVE_REFUSED' })
    }
    this.#checkOpen()
    this.#guard.check()
    if (this.#quarantine.has(digest)) await this.#repaired(digest)
    const key = hexOf(digest)
    const underWay = (): Promise<void> | undefined => this.#inFlight.get(key) ?? this.#compactor.moving(digest)
    // A copy on its way to the disk lands first: from the last look at it to the marks, nothing else runs.
    for (let wait = underWay(); wait !== undefined; wait = underWay()) await wait.catch(() => undefined)
    if (isWanted?.(digest) === true) return false
    const place = this.#index.delete(digest)
    if (place === undefined) return false
    this.#folder.get(place.pack).liveBytes -= recordBytes(place.length)
    const former = this.#compactor.former(digest)
    await this.#folder.mark(former === undefined ? [place] : [place, former], 'removed')
    if (!this.#closed) this.#track(this.#compactor.run())
    return true
  }

  /** Gives the ballast's room to other logs on the same disk. @returns whether there was any to give. */
  releaseBallast(): Promise<boolean> {
    return this.#ballast.release()
  }

  /** Settles when all room that is worth freeing has been freed. */
  tidy(): Promise<void> {
    this.#checkOpen()
    return this.#compactor.run()
  }

  /** Finishes what is under way, and leaves index files for a fast start. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#compactor.stop()
    await this.#appender.close()
    while (this.#background.size > 0) await Promise.all(this.#background)
    await this.#writeIndexes(this.#folder.packs)
    await this.#folder.close()
  }

  /** One after another: each holds a list of its pack's blocks in memory. */
  async #writeIndexes(packs: readonly Pack[]): Promise<void> {
    for (const pack of packs) await this.#writeIndex(pack)
  }

  async #writeIndex(pack: Pack): Promise<void> {
    if (this.#guard.failed) return
    try {
      await this.#folder.writeIndex(pack, () => {
        const live = this.#index.blocksOf(pack.number).map((block) => ({ ...block, state: 'live' as const }))
        const damaged = this.#quarantine.inPack(pack.number).map((block) => ({ ...block, state: 'damaged' as const }))
        return [...live, ...damaged].sort((a, b) => a.offset - b.offset)
      })
    } catch (error) {
      this.#log.warn(
        { err: error, pack: pack.name },
        'an index file could not be written; the pack will be read instead',
      )
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work.finally(() => this.#background.delete(tracked))
    this.#background.add(tracked)
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreError({ code: 'STORE_CLOSED' })
  }
}

function damagedFault(digest: Uint8Array): StoreError {
  return new StoreError({ code: 'STORE_BLOCK_DAMAGED', digest: hexOf(digest) })
}
