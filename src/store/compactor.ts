/**
 * Frees the room of removed blocks: copies what is left of a pack to the newest one, then unlinks it. What is damaged is set
 * aside first, as it is.
 *
 *   read + verify ──► append to the newest pack, durable ──► index points there ──► unlink the old pack
 *
 * A crash in between leaves two copies; the next start keeps the newer. A block that is removed meanwhile first waits for its
 * copy (`moving`), then has two records to mark: `former` tells the other one.
 */
import { STORE_BATCH_BYTES_MAX, STORE_COMPACT_DEAD_RATIO, STORE_COMPACT_PRESSED_DEAD_RATIO } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { BlockIndex, BlockPlace } from './block-index.ts'
import type { BlockReader } from './block-reader.ts'
import type { NewBlock } from './blocks.ts'
import { Coalesced } from './coalesced.ts'
import { readAt } from './file-system.ts'
import type { PackAppender } from './pack-appender.ts'
import type { Pack, PackFolder } from './pack-folder.ts'
import { RECORD_HEADER_BYTES, recordBytes } from './pack-record.ts'
import { hexOf, type Quarantine } from './quarantine.ts'
import type { Room } from './room.ts'
import type { SyncGuard } from './sync-guard.ts'

export interface CompactorDeps {
  readonly folder: PackFolder
  readonly index: BlockIndex
  readonly appender: PackAppender
  readonly quarantine: Quarantine
  readonly room: Room
  readonly guard: SyncGuard
  readonly log: Log
  readonly reader: BlockReader
}

interface Move extends NewBlock {
  /** Where it is until the copy is durable. */
  readonly place: BlockPlace
}

export class Compactor {
  readonly #deps: CompactorDeps
  readonly #work: Coalesced
  /** By digest: the record in a pack that is being rewritten, or whose rewriting failed. */
  readonly #former = new Map<string, BlockPlace>()
  /** By digest: copies that are being written. */
  readonly #moving = new Map<string, Promise<void>>()
  #stopped = false

  constructor(deps: CompactorDeps) {
    this.#deps = deps
    this.#work = new Coalesced(() => this.#compact())
  }

  /**
   * The writing of a copy of the block, while it is under way. Whoever removes a block waits for it, or the copy might be there
   * after a crash, and its mark not.
   */
  moving(digest: Uint8Array): Promise<void> | undefined {
    return this.#moving.get(hexOf(digest))
  }

  /** The other record of a block that was moved and whose old pack is still there. */
  former(digest: Uint8Array): BlockPlace | undefined {
    return this.#former.get(hexOf(digest))
  }

  /** Frees what is worth freeing now; settles when there is nothing more. Never rejects. */
  run(): Promise<void> {
    return this.#stopped ? Promise.resolve() : this.#work.run()
  }

  /** Stops after the batch under way. */
  async stop(): Promise<void> {
    this.#stopped = true
    await this.#work.run()
  }

  async #compact(): Promise<void> {
    if (this.#stopped || this.#deps.guard.failed) return
    try {
      await this.#deps.room.refresh()
      const growing = this.#deps.appender.pack
      if (this.#deps.room.pressed && growing !== undefined && this.#worth(growing)) await this.#deps.appender.rotate()
      // Each at most once in a run: what can't be freed now is tried again with the next removal.
      for (const pack of this.#deps.folder.packs.toSorted((a, b) => deadRatio(b) - deadRatio(a))) {
        if (this.#stopped || this.#deps.guard.failed) return
        if (pack !== this.#deps.appender.pack && this.#worth(pack)) await this.#rewrite(pack)
      }
    } catch (error) {
      this.#deps.log.warn({ err: error }, 'could not free the room of removed blocks; it is tried again later')
    }
  }

  #worth(pack: Pack): boolean {
    const least = this.#deps.room.pressed ? STORE_COMPACT_PRESSED_DEAD_RATIO : STORE_COMPACT_DEAD_RATIO
    return pack.deadBytes > 0 && deadRatio(pack) >= least
  }

  async #rewrite(pack: Pack): Promise<void> {
    const { index, folder, log } = this.#deps
    pack.emptying = true
    let batch: Move[] = []
    let batchBytes = 0
    for (const { digest, offset, length } of index.blocksOf(pack.number)) {
      if (this.#stopped) return
      const bytes = await this.#deps.reader.verified(digest)
      if (bytes === undefined) continue
      batch.push({ digest, parts: [bytes], place: { pack: pack.number, offset, length } })
      batchBytes += bytes.length
      if (batchBytes < STORE_BATCH_BYTES_MAX) continue
      await this.#move(batch)
      batch = []
      batchBytes = 0
    }
    await this.#move(batch)
    // A block that could not be moved keeps its pack.
    if (index.blocksOf(pack.number).length > 0) return
    await this.#setDamageAside(pack)
    const freed = pack.sizeBytes
    await folder.remove(pack)
    for (const [hex, place] of this.#former) if (place.pack === pack.number) this.#former.delete(hex)
    log.info({ pack: pack.name, bytes: freed }, 'rewrote a pack to free the room of removed blocks')
  }

  async #move(batch: readonly Move[]): Promise<void> {
    const { index } = this.#deps
    // What was removed since it was read must not be written again.
    const moves = batch.filter(({ digest, place }) => isSame(place, index.find(digest)))
    if (moves.length === 0) return
    const work = this.#append(moves)
    for (const { digest } of moves) this.#moving.set(hexOf(digest), work)
    try {
      await work
    } finally {
      for (const { digest } of moves) this.#moving.delete(hexOf(digest))
    }
  }

  async #append(moves: readonly Move[]): Promise<void> {
    const { folder, index, appender } = this.#deps
    const stale: Promise<void>[] = []
    await appender.append(moves, (places) => {
      for (const [i, { digest, place }] of moves.entries()) {
        const to = places[i]
        if (to === undefined) continue
        if (!isSame(place, index.find(digest))) {
          // Quarantined meanwhile.
          stale.push(folder.mark([to], 'removed'))
          continue
        }
        index.set(digest, to)
        folder.get(place.pack).liveBytes -= recordBytes(place.length)
        folder.get(to.pack).liveBytes += recordBytes(to.length)
        this.#former.set(hexOf(digest), place)
      }
    })
    await Promise.all(stale)
  }

  async #setDamageAside(pack: Pack): Promise<void> {
    const { folder, quarantine } = this.#deps
    const cut = (offset: number, length: number): Promise<Uint8Array> =>
      folder.withFile(pack.number, (file) => readAt(file, offset, length))
    for (const { digest, offset, length } of quarantine.inPack(pack.number)) {
      await quarantine.setAside(digest, '', await cut(offset + RECORD_HEADER_BYTES, length))
    }
    for (const { offset, bytes } of pack.lost) {
      await quarantine.setAside(undefined, `${pack.name}-${offset}`, await cut(offset, bytes))
    }
  }
}

function isSame(place: BlockPlace, other: BlockPlace | undefined): boolean {
  return other?.pack === place.pack && other.offset === place.offset
}

function deadRatio(pack: Pack): number {
  return pack.deadBytes / pack.sizeBytes
}
