/**
 * The block store as Helia's `Blockstore`: what bitswap, the gateway and UnixFS read and write through. CIDs of every codec
 * share blocks, since only their SHA-256 counts. Bytes are checked on the way in and on the way out. Nothing can be deleted
 * without the collector's capability, so that Helia's garbage collection can't.
 */
import type { InputPair, Pair, Blockstore } from 'interface-blockstore'
import { createHash } from 'node:crypto'
import type { CID } from 'multiformats/cid'
import { CodedError } from '../core/coded-error.ts'
import { BLOCK_BYTES_MAX } from '../core/limits.ts'
import { digestCid, RAW } from '../crypto/hash.ts'
import type { Blocks, RemoveCapability } from './blocks.ts'
import { DIGEST_BYTES } from './pack-record.ts'
import { StoreError } from './store-error.ts'

const SHA2_256 = 0x12
/** Blocks of `putMany` under way at once: they share syncs; 16 MiB at the largest block. */
const PUTS_MAX = 8

export type BlockMissingFault = { code: 'STORE_BLOCK_MISSING'; cid: string }
/** Helia and its friends know a missing block by the error's name. */
export class NotFoundError extends CodedError<BlockMissingFault> {}

type Bytes = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>
interface AbortOptions {
  readonly signal?: AbortSignal
}
export interface DeleteOptions {
  /** @default the deletion is refused */
  readonly capability?: RemoveCapability
}
type HeliaBlocks = Blockstore<object, object, object, object, object, object, DeleteOptions, DeleteOptions>

export class HeliaBlockstore implements HeliaBlocks {
  readonly #store: Blocks

  constructor(store: Blocks) {
    this.#store = store
  }

  has(cid: CID): boolean {
    return isStored(cid) && this.#store.has(cid.multihash.digest)
  }

  /**
   * @returns the CID, once the block is durable.
   * @throws {StoreError} `STORE_BLOCK_MISMATCH`, `STORE_BLOCK_TOO_LARGE`, `STORE_HASH_UNSUPPORTED`; those of `Blocks.write`
   */
  async put(cid: CID, bytes: Bytes, options: AbortOptions = {}): Promise<CID> {
    if (!isStored(cid)) throw unsupported(cid)
    const hash = createHash('sha256')
    const parts: Uint8Array[] = []
    let length = 0
    for await (const part of bytes instanceof Uint8Array ? [bytes] : bytes) {
      options.signal?.throwIfAborted()
      length += part.length
      if (length > BLOCK_BYTES_MAX) {
        throw new StoreError({ code: 'STORE_BLOCK_TOO_LARGE', bytes: length, bytesMax: BLOCK_BYTES_MAX })
      }
      hash.update(part)
      parts.push(part)
    }
    const { digest } = cid.multihash
    if (!hash.digest().every((byte, i) => byte === digest[i])) {
      throw new StoreError({ code: 'STORE_BLOCK_MISMATCH', cid: cid.toString() })
    }
    await this.#store.write([{ digest, parts }])
    return cid
  }

  /** Stores blocks as they come, several at a time, and yields each CID in order as soon as its block is durable. */
  async *putMany(
    source: Iterable<InputPair> | AsyncIterable<InputPair>,
    options: AbortOptions = {},
  ): AsyncGenerator<CID> {
    const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    const puts: Promise<CID>[] = []
    let pull: Promise<IteratorResult<InputPair>> | undefined
    let ended = false
    try {
      for (;;) {
        if (!ended && puts.length < PUTS_MAX) pull ??= Promise.resolve(iterator.next())
        // A slow source must not hold back what is durable already.
        const events: Promise<{ stored: CID } | { pulled: IteratorResult<InputPair> }>[] = []
        if (puts[0] !== undefined) events.push(puts[0].then((stored) => ({ stored })))
        if (pull !== undefined) events.push(pull.then((pulled) => ({ pulled })))
        if (events.length === 0) return
        const event = await Promise.race(events)
        if ('stored' in event) {
          void puts.shift()
          yield event.stored
          continue
        }
        pull = undefined
        if (event.pulled.done === true) ended = true
        else puts.push(marked(this.put(event.pulled.value.cid, event.pulled.value.bytes, options)))
      }
    } finally {
      if (!ended) void Promise.resolve(iterator.return?.()).catch(() => undefined)
      await Promise.allSettled(puts)
    }
  }

  /** @throws {NotFoundError} `STORE_BLOCK_MISSING`; {StoreError} `STORE_BLOCK_DAMAGED` */
  async *get(cid: CID, options: AbortOptions = {}): AsyncGenerator<Uint8Array> {
    options.signal?.throwIfAborted()
    const bytes = isStored(cid) ? await this.#store.read(cid.multihash.digest) : undefined
    options.signal?.throwIfAborted()
    if (bytes === undefined) throw new NotFoundError({ code: 'STORE_BLOCK_MISSING', cid: cid.toString() })
    yield bytes
  }

  async *getMany(source: Iterable<CID> | AsyncIterable<CID>, options: AbortOptions = {}): AsyncGenerator<Pair> {
    for await (const cid of source) yield { cid, bytes: this.get(cid, options) }
  }

  /** All blocks. Their codecs are not known, so each CID is a raw one. */
  async *getAll(options: AbortOptions = {}): AsyncGenerator<Pair> {
    for (const digest of this.#store.digests()) {
      options.signal?.throwIfAborted()
      const cid = digestCid(RAW, digest)
      yield { cid, bytes: this.get(cid, options) }
    }
  }

  /** @throws {StoreError} `STORE_REMOVE_REFUSED` without the collector's capability. */
  async delete(cid: CID, options: AbortOptions & DeleteOptions = {}): Promise<void> {
    await this.#store.remove(cid.multihash.digest, options.capability)
  }

  /** @throws {StoreError} as `delete` */
  async *deleteMany(
    source: Iterable<CID> | AsyncIterable<CID>,
    options: AbortOptions & DeleteOptions = {},
  ): AsyncGenerator<CID> {
    for await (const cid of source) {
      await this.delete(cid, options)
      yield cid
    }
  }
}

/** Its failure is told when its turn comes, and is no unhandled one until then. */
function marked(put: Promise<CID>): Promise<CID> {
  put.catch(() => undefined)
  return put
}

function isStored(cid: CID): boolean {
  return cid.multihash.code === SHA2_256 && cid.multihash.digest.length === DIGEST_BYTES
}

function unsupported(cid: CID): StoreError {
  return new StoreError({ code: 'STORE_HASH_UNSUPPORTED', hash: `0x${cid.multihash.code.toString(16)}` })
}
