/**
 * What the frames of `/apotheca/shards/1` hold, where it isn't plain bytes: canonical dag-cbor.
 *
 * @see docs/spec/shard-push.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import {
  COLUMNS_MAX,
  EXTENTS_MAX,
  EXTENT_COPIES_MAX,
  EXTENT_MAP_BYTES_MAX,
  EXTENT_SEGMENTS,
  SEGMENT_BYTES,
  SHARD_ANSWER_BYTES_MAX,
  SHARD_RESERVE_BYTES_MAX,
} from '../core/limits.ts'
import { type Decoded, byteString, integer, object, optional } from '../core/schema.ts'
import { type ShardReceipt, column, shardReceipt } from '../domain/shard-receipt.ts'
import { cborLink, timeMs } from '../ledger/fields.ts'
import { type ReceiptFault, receiptFaultFields } from '../ledger/receipt.ts'

const reserve = object({
  /** The chain: CID of its genesis. */
  chain: cborLink,
  manifest: cborLink,
  /** Number of the extent within the object. */
  index: integer(0, EXTENTS_MAX - 1),
  code: object({ data: integer(1, COLUMNS_MAX), parity: integer(0, COLUMNS_MAX) }),
  column,
  /** Of the column's shards together, at most. */
  bytes: integer(0, EXTENT_SEGMENTS * SEGMENT_BYTES),
  /** Of the extent's copies together, at most, where there is no map to say it. @default none is sent */
  copyBytes: optional(integer(0, EXTENT_COPIES_MAX * SEGMENT_BYTES)),
  /** Block time until which the receipt is to hold. */
  expiresMs: timeMs,
  /** The extent map, where the sender knows it: then the answer says which blocks are there already. */
  map: optional(byteString(1, EXTENT_MAP_BYTES_MAX)),
})
/** Asks for one column of an extent to be taken. */
export type Reserve = Decoded<typeof reserve>

const accepted = object({
  /**
   * One bit for each shard of the column, by stripe, then for each copy, first bit highest: it is there already. Empty where the
   * request had no map.
   */
  held: byteString(0, (EXTENT_SEGMENTS + EXTENT_COPIES_MAX) / 8),
})
export type Accepted = Decoded<typeof accepted>

const refused = object({ fault: receiptFaultFields })

export function encodeReserve(value: Reserve): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeReserve(bytes: Uint8Array): Reserve {
  return reserve(decodeCanonical(bytes, SHARD_RESERVE_BYTES_MAX), 'reserve')
}

export function encodeAccepted(value: Accepted): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeAccepted(bytes: Uint8Array): Accepted {
  return accepted(decodeCanonical(bytes, SHARD_ANSWER_BYTES_MAX), 'accepted')
}

/** @param fault - fit for a receipt: few and plain fields. */
export function encodeRefused(fault: ReceiptFault): Uint8Array {
  return encodeCanonical({ fault })
}

/** @throws {CodecError} */
export function decodeRefused(bytes: Uint8Array): ReceiptFault {
  return refused(decodeCanonical(bytes, SHARD_ANSWER_BYTES_MAX), 'refused').fault
}

export function encodeShardReceipt(value: ShardReceipt): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeShardReceipt(bytes: Uint8Array): ShardReceipt {
  return shardReceipt(decodeCanonical(bytes, SHARD_ANSWER_BYTES_MAX), 'receipt')
}

/** Which of `count` are so, as bits, first bit highest. */
export function bitsOf(flags: readonly boolean[]): Uint8Array {
  const bits = new Uint8Array(Math.ceil(flags.length / 8))
  for (const [index, flag] of flags.entries()) {
    if (flag) bits[index >> 3] = (bits[index >> 3] ?? 0) | (0x80 >> (index & 7))
  }
  return bits
}

export function hasBit(bits: Uint8Array, index: number): boolean {
  return ((bits[index >> 3] ?? 0) & (0x80 >> (index & 7))) !== 0
}
