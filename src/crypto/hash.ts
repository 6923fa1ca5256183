/** SHA-256 and the CIDs made of it: every id of content in Apotheca is a CIDv1 with sha2-256. */
import { byteText, sha256, sha256Into } from '#native'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'

export { byteText, sha256, sha256Into }

/** Multicodec codes. */
export const RAW = 0x55
export const DAG_PB = 0x70
export const DAG_CBOR = 0x71
const SHA2_256 = 0x12

export type BlockCodec = typeof RAW | typeof DAG_PB | typeof DAG_CBOR

/**
 * @param digest - SHA-256 of the block, 32 bytes.
 * @returns CIDv1.
 */
export function digestCid(codec: BlockCodec, digest: Uint8Array): CID {
  return CID.createV1(codec, Digest.create(SHA2_256, digest))
}

/** CID of bytes stored as they are: segments of sealed streams, shards. */
export function rawCid(bytes: Uint8Array): CID {
  return digestCid(RAW, sha256(bytes))
}

/** CID of canonical bytes; see core/codec.ts. */
export function cborCid(bytes: Uint8Array): CID {
  return digestCid(DAG_CBOR, sha256(bytes))
}
