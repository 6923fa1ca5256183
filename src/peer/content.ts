/**
 * Content: reads blocks and files by CID, from this peer's disk where it has them, else from members that do.
 *
 * Everything handed out is verified against its hash, once: the store does it for what lies here, the block exchange for
 * what comes over the network. Ciphertext passes through; nothing is kept unless the caller says so.
 */
import type { CID } from 'multiformats/cid'
import type { PeerId } from '@libp2p/interface'
import { READ_AHEAD_SEGMENTS, SEGMENT_BYTES } from '../core/limits.ts'
import { RAW } from '../crypto/hash.ts'
import type { BlockFetcher } from '../p2p/block-fetcher.ts'
import { type FileLeaf, fileLeaves, parseNode } from '../shards/unixfs-tree.ts'
import type { Blocks } from '../store/blocks.ts'
import { PeerError } from './faults.ts'

export interface ContentDeps {
  readonly store: Blocks
  readonly fetcher: BlockFetcher
  /** Told of blocks before they are kept here, so that no open upload takes them away again. */
  readonly claim: (digests: readonly Uint8Array[]) => void
}

export interface FileRange {
  /** First byte wanted. */
  readonly start: number
  /** One past the last byte wanted. */
  readonly end: number
}

/** Pieces of one leaf. */
export interface FilePieces {
  readonly pieces: readonly Uint8Array[]
  /** Gives their memory back; called when they are written, and not looked at any more. */
  readonly release: () => void
}

/** One leaf on its way out. */
interface LeafParts {
  readonly leaf: FileLeaf
  readonly parts: readonly Uint8Array[]
  readonly release: () => void
}

const NOTHING_TO_RELEASE = (): void => undefined

/** A file opened for reading: its length is known before the first byte is asked for. */
export interface OpenFile {
  readonly bytes: number
  /** The file in order: the pieces of one verified leaf at a time. */
  read(range: FileRange): AsyncGenerator<FilePieces>
}

const SHA2_256 = 0x12

export class ContentService {
  readonly #deps: ContentDeps
  constructor(deps: ContentDeps) {
    this.#deps = deps
  }

  /**
   * One block, verified.
   *
   * @param options.keep - store it here too, when it came from elsewhere.
   * @throws {PeerError} `CONTENT_HASH_UNSUPPORTED`; {P2pError} `BLOCK_UNAVAILABLE`; {StoreError} `STORE_BLOCK_DAMAGED`
   */
  async block(
    cid: CID,
    options: { signal: AbortSignal; keep?: boolean; providers?: readonly PeerId[] },
  ): Promise<Uint8Array> {
    const digest = digestOf(cid)
    const local = await this.#deps.store.read(digest)
    if (local !== undefined) return local
    const providers = options.providers ?? (await this.#deps.fetcher.findProviders(digest, options.signal))
    if (providers.length === 0) throw new PeerError({ code: 'CONTENT_UNAVAILABLE', cid: cid.toString() })
    for await (const block of this.#deps.fetcher.fetch([digest], providers, { signal: options.signal })) {
      if (options.keep === true) await this.#keep([{ digest, parts: block.parts }])
      return joined(block.parts, block.bytes)
    }
    throw new PeerError({ code: 'CONTENT_UNAVAILABLE', cid: cid.toString() })
  }

  /**
   * Opens a UnixFS file of this network, wherever it lies.
   *
   * @param options.keep - store every block here as it passes: leaves first, the root last, so that a root that is here
   * has its whole tree here.
   * @throws as `block`; {TreeError} `TREE_NODE_INVALID`; {PeerError} `CONTENT_NOT_A_FILE`, `CONTENT_RANGE`
   */
  async openFile(root: CID, options: { signal: AbortSignal; keep?: boolean }): Promise<OpenFile> {
    const providers = await this.#providers(root, options.signal)
    const rootBlock = await this.block(root, { signal: options.signal, providers })
    const node = parseNode(root, rootBlock)
    if (node.kind === 'directory') throw new PeerError({ code: 'CONTENT_NOT_A_FILE', cid: root.toString() })
    const bytes = node.kind === 'leaf' ? rootBlock.length : node.fileBytes
    const keep = options.keep === true
    return {
      bytes,
      read: (range) => {
        if (range.start < 0 || range.start > range.end || range.end > bytes) {
          throw new PeerError({ code: 'CONTENT_RANGE', start: range.start, end: range.end, bytes })
        }
        return this.#read(root, rootBlock, range, { providers, signal: options.signal, keep })
      },
    }
  }

  async #providers(root: CID, signal: AbortSignal): Promise<readonly PeerId[]> {
    return this.#deps.store.has(digestOf(root)) ? [] : this.#deps.fetcher.findProviders(digestOf(root), signal)
  }

