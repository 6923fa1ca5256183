/** Blocks, files and objects by CID: what is stored here, and what members have. */
import type { FastifyInstance } from 'fastify'
import { OBJECTS_LISTED_MAX } from '../core/limits.ts'
import { parseCid } from '../core/ids.ts'
import type { Log } from '../core/ports.ts'
import { type BlockCodec, DAG_CBOR, DAG_PB, RAW, digestCid, sha256 } from '../crypto/hash.ts'
import { type OpenFile, digestOf } from '../peer/content.ts'
import type { Peer } from '../peer/peer.ts'
import { placementStatus } from '../peer/placement-status.ts'
import { parseNode } from '../shards/unixfs-tree.ts'
import { decodeCanonical } from '../core/codec.ts'
import { sendDagJson } from './dag-json-reply.ts'
import { GatewayError } from './faults.ts'
import { answerSignal, openContentRange } from './http-range.ts'
import { sendPieces } from './send-pieces.ts'

const CODECS: Readonly<Record<string, BlockCodec>> = {
  'application/vnd.ipld.raw': RAW,
  'application/vnd.ipld.dag-pb': DAG_PB,
  'application/vnd.ipld.dag-cbor': DAG_CBOR,
}
const MEDIA_TYPES = new Map<number, string>(Object.entries(CODECS).map(([type, code]) => [code, type]))

export const cidParams = {
  type: 'object',
  properties: { cid: { type: 'string', minLength: 1, maxLength: 128 } },
  required: ['cid'],
} as const
const keepQuery = {
  type: 'object',
  properties: { keep: { type: 'boolean', default: false, description: 'Store it on this peer too' } },
  additionalProperties: false,
} as const

const criticalQuery = {
  type: 'object',
  properties: {
    critical: {
      type: 'boolean',
      default: false,
      description: 'Full copies on more institutions than may lie; 64 KiB at most',
    },
  },
  additionalProperties: false,
} as const

interface CidRequest {
  Params: { readonly cid: string }
  Querystring: { readonly keep: boolean }
}

export function contentRoutes(api: FastifyInstance, peer: Peer, log: Log): void {
  const { chain, content, objects, pins, placements, store } = peer

  api.post(
    '/blocks',
    { schema: { summary: 'Store one block; its media type names its codec', tags: ['content'] } },
    async (request, reply) => {
      const code = CODECS[request.headers['content-type'] ?? '']
      if (code === undefined || !(request.body instanceof Uint8Array))
        throw new GatewayError({ code: 'BLOCK_TYPE_UNKNOWN' })
      const digest = sha256(request.body)
      const cid = digestCid(code, digest)
      // A block that isn't what its codec says would only fail its readers later.
      if (code === DAG_CBOR) decodeCanonical(request.body)
      else parseNode(cid, request.body)
      peer.fresh.release([digest])
      await store.write([{ digest, parts: [request.body] }])
      await sendDagJson(reply.code(201), { cid })
    },
  )

  api.get<CidRequest>(
    '/blocks/:cid',
    {
      schema: {
        summary: 'One block, verified, from here or from a member',
        tags: ['content'],
        params: cidParams,
        querystring: keepQuery,
      },
    },
    async (request, reply) => {
      const cid = parseCid(request.params.cid)
      const signal = answerSignal(reply.raw)
      const { keep } = request.query
      const fetch = async (): Promise<Uint8Array> => content.block(cid, { signal, keep })
      const block = await (keep ? pins.while(cid, fetch) : fetch())
      reply.header('etag', `"${cid.toString()}"`).header('cache-control', 'private, max-age=29030400, immutable')
      await reply.type(MEDIA_TYPES.get(cid.code) ?? 'application/octet-stream').send(block)
    },
  )

  api.get<CidRequest>(
    '/content/:cid',
    {
      schema: {
        summary: 'The stored bytes of a UnixFS file (ciphertext, where it was sealed); byte ranges',
        tags: ['content'],
        params: cidParams,
        querystring: keepQuery,
      },
    },
    async (request, reply) => {
      const cid = parseCid(request.params.cid)
      const signal = answerSignal(reply.raw)
      const { keep } = request.query
      const open = async (): Promise<OpenFile> => content.openFile(cid, { signal, keep })
      const file = await (keep ? pins.while(cid, open) : open())
      const range = openContentRange(request.headers.range, file.bytes)
      reply.header('etag', `"${cid.toString()}"`).header('accept-ranges', 'bytes')
      reply.header('content-length', String(range.end - range.start)).type('application/octet-stream')
      if (range.partial) reply.code(206).header('content-range', `bytes ${range.start}-${range.end - 1}/${file.bytes}`)
      await sendPieces(reply, file.read(range), log)
    },
  )

  api.get(
    '/objects',
    {
      schema: {
        summary: 'Objects stored here, newest first',
        tags: ['content'],
        querystring: {
          type: 'object',
          properties: { limit: { type: 'integer', minimum: 1, maximum: OBJECTS_LISTED_MAX, default: 100 } },
          additionalProperties: false,
        },
      },
    },
    async (request, reply) => {
      const { limit } = request.query as { limit: number }
      await sendDagJson(reply, { objects: await Array.fromAsync(objects.list(limit)) })
    },
  )

  api.post<{ Querystring: { readonly critical: boolean } }>(
    '/objects',
    {
      schema: {
        summary: 'Commit an object by its manifest, once all its blocks are here; then it is placed on the network',
        tags: ['content'],
        querystring: criticalQuery,
      },
    },
    async (request, reply) => {
      if (
        request.headers['content-type'] !== 'application/vnd.ipld.dag-cbor' ||
        !(request.body instanceof Uint8Array)
      ) {
        throw new GatewayError({ code: 'BLOCK_TYPE_UNKNOWN' })
      }
      const { critical } = request.query
      await sendDagJson(reply.code(201), await objects.commit(request.body, { critical }))
    },
  )

  api.get<CidRequest>(
    '/objects/:cid/placement',
    {
      schema: {
        summary: 'How far an object, by its manifest, is placed on the network',
        tags: ['content'],
        params: cidParams,
      },
    },
    async (request, reply) => {
      const cid = parseCid(request.params.cid)
      reply.header('cache-control', 'no-store')
      return placementStatus(chain.reader, cid, placements.progress(cid))
    },
  )

  api.get<CidRequest>(
    '/has/:cid',
    { schema: { summary: 'Whether this peer itself holds a block', tags: ['content'], params: cidParams } },
    async (request) => ({ here: store.has(digestOf(parseCid(request.params.cid))) }),
  )
}
