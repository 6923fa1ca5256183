/** What `get`, `ls` and `verify` work on: an object named by its CID or by a record, with the key this account has to it. */
import type { CID } from 'multiformats/cid'
import { parseCid, parseRecordId, type AccountId, type RecordId } from '../core/ids.ts'
import { LISTING_BYTES_MAX } from '../core/limits.ts'
import { deriveKey } from '../crypto/derive.ts'
import { type WrappedKey, unwrapKey } from '../crypto/envelope.ts'
import { grantKeyContext } from '../domain/grants.ts'
import { recordKeyContext } from '../domain/records.ts'
import { plaintextLength } from '../crypto/sealed-stream.ts'
import { type ListingEntry, decodeListing } from '../shards/listing.ts'
import { FILE_KEY_LABEL, LISTING_KEY_LABEL, type Manifest, objectKeyContext } from '../shards/manifest.ts'
import type { CliAccount } from './account.ts'
import type { ApiClient } from './api-client.ts'
import { CliError } from './faults.ts'
import type { GrantAnswer, RecordAnswer } from './ledger-answers.ts'
import { type DownloadDeps, openInto } from './open-download.ts'
import type { TreeReader } from './tree-reader.ts'

export interface NamedObject {
  readonly manifestCid: CID
  readonly manifest: Manifest
  /** The record and version that name it, where it was asked for by record. */
  readonly record: Mention | undefined
}

export interface OpenedFile {
  readonly entry: ListingEntry
  readonly root: CID
  readonly key: Uint8Array
}

/** A listing with the keys and roots of its files. */
export interface OpenedObject {
  readonly object: NamedObject
  readonly entries: readonly ListingEntry[]
  readonly files: readonly OpenedFile[]
}

/** @throws {CliError} `TARGET_UNKNOWN`, `TARGET_NOT_AN_OBJECT`; {ApiError} */
export async function resolveObject(
  client: ApiClient,
  tree: TreeReader,
  target: string,
  version: number | undefined,
): Promise<NamedObject> {
  if (target.startsWith('rec1')) {
    const id = parseRecordId(target)
    const record = await client.get<RecordAnswer>(`/api/v1/records/${id}`)
    const chosen =
      version === undefined ? record.versions.at(-1) : record.versions.find((one) => one.version === version)
    if (chosen === undefined) throw new CliError({ code: 'TARGET_UNKNOWN' })
    const manifest = await tree.manifest(chosen.manifest)
    return { manifestCid: chosen.manifest, manifest, record: { record: id, version: chosen.version } }
  }
  if (!/^(baf|Qm|z)/.test(target)) throw new CliError({ code: 'TARGET_UNKNOWN' })
  const manifestCid = parseCid(target)
  return { manifestCid, manifest: await tree.manifest(manifestCid), record: undefined }
}

/** A record and version that name an object. */
export interface Mention {
  readonly record: RecordId
  readonly version: number
}

/**
 * The object's key, by whatever right the account has: as who stored it, as the patient of a record, or by a grant.
 *
 * @returns the key, and the record that it was found by.
 * @throws {CliError} `KEY_NOT_GRANTED`; {EnvelopeError} `ENVELOPE_NOT_FOR_KEY`
 */
export async function objectKey(
  client: ApiClient,
  account: CliAccount,
  object: NamedObject,
): Promise<{ key: Uint8Array; mention: Mention | undefined }> {
  const found = await findWrappedKey(client, account.id, object)
  if (found === undefined) throw new CliError({ code: 'KEY_NOT_GRANTED', account: account.id })
  const key = await unwrapKey(await account.openEncryption(), found.key, found.context)
  return { key, mention: object.record ?? found.mention }
}

interface FoundKey {
  readonly key: WrappedKey
  readonly context: Uint8Array
  readonly mention: Mention | undefined
}

async function findWrappedKey(
  client: ApiClient,
  account: AccountId,
  { manifest, manifestCid }: NamedObject,
): Promise<FoundKey | undefined> {
  const own = manifest.keys.find((one) => one.account === account)
  if (own !== undefined) return { key: own.key, context: objectKeyContext(manifest), mention: undefined }
  const { grants } = await client.get<{ grants: GrantAnswer[] }>(`/api/v1/grants?grantee=${account}`)
  const grant = grants.find((one) => one.inForce && one.manifest.equals(manifestCid))
  if (grant !== undefined) return { key: grant.key, context: grantKeyContext(grant), mention: grant }
  const { records } = await client.get<{ records: RecordAnswer[] }>(`/api/v1/records?patient=${account}`)
  for (const { patient, versions } of records) {
    const version = versions.find((one) => one.manifest.equals(manifestCid))
    if (version !== undefined) {
      return { key: version.key, context: recordKeyContext({ patient, manifest: manifestCid }), mention: version }
    }
  }
  return undefined
}

/** Fetches and opens the listing. @throws faults of download and listing */
export async function openObject(deps: DownloadDeps, object: NamedObject, key: Uint8Array): Promise<OpenedObject> {
  const { manifest } = object
  const bytes = plaintextLength(await deps.tree.fileBytes(manifest.listing))
  if (bytes > LISTING_BYTES_MAX) throw new CliError({ code: 'CONTENT_SHORT', said: LISTING_BYTES_MAX, bytes })
  const listing = new Uint8Array(bytes)
  await openInto(
    { ...deps, onOpened: () => undefined },
    { root: manifest.listing, key: deriveKey(key, LISTING_KEY_LABEL), profile: manifest.cipher, bytes, keep: false },
    async (plaintext, position) => listing.set(plaintext, position),
  )
  const entries = decodeListing(listing)
  const named = entries.filter((entry) => entry.kind === 'file')
  const roots = await deps.tree.fileRoots(manifest)
  if (named.length !== roots.length)
    throw new CliError({ code: 'CONTENT_SHORT', said: named.length, bytes: roots.length })
  const files = named.map((entry, index) => ({
    entry,
    root: roots[index] as CID,
    key: deriveKey(key, FILE_KEY_LABEL, index),
  }))
  return { object, entries, files }
}
