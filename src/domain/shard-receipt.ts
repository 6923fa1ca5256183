/**
 * A shard receipt: a storage peer's word that it holds one column of an extent, durable and checked against the extent map.
 *
 * Whoever has receipts of enough columns commits the extent to the ledger (`storage.commit`); a peer that mended or took over a
 * column confirms it with its own (`storage.confirm`). The peer keeps what it signed for until final block time is past
 * `expiresMs` and an hour: until then the ledger may still name it.
 *
 * @see docs/spec/shard-receipt.md
 */
import { encodeCanonical } from '../core/codec.ts'
import type { ChainId } from '../core/ids.ts'
import { COLUMNS_MAX } from '../core/limits.ts'
import type { Signer } from '../core/ports.ts'
import { type Decoded, type Decoder, integer, object } from '../core/schema.ts'
import { type SignatureCheck, signMessage, verifyMessage } from '../crypto/signatures.ts'
import { type PeerIdText, peerIdKey, signatureBytes, timeMs } from '../ledger/fields.ts'
import type { Extent } from './storage-state.ts'

/**
 * An extent as the ledger has it, but for who holds it. A receipt signs all of it: the holder has the extent map and knows; so
 * whoever commits can't tell the ledger something else, nor use the receipts for another object.
 */
export type ExtentFacts = Omit<Extent, 'group' | 'holders'>

/** What a receipt is of. */
export interface ShardPromise {
  readonly extent: ExtentFacts
  readonly column: number
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
  const { message, publicKey, type } = receiptCheck(peer, chain, promise, signature)
  return verifyMessage(publicKey, signature, type, chain, message)
}

/** The same for `verifyMany`. */
export function receiptCheck(
  peer: PeerIdText,
  chain: ChainId,
  promise: ShardPromise,
  signature: Uint8Array,
): SignatureCheck {
  return { publicKey: peerIdKey(peer), signature, type: 'receipt', chain, message: promiseBytes(promise) }
}

function promiseBytes({ column: of, expiresMs, extent }: ShardPromise): Uint8Array {
  const { columns, copies, data, index, manifest, map, parity, root, segments } = extent
  return encodeCanonical({ manifest, index, map, root, data, parity, segments, columns, copies, column: of, expiresMs })
}
