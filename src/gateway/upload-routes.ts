/**
 * Resumable uploads: tus 1.0.0 (core, creation, creation-with-upload, expiration, termination) for sealed streams.
 *
 * The offset that HEAD tells is what is durable, always a whole number of 1 MiB segments until the end. Once an upload is
 * whole its answers carry `Apotheca-Content`, the UnixFS root of what was received.
 *
 * @see docs/spec/upload.md; https://tus.io/protocols/resumable-upload
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Readable } from 'node:stream'
import { SEGMENTS_MAX, SEGMENT_BYTES } from '../core/limits.ts'
import type { Peer } from '../peer/peer.ts'
import type { UploadState } from '../peer/uploads.ts'
import { GatewayError } from './faults.ts'

const TUS_VERSION = '1.0.0'
const TUS_EXTENSIONS = 'creation,creation-with-upload,expiration,termination'
const UPLOAD_BYTES_MAX = SEGMENTS_MAX * SEGMENT_BYTES

const idParams = {
  type: 'object',
  properties: { id: { type: 'string', pattern: '^[0-9a-f-]{36}$' } },
  required: ['id'],
} as const
const offsetHeaders = {
  type: 'object',
  properties: { 'upload-offset': { type: 'integer', minimum: 0, maximum: UPLOAD_BYTES_MAX } },
  required: ['upload-offset'],
} as const
const lengthHeaders = {
  type: 'object',
  properties: { 'upload-length': { type: 'integer', minimum: 1, maximum: UPLOAD_BYTES_MAX } },
  required: ['upload-length'],
} as const

interface IdParams {
  readonly id: string
}

export function uploadRoutes(api: FastifyInstance, peer: Peer): void {
  const { uploads } = peer
  api.addHook('onRequest', async (request, reply) => {
    reply.header('tus-resumable', TUS_VERSION)
    const version = request.headers['tus-resumable']
    if (request.method !== 'OPTIONS' && version !== TUS_VERSION) {
      throw new GatewayError({ code: 'UPLOAD_VERSION', expected: TUS_VERSION })
    }
  })

  api.options(
    '/uploads',
    { schema: { summary: 'What this server can do', tags: ['uploads'] } },
    async (_request, reply) => {
      reply.header('tus-version', TUS_VERSION).header('tus-extension', TUS_EXTENSIONS)
      await reply.header('tus-max-size', String(UPLOAD_BYTES_MAX)).code(204).send()
    },
  )

  api.post<{ Headers: { 'upload-length': number } }>(
    '/uploads',
    {
      schema: { summary: 'Open an upload, with or without its first bytes', tags: ['uploads'], headers: lengthHeaders },
    },
    async (request, reply) => {
      const created = await uploads.create(request.headers['upload-length'])
      reply.header('location', `/api/v1/uploads/${created.id}`)
      const body = streamBody(request)
      const state = body === undefined ? created : await uploads.receive(created.id, 0, body)
      await describe(reply, state).code(201).send()
    },
  )

  api.head<{ Params: IdParams }>(
    '/uploads/:id',
    { schema: { summary: 'How much of an upload is durable', tags: ['uploads'], params: idParams } },
    async (request, reply) => {
      await describe(reply, uploads.state(request.params.id)).header('cache-control', 'no-store').code(200).send()
    },
  )

  api.patch<{ Params: IdParams; Headers: { 'upload-offset': number } }>(
    '/uploads/:id',
    {
      schema: { summary: 'Send bytes from the offset on', tags: ['uploads'], params: idParams, headers: offsetHeaders },
    },
    async (request, reply) => {
      const body = streamBody(request)
      if (body === undefined) throw new GatewayError({ code: 'UPLOAD_BODY_TYPE' })
      const state = await uploads.receive(request.params.id, request.headers['upload-offset'], body)
      await describe(reply, state).code(204).send()
    },
  )

  api.delete<{ Params: IdParams }>(
    '/uploads/:id',
    { schema: { summary: 'Drop an upload and its blocks', tags: ['uploads'], params: idParams } },
    async (request, reply) => {
      await uploads.abort(request.params.id)
      await reply.code(204).send()
    },
  )
}

function streamBody(request: FastifyRequest): Readable | undefined {
  return request.headers['content-type'] === 'application/offset+octet-stream' ? (request.body as Readable) : undefined
}

function describe(reply: FastifyReply, state: UploadState): FastifyReply {
  reply.header('upload-offset', String(state.offset)).header('upload-length', String(state.length))
  reply.header('upload-expires', new Date(state.expiresAtMs).toUTCString())
  if (state.content !== undefined) reply.header('apotheca-content', state.content.toString())
  return reply
}
