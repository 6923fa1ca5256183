/** Objects of the collection simulation: what they are made of, and which blocks each column needs. */
import type { CID } from 'multiformats/cid'
import type { Extent, StoredObject } from '../../src/domain/storage-state.ts'
import type { ExtentMap } from '../../src/shards/extent-map.ts'

export const COLUMNS = 3

export interface SimExtent {
  readonly index: number
  readonly map: ExtentMap
  readonly link: CID
  readonly bytes: Uint8Array
}

/** An object as the world knows it. */
export interface SimObject {
  readonly manifest: CID
  readonly bytes: Uint8Array
  readonly extents: readonly SimExtent[]
  /** This peer stores it. */
  readonly isOwn: boolean
  stored: StoredObject | undefined
  committed: Extent[]
  records: number
  isForgotten: boolean
}

export const nameOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
export const isErased = ({ stored }: SimObject): boolean => (stored?.erasedMs ?? 0) > 0

const columnsOf = new WeakMap<SimExtent, ReadonlySet<string>[]>()

/** As `columnDigests`, by name: asked for at each removal. */
export function columnNames(extent: SimExtent, column: number): ReadonlySet<string> {
  let names = columnsOf.get(extent)
  names ??= Array.from({ length: COLUMNS }, (_, at) => new Set(columnDigests(extent, at).map(nameOf)))
  columnsOf.set(extent, names)
  return names[column] ?? new Set()
}

export function columnDigests({ link, map }: SimExtent, column: number): Uint8Array[] {
  const copies = map.fields.copies.map(({ cid }) => cid.multihash.digest)
  return [...map.shardsOfColumn(column).map(({ digest }) => digest), ...copies, link.multihash.digest]
}

/** What its manifest reaches. */
export function allDigests({ extents, manifest }: SimObject): Uint8Array[] {
  const shards = extents.flatMap(({ map }) =>
    map.stripes.flatMap((_, stripe) => map.shardsOfStripe(stripe).map(({ digest }) => digest)),
  )
  return [...shards, manifest.multihash.digest]
}

export function bytesOf(object: SimObject, extent: SimExtent | undefined, digest: Uint8Array): Uint8Array {
  if (nameOf(digest) === nameOf(object.manifest.multihash.digest)) return object.bytes
  if (extent !== undefined && nameOf(digest) === nameOf(extent.link.multihash.digest)) return extent.bytes
  return new Uint8Array(1)
}
