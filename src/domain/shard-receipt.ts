/**
 * A shard receipt: a storage peer's word that it holds one column of an extent, durable and checked against the extent map.
 *
 * Whoever has receipts of enough columns commits the extent to the ledger (`storage.commit`); a peer that mended or took over a
 * column confirms it with its own (`storage.confirm`). The peer keeps what it signed for until final block time is past
 * `expiresMs` and an hour: until then the ledger may still name it.
 *
 * @see docs/spec/shard-receipt.md
 */
import type { CID } from 'multiformats/cid'
import { encodeCanonical } from '../core/codec.ts'
import type { ChainId } from '../core/ids.ts'
import { COLUMNS_MAX } from '../core/limits.ts'
import type { Signer } from '../core/ports.ts'
import { type Decoded, type Decoder, integer, object } from '../core/schema.ts'
import { signMessage, verifyMessage } from '../crypto/signatures.ts'
import { type PeerIdText, peerIdKey, signatureBytes, timeMs } from '../ledger/fields.ts'

/** What a receipt is of. */
export interface ShardPromise {
  /** The extent map. */
  readonly map: CID
  /** Merkle root over the audit roots of all shards of the extent. */
  readonly root: Uint8Array
  readonly column: number
  /** Bytes of the column's shards. */
  readonly bytes: number
  /** Block time until which the ledger takes the receipt. */
  readonly expiresMs: number
}

export const column: Decoder<number> = integer(0, COLUMNS_MAX - 1)

/** A receipt as a transaction carries it, beside the extent that says the rest; the column's peer is known from the table. */
export const shardReceipt = object({ column, expiresMs: timeMs, signature: signatureBytes })
export type ShardReceipt = Decoded<typeof shardReceipt>

/** @param signer - of the peer's own (libp2p) key, by which the ledger knows it. */
export async function signReceipt(signer: Signer, chain: ChainId, promise: ShardPromise): Promise<ShardReceipt> {
  const signature = await signMessage(signer, 'receipt', chain, promiseBytes(promise))
  return { column: promise.column, expiresMs: promise.expiresMs, signature }
}

export function verifyReceipt(peer: PeerIdText, chain: ChainId, promise: ShardPromise, signature: Uint8Array): boolean {
  return verifyMessage(peerIdKey(peer), signature, 'receipt', chain, promiseBytes(promise))
}

function promiseBytes({ bytes, column: of, expiresMs, map, root }: ShardPromise): Uint8Array {
  return encodeCanonical({ map, root, column: of, bytes, expiresMs })
}
