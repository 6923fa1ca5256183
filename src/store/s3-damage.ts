/**
 * Blocks of a bucket that were found damaged or lost and are not yet repaired. Each has a mark in the bucket, so that a list
 * doesn't bring it back at the next start; its object stays as it is.
 */
import { STORE_DAMAGE_LISTED_MAX } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { hexOf } from './quarantine.ts'
import type { S3Objects } from './s3-objects.ts'

export class S3Damage {
  readonly #objects: S3Objects
  readonly #log: Log
  /** By digest: bytes of the object that is kept, 0 while they are not known. */
  readonly #blocks = new Map<string, number>()
  #bytes = 0
  #unlisted = 0

  constructor(deps: { readonly objects: S3Objects; readonly log: Log }) {
    this.#objects = deps.objects
    this.#log = deps.log
  }

  /** Takes up the marks of earlier runs. */
  async load(): Promise<void> {
    await this.#objects.listDamaged((digest) => {
      if (this.#blocks.size >= STORE_DAMAGE_LISTED_MAX) return false
      this.#blocks.set(hexOf(digest), 0)
      return true
    })
  }

  get count(): number {
    return this.#blocks.size + this.#unlisted
  }

  /** Of the objects that are kept. */
  get bytes(): number {
    return this.#bytes
  }

  /** `STORE_DAMAGE_LISTED_MAX` at most. */
  get digests(): readonly Uint8Array[] {
    return [...this.#blocks.keys()].map((hex) => new Uint8Array(Buffer.from(hex, 'hex')))
  }

  has(digest: Uint8Array): boolean {
    return this.#blocks.has(hexOf(digest))
  }

  /** Learns the size of a damaged block's object. @returns whether this is one. */
  sized(digest: Uint8Array, length: number): boolean {
    if (this.#blocks.size === 0) return false
    const hex = hexOf(digest)
    const before = this.#blocks.get(hex)
    if (before === undefined) return false
    this.#blocks.set(hex, length)
    this.#bytes += length - before
    return true
  }

  async note(digest: Uint8Array, length: number): Promise<void> {
    const hex = hexOf(digest)
    this.#log.error({ digest: hex }, 'a block is damaged')
    if (!this.#blocks.has(hex) && this.#blocks.size >= STORE_DAMAGE_LISTED_MAX) {
      this.#unlisted++
      return
    }
    this.#bytes += length - (this.#blocks.get(hex) ?? 0)
    this.#blocks.set(hex, length)
    try {
      await this.#objects.markDamaged(digest)
    } catch (error) {
      this.#log.error({ err: error, digest: hex }, 'a damaged block could not be marked; it will be found again')
    }
  }

  /** A good copy is in its place, or the block was removed. */
  async forget(digest: Uint8Array): Promise<void> {
    const hex = hexOf(digest)
    const length = this.#blocks.get(hex)
    if (length === undefined) return
    this.#blocks.delete(hex)
    this.#bytes -= length
    try {
      await this.#objects.unmarkDamaged(digest)
    } catch (error) {
      this.#log.warn({ err: error, digest: hex }, 'the mark of a damaged block stays; the next scrub removes it')
    }
  }
}
