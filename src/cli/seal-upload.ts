/**
 * Seals one file and sends it to the peer, in one pass:
 *
 *   read 1 MiB ──► seal ──► SHA-256 ──► journal ──► HTTP
 *
 * The CID is computed here and compared with the peer's: what the peer stored is what was sealed. A connection that breaks is
 * taken up again where the peer's durable bytes end.
 */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { SEGMENT_BYTES, UPLOAD_BUFFERS } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import {
  type CipherProfile,
  STREAM_HEADER_BYTES,
  SegmentSealer,
  ciphertextLength,
  newStreamHeader,
  segmentCapacity,
  segmentCount,
} from '../crypto/sealed-stream.ts'
import { type FileTree, buildFileTree } from '../shards/unixfs-tree.ts'
import { type Answer, type ApiClient, ApiError } from './api-client.ts'
import { BufferPool } from './buffer-pool.ts'
import { CliError } from './faults.ts'
import type { FileNote, PutJournal } from './put-journal.ts'
import { withRetries } from './retry.ts'

/** Plaintext to seal, by position. */
export interface PlainSource {
  readonly bytes: number
  /** Fills `into` from `position`; throws `PUT_FILE_CHANGED` when the source is shorter than it was. */
  read(into: Uint8Array, position: number): Promise<void>
}

export interface SealJob {
  /** Number of the file in the journal. */
  readonly file: number
  readonly source: PlainSource
  readonly key: Uint8Array
  readonly profile: CipherProfile
}

export interface SealUploadDeps {
  readonly client: ApiClient
  readonly journal: PutJournal
  readonly signal: AbortSignal
  /** Ciphertext bytes that newly went out. */
  readonly onSent: (bytes: number) => void
}

const TUS_HEADERS = { 'tus-resumable': '1.0.0' }
const SEALED_BODY = { ...TUS_HEADERS, 'content-type': 'application/offset+octet-stream' }

/** @returns the UnixFS root of the ciphertext, durable on the peer. */
export async function sealAndUpload(deps: SealUploadDeps, job: SealJob): Promise<CID> {
  const done = deps.journal.files.get(job.file)?.content
  if (done !== undefined) {
    deps.onSent(ciphertextLength(job.source.bytes))
    return done
  }
  const length = ciphertextLength(job.source.bytes)
  const content =
    length <= SEGMENT_BYTES ? await uploadWhole(deps, job, length) : await uploadSegments(deps, job, length)
  deps.journal.stored(job.file, content)
  return content
}

/** A file of one segment travels with the request that opens its upload; if that fails it is sealed anew, under a new header. */
async function uploadWhole(deps: SealUploadDeps, job: SealJob, length: number): Promise<CID> {
  const plaintext = new Uint8Array(job.source.bytes)
  await job.source.read(plaintext, 0)
  const body = new Uint8Array(length)
  const answer = await withRetries(deps.signal, async () => {
    await new SegmentSealer({ key: job.key, profile: job.profile }).seal(0, plaintext, true, body)
    const headers = { ...SEALED_BODY, 'upload-length': String(length) }
    return deps.client.call('/api/v1/uploads', { method: 'POST', headers, body, signal: deps.signal })
  })
  deps.journal.opened(job.file, uploadId(answer), body.slice(0, STREAM_HEADER_BYTES))
  deps.onSent(length)
  return checkedContent(answer.headers['apotheca-content'], buildFileTree([sha256(body)], length))
}

async function uploadSegments(deps: SealUploadDeps, job: SealJob, length: number): Promise<CID> {
  const known = deps.journal.files.get(job.file)
  if (known !== undefined) {
    try {
      return await continueUpload(deps, job, known, length)
    } catch (error) {
      // The peer dropped it, or this is another peer: begun again, under a new header.
      if (!(error instanceof ApiError) || error.fault.code !== 'UPLOAD_UNKNOWN') throw error
    }
  }
  return continueUpload(deps, job, await openUpload(deps, job, length), length)
}

