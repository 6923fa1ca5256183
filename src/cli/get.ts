/** `apotheca get`: fetches an object by CID or record, opens it with the key this account was given, writes its files. */
import { mkdir, utimes } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import type { CID } from 'multiformats/cid'
import { parseCid } from '../core/ids.ts'
import { DAG_CBOR } from '../crypto/hash.ts'
import type { CliAccount } from './account.ts'
import type { ApiClient } from './api-client.ts'
import { isCopy } from './copy-check.ts'
import { type DownloadDeps, downloadSealed, downloadTo } from './open-download.ts'
import { withRetries } from './retry.ts'
import { type NamedObject, type OpenedObject, objectKey, openObject, resolveObject } from './target.ts'
import { TreeReader } from './tree-reader.ts'

export interface GetOptions {
  readonly version?: number
  /** File or folder to write; by default the stored name, in the working folder. */
  readonly out?: string
  readonly force: boolean
  /** Store the ciphertext on this peer too. */
  readonly keep: boolean
  readonly signal: AbortSignal
  readonly onStart: (plan: { files: number; bytes: number }) => void
  readonly onOpened: (bytes: number) => void
}

export interface GetResult {
  readonly manifest: CID
  readonly content: CID
  readonly files: number
  readonly bytes: number
  readonly out: string
}

/** @throws {CliError}, {ApiError}, {SealedError} */
export async function get(
  client: ApiClient,
  account: CliAccount,
  target: string,
  options: GetOptions,
): Promise<GetResult> {
  const tree = new TreeReader(client, options.signal)
  const deps: DownloadDeps = { client, tree, signal: options.signal, onOpened: options.onOpened }
  const object = await resolveObject(client, tree, target, options.version)
  const { key } = await objectKey(client, account, object)
  const opened = await openObject(deps, object, key)
  const bytes = opened.files.reduce((sum, file) => sum + file.entry.bytes, 0)
  options.onStart({ files: opened.files.length, bytes })
  const out = resolve(options.out ?? defaultName(opened))
  await writeFiles(deps, opened, out, options)
  if (options.keep) await keepFrame(client, opened.object)
  const { manifestCid, manifest } = object
  return { manifest: manifestCid, content: manifest.content, files: opened.files.length, bytes, out }
}

async function writeFiles(deps: DownloadDeps, opened: OpenedObject, out: string, options: GetOptions): Promise<void> {
  const { manifest } = opened.object
  const single = manifest.kind === 'file'
  for (const entry of opened.entries) {
    if (entry.kind === 'folder') await mkdir(join(out, entry.path), { recursive: true })
  }
  for (const { entry, root, key } of opened.files) {
    const path = single ? out : join(out, entry.path)
    const job = { root, key, profile: manifest.cipher, bytes: entry.bytes, keep: options.keep }
    // A file that an interrupted get has finished: nothing of it is fetched again.
    if (!options.force && !options.keep && (await isCopy(deps, { entry, root, key }, manifest.cipher, path))) continue
    await retryCounted(deps, options, async (counted) => downloadTo(counted, job, path, options.force))
    await utimes(path, new Date(entry.mtimeMs), new Date(entry.mtimeMs))
  }
}

/** Tries again on a lost connection. What the lost try had counted, the next one finds in the part file and counts again. */
async function retryCounted<T>(
  deps: DownloadDeps,
  options: { signal: AbortSignal },
  attempt: (deps: DownloadDeps) => Promise<T>,
): Promise<T> {
  let counted = 0
  const onOpened = (bytes: number): void => {
    counted += bytes
    deps.onOpened(bytes)
  }
  return withRetries(options.signal, async () => {
    if (counted > 0) deps.onOpened(-counted)
    counted = 0
    return attempt({ ...deps, onOpened })
  })
}

/** The blocks around the files: with these the peer has the object whole, and serves it. */
async function keepFrame(client: ApiClient, object: Pick<NamedObject, 'manifest' | 'manifestCid'>): Promise<void> {
  const { manifest, manifestCid } = object
  await client.call(`/api/v1/content/${manifest.listing.toString()}?keep=true`)
  if (manifest.kind === 'folder') await client.call(`/api/v1/blocks/${manifest.content.toString()}?keep=true`)
  await client.call(`/api/v1/blocks/${manifestCid.toString()}?keep=true`)
}

/** The stored name; a folder has none of its own and gets one from its CID. */
function defaultName({ object, files }: OpenedObject): string {
  if (object.manifest.kind === 'file') return basename(files[0]?.entry.path ?? 'content')
  return `apotheca-${object.manifest.content.toString().slice(-8)}`
}

/** `get --sealed`: the bytes as they lie in the network, checked against their CID. Needs no key, gives no plaintext. */
export async function getSealed(
  client: ApiClient,
  target: string,
  options: Omit<GetOptions, 'version'>,
): Promise<GetResult> {
  const tree = new TreeReader(client, options.signal)
  const deps: DownloadDeps = { client, tree, signal: options.signal, onOpened: options.onOpened }
  let root = parseCid(target)
  let manifestCid = root
  if (root.code === DAG_CBOR) {
    const manifest = await tree.manifest(root)
    manifestCid = root
    if (options.keep) await keepFrame(client, { manifest, manifestCid })
    if (manifest.kind === 'folder') return getSealedFolder(deps, manifestCid, manifest, options)
    root = manifest.content
  }
  options.onStart({ files: 1, bytes: await tree.fileBytes(root) })
  const out = resolve(options.out ?? `${root.toString()}.sealed`)
  const file = root
  const bytes = await retryCounted(deps, options, async (counted) => downloadSealed(counted, file, out, options))
  return { manifest: manifestCid, content: root, files: 1, bytes, out }
}

async function getSealedFolder(
  deps: DownloadDeps,
  manifestCid: CID,
  manifest: Parameters<TreeReader['fileRoots']>[0],
  options: Omit<GetOptions, 'version'>,
): Promise<GetResult> {
  const out = resolve(options.out ?? `${manifest.content.toString()}.sealed`)
  const roots = await deps.tree.fileRoots(manifest)
  options.onStart({ files: roots.length, bytes: manifest.bytes })
  let bytes = 0
  for (const [index, root] of roots.entries()) {
    const path = join(out, String(index).padStart(6, '0'))
    bytes += await retryCounted(deps, options, async (counted) => downloadSealed(counted, root, path, options))
  }
  return { manifest: manifestCid, content: manifest.content, files: roots.length, bytes, out }
}
