/**
 * The bytes of a pack: a mark, then records of one block each, aligned to 8 bytes.
 *
 *   record:  magic 4 | length 4 | multihash 34 | zero 2 | crc32c 4 | payload | zero to a multiple of 8
 *
 * The payload's check is its own name, the SHA-256. The CRC covers the rest of the header, the record's place, and a random
 * salt that only the pack's name holds: a header that was written for another place or pack is not one here, and no payload
 * can hold bytes that pass for a header. So a scan can trust lengths, and hop from header to header.
 *
 * A removed or damaged record changes its magic in place (one aligned word, so whole or not at all) and nothing else.
 *
 * @see docs/spec/pack.md
 */
import { BLOCK_BYTES_MAX } from '../core/limits.ts'
import { crc32c } from './crc32c.ts'

export const RECORD_HEADER_BYTES = 48
export const RECORD_ALIGN_BYTES = 8
export const DIGEST_BYTES = 32
/** `apotheca pack 1\n`: for whoever looks at the file; nothing depends on it. */
export const PACK_MARK: Uint8Array = new TextEncoder().encode('apotheca pack 1\n')
export const PACK_SALT_BYTES = 8

export type RecordState = 'live' | 'removed' | 'damaged'

/** Big-endian words that differ in many bits: no single flip turns one into another. */
const MAGIC: Readonly<Record<RecordState, number>> = { live: 0x41704c76, removed: 0xbe8fd32a, damaged: 0x1fe5265d }
/** sha2-256, 32 bytes. */
const MULTIHASH_PREFIX = 0x1220
const DIGEST_AT = 10
const CRC_AT = 44

export interface RecordHeader {
  readonly state: RecordState
  /** Of the payload, in bytes. */
  readonly length: number
  /** SHA-256 of the payload. */
  readonly digest: Uint8Array
}

/** Bytes that a block of `length` takes in a pack. */
export function recordBytes(length: number): number {
  const bytes = RECORD_HEADER_BYTES + length
  return bytes + paddingOf(bytes)
}

/** Bytes from `at` to the next place where a record may begin. */
export function paddingOf(at: number): number {
  return (RECORD_ALIGN_BYTES - (at % RECORD_ALIGN_BYTES)) % RECORD_ALIGN_BYTES
}

/** @param out - `RECORD_HEADER_BYTES` bytes, overwritten. */
export function writeRecordHeader(out: Uint8Array, header: RecordHeader, salt: Uint8Array, offset: number): void {
  const view = new DataView(out.buffer, out.byteOffset, RECORD_HEADER_BYTES)
  view.setUint32(0, MAGIC[header.state])
  view.setUint32(4, header.length)
  view.setUint16(8, MULTIHASH_PREFIX)
  out.set(header.digest, DIGEST_AT)
  view.setUint16(42, 0)
  view.setUint32(CRC_AT, headerCrc(out, salt, offset))
}

/**
 * @param bytes - at least `RECORD_HEADER_BYTES`, that stand at `offset` of the pack.
 * @returns undefined where there is no header. The digest is a copy.
 */
export function readRecordHeader(bytes: Uint8Array, salt: Uint8Array, offset: number): RecordHeader | undefined {
  if (bytes.length < RECORD_HEADER_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_HEADER_BYTES)
  const magic = view.getUint32(0)
  const state =
    magic === MAGIC.live
      ? 'live'
      : magic === MAGIC.removed
        ? 'removed'
        : magic === MAGIC.damaged
          ? 'damaged'
          : undefined
  if (state === undefined) return undefined
  const length = view.getUint32(4)
  if (length > BLOCK_BYTES_MAX || view.getUint16(8) !== MULTIHASH_PREFIX || view.getUint16(42) !== 0) return undefined
  if (view.getUint32(CRC_AT) !== headerCrc(bytes, salt, offset)) return undefined
  return { state, length, digest: bytes.slice(DIGEST_AT, DIGEST_AT + DIGEST_BYTES) }
}

/** The word that changes a record's state in place. */
export function stateMagic(state: RecordState): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, MAGIC[state])
  return bytes
}

/** Over everything but the magic, so that a change of state leaves it right. */
function headerCrc(header: Uint8Array, salt: Uint8Array, offset: number): number {
  const place = new Uint8Array(PACK_SALT_BYTES + 8)
  place.set(salt)
  new DataView(place.buffer).setBigUint64(PACK_SALT_BYTES, BigInt(offset))
  return crc32c(header.subarray(4, CRC_AT), crc32c(place))
}
