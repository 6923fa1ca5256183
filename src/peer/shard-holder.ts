/**
 * Takes columns of extents that the placement table gives to this peer, checks them against what they claim to be, keeps them
 * durably, and signs for them. What it signed for it keeps until the ledger can't name it any more, or as long as it does.
 *
 * A receipt is this peer's word, by which it will be audited. So nothing is signed that was not computed here: SHA-256 and audit root of
 * every shard are, also of those that were here before.
 *
 * @see docs/spec/shard-push.md, docs/spec/shard-receipt.md
 */
import type { PeerId } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { toString } from 'uint8arrays/to-string'
import * as limits from '../core/limits.ts'
import type { Signer } from '../core/ports.ts'
import { sha256 } from '../crypto/hash.ts'
import { getPeerInstitution } from '../domain/accounts.ts'
import { type ShardReceipt, signReceipt } from '../domain/shard-receipt.ts'
import { getExtent } from '../domain/storage-state.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { ColumnTaker, ReceivedBlock, ReservedColumn } from '../p2p/shard-server.ts'
import { type Reserve, bitsOf } from '../p2p/shard-messages.ts'
import { auditRoot } from '../shards/audit-tree.ts'
import { type ExtentMap, type Shard, decodeExtentMap, encodeExtentMap, extentFacts } from '../shards/extent-map.ts'
import type { Code } from '../shards/stripes.ts'
import type { Blocks } from '../store/blocks.ts'
import { PeerError } from './faults.ts'
import type { StagedColumns } from './staged-columns.ts'

/** Who should hold the columns of an extent, by the table that this peer knows now. */
export type AssignedPeers = (
  extent: { readonly manifest: CID; readonly index: number },
  code: Code,
) => Promise<readonly (PeerIdText | undefined)[] | undefined>

export interface ShardHolderDeps {
  readonly chain: Pick<Chain, 'id' | 'head' | 'reader'>
  readonly store: Blocks
  readonly staged: StagedColumns
  /** Of the peer's own (libp2p) key. */
  readonly signer: Signer
  readonly peer: PeerIdText
  readonly assigned: AssignedPeers
  /** Told of blocks before they are kept here, so that no open upload takes them away again. */
  readonly claim: (digests: readonly Uint8Array[]) => void
}

export class ShardHolder implements ColumnTaker {
  readonly #deps: ShardHolderDeps
  /** Reserved and not yet written. */
  #reservedBytes = 0
  /** By institution: the height of the ledger at which it was last asked which of its columns are named. */
  readonly #askedAt = new Map<string, number>()

  constructor(deps: ShardHolderDeps) {
    this.#deps = deps
  }

