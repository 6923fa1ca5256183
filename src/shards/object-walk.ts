/**
 * An object as a row of segments, for placement: the leaves of its content, then of its listing, in the order of their trees,
 * `EXTENT_SEGMENTS` to an extent; and the small blocks that holders keep whole.
 *
 * Copies: every extent has the manifest. The nodes of the trees follow it in the first extent, parents before children; where they are
 * more than fit there, the later extents take them on in their order.
 *
 * @see docs/spec/extent-map.md
 */
import type { CID } from 'multiformats/cid'
import { CodedError } from '../core/coded-error.ts'
import {
  EXTENTS_MAX,
  EXTENT_COPIES_MAX,
  EXTENT_SEGMENTS,
  OBJECT_WALK_DEPTH_MAX,
  SEGMENT_BYTES,
} from '../core/limits.ts'
import { DAG_PB, RAW, digestCid } from '../crypto/hash.ts'
import { parseNode } from './unixfs-tree.ts'

export type ObjectWalkFault =
  | { code: 'OBJECT_TOO_DEEP'; cid: string; depthMax: number }
  | { code: 'OBJECT_TOO_LARGE'; extents: number; extentsMax: number }
  | { code: 'OBJECT_NODES_TOO_MANY'; nodes: number; nodesMax: number }
  | { code: 'OBJECT_BLOCK_TOO_LARGE'; cid: string; bytes: number; bytesMax: number }
export class ObjectWalkError extends CodedError<ObjectWalkFault> {}

/** What an object is made of, as its manifest says. */
export interface ObjectRoots {
  readonly manifest: CID
  readonly content: CID
  readonly listing: CID
}

/** Where blocks are read from. */
export interface BlockReading {
  /** The verified bytes of a node. */
  readonly node: (cid: CID) => Promise<Uint8Array>
  /** Bytes of a block. */
  readonly size: (cid: CID) => number
}

export interface Segment {
  readonly digest: Uint8Array
  readonly bytes: number
}

/** One extent's part of an object, before it is coded. */
export interface ExtentPart {
  /** Number of the extent within the object. */
  readonly index: number
  readonly segments: readonly Segment[]
  readonly copies: readonly { readonly cid: CID; readonly bytes: number }[]
}

const DIGEST_BYTES = 32

/** Counts first: how many extents there are must be known when the first is committed. */
export class ObjectWalk {
  readonly roots: ObjectRoots
  readonly segments: number
  /** Bytes of all segments. */
  readonly bytes: number
  readonly #blocks: BlockReading
  /** Digests of the trees' nodes, parents first. */
  readonly #nodes: Uint8Array

  private constructor(
    roots: ObjectRoots,
    blocks: BlockReading,
    counted: { readonly segments: number; readonly bytes: number; readonly nodes: Uint8Array },
  ) {
    this.roots = roots
    this.#blocks = blocks
    this.segments = counted.segments
    this.bytes = counted.bytes
    this.#nodes = counted.nodes
  }

  /** @throws {ObjectWalkError} any of its codes; {TreeError} `TREE_NODE_INVALID`; whatever reading throws */
  static async of(roots: ObjectRoots, blocks: BlockReading): Promise<ObjectWalk> {
    const nodes = new DigestList()
    let segments = 0
    let bytes = 0
    checkSize(roots.manifest, blocks)
    for await (const block of blocksOf(roots, blocks)) {
      if (block.kind === 'node') nodes.add(block.digest)
      else {
        segments++
        bytes += block.bytes
      }
      // While it is walked: a few nodes that link to each other a thousand times make more ways than anybody can go.
      checkCounts(segments, nodes.count)
    }
    const walk = new ObjectWalk(roots, blocks, { segments, bytes, nodes: nodes.bytes })
    const { extents } = walk
    const nodesMax = extents * NODES_OF_EXTENT
    if (nodes.count > nodesMax) {
      throw new ObjectWalkError({ code: 'OBJECT_NODES_TOO_MANY', nodes: nodes.count, nodesMax })
    }
    return walk
  }

  get extents(): number {
    return Math.ceil(this.segments / EXTENT_SEGMENTS)
  }

