/**
 * Records, their versions, and grants over HTTP. Anyone may add to these lists, so none is given whole: a page says in `next` what the
 * following one is asked for with in `after`, and what can be named is asked for by its name.
 */
import type { FastifyInstance } from 'fastify'
import { fromString } from 'uint8arrays/from-string'
import { toString } from 'uint8arrays/to-string'
import { parseAccountId, parseRecordId } from '../core/ids.ts'
import { LIST_DEFAULT, LIST_MAX, RECORD_VERSIONS_MAX, STATE_KEY_BYTES_MAX } from '../core/limits.ts'
import { type Grant, grantInForce, isInForce, listGrantsOfGrantee, listGrantsOfRecord } from '../domain/grants.ts'
import {
  type MedicalRecord,
  type RecordVersion,
  getRecord,
  getRecordVersion,
  listRecordsOfCustodian,
  listRecordsOfPatient,
  listVersions,
  recordStateKeys,
} from '../domain/records.ts'
import type { Chain } from '../ledger/chain.ts'
import { institutionId } from '../ledger/fields.ts'
import type { ListOptions } from '../ledger/state.ts'
import { PeerError } from '../peer/faults.ts'
import { sendDagJson } from './dag-json-reply.ts'

/** `GET /records` */
export interface RecordsAnswer {
  /** By the time they were added. */
  readonly records: readonly MedicalRecord[]
  /** There are more: after this one. */
  readonly next?: string
}

/** `GET /records/:id/versions` */
export interface VersionsAnswer {
  /** The first first. */
  readonly versions: readonly RecordVersion[]
  /** There are more: after this version. */
  readonly next?: number
}

/** A grant as it is answered. */
export interface GrantAnswer extends Grant {
  readonly manifest: RecordVersion['manifest']
  readonly inForce: boolean
}

/** `GET /grants` */
export interface GrantsAnswer {
  readonly grants: readonly GrantAnswer[]
  /** There are more: after this one. */
  readonly next?: string
}

const tags = ['ledger']
const id = { type: 'string', minLength: 1, maxLength: 64 } as const
const version = { type: 'integer', minimum: 1, maximum: RECORD_VERSIONS_MAX } as const
const idParams = { type: 'object', properties: { id }, required: ['id'] } as const
const versionParams = { type: 'object', properties: { id, version }, required: ['id', 'version'] } as const
const grantParams = {
  type: 'object',
  properties: { id, version, grantee: id },
  required: ['id', 'version', 'grantee'],
} as const
const limit = { type: 'integer', minimum: 1, maximum: LIST_MAX, default: LIST_DEFAULT } as const
const cursor = {
  type: 'string',
  pattern: '^(?:[0-9a-f]{2})+$',
  maxLength: STATE_KEY_BYTES_MAX * 2,
  description: 'The next of the page before',
} as const

interface PageQuery {
  readonly after?: string
  readonly limit: number
}
interface VersionParams {
  readonly id: string
  readonly version: number
}

/** A page of what has one of two names. */
function pageOfEither(one: string, other: string): object {
  return {
    type: 'object',
    properties: { [one]: id, [other]: id, after: cursor, limit },
    additionalProperties: false,
    oneOf: [{ required: [one] }, { required: [other] }],
  }
}

