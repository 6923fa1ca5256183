/**
 * What a bucket holds, noted on the local disk when the store is closed, so that the next start need not ask for a list of a
 * million keys before it goes on. It is removed before the store is used: after a crash there is none, and the bucket is asked.
 * Never the truth: what it says is compared with the bucket while the store runs.
 *
 * @see docs/spec/s3-blocks.md
 */
import { BLOCK_BYTES_MAX, S3_INDEX_BLOCKS_MAX } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import { crc32c } from './crc32c.ts'
import {
  type FileSystem,
  type OpenFile,
  openFile,
  readAt,
  syncFolder,
  unlinkIfThere,
  writeFileDurably,
} from './file-system.ts'
import { DIGEST_BYTES } from './pack-record.ts'
import type { S3Bucket } from './s3-client.ts'
import { reasonOf } from './store-error.ts'

const NAME = 'bucket.index'
/** `apos3ix1` */
const MAGIC = new TextEncoder().encode('apos3ix1')
const COUNT_AT = 40
const HEADER_BYTES = 44
const ENTRY_BYTES = 36
const CRC_BYTES = 4

export interface BucketEntry {
  /** A view that may not outlive the moment: copy what is kept. */
  readonly digest: Uint8Array
  /** In bytes. */
  readonly length: number
}

/** Takes the file of a folder away, for good, and returns what it says. @returns undefined where there is none, or not a right one. */
export async function takeIndexFile(fs: FileSystem, dir: string, bucket: S3Bucket): Promise<BucketIndex | undefined> {
  const bytes = await readWhole(fs, `${dir}/${NAME}`)
  await unlinkIfThere(fs, `${dir}/${NAME}`)
  await syncFolder(fs, dir)
  return bytes === undefined ? undefined : decodeBucketIndex(bytes, bucket)
}

/** @returns undefined where there is none, or one that is too large to be an index file. */
async function readWhole(fs: FileSystem, path: string): Promise<Uint8Array | undefined> {
  let file: OpenFile
  try {
    file = await openFile(fs, path, 'r')
  } catch (error) {
    if (reasonOf(error) === 'ENOENT') return undefined
    throw error
  }
  try {
    const { size } = await file.stat()
    return size > HEADER_BYTES + S3_INDEX_BLOCKS_MAX * ENTRY_BYTES + CRC_BYTES ? undefined : await readAt(file, 0, size)
  } finally {
    await file.close()
  }
}

/** Writes the file, durable when it settles; of more blocks than it may hold, none. @param index - `count` is the number of `entries`. */
export async function writeIndexFile(
  fs: FileSystem,
  dir: string,
  bucket: S3Bucket,
  index: { readonly count: number; readonly entries: Iterable<BucketEntry> },
): Promise<void> {
  if (index.count > S3_INDEX_BLOCKS_MAX) return
  await writeFileDurably(fs, dir, NAME, [encodeBucketIndex(bucket, index)])
}

export function encodeBucketIndex(
  bucket: S3Bucket,
  { count, entries }: { readonly count: number; readonly entries: Iterable<BucketEntry> },
): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + count * ENTRY_BYTES + CRC_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(MAGIC)
  bytes.set(placeDigest(bucket), MAGIC.length)
  view.setUint32(COUNT_AT, count)
  let at = HEADER_BYTES
  for (const { digest, length } of entries) {
    view.setUint32(at, length)
    bytes.set(digest, at + 4)
    at += ENTRY_BYTES
  }
  view.setUint32(at, crc32c(bytes.subarray(0, at)))
  return bytes
}

export interface BucketIndex {
  readonly count: number
  entries(): Generator<BucketEntry>
}

/** @returns undefined when these bytes are not, or not wholly, an index of this bucket. */
export function decodeBucketIndex(bytes: Uint8Array, bucket: S3Bucket): BucketIndex | undefined {
  if (bytes.length < HEADER_BYTES + CRC_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const end = bytes.length - CRC_BYTES
  const count = view.getUint32(COUNT_AT)
  if (count > S3_INDEX_BLOCKS_MAX || end !== HEADER_BYTES + count * ENTRY_BYTES) return undefined
  if (view.getUint32(end) !== crc32c(bytes.subarray(0, end))) return undefined
  const head = new Uint8Array([...MAGIC, ...placeDigest(bucket)])
  if (!head.every((byte, i) => bytes[i] === byte)) return undefined
  for (let at = HEADER_BYTES; at < end; at += ENTRY_BYTES) if (view.getUint32(at) > BLOCK_BYTES_MAX) return undefined
  return {
    count,
    *entries() {
      for (let at = HEADER_BYTES; at < end; at += ENTRY_BYTES) {
        yield { digest: bytes.subarray(at + 4, at + 4 + DIGEST_BYTES), length: view.getUint32(at) }
      }
    },
  }
}

/** The file of another bucket, or of another place in it, says nothing of this one. */
function placeDigest({ endpoint, bucket, prefix }: S3Bucket): Uint8Array {
  return sha256(new TextEncoder().encode(JSON.stringify([endpoint, bucket, prefix])))
}
