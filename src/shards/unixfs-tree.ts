/**
 * The UnixFS tree over the segments of one file, built from leaf digests alone: the bytes have been hashed once already.
 *
 * Profile `unixfs-v1-2025` (IPIP-499): CIDv1, sha2-256, raw leaves of 1 MiB, balanced layout of 1,024 children. The same
 * bytes give the same root in Helia (`@helia/unixfs`) and in Kubo (`ipfs add` with that profile). A file of one segment is
 * its leaf; an empty file is the empty raw block.
 *
 * @see docs/spec/object.md; UnixFS specification; test/unit/shards/unixfs-tree.test.ts compares roots with `@helia/unixfs`
 */
import { type PBLink, type PBNode, decode, encode, prepare } from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import type { CID } from 'multiformats/cid'
import { CodedError } from '../core/coded-error.ts'
import { BLOCK_BYTES_MAX, SEGMENT_BYTES, SEGMENTS_MAX, TREE_CHILDREN } from '../core/limits.ts'
import { DAG_PB, RAW, digestCid, sha256 } from '../crypto/hash.ts'

export type TreeFault =
  | { code: 'TREE_NODE_INVALID'; cid: string; problem: string }
  | { code: 'TREE_TOO_LARGE'; segmentsMax: number }
export class TreeError extends CodedError<TreeFault> {}

/** Protobuf tags of UnixFS `Data`: field number and wire type 0. */
const FIELD_TYPE = 0x08
const FIELD_FILE_SIZE = 0x18
const FIELD_BLOCK_SIZES = 0x20
const TYPE_FILE = 2

/** A block of the tree that isn't a leaf. */
export interface TreeNode {
  readonly cid: CID
  readonly bytes: Uint8Array
}

export interface FileTree {
  readonly root: CID
  /** Inner nodes, children before parents; empty for a file of one segment. */
  readonly nodes: readonly TreeNode[]
}

interface Branch {
  readonly cid: CID
  /** Bytes of file content below. */
  readonly fileBytes: number
  /** Bytes of all blocks below, this one included: dag-pb's `Tsize`. */
  readonly totalBytes: number
}

/**
 * Builds the tree of one file.
 *
 * @param digests - SHA-256 of each segment in order: all of 1 MiB but the last. At least one, since an empty file has one
 * empty segment.
 * @param fileBytes - length of the file.
 * @throws {TreeError} `TREE_TOO_LARGE`
 */
export function buildFileTree(digests: readonly Uint8Array[], fileBytes: number): FileTree {
  if (digests.length > SEGMENTS_MAX) throw new TreeError({ code: 'TREE_TOO_LARGE', segmentsMax: SEGMENTS_MAX })
  const nodes: TreeNode[] = []
  let level: Branch[] = digests.map((digest, index) => {
    const bytes = Math.min(SEGMENT_BYTES, fileBytes - index * SEGMENT_BYTES)
    return { cid: digestCid(RAW, digest), fileBytes: bytes, totalBytes: bytes }
  })
  // Several leaves always get a parent, even a last group of one: that is what the importers of this profile do.
  while (level.length > 1) {
    const parents: Branch[] = []
    for (let start = 0; start < level.length; start += TREE_CHILDREN) {
      parents.push(fileNode(level.slice(start, start + TREE_CHILDREN), nodes))
    }
    level = parents
  }
  const root = level[0]
  if (root === undefined) throw new TreeError({ code: 'TREE_TOO_LARGE', segmentsMax: 0 })
  return { root: root.cid, nodes }
}

function fileNode(children: readonly Branch[], nodes: TreeNode[]): Branch {
  const data = unixfsFile(children.map((child) => child.fileBytes))
  const links = children.map((child) => ({ Name: '', Tsize: child.totalBytes, Hash: child.cid }))
  const node = dagPbNode(data, links)
  nodes.push(node)
  return {
    cid: node.cid,
    fileBytes: children.reduce((sum, child) => sum + child.fileBytes, 0),
    totalBytes: children.reduce((sum, child) => sum + child.totalBytes, node.bytes.length),
  }
}

/**
 * UnixFS `Data` of an inner node: type file, file size, block sizes. Written here since `ipfs-unixfs` 13 spoils sizes from
 * 2 GiB on (docs/decisions/0040-unixfs-data.md); its reader is right.
 */
function unixfsFile(blockSizes: readonly number[]): Uint8Array {
  const bytes: number[] = [FIELD_TYPE, TYPE_FILE, FIELD_FILE_SIZE]
  pushVarint(
    bytes,
    blockSizes.reduce((sum, size) => sum + size, 0),
  )
  for (const size of blockSizes) {
    bytes.push(FIELD_BLOCK_SIZES)
    pushVarint(bytes, size)
  }
  return Uint8Array.from(bytes)
}

/** Base 128, least significant first; arithmetic, since bit operators stop at 32 bits. */
function pushVarint(bytes: number[], value: number): void {
  let rest = value
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128)
  bytes.push(rest)
}

