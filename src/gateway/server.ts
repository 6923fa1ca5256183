/**
 * The daemon's HTTP API: one port, OpenAPI 3.1 at `/openapi.json`.
 *
 * Every route but `/healthz` needs `Authorization: Bearer <token>`; the token lies beside the peer's data, mode 0600, and is another
 * one after each start. Every route has a schema, a body limit and a rate limit; uploads and content stream. Faults are RFC 9457
 * problem details.
 */
import rateLimit from '@fastify/rate-limit'
import swagger, { type FastifyDynamicSwaggerOptions } from '@fastify/swagger'
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { fromString } from 'uint8arrays/from-string'
import {
  API_REQUESTS_PER_MINUTE,
  BLOCK_BYTES_MAX,
  HTTP_HEADERS_TIMEOUT_MS,
  HTTP_IDLE_TIMEOUT_MS,
} from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { equalSecrets } from '../crypto/derive.ts'
import { sha256 } from '../crypto/hash.ts'
import { CodedError } from '../core/coded-error.ts'
import type { Peer } from '../peer/peer.ts'
import { GatewayError } from './faults.ts'
import { CAR_MEDIA_TYPE, carRoutes } from './car-routes.ts'
import { contentRoutes } from './content-routes.ts'
import { ledgerRoutes } from './ledger-routes.ts'
import { Metrics } from './metrics.ts'
import { networkRoutes } from './network-routes.ts'
import { sendProblem } from './problem.ts'
import { proofRoutes } from './proof-routes.ts'
import { grantRoutes, recordRoutes } from './record-routes.ts'
import { safetyRoutes } from './safety-routes.ts'
import { statusRoutes } from './status-routes.ts'
import { storageRoutes } from './storage-routes.ts'
import { uploadRoutes } from './upload-routes.ts'
import { validatorRoutes } from './validator-routes.ts'

export interface GatewayDeps {
  readonly peer: Peer
  readonly clock: Clock
  readonly log: Log
}

export interface GatewayOptions {
  readonly host: string
  /** 0 takes any free port. */
  readonly port: number
  readonly token: string
}

export interface Gateway {
  /** `http://host:port` as bound. */
  readonly url: string
  close(): Promise<void>
}

/** @throws {GatewayError} `API_LISTEN_FAILED` */
export async function startGateway(deps: GatewayDeps, options: GatewayOptions): Promise<Gateway> {
  const app = fastify({
    bodyLimit: BLOCK_BYTES_MAX,
    forceCloseConnections: true,
    // Uploads of hours are normal; a connection that says nothing is not.
    requestTimeout: 0,
    connectionTimeout: HTTP_IDLE_TIMEOUT_MS,
    keepAliveTimeout: HTTP_IDLE_TIMEOUT_MS,
    http: { headersTimeout: HTTP_HEADERS_TIMEOUT_MS },
    ajv: { customOptions: { coerceTypes: 'array', removeAdditional: false } },
  })
  app.setErrorHandler(async (error: FastifyError, request, reply) => answerError(deps.log, error, request, reply))
  app.setNotFoundHandler(async (request, reply) =>
    sendProblem(reply, new GatewayError({ code: 'API_ROUTE_UNKNOWN', method: request.method })),
  )
  app.addHook('onRequest', authenticate(options.token))
  await app.register(rateLimit, {
    max: API_REQUESTS_PER_MINUTE,
    timeWindow: 60_000,
    errorResponseBuilder: (_request, context) =>
      new GatewayError({ code: 'API_RATE_LIMITED', max: context.max, afterMs: context.ttl }),
  })
  await app.register(swagger, { openapi: openapiInfo })
  await registerRoutes(app, deps)
  try {
    await app.listen({ host: options.host, port: options.port })
  } catch (error) {
    await app.close()
    const reason = (error as NodeJS.ErrnoException).code ?? 'unknown'
    throw new GatewayError(
      { code: 'API_LISTEN_FAILED', host: options.host, port: options.port, reason },
      { cause: error },
    )
  }
  const bound = app.addresses()[0]
  const host = options.host.includes(':') ? `[${options.host}]` : options.host
  const port = typeof bound === 'object' ? bound.port : options.port
  return { url: `http://${host}:${port}`, close: async () => app.close() }
}

