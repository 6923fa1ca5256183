/**
 * The listing of an object: names, sizes and times of its files. It is sealed like any file, since names of studies name
 * people. Pages of a CBOR sequence (RFC 8742), each after its length, so that a folder of many files is read in
 * bounded memory.
 *
 * @see docs/spec/object.md
 */
import { CodedError } from '../core/coded-error.ts'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import {
  LISTING_BYTES_MAX,
  LISTING_FILES_MAX,
  LISTING_PAGE_ENTRIES,
  PATH_BYTES_MAX,
  SEGMENTS_MAX,
  SEGMENT_BYTES,
} from '../core/limits.ts'
import { type Decoded, integer, list, literal, object, text } from '../core/schema.ts'
import { fromString } from 'uint8arrays/from-string'

export type ListingFault =
  | { code: 'LISTING_INVALID'; problem: string }
  | { code: 'LISTING_PATH_UNSAFE'; index: number }
  | { code: 'LISTING_TOO_LARGE'; filesMax: number }
export class ListingError extends CodedError<ListingFault> {}

const entry = object({
  kind: literal('file', 'folder'),
  /** Relative, `/`-separated; a single file's name. */
  path: text(1, PATH_BYTES_MAX),
  /** Plaintext bytes; 0 for a folder. */
  bytes: integer(0, SEGMENTS_MAX * SEGMENT_BYTES),
  /** Time of last change, ms since the epoch. */
  mtimeMs: integer(0),
})
/** One file, or one empty folder. */
export type ListingEntry = Decoded<typeof entry>

const page = list(entry, 1, LISTING_PAGE_ENTRIES)
const LENGTH_BYTES = 4

/** @throws {ListingError} `LISTING_TOO_LARGE`, `LISTING_PATH_UNSAFE` */
export function encodeListing(entries: readonly ListingEntry[]): Uint8Array {
  if (entries.length > LISTING_FILES_MAX) {
    throw new ListingError({ code: 'LISTING_TOO_LARGE', filesMax: LISTING_FILES_MAX })
  }
  checkPaths(entries)
  const pages: Uint8Array[] = []
  for (let start = 0; start < entries.length; start += LISTING_PAGE_ENTRIES) {
    pages.push(encodeCanonical(entries.slice(start, start + LISTING_PAGE_ENTRIES)))
  }
  const bytes = new Uint8Array(pages.reduce((sum, one) => sum + LENGTH_BYTES + one.length, 0))
  const view = new DataView(bytes.buffer)
  let offset = 0
  for (const one of pages) {
    view.setUint32(offset, one.length)
    bytes.set(one, offset + LENGTH_BYTES)
    offset += LENGTH_BYTES + one.length
  }
  return bytes
}

/** @throws {ListingError} `LISTING_INVALID`, `LISTING_PATH_UNSAFE`, `LISTING_TOO_LARGE` */
export function decodeListing(bytes: Uint8Array): readonly ListingEntry[] {
  if (bytes.length > LISTING_BYTES_MAX)
    throw new ListingError({ code: 'LISTING_TOO_LARGE', filesMax: LISTING_FILES_MAX })
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const entries: ListingEntry[] = []
  let offset = 0
  while (offset < bytes.length) {
    if (offset + LENGTH_BYTES > bytes.length) throw new ListingError({ code: 'LISTING_INVALID', problem: 'cut off' })
    const length = view.getUint32(offset)
    const end = offset + LENGTH_BYTES + length
    if (end > bytes.length) throw new ListingError({ code: 'LISTING_INVALID', problem: 'cut off' })
    entries.push(...page(decodeCanonical(bytes.subarray(offset + LENGTH_BYTES, end)), 'listing'))
    if (entries.length > LISTING_FILES_MAX) {
      throw new ListingError({ code: 'LISTING_TOO_LARGE', filesMax: LISTING_FILES_MAX })
    }
    offset = end
  }
  if (entries.length === 0) throw new ListingError({ code: 'LISTING_INVALID', problem: 'empty' })
  checkPaths(entries)
  return entries
}

/** A listing comes from whoever sealed it: no entry may write outside the folder it is opened into, or over another. */
function checkPaths(entries: readonly ListingEntry[]): void {
  const files = new Set<string>()
  for (const [index, { path }] of entries.entries()) {
    const parts = path.split('/')
    const unsafe =
      fromString(path, 'utf8').length > PATH_BYTES_MAX ||
      parts.some((part) => part === '' || part === '.' || part === '..' || /[\u0000-\u001f\u007f\\:]/.test(part)) ||
      files.has(path)
    if (unsafe) throw new ListingError({ code: 'LISTING_PATH_UNSAFE', index })
    files.add(path)
  }
  for (const [index, { path }] of entries.entries()) {
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      if (files.has(path.slice(0, slash))) throw new ListingError({ code: 'LISTING_PATH_UNSAFE', index })
    }
  }
}

/**
 * Where file number `index` of a folder lies in its UnixFS directory: opaque names, at most 1,000 to a directory.
 *
 * @param count - files in the folder.
 */
export function opaquePath(index: number, count: number): readonly string[] {
  const name = String(index % 1_000).padStart(3, '0')
  return count <= 1_000 ? [name] : [String(Math.floor(index / 1_000)).padStart(3, '0'), name]
}
