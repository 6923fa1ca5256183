/** An extent as a reader needs it: its map, and who holds its columns now. */
import type { PeerId } from '@libp2p/interface'
import type { InstitutionId } from '../core/ids.ts'
import { equals } from 'uint8arrays/equals'
import { toString } from 'uint8arrays/to-string'
import type { Extent } from '../domain/storage-state.ts'
import type { ExtentMap } from '../shards/extent-map.ts'

/** A storage peer that has confirmed to hold a column. */
export interface Holder {
  readonly peer: PeerId
  readonly institution: InstitutionId
}

/** By column; `undefined`: nobody has confirmed it. */
export type Holders = readonly (Holder | undefined)[]

export interface PlacedExtent {
  readonly extent: Extent
  readonly map: IndexedMap
  readonly holders: Holders
}

/** One shard, as its stripe counts: data before parity. */
export interface ShardPlace {
  readonly stripe: number
  readonly shard: number
}

/** Holders of one extent, each once. */
export function distinctHolders(holders: Holders): Holder[] {
  const byPeer = new Map(holders.flatMap((holder) => (holder === undefined ? [] : [[String(holder.peer), holder]])))
  return [...byPeer.values()]
}

/** A map in which shards and copies are found by their digest. */
export class IndexedMap {
  readonly map: ExtentMap
  /** Of its encoded form. */
  readonly bytes: number
  /** Numbers of all shards, in the order of their digests: a table of strings would take ten times the map. */
  readonly #order: Uint32Array
  readonly #copies: ReadonlySet<string>

  constructor(map: ExtentMap, bytes: number) {
    this.map = map
    this.bytes = bytes
    const { copies, digests } = map.fields
    const all = Buffer.from(digests.buffer, digests.byteOffset, digests.length)
    this.#order = Uint32Array.from({ length: digests.length / DIGEST_BYTES }, (_, number) => number).sort(
      (one, other) =>
        all.compare(
          all,
          other * DIGEST_BYTES,
          (other + 1) * DIGEST_BYTES,
          one * DIGEST_BYTES,
          (one + 1) * DIGEST_BYTES,
        ) || one - other,
    )
    this.#copies = new Set(copies.map(({ cid }) => toString(cid.multihash.digest, 'base64')))
  }

  hasCopy(digest: Uint8Array): boolean {
    return this.#copies.has(toString(digest, 'base64'))
  }

  /** The first shard with this digest; of copies of one block the data shard. */
  find(digest: Uint8Array): ShardPlace | undefined {
    const { digests } = this.map.fields
    const at = (number: number): Uint8Array => digests.subarray(number * DIGEST_BYTES, (number + 1) * DIGEST_BYTES)
    let [low, high] = [0, this.#order.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (Buffer.compare(at(this.#order[middle] ?? 0), digest) < 0) low = middle + 1
      else high = middle
    }
    const number = this.#order[low]
    return number === undefined || !equals(at(number), digest) ? undefined : this.#place(number)
  }

  /** All stripes but the last have a shard in each column. */
  #place(number: number): ShardPlace {
    const stripe = Math.min(Math.floor(number / this.map.columns), this.map.stripes.length - 1)
    return { stripe, shard: number - stripe * this.map.columns }
  }
}

const DIGEST_BYTES = 32
