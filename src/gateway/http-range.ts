/** Byte ranges of HTTP (RFC 9110 section 14): one range; several are answered whole, as the RFC allows. */
import type { ServerResponse } from 'node:http'
import { GatewayError } from './faults.ts'

export interface ContentRange {
  readonly start: number
  /** One past the last byte. */
  readonly end: number
  /** Whether a range was asked for. */
  readonly partial: boolean
}

/**
 * @param header - the `Range` header; anything but one `bytes` range is ignored.
 * @throws {GatewayError} `RANGE_NOT_SATISFIABLE`
 */
export function openContentRange(header: string | undefined, bytes: number): ContentRange {
  const whole = { start: 0, end: bytes, partial: false }
  const match = /^bytes=(\d{0,16})-(\d{0,16})$/.exec(header ?? '')
  if (match === null) return whole
  const [, first = '', last = ''] = match
  if (first === '' && last === '') return whole
  const start = first === '' ? Math.max(bytes - Number(last), 0) : Number(first)
  const end = first === '' || last === '' ? bytes : Math.min(Number(last) + 1, bytes)
  if (start >= end) throw new GatewayError({ code: 'RANGE_NOT_SATISFIABLE', bytes })
  return { start, end, partial: true }
}

/** Aborts when the client goes away before it has its answer, and once it has it. */
export function answerSignal(response: ServerResponse): AbortSignal {
  const controller = new AbortController()
  response.once('close', () => controller.abort())
  return controller.signal
}
