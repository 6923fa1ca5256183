/**
 * Storage as the ledger knows it: which peers offer room, the table that places extents on them, and for each extent who has
 * confirmed to hold which column. All of it is state; `storage.ts` has the rules that change it, `placement-table.ts` those of
 * the table.
 *
 * A storage peer gets a number with its first offer and keeps it for ever: columns name their holders by it.
 *
 * @see docs/spec/storage-state.md
 */
import type { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import {
  COLUMNS_MAX,
  EXTENTS_MAX,
  EXTENT_COPIES_MAX,
  EXTENT_SEGMENTS,
  PLACEMENT_GROUPS_MAX,
  SEGMENTS_MAX,
  SEGMENT_BYTES,
  STORAGE_PEERS_MAX,
} from '../core/limits.ts'
import {
  type Decoded,
  type Decoder,
  byteString,
  cid,
  integer,
  literal,
  object,
  shapeFault,
  text,
} from '../core/schema.ts'
import { DAG_CBOR, DAG_PB, RAW, digestCid } from '../crypto/hash.ts'
import {
  type PeerIdText,
  accountId,
  cborLink,
  digest,
  institutionId,
  peerIdKey,
  peerIdText,
  timeMs,
} from '../ledger/fields.ts'
import {
  type ListOptions,
  type StateChange,
  type StateReader,
  type StateView,
  keyOf,
  uint32Bytes,
} from '../ledger/state.ts'

/** Key = number (2 bytes); value = the peer and its offer. */
export const STORAGE_PEER_NAMESPACE = 'storage-peer'
/** Key = raw Ed25519 key of the peer; value = its number. */
export const STORAGE_NUMBER_NAMESPACE = 'storage-number'
/** Key = digest of the manifest. */
export const OBJECT_NAMESPACE = 'object'
/** Key = digest of the manifest, number of the extent (4 bytes). */
export const EXTENT_NAMESPACE = 'object-extent'
/** Lists: key = group (2 bytes, of `PLACEMENT_GROUPS_MAX`), digest of the manifest, number of the extent; value = true. */
export const GROUP_NAMESPACE = 'extent-by-group'
/** Key = digest of the content's root; value = digest of the manifest. */
export const CONTENT_NAMESPACE = 'object-by-content'

const DIGEST_BYTES = 32
/** In `Extent.holders`: nobody has confirmed this column. */
export const NO_HOLDER = 0xffff

export const storageNumber: Decoder<number> = integer(0, STORAGE_PEERS_MAX - 1)
/** As an institution's id, since that is what stands here where it shares no zone. */
export const zone: Decoder<string> = text(1, 32, /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/)
/** Bytes that a peer offers, or that an object has; up to 8 EiB fit a safe integer. */
export const byteCount: Decoder<number> = integer(0)

const storedPeer = object({
  peer: peerIdText,
  institution: institutionId,
  /** What fails together: a building, a region. */
  zone,
  /** Room given to shards. */
  bytes: byteCount,
  /** `draining`: gets no new columns, and gives up those it has; `removed`: holds nothing that counts. */
  state: literal('active', 'draining', 'removed'),
  /** Block time since which it is in that state. */
  sinceMs: timeMs,
})
export interface StoragePeerEntry extends Decoded<typeof storedPeer> {
  readonly number: number
}

/** Ciphertext bytes of an object. */
export const objectBytes: Decoder<number> = integer(0, SEGMENTS_MAX * SEGMENT_BYTES)

const storedObject = object({
  /** Institution that stored it: its quota, its duty. */
  org: institutionId,
  account: accountId,
  /** UnixFS root of the ciphertext. */
  content: cid(RAW, DAG_PB),
  /** Ciphertext bytes of content and listing. */
  bytes: objectBytes,
  /** How many extents it has; it is whole once as many are committed, in their order. */
  extents: integer(1, EXTENTS_MAX),
  committed: integer(0, EXTENTS_MAX),
  /** Bytes that holders keep of the committed extents: all columns, and the copies with each of them. */
  stored: byteCount,
  /** Block time of the first commit. */
  startedMs: timeMs,
  /** Block time until which it is kept though no record names it. */
  leaseMs: timeMs,
  /** Institutions whose legal hold keeps it. */
  holds: integer(0),
  /** Block time at which it was erased on request; 0: it wasn't. */
  erasedMs: timeMs,
})
export interface StoredObject extends Decoded<typeof storedObject> {
  readonly manifest: CID
}

export const copiesBytes = integer(0, EXTENT_COPIES_MAX * SEGMENT_BYTES)

const storedExtent = object({
  /** The extent map: names every shard; see shards/extent-map.ts. */
  map: cborLink,
  /** Merkle root over the shards' audit roots. */
  root: digest,
  /** Of `PLACEMENT_GROUPS_MAX`; a table of fewer groups takes it modulo its number. */
  group: integer(0, PLACEMENT_GROUPS_MAX - 1),
  data: integer(1, COLUMNS_MAX),
  parity: integer(0, COLUMNS_MAX),
  /** Data segments. */
  segments: integer(1, EXTENT_SEGMENTS),
  /** Bytes of each column's shards: 4 bytes each, big-endian, in the order of columns. */
  columns: byteString(4, 4 * COLUMNS_MAX),
  /** Bytes of the small blocks that every holder keeps whole. */
  copies: copiesBytes,
  /** Number of the peer that confirmed each column, 2 bytes each, big-endian; `NO_HOLDER`: nobody. */
  holders: byteString(2, 2 * COLUMNS_MAX),
})

/** One extent of an object, and who holds its columns. */
export interface Extent {
  readonly manifest: CID
  readonly index: number
  readonly map: CID
  readonly root: Uint8Array
  readonly group: number
  readonly data: number
  readonly parity: number
  readonly segments: number
  /** Bytes of each column. */
  readonly columns: readonly number[]
  /** Bytes of the small blocks that every holder keeps whole. */
  readonly copies: number
  /** By column: the number of the peer that holds it; `undefined`: nobody. */
  readonly holders: readonly (number | undefined)[]
}

/** Names an extent. */
export interface ExtentRef {
  readonly manifest: CID
  readonly index: number
}

export async function getStoragePeer(view: StateView, number: number): Promise<StoragePeerEntry | undefined> {
  const value = await view.get(STORAGE_PEER_NAMESPACE, uint16Bytes(number))
  return value === undefined ? undefined : { number, ...storedPeer(value, 'storage-peer') }
}

export async function getStorageNumber(view: StateView, peer: PeerIdText): Promise<number | undefined> {
  const value = await view.get(STORAGE_NUMBER_NAMESPACE, peerIdKey(peer))
  return value === undefined ? undefined : storageNumber(value, 'storage-number')
}

/** All storage peers, by number, those that were removed included. */
export async function* listStoragePeers(reader: StateReader): AsyncGenerator<StoragePeerEntry> {
  for await (const { key, value } of reader.list(STORAGE_PEER_NAMESPACE, new Uint8Array(0))) {
    yield { number: readUint16(key, 0), ...storedPeer(value, 'storage-peer') }
  }
}

export async function getStoredObject(view: StateView, manifest: CID): Promise<StoredObject | undefined> {
  const value = await view.get(OBJECT_NAMESPACE, manifest.multihash.digest)
  return value === undefined ? undefined : { manifest, ...storedObject(value, 'object') }
}

export async function getExtent(view: StateView, manifest: CID, index: number): Promise<Extent | undefined> {
  const value = await view.get(EXTENT_NAMESPACE, extentKey(manifest.multihash.digest, index))
  return value === undefined ? undefined : extentOf(manifest, index, value)
}

/** The manifest of the object whose content has this root. */
export async function manifestOfContent(view: StateView, content: CID): Promise<Uint8Array | undefined> {
  const value = await view.get(CONTENT_NAMESPACE, content.multihash.digest)
  return value === undefined ? undefined : digest(value, 'object-by-content')
}

/** Extents of one group, by manifest and index. @param group - of `PLACEMENT_GROUPS_MAX`. */
export async function* listExtentsOfGroup(
  reader: StateReader,
  group: number,
  options?: ListOptions,
): AsyncGenerator<ExtentRef> {
  for await (const { key } of reader.list(GROUP_NAMESPACE, uint16Bytes(group), options)) yield refOfGroupKey(key)
}

/** All extents, by group. */
export async function* listExtents(reader: StateReader, options?: ListOptions): AsyncGenerator<ExtentRef> {
  for await (const { key } of reader.list(GROUP_NAMESPACE, new Uint8Array(0), options)) yield refOfGroupKey(key)
}

/** All objects, by the digest of their manifest. */
export async function* listStoredObjects(reader: StateReader, options?: ListOptions): AsyncGenerator<StoredObject> {
  for await (const { key, value } of reader.list(OBJECT_NAMESPACE, new Uint8Array(0), options)) {
    yield { manifest: digestCid(DAG_CBOR, key), ...storedObject(value, 'object') }
  }
}

export const isWhole = ({ committed, extents }: StoredObject): boolean => committed === extents

export function objectChange(object: StoredObject): StateChange {
  const { manifest, ...value } = object
  return { namespace: OBJECT_NAMESPACE, key: manifest.multihash.digest, value }
}

/** The entry and its place in the list of its group. */
export function extentChanges(extent: Extent): StateChange[] {
  const { columns, holders, index, manifest, ...rest } = extent
  const key = extentKey(manifest.multihash.digest, index)
  const value = {
    ...rest,
    columns: concat(columns.map(uint32Bytes)),
    holders: concat(holders.map((holder) => uint16Bytes(holder ?? NO_HOLDER))),
  }
  return [
    { namespace: EXTENT_NAMESPACE, key, value },
    { namespace: GROUP_NAMESPACE, key: keyOf(uint16Bytes(extent.group), key), value: true },
  ]
}

/** Bytes that the holders of an extent keep in all. */
export function storedBytes({ columns, copies }: Pick<Extent, 'columns' | 'copies'>): number {
  return columns.reduce((sum, bytes) => sum + bytes, columns.length * copies)
}

/** What forgets an extent. */
export function extentRemovals({ group, index, manifest }: Extent): StateChange[] {
  const key = extentKey(manifest.multihash.digest, index)
  return [
    { namespace: EXTENT_NAMESPACE, key, value: undefined },
    { namespace: GROUP_NAMESPACE, key: keyOf(uint16Bytes(group), key), value: undefined },
  ]
}

export function storagePeerChanges(entry: StoragePeerEntry): StateChange[] {
  const { number, ...value } = entry
  return [
    { namespace: STORAGE_PEER_NAMESPACE, key: uint16Bytes(number), value },
    { namespace: STORAGE_NUMBER_NAMESPACE, key: peerIdKey(entry.peer), value: number },
  ]
}

/** @param manifest - digest of the manifest. */
export function extentKey(manifest: Uint8Array, index: number): Uint8Array {
  return keyOf(manifest, uint32Bytes(index))
}

/** Big-endian, so that keys sort as the numbers do. */
export function uint16Bytes(value: number): Uint8Array {
  return new Uint8Array([value >>> 8, value & 0xff])
}

export function readUint16(bytes: Uint8Array, offset: number): number {
  return ((bytes[offset] ?? 0) << 8) | (bytes[offset + 1] ?? 0)
}

function extentOf(manifest: CID, index: number, value: unknown): Extent {
  const { columns, holders, ...rest } = storedExtent(value, 'extent')
  const count = rest.data + rest.parity
  if (columns.length !== 4 * count || holders.length !== 2 * count)
    throw shapeFault('extent.columns', `${count} columns`)
  const view = new DataView(columns.buffer, columns.byteOffset, columns.byteLength)
  const numbers = Array.from({ length: count }, (_, column) => readUint16(holders, 2 * column))
  return {
    manifest,
    index,
    ...rest,
    columns: Array.from({ length: count }, (_, column) => view.getUint32(4 * column)),
    holders: numbers.map((number) => (number === NO_HOLDER ? undefined : number)),
  }
}

function refOfGroupKey(key: Uint8Array): ExtentRef {
  const manifest = digestCid(DAG_CBOR, key.slice(2, 2 + DIGEST_BYTES))
  return { manifest, index: new DataView(key.buffer, key.byteOffset, key.byteLength).getUint32(2 + DIGEST_BYTES) }
}
