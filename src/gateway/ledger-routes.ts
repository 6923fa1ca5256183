/** The ledger over HTTP: transactions in, blocks, accounts and institutions out. */
import type { FastifyInstance } from 'fastify'
import { LIST_MAX, TX_LARGE_BYTES_MAX, TX_WAIT_MS_MAX } from '../core/limits.ts'
import { parseAccountId, parseTxId } from '../core/ids.ts'
import { decodeCanonical } from '../core/codec.ts'
import { getAccount, listInstitutions } from '../domain/accounts.ts'
import { attestAccount } from '../peer/attest.ts'
import { PeerError } from '../peer/faults.ts'
import type { Peer } from '../peer/peer.ts'
import { sendDagJson } from './dag-json-reply.ts'
import { GatewayError } from './faults.ts'

const ENVELOPE_TYPE = 'application/vnd.ipld.dag-cbor'
const tags = ['ledger']
const idParams = {
  type: 'object',
  properties: { id: { type: 'string', minLength: 1, maxLength: 64 } },
  required: ['id'],
} as const
const heightParams = {
  type: 'object',
  properties: { height: { type: 'integer', minimum: 1 } },
  required: ['height'],
} as const

interface IdRequest {
  Params: { readonly id: string }
}

export function ledgerRoutes(api: FastifyInstance, peer: Peer): void {
  const { chain, ledger } = peer
  const { reader } = chain

  api.get('/ledger/head', { schema: { summary: 'The newest final block', tags } }, async (_request, reply) => {
    const { height, id, stateRoot, timeMs } = chain.head
    await sendDagJson(reply, { chain: chain.id, height, block: id, timeMs, stateRoot })
  })

  api.get<{ Params: { readonly height: number } }>(
    '/ledger/blocks/:height',
    {
      schema: { summary: 'A final block: header, certificate, transactions and receipts', tags, params: heightParams },
    },
    async (request, reply) => {
      const { height } = request.params
      const final = await reader.headerAt(height)
      const body = await reader.bodyAt(height)
      if (final === undefined || body === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'block' })
      const receipts = (await reader.receiptsAt(height)) ?? []
      await sendDagJson(reply, {
        id: final.id,
        header: final.header,
        certificate: final.certificate,
        body: body.body,
        receipts,
      })
    },
  )

  api.post(
    '/ledger/transactions',
    { bodyLimit: TX_LARGE_BYTES_MAX, schema: { summary: 'Submit a signed transaction (its envelope)', tags } },
    async (request, reply) => {
      const id = await ledger.submit(envelopeOf(request.headers['content-type'], request.body))
      await sendDagJson(reply.code(202), { tx: id })
    },
  )

  api.get<IdRequest & { Querystring: { readonly waitMs: number } }>(
    '/ledger/transactions/:id',
    {
      schema: {
        summary: 'The receipt of a transaction, once it is final',
        tags,
        params: idParams,
        querystring: {
          type: 'object',
          properties: { waitMs: { type: 'integer', minimum: 0, maximum: TX_WAIT_MS_MAX, default: 0 } },
          additionalProperties: false,
        },
      },
    },
    async (request, reply) => {
      const id = parseTxId(request.params.id)
      const { waitMs } = request.query
      const found =
        waitMs === 0
          ? await ledger.receipt(id)
          : await ledger.waitForReceipt(id, AbortSignal.timeout(waitMs)).catch((error: unknown) => {
              if (error instanceof Error && error.name === 'TimeoutError') return undefined
              throw error
            })
      if (found === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'final transaction' })
      await sendDagJson(reply, { tx: id, height: found.height, index: found.index, receipt: found.receipt })
    },
  )

  api.post(
    '/accounts',
    {
      bodyLimit: TX_LARGE_BYTES_MAX,
      schema: { summary: 'Register an account: adds the attestation of this institution to its account.create', tags },
    },
    async (request, reply) => {
      const envelope = envelopeOf(request.headers['content-type'], request.body)
      const id = await ledger.submit(await attestAccount(peer, envelope))
      await sendDagJson(reply.code(202), { tx: id })
    },
  )

  api.get<IdRequest>(
    '/accounts/:id',
    { schema: { summary: 'An account and its keys', tags, params: idParams } },
    async (request, reply) => {
      const account = await getAccount(reader, parseAccountId(request.params.id))
      if (account === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'account' })
      await sendDagJson(reply, account)
    },
  )

  api.get<IdRequest & { Querystring: { readonly lane: 0 | 1 | 2 | 3 } }>(
    '/accounts/:id/next',
    {
      schema: {
        summary: 'What the next transaction of an account must carry',
        tags,
        params: idParams,
        querystring: { type: 'object', properties: { lane: { type: 'integer', enum: [0, 1, 2, 3], default: 1 } } },
      },
    },
    async (request, reply) => {
      const account = parseAccountId(request.params.id)
      const seq = await chain.nextSeq(account, request.query.lane)
      await sendDagJson(reply, { chain: chain.id, seq, blockTimeMs: chain.head.timeMs, institution: peer.institution })
    },
  )

  api.get('/institutions', { schema: { summary: 'Member institutions', tags } }, async (_request, reply) => {
    await sendDagJson(reply, { institutions: await Array.fromAsync(listInstitutions(reader, { limit: LIST_MAX })) })
  })
}

function envelopeOf(type: string | undefined, body: unknown): Uint8Array {
  if (type !== ENVELOPE_TYPE || !(body instanceof Uint8Array)) throw new GatewayError({ code: 'BLOCK_TYPE_UNKNOWN' })
  // Refused here with the exact place, before it travels.
  decodeCanonical(body, TX_LARGE_BYTES_MAX)
  return new Uint8Array(body)
}