const openapiInfo: NonNullable<FastifyDynamicSwaggerOptions['openapi']> = {
  openapi: '3.1.0',
  info: {
    title: 'Apotheca peer',
    version: '1',
    description: 'Sealed content, the ledger, and the state of one peer. Faults are RFC 9457 problem details.',
    license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
  },
  components: { securitySchemes: { token: { type: 'http', scheme: 'bearer' } } },
  security: [{ token: [] }],
}

async function registerRoutes(app: FastifyInstance, { clock, log, peer }: GatewayDeps): Promise<void> {
  const metrics = new Metrics({ peer, clock })
  app.addHook('onClose', async () => metrics.close())
  // Streamed bodies are handed to the route unread.
  for (const type of ['application/offset+octet-stream', CAR_MEDIA_TYPE]) {
    app.addContentTypeParser(type, (_request, payload, done) => done(null, payload))
  }
  for (const type of ['application/vnd.ipld.raw', 'application/vnd.ipld.dag-pb', 'application/vnd.ipld.dag-cbor']) {
    app.addContentTypeParser(type, { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  }
  await app.register(async (api) => statusRoutes(api, peer, metrics))
  await app.register(async (api) => uploadRoutes(api, peer), { prefix: '/api/v1' })
  await app.register(async (api) => contentRoutes(api, peer, log), { prefix: '/api/v1' })
  await app.register(async (api) => carRoutes(api, peer, log), { prefix: '/api/v1' })
  await app.register(async (api) => ledgerRoutes(api, peer), { prefix: '/api/v1' })
  await app.register(async (api) => recordRoutes(api, peer.chain), { prefix: '/api/v1' })
  await app.register(async (api) => grantRoutes(api, peer.chain), { prefix: '/api/v1' })
  await app.register(async (api) => proofRoutes(api, peer), { prefix: '/api/v1' })
  await app.register(async (api) => validatorRoutes(api, peer), { prefix: '/api/v1' })
  await app.register(async (api) => safetyRoutes(api, peer), { prefix: '/api/v1' })
  await app.register(async (api) => networkRoutes(api, peer), { prefix: '/api/v1' })
  await app.register(async (api) => storageRoutes(api, peer), { prefix: '/api/v1' })
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
}

/** Compares hashes in constant time, so that neither content nor length of the token leaks. */
function authenticate(token: string): (request: FastifyRequest, reply: FastifyReply) => Promise<void> {
  const wanted = sha256(fromString(`Bearer ${token}`, 'utf8'))
  return async (request) => {
    if (request.routeOptions.config.open === true) return
    const given = sha256(fromString(request.headers.authorization ?? '', 'utf8'))
    if (!equalSecrets(given, wanted)) throw new GatewayError({ code: 'API_TOKEN_INVALID' })
  }
}

async function answerError(log: Log, error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  if (reply.raw.headersSent) {
    // Too late for a status: cutting the connection tells the reader that the body isn't whole. What was sent goes out before, the
    // head above all: without it this would look like a peer that can't be reached.
    reply.raw.socket?.destroySoon()
    return
  }
  if (error instanceof CodedError) return sendProblem(reply, error)
  if (error.validation !== undefined) {
    const first = error.validation[0]
    const where = `${error.validationContext ?? 'request'}${first?.instancePath ?? ''}`
    return sendProblem(
      reply,
      new GatewayError({ code: 'API_REQUEST_INVALID', where, problem: first?.message ?? 'invalid' }),
    )
  }
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return sendProblem(
      reply,
      new GatewayError({ code: 'API_BODY_TOO_LARGE', bytesMax: request.routeOptions.bodyLimit ?? BLOCK_BYTES_MAX }),
    )
  }
  if (error.statusCode !== undefined && error.statusCode >= 400 && error.statusCode < 500) {
    return sendProblem(reply, new GatewayError({ code: 'API_REQUEST_INVALID', where: 'request', problem: error.code }))
  }
  log.error({ err: error, route: request.routeOptions.url }, 'request failed')
  return sendProblem(reply, error)
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** True where no authentication is asked for. */
    open?: boolean
  }
}
