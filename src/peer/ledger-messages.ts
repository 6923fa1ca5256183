/**
 * Requests and answers of `/apotheca/sync/1` and `/apotheca/tx/1`.
 *
 * @see docs/spec/sync.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { SYNC_ANSWER_BYTES_MAX, SYNC_BLOCKS_BYTES_MAX, SYNC_BLOCKS_MAX, TX_ANSWER_BYTES_MAX } from '../core/limits.ts'
import { byteString, integer, list, object, optional } from '../core/schema.ts'
import type { BlockBytes } from '../ledger/block-bytes.ts'
import { type ReceiptFault, receiptFaultFields } from '../ledger/receipt.ts'

export interface SyncRequest {
  /** Height of the first block. */
  readonly from: number
  readonly count: number
}

export interface SyncAnswer {
  /** Height of the newest final block there. */
  readonly head: number
  /** Without gaps, from the height that was asked for. */
  readonly blocks: readonly BlockBytes[]
}

/** Empty: it waits for a block there, or is in one. */
export interface TxAnswer {
  readonly fault?: ReceiptFault
}

const blockPart = byteString(1, SYNC_BLOCKS_BYTES_MAX)
const syncRequest = object({ from: integer(1), count: integer(1, SYNC_BLOCKS_MAX) })
const blockBytes = object({ header: blockPart, certificate: blockPart, body: blockPart })
const syncAnswer = object({ head: integer(0), blocks: list(blockBytes, 0, SYNC_BLOCKS_MAX) })
const txAnswer = object({ fault: optional(receiptFaultFields) })

export function encodeSyncRequest(value: SyncRequest): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeSyncRequest(bytes: Uint8Array): SyncRequest {
  return syncRequest(decodeCanonical(bytes), 'sync')
}

export function encodeSyncAnswer(value: SyncAnswer): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeSyncAnswer(bytes: Uint8Array): SyncAnswer {
  return syncAnswer(decodeCanonical(bytes, SYNC_ANSWER_BYTES_MAX), 'sync')
}

export function encodeTxAnswer(value: TxAnswer): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeTxAnswer(bytes: Uint8Array): TxAnswer {
  return txAnswer(decodeCanonical(bytes, TX_ANSWER_BYTES_MAX), 'answer')
}
