/** Answers that carry bytes and links are DAG-JSON (IPLD): `{"/": "<cid>"}` and `{"/": {"bytes": "<base64>"}}`. */
import * as dagJson from '@ipld/dag-json'
import type { FastifyReply } from 'fastify'
import { toString } from 'uint8arrays/to-string'

export const DAG_JSON = 'application/vnd.ipld.dag-json'

export async function sendDagJson(reply: FastifyReply, value: unknown): Promise<void> {
  await reply.type(DAG_JSON).send(toString(dagJson.encode(value), 'utf8'))
}
