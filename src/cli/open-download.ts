/**
 * Fetches one sealed file, opens it, and writes it, in one pass:
 *
 *   HTTP ──► 1 MiB segment ──► open (authenticates) ──► write to NAME.part ──► fsync ──► rename
 *
 * An interrupted download goes on at its last verified segment: what lies in the part file is sealed again and compared with
 * the leaves of the file's tree, so no other note is needed and nothing unverified is ever taken over.
 */
import { type FileHandle, constants, mkdir, open, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { DOWNLOAD_BUFFERS, SEGMENT_BYTES } from '../core/limits.ts'
import { RAW, digestCid, sha256 } from '../crypto/hash.ts'
import {
  type CipherProfile,
  STREAM_HEADER_BYTES,
  SegmentOpener,
  SegmentSealer,
  plaintextLength,
  segmentCapacity,
  segmentCount,
} from '../crypto/sealed-stream.ts'
import { type FileLeaf, fileLeaves } from '../shards/unixfs-tree.ts'
import type { AnswerBody } from './answer-body.ts'
import type { ApiClient } from './api-client.ts'
import { BufferPool } from './buffer-pool.ts'
import { CliError } from './faults.ts'
import type { TreeReader } from './tree-reader.ts'

export interface DownloadDeps {
  readonly client: ApiClient
  readonly tree: TreeReader
  readonly signal: AbortSignal
  /** Plaintext bytes that are newly verified. */
  readonly onOpened: (bytes: number) => void
}

export interface DownloadJob {
  readonly root: CID
  readonly key: Uint8Array
  readonly profile: CipherProfile
  /** Plaintext bytes, as the listing says. */
  readonly bytes: number
  readonly keep: boolean
}

/** Where opened bytes go, in order. */
export type Sink = (plaintext: Uint8Array, position: number) => Promise<void>

/** @throws {CliError} `OUTPUT_EXISTS`, `OUTPUT_UNWRITABLE`, `CONTENT_SHORT`; {SealedError}; {ApiError} */
export async function downloadTo(deps: DownloadDeps, job: DownloadJob, path: string, force: boolean): Promise<void> {
  if (!force && (await exists(path))) throw new CliError({ code: 'OUTPUT_EXISTS' })
  const part = `${path}.part`
  const handle = await openPart(part)
  try {
    const from = await verifiedSegments(deps, job, handle)
    const write: Sink = async (plaintext, position) => writeAll(handle, plaintext, position)
    await openFrom(deps, job, from, write)
    await handle.truncate(job.bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(part, path).catch((error: unknown) => {
    throw unwritable(error)
  })
}

/** Opens a file and hands its bytes on without keeping them. */
export async function openInto(deps: DownloadDeps, job: DownloadJob, sink: Sink): Promise<void> {
  await openFrom(deps, job, { segment: 0, header: undefined }, sink)
}

interface Resume {
  readonly segment: number
  readonly header: Uint8Array | undefined
}

/** How many whole segments of the part file are what was stored. */
async function verifiedSegments(deps: DownloadDeps, job: DownloadJob, part: FileHandle): Promise<Resume> {
  const { size } = await part.stat()
  if (size < segmentCapacity(0) || job.bytes < segmentCapacity(0)) return { segment: 0, header: undefined }
  const header = await readRange(deps, job, 0, STREAM_HEADER_BYTES)
  const sealer = new SegmentSealer({ key: job.key, profile: job.profile, header })
  const plain = new Uint8Array(SEGMENT_BYTES)
  const sealed = new Uint8Array(SEGMENT_BYTES)
  let segment = 0
  let position = 0
  for await (const leaf of fileLeaves(job.root, async (cid) => deps.tree.block(cid))) {
    const capacity = segmentCapacity(segment)
    // Only full segments with another behind them: the last one is fetched anew.
    if (position + capacity > size || position + capacity >= job.bytes) break
    const { bytesRead } = await part.read(plain, 0, capacity, position)
    if (bytesRead !== capacity) break
    const sealedBytes = await sealer.seal(segment, plain.subarray(0, capacity), false, sealed)
    if (!equals(sha256(sealed.subarray(0, sealedBytes)), leaf.digest)) break
    segment++
    position += capacity
  }
  deps.onOpened(position)
  return { segment, header }
}

async function readRange(deps: DownloadDeps, job: DownloadJob, start: number, end: number): Promise<Uint8Array> {
  const headers = { range: `bytes=${start}-${end - 1}` }
  const { body } = await deps.client.call(`/api/v1/content/${job.root.toString()}`, { headers, signal: deps.signal })
  return body
}

async function openFrom(deps: DownloadDeps, job: DownloadJob, from: Resume, sink: Sink): Promise<void> {
  const start = from.segment * SEGMENT_BYTES
  const query = job.keep ? '?keep=true' : ''
  // A range even from the start would do, but a whole fetch lets the peer keep the whole tree.
  const headers: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {}
  const body = await deps.client.body(`/api/v1/content/${job.root.toString()}${query}`, {
    headers,
    signal: deps.signal,
  })
  try {
    await openBody(deps, job, from, body, sink)
  } finally {
    body.close()
  }
}

async function openBody(
  deps: DownloadDeps,
  job: DownloadJob,
  from: Resume,
  body: AnswerBody,
  sink: Sink,
): Promise<void> {
  const bytes = from.segment * SEGMENT_BYTES + body.bytes
  if (plaintextLength(bytes) !== job.bytes) {
    throw new CliError({ code: 'CONTENT_SHORT', said: job.bytes, bytes: plaintextLength(bytes) })
  }
  const segments = segmentCount(bytes)
  const opener = new SegmentOpener({
    key: job.key,
    profile: job.profile,
    ...(from.header === undefined ? {} : { header: from.header }),
  })
  const pool = new BufferPool(DOWNLOAD_BUFFERS, SEGMENT_BYTES)
  let failure: { error: unknown } | undefined
  let index = from.segment
  const writes = new Set<Promise<void>>()
  for await (const segment of segmentsOf(body)) {
    const out = await pool.take()
    if (out === undefined) break
    const position = index === 0 ? 0 : segmentCapacity(0) + (index - 1) * segmentCapacity(1)
    const opened = await opener.open(index, segment, index === segments - 1, out)
    index++
    const writing = sink(out.subarray(0, opened), position).then(
      () => {
        writes.delete(writing)
        deps.onOpened(opened)
        pool.give(out)
      },
      (error: unknown) => {
        failure ??= { error }
        pool.close()
      },
    )
    writes.add(writing)
  }
  await Promise.all(writes)
  if (failure !== undefined) throw failure.error
}

/** The segments of an answer; each is valid until the next is asked for. */
async function* segmentsOf(body: AnswerBody): AsyncGenerator<Uint8Array> {
  const memory = new Uint8Array(SEGMENT_BYTES)
  for (let left = body.bytes; left > 0; left -= Math.min(left, SEGMENT_BYTES)) {
    const segment = memory.subarray(0, Math.min(left, SEGMENT_BYTES))
    await body.fill(segment)
    yield segment
  }
}

/**
 * Fetches a file as it lies in the network, and checks each block against the CID that the file's tree gives it. Goes on, as
 * `downloadTo` does, behind the blocks of the part file that are right.
 *
 * @returns its bytes.
 * @throws {CliError} `CONTENT_CID_DIFFERS`, `OUTPUT_EXISTS`, `OUTPUT_UNWRITABLE`, `PEER_BROKE_OFF`; {ApiError}
 */
export async function downloadSealed(
  deps: DownloadDeps,
  root: CID,
  path: string,
  options: { force: boolean; keep: boolean },
): Promise<number> {
  if (!options.force && (await exists(path))) throw new CliError({ code: 'OUTPUT_EXISTS' })
  const part = `${path}.part`
  const handle = await openPart(part)
  let source: AnswerBody | undefined
  let bytes = 0
  try {
    const size = (await handle.stat()).size
    const leafBytes = await deps.tree.fileBytes(root)
    for await (const leaf of fileLeaves(root, async (cid) => deps.tree.block(cid), { leafBytes })) {
      const block = Buffer.allocUnsafe(leaf.bytes)
      const mayBeHere = source === undefined && leaf.start + leaf.bytes <= size && !options.keep
      if (mayBeHere) await handle.read(block, 0, leaf.bytes, leaf.start)
      if (!mayBeHere || !equals(sha256(block), leaf.digest)) {
        source ??= await bodyFrom(deps, root, leaf.start, options.keep)
        await source.fill(block)
        checkBlock(block, leaf)
        await writeAll(handle, block, leaf.start)
      }
      bytes = leaf.start + leaf.bytes
      deps.onOpened(leaf.bytes)
    }
    await handle.truncate(bytes)
    await handle.sync()
  } finally {
    source?.close()
    await handle.close()
  }
  await rename(part, path).catch((error: unknown) => {
    throw unwritable(error)
  })
  return bytes
}

function checkBlock(block: Uint8Array, leaf: FileLeaf): void {
  const digest = sha256(block)
  if (equals(digest, leaf.digest)) return
  throw new CliError({
    code: 'CONTENT_CID_DIFFERS',
    expected: leaf.cid.toString(),
    found: digestCid(RAW, digest).toString(),
  })
}

async function bodyFrom(deps: DownloadDeps, root: CID, start: number, keep: boolean): Promise<AnswerBody> {
  const headers: Record<string, string> = start > 0 ? { range: `bytes=${start}-` } : {}
  const path = `/api/v1/content/${root.toString()}${keep ? '?keep=true' : ''}`
  return deps.client.body(path, { headers, signal: deps.signal })
}

/** Opens the part file for reading and writing, and makes it where it is missing. @throws {CliError} `OUTPUT_UNWRITABLE` */
export async function openPart(part: string): Promise<FileHandle> {
  try {
    await mkdir(dirname(part), { recursive: true })
    return await open(part, constants.O_RDWR | constants.O_CREAT)
  } catch (error) {
    throw unwritable(error)
  }
}

/** @throws {CliError} `OUTPUT_UNWRITABLE` */
export async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  try {
    let written = 0
    while (written < bytes.length) {
      const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, position + written)
      written += bytesWritten
    }
  } catch (error) {
    throw unwritable(error)
  }
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

export function unwritable(error: unknown): CliError {
  return new CliError(
    { code: 'OUTPUT_UNWRITABLE', reason: (error as NodeJS.ErrnoException).code ?? 'unknown' },
    { cause: error },
  )
}
