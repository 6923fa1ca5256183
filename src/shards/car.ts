/**
 * CAR version 1: the blocks of a graph in one stream, by which content moves between IPFS programs without a connection.
 *
 *   header { roots, version: 1 } ──► section ──► section ──► …      each: length, CID, block
 *
 * A stream from elsewhere is untrusted: every length is checked before anything is kept for it, every block against its CID,
 * and never more than one block is held. That no block is missing is for the reader to check, with `DagWalk`.
 *
 * @see docs/spec/car.md; https://ipld.io/specs/transport/car/carv1/
 */
import { type BytesReader, readBlockHead, readHeader } from '@ipld/car/decoder'
import { varint } from 'multiformats'
import type { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import { encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import { BLOCK_BYTES_MAX, CAR_ROOTS_MAX, DAG_BLOCKS_MAX } from '../core/limits.ts'
import { sha256 } from '../crypto/hash.ts'
import { DagError, storedDigest } from './dag-walk.ts'

export type CarFault =
  | { code: 'CAR_MALFORMED'; atBytes: number; problem: string }
  | { code: 'CAR_VERSION' }
  | { code: 'CAR_ROOTS'; roots: number; rootsMax: number }
  | { code: 'CAR_TRUNCATED'; atBytes: number }
  | { code: 'CAR_BLOCK_TOO_LARGE'; atBytes: number; bytes: number; bytesMax: number }
  | { code: 'CAR_BLOCK_ALTERED'; cid: string; atBytes: number }
export class CarError extends CodedError<CarFault> {}

export interface CarBlock {
  readonly cid: CID
  /** The digest of the CID: SHA-256, 32 bytes, and what the bytes hash to. */
  readonly digest: Uint8Array
  readonly bytes: Uint8Array
}

export interface CarReading {
  /** 1 to `CAR_ROOTS_MAX`. */
  readonly roots: readonly CID[]
  /**
   * The blocks as they stand in the stream, each verified.
   *
   * @throws {CarError} all of `CarFault` but `CAR_VERSION` and `CAR_ROOTS`; {DagError} `DAG_BLOCK_INVALID`, `DAG_TOO_LARGE`
   */
  readonly blocks: AsyncGenerator<CarBlock, void, undefined>
}

/** A section's length: one varint of at most four bytes and a CID of about 36 come on top of the block. */
const CID_BYTES_MAX = 128
/** Pieces held before they are joined: a block of 2 MiB in pieces of 64 KiB has 32. */
const PIECES_MAX = 256
/** How every CAR version 2 begins: a header of ten bytes, `{ version: 2 }`. */
const VERSION_2 = Uint8Array.of(0x0a, 0xa1, 0x67, 0x76, 0x65, 0x72, 0x73, 0x69, 0x6f, 0x6e, 0x02)

/** The start of a CAR with these roots. */
export function carHeader(roots: readonly CID[]): Uint8Array {
  const header = encodeCanonical({ roots: [...roots], version: 1 })
  return concat([varintOf(header.length), header])
}

/** What precedes a block of `bytes` bytes. */
export function carSectionHead(cid: CID, bytes: number): Uint8Array {
  return concat([varintOf(cid.bytes.length + bytes), cid.bytes])
}

/**
 * Reads the header of a CAR, and then its blocks as they are asked for.
 *
 * @param source - pieces of any size; whatever it throws is passed on. It is closed at the end, and after a fault.
 * @throws {CarError} `CAR_MALFORMED`, `CAR_VERSION`, `CAR_ROOTS`, `CAR_TRUNCATED`
 */
export async function readCar(source: AsyncIterable<Uint8Array>): Promise<CarReading> {
  const reader = new BoundedReader(source)
  try {
    return { roots: await readRoots(reader), blocks: readBlocks(reader) }
  } catch (error) {
    await reader.close()
    throw error
  }
}

async function readRoots(reader: BoundedReader): Promise<readonly CID[]> {
  if (equals(await reader.upTo(VERSION_2.length), VERSION_2)) throw new CarError({ code: 'CAR_VERSION' })
  const { roots } = await parsed(reader, 'not a header', async () => readHeader(reader, 1))
  if (roots.length === 0 || roots.length > CAR_ROOTS_MAX) {
    throw new CarError({ code: 'CAR_ROOTS', roots: roots.length, rootsMax: CAR_ROOTS_MAX })
  }
  return roots
}

async function* readBlocks(reader: BoundedReader): AsyncGenerator<CarBlock, void, undefined> {
  try {
    for (let count = 0; (await reader.upTo(1)).length > 0; count++) {
      if (count >= DAG_BLOCKS_MAX) throw new DagError({ code: 'DAG_TOO_LARGE', blocksMax: DAG_BLOCKS_MAX })
      yield await readBlock(reader)
    }
  } finally {
    await reader.close()
  }
}

async function readBlock(reader: BoundedReader): Promise<CarBlock> {
  const atBytes = reader.pos
  const { cid, blockLength } = await parsed(reader, 'not a section', async () => readBlockHead(reader))
  const digest = storedDigest(cid)
  if (blockLength < 0) throw new CarError({ code: 'CAR_MALFORMED', atBytes, problem: 'a section shorter than its CID' })
  const bytes = await reader.exactly(blockLength, true)
  if (!equals(sha256(bytes), digest)) throw new CarError({ code: 'CAR_BLOCK_ALTERED', cid: cid.toString(), atBytes })
  return { cid, digest, bytes }
}

/** What the package throws has no code: it says that these bytes are nothing that it knows. */
async function parsed<T>(reader: BoundedReader, problem: string, read: () => Promise<T>): Promise<T> {
  const atBytes = reader.pos
  try {
    return await read()
  } catch (error) {
    if (reader.failure !== undefined) throw reader.failure
    // A number or a CID that the end cuts through.
    if (reader.isAtEnd) throw new CarError({ code: 'CAR_TRUNCATED', atBytes }, { cause: error })
    throw new CarError({ code: 'CAR_MALFORMED', atBytes, problem }, { cause: error })
  }
}

function varintOf(value: number): Uint8Array {
  return varint.encodeTo(value, new Uint8Array(varint.encodingLength(value)))
}

/** Hands out the stream in the portions that the parser asks for, none larger than a block may be. */
class BoundedReader implements BytesReader {
  pos = 0
  /** What ended the reading; the parser may have dressed it up. */
  failure: Error | undefined
  readonly #source: AsyncIterator<Uint8Array>
  #pieces: Uint8Array[] = []
  #heldBytes = 0
  #ended = false

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Whether the end of the stream is among what is held, at most a number's length away. */
  get isAtEnd(): boolean {
    return this.#ended && this.#heldBytes < CID_BYTES_MAX
  }

  /** Gives the source back, also where it has more. */
  async close(): Promise<void> {
    await this.#source.return?.()
  }

  async upTo(bytes: number): Promise<Uint8Array> {
    await this.#hold(bytes)
    return this.#front(Math.min(bytes, this.#heldBytes))
  }

  async exactly(bytes: number, seek = false): Promise<Uint8Array> {
    const atBytes = this.pos
    if (bytes > BLOCK_BYTES_MAX) {
      throw this.#failed({ code: 'CAR_BLOCK_TOO_LARGE', atBytes, bytes, bytesMax: BLOCK_BYTES_MAX })
    }
    await this.#hold(bytes)
    if (this.#heldBytes < bytes) throw this.#failed({ code: 'CAR_TRUNCATED', atBytes })
    const front = this.#front(bytes)
    if (seek) this.seek(bytes)
    return front
  }

  seek(bytes: number): void {
    this.pos += bytes
    this.#heldBytes -= bytes
    let left = bytes
    let passed = 0
    for (const piece of this.#pieces) {
      if (piece.length > left) break
      left -= piece.length
      passed++
    }
    this.#pieces.splice(0, passed)
    const first = this.#pieces[0]
    if (first !== undefined && left > 0) this.#pieces[0] = first.subarray(left)
  }

  async #hold(bytes: number): Promise<void> {
    while (this.#heldBytes < bytes && !this.#ended) {
      try {
        const next = await this.#source.next()
        if (next.done === true) this.#ended = true
        else if (next.value.length > 0) {
          this.#pieces.push(next.value)
          this.#heldBytes += next.value.length
          // A sender of single bytes must not make us hold an object for each.
          if (this.#pieces.length > PIECES_MAX) this.#pieces = [concat(this.#pieces)]
        }
      } catch (error) {
        this.failure = error instanceof Error ? error : new Error(String(error))
        throw this.failure
      }
    }
  }

  /** The first bytes held, in one piece: copied once where they came in several. */
  #front(bytes: number): Uint8Array {
    const first = this.#pieces[0]
    if (first === undefined || bytes === 0) return new Uint8Array(0)
    if (first.length >= bytes) return first.subarray(0, bytes)
    const whole = new Uint8Array(bytes)
    let filled = 0
    for (const piece of this.#pieces) {
      if (filled === bytes) break
      const part = piece.subarray(0, bytes - filled)
      whole.set(part, filled)
      filled += part.length
    }
    return whole
  }

  #failed(fault: CarFault): CarError {
    const error = new CarError(fault)
    this.failure = error
    return error
  }
}