  async *#read(
    root: CID,
    rootBlock: Uint8Array,
    range: FileRange,
    options: { providers: readonly PeerId[]; signal: AbortSignal; keep: boolean },
  ): AsyncGenerator<FilePieces> {
    const inner: { digest: Uint8Array; parts: readonly Uint8Array[] }[] = []
    const readNode = async (cid: CID): Promise<Uint8Array> => {
      const bytes = cid.equals(root) ? rootBlock : await this.block(cid, options)
      if (options.keep) inner.push({ digest: digestOf(cid), parts: [bytes] })
      return bytes
    }
    const leaves = fileLeaves(root, readNode, { from: range.start, leafBytes: rootBlock.length })
    for await (const { leaf, parts, release } of this.#leafParts(
      untilEnd(leaves, range.end),
      root,
      rootBlock,
      options,
    )) {
      // Before the last bytes go out, so that whoever has them all may rely on it; the root last, see `openFile`.
      if (options.keep && range.start === 0 && leaf.start + leaf.bytes >= range.end)
        await this.#keep(inner.splice(0).reverse())
      yield { pieces: trimmed(parts, leaf.start, range), release }
    }
  }

  /** The leaves' bytes in order: runs that lie here with a little read-ahead, runs that don't through the exchange. */
  async *#leafParts(
    leaves: AsyncGenerator<FileLeaf>,
    root: CID,
    rootBlock: Uint8Array,
    options: { providers: readonly PeerId[]; signal: AbortSignal; keep: boolean },
  ): AsyncGenerator<LeafParts> {
    if (root.code === RAW) {
      for await (const leaf of leaves) {
        if (options.keep) await this.#keep([{ digest: leaf.digest, parts: [rootBlock] }])
        yield { leaf, parts: [rootBlock], release: NOTHING_TO_RELEASE }
      }
      return
    }
    for await (const run of runs(leaves, (leaf) => this.#deps.store.has(leaf.digest))) {
      if (run.local) yield* this.#readLocal(run.leaves, options)
      else yield* this.#readRemote(run.leaves, options)
    }
  }

  async *#readLocal(leaves: readonly FileLeaf[], options: { signal: AbortSignal }): AsyncGenerator<LeafParts> {
    const ahead: Promise<Uint8Array>[] = []
    const read = (leaf: FileLeaf): void => {
      const reading = this.block(leaf.cid, { signal: options.signal })
      // Awaited in order below; a failure further ahead must not count as unhandled until then.
      reading.catch(() => undefined)
      ahead.push(reading)
    }
    for (const leaf of leaves.slice(0, READ_AHEAD_SEGMENTS)) read(leaf)
    for (const [index, leaf] of leaves.entries()) {
      const bytes = await (ahead.shift() as Promise<Uint8Array>)
      const next = leaves[index + READ_AHEAD_SEGMENTS]
      if (next !== undefined) read(next)
      checkLeaf(leaf, bytes.length)
      yield { leaf, parts: [bytes], release: NOTHING_TO_RELEASE }
    }
  }

  async #keep(blocks: readonly { digest: Uint8Array; parts: readonly Uint8Array[] }[]): Promise<void> {
    this.#deps.claim(blocks.map((block) => block.digest))
    await this.#deps.store.write(blocks)
  }

  async *#readRemote(
    leaves: readonly FileLeaf[],
    options: { providers: readonly PeerId[]; signal: AbortSignal; keep: boolean },
  ): AsyncGenerator<LeafParts> {
    const first = leaves[0]
    if (first === undefined) return
    const providers =
      options.providers.length > 0
        ? options.providers
        : await this.#deps.fetcher.findProviders(first.digest, options.signal)
    const digests = leaves.map((leaf) => leaf.digest)
    let index = 0
    const pooled = { signal: options.signal, pooled: true }
    for await (const block of this.#deps.fetcher.fetch(digests, providers, pooled)) {
      const leaf = leaves[index++] as FileLeaf
      checkLeaf(leaf, block.bytes)
      if (options.keep) await this.#keep([{ digest: leaf.digest, parts: block.parts }])
      yield { leaf, parts: block.parts, release: () => block.release() }
    }
  }
}

