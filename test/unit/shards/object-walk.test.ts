import type { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { EXTENT_SEGMENTS, SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { DAG_CBOR, RAW, digestCid, rawCid, sha256 } from '../../../src/crypto/hash.ts'
import { type BlockReading, type ExtentPart, ObjectWalk } from '../../../src/shards/object-walk.ts'
import { type TreeNode, buildFileTree, directoryNode } from '../../../src/shards/unixfs-tree.ts'

/** Blocks by CID; leaves have a size and no bytes. */
class Blocks implements BlockReading {
  readonly #nodes = new Map<string, Uint8Array>()
  readonly #sizes = new Map<string, number>()

  add(nodes: readonly TreeNode[]): void {
    for (const { bytes, cid } of nodes) this.#nodes.set(cid.toString(), bytes)
  }

  leaf(cid: CID, bytes: number): void {
    this.#sizes.set(cid.toString(), bytes)
  }

  readonly node = async (cid: CID): Promise<Uint8Array> => {
    const bytes = this.#nodes.get(cid.toString())
    if (bytes === undefined) throw new Error(`no node ${cid.toString()}`)
    return bytes
  }

  readonly size = (cid: CID): number =>
    this.#sizes.get(cid.toString()) ?? this.#nodes.get(cid.toString())?.length ?? Number.NaN
}

function digestOf(name: string): Uint8Array {
  return sha256(new TextEncoder().encode(name))
}

/** A file of so many segments, the last of 5 bytes. */
function file(blocks: Blocks, name: string, segments: number): CID {
  const digests = Array.from({ length: segments }, (_, at) => digestOf(`${name} ${at}`))
  for (const [at, digest] of digests.entries()) {
    blocks.leaf(digestCid(RAW, digest), at === segments - 1 ? 5 : SEGMENT_BYTES)
  }
  const { nodes, root } = buildFileTree(digests, (segments - 1) * SEGMENT_BYTES + 5)
  blocks.add(nodes)
  return root
}

const manifest = digestCid(DAG_CBOR, digestOf('manifest'))

async function parts(walk: ObjectWalk, first: number): Promise<ExtentPart[]> {
  return Array.fromAsync(walk.parts(first))
}

test('segments are the leaves of the content, then of the listing, 1,024 to an extent; nodes are copies of the first', async () => {
  const blocks = new Blocks()
  blocks.leaf(manifest, 300)
  const content = file(blocks, 'content', 2_100)
  const listing = file(blocks, 'listing', 1)
  const walk = await ObjectWalk.of({ manifest, content, listing }, blocks)
  expect(walk).toMatchObject({ segments: 2_101, extents: 3, bytes: 2_099 * SEGMENT_BYTES + 5 + 5 })
  const all = await parts(walk, 0)
  expect(all.map(({ index, segments }) => [index, segments.length])).toEqual([
    [0, 1_024],
    [1, 1_024],
    [2, 53],
  ])
  const digests = all.flatMap(({ segments }) => segments.map(({ digest }) => digest))
  expect(digests.slice(0, -1)).toEqual(Array.from({ length: 2_100 }, (_, at) => digestOf(`content ${at}`)))
  expect(digests.at(-1)).toEqual(listing.multihash.digest)
  // The root, and one node for each 1,024 leaves.
  expect(all.map(({ copies }) => copies.length)).toEqual([1 + 4, 1, 1])
  expect(all[0]?.copies.map(({ cid }) => cid.toString()).slice(0, 2)).toEqual([manifest.toString(), content.toString()])
  expect(await parts(walk, 1)).toEqual(all.slice(1))
})

test('a folder gives its files in their order, with its directories and trees as copies', async () => {
  const blocks = new Blocks()
  blocks.leaf(manifest, 300)
  const files = [file(blocks, 'a', 1), file(blocks, 'b', 3), file(blocks, 'c', 1)]
  const folder = directoryNode(files.map((cid, at) => ({ name: String(at), cid, totalBytes: 1 })))
  blocks.add([folder])
  const listing = file(blocks, 'listing', 1)
  const walk = await ObjectWalk.of({ manifest, content: folder.cid, listing }, blocks)
  const [part] = await parts(walk, 0)
  expect(part?.segments.map(({ bytes }) => bytes)).toEqual([5, SEGMENT_BYTES, SEGMENT_BYTES, 5, 5, 5])
  expect(part?.copies.map(({ cid }) => cid.toString())).toEqual([manifest, folder.cid, files[1]].map(String))
})

test('an extent ends exactly where the object does', async () => {
  const blocks = new Blocks()
  blocks.leaf(manifest, 300)
  const content = file(blocks, 'content', EXTENT_SEGMENTS - 1)
  const walk = await ObjectWalk.of({ manifest, content, listing: file(blocks, 'listing', 1) }, blocks)
  expect((await parts(walk, 0)).map(({ segments }) => segments.length)).toEqual([EXTENT_SEGMENTS])
})

test('a block that is too large for a shard is refused', async () => {
  const blocks = new Blocks()
  blocks.leaf(manifest, 300)
  const content = rawCid(new Uint8Array(3))
  blocks.leaf(content, SEGMENT_BYTES + 1)
  const walk = ObjectWalk.of({ manifest, content, listing: content }, blocks)
  await expect(walk).rejects.toMatchObject({ fault: { code: 'OBJECT_BLOCK_TOO_LARGE', bytes: SEGMENT_BYTES + 1 } })
})
