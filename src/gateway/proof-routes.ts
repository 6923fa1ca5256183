/** Light proofs over HTTP: each answer is one document that is checked without this peer. See docs/spec/light-proof.md. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { fromString } from 'uint8arrays/from-string'
import { parseAccountId, parseRecordId, parseTxId } from '../core/ids.ts'
import { PROOF_ENTRIES_MAX, STATE_KEY_BYTES_MAX } from '../core/limits.ts'
import { accountStateKey } from '../domain/accounts.ts'
import { getRecord, recordStateKeys } from '../domain/records.ts'
import { proveBlock, proveState, proveTransaction } from '../ledger/proof-maker.ts'
import { PeerError } from '../peer/faults.ts'
import type { Peer } from '../peer/peer.ts'

const tags = ['proofs']
const PROOF_TYPE = 'application/vnd.ipld.dag-cbor'
const idParams = {
  type: 'object',
  properties: { id: { type: 'string', minLength: 1, maxLength: 64 } },
  required: ['id'],
} as const

interface IdRequest {
  Params: { readonly id: string }
}

export function proofRoutes(api: FastifyInstance, peer: Peer): void {
  const { chain } = peer
  const send = async (reply: FastifyReply, proof: Uint8Array): Promise<void> => {
    await reply.type(PROOF_TYPE).send(proof)
  }

  api.get<IdRequest>(
    '/ledger/proofs/records/:id',
    {
      schema: {
        summary: 'Light proof of a record with its versions (the newest, where there are hundreds), or of its absence',
        tags,
        params: idParams,
      },
    },
    async (request, reply) => {
      const id = parseRecordId(request.params.id)
      const to = (await getRecord(chain.reader, id))?.versions ?? 0
      const from = Math.max(1, to - PROOF_ENTRIES_MAX + 2)
      await send(reply, await proveState(chain, recordStateKeys(id, { from, to })))
    },
  )

  api.get<IdRequest>(
    '/ledger/proofs/accounts/:id',
    { schema: { summary: 'Light proof of an account and its keys, or of its absence', tags, params: idParams } },
    async (request, reply) => {
      await send(reply, await proveState(chain, [accountStateKey(parseAccountId(request.params.id))]))
    },
  )

  api.get<IdRequest>(
    '/ledger/proofs/transactions/:id',
    { schema: { summary: 'Light proof of a final transaction and its receipt', tags, params: idParams } },
    async (request, reply) => {
      const proof = await proveTransaction(chain, parseTxId(request.params.id))
      if (proof === undefined) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'final transaction' })
      await send(reply, proof)
    },
  )

  api.get<{ Params: { readonly namespace: string; readonly key: string } }>(
    '/ledger/proofs/state/:namespace/:key',
    {
      schema: {
        summary: 'Light proof of the value of a state key (in hex), or of its absence',
        tags,
        params: {
          type: 'object',
          properties: {
            namespace: { type: 'string', pattern: '^[a-z][a-z0-9-]{0,31}$' },
            key: { type: 'string', pattern: '^(?:[0-9a-f]{2})+$', maxLength: STATE_KEY_BYTES_MAX * 2 },
          },
          required: ['namespace', 'key'],
        },
      },
    },
    async (request, reply) => {
      const { key, namespace } = request.params
      await send(reply, await proveState(chain, [{ namespace, key: fromString(key, 'base16') }]))
    },
  )

  api.get<{ Params: { readonly height: number } }>(
    '/ledger/proofs/blocks/:height',
    {
      schema: {
        summary: 'Light proof that a block is final',
        tags,
        params: {
          type: 'object',
          properties: { height: { type: 'integer', minimum: 1 } },
          required: ['height'],
        },
      },
    },
    async (request, reply) => {
      const { height } = request.params
      if (height > chain.head.height) throw new PeerError({ code: 'LEDGER_UNKNOWN', what: 'block' })
      await send(reply, await proveBlock(chain, height))
    },
  )
}
