/**
 * `apotheca verify`: an object against its CIDs and the ledger, or a copy on this disk against the object.
 *
 * Without a path everything is fetched, checked and opened, and nothing is written. With one, the copy is sealed again under
 * the stored headers and must give the stored CIDs: no byte of it is fetched but 40 a file.
 */
import { join, resolve } from 'node:path'
import type { CID } from 'multiformats/cid'
import type { CliAccount } from './account.ts'
import type { ApiClient } from './api-client.ts'
import { isCopy } from './copy-check.ts'
import { CliError } from './faults.ts'
import type { ReceiptAnswer } from './ledger-answers.ts'
import { type DownloadDeps, openInto } from './open-download.ts'
import { type Mention, readRecord, readVersion } from './record-reads.ts'
import { objectKey, openObject, resolveObject } from './target.ts'
import { TreeReader } from './tree-reader.ts'

export interface VerifyOptions {
  readonly version?: number
  readonly path?: string
  readonly signal: AbortSignal
  readonly onStart: (plan: { files: number; bytes: number }) => void
  readonly onOpened: (bytes: number) => void
}

export interface VerifyResult {
  readonly manifest: CID
  readonly content: CID
  readonly files: number
  readonly bytes: number
  /** Where the ledger names the object; known where it was found by a record. */
  readonly onLedger: LedgerPlace | undefined
}

export interface LedgerPlace extends Mention {
  /** Of the block in which it is final. */
  readonly height: number
}

/** @throws {CliError} `VERIFY_DIFFERS`, `KEY_NOT_GRANTED`; faults of download */
export async function verify(
  client: ApiClient,
  account: CliAccount,
  target: string,
  options: VerifyOptions,
): Promise<VerifyResult> {
  const tree = new TreeReader(client, options.signal)
  const deps: DownloadDeps = { client, tree, signal: options.signal, onOpened: options.onOpened }
  const object = await resolveObject(client, tree, target, options.version)
  const { manifest, manifestCid } = object
  const { key, mention } = await objectKey(client, account, object)
  const opened = await openObject(deps, object, key)
  const bytes = opened.files.reduce((sum, file) => sum + file.entry.bytes, 0)
  options.onStart({ files: opened.files.length, bytes })
  const differing: number[] = []
  for (const [index, file] of opened.files.entries()) {
    const job = { root: file.root, key: file.key, profile: manifest.cipher, bytes: file.entry.bytes, keep: false }
    if (options.path === undefined) await openInto(deps, job, async () => undefined)
    else {
      const path = manifest.kind === 'file' ? resolve(options.path) : join(resolve(options.path), file.entry.path)
      if (!(await isCopy(deps, file, manifest.cipher, path))) differing.push(index)
    }
  }
  const first = differing[0]
  if (first !== undefined) throw new CliError({ code: 'VERIFY_DIFFERS', files: differing.length, first })
  const onLedger = mention === undefined ? undefined : await checkMention(client, mention, manifestCid)
  return { manifest: manifestCid, content: manifest.content, files: opened.files.length, bytes, onLedger }
}

/** Looks up where the record became final, and that it names this very object. */
async function checkMention(client: ApiClient, mention: Mention, manifest: CID): Promise<LedgerPlace> {
  const { record, version } = mention
  const found = await readVersion(client, await readRecord(client, record), version)
  const [expected, looked] = [found.manifest.toString(), manifest.toString()]
  if (looked !== expected) throw new CliError({ code: 'CONTENT_CID_DIFFERS', expected, found: looked })
  const { height } = await client.get<ReceiptAnswer>(`/api/v1/ledger/transactions/${found.tx}`)
  return { record, version, height }
}
