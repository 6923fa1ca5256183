/** Blocks that two processes make alike from a number, and sources that hold them. */
import { createHash } from 'node:crypto'
import type { BlockSource } from '../../../src/p2p/block-server.ts'

export function blockOf(index: number, bytes: number): Uint8Array {
  return writeBlock(index, new Uint8Array(bytes))
}

function writeBlock(index: number, into: Uint8Array): Uint8Array {
  into.fill(index % 251)
  new DataView(into.buffer, into.byteOffset).setUint32(0, index)
  return into
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

/** Reads into the server's buffers, and remembers which: how many there were, and how often each was used. */
export class ReusingSource extends TestSource {
  readonly buffers = new Set<Uint8Array>()

  async readInto(digest: Uint8Array, into: Uint8Array): Promise<number | undefined> {
    const block = await this.readUnverified(digest)
    if (block === undefined || block.length > into.length) return block?.length
    this.buffers.add(into)
    into.set(block)
    return block.length
  }
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

function keyOf(digest: Uint8Array): string {
  return Buffer.from(digest).toString('hex')
}