  /** The extents from `first` on. */
  async *parts(first: number): AsyncGenerator<ExtentPart> {
    let at = 0
    let segments: Segment[] = []
    for await (const block of blocksOf(this.roots, this.#blocks)) {
      if (block.kind === 'node') continue
      if (at++ < first * EXTENT_SEGMENTS) continue
      segments.push({ digest: block.digest, bytes: block.bytes })
      if (segments.length < EXTENT_SEGMENTS && at < this.segments) continue
      const index = Math.ceil(at / EXTENT_SEGMENTS) - 1
      yield { index, segments, copies: this.#copies(index) }
      segments = []
    }
  }

  #copies(extent: number): ExtentPart['copies'] {
    const nodes = this.#nodes.subarray(
      extent * NODES_OF_EXTENT * DIGEST_BYTES,
      (extent + 1) * NODES_OF_EXTENT * DIGEST_BYTES,
    )
    const cids = Array.from({ length: nodes.length / DIGEST_BYTES }, (_, at) =>
      digestCid(DAG_PB, nodes.slice(at * DIGEST_BYTES, (at + 1) * DIGEST_BYTES)),
    )
    return [this.roots.manifest, ...cids].map((cid) => ({ cid, bytes: this.#blocks.size(cid) }))
  }
}

/** Beside the manifest. */
const NODES_OF_EXTENT = EXTENT_COPIES_MAX - 1
/** Nodes may come before the segments in whose extents they lie: those of so many extents. */
const NODES_AHEAD_OF = 64

type WalkedBlock =
  | { readonly kind: 'node'; readonly digest: Uint8Array }
  | { readonly kind: 'segment'; readonly digest: Uint8Array; readonly bytes: number }

async function* blocksOf({ content, listing }: ObjectRoots, blocks: BlockReading): AsyncGenerator<WalkedBlock> {
  yield* below(content, blocks, 0)
  yield* below(listing, blocks, 0)
}

async function* below(cid: CID, blocks: BlockReading, depth: number): AsyncGenerator<WalkedBlock> {
  const { digest } = cid.multihash
  const bytes = checkSize(cid, blocks)
  if (cid.code === RAW) {
    yield { kind: 'segment', digest, bytes }
    return
  }
  if (depth > OBJECT_WALK_DEPTH_MAX) {
    throw new ObjectWalkError({ code: 'OBJECT_TOO_DEEP', cid: cid.toString(), depthMax: OBJECT_WALK_DEPTH_MAX })
  }
  const node = parseNode(cid, await blocks.node(cid))
  yield { kind: 'node', digest }
  if (node.kind === 'leaf') return
  for (const child of node.kind === 'directory' ? node.entries : node.children) {
    // Without a generator of its own: leaves are a thousand times as many as nodes.
    if (child.cid.code === RAW) {
      yield { kind: 'segment', digest: child.cid.multihash.digest, bytes: checkSize(child.cid, blocks) }
    } else yield* below(child.cid, blocks, depth + 1)
  }
}

/** @throws {ObjectWalkError} where there are too many already, whatever may follow. */
function checkCounts(segments: number, nodes: number): void {
  const extents = Math.ceil(segments / EXTENT_SEGMENTS)
  if (extents > EXTENTS_MAX) throw new ObjectWalkError({ code: 'OBJECT_TOO_LARGE', extents, extentsMax: EXTENTS_MAX })
  const nodesMax = (extents + NODES_AHEAD_OF) * NODES_OF_EXTENT
  if (nodes > nodesMax) throw new ObjectWalkError({ code: 'OBJECT_NODES_TOO_MANY', nodes, nodesMax })
}

/** Larger blocks are no shards, and no copies. */
function checkSize(cid: CID, { size }: BlockReading): number {
  const bytes = size(cid)
  if (bytes <= SEGMENT_BYTES) return bytes
  throw new ObjectWalkError({ code: 'OBJECT_BLOCK_TOO_LARGE', cid: cid.toString(), bytes, bytesMax: SEGMENT_BYTES })
}

/** Digests end to end: CIDs of a million nodes would take a hundred times as much. */
class DigestList {
  #all = new Uint8Array(64 * DIGEST_BYTES)
  count = 0

  get bytes(): Uint8Array {
    return this.#all.subarray(0, this.count * DIGEST_BYTES)
  }

  add(digest: Uint8Array): void {
    const at = this.count * DIGEST_BYTES
    if (at === this.#all.length) {
      const larger = new Uint8Array(2 * this.#all.length)
      larger.set(this.#all)
      this.#all = larger
    }
    this.#all.set(digest, at)
    this.count++
  }
}
