/**
 * The index file beside a pack: a cache of what its records are, so that a start need not look at each. It holds for the
 * first `coveredBytes` of the pack, which were durable when it was written. Whoever changes a record's state removes it first.
 *
 * @see docs/spec/block-index.md
 */
import { BLOCK_BYTES_MAX, STORE_PACK_RECORDS_MAX } from '../core/limits.ts'
import { crc32c } from './crc32c.ts'
import { DIGEST_BYTES, PACK_MARK, PACK_SALT_BYTES, RECORD_ALIGN_BYTES, recordBytes } from './pack-record.ts'

/** `apoindx1` */
const MAGIC = new TextEncoder().encode('apoindx1')
const HEADER_BYTES = 28
const ENTRY_BYTES = 44
const CRC_BYTES = 4
/** Removed records are not listed: what no entry covers is waste. */
const STATES = ['live', 'damaged'] as const
/** A call that is written whole may carry a pack past its closing size; far beyond it, the file is not ours. */
const ENTRIES_MAX = 2 * STORE_PACK_RECORDS_MAX

export interface PackEntry {
  /** Of the record in the pack, in bytes. */
  readonly offset: number
  /** Of the payload, in bytes. */
  readonly length: number
  readonly state: (typeof STATES)[number]
  /** A view that may not outlive the moment: copy what is kept. */
  readonly digest: Uint8Array
}

/** @param entries - by offset. */
export function encodePackIndex(salt: Uint8Array, coveredBytes: number, entries: readonly PackEntry[]): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + entries.length * ENTRY_BYTES + CRC_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  bytes.set(salt, 8)
  view.setBigUint64(16, BigInt(coveredBytes))
  view.setUint32(24, entries.length)
  let at = HEADER_BYTES
  for (const entry of entries) {
    view.setUint32(at, entry.offset)
    view.setUint32(at + 4, entry.length)
    view.setUint32(at + 8, STATES.indexOf(entry.state))
    bytes.set(entry.digest, at + 12)
    at += ENTRY_BYTES
  }
  view.setUint32(at, crc32c(bytes.subarray(0, at)))
  return bytes
}

export interface PackIndex {
  readonly coveredBytes: number
  /** By offset, made one by one: a pack of tiny blocks has a quarter of a million. */
  entries(): Generator<PackEntry>
}

/** @returns undefined when these bytes are not, or not wholly, an index of the pack with this salt. */
export function decodePackIndex(bytes: Uint8Array, salt: Uint8Array, packBytes: number): PackIndex | undefined {
  if (bytes.length < HEADER_BYTES + CRC_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = bytes.length - CRC_BYTES
  const count = view.getUint32(24)
  if (count > ENTRIES_MAX || end !== HEADER_BYTES + count * ENTRY_BYTES) return undefined
  if (view.getUint32(end) !== crc32c(bytes.subarray(0, end))) return undefined
  if (!MAGIC.every((byte, i) => bytes[i] === byte)) return undefined
  for (let i = 0; i < PACK_SALT_BYTES; i++) if (bytes[8 + i] !== salt[i]) return undefined
  const coveredBytes = Number(view.getBigUint64(16))
  if (coveredBytes > packBytes || !areRecords(view, end, coveredBytes)) return undefined
  return {
    coveredBytes,
    *entries() {
      for (let at = HEADER_BYTES; at < end; at += ENTRY_BYTES) {
        const digest = bytes.subarray(at + 12, at + 12 + DIGEST_BYTES)
        const state = STATES[view.getUint32(at + 8)] ?? 'damaged'
        yield { offset: view.getUint32(at), length: view.getUint32(at + 4), state, digest }
      }
    },
  }
}

/** Whether the entries are records that may stand one after another. */
function areRecords(view: DataView, end: number, coveredBytes: number): boolean {
  let next = PACK_MARK.length
  for (let at = HEADER_BYTES; at < end; at += ENTRY_BYTES) {
    const offset = view.getUint32(at)
    const length = view.getUint32(at + 4)
    if (offset < next || offset % RECORD_ALIGN_BYTES !== 0 || length > BLOCK_BYTES_MAX) return false
    next = offset + recordBytes(length)
    if (next > coveredBytes || view.getUint32(at + 8) >= STATES.length) return false
  }
  return true
}
