/** Blocks that two processes make alike from a number, and sources that hold them. */
import { createHash } from 'node:crypto'
import type { BlockSource } from '../../../src/p2p/block-server.ts'

export function blockOf(index: number, bytes: number): Uint8Array {
  const block = new Uint8Array(bytes).fill(index % 251)
  new DataView(block.buffer).setUint32(0, index)
  return block
}

export function digestOf(block: Uint8Array): Uint8Array {
  return createHash('sha256').update(block).digest()
}

export function digestsOf(count: number, bytes: number): Uint8Array[] {
  return Array.from({ length: count }, (_, index) => digestOf(blockOf(index, bytes)))
}

/** Holds the blocks of the given numbers, and counts what was read. */
export class TestSource implements BlockSource {
  readonly #held = new Map<string, number>()
  readonly #bytes: number
  reads = 0

  constructor(indexes: Iterable<number>, bytes: number) {
    this.#bytes = bytes
    for (const index of indexes) this.#held.set(keyOf(digestOf(blockOf(index, bytes))), index)
  }

  has(digest: Uint8Array): boolean {
    return this.#held.has(keyOf(digest))
  }

  async readUnverified(digest: Uint8Array): Promise<Uint8Array | undefined> {
    const index = this.#held.get(keyOf(digest))
    if (index === undefined) return undefined
    this.reads++
    return blockOf(index, this.#bytes)
  }
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

function keyOf(digest: Uint8Array): string {
  return Buffer.from(digest).toString('hex')
}