/** The sha2-256 digest of a CID. @throws {PeerError} `CONTENT_HASH_UNSUPPORTED` */
export function digestOf(cid: CID): Uint8Array {
  if (cid.multihash.code !== SHA2_256 || cid.multihash.size !== 32) {
    throw new PeerError({ code: 'CONTENT_HASH_UNSUPPORTED', cid: cid.toString() })
  }
  return cid.multihash.digest
}

/** A tree that names a leaf of another size than it has lies about the file's length. */
function checkLeaf(leaf: FileLeaf, bytes: number): void {
  if (leaf.bytes !== bytes || bytes > SEGMENT_BYTES) {
    throw new PeerError({ code: 'CONTENT_SIZE_LIES', cid: leaf.cid.toString(), said: leaf.bytes, bytes })
  }
}

async function* untilEnd(leaves: AsyncGenerator<FileLeaf>, end: number): AsyncGenerator<FileLeaf> {
  for await (const leaf of leaves) {
    if (leaf.start >= end && leaf.start > 0) return
    yield leaf
  }
}

/** Longest run handed to the exchange at once: one inner node's leaves. */
const RUN_MAX = 1_024

async function* runs(
  leaves: AsyncGenerator<FileLeaf>,
  isLocal: (leaf: FileLeaf) => boolean,
): AsyncGenerator<{ local: boolean; leaves: FileLeaf[] }> {
  let run: { local: boolean; leaves: FileLeaf[] } | undefined
  for await (const leaf of leaves) {
    const local = isLocal(leaf)
    if (run !== undefined && (run.local !== local || run.leaves.length >= RUN_MAX)) {
      yield run
      run = undefined
    }
    run ??= { local, leaves: [] }
    run.leaves.push(leaf)
  }
  if (run !== undefined) yield run
}

/** The pieces of one leaf that fall into the range. */
function trimmed(parts: readonly Uint8Array[], leafStart: number, range: FileRange): readonly Uint8Array[] {
  const leafEnd = parts.reduce((sum, part) => sum + part.length, leafStart)
  if (range.start <= leafStart && leafEnd <= range.end) return parts
  const inside: Uint8Array[] = []
  let offset = leafStart
  for (const part of parts) {
    const from = Math.max(range.start - offset, 0)
    const to = Math.min(range.end - offset, part.length)
    if (from < to) inside.push(part.subarray(from, to))
    offset += part.length
  }
  return inside
}

function joined(parts: readonly Uint8Array[], bytes: number): Uint8Array {
  const only = parts[0]
  if (parts.length === 1 && only !== undefined) return only
  const whole = new Uint8Array(bytes)
  let offset = 0
  for (const part of parts) {
    whole.set(part, offset)
    offset += part.length
  }
  return whole
}
