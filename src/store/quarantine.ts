/**
 * Blocks that were found damaged and are not yet repaired. Their bytes are kept: in their pack, under a record that says
 * `damaged`, or, once the pack is rewritten, in a file of the quarantine folder named by the digest.
 */
import { STORE_DAMAGE_LISTED_MAX } from '../core/limits.ts'
import { type FileSystem, unlinkIfThere, writeFileDurably } from './file-system.ts'
import { DIGEST_BYTES } from './pack-record.ts'

const ASIDE_PATTERN = /^([0-9a-f]{64})\.damaged$/

/** Where the bytes of a damaged block are kept: in a pack, or (undefined) in the quarantine folder or nowhere. */
export type DamagedPlace = { readonly pack: number; readonly offset: number; readonly length: number } | undefined

export class Quarantine {
  readonly #fs: FileSystem
  readonly #dir: string
  readonly #blocks = new Map<string, DamagedPlace>()
  #unlisted = 0

  constructor(fs: FileSystem, dir: string) {
    this.#fs = fs
    this.#dir = dir
  }

  /** Damaged blocks that await repair. */
  get count(): number {
    return this.#blocks.size + this.#unlisted
  }

  /** Their digests: `STORE_DAMAGE_LISTED_MAX` at most. */
  get digests(): readonly Uint8Array[] {
    return [...this.#blocks.keys()].map((hex) => new Uint8Array(Buffer.from(hex, 'hex')))
  }

  /** Takes up what was set aside in earlier runs. */
  adopt(names: readonly string[]): void {
    for (const name of names) {
      const hex = ASIDE_PATTERN.exec(name)?.[1]
      if (hex !== undefined && hex.length === DIGEST_BYTES * 2) this.#note(hex, undefined)
    }
  }

  add(digest: Uint8Array, place: NonNullable<DamagedPlace>): void {
    this.#note(hexOf(digest), place)
  }

  /** A block whose pack is gone. */
  addMissing(digest: Uint8Array): void {
    this.#note(hexOf(digest), undefined)
  }

  #note(hex: string, place: DamagedPlace): void {
    if (this.#blocks.size >= STORE_DAMAGE_LISTED_MAX && !this.#blocks.has(hex)) this.#unlisted++
    else this.#blocks.set(hex, place)
  }

  /** Copies bytes out of a pack that is about to be rewritten. @param digest - undefined where nobody knows what they were. */
  async setAside(digest: Uint8Array | undefined, name: string, bytes: Uint8Array): Promise<void> {
    const hex = digest === undefined ? undefined : hexOf(digest)
    await writeFileDurably(this.#fs, this.#dir, hex === undefined ? `${name}.lost` : `${hex}.damaged`, [bytes])
    if (hex !== undefined && this.#blocks.has(hex)) this.#blocks.set(hex, undefined)
  }

  /**
   * Forgets a damaged block, because a good copy is durable or the block is to be removed.
   *
   * @returns undefined when it wasn't damaged; else where its bytes are, for the caller to mark or unlink (`dropAside`).
   */
  take(digest: Uint8Array): { readonly place: DamagedPlace } | undefined {
    const hex = hexOf(digest)
    if (!this.#blocks.has(hex)) return undefined
    const place = this.#blocks.get(hex)
    this.#blocks.delete(hex)
    return { place }
  }

  /** Unlinks what was set aside of a block. */
  async dropAside(digest: Uint8Array): Promise<void> {
    await unlinkIfThere(this.#fs, `${this.#dir}/${hexOf(digest)}.damaged`)
  }

  /** The damaged blocks of one pack. */
  inPack(pack: number): { digest: Uint8Array; offset: number; length: number }[] {
    const found: { digest: Uint8Array; offset: number; length: number }[] = []
    for (const [hex, place] of this.#blocks) {
      if (place?.pack !== pack) continue
      found.push({ digest: new Uint8Array(Buffer.from(hex, 'hex')), offset: place.offset, length: place.length })
    }
    return found.sort((a, b) => a.offset - b.offset)
  }

  has(digest: Uint8Array): boolean {
    return this.#blocks.has(hexOf(digest))
  }
}

export function hexOf(digest: Uint8Array): string {
  return Buffer.from(digest.buffer, digest.byteOffset, digest.length).toString('hex')
}
