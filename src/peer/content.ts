/**
 * Content: reads blocks and files by CID: from this peer's disk where it has them, else from those who hold them by the ledger, and
 * what the ledger doesn't know of from whoever has it.
 *
 * Everything handed out is verified against its hash, once: the store does it for what lies here, the block exchange for
 * what comes over the network. Ciphertext passes through; nothing is kept unless the caller says so.
 */
import type { CID } from 'multiformats/cid'
import type { PeerId } from '@libp2p/interface'
import { equals } from 'uint8arrays/equals'
import { LOCAL_BUFFERS_KEPT, READ_AHEAD_SEGMENTS, SEGMENT_BYTES } from '../core/limits.ts'
import { RAW, sha256 } from '../crypto/hash.ts'
import { faultOf } from '../core/coded-error.ts'
import type { FetchOptions } from '../p2p/block-fetch.ts'
import type { BlockFetcher } from '../p2p/block-fetcher.ts'
import type { FetchedBlock } from '../p2p/block-provider.ts'
import { BufferPool } from '../p2p/buffer-pool.ts'
import { type FileLeaf, fileLeaves, parseNode } from '../shards/unixfs-tree.ts'
import type { Blocks } from '../store/blocks.ts'
import { StoreError } from '../store/store-error.ts'
import { joined } from './block-parts.ts'
import type { CopyReader } from './copy-reader.ts'
import type { ExtentDirectory, Located } from './extent-directory.ts'
import type { ExtentReader } from './extent-reader.ts'
import { PeerError } from './faults.ts'
import { type PlacedRun, leafRuns } from './leaf-runs.ts'
import type { LedgerArrival } from './ledger-arrival.ts'
import { readHere } from './own-blocks.ts'
import type { PeerHistory } from './peer-history.ts'

export interface ContentDeps {
  readonly store: Blocks
  readonly fetcher: BlockFetcher
  readonly directory: ExtentDirectory
  readonly arrival: Pick<LedgerArrival, 'isThere' | 'wait'>
  readonly extents: ExtentReader
  readonly copies: CopyReader
  readonly history: PeerHistory
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

/** Where one file or block comes from. */
interface Source {
  readonly signal: AbortSignal
  readonly keep: boolean
  /** Whether the ledger is asked where it lies. */
  readonly isPlaced: boolean
  readonly root: CID
  /** Of the root. */
  readonly providers: () => Promise<readonly PeerId[]>
}

const SHA2_256 = 0x12

export class ContentService {
  readonly #deps: ContentDeps
  readonly #pool = new BufferPool({ bufferBytes: SEGMENT_BYTES, keptMax: LOCAL_BUFFERS_KEPT })
  constructor(deps: ContentDeps) {
    this.#deps = deps
  }

  /**
   * One block, verified.
   *
   * @param options.keep - store it here too, when it came from elsewhere.
   * @param options.from - `members`: not placed by the ledger, since it is of the ledger itself. @default 'anywhere'
   * @throws {PeerError} `CONTENT_HASH_UNSUPPORTED`, `CONTENT_UNAVAILABLE`, `EXTENT_UNAVAILABLE`; {P2pError} `BLOCK_UNAVAILABLE`;
   *   {StoreError} `STORE_READ_FAILED`
   */
  async block(
    cid: CID,
    options: { signal: AbortSignal; keep?: boolean; from?: 'anywhere' | 'members' },
  ): Promise<Uint8Array> {
    const { keep = false, signal } = options
    const isPlaced = options.from !== 'members'
    if (isPlaced) await this.#deps.directory.note(cid)
    return this.#block(cid, { signal, keep, ...this.#source(cid, signal), isPlaced })
  }

  /**
   * Opens a UnixFS file of this network, wherever it lies.
   *
   * @param options.keep - store every block here as it passes: leaves first, the root last, so that a root that is here
   * has its whole tree here.
   * @throws as `block`; {TreeError} `TREE_NODE_INVALID`; {PeerError} `CONTENT_NOT_A_FILE`, `CONTENT_RANGE`
   */
  async openFile(root: CID, options: { signal: AbortSignal; keep?: boolean }): Promise<OpenFile> {
    const { keep = false, signal } = options
    await this.#deps.directory.note(root)
    const source = { signal, keep, isPlaced: true, ...this.#source(root, signal) }
    const rootBlock = await this.#block(root, { ...source, keep: false })
    const node = parseNode(root, rootBlock)
    if (node.kind === 'directory') throw new PeerError({ code: 'CONTENT_NOT_A_FILE', cid: root.toString() })
    const bytes = node.kind === 'leaf' ? rootBlock.length : node.fileBytes
    return {
      bytes,
      read: (range) => {
        if (range.start < 0 || range.start > range.end || range.end > bytes) {
          throw new PeerError({ code: 'CONTENT_RANGE', start: range.start, end: range.end, bytes })
        }
        return this.#read(root, rootBlock, range, source)
      },
    }
  }

  /** Members that have a block which the ledger doesn't place, and so its whole tree: asked once. */
  #source(root: CID, signal: AbortSignal): Pick<Source, 'root' | 'providers'> {
    let found: Promise<readonly PeerId[]> | undefined
    return {
      root,
      providers: async () => {
        found ??= this.#deps.fetcher.findProviders(digestOf(root), signal)
        return found
      },
    }
  }