async function continueUpload(deps: SealUploadDeps, job: SealJob, note: FileNote, length: number): Promise<CID> {
  let reported = 0
  const answer = await withRetries(deps.signal, async () => {
    const state = await deps.client.call(`/api/v1/uploads/${note.upload}`, {
      method: 'HEAD',
      headers: TUS_HEADERS,
      signal: deps.signal,
    })
    const offset = Number(state.headers['upload-offset'])
    if (offset > note.digests.length * SEGMENT_BYTES) throw new CliError({ code: 'PUT_ANSWER_LIES' })
    deps.onSent(offset - reported)
    reported = offset
    if (offset === length) return state
    const onSent = (bytes: number): void => {
      reported += bytes
      deps.onSent(bytes)
    }
    return sendFrom(deps, job, note, { offset, length, onSent })
  })
  return checkedContent(answer.headers['apotheca-content'], buildFileTree(note.digests, length))
}

async function openUpload(deps: SealUploadDeps, job: SealJob, length: number): Promise<FileNote> {
  const headers = { ...TUS_HEADERS, 'upload-length': String(length) }
  const created = await withRetries(deps.signal, async () =>
    deps.client.call('/api/v1/uploads', { method: 'POST', headers, signal: deps.signal }),
  )
  return deps.journal.opened(job.file, uploadId(created), newStreamHeader())
}

function uploadId(created: Answer): string {
  const id = created.headers.location?.split('/').at(-1)
  if (id === undefined) throw new CliError({ code: 'PEER_ANSWER_INVALID' })
  return id
}

/** Seals and sends everything from `offset` on, reading one segment ahead. */
async function sendFrom(
  deps: SealUploadDeps,
  job: SealJob,
  note: FileNote,
  span: { offset: number; length: number; onSent: (bytes: number) => void },
): Promise<Answer> {
  const { offset, length } = span
  const segments = segmentCount(length)
  const sealer = new SegmentSealer({ key: job.key, profile: job.profile, header: note.header })
  const { sent, answer } = deps.client.open(`/api/v1/uploads/${note.upload}`, {
    method: 'PATCH',
    headers: { ...SEALED_BODY, 'upload-offset': String(offset), 'content-length': String(length - offset) },
    signal: deps.signal,
  })
  const pool = new BufferPool(UPLOAD_BUFFERS, SEGMENT_BYTES)
  // A refusal or a broken connection ends the sending at once; its reason comes with `answer`, awaited below.
  answer.catch(() => pool.close())
  const plain = [new Uint8Array(SEGMENT_BYTES), new Uint8Array(SEGMENT_BYTES)] as const
  const first = offset / SEGMENT_BYTES
  const read = async (index: number): Promise<Uint8Array> => {
    const position = index === 0 ? 0 : segmentCapacity(0) + (index - 1) * segmentCapacity(1)
    const into = plain[index % 2 === 0 ? 0 : 1].subarray(
      0,
      Math.min(segmentCapacity(index), job.source.bytes - position),
    )
    await job.source.read(into, position)
    return into
  }
  try {
    let next = read(first)
    for (let index = first; index < segments; index++) {
      const plaintext = await next
      const out = await pool.take()
      if (out === undefined) break
      if (index + 1 < segments) next = read(index + 1)
      const sealedBytes = await sealer.seal(index, plaintext, index === segments - 1, out)
      const sealed = out.subarray(0, sealedBytes)
      noteDigest(deps.journal, job.file, note, index, sha256(sealed))
      sent.write(sealed, () => pool.give(out))
      span.onSent(sealedBytes)
    }
    sent.end()
  } catch (error) {
    sent.destroy()
    throw error
  }
  const message = await answer
  message.resume()
  return { status: message.statusCode ?? 0, headers: message.headers, body: Buffer.alloc(0) }
}

/** A segment that was sealed before must come out the same: see put-journal.ts. */
function noteDigest(journal: PutJournal, file: number, note: FileNote, index: number, digest: Uint8Array): void {
  const before = note.digests[index]
  if (before === undefined) journal.sealed(file, digest)
  else if (!equals(before, digest)) throw new CliError({ code: 'PUT_FILE_CHANGED' })
}

function checkedContent(said: string | string[] | undefined, tree: FileTree): CID {
  if (said !== tree.root.toString()) throw new CliError({ code: 'PUT_ANSWER_LIES' })
  return tree.root
}
