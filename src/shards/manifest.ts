/**
 * The manifest of a stored object: what the ledger names. It says which UnixFS root holds the ciphertext, how it was sealed
 * and wraps the object's key to whoever stored it. It names no person and no file.
 *
 * Keys: every object has one random 32-byte key; file `i` is sealed under `deriveKey(key, 'file', i)`, the listing under
 * `deriveKey(key, 'listing')`. One wrapped key therefore grants an object of any number of files.
 *
 * @see docs/spec/object.md
 */
import type { CID } from 'multiformats/cid'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { type AccountId, parseAccountId } from '../core/ids.ts'
import { LISTING_FILES_MAX, MANIFEST_KEYS_MAX, SEGMENTS_MAX, SEGMENT_BYTES } from '../core/limits.ts'
import { type Decoder, cid, integer, list, literal, object, text } from '../core/schema.ts'
import { type WrappedKey, wrappedKey } from '../crypto/envelope.ts'
import { DAG_PB, RAW, cborCid } from '../crypto/hash.ts'
import type { CipherProfile } from '../crypto/sealed-stream.ts'

export const FILE_KEY_LABEL = 'file'
export const LISTING_KEY_LABEL = 'listing'

/** The only import profile so far; see `unixfs-tree.ts`. */
export const IMPORT_PROFILE = 'unixfs-v1-2025'

export interface Manifest {
  readonly version: 1
  readonly kind: 'file' | 'folder'
  /** UnixFS root of the ciphertext: a file, or a directory of opaque names. */
  readonly content: CID
  /** UnixFS file with the sealed listing. */
  readonly listing: CID
  /** Ciphertext bytes of `content`, over all files. */
  readonly bytes: number
  /** Files in `content`. */
  readonly files: number
  readonly cipher: CipherProfile
  readonly segmentBytes: typeof SEGMENT_BYTES
  readonly profile: typeof IMPORT_PROFILE
  /** The object's key, wrapped to those who stored it. */
  readonly keys: readonly { readonly account: AccountId; readonly key: WrappedKey }[]
}

const accountId: Decoder<AccountId> = (value, path) => parseAccountId(text(1, 64)(value, path))

const manifest: Decoder<Manifest> = object({
  version: literal(1),
  kind: literal('file', 'folder'),
  content: cid(RAW, DAG_PB),
  listing: cid(RAW, DAG_PB),
  bytes: integer(0, SEGMENTS_MAX * SEGMENT_BYTES),
  files: integer(0, LISTING_FILES_MAX),
  cipher: literal('aes-256-gcm', 'chacha20-poly1305'),
  segmentBytes: literal(SEGMENT_BYTES),
  profile: literal(IMPORT_PROFILE),
  keys: list(object({ account: accountId, key: wrappedKey }), 1, MANIFEST_KEYS_MAX),
})

export function encodeManifest(value: Manifest): { cid: CID; bytes: Uint8Array } {
  const bytes = encodeCanonical(value)
  return { cid: cborCid(bytes), bytes }
}

/** @throws {CodecError} the coded faults of `decodeCanonical`, `CODEC_SHAPE`; {IdError} `ID_MALFORMED` */
export function decodeManifest(bytes: Uint8Array): Manifest {
  return manifest(decodeCanonical(bytes), 'manifest')
}

/**
 * What a wrapped object key is bound to: a key moved to another object doesn't open.
 *
 * The manifest holds wrapped keys itself, so it can't be named by its own CID here: content and listing name the object.
 */
export function objectKeyContext(object: { content: CID; listing: CID }): Uint8Array {
  return encodeCanonical({ use: 'apotheca/object-key/1', content: object.content, listing: object.listing })
}
