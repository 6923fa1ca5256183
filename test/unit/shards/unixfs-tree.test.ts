import { unixfs } from '@helia/unixfs'
import { MemoryBlockstore } from 'blockstore-core'
import fc from 'fast-check'
import type { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { SEGMENT_BYTES } from '../../../src/core/limits.ts'
import { DAG_PB, RAW, digestCid, sha256 } from '../../../src/crypto/hash.ts'
import { TreeError, buildFileTree, directoryNode, fileLeaves, parseNode } from '../../../src/shards/unixfs-tree.ts'

function segmentsOf(bytes: Uint8Array): Uint8Array[] {
  const segments: Uint8Array[] = []
  for (let at = 0; at < bytes.length || at === 0; at += SEGMENT_BYTES)
    segments.push(bytes.subarray(at, at + SEGMENT_BYTES))
  return segments
}

const sizes = [
  0,
  1,
  1000,
  SEGMENT_BYTES - 1,
  SEGMENT_BYTES,
  SEGMENT_BYTES + 1,
  3 * SEGMENT_BYTES,
  5 * SEGMENT_BYTES + 7,
]
test.each(sizes)('a file of %i bytes has the root that @helia/unixfs gives it', async (size) => {
  const bytes = new Uint8Array(size).map((_, index) => (index * 31 + (index >> 11)) & 255)
  const blockstore = new MemoryBlockstore()
  const theirs = await unixfs({ blockstore } as Parameters<typeof unixfs>[0]).addBytes(bytes)
  expect(buildFileTree(segmentsOf(bytes).map(sha256), size).root.toString()).toBe(theirs.toString())
})

test('a file over 1,024 segments has the root that the importer gives it', async () => {
  // Leaves of the real size, but all of the same bytes: the importer's tree is what is compared, not the bytes.
  const segment = new Uint8Array(SEGMENT_BYTES)
  const tail = new Uint8Array(5)
  const blockstore = new MemoryBlockstore()
  const source = async function* (): AsyncGenerator<Uint8Array> {
    for (let index = 0; index < 1_025; index++) yield segment
    yield tail
  }
  const theirs = await unixfs({ blockstore } as Parameters<typeof unixfs>[0]).addByteStream(source())
  const digest = sha256(segment)
  const digests = [...Array.from({ length: 1_025 }, () => digest), sha256(tail)]
  const tree = buildFileTree(digests, 1_025 * SEGMENT_BYTES + 5)
  expect(tree.root.toString()).toBe(theirs.toString())
  expect(tree.nodes).toHaveLength(3)
}, 60_000)

function nodeReader(nodes: readonly { cid: CID; bytes: Uint8Array }[]): (cid: CID) => Promise<Uint8Array> {
  const byCid = new Map(nodes.map((node) => [node.cid.toString(), node.bytes]))
  return async (cid) => {
    const bytes = byCid.get(cid.toString())
    if (bytes === undefined) throw new Error(`asked for ${cid.toString()}`)
    return bytes
  }
}

test('walking a tree gives back its leaves in order, from any byte on', async () => {
  const property = fc.asyncProperty(
    fc.integer({ min: 2, max: 2_100 }),
    fc.integer({ min: 1, max: SEGMENT_BYTES }),
    fc.nat(),
    async (count, last, seed) => {
      const digests = Array.from({ length: count }, (_, index) => sha256(new Uint8Array([index & 255, index >> 8])))
      const bytes = (count - 1) * SEGMENT_BYTES + last
      const tree = buildFileTree(digests, bytes)
      const from = seed % bytes
      const leaves = await Array.fromAsync(fileLeaves(tree.root, nodeReader(tree.nodes), { from }))
      const first = Math.floor(from / SEGMENT_BYTES)
      expect(leaves.map((leaf) => leaf.digest)).toEqual(digests.slice(first))
      expect(leaves[0]?.start).toBe(first * SEGMENT_BYTES)
      expect(leaves.at(-1)?.bytes).toBe(last)
    },
  )
  await fc.assert(property, { numRuns: 30 })
})

test('a tree whose parent lies about the size of a child is refused', async () => {
  const digests = Array.from({ length: 1_030 }, (_, index) => sha256(new Uint8Array([index & 255, index >> 8])))
  const honest = buildFileTree(digests, 1_030 * SEGMENT_BYTES)
  const lying = buildFileTree(digests.slice(0, 1_029), 1_029 * SEGMENT_BYTES)
  const child = lying.nodes[1]
  const parent = honest.nodes.at(-1)
  if (child === undefined || parent === undefined) throw new Error('no nodes')
  const second = honest.nodes[1]
  const swapped = nodeReader([
    ...honest.nodes.filter((node) => node !== second),
    { cid: second?.cid ?? child.cid, bytes: child.bytes },
  ])
  await expect(Array.fromAsync(fileLeaves(honest.root, swapped))).rejects.toMatchObject({
    fault: { code: 'TREE_NODE_INVALID' },
  })
})

test('bytes that are no UnixFS node are refused with a code, never another error', () => {
  const property = fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    try {
      parseNode(digestCid(DAG_PB, sha256(bytes)), bytes)
    } catch (error) {
      expect(error).toBeInstanceOf(TreeError)
    }
  })
  fc.assert(property, { numRuns: 1_000 })
})

test('a directory lists its entries by name', () => {
  const entry = (name: string): { name: string; cid: CID; totalBytes: number } => ({
    name,
    cid: digestCid(RAW, sha256(new TextEncoder().encode(name))),
    totalBytes: 1,
  })
  const node = directoryNode([entry('001'), entry('000')])
  const parsed = parseNode(node.cid, node.bytes)
  expect(parsed.kind === 'directory' ? parsed.entries.map((one) => one.name) : []).toEqual(['000', '001'])
})
