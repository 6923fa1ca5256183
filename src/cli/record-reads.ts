/** Records, versions and grants as the CLI asks for them: by name, or page after page where a whole list is needed. */
import type { CID } from 'multiformats/cid'
import type { AccountId, RecordId } from '../core/ids.ts'
import { LIST_MAX } from '../core/limits.ts'
import type { MedicalRecord, RecordVersion } from '../domain/records.ts'
import type { GrantAnswer, GrantsAnswer, RecordsAnswer, VersionsAnswer } from '../gateway/record-routes.ts'
import { type ApiClient, ApiError } from './api-client.ts'
import { CliError } from './faults.ts'

/** What names one version of one record. */
export interface Mention {
  readonly record: RecordId
  readonly version: number
}

export async function readRecord(client: ApiClient, id: RecordId): Promise<MedicalRecord> {
  return client.get<MedicalRecord>(`/api/v1/records/${id}`)
}

/** @param version - @default the newest. @throws {CliError} `RECORD_VERSION_UNKNOWN`; {ApiError} */
export async function readVersion(
  client: ApiClient,
  { id, versions }: Pick<MedicalRecord, 'id' | 'versions'>,
  version: number = versions,
): Promise<RecordVersion> {
  // Asked before the peer is, which would call the number malformed.
  if (version < 1 || version > versions) throw new CliError({ code: 'RECORD_VERSION_UNKNOWN', version, versions })
  return client.get<RecordVersion>(`/api/v1/records/${id}/versions/${version}`)
}

/** Versions of a record, the first first. @param after - only those after this one. @default all */
export async function* readVersions(client: ApiClient, id: RecordId, after = 0): AsyncGenerator<RecordVersion> {
  for (let next: number | undefined = after; next !== undefined; ) {
    const page: VersionsAnswer = await client.get(`/api/v1/records/${id}/versions?limit=${LIST_MAX}&after=${next}`)
    yield* page.versions
    ;({ next } = page)
  }
}

/**
 * The versions of a record that name a manifest, the newest first.
 *
 * @param most - so many are there in all: the search ends with them, however many versions the record has.
 */
export async function mentionsOf(
  client: ApiClient,
  { id, versions }: Pick<MedicalRecord, 'id' | 'versions'>,
  manifest: CID,
  most: number,
): Promise<Mention[]> {
  const found: Mention[] = []
  for (let to = versions; to > 0 && found.length < most; to -= LIST_MAX) {
    const [after, limit] = [Math.max(0, to - LIST_MAX), Math.min(to, LIST_MAX)]
    const page = await client.get<VersionsAnswer>(`/api/v1/records/${id}/versions?after=${after}&limit=${limit}`)
    const naming = page.versions.filter((one) => one.manifest.equals(manifest))
    found.push(...naming.toReversed().map(({ record, version }) => ({ record, version })))
  }
  return found
}

/** Records of a patient, by the time they were added. */
export function readRecordsOf(client: ApiClient, patient: AccountId): AsyncGenerator<MedicalRecord> {
  return pages(client, `records?patient=${patient}`, ({ next, records }: RecordsAnswer) => ({ items: records, next }))
}

/** Grants on a record, or to an account; lapsed ones too. */
export function readGrants(
  client: ApiClient,
  of: { readonly record: RecordId } | { readonly grantee: AccountId },
): AsyncGenerator<GrantAnswer> {
  const query = 'record' in of ? `record=${of.record}` : `grantee=${of.grantee}`
  return pages(client, `grants?${query}`, ({ grants, next }: GrantsAnswer) => ({ items: grants, next }))
}

/** @returns the grant by which an account may read a version now; `undefined`: there is none. */
export async function readGrantInForce(
  client: ApiClient,
  { record, version }: Mention,
  grantee: AccountId,
): Promise<GrantAnswer | undefined> {
  try {
    return await client.get<GrantAnswer>(`/api/v1/records/${record}/versions/${version}/grants/${grantee}`)
  } catch (error) {
    if (error instanceof ApiError && error.fault.code === 'LEDGER_UNKNOWN') return undefined
    throw error
  }
}

async function* pages<T, Page>(
  client: ApiClient,
  query: string,
  read: (page: Page) => { readonly items: readonly T[]; readonly next: string | undefined },
): AsyncGenerator<T> {
  for (let after = ''; ; ) {
    const { items, next } = read(await client.get<Page>(`/api/v1/${query}&limit=${LIST_MAX}${after}`))
    yield* items
    if (next === undefined) return
    after = `&after=${next}`
  }
}
