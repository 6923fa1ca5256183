/**
 * Block bodies: transactions, and what justifies the block's place. One IPLD block, fetched by CID.
 *
 * @see docs/spec/body.md
 */
import type { CID } from 'multiformats/cid'
import { encodeCanonical, viewCanonical } from '../core/codec.ts'
import {
  BLOCK_BYTES_MAX,
  BLOCK_NULLIFY_CERTIFICATES_MAX,
  BLOCK_TXS_MAX,
  BLOCK_TX_BYTES_MAX,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import { type Decoder, byteString, list, nullable, object, shapeFault } from '../core/schema.ts'
import { cborCid } from '../crypto/hash.ts'
import { rootOfHashes } from '../crypto/merkle.ts'
import { type Certificate, certificate } from './certificate.ts'

export interface BlockBody {
  /** Envelopes, as they were signed; in the order they are applied. */
  readonly txs: readonly Uint8Array[]
  readonly justify: Justification
}

/** Why the block may follow its parent in its view. */
export interface Justification {
  /** Notarize or finalize certificate of the parent; `null` where that is the genesis. */
  readonly parentCert: Certificate | null
  /** One for each view between the parent's and the block's, ascending. */
  readonly nullifyCerts: readonly Certificate[]
}

const bodyFields = object({
  txs: list(byteString(1, TX_LARGE_BYTES_MAX), 0, BLOCK_TXS_MAX),
  justify: object({
    parentCert: nullable(certificate),
    nullifyCerts: list(certificate, 0, BLOCK_NULLIFY_CERTIFICATES_MAX),
  }),
})

const body: Decoder<BlockBody> = (value, path) => {
  const decoded = bodyFields(value, path)
  const bytes = decoded.txs.reduce((sum, tx) => sum + tx.length, 0)
  if (bytes > BLOCK_TX_BYTES_MAX) throw shapeFault(`${path}.txs`, `at most ${BLOCK_TX_BYTES_MAX} bytes in all`)
  return decoded
}

export function encodeBody(value: BlockBody): Uint8Array {
  return encodeCanonical(value)
}

/** @param bytes - must not change afterwards: the body is made of views of them. @throws {CodecError} */
export function decodeBody(bytes: Uint8Array): BlockBody {
  return body(viewCanonical(bytes, BLOCK_BYTES_MAX), 'body')
}

export function bodyCid(bytes: Uint8Array): CID {
  return cborCid(bytes)
}

/**
 * Root over the envelopes of a body; proves that a transaction stands in a block.
 *
 * @param leaves - of the envelopes, from `leafHash`.
 */
export function txRootOf(leaves: readonly Uint8Array[]): Uint8Array {
  return rootOfHashes(leaves)
}
