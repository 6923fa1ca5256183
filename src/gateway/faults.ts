import { CodedError, EXIT, type FaultTable } from '../core/coded-error.ts'

export type GatewayFault =
  | { code: 'API_LISTEN_FAILED'; host: string; port: number; reason: string }
  | { code: 'API_TOKEN_INVALID' }
  | { code: 'API_ROUTE_UNKNOWN'; method: string }
  | { code: 'API_RATE_LIMITED'; max: number; afterMs: number }
  | { code: 'API_REQUEST_INVALID'; where: string; problem: string }
  | { code: 'API_BODY_TOO_LARGE'; bytesMax: number }
  | { code: 'BLOCK_TYPE_UNKNOWN' }
  | { code: 'CAR_BODY_TYPE' }
  | { code: 'RANGE_NOT_SATISFIABLE'; bytes: number }
  | { code: 'UPLOAD_VERSION'; expected: string }
  | { code: 'UPLOAD_BODY_TYPE' }
export class GatewayError extends CodedError<GatewayFault> {}

export const gatewayFaults = {
  API_LISTEN_FAILED: {
    says: 'The HTTP API cannot listen on {host} port {port}: {reason}.',
    todo: 'Stop what holds the port, or set another api.port in the config of the peer.',
    http: 500,
    exit: EXIT.unavailable,
  },
  API_TOKEN_INVALID: {
    says: 'The request carries no valid token.',
    todo: 'Send "Authorization: Bearer" with the token in the api.json of the data folder of the peer; the CLI takes it from --peer.',
    http: 401,
    exit: EXIT.denied,
  },
  API_ROUTE_UNKNOWN: {
    says: 'There is no such {method} route.',
    todo: 'Look at /openapi.json for what there is.',
    http: 404,
    exit: EXIT.notFound,
  },
  API_RATE_LIMITED: {
    says: 'More than {max} requests came in a minute.',
    todo: 'Wait {afterMs} ms and go on more slowly.',
    http: 429,
    exit: EXIT.unavailable,
  },
  API_REQUEST_INVALID: {
    says: 'The request is wrong at {where}: {problem}.',
    todo: 'Correct it; /openapi.json has the schema of every route.',
    http: 400,
    exit: EXIT.usage,
  },
  API_BODY_TOO_LARGE: {
    says: 'The body is larger than the {bytesMax} bytes that this route takes.',
    todo: 'Send less at once; files of any size go through /api/v1/uploads.',
    http: 413,
    exit: EXIT.capacity,
  },
  BLOCK_TYPE_UNKNOWN: {
    says: 'The body is not a block of a known codec.',
    todo: 'Set the content type to application/vnd.ipld.raw, application/vnd.ipld.dag-pb or application/vnd.ipld.dag-cbor.',
    http: 415,
    exit: EXIT.usage,
  },
  CAR_BODY_TYPE: {
    says: 'A CAR must come as application/vnd.ipld.car.',
    todo: 'Set that content type.',
    http: 415,
    exit: EXIT.usage,
  },
  RANGE_NOT_SATISFIABLE: {
    says: 'The byte range lies outside of the {bytes} bytes of this file.',
    todo: 'Ask for a range inside.',
    http: 416,
    exit: EXIT.usage,
  },
  UPLOAD_VERSION: {
    says: 'Uploads speak tus {expected}; the request names another version or none.',
    todo: 'Send the header Tus-Resumable: {expected}.',
    http: 412,
    exit: EXIT.usage,
  },
  UPLOAD_BODY_TYPE: {
    says: 'The bytes of an upload must come as application/offset+octet-stream.',
    todo: 'Set that content type.',
    http: 415,
    exit: EXIT.usage,
  },
} as const satisfies FaultTable
