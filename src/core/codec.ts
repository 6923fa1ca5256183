/**
 * Canonical dag-cbor: one value, one byte string. Floats don't exist in any Apotheca structure.
 *
 * `@ipld/dag-cbor` decodes some bytes that are not canonical (unsorted keys, short floats, `undefined`, -0); to decode, encode again
 * and compare would be the larger part of what a transaction costs. So this is read and written by the two files beside it, each in one pass;
 * the tests hold them against that library, byte for byte and verdict for verdict.
 *
 * @see docs/spec/canonical-cbor.md; RFC 8949 section 4.2; IPLD DAG-CBOR specification
 */
import { CborReader } from './cbor-reader.ts'
import { writeCanonical } from './cbor-writer.ts'
import { CodecError } from './codec-fault.ts'
import { CBOR_BYTES_MAX } from './limits.ts'

export { CodecError }

/**
 * Encodes a value to its canonical bytes.
 *
 * @param value - null, booleans, safe integers or bigints within 64 bits, strings, bytes, CIDs, arrays, string-keyed objects.
 * @throws {CodecError} `CODEC_MALFORMED` and the limits, where `decodeCanonical` would refuse the bytes: a float, for one.
 */
export function encodeCanonical(value: unknown): Uint8Array {
  return writeCanonical(value)
}

/**
 * Decodes canonical bytes, and nothing else.
 *
 * @param bytes - untrusted; at most `bytesMax` bytes are looked at.
 * @throws {CodecError} `CODEC_TOO_LARGE`, `CODEC_TOO_DEEP`, `CODEC_TOO_MANY_ITEMS`, `CODEC_MALFORMED`, `CODEC_NOT_CANONICAL`.
 */
export function decodeCanonical(bytes: Uint8Array, bytesMax: number = CBOR_BYTES_MAX): unknown {
  return read(bytes, bytesMax, false)
}

/** The same, but byte strings in it are views of `bytes`: for what is kept as long as `bytes` is, which must never change then. */
export function viewCanonical(bytes: Uint8Array, bytesMax: number = CBOR_BYTES_MAX): unknown {
  return read(bytes, bytesMax, true)
}

function read(bytes: Uint8Array, bytesMax: number, isView: boolean): unknown {
  if (bytes.length > bytesMax) throw new CodecError({ code: 'CODEC_TOO_LARGE', bytes: bytes.length, bytesMax })
  return new CborReader(bytes, isView).whole()
}
