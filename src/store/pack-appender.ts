/**
 * Appends blocks to the newest pack, durable before acknowledged.
 *
 *   calls ──► gather ──► writev to the page cache ──► fdatasync of all written so far ──► acknowledge, in order
 *
 * One writer and one sync run side by side: while a sync is under way the next calls are written already, and the sync after
 * it takes them all. So a call waits for at most two syncs, a lone one is synced at once, and a hundred small ones share a
 * sync; no timer is needed. Only one sync runs at a time on the one handle: an error is reported once per handle, so two
 * overlapping ones could each take the other's for success.
 */
import { STORE_BATCH_BYTES_MAX, STORE_PACK_RECORDS_MAX, STORE_UNSYNCED_BYTES_MAX } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import type { BlockPlace } from './block-index.ts'
import type { NewBlock } from './blocks.ts'
import { type OpenFile, openFile, writeAllAt, writeFault } from './file-system.ts'
import type { Pack, PackFolder } from './pack-folder.ts'
import { paddingOf, RECORD_ALIGN_BYTES, RECORD_HEADER_BYTES, recordBytes, writeRecordHeader } from './pack-record.ts'
import type { SyncGuard } from './sync-guard.ts'

/** One call: written, synced, and refused as a whole. */
interface Call {
  readonly blocks: readonly NewBlock[]
  readonly bytes: number
  /** Runs before anything that waits for the call, in the order of the disk. */
  readonly durable: (places: readonly BlockPlace[]) => void
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

interface Written {
  readonly call: Call
  readonly places: readonly BlockPlace[]
}

/** The pack that grows, and the one handle it is written and synced through. */
interface Growing {
  readonly pack: Pack
  readonly file: OpenFile
}

export interface PackAppenderDeps {
  readonly folder: PackFolder
  readonly guard: SyncGuard
  readonly log: Log
  /** A pack is full, and all of it durable. */
  readonly onClosed: (pack: Pack) => void
}

const ZEROS = new Uint8Array(RECORD_ALIGN_BYTES)

export class PackAppender {
  readonly #deps: PackAppenderDeps
  readonly #packBytes: number
  #queue: Call[] = []
  #written: Written[] = []
  #unsyncedBytes = 0
  #writing: Promise<void> | undefined
  #syncing: Promise<void> | undefined
  #growing: Growing | undefined
  /** Where the next record goes: past `pack.sizeBytes` by what is not durable yet. */
  #at = 0
  #rotate = false

  /** @param options.packBytes - a pack that has reached it takes no further call. */
  constructor(deps: PackAppenderDeps, options: { readonly packBytes: number }) {
    this.#deps = deps
    this.#packBytes = options.packBytes
  }

  /** The pack that grows; not to be rewritten. */
  get pack(): Pack | undefined {
    return this.#growing?.pack
  }

  /** Goes on with a pack of an earlier run: `pack.sizeBytes` is where it ends. */
  async resume(pack: Pack): Promise<void> {
    const { folder } = this.#deps
    this.#growing = { pack, file: await openFile(folder.fs, folder.packPath(pack), 'r+') }
    this.#at = pack.sizeBytes
  }

  /**
   * @param blocks - none of them twice.
   * @param durable - told the places, in order, as soon as they are durable.
   * @throws {StoreError} `STORE_DISK_FULL`, `STORE_WRITE_FAILED`, `STORE_FSYNC_FAILED`
   */
  async append(blocks: readonly NewBlock[], durable: (places: readonly BlockPlace[]) => void): Promise<void> {
    this.#deps.guard.check()
    const bytes = blocks.reduce((sum, { parts }) => sum + recordBytes(payloadBytes(parts)), 0)
    return new Promise((resolve, reject) => {
      this.#queue.push({ blocks, bytes, durable, resolve, reject })
      this.#writing ??= this.#write()
    })
  }

  /** Closes the growing pack and begins another. */
  rotate(): Promise<void> {
    this.#rotate = true
    return this.append([], () => undefined)
  }

  /** Waits for what is under way. Nothing may be appended any more. */
  async close(): Promise<void> {
    await this.#writing
    await this.#drain()
    await this.#growing?.file.close()
    this.#growing = undefined
  }