  async #block(cid: CID, source: Source): Promise<Uint8Array> {
    const digest = digestOf(cid)
    const here = await readHere(this.#deps.store, digest)
    if (here !== undefined) return here
    const bytes = (await this.#placedBlock(cid, source)) ?? (await this.#memberBlock(cid, source))
    if (source.keep) await this.#keep([{ digest, parts: [bytes] }])
    return bytes
  }

  /** Where a block lies by the ledger. One that isn't there yet is waited for. */
  async #find(cid: CID, { root, signal }: Source): Promise<Located | undefined> {
    const { arrival, directory } = this.#deps
    // Before the look: it may come while that is under way.
    const wasThere = arrival.isThere
    const located = await directory.find(cid, signal)
    if (located !== undefined || wasThere || !(await arrival.wait(signal))) return located
    await directory.note(root)
    return directory.find(cid, signal)
  }

  /** A block that lies where the ledger says; `undefined`: it says nothing. */
  async #placedBlock(cid: CID, source: Source): Promise<Uint8Array | undefined> {
    if (!source.isPlaced) return undefined
    try {
      const located = await this.#find(cid, source)
      if (located === undefined) return undefined
      if (located.kind === 'copy') return await this.#deps.copies.read(cid, located, source.signal)
      for await (const block of this.#deps.extents.read(located.placed, [located.place], source)) {
        return joined(block.parts, block.bytes)
      }
      return undefined
    } catch (error) {
      const peers = await this.#othersThan(error, digestOf(cid), source)
      const found = await this.#fetchBlock(cid, peers, source)
      if (found === undefined) throw error
      return found
    }
  }

