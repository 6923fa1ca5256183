/**
 * Finds where blocks lie by what the ledger says: from a CID to the extent that has it, to those who hold its columns. Nobody is
 * searched for: holders are asked for an extent's map, which names every shard, and maps are kept.
 *
 *   CID ──► manifest or content root (ledger) ──► object ──► extents ──► maps (from holders, checked) ──► shard or copy
 *        └► leaf, tree node, listing ──► maps of the objects that were opened last
 *
 * What no map here names may lie anywhere: then there is no answer.
 *
 * @see docs/decisions/0096-the-read-path.md, docs/spec/extent-map.md
 */
import type { PeerId } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { toString } from 'uint8arrays/to-string'
import { faultOf } from '../core/coded-error.ts'
import { EXTENT_MAPS_BYTES_KEPT, EXTENT_MAPS_SEARCHED_MAX, OBJECTS_OPEN_MAX } from '../core/limits.ts'
import { DAG_CBOR, digestCid } from '../crypto/hash.ts'
import {
  type Extent,
  type ExtentRef,
  getExtent,
  getStoragePeer,
  getStoredObject,
  manifestOfContent,
} from '../domain/storage-state.ts'
import type { StateView } from '../ledger/state.ts'
import { parsePeerId } from '../p2p/peer-ids.ts'
import { checkExtentMap, decodeExtentMap } from '../shards/extent-map.ts'
import type { CopyReader } from './copy-reader.ts'
import {
  type Holder,
  type Holders,
  IndexedMap,
  type PlacedExtent,
  type ShardPlace,
  distinctHolders,
} from './placed-extent.ts'

/** Where a block lies. */
export type Located =
  | { readonly kind: 'shard'; readonly placed: PlacedExtent; readonly place: ShardPlace }
  /** All of these keep it whole. */
  | { readonly kind: 'copy'; readonly extent: number; readonly holders: Holders }

interface KnownMap extends ExtentRef {
  readonly link: CID
  readonly map: IndexedMap
}

/** An object that was opened lately. */
interface OpenObject {
  readonly manifest: CID
  readonly extents: number
  /** Where something of it was found last: the next is near. */
  near: number
}

export interface ExtentDirectoryDeps {
  readonly state: () => StateView
  readonly copies: CopyReader
}

export class ExtentDirectory {
  readonly #deps: ExtentDirectoryDeps
  /** The oldest first. */
  readonly #objects = new Map<string, OpenObject>()
  /** The oldest first. */
  readonly #maps = new Map<string, KnownMap>()
  #mapBytes = 0

  constructor(deps: ExtentDirectoryDeps) {
    this.#deps = deps
  }

