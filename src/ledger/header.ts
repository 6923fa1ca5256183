/**
 * Block headers: everything that a block commits to, in less than 600 bytes.
 *
 * A block's id is the CID of its header's canonical bytes. `stateRoot` is the state *after* the block, so that a peer which
 * computes something else refuses the block instead of forking later.
 *
 * @see docs/spec/header.md; test/vectors/ledger-chain.json
 */
import type { CID } from 'multiformats/cid'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import type { InstitutionId } from '../core/ids.ts'
import { CERTIFICATE_BYTES_MAX, FINAL_HEADER_BYTES_MAX, HEADER_BYTES_MAX } from '../core/limits.ts'
import { type Decoder, byteString, integer, literal, object, optional } from '../core/schema.ts'
import { cborCid } from '../crypto/hash.ts'
import { type Certificate, decodeCertificate } from './certificate.ts'
import { cborLink, digest, institutionId, timeMs } from './fields.ts'
import { type Validator, validatorList } from './validators.ts'

export const HEADER_VERSION = 1

export interface Header {
  readonly version: typeof HEADER_VERSION
  /** The chain: CID of its genesis. */
  readonly chain: CID
  readonly epoch: number
  readonly view: number
  /** 1 for the first block; the genesis is height 0. */
  readonly height: number
  /** Id of the block before; of the first block, the CID of the genesis. */
  readonly parent: CID
  /** View of the block before; 0 where that is the genesis. */
  readonly parentView: number
  /** Milliseconds since the Unix epoch, later than the parent's. */
  readonly timeMs: number
  readonly proposer: InstitutionId
  readonly body: CID
  /** RFC 6962 root over the envelopes. */
  readonly txRoot: Uint8Array
  /** State tree root after this block. */
  readonly stateRoot: Uint8Array
  /** RFC 6962 root over the receipts, in the order of the transactions. */
  readonly receiptsRoot: Uint8Array
  /** RFC 6962 root over the digests of genesis and all earlier headers: leaf `i` is height `i`. */
  readonly historyRoot: Uint8Array
  /** Version of the placement layout in force; 0 while there is none. */
  readonly layoutVersion: number
  /** In the last header of an epoch, and only there: who votes in the next. */
  readonly nextValidators?: readonly Validator[]
}

/** A header with the certificate that makes it final: what is gossiped. */
export interface FinalHeader {
  readonly id: CID
  readonly header: Header
  readonly certificate: Certificate
  readonly headerBytes: Uint8Array
  readonly certificateBytes: Uint8Array
}

const header: Decoder<Header> = object({
  version: literal(HEADER_VERSION),
  chain: cborLink,
  epoch: integer(0),
  view: integer(1),
  height: integer(1),
  parent: cborLink,
  parentView: integer(0),
  timeMs,
  proposer: institutionId,
  body: cborLink,
  txRoot: digest,
  stateRoot: digest,
  receiptsRoot: digest,
  historyRoot: digest,
  layoutVersion: integer(0),
  nextValidators: optional(validatorList),
})

const finalHeader = object({
  header: byteString(1, HEADER_BYTES_MAX),
  certificate: byteString(1, CERTIFICATE_BYTES_MAX),
})

export function encodeHeader(value: Header): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeHeader(bytes: Uint8Array): Header {
  return header(decodeCanonical(bytes, HEADER_BYTES_MAX), 'header')
}

/** The block's id. */
export function headerId(headerBytes: Uint8Array): CID {
  return cborCid(headerBytes)
}

/** The gossip message: the two structures as the bytes that were hashed and signed. */
export function encodeFinalHeader(value: { headerBytes: Uint8Array; certificateBytes: Uint8Array }): Uint8Array {
  return encodeCanonical({ header: value.headerBytes, certificate: value.certificateBytes })
}

/**
 * Decodes a gossip message; nothing is verified yet, not even that the certificate is of this header.
 *
 * @throws {CodecError}
 */
export function decodeFinalHeader(bytes: Uint8Array): FinalHeader {
  const given = finalHeader(decodeCanonical(bytes, FINAL_HEADER_BYTES_MAX), 'final')
  return {
    id: headerId(given.header),
    header: decodeHeader(given.header),
    certificate: decodeCertificate(given.certificate),
    headerBytes: given.header,
    certificateBytes: given.certificate,
  }
}
