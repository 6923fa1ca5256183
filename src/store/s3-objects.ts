/**
 * What a block store keeps in its place in a bucket:
 *
 *   owner                 the id of the peer whose place it is
 *   blocks/ab/abcd…       a block, named by its SHA-256
 *   damaged/abcd…         empty: the block of that name was found damaged and awaits repair
 *
 * A damaged object stays as it is until a good copy is written over it: what the peer took for damage may have been something on
 * the way. Only who removes blocks deletes.
 *
 * @see docs/spec/s3-blocks.md
 */
import { createHash } from 'node:crypto'
import { equals } from 'uint8arrays/equals'
import { BLOCK_BYTES_MAX, S3_BLOCKS_MAX } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import type { NewBlock } from './blocks.ts'
import { hexOf } from './quarantine.ts'
import type { PutReceipt, S3Client } from './s3-client.ts'
import { StoreError } from './store-error.ts'
import { lengthOf } from './write-pieces.ts'

const OWNER_KEY = 'owner'
const OWNER_BYTES_MAX = 256
/** Keys of blocks are spread over as many folders: some object stores keep one folder of the disk for each. */
const BLOCK_KEY = /^blocks\/([0-9a-f]{2})\/(\1[0-9a-f]{62})$/
const DAMAGED_KEY = /^damaged\/([0-9a-f]{64})$/
const HEX_DIGITS = '0123456789abcdef'.split('')
/** Writes of the same block after which a server that keeps other bytes is believed to do so always. */
const WRITES_MAX = 2
const NOTHING = new Uint8Array(0)
const NOTHING_SHA256 = sha256(NOTHING)

export class S3Objects {
  readonly #client: S3Client

  constructor(client: S3Client) {
    this.#client = client
  }

  /**
   * Makes sure that this place is the peer's own, and takes it where it is nobody's.
   *
   * @throws {StoreError} `STORE_S3_IN_USE`; those of `S3Client`
   */
  async claim(owner: string, place: { readonly bucket: string; readonly prefix: string }): Promise<void> {
    const wanted = new TextEncoder().encode(owner)
    const found = await this.#owner()
    if (found === undefined) await this.#client.put(OWNER_KEY, [wanted], sha256(wanted))
    // Looked at again: of two peers that take it at the same moment, one finds the other's name.
    const owned = found ?? (await this.#owner())
    if (owned === undefined || !equals(owned, wanted)) {
      throw new StoreError({ code: 'STORE_S3_IN_USE', bucket: place.bucket, prefix: place.prefix })
    }
  }

  async #owner(): Promise<Uint8Array | undefined> {
    const into = new Uint8Array(OWNER_BYTES_MAX)
    const bytes = await this.#client.get(OWNER_KEY, into)
    return bytes === undefined ? undefined : into.subarray(0, bytes)
  }

