/** CARs: whole graphs of blocks, out and in, as they stream. */
import type { FastifyInstance } from 'fastify'
import { Readable } from 'node:stream'
import { parseCid } from '../core/ids.ts'
import type { Log } from '../core/ports.ts'
import type { Peer } from '../peer/peer.ts'
import { cidParams } from './content-routes.ts'
import { sendDagJson } from './dag-json-reply.ts'
import { GatewayError } from './faults.ts'
import { answerSignal } from './http-range.ts'
import { sendPieces } from './send-pieces.ts'

export const CAR_MEDIA_TYPE = 'application/vnd.ipld.car'

export function carRoutes(api: FastifyInstance, peer: Peer, log: Log): void {
  api.get<{ Params: { readonly cid: string } }>(
    '/car/:cid',
    {
      schema: {
        summary: 'All blocks below a CID as a CAR (version 1, depth first, each block once), from here or from members',
        tags: ['content'],
        params: cidParams,
      },
    },
    async (request, reply) => {
      const cid = parseCid(request.params.cid)
      const pieces = peer.cars.export(cid, { signal: answerSignal(reply.raw) })
      reply.header('content-disposition', `attachment; filename="${cid.toString()}.car"`)
      reply.type(`${CAR_MEDIA_TYPE}; version=1; order=dfs; dups=n`)
      await sendPieces(reply, pieces, log)
    },
  )

  api.post(
    '/car',
    {
      schema: {
        summary:
          'Store the blocks of a CAR (version 1), whole below its roots; a root that is a manifest becomes an object',
        tags: ['content'],
      },
    },
    async (request, reply) => {
      const { body } = request
      if (!(body instanceof Readable)) throw new GatewayError({ code: 'CAR_BODY_TYPE' })
      const length = request.headers['content-length']
      try {
        // Not destroyed with the reading: the refusal goes out on the same connection.
        const source = body.iterator({ destroyOnReturn: false })
        const imported = await peer.cars.import(source, length === undefined ? {} : { bytes: Number(length) })
        await sendDagJson(reply.code(201), imported)
      } catch (error) {
        // The sender may still be sending: only one that is read to its end reads the refusal.
        body.resume()
        throw error
      }
    },
  )
}
