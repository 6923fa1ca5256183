/** Content made from a seed, the same in every language: SHA-256(utf8(seed) || u32be(block)), block after block. */
import { createHash } from 'node:crypto'

const BLOCK_BYTES = 32

/** @returns the first `length` bytes. */
export function seededBytes(seed: string, length: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES)
  const counter = new Uint8Array(4)
  for (let block = 0; block * BLOCK_BYTES < length; block++) {
    new DataView(counter.buffer).setUint32(0, block)
    bytes.set(createHash('sha256').update(seed).update(counter).digest(), block * BLOCK_BYTES)
  }
  return bytes.subarray(0, length)
}
