/**
 * The bytes of an upload's journal.
 *
 *   header:  `apoupld1` | created ms 8 | length 4 | description | crc32c 4
 *   record:  magic 4 | count 4 | time ms 8 | digests 32 each | crc32c 4
 *
 * Each CRC goes on from the one before it, so that a record is right only in its own file and place.
 *
 * @see docs/spec/upload-journal.md
 */
import { UPLOAD_META_BYTES_MAX, UPLOAD_RECORD_DIGESTS_MAX } from '../core/limits.ts'
import { crc32c } from './crc32c.ts'
import { DIGEST_BYTES } from './pack-record.ts'

const FILE_MAGIC = new TextEncoder().encode('apoupld1')
const RECORD_MAGIC = 0x41705367
const HEADER_FIXED_BYTES = 20
const RECORD_FIXED_BYTES = 16
const CRC_BYTES = 4

/** What a journal says. */
export interface JournalContent {
  readonly createdAtMs: number
  readonly touchedAtMs: number
  readonly meta: Uint8Array
  readonly digests: readonly Uint8Array[]
  /** The bytes that are right; what follows is a write that stopped, or damage. */
  readonly goodBytes: number
  /** The next record's CRC goes on from it. */
  readonly crc: number
}

export function encodeUploadHeader(createdAtMs: number, meta: Uint8Array): { bytes: Uint8Array; crc: number } {
  const bytes = new Uint8Array(HEADER_FIXED_BYTES + meta.length + CRC_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(FILE_MAGIC)
  view.setBigUint64(8, BigInt(createdAtMs))
  view.setUint32(16, meta.length)
  bytes.set(meta, HEADER_FIXED_BYTES)
  return { bytes, crc: sealCrc(view, bytes, 0) }
}

/** @param digests - 1 to `UPLOAD_RECORD_DIGESTS_MAX`, 32 bytes each. */
export function encodeUploadRecord(
  timeMs: number,
  digests: readonly Uint8Array[],
  crcBefore: number,
): { bytes: Uint8Array; crc: number } {
  const bytes = new Uint8Array(RECORD_FIXED_BYTES + digests.length * DIGEST_BYTES + CRC_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, RECORD_MAGIC)
  view.setUint32(4, digests.length)
  view.setBigUint64(8, BigInt(timeMs))
  for (const [i, digest] of digests.entries()) bytes.set(digest, RECORD_FIXED_BYTES + i * DIGEST_BYTES)
  return { bytes, crc: sealCrc(view, bytes, crcBefore) }
}

/** @returns undefined when the header is not right: nothing of the session can be told. */
export function decodeUpload(bytes: Uint8Array): JournalContent | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  if (bytes.length < HEADER_FIXED_BYTES + CRC_BYTES || !FILE_MAGIC.every((byte, i) => bytes[i] === byte))
    return undefined
  const metaBytes = view.getUint32(16)
  let at = HEADER_FIXED_BYTES + metaBytes + CRC_BYTES
  if (metaBytes > UPLOAD_META_BYTES_MAX || at > bytes.length) return undefined
  let crc = crc32c(bytes.subarray(0, at - CRC_BYTES))
  if (crc !== view.getUint32(at - CRC_BYTES)) return undefined
  const createdAtMs = Number(view.getBigUint64(8))
  const meta = bytes.slice(HEADER_FIXED_BYTES, HEADER_FIXED_BYTES + metaBytes)
  const digests: Uint8Array[] = []
  let touchedAtMs = createdAtMs
  while (at + RECORD_FIXED_BYTES + CRC_BYTES <= bytes.length) {
    const count = view.getUint32(at + 4)
    const end = at + RECORD_FIXED_BYTES + count * DIGEST_BYTES
    if (view.getUint32(at) !== RECORD_MAGIC || count > UPLOAD_RECORD_DIGESTS_MAX || end + CRC_BYTES > bytes.length)
      break
    const next = crc32c(bytes.subarray(at, end), crc)
    if (next !== view.getUint32(end)) break
    touchedAtMs = Number(view.getBigUint64(at + 8))
    // Copies: a view would hold on to the whole file.
    for (let i = at + RECORD_FIXED_BYTES; i < end; i += DIGEST_BYTES) digests.push(bytes.slice(i, i + DIGEST_BYTES))
    crc = next
    at = end + CRC_BYTES
  }
  return { createdAtMs, touchedAtMs, meta, digests, goodBytes: at, crc }
}

/** Writes the CRC at the end. @returns it. */
function sealCrc(view: DataView, bytes: Uint8Array, before: number): number {
  const crc = crc32c(bytes.subarray(0, bytes.length - CRC_BYTES), before)
  view.setUint32(bytes.length - CRC_BYTES, crc)
  return crc
}
