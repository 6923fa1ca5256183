/**
 * Reads what a pack holds from the pack itself: at a start without an index file, and for the end of the last pack after a crash.
 *
 * It hops from header to header. Where a header is broken it looks for the next record whose header *and* payload are right,
 * and reports what lies between as lost; it never gives up what comes after. A record that a crash cut short can only be at
 * the very end: nothing valid follows, and it looks like a write that stopped (`torn`); anything else is damage.
 */
import { BLOCK_BYTES_MAX } from '../core/limits.ts'
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
/** The same where payloads are checked: holds the largest record and more. */
const VERIFY_WINDOW_BYTES = 2 * BLOCK_BYTES_MAX
/** A disk can't read one sector or page: go on after it. */
const UNREADABLE_STEP_BYTES = 4_096

export interface ScanOptions {
  readonly salt: Uint8Array
  /** Where to begin: the end of what an index file covers, or the first record. */
  readonly from: number
  readonly sizeBytes: number
  /** Check payloads too: they were perhaps not yet durable. Else only headers are read. */
  readonly verify: boolean
  /** Told each record that is not removed, in the order of the pack. */
  readonly onEntry: (entry: PackEntry) => void
}

export interface ScanResult {
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
  readonly #lost: { offset: number; bytes: number }[] = []
  readonly #unmarked: number[] = []
  /** What was read last: `#windowBytes` bytes from `#windowAt` on. One buffer for all reads. */
  readonly #window: Uint8Array
  #windowAt = 0
  #windowBytes = 0

  constructor(file: OpenFile, options: ScanOptions) {
    this.#file = file
    this.#options = options
    this.#window = new Uint8Array(options.verify ? VERIFY_WINDOW_BYTES : WINDOW_BYTES)
  }

  async run(): Promise<ScanResult> {
    const { from, sizeBytes, salt } = this.#options
    let at = from
    while (at < sizeBytes) {
      // Awaits only where something must be read: there may be millions of records.
      const head = this.#held(at, RECORD_HEADER_BYTES) ?? (await this.#read(at, RECORD_HEADER_BYTES))
      const header = head === undefined ? undefined : readRecordHeader(head, salt, at)
      if (header !== undefined && at + RECORD_HEADER_BYTES + header.length <= sizeBytes) {
        const whole = this.#isTrusted(header) || isNamed(await this.#payload(header, at), header)
        this.#take(header, at, whole)
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
    return { unmarked: this.#unmarked, lost: this.#lost, endBytes, torn }
  }

  /** Whether the payload need not be looked at. */
  #isTrusted({ state }: RecordHeader): boolean {
    return state !== 'live' || !this.#options.verify
  }

  #take({ state, length, digest }: RecordHeader, offset: number, whole: boolean): void {
    if (state === 'removed') return
    if (!whole) this.#unmarked.push(offset)
    this.#options.onEntry({ offset, length, digest, state: state === 'live' && whole ? 'live' : 'damaged' })
  }

  /** Too short for a header, or nothing but the zeros of a length that was durable before its bytes. */
  async #isStoppedWrite(at: number): Promise<boolean> {
    const { sizeBytes } = this.#options
    if (sizeBytes - at < RECORD_HEADER_BYTES) return true
    for (let position = at; position < sizeBytes; position += WINDOW_BYTES) {
      const bytes = await this.#read(position, WINDOW_BYTES)
      if (bytes === undefined || bytes.some((byte) => byte !== 0)) return false
    }
    return true
  }

  /** The next place from `from` on where a whole, verified record begins. */
  async #resync(from: number): Promise<number | undefined> {
    const { sizeBytes, salt } = this.#options
    let at = from
    while (at + RECORD_HEADER_BYTES <= sizeBytes) {
      const head = this.#held(at, RECORD_HEADER_BYTES) ?? (await this.#read(at, RECORD_HEADER_BYTES))
      if (head === undefined) {
        at += UNREADABLE_STEP_BYTES - (at % UNREADABLE_STEP_BYTES)
        continue
      }
      const header = readRecordHeader(head, salt, at)
      if (header !== undefined && (header.state !== 'live' || isNamed(await this.#payload(header, at), header)))
        return at
      at += RECORD_ALIGN_BYTES
    }
    return undefined
  }

  async #payload({ length }: RecordHeader, offset: number): Promise<Uint8Array | undefined> {
    const start = offset + RECORD_HEADER_BYTES
    const held = this.#held(start, length)
    if (held !== undefined || length <= this.#window.length) return held ?? this.#read(start, length)
    try {
      return await readAt(this.#file, start, length)
    } catch {
      // The disk can't read it: as good as wrong.
      return undefined
    }
  }

  #held(at: number, length: number): Uint8Array | undefined {
    const start = at - this.#windowAt
    if (start < 0 || start + length > this.#windowBytes) return undefined
    return this.#window.subarray(start, start + length)
  }

  /** Reads on from `at`. @returns `length` bytes, fewer at the end of the file; undefined where the disk can't read them. */
  async #read(at: number, length: number): Promise<Uint8Array | undefined> {
    const left = this.#options.sizeBytes - at
    this.#windowAt = at
    try {
      this.#windowBytes = await this.#fill(at, Math.min(this.#window.length, left))
    } catch {
      // One unreadable sector must not hide its neighbours.
      this.#windowBytes = await this.#fill(at, Math.min(length, left)).catch(() => 0)
    }
    return this.#held(at, Math.min(length, left))
  }

  async #fill(at: number, length: number): Promise<number> {
    let filled = 0
    while (filled < length) {
      const { bytesRead } = await this.#file.read(this.#window, filled, length - filled, at + filled)
      if (bytesRead === 0) break
      filled += bytesRead
    }
    return filled
  }
}

function isNamed(payload: Uint8Array | undefined, { length, digest }: RecordHeader): boolean {
  return payload?.length === length && sha256(payload).every((byte, i) => digest[i] === byte)
}
