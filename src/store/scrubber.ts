/**
 * Reads everything that is stored, slowly, and compares it with its names: finds what rots before anybody asks for it, while
 * others still hold good copies.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { BlockIndex } from './block-index.ts'
import type { BlockReader } from './block-reader.ts'
import type { PackFolder } from './pack-folder.ts'
import { recordBytes } from './pack-record.ts'

/** Where a scrub stopped; goes on there. Plain data, for the caller to keep. */
export interface ScrubPosition {
  /** Id of a pack: those before it are done. In a bucket: the first 48 bits of a digest. */
  readonly packId: number
  /** Records of that pack before it are done, in bytes. In a bucket: 0. */
  readonly offset: number
}

export interface ScrubOptions {
  /** @default from the beginning */
  readonly from?: ScrubPosition
  /** @default unlimited */
  readonly bytesPerSecondMax?: number
  /** Ends the scrub early; the report says where. */
  readonly signal?: AbortSignal
}

export interface ScrubReport {
  readonly blocks: number
  readonly bytes: number
  /** Digests of blocks that were found damaged by this scrub; they are quarantined. */
  readonly damaged: readonly Uint8Array[]
  /** Where to go on; undefined when everything was read. */
  readonly position: ScrubPosition | undefined
}

export interface ScrubberDeps {
  readonly folder: PackFolder
  readonly index: BlockIndex
  readonly reader: BlockReader
}

/** A smaller debt is not worth a timer. */
const DEBT_MS_MIN = 20

export async function scrubPacks(deps: ScrubberDeps, options: ScrubOptions): Promise<ScrubReport> {
  const from = options.from ?? { packId: 0, offset: 0 }
  const pace = new Pace(options.bytesPerSecondMax ?? Number.POSITIVE_INFINITY, options.signal)
  const damaged: Uint8Array[] = []
  let blocks = 0
  let bytes = 0
  for (const pack of deps.folder.packs) {
    if (pack.id < from.packId) continue
    for (const { digest, offset, length } of deps.index.blocksOf(pack.number)) {
      if (pack.id === from.packId && offset < from.offset) continue
      if (!(await pace.proceed())) {
        return { blocks, bytes, damaged, position: { packId: pack.id, offset } }
      }
      const place = { pack: pack.number, offset, length }
      // Removed or moved since the list was made: nothing to look at here.
      const now = deps.index.find(digest)
      if (now?.pack !== place.pack || now.offset !== place.offset) continue
      if (!(await deps.reader.check(digest, place))) damaged.push(digest)
      blocks++
      bytes += length
      pace.spend(recordBytes(length))
    }
  }
  return { blocks, bytes, damaged, position: undefined }
}

/** Keeps the mean rate of a scrub under its cap. */
export class Pace {
  readonly #bytesPerSecondMax: number
  readonly #signal: AbortSignal | undefined
  readonly #startMs = performance.now()
  #bytes = 0

  constructor(bytesPerSecondMax: number, signal: AbortSignal | undefined) {
    this.#bytesPerSecondMax = bytesPerSecondMax
    this.#signal = signal
  }

  spend(bytes: number): void {
    this.#bytes += bytes
  }

  /** Waits until it may go on. @returns false when it was told to stop. */
  async proceed(): Promise<boolean> {
    if (this.#stopped) return false
    const debtMs = (this.#bytes / this.#bytesPerSecondMax) * 1_000 - (performance.now() - this.#startMs)
    if (debtMs < DEBT_MS_MIN) return true
    try {
      await sleep(debtMs, undefined, this.#signal === undefined ? {} : { signal: this.#signal })
    } catch {
      // Aborted while it waited.
    }
    return !this.#stopped
  }

  get #stopped(): boolean {
    return this.#signal?.aborted ?? false
  }
}
