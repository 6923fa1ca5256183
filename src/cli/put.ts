/**
 * `apotheca put`: seals a file or folder and stores it on this institution's peer.
 *
 * One random key per object; each file and the listing sealed under a key derived from it; the key wrapped to the account
 * that stores. The manifest is committed last: until then nothing is listed, and an interrupted put goes on when repeated.
 */
import { randomBytes } from 'node:crypto'
import { join, resolve } from 'node:path'
import type { CID } from 'multiformats/cid'
import { toString } from 'uint8arrays/to-string'
import { encodeCanonical } from '../core/codec.ts'
import { PUT_FILES_AT_ONCE, SEGMENT_BYTES } from '../core/limits.ts'
import { deriveKey } from '../crypto/derive.ts'
import { unwrapKey, wrapKey } from '../crypto/envelope.ts'
import { sha256 } from '../crypto/hash.ts'
import { type CipherProfile, ciphertextLength } from '../crypto/sealed-stream.ts'
import { encodeListing, opaquePath } from '../shards/listing.ts'
import {
  FILE_KEY_LABEL,
  IMPORT_PROFILE,
  LISTING_KEY_LABEL,
  type Manifest,
  encodeManifest,
  objectKeyContext,
} from '../shards/manifest.ts'
import { type DirectoryEntry, directoryNode } from '../shards/unixfs-tree.ts'
import type { CliAccount } from './account.ts'
import { type ApiClient, ApiError } from './api-client.ts'
import { CliError } from './faults.ts'
import { uploadsFolder } from './home.ts'
import { PutJournal } from './put-journal.ts'
import { sealAndUpload } from './seal-upload.ts'
import { type SourceFile, type SourceTree, openSource, scanSource } from './source-tree.ts'

export interface PutOptions {
  readonly home: string
  readonly profile: CipherProfile
  /** Forget an interrupted put of the same thing. */
  readonly restart: boolean
  /** Full copies on more institutions than may lie; 64 KiB at most. @default false */
  readonly critical?: boolean
  readonly signal: AbortSignal
  readonly onStart: (plan: { files: number; bytes: number; resumed: boolean }) => void
  readonly onSent: (bytes: number) => void
}

export interface PutResult {
  readonly manifest: CID
  readonly content: CID
  readonly kind: 'file' | 'folder'
  readonly files: number
  /** Bytes of the files themselves. */
  readonly plaintextBytes: number
  /** Bytes stored, sealed. */
  readonly bytes: number
}

/** @throws {CliError}, {ApiError}, {ListingError} */
export async function put(
  client: ApiClient,
  account: CliAccount,
  path: string,
  options: PutOptions,
): Promise<PutResult> {
  const note = notePath(account, path, options)
  await using _lock = await PutJournal.lock(note)
  const source = await scanSource(path)
  const { journal, key, resumed } = await openJournal(client, account, note, source, options)
  const files = source.files.filter((file) => file.entry.kind === 'file')
  const listing = encodeListing(source.files.map((file) => file.entry))
  const sizes = files.map((file) => ciphertextLength(file.entry.bytes))
  const bytes = sizes.reduce((sum, size) => sum + size, 0)
  options.onStart({ files: files.length, bytes: bytes + ciphertextLength(listing.length), resumed })
  try {
    const contents = await uploadFiles(client, journal, files, key, options)
    const listingCid = await sealAndUpload(
      { client, journal, signal: options.signal, onSent: options.onSent },
      {
        file: files.length,
        source: bytesSource(listing),
        key: deriveKey(key, LISTING_KEY_LABEL),
        profile: options.profile,
      },
    )
    await checkUnchanged(path, source)
    const content = source.kind === 'file' ? contents[0] : await storeFolder(client, contents, sizes)
    if (content === undefined) throw new CliError({ code: 'PUT_UNREADABLE', reason: 'the folder has no files' })
    const wrapped = await wrapKey(account.encryption, key, objectKeyContext({ content, listing: listingCid }))
    const manifest: Manifest = {
      version: 1,
      kind: source.kind,
      content,
      listing: listingCid,
      bytes,
      files: files.length,
      cipher: options.profile,
      segmentBytes: SEGMENT_BYTES,
      profile: IMPORT_PROFILE,
      keys: [{ account: account.id, key: wrapped }],
    }
    const committed = await commitManifest(client, manifest, options.critical === true)
    await journal.remove()
    const plaintextBytes = files.reduce((sum, file) => sum + file.entry.bytes, 0)
    return { manifest: committed, content, kind: source.kind, files: files.length, plaintextBytes, bytes }
  } catch (error) {
    if (isFinal(error)) await dropUploads(client, journal)
    throw error
  } finally {
    key.fill(0)
  }
}

