/** Faults as RFC 9457 problem details: the code, the sentence, what to do, and the fault's own fields. */
import type { FastifyReply } from 'fastify'
import { reportError } from './fault-catalog.ts'

export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: string
  readonly fields: Readonly<Record<string, unknown>>
}

export const PROBLEM_JSON = 'application/problem+json'

export function problemOf(error: unknown): Problem {
  const { code, sentence, todo, http, fields } = reportError(error)
  return { type: `urn:apotheca:fault:${code}`, title: sentence, status: http, detail: todo, code, fields }
}

export async function sendProblem(reply: FastifyReply, error: unknown): Promise<void> {
  const problem = problemOf(error)
  await reply.code(problem.status).type(PROBLEM_JSON).send(JSON.stringify(problem))
}