  /**
   * @param from - who sends it; absent: this peer brings it here itself.
   * @throws {PeerError} `SHARD_WRONG_CHAIN`, `SHARD_EXPIRY`, `SHARD_NOT_ASSIGNED`, `SHARD_MAP_DIFFERS`, `STAGED_TOO_MANY`,
   *   `STAGED_BYTES_TOO_MANY`;
   *   {StoreError} `STORE_FULL` with its numbers; {CodecError}, {ExtentMapError} for a map that is none
   */
  async reserve(request: Reserve, from?: PeerId): Promise<ReservedColumn> {
    const { staged, store } = this.#deps
    const { column, expiresMs, index, manifest } = request
    this.#checkTerms(request)
    await this.#checkAssigned(request)
    const map = request.map === undefined ? undefined : decodeExtentMap(request.map)
    if (map !== undefined) checkMapOf(map, request)
    const account = await this.#accountOf(from)
    const { held, missingBytes } = whatIsHere(store, request, map)
    // Before the check: a reservation that is looked at meanwhile counts this one.
    this.#reservedBytes += missingBytes
    let leftBytes = missingBytes
    const use = (used: number): void => {
      const part = Math.min(used, leftBytes)
      leftBytes -= part
      this.#reservedBytes -= part
    }
    const link = map === undefined ? {} : { map: encodeExtentMap(map).cid }
    const of = { manifest, index, column, ...link }
    const takenBytes = account.from === undefined ? 0 : missingBytes
    try {
      await store.checkRoom(this.#reservedBytes)
      if (account.from !== undefined) await this.#checkShare(account.from, missingBytes)
      await staged.note({ ...of, ...sizesOf(request, map), expiresMs, ...account }, takenBytes)
    } catch (error) {
      use(missingBytes)
      throw error
    }
    const settle = (bytes: number): void => {
      if (account.from !== undefined) staged.settle(of, { takenBytes, bytes })
    }
    return new HeldColumn(this.#deps, request, { map, held: bitsOf(held), use, settle, account })
  }

  #checkTerms({ chain: link, expiresMs }: Reserve): void {
    const { chain } = this.#deps
    if (link.toString() !== chain.id) throw new PeerError({ code: 'SHARD_WRONG_CHAIN', chain: link.toString() })
    const earliestMs = chain.head.timeMs + limits.SHARD_EXPIRY_MS_MIN
    const latestMs = chain.head.timeMs + limits.SHARD_EXPIRY_MS_MAX
    if (expiresMs >= earliestMs && expiresMs <= latestMs) return
    throw new PeerError({ code: 'SHARD_EXPIRY', expiresMs, earliestMs, latestMs })
  }

  async #accountOf(from: PeerId | undefined): Promise<Account> {
    if (from === undefined) return {}
    const peer = from.toString() as PeerIdText
    return { from: (await getPeerInstitution(this.#deps.chain.reader, peer)) ?? peer }
  }

  /** That one institution doesn't fill the store with what the ledger never names. @throws {PeerError} `STAGED_BYTES_TOO_MANY` */
  async #checkShare(from: string, moreBytes: number): Promise<void> {
    const { staged, store } = this.#deps
    const ratioBytes = store.stats().capacityBytes * limits.STAGED_BYTES_OF_ONE_RATIO
    const bytesMax = Math.max(limits.STAGED_BYTES_OF_ONE_MIN, Math.floor(ratioBytes))
    const isOver = (): boolean => staged.unnamed(from).bytes + moreBytes > bytesMax
    if (isOver() || staged.unnamed(from).columns >= limits.STAGED_COLUMNS_OF_ONE_MAX) await this.#lookForNames(from)
    if (!isOver()) return
    const bytes = staged.unnamed(from).bytes + moreBytes
    throw new PeerError({ code: 'STAGED_BYTES_TOO_MANY', bytes, bytesMax })
  }

  /** Asks the ledger which columns of an institution it names; once a block, since they may be many. */
  async #lookForNames(from: string): Promise<void> {
    const { chain, staged } = this.#deps
    const { height } = chain.head
    if (this.#askedAt.get(from) === height) return
    this.#askedAt.set(from, height)
    for (const column of staged.unnamedColumns(from)) {
      const extent = await getExtent(chain.reader, column.manifest, column.index)
      if (column.map !== undefined && extent?.map.equals(column.map) === true) staged.setNamed(column)
    }
  }

  async #checkAssigned({ code, column, index, manifest }: Reserve): Promise<void> {
    const row = await this.#deps.assigned({ manifest, index }, code)
    const peer = row?.[column]
    if (peer !== this.#deps.peer) throw new PeerError({ code: 'SHARD_NOT_ASSIGNED', column, peer: peer ?? 'nobody' })
  }
}

/** Empty: nobody's. */
interface Account {
  readonly from?: string
}

interface Known {
  readonly map: ExtentMap | undefined
  readonly held: Uint8Array
  /** Of the room that was reserved. */
  readonly use: (bytes: number) => void
  /** Called once, with the bytes that were written and not here before. */
  readonly settle: (bytes: number) => void
  readonly account: Account
}

interface Received {
  readonly digest: Uint8Array
  readonly audit: Uint8Array
  readonly bytes: number
}

/** One column on its way in. */
class HeldColumn implements ReservedColumn {
  readonly held: Uint8Array
  readonly #deps: ShardHolderDeps
  readonly #request: Omit<Reserve, 'map'>
  readonly #map: ExtentMap | undefined
  readonly #account: Account
  /** By stripe, where the map is known: nothing else is taken. */
  readonly #expected: ReadonlyMap<number, Shard> | undefined
  readonly #copies: CopyAllowance
  readonly #use: (bytes: number) => void
  #settle: ((bytes: number) => void) | undefined
  /** Not here before. */
  #writtenBytes = 0
  readonly #shards = new Map<number, Received>()
  #lastStripe = -1
  #bytes = 0

  constructor(deps: ShardHolderDeps, { map: _bytes, ...request }: Reserve, known: Known) {
    this.#deps = deps
    this.#request = request
    this.#account = known.account
    this.#settle = known.settle
    this.#map = known.map
    const shards = known.map?.shardsOfColumn(request.column)
    this.#expected = shards === undefined ? undefined : new Map(shards.map((shard) => [shard.stripe, shard]))
    this.#copies = new CopyAllowance(known.map, request.copyBytes ?? 0)
    this.held = known.held
    this.#use = known.use
  }

  /**
   * @throws {PeerError} `SHARD_ALTERED`, `SHARD_ORDER`, `SHARD_OVERRUN`, `SHARD_COPIES_TOO_MANY`, `SHARD_MAP_DIFFERS` for what a map
   *   that is known doesn't list; faults of the store
   */
  async store(blocks: readonly ReceivedBlock[]): Promise<void> {
    for (const block of blocks) this.#check(block)
    const { claim, store } = this.#deps
    claim(blocks.map(({ digest }) => digest))
    this.#writtenBytes += blocks.reduce((sum, { bytes, digest }) => sum + (store.has(digest) ? 0 : bytes.length), 0)
    await store.write(blocks.map(({ bytes, digest }) => ({ digest, parts: [bytes] })))
    this.#use(blocks.reduce((sum, { bytes }) => sum + bytes.length, 0))
  }

  /**
   * @throws {PeerError} `SHARD_MAP_DIFFERS`, `SHARD_COLUMN_INCOMPLETE`; {CodecError}, {ExtentMapError} for a map that is none;
   *   faults of the store
   */
  async finish(bytes: Uint8Array): Promise<ShardReceipt> {
    const { chain, signer, staged, store } = this.#deps
    const { column, expiresMs, index, manifest } = this.#request
    const map = this.#map ?? decodeExtentMap(bytes)
    checkMapOf(map, this.#request)
    const shards = map.shardsOfColumn(column)
    for (const shard of shards) await this.#checkShard(shard)
    const extra = [...this.#shards.keys()].find((stripe) => !shards.some((shard) => shard.stripe === stripe))
    if (extra !== undefined) throw new PeerError({ code: 'SHARD_MAP_DIFFERS', field: `stripe ${extra}` })
    this.#copies.checkListed(map)
    const block = encodeExtentMap(map)
    const copies = map.fields.copies.map(({ cid }) => cid.multihash.digest)
    this.#deps.claim([block.cid.multihash.digest, ...shards.map(({ digest }) => digest), ...copies])
    await store.write([{ digest: block.cid.multihash.digest, parts: [block.bytes] }])
    this.#settleOnce()
    const sizes = sizesOf(this.#request, map)
    await staged.note({ manifest, index, column, ...sizes, expiresMs, map: block.cid, ...this.#account })
    // Looked at again now that nobody may remove them any more: what was here before may have gone meanwhile.
    this.#checkHere(map, shards)
    return signReceipt(signer, chain.id, { extent: extentFacts(map, block.cid), column, expiresMs })
  }

  end(): void {
    this.#use(Number.MAX_SAFE_INTEGER)
    this.#settleOnce()
  }

  #settleOnce(): void {
    this.#settle?.(this.#writtenBytes)
    this.#settle = undefined
  }

  #check(block: ReceivedBlock): void {
    const { column } = this.#request
    if (!equals(sha256(block.bytes), block.digest)) {
      throw new PeerError({ code: 'SHARD_ALTERED', column, stripe: block.kind === 'shard' ? block.stripe : -1 })
    }
    if (block.kind === 'copy') {
      this.#copies.take(block)
      return
    }
    const { audit, bytes, digest, stripe } = block
    if (!equals(auditRoot(bytes), audit)) throw new PeerError({ code: 'SHARD_ALTERED', column, stripe })
    if (stripe <= this.#lastStripe) throw new PeerError({ code: 'SHARD_ORDER', stripe, after: this.#lastStripe })
    this.#lastStripe = stripe
    this.#bytes += bytes.length
    if (this.#bytes > this.#request.bytes) {
      throw new PeerError({ code: 'SHARD_OVERRUN', bytes: this.#bytes, reservedBytes: this.#request.bytes })
    }
    const received = { digest, audit, bytes: bytes.length }
    if (this.#expected !== undefined) checkAgrees(received, stripe, this.#expected.get(stripe))
    this.#shards.set(stripe, received)
  }

  /** That a shard of the map is what came, or what was here before. */
  async #checkShard(shard: Shard): Promise<void> {
    const received = this.#shards.get(shard.stripe) ?? (await this.#readHeld(shard.digest))
    if (received === undefined) throw this.#incomplete(shard.stripe)
    checkAgrees(received, shard.stripe, shard)
  }

  async #readHeld(digest: Uint8Array): Promise<Received | undefined> {
    const bytes = this.#map === undefined ? undefined : await this.#deps.store.read(digest)
    return bytes === undefined ? undefined : { digest, audit: auditRoot(bytes), bytes: bytes.length }
  }

  #checkHere(map: ExtentMap, shards: readonly Shard[]): void {
    const { store } = this.#deps
    const gone = shards.find(({ digest }) => !store.has(digest))
    if (gone !== undefined) throw this.#incomplete(gone.stripe)
    for (const { bytes, cid } of map.fields.copies) {
      const { digest } = cid.multihash
      if (store.size(digest) !== bytes) {
        throw new PeerError({ code: 'SHARD_COPY_MISSING', digest: toString(digest, 'base16') })
      }
    }
  }

  #incomplete(stripe: number): PeerError {
    return new PeerError({ code: 'SHARD_COLUMN_INCOMPLETE', column: this.#request.column, stripe })
  }
}

/**
 * How much may come of what every holder keeps whole: what the map lists, where it is known, else what was reserved. Else a sender
 * that never finishes would fill the disk with blocks that nothing counts.
 */
class CopyAllowance {
  readonly #listed: ReadonlySet<string> | undefined
  readonly #bytesMax: number
  readonly #countMax: number
  readonly #taken: string[] = []
  #bytes = 0

  constructor(map: ExtentMap | undefined, reservedBytes: number) {
    this.#listed = map === undefined ? undefined : copiesOf(map)
    this.#bytesMax = map?.fields.copies.reduce((sum, { bytes }) => sum + bytes, 0) ?? reservedBytes
    this.#countMax = map?.fields.copies.length ?? limits.EXTENT_COPIES_MAX
  }

  /** @throws {PeerError} `SHARD_MAP_DIFFERS`, `SHARD_OVERRUN`, `SHARD_COPIES_TOO_MANY` */
  take({ bytes, digest }: { readonly bytes: Uint8Array; readonly digest: Uint8Array }): void {
    const name = toString(digest, 'base16')
    if (this.#listed !== undefined) checkListed(name, this.#listed)
    this.#bytes += bytes.length
    if (this.#bytes > this.#bytesMax) {
      throw new PeerError({ code: 'SHARD_OVERRUN', bytes: this.#bytes, reservedBytes: this.#bytesMax })
    }
    if (this.#taken.length >= this.#countMax) {
      throw new PeerError({ code: 'SHARD_COPIES_TOO_MANY', copiesMax: this.#countMax })
    }
    this.#taken.push(name)
  }

  /** That nothing came but what the map lists. @throws {PeerError} `SHARD_MAP_DIFFERS` */
  checkListed(map: ExtentMap): void {
    const listed = copiesOf(map)
    for (const name of this.#taken) checkListed(name, listed)
  }
}

/** Digests of a map's copies, in hexadecimal. */
function copiesOf(map: ExtentMap): ReadonlySet<string> {
  return new Set(map.fields.copies.map(({ cid }) => toString(cid.multihash.digest, 'base16')))
}

function checkListed(name: string, listed: ReadonlySet<string>): void {
  if (!listed.has(name)) throw new PeerError({ code: 'SHARD_MAP_DIFFERS', field: `copy ${name}` })
}

/** @param expected - of the map; `undefined`: it has none there */
function checkAgrees({ audit, bytes, digest }: Received, stripe: number, expected: Shard | undefined): void {
  const agrees =
    expected !== undefined &&
    equals(digest, expected.digest) &&
    bytes === expected.bytes &&
    equals(audit, expected.audit)
  if (!agrees) throw new PeerError({ code: 'SHARD_MAP_DIFFERS', field: `stripe ${stripe}` })
}

/** Which shards of the column, and copies, are here, as far as the map is known; and the bytes of all that may come. */
function whatIsHere(
  store: Pick<Blocks, 'size'>,
  { bytes, column, copyBytes }: Reserve,
  map: ExtentMap | undefined,
): { readonly held: boolean[]; readonly missingBytes: number } {
  if (map === undefined) return { held: [], missingBytes: bytes + (copyBytes ?? 0) }
  const copies = map.fields.copies.map(({ bytes: of, cid }) => ({ digest: cid.multihash.digest, bytes: of }))
  const blocks = [...map.shardsOfColumn(column), ...copies]
  const held = blocks.map((block) => store.size(block.digest) === block.bytes)
  return { held, missingBytes: blocks.reduce((sum, block, at) => sum + (held[at] === true ? 0 : block.bytes), 0) }
}

/** Of shards and copies, by the map where it is known. */
function sizesOf(
  { bytes, column, copyBytes = 0 }: Omit<Reserve, 'map'>,
  map: ExtentMap | undefined,
): { readonly bytes: number; readonly copyBytes: number } {
  if (map === undefined) return { bytes, copyBytes }
  const sum = (blocks: readonly { readonly bytes: number }[]): number =>
    blocks.reduce((total, block) => total + block.bytes, 0)
  return { bytes: sum(map.shardsOfColumn(column)), copyBytes: sum(map.fields.copies) }
}

function checkMapOf(map: ExtentMap, { code, index, manifest }: Omit<Reserve, 'map'>): void {
  const { fields } = map
  const agree = {
    manifest: fields.manifest.equals(manifest),
    index: fields.index === index,
    code: fields.code.data === code.data && fields.code.parity === code.parity,
  }
  const wrong = Object.entries(agree).find(([, holds]) => !holds)
  if (wrong !== undefined) throw new PeerError({ code: 'SHARD_MAP_DIFFERS', field: wrong[0] })
}
