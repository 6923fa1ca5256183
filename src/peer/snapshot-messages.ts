/**
 * Requests and answers of `/apotheca/snapshot/1`. Pieces of a snapshot's state travel as they are: see ledger/snapshot.ts.
 *
 * @see docs/spec/sync.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import {
  CERTIFICATE_BYTES_MAX,
  EPOCH_ENDS_MAX,
  HEADER_BYTES_MAX,
  SNAPSHOT_ANSWER_BYTES_MAX,
  SNAPSHOT_HEADERS_MAX,
  SNAPSHOT_REQUEST_BYTES_MAX,
} from '../core/limits.ts'
import {
  type Decoded,
  type Decoder,
  byteString,
  integer,
  list,
  literal,
  nullable,
  object,
  shapeFault,
} from '../core/schema.ts'

const headerBytes = byteString(1, HEADER_BYTES_MAX)
const certifiedHeader = object({ header: headerBytes, certificate: byteString(1, CERTIFICATE_BYTES_MAX) })

/** The last headers of epochs, from this one on, and the newest final header. */
const epochsRequest = object({ kind: literal('epochs'), from: integer(0) })
/** The state of a height, from a tree key on. */
const chunkRequest = object({ kind: literal('chunk'), height: integer(1), from: byteString(32) })
/** Headers downwards from a height. */
const headersRequest = object({ kind: literal('headers'), from: integer(1) })
const epochsAnswer = object({
  /** Without gaps, from the epoch that was asked for. */
  ends: list(certifiedHeader, 0, EPOCH_ENDS_MAX),
  newest: nullable(certifiedHeader),
})
const headersAnswer = object({ headers: list(headerBytes, 0, SNAPSHOT_HEADERS_MAX) })

export type SnapshotRequest =
  | Decoded<typeof chunkRequest>
  | Decoded<typeof epochsRequest>
  | Decoded<typeof headersRequest>
export type EpochsAnswer = Decoded<typeof epochsAnswer>
export type HeadersAnswer = Decoded<typeof headersAnswer>

const snapshotRequest: Decoder<SnapshotRequest> = (value, path) => {
  const kind: unknown = typeof value === 'object' && value !== null && 'kind' in value ? value.kind : undefined
  if (kind === 'epochs') return epochsRequest(value, path)
  if (kind === 'chunk') return chunkRequest(value, path)
  if (kind === 'headers') return headersRequest(value, path)
  throw shapeFault(`${path}.kind`, 'one of epochs, chunk, headers')
}

export function encodeSnapshotRequest(value: SnapshotRequest): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeSnapshotRequest(bytes: Uint8Array): SnapshotRequest {
  return snapshotRequest(decodeCanonical(bytes, SNAPSHOT_REQUEST_BYTES_MAX), 'snapshot')
}

export function encodeEpochsAnswer(value: EpochsAnswer): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeEpochsAnswer(bytes: Uint8Array): EpochsAnswer {
  return epochsAnswer(decodeCanonical(bytes, SNAPSHOT_ANSWER_BYTES_MAX), 'epochs')
}

export function encodeHeadersAnswer(value: HeadersAnswer): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeHeadersAnswer(bytes: Uint8Array): HeadersAnswer {
  return headersAnswer(decodeCanonical(bytes, SNAPSHOT_ANSWER_BYTES_MAX), 'headers')
}