  /** Whether the object store answers for this place at all. */
  async answers(): Promise<boolean> {
    return this.#owner().then(
      (owner) => owner !== undefined,
      () => false,
    )
  }

  /**
   * Writes a block, durable and checked when it settles.
   *
   * S3 acknowledges what is durable. That it is what was sent, is shown by the SHA-256 that the server computed; else by the
   * MD5 in its ETag; else by reading it back.
   *
   * @throws {StoreError} `STORE_S3_ALTERED`; those of `S3Client`
   */
  async write({ digest, parts }: NewBlock): Promise<void> {
    for (let writes = 1; writes <= WRITES_MAX; writes++) {
      const receipt = await this.#client.put(blockKey(digest), parts, digest)
      if (isShown(receipt, digest, parts)) return
      if ((await this.read(digest, lengthOf(parts))) !== undefined) return
    }
    throw new StoreError({ code: 'STORE_S3_ALTERED', digest: hexOf(digest) })
  }

  /**
   * @param bytesHint - the block's probable size: the buffer that is tried first.
   * @returns the right bytes, or undefined where there is no such object or it holds others.
   * @throws {StoreError} those of `S3Client`
   */
  async read(digest: Uint8Array, bytesHint: number): Promise<Uint8Array | undefined> {
    for (const bytesMax of [bytesHint, BLOCK_BYTES_MAX]) {
      // Not zeroed first: each byte that is handed on was read.
      const buffer = new Uint8Array(Buffer.allocUnsafeSlow(bytesMax).buffer)
      const bytes = await this.readInto(digest, buffer)
      if (bytes === undefined) return undefined
      if (bytes <= bytesMax) return bytes === bytesMax ? buffer : buffer.subarray(0, bytes)
    }
    return undefined
  }

  /**
   * As `read`, into a buffer.
   *
   * @returns the block's size; more than `into.length` where the object doesn't fit.
   */
  async readInto(digest: Uint8Array, into: Uint8Array): Promise<number | undefined> {
    const bytes = await this.#client.get(blockKey(digest), into)
    if (bytes === undefined || bytes > into.length) return bytes
    return equals(sha256(into.subarray(0, bytes)), digest) ? bytes : undefined
  }

  remove(digest: Uint8Array): Promise<void> {
    return this.#client.delete(blockKey(digest))
  }

  /** Notes that a block awaits repair. */
  async markDamaged(digest: Uint8Array): Promise<void> {
    await this.#client.put(damagedKey(digest), [NOTHING], NOTHING_SHA256)
  }

  unmarkDamaged(digest: Uint8Array): Promise<void> {
    return this.#client.delete(damagedKey(digest))
  }

  /** Digests of the blocks that await repair. @param onBlock - returns false to see no more. */
  async listDamaged(onBlock: (digest: Uint8Array) => boolean): Promise<void> {
    await this.#list('damaged/', (key) => {
      const hex = DAMAGED_KEY.exec(key)?.[1]
      return hex === undefined || onBlock(bytesOf(hex))
    })
  }

  /**
   * Lists all blocks, in sixteen parts: the keys are spread evenly.
   *
   * @param atOnce - parts asked for at once: all while nobody else asks for anything, else a few.
   * @param onBlock - with the size that the server says.
   * @returns keys that no block store wrote.
   */
  async listBlocks(atOnce: number, onBlock: (digest: Uint8Array, bytes: number) => void): Promise<number> {
    let strangers = 0
    let blocks = 0
    const take = (key: string, bytes: number): boolean => {
      const hex = BLOCK_KEY.exec(key)?.[2]
      if (hex === undefined || bytes > BLOCK_BYTES_MAX) strangers++
      else onBlock(bytesOf(hex), bytes)
      return ++blocks < S3_BLOCKS_MAX
    }
    const parts = HEX_DIGITS.values()
    const work = async (): Promise<void> => {
      for (const digit of parts) await this.#list(`blocks/${digit}`, take)
    }
    await Promise.all(Array.from({ length: atOnce }, work))
    return strangers
  }

  async #list(prefix: string, onKey: (key: string, bytes: number) => boolean): Promise<void> {
    let after: string | undefined
    for (;;) {
      const page = await this.#client.list(prefix, after)
      for (const { key, bytes } of page.entries) {
        // A server that goes round in circles would be asked for ever.
        if (after !== undefined && !isAfter(key, after)) {
          throw this.#client.refused('its list is not in order')
        }
        after = key
        if (!onKey(key, bytes)) return
      }
      if (page.isLast) return
    }
  }
}

/** In the order of the server, that of UTF-8; ours are ASCII, where strings compare alike and faster. */
function isAfter(key: string, before: string): boolean {
  return key > before || Buffer.compare(Buffer.from(key), Buffer.from(before)) > 0
}

/** Whether the server has shown that it holds these bytes. */
function isShown({ etag, sha256: checksum }: PutReceipt, digest: Uint8Array, parts: readonly Uint8Array[]): boolean {
  if (checksum !== undefined) return checksum === Buffer.from(digest).toString('base64')
  const hash = createHash('md5')
  for (const part of parts) hash.update(part)
  return etag === hash.digest('hex')
}

function blockKey(digest: Uint8Array): string {
  const hex = hexOf(digest)
  return `blocks/${hex.slice(0, 2)}/${hex}`
}

function damagedKey(digest: Uint8Array): string {
  return `damaged/${hexOf(digest)}`
}

function bytesOf(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex, 'hex'))
}
