/**
 * The extent map: names every shard of one extent, so that whoever holds the map can fetch, check, rebuild and audit it. The
 * ledger names the map by its CID, and every holder of the extent keeps it.
 *
 *   map ──► shards, stripe by stripe: data, then parity ──► each with SHA-256, bytes, audit root
 *       ──► copies: small blocks that every holder keeps whole (tree nodes, the manifest)
 *
 * The extent's root is the Merkle root over all shards in that order; with it alone a ledger judges a posted leaf.
 *
 * @see docs/spec/extent-map.md; stripes.ts says which shard lies in which column
 */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import {
  COLUMNS_MAX,
  EXTENTS_MAX,
  EXTENT_COPIES_MAX,
  EXTENT_MAP_BYTES_MAX,
  EXTENT_SEGMENTS,
  SEGMENT_BYTES,
} from '../core/limits.ts'
import { type Decoded, byteString, cid, integer, list, literal, object } from '../core/schema.ts'
import { DAG_CBOR, DAG_PB, RAW, cborCid } from '../crypto/hash.ts'
import { inclusionProof, merkleRoot } from '../crypto/merkle.ts'
import { shardEntry } from '../domain/audit-proof.ts'
import type { ExtentFacts } from '../domain/shard-receipt.ts'
import type { Extent } from '../domain/storage-state.ts'
import { type Stripe, shardAt, stripesOf } from './stripes.ts'

export type ExtentMapFault =
  | { code: 'EXTENT_MAP_INVALID'; problem: string }
  | { code: 'EXTENT_MAP_NOT_OF_EXTENT'; map: string; field: string }
export class ExtentMapError extends CodedError<ExtentMapFault> {}

const DIGEST_BYTES = 32
const SIZE_BYTES = 4
const SHARDS_MAX = EXTENT_SEGMENTS * COLUMNS_MAX

const extentMap = object({
  version: literal(1),
  /** The object's manifest. */
  manifest: cid(DAG_CBOR),
  /** Number of the extent within the object. */
  index: integer(0, EXTENTS_MAX - 1),
  code: object({ data: integer(1, COLUMNS_MAX), parity: integer(0, COLUMNS_MAX) }),
  /** Bytes of each data segment, 4 bytes each, big-endian. */
  sizes: byteString(SIZE_BYTES, SIZE_BYTES * EXTENT_SEGMENTS),
  /** SHA-256 of each shard. */
  digests: byteString(DIGEST_BYTES, DIGEST_BYTES * SHARDS_MAX),
  /** Audit root of each shard. */
  audits: byteString(DIGEST_BYTES, DIGEST_BYTES * SHARDS_MAX),
  copies: list(object({ cid: cid(RAW, DAG_PB, DAG_CBOR), bytes: integer(0, SEGMENT_BYTES) }), 0, EXTENT_COPIES_MAX),
})
export type ExtentMapFields = Decoded<typeof extentMap>

/** One shard of an extent. */
export interface Shard {
  /** Among all shards of the extent, stripe by stripe, data before parity. */
  readonly number: number
  /** Number of its stripe. */
  readonly stripe: number
  readonly column: number
  readonly digest: Uint8Array
  readonly bytes: number
  /** Merkle root over its leaves of `AUDIT_LEAF_BYTES`. */
  readonly audit: Uint8Array
}

/** A decoded map, whose parts agree with each other. */
export class ExtentMap {
  readonly fields: ExtentMapFields
  readonly stripes: readonly Stripe[]
  /** Number of the first shard of each stripe. */
  readonly #starts: readonly number[]

  private constructor(fields: ExtentMapFields, stripes: readonly Stripe[], starts: readonly number[]) {
    this.fields = fields
    this.stripes = stripes
    this.#starts = starts
  }

  /** @throws {ExtentMapError} `EXTENT_MAP_INVALID` */
  static of(fields: ExtentMapFields): ExtentMap {
    const invalid = (problem: string): ExtentMapError => new ExtentMapError({ code: 'EXTENT_MAP_INVALID', problem })
    const { audits, code, digests, sizes } = fields
    if (code.data + code.parity > COLUMNS_MAX) throw invalid(`more than ${COLUMNS_MAX} columns`)
    if (sizes.length % SIZE_BYTES !== 0) throw invalid('sizes that are cut off')
    const stripes = stripesOf(sizes.length / SIZE_BYTES, code)
    const starts: number[] = []
    let shards = 0
    for (const stripe of stripes) {
      starts.push(shards)
      shards += stripe.data + stripe.parity
    }
    const expected = shards * DIGEST_BYTES
    if (digests.length !== expected || audits.length !== expected) throw invalid(`not ${shards} shards`)
    const view = viewOf(sizes)
    for (let at = 0; at < sizes.length; at += SIZE_BYTES) {
      if (view.getUint32(at) > SEGMENT_BYTES) throw invalid('a segment over the limit')
    }
    return new ExtentMap(fields, stripes, starts)
  }

  get columns(): number {
    return this.fields.code.data + this.fields.code.parity
  }

  get segments(): number {
    return this.fields.sizes.length / SIZE_BYTES
  }

