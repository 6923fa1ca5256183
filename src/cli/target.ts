/** What `get`, `ls` and `verify` work on: an object named by its CID or by a record, with the key this account has to it. */
import type { CID } from 'multiformats/cid'
import { type AccountId, parseCid, parseRecordId } from '../core/ids.ts'
import { LISTING_BYTES_MAX } from '../core/limits.ts'
import { deriveKey } from '../crypto/derive.ts'
import { EnvelopeError, type WrappedKey, unwrapKey } from '../crypto/envelope.ts'
import { grantKeyContext } from '../domain/grants.ts'
import { type MedicalRecord, type RecordVersion, recordKeyContext } from '../domain/records.ts'
import { plaintextLength } from '../crypto/sealed-stream.ts'
import { type ListingEntry, decodeListing } from '../shards/listing.ts'
import { FILE_KEY_LABEL, LISTING_KEY_LABEL, type Manifest, objectKeyContext } from '../shards/manifest.ts'
import type { CliAccount } from './account.ts'
import type { ApiClient } from './api-client.ts'
import { CliError } from './faults.ts'
import { type DownloadDeps, openInto } from './open-download.ts'
import {
  type Mention,
  readGrantInForce,
  readGrants,
  readRecord,
  readRecordsOf,
  readVersion,
  readVersions,
} from './record-reads.ts'
import type { TreeReader } from './tree-reader.ts'

export interface NamedObject {
  readonly manifestCid: CID
  readonly manifest: Manifest
  /** The version that names it, with the record's patient, where it was asked for by record. */
  readonly record: (RecordVersion & Pick<MedicalRecord, 'patient'>) | undefined
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

/** @throws {CliError} `TARGET_UNKNOWN`, `TARGET_NOT_AN_OBJECT`, `RECORD_VERSION_UNKNOWN`; {ApiError} */
export async function resolveObject(
  client: ApiClient,
  tree: TreeReader,
  target: string,
  version: number | undefined,
): Promise<NamedObject> {
  if (target.startsWith('rec1')) {
    const record = await readRecord(client, parseRecordId(target))
    const named = await readVersion(client, record, version)
    const manifest = await tree.manifest(named.manifest)
    return { manifestCid: named.manifest, manifest, record: { ...named, patient: record.patient } }
  }
  if (!/^(baf|Qm|z)/.test(target)) throw new CliError({ code: 'TARGET_UNKNOWN' })
  const manifestCid = parseCid(target)
  return { manifestCid, manifest: await tree.manifest(manifestCid), record: undefined }
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
  let refused: EnvelopeError | undefined
  for await (const found of wrappedKeys(client, account.id, object)) {
    try {
      const key = await unwrapKey(await account.openEncryption(), found.key, found.context)
      return { key, mention: object.record ?? found.mention }
    } catch (error) {
      // Anyone may name the object in a record of this account, with bytes that are no key of it: the next may be one.
      if (!(error instanceof EnvelopeError)) throw error
      refused = error
    }
  }
  throw refused ?? new CliError({ code: 'KEY_NOT_GRANTED', account: account.id })
}

interface FoundKey {
  readonly key: WrappedKey
  readonly context: Uint8Array
  readonly mention: Mention | undefined
}

/** What may hold the object's key for this account. What can be asked for by name comes before what must be searched. */
async function* wrappedKeys(client: ApiClient, account: AccountId, object: NamedObject): AsyncGenerator<FoundKey> {
  const { manifest, manifestCid, record } = object
  const own = manifest.keys.find((one) => one.account === account)
  if (own !== undefined) yield { key: own.key, context: objectKeyContext(manifest), mention: undefined }
  const recordContext = recordKeyContext({ patient: account, manifest: manifestCid })
  if (record?.patient === account) yield { key: record.key, context: recordContext, mention: record }
  const granted = record === undefined ? undefined : await readGrantInForce(client, record, account)
  if (granted !== undefined) yield { key: granted.key, context: grantKeyContext(granted), mention: granted }
  for await (const grant of readGrants(client, { grantee: account })) {
    if (!grant.inForce || !grant.manifest.equals(manifestCid)) continue
    yield { key: grant.key, context: grantKeyContext(grant), mention: grant }
  }
  for await (const { id } of readRecordsOf(client, account)) {
    for await (const version of readVersions(client, id)) {
      if (version.manifest.equals(manifestCid)) yield { key: version.key, context: recordContext, mention: version }
    }
  }
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
