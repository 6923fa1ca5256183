/**
 * Blocks in a bucket of an S3-compatible object store, one object each, named by their SHA-256.
 *
 *   write ──► room? ──► PUT, answered, and shown to be the bytes that were sent ──► index ──► acknowledged
 *   read  ──► index ──► GET ──► SHA-256 ──► bytes, or marked as damaged and STORE_BLOCK_DAMAGED
 *
 * The bucket is the truth. The index in memory is made of its list; after a clean stop, of a file, which is compared with the
 * list while the store runs already. One peer has one place in a bucket; its data folder's lock (`LevelStore`) keeps a second
 * process of that peer away.
 *
 * @see docs/spec/s3-blocks.md, docs/decisions/0086-blocks-in-a-bucket.md
 */
import { randomBytes } from 'node:crypto'
import { BLOCK_BYTES_MAX, S3_REQUESTS_MAX, STORE_BALLAST_BYTES, STORE_FULL_RATIO } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { Ballast } from './ballast.ts'
import { BlockIndex } from './block-index.ts'
import type { Blocks, BlockStoreStats, NewBlock, RemoveCapability } from './blocks.ts'
import { type FileSystem, freeBytesOf, makeFolder, nodeFileSystem } from './file-system.ts'
import { DIGEST_BYTES } from './pack-record.ts'
import { hexOf } from './quarantine.ts'
import { BucketRoom } from './s3-room.ts'
import { S3Client, type S3ClientOptions } from './s3-client.ts'
import { S3Damage } from './s3-damage.ts'
import { type BucketEntry, takeIndexFile, writeIndexFile } from './s3-index-file.ts'
import { S3Objects } from './s3-objects.ts'
import { scrubBucket } from './s3-scrubber.ts'
import type { ScrubOptions, ScrubReport } from './scrubber.ts'
import { StoreError } from './store-error.ts'
import { lengthOf } from './write-pieces.ts'

export interface S3BlockStoreDeps {
  /** @default the machine's */
  readonly fs?: FileSystem
  readonly log: Log
  /** @default nothing may be removed */
  readonly capability?: RemoveCapability
}

export interface S3BlockStoreOptions {
  readonly s3: S3ClientOptions
  /** On the local disk: for the ballast, and what makes the next start fast. */
  readonly dir: string
  /** Whose blocks these are: the peer's id. */
  readonly owner: string
  /** What the blocks may take in all, in bytes. */
  readonly capacityBytes: number
  /** New blocks are refused above this part of the capacity: 0 to 1. @default STORE_FULL_RATIO */
  readonly fullRatio?: number
  /** Given up on a full disk, so that logs can finish; 0 for none. @default STORE_BALLAST_BYTES */
  readonly ballastBytes?: number
}

/** In the index, where a pack's number stands: who said that the block is there. */
const NOTED = 1
const SEEN = 2
/** Lists asked for at once while others read and write. */
const COMPARED_AT_ONCE = 4

export class S3BlockStore implements Blocks {
  readonly #fs: FileSystem
  readonly #log: Log
  readonly #capability: RemoveCapability | undefined
  readonly #options: S3BlockStoreOptions
  readonly #client: S3Client
  readonly #objects: S3Objects
  readonly #index = new BlockIndex(randomBytes(8))
  readonly #damage: S3Damage
  readonly #room: BucketRoom
  readonly #ballast: Ballast
  /** By digest: what is under way with the block's object. One thing at a time, so that a removal never meets a write. */
  readonly #underWay = new Map<string, Promise<unknown>>()
  /** By digest: bytes of blocks whose removal nobody has confirmed. */
  readonly #unsure = new Map<string, number>()
  /** While the bucket is listed: blocks that were removed meanwhile, and that a page of before still shows. */
  #removed: Set<string> | undefined
  #comparing: Promise<void> = Promise.resolve()
  /** Whether the index holds all that the bucket does. */
  #complete = false
  #freeBytes = 0
  #closed = false

  private constructor(deps: S3BlockStoreDeps, options: S3BlockStoreOptions) {
    const { dir, capacityBytes, fullRatio = STORE_FULL_RATIO } = options
    const { log, fs = nodeFileSystem } = deps
    this.#fs = fs
    this.#log = log
    this.#capability = deps.capability
    this.#options = options
    this.#client = new S3Client(options.s3)
    this.#objects = new S3Objects(this.#client)
    this.#damage = new S3Damage({ objects: this.#objects, log })
    this.#room = new BucketRoom(() => this.#usedBytes, { capacityBytes, fullRatio })
    this.#ballast = new Ballast({ fs, log }, { dir, bytes: options.ballastBytes ?? STORE_BALLAST_BYTES })
  }

