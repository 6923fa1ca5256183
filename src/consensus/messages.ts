/**
 * What validators say to each other, on `/apotheca/consensus/1`. Canonical dag-cbor; the stream says whose peer it is.
 *
 * @see docs/spec/consensus-message.md
 */
import type { CID } from 'multiformats/cid'
import { encodeCanonical, viewCanonical } from '../core/codec.ts'
import {
  BLOCK_BYTES_MAX,
  BLOCK_NULLIFY_CERTIFICATES_MAX,
  CONSENSUS_MESSAGE_BYTES_MAX,
  HEADER_BYTES_MAX,
  TRANSACTIONS_SHARED_MAX,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import { type Decoder, byteString, integer, list, literal, nullable, object, shapeFault } from '../core/schema.ts'
import type { Justification } from '../ledger/block-body.ts'
import { type Certificate, certificate } from '../ledger/certificate.ts'
import { cborLink } from '../ledger/fields.ts'
import { type Vote, vote } from '../ledger/vote.ts'

export type ConsensusMessage =
  /** A leader's block for a view, with its notarize vote. `again`: the block ended the epoch in an earlier view. */
  | {
      readonly type: 'proposal'
      readonly header: Uint8Array
      readonly body: Uint8Array
      readonly again: Justification | null
      readonly vote: Vote
    }
  | { readonly type: 'vote'; readonly vote: Vote }
  | { readonly type: 'certificate'; readonly certificate: Certificate }
  /** "I am in this view: send me certificates from it on." */
  | { readonly type: 'ask'; readonly epoch: number; readonly view: number }
  | { readonly type: 'want'; readonly block: CID }
  | { readonly type: 'block'; readonly header: Uint8Array; readonly body: Uint8Array }
  /** Envelopes of transactions that wait. */
  | { readonly type: 'transactions'; readonly envelopes: readonly Uint8Array[] }

const headerBytes = byteString(1, HEADER_BYTES_MAX)
const bodyBytes = byteString(1, BLOCK_BYTES_MAX)
const justification: Decoder<Justification> = object({
  parentCert: nullable(certificate),
  nullifyCerts: list(certificate, 0, BLOCK_NULLIFY_CERTIFICATES_MAX),
})

const messages = {
  proposal: object({
    type: literal('proposal'),
    header: headerBytes,
    body: bodyBytes,
    again: nullable(justification),
    vote,
  }),
  vote: object({ type: literal('vote'), vote }),
  certificate: object({ type: literal('certificate'), certificate }),
  ask: object({ type: literal('ask'), epoch: integer(0), view: integer(1) }),
  want: object({ type: literal('want'), block: cborLink }),
  block: object({ type: literal('block'), header: headerBytes, body: bodyBytes }),
  transactions: object({
    type: literal('transactions'),
    envelopes: list(byteString(1, TX_LARGE_BYTES_MAX), 1, TRANSACTIONS_SHARED_MAX),
  }),
} as const satisfies { [K in ConsensusMessage['type']]: Decoder<Extract<ConsensusMessage, { type: K }>> }

export function encodeMessage(message: ConsensusMessage): Uint8Array {
  return encodeCanonical(message)
}

/** @param bytes - must not change afterwards: the message is made of views of them. @throws {CodecError} */
export function decodeMessage(bytes: Uint8Array): ConsensusMessage {
  const value = viewCanonical(bytes, CONSENSUS_MESSAGE_BYTES_MAX)
  const type = typeof value === 'object' && value !== null ? (value as { readonly type?: unknown }).type : undefined
  if (typeof type !== 'string' || !Object.hasOwn(messages, type)) throw shapeFault('message.type', 'a message type')
  return messages[type as ConsensusMessage['type']](value, 'message')
}
