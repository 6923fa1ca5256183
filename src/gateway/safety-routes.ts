/** How safe what is stored is, in numbers; `apotheca status` puts them in words. */
import type { FastifyInstance } from 'fastify'
import { parseCid } from '../core/ids.ts'
import { getStorageQuota } from '../domain/storage-quota.ts'
import type { Peer } from '../peer/peer.ts'
import { safetyOfAll, safetyOfObject } from '../peer/safety.ts'
import { cidParams } from './content-routes.ts'
import { sendDagJson } from './dag-json-reply.ts'

export function safetyRoutes(api: FastifyInstance, { chain, institution }: Peer): void {
  api.get(
    '/safety',
    {
      schema: {
        summary: 'How many institutions may fail with nothing lost, over all that is placed',
        tags: ['status'],
      },
    },
    async (_request, reply) => sendDagJson(reply, await safetyOfAll(chain.reader)),
  )
  api.get(
    '/quota',
    {
      schema: {
        summary:
          "This peer's institution: what it may have stored for a lease of the common length, and how much of that it may add now",
        tags: ['status'],
      },
    },
    async (_request, reply) => sendDagJson(reply, await getStorageQuota(chain.reader, institution, chain.head.timeMs)),
  )
  api.get<{ Params: { cid: string } }>(
    '/objects/:cid/safety',
    { schema: { summary: 'The same of one object, by the CID of its manifest', tags: ['status'], params: cidParams } },
    async (request, reply) => sendDagJson(reply, await safetyOfObject(chain.reader, parseCid(request.params.cid))),
  )
}
