/**
 * Stored objects of this peer: a manifest is committed here once every block it reaches is here. Only then does `put` say
 * "stored". Listed newest first.
 */
import type { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import { fromString } from 'uint8arrays/from-string'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import { CRITICAL_BYTES_MAX, OBJECT_WALK_DEPTH_MAX } from '../core/limits.ts'
import type { Clock, KeyValueStore } from '../core/ports.ts'
import { cid as cidOf, integer, literal, object, type Decoded } from '../core/schema.ts'
import { RAW, cborCid } from '../crypto/hash.ts'
import { type Manifest, decodeManifest } from '../shards/manifest.ts'
import { parseNode } from '../shards/unixfs-tree.ts'
import type { Blocks } from '../store/blocks.ts'
import { digestOf } from './content.ts'
import { PeerError } from './faults.ts'
import type { FreshBlocks } from './fresh-blocks.ts'
import type { PlacementQueue } from './placement-queue.ts'
import type { UploadService } from './uploads.ts'

export interface ObjectsDeps {
  readonly store: Blocks
  readonly state: KeyValueStore
  readonly uploads: UploadService
  readonly fresh: FreshBlocks
  /** Whether the ledger says that it was erased on request. */
  readonly isErased: (manifest: CID) => Promise<boolean>
  /** What is committed here is placed on the network after that. */
  readonly placements: Pick<PlacementQueue, 'note' | 'wake'>
  readonly clock: Clock
}

const objectEntry = object({
  manifest: cidOf(),
  kind: literal('file', 'folder'),
  content: cidOf(),
  bytes: integer(0),
  files: integer(0),
  storedAtMs: integer(0),
})
export type ObjectEntry = Decoded<typeof objectEntry>

const BY_TIME = fromString('object/time/', 'utf8')
const BY_CID = fromString('object/cid/', 'utf8')

export class ObjectService {
  readonly #deps: ObjectsDeps
  constructor(deps: ObjectsDeps) {
    this.#deps = deps
  }

  /**
   * Stores a manifest and lists its object, after checking that the whole of it is here.
   *
   * @param manifestBytes - canonical dag-cbor.
   * @param options.critical - full copies on more institutions than may lie; for what is small.
   * @throws {CodedError} `OBJECT_ERASED`; {PeerError} `OBJECT_INCOMPLETE`, `OBJECT_NOT_SMALL`, `PLACEMENTS_TOO_MANY`; {CodecError}; {TreeError}; faults of the store
   */
  async commit(manifestBytes: Uint8Array, options: { readonly critical?: boolean } = {}): Promise<ObjectEntry> {
    // Whatever brought a block may be given up later: from now on this object needs it.
    const onBlock = (digest: Uint8Array): void => this.#deps.fresh.release([digest])
    const { cid, manifest, bytes: whole } = await this.#check(manifestBytes, onBlock)
    const { critical = false } = options
    if (critical && whole > CRITICAL_BYTES_MAX) {
      throw new PeerError({ code: 'OBJECT_NOT_SMALL', bytes: whole, bytesMax: CRITICAL_BYTES_MAX })
    }
    this.#deps.fresh.release([digestOf(cid)])
    await this.#deps.store.write([{ digest: digestOf(cid), parts: [manifestBytes] }])
    // Before it is listed: whatever happens now, an object that was promised is placed.
    await this.#deps.placements.note(cid, critical)
    const entry = await this.#list(cid, manifest)
    await this.#settleUploads(manifest)
    this.#deps.placements.wake()
    return entry
  }

  /**
   * Whether a manifest could be committed now.
   *
   * @throws as `commit`, but for `PLACEMENTS_TOO_MANY`
   */
  async check(manifestBytes: Uint8Array): Promise<void> {
    await this.#check(manifestBytes, () => undefined)
  }

  async #check(
    manifestBytes: Uint8Array,
    onBlock: (digest: Uint8Array) => void,
  ): Promise<{ readonly cid: CID; readonly manifest: Manifest; readonly bytes: number }> {
    const manifest = decodeManifest(manifestBytes)
    const cid = cborCid(manifestBytes)
    if (await this.#deps.isErased(cid)) throw new CodedError({ code: 'OBJECT_ERASED', manifest: cid.toString() })
    const walk = { walked: new Map<string, number>(), onBlock }
    const bytes = await this.#walk(manifest.content, walk)
    if (bytes !== manifest.bytes) throw new PeerError({ code: 'OBJECT_SIZE_LIES', said: manifest.bytes, bytes })
    return { cid, manifest, bytes: bytes + (await this.#walk(manifest.listing, walk)) }
  }

  /** Newest first. @param limit - 1 to 1,000. */
  async *list(limit: number): AsyncGenerator<ObjectEntry> {
    const range = { from: BY_TIME, to: concat([BY_TIME, new Uint8Array([0xff])]), reverse: true, limit }
    for await (const { value } of this.#deps.state.range(range)) yield objectEntry(decodeCanonical(value), 'object')
  }

  /** All of them, in no order. */
  async *all(): AsyncGenerator<ObjectEntry> {
    const range = { from: BY_CID, to: concat([BY_CID, new Uint8Array(33).fill(0xff)]) }
    for await (const { value } of this.#deps.state.range(range)) yield objectEntry(decodeCanonical(value), 'object')
  }

  /** Lists an object no more: it was erased, or the ledger has forgotten it. Its blocks are the collector's. */
  async unlist({ manifest, storedAtMs }: ObjectEntry): Promise<void> {
    await this.#deps.state.batch([
      { key: concat([BY_CID, digestOf(manifest)]), value: undefined },
      { key: timeKey(storedAtMs, manifest), value: undefined },
    ])
  }

  async #list(manifestCid: CID, manifest: Manifest): Promise<ObjectEntry> {
    const byCid = concat([BY_CID, digestOf(manifestCid)])
    const known = await this.#deps.state.get(byCid)
    if (known !== undefined) return objectEntry(decodeCanonical(known), 'object')
    const { kind, content, bytes, files } = manifest
    const entry: ObjectEntry = {
      manifest: manifestCid,
      kind,
      content,
      bytes,
      files,
      storedAtMs: this.#deps.clock.nowMs(),
    }
    const value = encodeCanonical(entry)
    await this.#deps.state.batch([
      { key: byCid, value },
      { key: timeKey(entry.storedAtMs, manifestCid), value },
    ])
    return entry
  }

  /**
   * Checks that the tree below `root` is here, without reading leaves.
   *
   * @param walk.walked - file bytes below each node that was read: each is, once, however many links lead to it.
   * @param walk.onBlock - told of each block before it is looked for.
   * @returns file bytes below.
   */
  async #walk(
    root: CID,
    walk: { readonly walked: Map<string, number>; readonly onBlock: (digest: Uint8Array) => void },
    depth = 0,
  ): Promise<number> {
    const { store } = this.#deps
    const missing = (cid: CID): PeerError => new PeerError({ code: 'OBJECT_INCOMPLETE', cid: cid.toString() })
    if (depth > OBJECT_WALK_DEPTH_MAX) throw missing(root)
    walk.onBlock(digestOf(root))
    if (root.code === RAW) {
      const size = store.size(digestOf(root))
      if (size === undefined) throw missing(root)
      return size
    }
    const name = root.toString()
    const known = walk.walked.get(name)
    if (known !== undefined) return known
    const bytes = await store.read(digestOf(root))
    if (bytes === undefined) throw missing(root)
    const node = parseNode(root, bytes)
    let sum = node.kind === 'leaf' ? bytes.length : 0
    const children = node.kind === 'directory' ? node.entries : node.kind === 'leaf' ? [] : node.children
    for (const child of children) sum += await this.#walk(child.cid, walk, depth + 1)
    walk.walked.set(name, sum)
    return sum
  }

  /** Files of a folder were uploaded one by one: their sessions end here. */
  async #settleUploads(manifest: Manifest): Promise<void> {
    const files = [manifest.listing]
    const collect = async (cid: CID, depth: number): Promise<void> => {
      const bytes = cid.code === RAW || depth > 2 ? undefined : await this.#deps.store.read(digestOf(cid))
      const node = bytes === undefined ? undefined : parseNode(cid, bytes)
      if (node?.kind === 'directory') for (const entry of node.entries) await collect(entry.cid, depth + 1)
      else files.push(cid)
    }
    await collect(manifest.content, 0)
    await this.#deps.uploads.commit(files)
  }
}

function timeKey(storedAtMs: number, manifest: CID): Uint8Array {
  const time = new Uint8Array(8)
  new DataView(time.buffer).setBigUint64(0, BigInt(storedAtMs))
  return concat([BY_TIME, time, digestOf(manifest)])
}