  /**
   * @returns `undefined`: by what the ledger says of the objects that were opened here, it lies nowhere.
   * @throws {PeerError} `EXTENT_UNAVAILABLE` when it isn't found, and a map that might name it can't be had; {ExtentMapError} when
   *   such a map is not of its extent
   */
  async find(cid: CID, signal: AbortSignal): Promise<Located | undefined> {
    const { digest } = cid.multihash
    if (cid.code === DAG_CBOR) {
      const extent = (await this.#open(cid)) === undefined ? undefined : await this.#extent(cid, 0)
      return extent === undefined ? undefined : this.#copyOf(extent)
    }
    const known = await this.#inKnownMaps(digest)
    if (known !== undefined) return known
    await this.note(cid)
    return this.#search(digest, signal)
  }

  /**
   * Notes that an object is read, by its manifest or its content's root: what lies below is looked for in its extents from then on. Whoever has
   * the manifest or the root on its own disk finds the rest only so.
   */
  async note(cid: CID): Promise<void> {
    if (cid.code === DAG_CBOR) {
      await this.#open(cid)
      return
    }
    const manifest = await manifestOfContent(this.#deps.state(), cid)
    if (manifest !== undefined) await this.#open(digestCid(DAG_CBOR, manifest))
  }

  /**
   * An extent with its map, for whoever keeps a column of it.
   *
   * @returns `undefined`: the ledger doesn't have it.
   * @throws {PeerError} `EXTENT_UNAVAILABLE` when no holder gives the map; {ExtentMapError} when it is not of the extent
   */
  async placed(ref: ExtentRef, signal: AbortSignal): Promise<PlacedExtent | undefined> {
    const extent = await this.#extent(ref.manifest, ref.index)
    if (extent === undefined) return undefined
    const before = this.#maps.get(nameOf(ref))
    const known = before?.link.equals(extent.map) === true ? before : await this.#load(ref, signal)
    // Erased, or stored again, while the map was fetched.
    if (known?.link.equals(extent.map) !== true) return undefined
    return { extent, map: known.map, holders: await this.#holdersOf(extent) }
  }

  /** Who holds a block by the ledger, for whoever asks them by other means; none: it isn't known. */
  async holdersOf(cid: CID, signal: AbortSignal): Promise<PeerId[]> {
    const located = await this.find(cid, signal).catch((error: unknown) => {
      if (faultOf(error)?.code === 'EXTENT_UNAVAILABLE') return undefined
      throw error
    })
    if (located === undefined) return []
    if (located.kind === 'copy') return distinctHolders(located.holders).map(({ peer }) => peer)
    const { holders, map } = located.placed
    // Where there is one data shard, parity is the same block.
    const same = map.map
      .shardsOfStripe(located.place.stripe)
      .filter((shard) => equals(shard.digest, cid.multihash.digest))
    return distinctHolders(same.map(({ column }) => holders[column])).map(({ peer }) => peer)
  }

  /** Notes that an object is read. @returns `undefined`: the ledger has nothing of it. */
  async #open(manifest: CID): Promise<OpenObject | undefined> {
    const name = toString(manifest.multihash.digest, 'base64')
    const stored = await getStoredObject(this.#deps.state(), manifest)
    const before = this.#objects.get(name)
    this.#objects.delete(name)
    if (stored === undefined || stored.committed === 0) return undefined
    const object = { manifest, extents: stored.committed, near: before?.near ?? 0 }
    this.#objects.set(name, object)
    for (const oldest of this.#objects.keys()) {
      if (this.#objects.size <= OBJECTS_OPEN_MAX) break
      this.#objects.delete(oldest)
    }
    return object
  }

  async #inKnownMaps(digest: Uint8Array): Promise<Located | undefined> {
    for (const known of [...this.#maps.values()].reverse()) {
      const located = await this.#locate(known, digest)
      if (located !== undefined) return located
    }
    return undefined
  }

  /** Looks through the objects that were opened last, in the order in which things are read. */
  async #search(digest: Uint8Array, signal: AbortSignal): Promise<Located | undefined> {
    let failure: { readonly error: unknown } | undefined
    const refs = [...this.#objects.values()].reverse().flatMap(searchOrder)
    const unknown = refs.filter((ref) => !this.#maps.has(nameOf(ref)))
    for (const ref of unknown.slice(0, EXTENT_MAPS_SEARCHED_MAX)) {
      try {
        const known = await this.#load(ref, signal)
        const located = known === undefined ? undefined : await this.#locate(known, digest)
        if (located !== undefined) return located
      } catch (error) {
        signal.throwIfAborted()
        // It may be of another object.
        failure ??= { error }
      }
    }
    if (failure !== undefined) throw failure.error
    return undefined
  }

  async #locate(known: KnownMap, digest: Uint8Array): Promise<Located | undefined> {
    const place = known.map.find(digest)
    if (place === undefined && !known.map.hasCopy(digest)) return undefined
    const extent = await this.#extent(known.manifest, known.index)
    if (extent === undefined || !extent.map.equals(known.link)) {
      // Erased, released, or stored again.
      this.#forget(known)
      return undefined
    }
    this.#touch(known)
    if (place === undefined) return this.#copyOf(extent)
    return { kind: 'shard', placed: { extent, map: known.map, holders: await this.#holdersOf(extent) }, place }
  }

  async #load(ref: ExtentRef, signal: AbortSignal): Promise<KnownMap | undefined> {
    const extent = await this.#extent(ref.manifest, ref.index)
    if (extent === undefined) return undefined
    const holders = await this.#holdersOf(extent)
    const bytes = await this.#deps.copies.read(extent.map, { extent: ref.index, holders }, signal)
    const map = decodeExtentMap(bytes)
    checkExtentMap(map, extent)
    const known = { ...ref, link: extent.map, map: new IndexedMap(map, bytes.length) }
    this.#forget(known)
    this.#maps.set(nameOf(ref), known)
    this.#mapBytes += bytes.length
    for (const oldest of this.#maps.values()) {
      if (this.#mapBytes <= EXTENT_MAPS_BYTES_KEPT || oldest === known) break
      this.#forget(oldest)
    }
    return known
  }

  #touch(known: KnownMap): void {
    const name = nameOf(known)
    if (this.#maps.delete(name)) this.#maps.set(name, known)
    const object = this.#objects.get(toString(known.manifest.multihash.digest, 'base64'))
    if (object !== undefined) object.near = known.index
  }

  #forget(ref: ExtentRef): void {
    const known = this.#maps.get(nameOf(ref))
    if (known === undefined) return
    this.#maps.delete(nameOf(ref))
    this.#mapBytes -= known.map.bytes
  }

  #extent(manifest: CID, index: number): Promise<Extent | undefined> {
    return getExtent(this.#deps.state(), manifest, index)
  }

  async #copyOf(extent: Extent): Promise<Located> {
    return { kind: 'copy', extent: extent.index, holders: await this.#holdersOf(extent) }
  }

  #holdersOf({ holders }: Extent): Promise<(Holder | undefined)[]> {
    return Promise.all(
      holders.map(async (number) => {
        const entry = number === undefined ? undefined : await getStoragePeer(this.#deps.state(), number)
        return entry === undefined ? undefined : { peer: parsePeerId(entry.peer), institution: entry.institution }
      }),
    )
  }
}

/** What was found last and what follows it; the end, where the listing lies; then the rest. */
function searchOrder({ extents, manifest, near }: OpenObject): ExtentRef[] {
  const all = Array.from({ length: extents }, (_, index) => index)
  const order = new Set([near, near + 1, extents - 1, ...all].filter((index) => index < extents))
  return [...order].map((index) => ({ manifest, index }))
}

function nameOf({ index, manifest }: ExtentRef): string {
  return `${toString(manifest.multihash.digest, 'base64')} ${index}`
}