  segmentBytes(segment: number): number {
    return viewOf(this.fields.sizes).getUint32(SIZE_BYTES * segment)
  }

  /** Bytes of a stripe's parity shards: those of its longest data shard. */
  stripeBytes(stripe: number): number {
    const { data, first } = this.#stripe(stripe)
    let longest = 0
    for (let segment = first; segment < first + data; segment++) longest = Math.max(longest, this.segmentBytes(segment))
    return longest
  }

  /** All shards of one stripe, data first. */
  shardsOfStripe(stripe: number): Shard[] {
    const { data, first, parity } = this.#stripe(stripe)
    const parityBytes = this.stripeBytes(stripe)
    return Array.from({ length: data + parity }, (_, at) => {
      const isData = at < data
      const column = isData ? at : this.columns - 1 - (at - data)
      return this.#shard(stripe, at, column, isData ? this.segmentBytes(first + at) : parityBytes)
    })
  }

  /** The shards of one column, by stripe; a shortened stripe may have none there. */
  shardsOfColumn(column: number): Shard[] {
    return this.stripes.flatMap((stripe, number) => {
      const place = shardAt(stripe, column, this.columns)
      if (place === undefined) return []
      const isData = place.kind === 'data'
      const at = isData ? place.index : stripe.data + place.index
      const bytes = isData ? this.segmentBytes(stripe.first + place.index) : this.stripeBytes(number)
      return [this.#shard(number, at, column, bytes)]
    })
  }

  /** Bytes of each column's shards. */
  columnBytes(): number[] {
    const sums = Array.from({ length: this.columns }, () => 0)
    for (let stripe = 0; stripe < this.stripes.length; stripe++) {
      for (const { bytes, column } of this.shardsOfStripe(stripe)) sums[column] = (sums[column] ?? 0) + bytes
    }
    return sums
  }

  /** Bytes of what every holder keeps whole. */
  copiesBytes(): number {
    return this.fields.copies.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  /** What the ledger has as the extent's root. */
  root(): Uint8Array {
    return merkleRoot(this.#entries())
  }

  /** The path from a shard to the extent's root. */
  proof(shard: number): Uint8Array[] {
    return inclusionProof(this.#entries(), shard)
  }

  #entries(): Uint8Array[] {
    return this.stripes.flatMap((_, stripe) => this.shardsOfStripe(stripe).map(shardEntry))
  }

  #stripe(number: number): Stripe {
    const stripe = this.stripes[number]
    if (stripe === undefined) throw new ExtentMapError({ code: 'EXTENT_MAP_INVALID', problem: `no stripe ${number}` })
    return stripe
  }

  #shard(stripe: number, at: number, column: number, bytes: number): Shard {
    const number = (this.#starts[stripe] ?? 0) + at
    const { audits, digests } = this.fields
    return { number, stripe, column, bytes, digest: entryOf(digests, number), audit: entryOf(audits, number) }
  }
}

export function encodeExtentMap(map: ExtentMap): { readonly cid: CID; readonly bytes: Uint8Array } {
  const bytes = encodeCanonical(map.fields)
  return { cid: cborCid(bytes), bytes }
}

/**
 * @param bytes - untrusted, but for their hash.
 * @throws {CodecError}; {ExtentMapError} `EXTENT_MAP_INVALID`
 */
export function decodeExtentMap(bytes: Uint8Array): ExtentMap {
  return ExtentMap.of(extentMap(decodeCanonical(bytes, EXTENT_MAP_BYTES_MAX), 'extent'))
}

/**
 * Whether a map is what the ledger says of its extent; whoever committed it may have lied to either.
 *
 * @param map - its CID is that of `extent.map`, checked.
 * @throws {ExtentMapError} `EXTENT_MAP_NOT_OF_EXTENT`
 */
export function checkExtentMap(map: ExtentMap, extent: Extent): void {
  const { code, index, manifest } = map.fields
  const agree = {
    manifest: manifest.equals(extent.manifest),
    index: index === extent.index,
    code: code.data === extent.data && code.parity === extent.parity,
    segments: map.segments === extent.segments,
    columns: map.columnBytes().every((bytes, column) => bytes === extent.columns[column]),
    copies: map.copiesBytes() === extent.copies,
    root: equals(map.root(), extent.root),
  }
  const wrong = Object.entries(agree).find(([, holds]) => !holds)
  if (wrong !== undefined) {
    throw new ExtentMapError({ code: 'EXTENT_MAP_NOT_OF_EXTENT', map: extent.map.toString(), field: wrong[0] })
  }
}

/** What the ledger is told of an extent, and what its receipts sign. @param link - CID of the map. */
export function extentFacts(map: ExtentMap, link: CID): ExtentFacts {
  const { code, index, manifest } = map.fields
  const { segments } = map
  return {
    manifest,
    index,
    map: link,
    root: map.root(),
    ...code,
    segments,
    columns: map.columnBytes(),
    copies: map.copiesBytes(),
  }
}

function entryOf(all: Uint8Array, number: number): Uint8Array {
  return all.subarray(number * DIGEST_BYTES, (number + 1) * DIGEST_BYTES)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