  /**
   * Opens the store. The bucket must be there; its place in it is taken where it is nobody's.
   *
   * @throws {StoreError} `STORE_S3_UNREACHABLE`, `STORE_S3_DENIED`, `STORE_S3_BUCKET_MISSING`, `STORE_S3_REFUSED`,
   *   `STORE_S3_IN_USE`, `STORE_FOLDER_UNUSABLE`
   */
  static async open(deps: S3BlockStoreDeps, options: S3BlockStoreOptions): Promise<S3BlockStore> {
    const store = new S3BlockStore(deps, options)
    try {
      await store.#load()
    } catch (error) {
      store.#client.close()
      throw error
    }
    return store
  }

  async #load(): Promise<void> {
    const { dir, owner, s3 } = this.#options
    await makeFolder(this.#fs, dir)
    await this.#ballast.open()
    this.#freeBytes = await freeBytesOf(this.#fs, dir)
    await this.#objects.claim(owner, s3)
    await this.#damage.load()
    const noted = await takeIndexFile(this.#fs, dir, s3)
    if (noted === undefined) return this.#list(S3_REQUESTS_MAX)
    for (const { digest, length } of noted.entries()) {
      if (!this.#damage.has(digest)) this.#index.set(digest, { pack: NOTED, offset: 0, length })
    }
    this.#comparing = this.#compare().catch((error: unknown) => {
      if (!this.#closed) this.#log.warn({ err: error }, 'the bucket could not be listed; the next start lists it first')
    })
  }

  /** Takes up all that the bucket lists. */
  async #list(atOnce: number): Promise<void> {
    const removed = new Set<string>()
    this.#removed = removed
    try {
      const strangers = await this.#objects.listBlocks(atOnce, (digest, length) => {
        if (this.#damage.sized(digest, length)) return
        if (removed.size > 0 && removed.has(hexOf(digest))) return
        this.#enter(digest, length)
      })
      if (strangers > 0) this.#log.warn({ keys: strangers }, 'the bucket holds keys among the blocks that are none')
      this.#complete = true
    } finally {
      this.#removed = undefined
    }
  }

  /** What the file named and the bucket doesn't list is looked for once more, and is then known to be lost. */
  async #compare(): Promise<void> {
    await this.#list(COMPARED_AT_ONCE)
    for (const { digest } of this.#index.blocksOf(NOTED)) {
      if (this.#closed) return
      await this.#read(digest)
    }
  }

  has(digest: Uint8Array): boolean {
    return this.#index.find(digest) !== undefined
  }

  size(digest: Uint8Array): number | undefined {
    return this.#index.find(digest)?.length
  }

  digests(): Generator<Uint8Array> {
    return this.#index.digests()
  }

  damaged(): readonly Uint8Array[] {
    return this.#damage.digests
  }

  stats(): BlockStoreStats {
    return {
      blocks: this.#index.size,
      bytes: this.#index.bytes,
      usedBytes: this.#usedBytes,
      capacityBytes: this.#options.capacityBytes,
      freeBytes: this.#freeBytes,
      damagedBlocks: this.#damage.count,
      lostBytes: 0,
    }
  }

  get #usedBytes(): number {
    let bytes = this.#index.bytes + this.#damage.bytes
    for (const unsure of this.#unsure.values()) bytes += unsure
    return bytes
  }

  /** @throws {StoreError} `STORE_S3_FULL` */
  async checkRoom(bytes: number): Promise<void> {
    this.#checkOpen()
    this.#room.check(bytes)
    await this.#askDisk()
  }

  /** The local disk holds no blocks; its ballast is put back where there is room again, and its free bytes are told. */
  async #askDisk(): Promise<void> {
    await this.#ballast.restore()
    this.#freeBytes = await freeBytesOf(this.#fs, this.#options.dir)
  }

  /**
   * As `Blocks.write`; blocks of a call that fails may be in the bucket all the same.
   *
   * @throws {StoreError} `STORE_S3_FULL`, `STORE_S3_NO_ROOM`, `STORE_S3_ALTERED`, `STORE_S3_UNREACHABLE`, `STORE_S3_DENIED`,
   *   `STORE_S3_BUCKET_MISSING`, `STORE_S3_REFUSED`, `STORE_BLOCK_TOO_LARGE`, `STORE_HASH_UNSUPPORTED`, `STORE_CLOSED`
   */
  async write(blocks: readonly NewBlock[]): Promise<void> {
    this.#checkOpen()
    for (const { digest, parts } of blocks) {
      if (digest.length !== DIGEST_BYTES) {
        throw new StoreError({ code: 'STORE_HASH_UNSUPPORTED', hash: `of ${digest.length} bytes` })
      }
      const bytes = lengthOf(parts)
      if (bytes > BLOCK_BYTES_MAX)
        throw new StoreError({ code: 'STORE_BLOCK_TOO_LARGE', bytes, bytesMax: BLOCK_BYTES_MAX })
    }
    const missing = blocks.filter((block) => !this.#isHere(block))
    if (missing.length === 0) return
    const askedBytes = missing.reduce((sum, { parts }) => sum + lengthOf(parts), 0)
    this.#room.reserve(askedBytes)
    try {
      await this.#writeAll(missing)
    } finally {
      this.#room.release(askedBytes)
    }
  }

  /** A few at a time, and to the end of those that were begun: until then the parts are still read. */
  async #writeAll(blocks: readonly NewBlock[]): Promise<void> {
    const rest = blocks.values()
    let failed = false
    const work = async (): Promise<void> => {
      for (const block of rest) {
        if (failed) return
        try {
          await this.#writeOne(block)
        } catch (error) {
          failed = true
          throw error
        }
      }
    }
    const workers = Array.from({ length: Math.min(S3_REQUESTS_MAX, blocks.length) }, work)
    await Promise.allSettled(workers)
    await Promise.all(workers)
  }

  async #writeOne(block: NewBlock): Promise<void> {
    await this.#exclusively(block.digest, async () => {
      if (this.#isHere(block)) return
      this.#checkOpen()
      const length = lengthOf(block.parts)
      try {
        await this.#objects.write(block)
      } catch (error) {
        // Whatever lies there now was never acknowledged: the next start must not take it for a block.
        if (error instanceof StoreError && error.fault.code === 'STORE_S3_ALTERED') {
          await this.#damage.note(block.digest, length)
        }
        throw error
      }
      this.#removed?.delete(hexOf(block.digest))
      this.#unsure.delete(hexOf(block.digest))
      this.#enter(block.digest, length)
      await this.#damage.forget(block.digest)
    })
  }

  /** An object of another size is the remains of a write that somebody broke off. */
  #isHere({ digest, parts }: NewBlock): boolean {
    return this.size(digest) === lengthOf(parts)
  }

  async read(digest: Uint8Array): Promise<Uint8Array | undefined> {
    this.#checkOpen()
    const found = await this.#read(digest)
    if (found === 'damaged') throw new StoreError({ code: 'STORE_BLOCK_DAMAGED', digest: hexOf(digest) })
    return found
  }

  /** As `read`: whatever came over a network is checked. */
  readUnverified(digest: Uint8Array): Promise<Uint8Array | undefined> {
    return this.read(digest)
  }

  async readInto(digest: Uint8Array, into: Uint8Array): Promise<number | undefined> {
    this.#checkOpen()
    const length = this.size(digest)
    if (length === undefined || length > into.length) return length
    const read = await this.#objects.readInto(digest, into)
    if (read !== undefined && read <= into.length) return read
    const bytes = await this.read(digest)
    if (bytes !== undefined && bytes.length <= into.length) into.set(bytes)
    return bytes?.length
  }

  /** @returns undefined where it isn't here. */
  async #read(digest: Uint8Array): Promise<Uint8Array | 'damaged' | undefined> {
    const length = this.size(digest)
    if (length === undefined) return undefined
    return this.#taken(digest, await this.#objects.read(digest, length)) ?? this.#readAgain(digest)
  }

  /** What went wrong on the way isn't damage; what is wrong twice is, and is set apart. */
  async #readAgain(digest: Uint8Array): Promise<Uint8Array | 'damaged' | undefined> {
    return this.#exclusively(digest, async () => {
      // Removed, or written anew, meanwhile.
      const length = this.size(digest)
      if (length === undefined) return undefined
      const bytes = this.#taken(digest, await this.#objects.read(digest, length))
      if (bytes !== undefined) return bytes
      this.#index.delete(digest)
      await this.#damage.note(digest, length)
      return 'damaged'
    })
  }

  /** The hash of these bytes is right, so their number is: the list may have had another. */
  #taken(digest: Uint8Array, bytes: Uint8Array | undefined): Uint8Array | undefined {
    if (bytes !== undefined && this.has(digest)) this.#enter(digest, bytes.length)
    return bytes
  }

  #enter(digest: Uint8Array, length: number): void {
    // The index counts the bytes of what comes and goes, not of what changes.
    if (this.size(digest) !== length) this.#index.delete(digest)
    this.#index.set(digest, { pack: SEEN, offset: 0, length })
  }

  async scrub(options: ScrubOptions = {}): Promise<ScrubReport> {
    this.#checkOpen()
    await this.#askDisk()
    return scrubBucket(
      {
        index: this.#index,
        damage: this.#damage,
        check: async (digest) => this.#check(digest),
        recover: async (digest) => this.#recover(digest),
      },
      options,
    )
  }

  /** @returns whether the block is right; where it isn't, it is set apart. */
  async #check(digest: Uint8Array): Promise<boolean> {
    try {
      return (await this.#read(digest)) !== 'damaged'
    } catch (error) {
      await this.#throwUnlessOnly(error)
      const length = this.#index.delete(digest)?.length
      if (length !== undefined) await this.#damage.note(digest, length)
      return length === undefined
    }
  }

  /** What was taken for damage may have been something on the way: then the block is here after all. */
  async #recover(digest: Uint8Array): Promise<void> {
    await this.#exclusively(digest, async () => {
      try {
        const bytes = await this.#objects.read(digest, BLOCK_BYTES_MAX)
        if (bytes === undefined || !this.#damage.has(digest)) return
        this.#enter(digest, bytes.length)
        await this.#damage.forget(digest)
      } catch (error) {
        await this.#throwUnlessOnly(error)
      }
    })
  }

  /** An object that can't be read while another can is as good as damaged; a store that doesn't answer says nothing of it. */
  async #throwUnlessOnly(error: unknown): Promise<void> {
    const isSilent = error instanceof StoreError && error.fault.code === 'STORE_S3_UNREACHABLE'
    if (!isSilent || !(await this.#objects.answers())) throw error
  }

  async remove(
    digest: Uint8Array,
    capability: RemoveCapability | undefined,
    isWanted?: (digest: Uint8Array) => boolean,
  ): Promise<boolean> {
    if (capability === undefined || capability !== this.#capability) {
      throw new StoreError({ code: 'STORE_REMOVE_REFUSED' })
    }
    this.#checkOpen()
    return this.#exclusively(digest, async () => {
      if (isWanted?.(digest) === true) return false
      const key = hexOf(digest)
      const length = this.size(digest) ?? this.#unsure.get(key)
      if (length === undefined && !this.#damage.has(digest)) return false
      this.#removed?.add(key)
      // Until the bucket says that it is gone it may or may not be: nobody is told that it is here, and a write sends it anew.
      this.#index.delete(digest)
      if (length !== undefined) this.#unsure.set(key, length)
      await this.#objects.remove(digest)
      this.#unsure.delete(key)
      await this.#damage.forget(digest)
      return length !== undefined
    })
  }

  releaseBallast(): Promise<boolean> {
    return this.#ballast.release()
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    while (this.#underWay.size > 0) await Promise.allSettled(this.#underWay.values())
    this.#client.close()
    await this.#comparing
    if (!this.#complete) return
    try {
      const entries = this.#entries()
      await writeIndexFile(this.#fs, this.#options.dir, this.#options.s3, { count: this.#index.size, entries })
    } catch (error) {
      this.#log.warn({ err: error }, 'the index file could not be written; the next start lists the bucket')
    }
  }

  *#entries(): Generator<BucketEntry> {
    for (const digest of this.#index.digests()) yield { digest, length: this.size(digest) ?? 0 }
  }

  /** Runs when nothing else is under way with this block. */
  async #exclusively<T>(digest: Uint8Array, work: () => Promise<T>): Promise<T> {
    const key = hexOf(digest)
    for (let before = this.#underWay.get(key); before !== undefined; before = this.#underWay.get(key)) {
      await before.catch(() => undefined)
    }
    const running = work()
    this.#underWay.set(key, running)
    try {
      return await running
    } finally {
      this.#underWay.delete(key)
    }
  }

  #checkOpen(): void {
    if (this.#closed) throw new StoreError({ code: 'STORE_CLOSED' })
  }
}
