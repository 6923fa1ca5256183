/**
 * Canonical dag-cbor by the long way, as it is defined: scanned for its structure, decoded by `@ipld/dag-cbor`, encoded again by it, and
 * compared byte for byte. What the product reads and writes in one pass each is held against this.
 */
import * as dagCbor from '@ipld/dag-cbor'
import { equals } from 'uint8arrays/equals'
import { CodecError } from '../../../src/core/codec.ts'
import { CBOR_DEPTH_MAX, CBOR_ITEMS_MAX } from '../../../src/core/limits.ts'

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

/** @throws {CodecError} where `decodeReference` refuses what comes out */
export function encodeReference(value: unknown): Uint8Array {
  const encoded = dagCbor.encode(value)
  scan(encoded)
  return new Uint8Array(encoded)
}

/** @throws {CodecError} */
export function decodeReference(bytes: Uint8Array): unknown {
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
