/**
 * Reads what a pack holds from the pack itself: at a start without an index file, and for the end of the last pack after a crash.
 *
 * It hops from header to header. Where a header is broken it looks for the next record whose header *and* payload are right,
 * and reports what lies between as lost; it never gives up what comes after. A record that a crash cut short can only be at
 * the very end: nothing valid follows, and it looks like a write that stopped (`torn`); anything else is damage.
 */
import { sha256 } from '../crypto/hash.ts'
import { type OpenFile, readAt } from './file-system.ts'
import type { PackEntry } from './pack-index-file.ts'
import {
  paddingOf,
  RECORD_ALIGN_BYTES,
  RECORD_HEADER_BYTES,
  type RecordHeader,
  readRecordHeader,
  recordBytes,
} from './pack-record.ts'

/** Read at once while hopping: many small records, or one header of a large one. */
const WINDOW_BYTES = 64 * 1024
/** A disk can't read one sector or page: go on after it. */
const UNREADABLE_STEP_BYTES = 4_096

export interface ScanOptions {
  readonly salt: Uint8Array
  /** Where to begin: the end of what an index file covers, or the first record. */
  readonly from: number
  readonly sizeBytes: number
  /** Check payloads too: they were perhaps not yet durable. Else only headers are read. */
  readonly verify: boolean
}

export interface ScanResult {
  readonly entries: readonly PackEntry[]
  /** Offsets of damaged records whose headers still say `live`. */
  readonly unmarked: readonly number[]
  /** Bytes that belong to no record any more. */
  readonly lost: readonly { readonly offset: number; readonly bytes: number }[]
  /** Where the last whole record ends, aligned; perhaps past the file's end, by its padding. */
  readonly endBytes: number
  /** What follows `endBytes` is a write that stopped. */
  readonly torn: boolean
}

export async function scanPack(file: OpenFile, options: ScanOptions): Promise<ScanResult> {
  const scan = new PackScan(file, options)
  return scan.run()
}

class PackScan {
  readonly #file: OpenFile
  readonly #options: ScanOptions
  readonly #entries: PackEntry[] = []
  readonly #lost: { offset: number; bytes: number }[] = []
  readonly #unmarked: number[] = []
  #window: Uint8Array = new Uint8Array(0)
  #windowAt = 0

  constructor(file: OpenFile, options: ScanOptions) {
    this.#file = file
    this.#options = options
  }

  async run(): Promise<ScanResult> {
    const { from, sizeBytes, salt } = this.#options
    let at = from
    while (at < sizeBytes) {
      const head = await this.#bytes(at, RECORD_HEADER_BYTES)
      const header = head === undefined ? undefined : readRecordHeader(head, salt, at)
      if (header !== undefined && at + RECORD_HEADER_BYTES + header.length <= sizeBytes) {
        await this.#take(header, at)
        at += recordBytes(header.length)
        continue
      }
      const next = await this.#resync(at + RECORD_ALIGN_BYTES)
      if (next === undefined) {
        const torn = head !== undefined && (header !== undefined || (await this.#isStoppedWrite(at)))
        if (!torn) this.#lost.push({ offset: at, bytes: sizeBytes - at })
        return this.#result(torn ? at : sizeBytes + paddingOf(sizeBytes), torn)
      }
      this.#lost.push({ offset: at, bytes: next - at })
      at = next
    }
    return this.#result(at, false)
  }

  #result(endBytes: number, torn: boolean): ScanResult {
    return { entries: this.#entries, unmarked: this.#unmarked, lost: this.#lost, endBytes, torn }
  }

  async #take(header: RecordHeader, offset: number): Promise<void> {
    const { state, length, digest } = header
    if (state === 'removed') return
    const whole = state === 'live' && (!this.#options.verify || (await this.#payloadIsRight(header, offset)))
    if (state === 'live' && !whole) this.#unmarked.push(offset)
    this.#entries.push({ offset, length, digest, state: whole ? 'live' : 'damaged' })
  }

  /** Too short for a header, or nothing but the zeros of a length that was durable before its bytes. */
  async #isStoppedWrite(at: number): Promise<boolean> {
    const { sizeBytes } = this.#options
    if (sizeBytes - at < RECORD_HEADER_BYTES) return true
    for (let position = at; position < sizeBytes; position += WINDOW_BYTES) {
      const bytes = await this.#bytes(position, Math.min(WINDOW_BYTES, sizeBytes - position))
      if (bytes === undefined || bytes.some((byte) => byte !== 0)) return false
    }
    return true
  }

  /** The next place from `from` on where a whole, verified record begins. */
  async #resync(from: number): Promise<number | undefined> {
    const { sizeBytes, salt } = this.#options
    let at = from
    while (at + RECORD_HEADER_BYTES <= sizeBytes) {
      const head = await this.#bytes(at, RECORD_HEADER_BYTES)
      if (head === undefined) {
        at += UNREADABLE_STEP_BYTES - (at % UNREADABLE_STEP_BYTES)
        continue
      }
      const header = readRecordHeader(head, salt, at)
      if (header !== undefined && (header.state !== 'live' || (await this.#payloadIsRight(header, at)))) return at
      at += RECORD_ALIGN_BYTES
    }
    return undefined
  }

  async #payloadIsRight(header: RecordHeader, offset: number): Promise<boolean> {
    try {
      const payload = await readAt(this.#file, offset + RECORD_HEADER_BYTES, header.length)
      return payload.length === header.length && sha256(payload).every((byte, i) => header.digest[i] === byte)
    } catch {
      // The disk can't read it: as good as wrong.
      return false
    }
  }

  /** `length` bytes at `at`, fewer at the end of the file; undefined where the disk can't read them. */
  async #bytes(at: number, length: number): Promise<Uint8Array | undefined> {
    const start = at - this.#windowAt
    if (start >= 0 && start + length <= this.#window.length) return this.#window.subarray(start, start + length)
    try {
      this.#window = await readAt(this.#file, at, Math.max(length, WINDOW_BYTES))
    } catch {
      this.#window = new Uint8Array(0)
      return this.#single(at, length)
    }
    this.#windowAt = at
    return this.#window.subarray(0, length)
  }

  /** One unreadable sector must not hide its neighbours. */
  async #single(at: number, length: number): Promise<Uint8Array | undefined> {
    try {
      return await readAt(this.#file, at, length)
    } catch {
      return undefined
    }
  }
}
