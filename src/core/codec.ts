/**
 * Canonical dag-cbor: one value, one byte string.
 *
 * `@ipld/dag-cbor` decodes some bytes that are not canonical (unsorted keys, short floats, `undefined`, -0). Here untrusted
 * bytes are first scanned, in one pass without recursion, for nesting, definite and shortest lengths and forbidden kinds;
 * then decoded, encoded again, and compared byte for byte. Floats don't exist in any Apotheca structure.
 *
 * @see docs/spec/canonical-cbor.md; RFC 8949 section 4.2; IPLD DAG-CBOR specification
 */
import * as dagCbor from '@ipld/dag-cbor'
import { equals } from 'uint8arrays/equals'
import { CodedError } from './coded-error.ts'
import { CBOR_BYTES_MAX, CBOR_DEPTH_MAX, CBOR_ITEMS_MAX } from './limits.ts'

export type CodecFault =
  | { code: 'CODEC_TOO_LARGE'; bytes: number; bytesMax: number }
  | { code: 'CODEC_TOO_DEEP'; depthMax: number }
  | { code: 'CODEC_TOO_MANY_ITEMS'; itemsMax: number }
  | { code: 'CODEC_MALFORMED'; offset: number }
  | { code: 'CODEC_NOT_CANONICAL' }
  | { code: 'CODEC_SHAPE'; path: string; expected: string }
export class CodecError extends CodedError<CodecFault> {}

const MAJOR_BYTES = 2
const MAJOR_TEXT = 3
const MAJOR_ARRAY = 4
const MAJOR_MAP = 5
const MAJOR_TAG = 6
const MAJOR_SIMPLE = 7
/** The only tag of DAG-CBOR: a CID. */
const TAG_CID = 42
const SIMPLE_FALSE = 20
const SIMPLE_NULL = 22

/**
 * Encodes a value to its canonical bytes.
 *
 * @param value - null, booleans, safe integers or bigints within 64 bits, strings, bytes, CIDs, arrays, string-keyed objects.
 * @throws {CodecError} `CODEC_MALFORMED` and the limits, where `decodeCanonical` would refuse the bytes: a float, for one.
 */
export function encodeCanonical(value: unknown): Uint8Array {
  const encoded = dagCbor.encode(value)
  // Nobody may sign or store what all others refuse.
  scan(encoded)
  // In Node the encoder answers with a Buffer now and then, whose slice() is no copy.
  return new Uint8Array(encoded.buffer, encoded.byteOffset, encoded.length)
}

/**
 * Decodes canonical bytes, and nothing else.
 *
 * @param bytes - untrusted; at most `bytesMax` bytes are looked at.
 * @throws {CodecError} `CODEC_TOO_LARGE`, `CODEC_TOO_DEEP`, `CODEC_TOO_MANY_ITEMS`, `CODEC_MALFORMED`, `CODEC_NOT_CANONICAL`.
 */
export function decodeCanonical(bytes: Uint8Array, bytesMax: number = CBOR_BYTES_MAX): unknown {
  if (bytes.length > bytesMax) throw new CodecError({ code: 'CODEC_TOO_LARGE', bytes: bytes.length, bytesMax })
  scan(bytes)
  let value: unknown
  let again: Uint8Array
  try {
    value = dagCbor.decode(bytes)
    // The encoder can throw as well: it takes a map whose "/" equals its "bytes" for a CID.
    again = dagCbor.encode(value)
  } catch (error) {
    throw new CodecError({ code: 'CODEC_MALFORMED', offset: 0 }, { cause: error })
  }
  if (!equals(again, bytes)) throw new CodecError({ code: 'CODEC_NOT_CANONICAL' })
  return value
}

/**
 * Decodes bytes that this program encoded itself, and that something else keeps whole: a checksum, or memory. Several times as fast as
 * `decodeCanonical`, and never for bytes that anyone else had in hand.
 */
export function readOwn(bytes: Uint8Array): unknown {
  return dagCbor.decode(bytes)
}

/** Walks the items once, bounded in time by the bytes and in memory by the depth. */
function scan(bytes: Uint8Array): void {
  const remaining: number[] = [1]
  let offset = 0
  let items = 0
  while (remaining.length > 0) {
    const level = remaining.length - 1
    const left = remaining[level] ?? 0
    if (left === 0) {
      remaining.pop()
      continue
    }
    remaining[level] = left - 1
    if (++items > CBOR_ITEMS_MAX) throw new CodecError({ code: 'CODEC_TOO_MANY_ITEMS', itemsMax: CBOR_ITEMS_MAX })
    const head = readHead(bytes, offset)
    offset = head.next
    let children = 0
    switch (head.major) {
      case MAJOR_BYTES:
      case MAJOR_TEXT:
        offset += head.argument
        if (offset > bytes.length) throw malformed(head.next)
        break
      case MAJOR_ARRAY:
        children = head.argument
        break
      case MAJOR_MAP:
        children = head.argument * 2
        break
      case MAJOR_TAG:
        if (head.argument !== TAG_CID) throw malformed(offset)
        children = 1
        break
      case MAJOR_SIMPLE:
        if (head.argument < SIMPLE_FALSE || head.argument > SIMPLE_NULL) throw malformed(offset)
        break
    }
    if (children > 0) {
      // Every child takes a byte at least: a length that can't be true is refused before anything is allocated for it.
      if (children > bytes.length - offset) throw malformed(offset)
      if (level + 1 > CBOR_DEPTH_MAX) throw new CodecError({ code: 'CODEC_TOO_DEEP', depthMax: CBOR_DEPTH_MAX })
      remaining.push(children)
    }
  }
  if (offset !== bytes.length) throw malformed(offset)
}

/** One item head: major type and argument, in the shortest form only. */
function readHead(bytes: Uint8Array, offset: number): { major: number; argument: number; next: number } {
  const first = bytes[offset]
  if (first === undefined) throw malformed(offset)
  const major = first >> 5
  const info = first & 0x1f
  if (info < 24) return { major, argument: info, next: offset + 1 }
  // 28 to 31: reserved, or indefinite length. Major 7 with more bytes: floats and unassigned simple values.
  if (info > 27 || major === MAJOR_SIMPLE) throw malformed(offset)
  const size = 1 << (info - 24)
  if (offset + 1 + size > bytes.length) throw malformed(offset)
  let argument = 0
  for (let i = 1; i <= size; i++) argument = argument * 256 + (bytes[offset + i] ?? 0)
  const shortest = size === 1 ? 24 : 2 ** (size * 4)
  if (argument < shortest) throw new CodecError({ code: 'CODEC_NOT_CANONICAL' })
  return { major, argument, next: offset + 1 + size }
}

function malformed(offset: number): CodecError {
  return new CodecError({ code: 'CODEC_MALFORMED', offset })
}
