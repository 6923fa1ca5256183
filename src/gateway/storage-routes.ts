/** What a peer keeps and lets go, over HTTP: collection, pins, legal holds, erasure certificates. */
import type { FastifyInstance } from 'fastify'
import { parseCid } from '../core/ids.ts'
import { PROOF_ENTRIES_MAX } from '../core/limits.ts'
import { encodeErasureCertificate } from '../domain/erasure-certificate.ts'
import { type ErasureCertificate, erasureStateKeys, getErasureCertificate } from '../domain/storage-erasure.ts'
import { type LegalHold, listHolds } from '../domain/storage-holds.ts'
import { isKeptNow } from '../domain/storage-leases.ts'
import { getStoredObject } from '../domain/storage-state.ts'
import { getRecordCount } from '../domain/records.ts'
import { proveState } from '../ledger/proof-maker.ts'
import { PeerError } from '../peer/faults.ts'
import type { Peer } from '../peer/peer.ts'
import { sendDagJson } from './dag-json-reply.ts'
import { answerSignal } from './http-range.ts'

const tags = ['storage']
const cidParams = {
  type: 'object',
  properties: { cid: { type: 'string', minLength: 1, maxLength: 128 } },
  required: ['cid'],
} as const
interface CidRequest {
  Params: { readonly cid: string }
}

/** Why an object is kept. */
export interface KeepingAnswer {
  readonly manifest: string
  readonly isKept: boolean
  readonly blockTimeMs: number
  /** Record versions that name it. */
  readonly records: number
  readonly leaseMs: number
  readonly erasedMs: number
  readonly holds: readonly LegalHold[]
}

export function storageRoutes(api: FastifyInstance, peer: Peer): void {
  const { chain, collector } = peer
  const { reader } = chain

  api.post<{ Querystring: { readonly dry: boolean } }>(
    '/gc',
    {
      schema: {
        summary: 'A round of collection now; dry: only what would go, why, and when at the earliest',
        tags,
        querystring: {
          type: 'object',
          properties: { dry: { type: 'boolean', default: false } },
          additionalProperties: false,
        },
      },
    },
    async (request, reply) => {
      const { dry } = request.query
      await sendDagJson(reply, await collector.collect({ dry, signal: answerSignal(reply.raw) }))
    },
  )

  pinRoutes(api, peer)

  api.get<CidRequest>(
    '/objects/:cid/keeping',
    {
      schema: {
        summary: 'Why an object, by its manifest, is kept: records, lease, legal holds',
        tags,
        params: cidParams,
      },
    },
    async (request, reply) => {
      const manifest = parseCid(request.params.cid)
      const stored = await getStoredObject(reader, manifest)
      if (stored === undefined) throw new PeerError({ code: 'OBJECT_NOT_ON_LEDGER', cid: manifest.toString() })
      const blockTimeMs = chain.head.timeMs
      const answer: KeepingAnswer = {
        manifest: manifest.toString(),
        isKept: await isKeptNow(reader, stored, blockTimeMs),
        blockTimeMs,
        records: await getRecordCount(reader, manifest),
        leaseMs: stored.leaseMs,
        erasedMs: stored.erasedMs,
        holds: await Array.fromAsync(listHolds(reader, manifest)),
      }
      await sendDagJson(reply, answer)
    },
  )

  const certificateOf = async (cid: string): Promise<ErasureCertificate> => {
    const found = await getErasureCertificate(reader, parseCid(cid))
    if (found === undefined) throw new PeerError({ code: 'OBJECT_NOT_ON_LEDGER', cid })
    return found
  }

  api.get<CidRequest>(
    '/objects/:cid/erasure',
    {
      schema: {
        summary:
          'Erasure certificate of an object, by its manifest: who signed the deletion, who has not; with a light proof',
        tags,
        params: cidParams,
      },
    },
    async (request, reply) => {
      const certificate = await certificateOf(request.params.cid)
      const proof = await proveState(chain, erasureStateKeys(certificate).slice(0, PROOF_ENTRIES_MAX))
      const bytes = encodeErasureCertificate(certificate, proof)
      await reply.type('application/vnd.ipld.dag-cbor').header('cache-control', 'no-store').send(bytes)
    },
  )
}

function pinRoutes(api: FastifyInstance, { pins }: Peer): void {
  api.get('/pins', { schema: { summary: 'What users keep on this peer', tags } }, async (_request, reply) => {
    await sendDagJson(reply, { pins: pins.list() })
  })

  api.put<CidRequest>(
    '/pins/:cid',
    { schema: { summary: 'Keep what is here below a CID, whatever the ledger says', tags, params: cidParams } },
    async (request, reply) => {
      const cid = parseCid(request.params.cid)
      const isNew = await pins.add(cid)
      await sendDagJson(reply.code(isNew ? 201 : 200), { cid })
    },
  )

  api.delete<CidRequest>(
    '/pins/:cid',
    { schema: { summary: 'Keep it no longer: it goes when nothing else needs it', tags, params: cidParams } },
    async (request, reply) => {
      const cid = parseCid(request.params.cid)
      if (!(await pins.remove(cid))) throw new PeerError({ code: 'PIN_UNKNOWN', cid: cid.toString() })
      await reply.code(204).send()
    },
  )
}