  /** Who has what the holders can't give: who stored it, or kept a copy. Throws what was thrown, where that is something else or nobody does. */
  async #othersThan(thrown: unknown, digest: Uint8Array, { signal }: Source): Promise<readonly PeerId[]> {
    if (faultOf(thrown)?.code !== 'EXTENT_UNAVAILABLE') throw thrown
    const peers = await this.#deps.fetcher.findProviders(digest, signal)
    if (peers.length === 0) throw thrown
    return peers
  }

  async #memberBlock(cid: CID, source: Source): Promise<Uint8Array> {
    const { providers, root, signal } = source
    let peers = await providers()
    // The root may lie here alone.
    if (peers.length === 0 && !cid.equals(root)) peers = await this.#deps.fetcher.findProviders(digestOf(cid), signal)
    const found = peers.length === 0 ? undefined : await this.#fetchBlock(cid, peers, source)
    if (found === undefined) throw new PeerError({ code: 'CONTENT_UNAVAILABLE', cid: cid.toString() })
    return found
  }

  async #fetchBlock(cid: CID, peers: readonly PeerId[], { signal }: Source): Promise<Uint8Array | undefined> {
    for await (const block of this.#deps.fetcher.fetch([digestOf(cid)], peers, this.#fetchOptions(signal))) {
      return joined(block.parts, block.bytes)
    }
    return undefined
  }

  #fetchOptions(signal: AbortSignal): FetchOptions {
    return { signal, onProviderFault: (peer, fault) => this.#deps.history.failed(peer, fault) }
  }

  async *#read(root: CID, rootBlock: Uint8Array, range: FileRange, source: Source): AsyncGenerator<FilePieces> {
    const inner: { digest: Uint8Array; parts: readonly Uint8Array[] }[] = []
    const readNode = async (cid: CID): Promise<Uint8Array> => {
      const bytes = cid.equals(root) ? rootBlock : await this.#block(cid, { ...source, keep: false })
      if (source.keep) inner.push({ digest: digestOf(cid), parts: [bytes] })
      return bytes
    }
    const leaves = fileLeaves(root, readNode, { from: range.start, leafBytes: rootBlock.length })
    for await (const { leaf, parts, release } of this.#leafParts(
      untilEnd(leaves, range.end),
      root,
      rootBlock,
      source,
    )) {
      // Before the last bytes go out, so that whoever has them all may rely on it; the root last, see `openFile`.
      if (source.keep && range.start === 0 && leaf.start + leaf.bytes >= range.end)
        await this.#keep(inner.splice(0).reverse())
      yield { pieces: trimmed(parts, leaf.start, range), release }
    }
  }

  /** The leaves' bytes in order, in runs that lie alike. */
  async *#leafParts(
    leaves: AsyncGenerator<FileLeaf>,
    root: CID,
    rootBlock: Uint8Array,
    source: Source,
  ): AsyncGenerator<LeafParts> {
    if (root.code === RAW) {
      for await (const leaf of leaves) {
        if (source.keep) await this.#keep([{ digest: leaf.digest, parts: [rootBlock] }])
        yield { leaf, parts: [rootBlock], release: NOTHING_TO_RELEASE }
      }
      return
    }
    const find = async (cid: CID): Promise<Located | undefined> => this.#find(cid, source)
    for await (const run of leafRuns(leaves, { store: this.#deps.store, find })) {
      if (run.kind === 'here') yield* this.#readLocal(run.leaves, source)
      else if (run.kind === 'placed') yield* this.#readPlaced(run, source)
      else yield* this.#readElsewhere(run.leaves, run.failure, source)
    }
  }

  async *#readLocal(leaves: readonly FileLeaf[], source: Source): AsyncGenerator<LeafParts> {
    const ahead: Promise<Pick<LeafParts, 'parts' | 'release'>>[] = []
    const read = (leaf: FileLeaf): void => {
      const reading = this.#localLeaf(leaf, source)
      // Awaited in order below; a failure further ahead must not count as unhandled until then.
      reading.catch(() => undefined)
      ahead.push(reading)
    }
    for (const leaf of leaves.slice(0, READ_AHEAD_SEGMENTS)) read(leaf)
    for (const [index, leaf] of leaves.entries()) {
      const { parts, release } = await (ahead.shift() as (typeof ahead)[number])
      const next = leaves[index + READ_AHEAD_SEGMENTS]
      if (next !== undefined) read(next)
      checkLeaf(
        leaf,
        parts.reduce((sum, part) => sum + part.length, 0),
      )
      yield { leaf, parts, release }
    }
  }

  /** From the disk, into memory that is used again; a block that turns out damaged is got as any other. */
  async #localLeaf({ bytes, cid, digest }: FileLeaf, source: Source): Promise<Pick<LeafParts, 'parts' | 'release'>> {
    if (bytes <= this.#pool.bufferBytes) {
      const buffer = this.#pool.take()
      const found = await this.#deps.store.readInto(digest, buffer).catch((error: unknown) => {
        if (error instanceof StoreError) return undefined
        throw error
      })
      if (found === bytes && equals(sha256(buffer.subarray(0, bytes)), digest)) {
        return { parts: [buffer.subarray(0, bytes)], release: () => this.#pool.give(buffer) }
      }
      this.#pool.give(buffer)
    }
    return { parts: [await this.#block(cid, source)], release: NOTHING_TO_RELEASE }
  }

  /** From the holders of one extent; what they can't give, from whoever else has it. */
  async *#readPlaced({ leaves, placed, places }: PlacedRun, source: Source): AsyncGenerator<LeafParts> {
    let index = 0
    try {
      for await (const block of this.#deps.extents.read(placed, places, source)) {
        yield await this.#leafOf(leaves[index++] as FileLeaf, block, source)
      }
    } catch (error) {
      const leaf = leaves[index]
      if (leaf === undefined) throw error
      yield* this.#readRemote(leaves.slice(index), await this.#othersThan(error, leaf.digest, source), source)
    }
  }

  /** Leaves that the ledger doesn't place. @param failure - why it isn't known where they lie */
  async *#readElsewhere(
    leaves: readonly FileLeaf[],
    failure: PeerError | undefined,
    source: Source,
  ): AsyncGenerator<LeafParts> {
    const [first] = leaves
    if (first === undefined) return
    if (failure !== undefined) {
      yield* this.#readRemote(leaves, await this.#othersThan(failure, first.digest, source), source)
      return
    }
    let peers = await source.providers()
    if (peers.length === 0) peers = await this.#deps.fetcher.findProviders(first.digest, source.signal)
    if (peers.length === 0) throw new PeerError({ code: 'CONTENT_UNAVAILABLE', cid: first.cid.toString() })
    yield* this.#readRemote(leaves, peers, source)
  }

  async *#readRemote(leaves: readonly FileLeaf[], peers: readonly PeerId[], source: Source): AsyncGenerator<LeafParts> {
    const digests = leaves.map((leaf) => leaf.digest)
    let index = 0
    const options = { ...this.#fetchOptions(source.signal), pooled: true }
    for await (const block of this.#deps.fetcher.fetch(digests, peers, options)) {
      yield await this.#leafOf(leaves[index++] as FileLeaf, block, source)
    }
  }

  async #leafOf(leaf: FileLeaf, block: FetchedBlock, { keep }: Source): Promise<LeafParts> {
    checkLeaf(leaf, block.bytes)
    if (keep) await this.#keep([{ digest: leaf.digest, parts: block.parts }])
    return { leaf, parts: block.parts, release: () => block.release() }
  }

  async #keep(blocks: readonly { digest: Uint8Array; parts: readonly Uint8Array[] }[]): Promise<void> {
    this.#deps.claim(blocks.map((block) => block.digest))
    await this.#deps.store.write(blocks)
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
