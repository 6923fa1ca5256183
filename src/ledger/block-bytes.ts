/** Reading the three byte strings of a block; whatever is no block is the block's fault, not the codec's. */
import type { CID } from 'multiformats/cid'
import { CodecError } from '../core/codec.ts'
import { type BlockBody, decodeBody } from './block-body.ts'
import { BlockError, HeaderError } from './block-check.ts'
import { type Certificate, decodeCertificate } from './certificate.ts'
import { type FinalHeader, type Header, decodeHeader, headerId } from './header.ts'
import { type SignedTx, decodeEnvelope } from './transaction.ts'

/** A block as it is stored and travels. */
export interface BlockBytes {
  readonly header: Uint8Array
  readonly certificate: Uint8Array
  readonly body: Uint8Array
}

/** @throws {HeaderError} `HEADER_MALFORMED` */
export function readHeader(bytes: Uint8Array): { readonly id: CID; readonly header: Header } {
  try {
    return { id: headerId(bytes), header: decodeHeader(bytes) }
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    throw new HeaderError({ code: 'HEADER_MALFORMED', problem: error.fault.code }, { cause: error })
  }
}

/** @throws {HeaderError} `HEADER_MALFORMED`, `HEADER_CERTIFICATE_INVALID` */
export function readFinal(given: BlockBytes): FinalHeader {
  const { header, id } = readHeader(given.header)
  let certificate: Certificate
  try {
    certificate = decodeCertificate(given.certificate)
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    throw new HeaderError({ code: 'HEADER_CERTIFICATE_INVALID', problem: error.fault.code }, { cause: error })
  }
  return { id, header, certificate, headerBytes: given.header, certificateBytes: given.certificate }
}

/** @throws {BlockError} `BODY_MALFORMED` */
export function readBody(bytes: Uint8Array): BlockBody {
  try {
    return decodeBody(bytes)
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    throw new BlockError({ code: 'BODY_MALFORMED', problem: error.fault.code }, { cause: error })
  }
}

/** @param leaf - of its bytes. @throws {BlockError} `BLOCK_TX_INADMISSIBLE` */
export function readTx(bytes: Uint8Array, leaf: Uint8Array, index: number): SignedTx {
  try {
    return decodeEnvelope(bytes, leaf)
  } catch (error) {
    if (!(error instanceof CodecError)) throw error
    throw new BlockError({ code: 'BLOCK_TX_INADMISSIBLE', index, problem: error.fault.code }, { cause: error })
  }
}