function dagPbNode(data: Uint8Array, links: readonly PBLink[]): TreeNode {
  const bytes = encode(prepare({ Data: data, Links: [...links] }))
  return { cid: digestCid(DAG_PB, sha256(bytes)), bytes }
}

/** One entry of a flat directory. */
export interface DirectoryEntry {
  readonly name: string
  readonly cid: CID
  /** Bytes of all blocks below. */
  readonly totalBytes: number
}

/** A flat UnixFS directory; the caller keeps it under `TREE_CHILDREN` entries. */
export function directoryNode(entries: readonly DirectoryEntry[]): TreeNode {
  const links = entries.map((entry) => ({ Name: entry.name, Tsize: entry.totalBytes, Hash: entry.cid }))
  return dagPbNode(new UnixFS({ type: 'directory' }).marshal(), links)
}

/** What one block of a tree says. */
export type ParsedNode =
  | { readonly kind: 'leaf' }
  | { readonly kind: 'file'; readonly fileBytes: number; readonly children: readonly { cid: CID; fileBytes: number }[] }
  | { readonly kind: 'directory'; readonly entries: readonly { name: string; cid: CID }[] }

/**
 * Reads one block of a UnixFS tree. The caller has checked its hash.
 *
 * @throws {TreeError} `TREE_NODE_INVALID`: not UnixFS, inline data, sizes that disagree, a kind this network never stores.
 */
export function parseNode(cid: CID, bytes: Uint8Array): ParsedNode {
  if (cid.code === RAW) return { kind: 'leaf' }
  const fault = (problem: string, cause?: unknown): TreeError =>
    new TreeError({ code: 'TREE_NODE_INVALID', cid: cid.toString(), problem }, { cause })
  if (cid.code !== DAG_PB || bytes.length > BLOCK_BYTES_MAX) throw fault('neither a raw leaf nor a UnixFS node')
  let node: PBNode
  let data: UnixFS
  try {
    node = decode(bytes)
    data = UnixFS.unmarshal(node.Data ?? new Uint8Array())
  } catch (error) {
    throw fault('not a UnixFS node', error)
  }
  if (data.type === 'directory') {
    return { kind: 'directory', entries: node.Links.map((link) => ({ name: link.Name ?? '', cid: link.Hash })) }
  }
  if (data.type !== 'file') throw fault(`a UnixFS node of type ${data.type}`)
  if ((data.data?.length ?? 0) > 0) throw fault('data inside an inner node')
  if (data.blockSizes.length !== node.Links.length) throw fault('as many sizes as links are needed')
  const children = node.Links.map((link, index) => ({ cid: link.Hash, fileBytes: Number(data.blockSizes[index]) }))
  const fileBytes = children.reduce((sum, child) => sum + child.fileBytes, 0)
  if (fileBytes > SEGMENTS_MAX * SEGMENT_BYTES) throw fault('a size over the limit')
  return { kind: 'file', fileBytes, children }
}

/** One leaf of a file, with where its bytes lie. */
export interface FileLeaf {
  readonly cid: CID
  readonly digest: Uint8Array
  readonly start: number
  readonly bytes: number
}

/**
 * Walks a file's tree in order and yields its leaves from byte `from` on; subtrees before `from` are not read.
 *
 * @param readNode - gives the verified bytes of one inner block.
 * @throws {TreeError} `TREE_NODE_INVALID` also when a subtree's size is not what its parent said.
 */
export async function* fileLeaves(
  root: CID,
  readNode: (cid: CID) => Promise<Uint8Array>,
  options: { from?: number; leafBytes?: number } = {},
): AsyncGenerator<FileLeaf> {
  const from = options.from ?? 0
  if (root.code === RAW) {
    yield { cid: root, digest: root.multihash.digest, start: 0, bytes: options.leafBytes ?? Number.NaN }
    return
  }
  const walk = async function* (cid: CID, start: number, said: number | undefined): AsyncGenerator<FileLeaf> {
    const node = parseNode(cid, await readNode(cid))
    if (node.kind !== 'file') {
      throw new TreeError({ code: 'TREE_NODE_INVALID', cid: cid.toString(), problem: 'not a file' })
    }
    if (said !== undefined && node.fileBytes !== said) {
      throw new TreeError({
        code: 'TREE_NODE_INVALID',
        cid: cid.toString(),
        problem: 'its size is not what its parent says',
      })
    }
    let offset = start
    for (const child of node.children) {
      const end = offset + child.fileBytes
      if (end > from || (child.fileBytes === 0 && offset >= from)) {
        if (child.cid.code === RAW) {
          yield { cid: child.cid, digest: child.cid.multihash.digest, start: offset, bytes: child.fileBytes }
        } else {
          yield* walk(child.cid, offset, child.fileBytes)
        }
      }
      offset = end
    }
  }
  yield* walk(root, 0, undefined)
}
