import { STORE_CALL_BYTES_MAX, STORE_CALL_RECORDS_MAX } from '../core/limits.ts'
import type { NewBlock } from './blocks.ts'
import { recordBytes } from './pack-record.ts'

/** Cuts a large call into pieces that are written whole. */
export function* pieces(blocks: readonly NewBlock[]): Generator<readonly NewBlock[]> {
  let piece: NewBlock[] = []
  let bytes = 0
  for (const block of blocks) {
    const more = recordBytes(lengthOf(block.parts))
    if (piece.length > 0 && (bytes + more > STORE_CALL_BYTES_MAX || piece.length >= STORE_CALL_RECORDS_MAX)) {
      yield piece
      piece = []
      bytes = 0
    }
    piece.push(block)
    bytes += more
  }
  if (piece.length > 0) yield piece
}

export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0)
}