  async #write(): Promise<void> {
    while (this.#queue.length > 0) {
      if (this.#unsyncedBytes >= STORE_UNSYNCED_BYTES_MAX) {
        await this.#syncing
        continue
      }
      const calls = this.#gather()
      try {
        const written = await this.#writeCalls(calls)
        this.#deps.guard.check()
        this.#written.push(...written)
        for (const call of calls) this.#unsyncedBytes += call.bytes
        this.#syncing ??= this.#sync()
      } catch (error) {
        const fault = await writeFault(this.#deps.folder.fs, this.#deps.folder.dir, error)
        for (const call of calls) call.reject(fault)
        if (this.#deps.guard.failed) await this.#abandon()
      }
    }
    // In the same step as the last look at the queue: a call that comes later starts the writer again.
    this.#writing = undefined
  }

  #gather(): Call[] {
    const bytesMax = Math.min(STORE_BATCH_BYTES_MAX, this.#packBytes - this.#at)
    let bytes = 0
    let count = 0
    for (const call of this.#queue) {
      if (count > 0 && bytes + call.bytes > bytesMax) break
      bytes += call.bytes
      count++
    }
    return this.#queue.splice(0, count)
  }

  async #writeCalls(calls: readonly Call[]): Promise<Written[]> {
    this.#deps.guard.check()
    const { pack, file } = await this.#packWithRoom()
    const start = this.#at
    const { buffers, written, end } = layOut(calls, pack, start)
    try {
      await writeAllAt(file, buffers, start)
    } catch (error) {
      // Half a record must not stay: what is written next would follow it.
      await this.#deps.guard.run(() => file.truncate(start))
      throw error
    }
    this.#at = end
    pack.records += written.reduce((sum, { places }) => sum + places.length, 0)
    return written
  }

  async #packWithRoom(): Promise<Growing> {
    const growing = this.#growing
    if (growing !== undefined) {
      const full = this.#at >= this.#packBytes || growing.pack.records >= STORE_PACK_RECORDS_MAX
      if (!full && !this.#rotate) return growing
      // Only the newest pack may hold bytes that are not durable.
      await this.#drain()
      this.#deps.guard.check()
      this.#growing = undefined
      await growing.file.close()
      this.#deps.onClosed(growing.pack)
    }
    const created = await this.#deps.folder.create()
    this.#growing = created
    this.#at = created.pack.sizeBytes
    this.#rotate = false
    return created
  }

  async #drain(): Promise<void> {
    while (this.#syncing !== undefined) await this.#syncing
  }

  async #sync(): Promise<void> {
    while (this.#written.length > 0 && this.#growing !== undefined) {
      const { pack, file } = this.#growing
      const taken = this.#written
      const end = this.#at
      this.#written = []
      try {
        await this.#deps.guard.run(() => file.datasync())
      } catch (error) {
        for (const { call } of [...taken, ...this.#written]) call.reject(error)
        this.#written = []
        this.#unsyncedBytes = 0
        await this.#abandon()
        continue
      }
      pack.sizeBytes = end
      for (const { call, places } of taken) {
        this.#unsyncedBytes -= call.bytes
        call.durable(places)
        call.resolve()
      }
    }
    this.#syncing = undefined
  }

  /**
   * After a failed sync, tries to cut off what was never acknowledged: the page cache would show it to the next start as if it
   * were on the disk.
   */
  async #abandon(): Promise<void> {
    if (this.#growing === undefined) return
    const { pack, file } = this.#growing
    try {
      await file.truncate(pack.sizeBytes)
    } catch (error) {
      this.#deps.log.warn({ err: error }, 'could not cut off what was written without confirmation')
    }
  }
}

function payloadBytes(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0)
}

/** The records of the calls as one list of buffers, without copying a payload. */
function layOut(
  calls: readonly Call[],
  pack: Pack,
  start: number,
): { buffers: Uint8Array[]; written: Written[]; end: number } {
  const count = calls.reduce((sum, call) => sum + call.blocks.length, 0)
  const headers = new Uint8Array(count * RECORD_HEADER_BYTES)
  const buffers: Uint8Array[] = []
  let header = 0
  let at = start
  const written = calls.map((call) => {
    const places = call.blocks.map(({ digest, parts }) => {
      const length = payloadBytes(parts)
      const offset = at
      const bytes = headers.subarray(header, header + RECORD_HEADER_BYTES)
      header += RECORD_HEADER_BYTES
      writeRecordHeader(bytes, { state: 'live', length, digest }, pack.salt, offset)
      buffers.push(bytes, ...parts, ZEROS.subarray(0, paddingOf(length)))
      at += recordBytes(length)
      return { pack: pack.number, offset, length }
    })
    return { call, places }
  })
  return { buffers, written, end: at }
}
