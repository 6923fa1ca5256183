/**
 * CARs out of this peer and into it: how content moves to and from IPFS programs that are not connected.
 *
 *   export   walk ──► block, verified, from here or from a member ──► section
 *   import   section, verified ──► block store (fsync) ──► at the end: is the graph below each root whole here?
 *
 * Both hold a few blocks at a time, whatever the size of the CAR. An import that fails leaves nothing behind but what the peer
 * needs for something else too. What a CAR holds is stored as it is: nothing is sealed on the way.
 *
 * @see docs/spec/car.md
 */
import type { CID } from 'multiformats/cid'
import { CAR_BATCH_BLOCKS, CAR_BATCH_BYTES, CAR_IMPORTS_MAX, READ_AHEAD_SEGMENTS } from '../core/limits.ts'
import { DAG_CBOR, RAW } from '../crypto/hash.ts'
import { type CarBlock, carHeader, carSectionHead, readCar } from '../shards/car.ts'
import { DagWalk, storedDigest } from '../shards/dag-walk.ts'
import { decodeManifest } from '../shards/manifest.ts'
import type { Blocks } from '../store/blocks.ts'
import type { ContentService, FilePieces } from './content.ts'
import { PeerError } from './faults.ts'
import { type FreshBlocks, FreshOwner } from './fresh-blocks.ts'
import type { ObjectService } from './objects.ts'
import type { Pins } from './pins.ts'

export interface CarDeps {
  readonly store: Blocks
  readonly content: Pick<ContentService, 'block'>
  readonly objects: Pick<ObjectService, 'check' | 'commit'>
  readonly fresh: FreshBlocks
  /** Keeps roots that are no objects. */
  readonly pins: Pick<Pins, 'add'>
}

export interface CarImported {
  readonly roots: readonly CID[]
  /** Blocks in the CAR. */
  readonly blocks: number
  /** Bytes of these blocks. */
  readonly bytes: number
  /** Roots that are manifests: listed as objects of this peer from now on. */
  readonly objects: readonly CID[]
}

const NOTHING_TO_RELEASE = (): void => undefined

export class CarService {
  readonly #deps: CarDeps
  #imports = 0

  constructor(deps: CarDeps) {
    this.#deps = deps
  }

  /**
   * The CAR of all that is below `root`, depth first, each block once.
   *
   * @throws {DagError} `DAG_BLOCK_INVALID`, `DAG_TOO_LARGE`; as `ContentService.block`
   */
  async *export(root: CID, options: { signal: AbortSignal }): AsyncGenerator<FilePieces> {
    const walk = new DagWalk(root)
    const ahead = new Map<string, Promise<Uint8Array>>()
    const read = async (cid: CID): Promise<Uint8Array> => this.#deps.content.block(cid, options)
    // With the first block, so that a root that isn't there is a refusal and no broken answer.
    let head: Uint8Array | undefined = carHeader([root])
    for (let cid = walk.next(); cid !== undefined; cid = walk.next()) {
      const name = cid.toString()
      const reading = ahead.get(name) ?? read(cid)
      ahead.delete(name)
      for (const leaf of walk.leavesAhead(READ_AHEAD_SEGMENTS)) {
        if (ahead.has(leaf.toString())) continue
        const started = read(leaf)
        // Awaited in its turn; a failure further ahead must not count as unhandled until then.
        started.catch(() => undefined)
        ahead.set(leaf.toString(), started)
      }
      const bytes = await reading
      walk.enter(cid, bytes)
      const pieces = [carSectionHead(cid, bytes.length), bytes]
      yield { pieces: head === undefined ? pieces : [head, ...pieces], release: NOTHING_TO_RELEASE }
      head = undefined
    }
  }

  /**
   * Takes a CAR in. Settles when all of it is durable, and whole below each of its roots.
   *
   * @param source - ends early, or throws, where the sender goes away.
   * @param options.bytes - of the whole CAR, where they are known: room is checked before anything is read.
   * @throws {CarError}, {DagError}; {PeerError} `CAR_IMPORTS_TOO_MANY`, `CAR_INCOMPLETE`; as `ObjectService.commit`; faults of
   * the store
   */
  async import(source: AsyncIterable<Uint8Array>, options: { bytes?: number } = {}): Promise<CarImported> {
    if (this.#imports >= CAR_IMPORTS_MAX) {
      throw new PeerError({ code: 'CAR_IMPORTS_TOO_MANY', importsMax: CAR_IMPORTS_MAX })
    }
    this.#imports++
    const owner = new FreshOwner()
    try {
      if (options.bytes !== undefined) await this.#deps.store.checkRoom(options.bytes)
      const imported = await this.#import(source, owner)
      this.#deps.fresh.keep(owner)
      return imported
    } catch (error) {
      await this.#deps.fresh.remove(owner)
      throw error
    } finally {
      this.#imports--
    }
  }

  async #import(source: AsyncIterable<Uint8Array>, owner: FreshOwner): Promise<CarImported> {
    const car = await readCar(source)
    let blocks = 0
    let bytes = 0
    let batch: CarBlock[] = []
    let batchBytes = 0
    for await (const block of car.blocks) {
      blocks++
      bytes += block.bytes.length
      batch.push(block)
      batchBytes += block.bytes.length
      if (batchBytes < CAR_BATCH_BYTES && batch.length < CAR_BATCH_BLOCKS) continue
      await this.#write(batch, owner)
      batch = []
      batchBytes = 0
    }
    await this.#write(batch, owner)
    const manifests = new Map<CID, Uint8Array>()
    // All of them before the first is taken up: all of a CAR is taken in, or nothing.
    for (const root of car.roots) {
      await this.#checkWhole(root)
      const manifest = await this.#manifest(root)
      if (manifest === undefined) continue
      await this.#deps.objects.check(manifest)
      manifests.set(root, manifest)
    }
    for (const manifest of manifests.values()) await this.#deps.objects.commit(manifest)
    for (const root of car.roots) if (!manifests.has(root)) await this.#deps.pins.add(root)
    return { roots: car.roots, blocks, bytes, objects: [...manifests.keys()] }
  }

  async #write(batch: readonly CarBlock[], owner: FreshOwner): Promise<void> {
    this.#deps.fresh.claim(
      owner,
      batch.map((block) => block.digest),
    )
    await this.#deps.store.write(batch.map(({ digest, bytes }) => ({ digest, parts: [bytes] })))
  }

  /** Leaves are not read: the store has checked what it wrote. @throws {PeerError} `CAR_INCOMPLETE`; {DagError} */
  async #checkWhole(root: CID): Promise<void> {
    const { store } = this.#deps
    const walk = new DagWalk(root)
    for (let cid = walk.next(); cid !== undefined; cid = walk.next()) {
      const digest = storedDigest(cid)
      const bytes = cid.code === RAW ? undefined : await store.read(digest)
      if (bytes !== undefined) walk.enter(cid, bytes)
      else if (cid.code !== RAW || !store.has(digest)) throw new PeerError({ code: 'CAR_INCOMPLETE', cid: String(cid) })
    }
  }

  /** A manifest makes an object of this peer, as `put` does; any other root is kept as the blocks that it is. */
  async #manifest(root: CID): Promise<Uint8Array | undefined> {
    if (root.code !== DAG_CBOR) return undefined
    const bytes = await this.#deps.store.read(storedDigest(root))
    return bytes === undefined || !isManifest(bytes) ? undefined : bytes
  }
}

function isManifest(bytes: Uint8Array): boolean {
  try {
    decodeManifest(bytes)
    return true
  } catch {
    return false
  }
}
