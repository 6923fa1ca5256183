/** Health, and what an operator looks at, or lets Prometheus look at. */
import type { FastifyInstance } from 'fastify'
import { type Peer, peerStatus } from '../peer/peer.ts'
import { sendDagJson } from './dag-json-reply.ts'
import type { Metrics } from './metrics.ts'

export function statusRoutes(api: FastifyInstance, peer: Peer, metrics: Metrics): void {
  api.get(
    '/healthz',
    {
      config: { open: true },
      schema: { summary: 'Whether the daemon answers; says nothing else', tags: ['status'], security: [] },
    },
    async () => ({ ok: true }),
  )
  api.get(
    '/api/v1/status',
    { schema: { summary: 'This peer, its chain, its members', tags: ['status'] } },
    async (_request, reply) => sendDagJson(reply, peerStatus(peer)),
  )
  api.get(
    '/metrics',
    { schema: { summary: 'Figures in the text form of Prometheus; needs the token too', tags: ['status'] } },
    async (_request, reply) => reply.type(metrics.contentType).send(await metrics.render()),
  )
}