async function uploadFiles(
  client: ApiClient,
  journal: PutJournal,
  files: readonly SourceFile[],
  key: Uint8Array,
  options: PutOptions,
): Promise<CID[]> {
  const contents: CID[] = []
  const queue = files.entries()
  // The first failure stops the other workers too.
  const failure = new AbortController()
  const signal = AbortSignal.any([options.signal, failure.signal])
  const worker = async (): Promise<void> => {
    for (const [index, file] of queue) {
      signal.throwIfAborted()
      const source = await openSource(file)
      try {
        contents[index] = await sealAndUpload(
          { client, journal, signal, onSent: options.onSent },
          { file: index, source, key: deriveKey(key, FILE_KEY_LABEL, index), profile: options.profile },
        )
      } finally {
        await source.close()
      }
    }
  }
  const workers = Array.from({ length: Math.min(PUT_FILES_AT_ONCE, files.length) }, worker)
  try {
    await Promise.all(workers)
  } catch (error) {
    failure.abort(error)
    await Promise.allSettled(workers)
    throw error
  }
  return contents
}

/** Builds the directories of opaque names and stores them; names and times lie in the sealed listing. */
async function storeFolder(client: ApiClient, contents: readonly CID[], sizes: readonly number[]): Promise<CID> {
  const groups = new Map<string, DirectoryEntry[]>()
  for (const [index, cid] of contents.entries()) {
    const path = opaquePath(index, contents.length)
    const entry = { name: path.at(-1) ?? '', cid, totalBytes: sizes[index] ?? 0 }
    const group = path.length > 1 ? (path[0] ?? '') : ''
    groups.set(group, [...(groups.get(group) ?? []), entry])
  }
  const storeNode = async (entries: readonly DirectoryEntry[]): Promise<DirectoryEntry> => {
    const node = directoryNode(entries)
    await storeBlock(client, 'application/vnd.ipld.dag-pb', node.bytes)
    return {
      name: '',
      cid: node.cid,
      totalBytes: entries.reduce((sum, one) => sum + one.totalBytes, node.bytes.length),
    }
  }
  const flat = groups.get('')
  if (flat !== undefined) return (await storeNode(flat)).cid
  const folders: DirectoryEntry[] = []
  for (const [name, entries] of groups) folders.push({ ...(await storeNode(entries)), name })
  return (await storeNode(folders)).cid
}

async function storeBlock(client: ApiClient, type: string, body: Uint8Array): Promise<void> {
  await client.call('/api/v1/blocks', { method: 'POST', headers: { 'content-type': type }, body })
}

async function commitManifest(client: ApiClient, manifest: Manifest, critical: boolean): Promise<CID> {
  const { cid, bytes } = encodeManifest(manifest)
  await client.call(`/api/v1/objects?critical=${String(critical)}`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.ipld.dag-cbor' },
    body: bytes,
  })
  return cid
}

/** One for each thing, account and cipher. */
function notePath(account: CliAccount, path: string, { home, profile }: PutOptions): string {
  const name = toString(sha256(new TextEncoder().encode(`${resolve(path)}\0${account.id}\0${profile}`)), 'hex')
  return join(uploadsFolder(home), `${name}.jsonl`)
}

async function openJournal(
  client: ApiClient,
  account: CliAccount,
  file: string,
  source: SourceTree,
  { restart }: PutOptions,
): Promise<{ journal: PutJournal; key: Uint8Array; resumed: boolean }> {
  const context = encodeCanonical({ use: 'apotheca/put-journal/1', source: source.fingerprint })
  // A damaged one can't say what it began: that goes by itself, in time.
  const found = await PutJournal.load(file).catch((error: unknown) => {
    if (!restart) throw error
    return undefined
  })
  if (found !== undefined) {
    if (
      !restart &&
      found.usable &&
      found.journal.head.source === source.fingerprint &&
      found.journal.head.account === account.id
    ) {
      const key = await unwrapKey(await account.openEncryption(), found.journal.head.key, context)
      return { journal: found.journal, key, resumed: true }
    }
    await dropUploads(client, found.journal)
  }
  const key = new Uint8Array(randomBytes(32))
  const wrapped = await wrapKey(account.encryption, key, context)
  const journal = await PutJournal.create(file, { source: source.fingerprint, account: account.id, key: wrapped })
  return { journal, key, resumed: false }
}

/** @throws {CliError} `PUT_FILE_CHANGED` */
async function checkUnchanged(path: string, before: SourceTree): Promise<void> {
  const after = await scanSource(path)
  if (after.fingerprint !== before.fingerprint) throw new CliError({ code: 'PUT_FILE_CHANGED' })
}

/** Faults after which going on makes no sense: what was sent is taken back. */
function isFinal(error: unknown): boolean {
  if (error instanceof ApiError) return error.status >= 400 && error.status !== 429 && error.status !== 503
  return (
    error instanceof CliError && (error.fault.code === 'PUT_FILE_CHANGED' || error.fault.code === 'PUT_ANSWER_LIES')
  )
}

async function dropUploads(client: ApiClient, journal: PutJournal): Promise<void> {
  for (const { upload } of journal.files.values()) {
    if (upload === '') continue
    const call = { method: 'DELETE', headers: { 'tus-resumable': '1.0.0' } }
    // Gone already, or the peer is: it removes what is never committed by itself.
    await client.call(`/api/v1/uploads/${upload}`, call).catch(() => undefined)
  }
  await journal.remove()
}

function bytesSource(bytes: Uint8Array): { bytes: number; read(into: Uint8Array, position: number): Promise<void> } {
  return {
    bytes: bytes.length,
    read: async (into, position) => into.set(bytes.subarray(position, position + into.length)),
  }
}