export function recordRoutes(api: FastifyInstance, chain: Pick<Chain, 'reader'>): void {
  const { reader } = chain

  api.get<{ Querystring: PageQuery & { readonly patient?: string; readonly custodian?: string } }>(
    '/records',
    {
      schema: {
        summary: 'Records of a patient, or those an institution keeps, by the time they were added',
        tags,
        querystring: pageOfEither('patient', 'custodian'),
      },
    },
    async (request, reply) => {
      const { custodian, patient } = request.query
      const after = afterOf(request.query)
      const listed =
        patient === undefined
          ? listRecordsOfCustodian(reader, institutionId(custodian, 'custodian'), after)
          : listRecordsOfPatient(reader, parseAccountId(patient), after)
      const { found, next } = await pageOf(listed, request.query.limit)
      await sendDagJson(reply, { records: found.map(({ record }) => record), ...next } satisfies RecordsAnswer)
    },
  )

  api.get<{ Params: { readonly id: string } }>(
    '/records/:id',
    { schema: { summary: 'A record, and how many versions it has', tags, params: idParams } },
    async (request, reply) => {
      const record = await getRecord(reader, parseRecordId(request.params.id))
      if (record === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'record' })
      await sendDagJson(reply, record)
    },
  )

  api.get<{ Params: { readonly id: string }; Querystring: { readonly after: number; readonly limit: number } }>(
    '/records/:id/versions',
    {
      schema: {
        summary: 'Versions of a record, the first first',
        tags,
        params: idParams,
        querystring: {
          type: 'object',
          properties: { after: { ...version, minimum: 0, default: 0 }, limit },
          additionalProperties: false,
        },
      },
    },
    async (request, reply) => {
      const { after, limit: most } = request.query
      const record = await getRecord(reader, parseRecordId(request.params.id))
      if (record === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'record' })
      const [, start] = recordStateKeys(record.id, { from: after, to: after })
      const page = { limit: most, ...(start === undefined ? {} : { after: start.key }) }
      const versions = await Array.fromAsync(listVersions(reader, record.id, page))
      const last = versions.at(-1)?.version ?? record.versions
      const next = last < record.versions ? { next: last } : {}
      await sendDagJson(reply, { versions, ...next } satisfies VersionsAnswer)
    },
  )

  api.get<{ Params: VersionParams }>(
    '/records/:id/versions/:version',
    { schema: { summary: 'One version of a record', tags, params: versionParams } },
    async (request, reply) => {
      const found = await getRecordVersion(reader, parseRecordId(request.params.id), request.params.version)
      if (found === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'version of a record' })
      await sendDagJson(reply, found)
    },
  )
}

export function grantRoutes(api: FastifyInstance, chain: Pick<Chain, 'reader' | 'head'>): void {
  const { reader } = chain
  const answerOf = async (grant: Grant): Promise<GrantAnswer> => {
    const named = await getRecordVersion(reader, grant.record, grant.version)
    if (named === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'version of a record' })
    return { ...grant, manifest: named.manifest, inForce: isInForce(grant, chain.head.timeMs) }
  }

  api.get<{ Querystring: PageQuery & { readonly record?: string; readonly grantee?: string } }>(
    '/grants',
    {
      schema: {
        summary: 'Grants on a record, or to an account; lapsed ones too, until they are replaced',
        tags,
        querystring: pageOfEither('record', 'grantee'),
      },
    },
    async (request, reply) => {
      const { grantee, record } = request.query
      const after = afterOf(request.query)
      const listed =
        record === undefined
          ? listGrantsOfGrantee(reader, parseAccountId(grantee ?? ''), after)
          : listGrantsOfRecord(reader, parseRecordId(record), after)
      const { found, next } = await pageOf(listed, request.query.limit)
      const grants = await Promise.all(found.map(async ({ grant }) => answerOf(grant)))
      await sendDagJson(reply, { grants, ...next } satisfies GrantsAnswer)
    },
  )

  api.get<{ Params: VersionParams & { readonly grantee: string } }>(
    '/records/:id/versions/:version/grants/:grantee',
    {
      schema: {
        summary: 'The grant by which an account may read a version of a record now; of several, the one that ends last',
        tags,
        params: grantParams,
      },
    },
    async (request, reply) => {
      const { params } = request
      const asked = {
        record: parseRecordId(params.id),
        version: params.version,
        grantee: parseAccountId(params.grantee),
      }
      const grant = await grantInForce(reader, asked, chain.head.timeMs)
      if (grant === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'grant in force' })
      await sendDagJson(reply, await answerOf(grant))
    },
  )
}

function afterOf({ after }: PageQuery): ListOptions {
  return after === undefined ? {} : { after: fromString(after, 'base16') }
}

/** So many of a list, and where the next page continues if there is one. */
async function pageOf<T extends { readonly cursor: Uint8Array }>(
  listed: AsyncIterable<T>,
  most: number,
): Promise<{ readonly found: readonly T[]; readonly next: { readonly next?: string } }> {
  const found: T[] = []
  for await (const one of listed) {
    const last = found.at(-1)
    // One more than is answered is read, so that `next` never leads to an empty page.
    if (found.length === most && last !== undefined) return { found, next: { next: toString(last.cursor, 'base16') } }
    found.push(one)
  }
  return { found, next: {} }
}
