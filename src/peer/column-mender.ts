/**
 * Brings one column of an extent here: what is missing of it comes from its present holder, or is rebuilt from any k others, a few
 * stripes at a time; each block is checked and durable before the next is asked for.
 *
 *   map ──► what is here already ──► missing shards, copies ──► store ──► receipt, for a column that is taken over
 *
 * A crash leaves whole blocks behind, which the next attempt finds; a receipt is signed only for what was read and checked.
 *
 * @see extent-reader.ts for how shards are found; shard-holder.ts for what is signed
 */
import { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { REPAIR_RECEIPT_MS, REPAIR_WINDOW_BYTES } from '../core/limits.ts'
import type { ShardReceipt } from '../domain/shard-receipt.ts'
import type { Chain } from '../ledger/chain.ts'
import type { BlockFetcher } from '../p2p/block-fetcher.ts'
import type { FetchedBlock } from '../p2p/block-provider.ts'
import { hasBit } from '../p2p/shard-messages.ts'
import type { ReceivedBlock } from '../p2p/shard-server.ts'
import { auditRoot } from '../shards/audit-tree.ts'
import { type Shard, encodeExtentMap } from '../shards/extent-map.ts'
import type { Repair } from '../shards/repair-order.ts'
import type { Blocks } from '../store/blocks.ts'
import { joined } from './block-parts.ts'
import type { ByteRate } from './byte-rate.ts'
import type { CopyReader } from './copy-reader.ts'
import type { ExtentDirectory } from './extent-directory.ts'
import type { ExtentReader } from './extent-reader.ts'
import { PeerError } from './faults.ts'
import type { PlacedExtent, ShardPlace } from './placed-extent.ts'
import type { ShardHolder } from './shard-holder.ts'

export interface ColumnMenderDeps {
  readonly chain: Pick<Chain, 'id' | 'head'>
  readonly store: Blocks
  readonly holder: Pick<ShardHolder, 'reserve'>
  readonly directory: Pick<ExtentDirectory, 'placed'>
  readonly extents: Pick<ExtentReader, 'read'>
  readonly copies: Pick<CopyReader, 'read'>
  readonly rate: ByteRate
  /** As in `ShardHolder`. */
  readonly claim: (digests: readonly Uint8Array[]) => void
}

/** Called with the bytes of shards that have become durable. */
export type OnMended = (bytes: number) => void

export class ColumnMender {
  readonly #deps: ColumnMenderDeps

  constructor(deps: ColumnMenderDeps) {
    this.#deps = deps
  }

  /**
   * Takes a column that the table gives to this peer.
   *
   * @returns its receipt; `undefined`: the ledger has no such extent any more.
   * @throws {PeerError} `EXTENT_UNAVAILABLE`, and those of `ShardHolder`; {StoreError}; the signal's reason
   */
  async take(repair: Repair, onMended: OnMended, signal: AbortSignal): Promise<ShardReceipt | undefined> {
    const { chain, directory, holder } = this.#deps
    const placed = await directory.placed(repair, signal)
    if (placed === undefined) return undefined
    const { column } = repair
    const { map } = placed.map
    const { index, manifest } = placed.extent
    const { bytes: mapBytes } = encodeExtentMap(map)
    const reserved = await holder.reserve({
      chain: CID.parse(chain.id),
      manifest,
      index,
      code: map.fields.code,
      column,
      bytes: repair.bytes,
      expiresMs: chain.head.timeMs + REPAIR_RECEIPT_MS,
      map: mapBytes,
    })
    try {
      const shards = map.shardsOfColumn(column)
      const missing = shards.filter((_, at) => !hasBit(reserved.held, at))
      const copies = map.fields.copies.filter((_, at) => !hasBit(reserved.held, shards.length + at))
      const sink = async (blocks: readonly ReceivedBlock[]): Promise<void> => reserved.store(blocks)
      await this.#bring(placed, { missing, copies: copies.map(({ cid }) => cid) }, { sink, onMended, signal })
      return await reserved.finish(mapBytes)
    } finally {
      reserved.end()
    }
  }

  /**
   * Brings back what is missing of a column that the ledger says this peer has.
   *
   * @throws as `take`; {PeerError} `SHARD_ALTERED` where the map's audit root is not the shard's
   */
  async mend(repair: Repair, onMended: OnMended, signal: AbortSignal): Promise<void> {
    const { claim, directory, store } = this.#deps
    const placed = await directory.placed(repair, signal)
    if (placed === undefined) return
    const { map } = placed.map
    const sink = async (blocks: readonly ReceivedBlock[]): Promise<void> => {
      claim(blocks.map(({ digest }) => digest))
      await store.write(blocks.map(({ bytes, digest }) => ({ digest, parts: [bytes] })))
    }
    const link = encodeExtentMap(map)
    const { digest } = link.cid.multihash
    // As read for this: from a holder, or from here.
    if (!store.has(digest)) await sink([{ kind: 'copy', digest, bytes: link.bytes }])
    const missing = map.shardsOfColumn(repair.column).filter((shard) => !store.has(shard.digest))
    const copies = map.fields.copies.flatMap(({ cid }) => (store.has(cid.multihash.digest) ? [] : cid))
    await this.#bring(placed, { missing, copies }, { sink, onMended, signal })
  }

  async #bring(
    placed: PlacedExtent,
    { copies, missing }: { readonly missing: readonly Shard[]; readonly copies: readonly CID[] },
    {
      onMended,
      signal,
      sink,
    }: {
      readonly sink: (blocks: readonly ReceivedBlock[]) => Promise<void>
      readonly onMended: OnMended
      readonly signal: AbortSignal
    },
  ): Promise<void> {
    const { extent, holders } = placed
    for (const cid of copies) {
      await this.#deps.rate.ready(signal)
      const bytes = await this.#deps.copies.read(cid, { extent: extent.index, holders }, signal)
      await sink([{ kind: 'copy', digest: cid.multihash.digest, bytes }])
    }
    for (const shards of together(missing, placed)) {
      await this.#deps.rate.ready(signal)
      onMended(await this.#bringShards(placed, shards, { sink, signal }))
    }
  }

  /** @returns their bytes. */
  async #bringShards(
    placed: PlacedExtent,
    shards: readonly Shard[],
    {
      signal,
      sink,
    }: { readonly sink: (blocks: readonly ReceivedBlock[]) => Promise<void>; readonly signal: AbortSignal },
  ): Promise<number> {
    const fetched: FetchedBlock[] = []
    try {
      const places = shards.map((shard) => placeOf(placed, shard))
      for await (const block of this.#deps.extents.read(placed, places, { signal })) fetched.push(block)
      const blocks = shards.map((shard, at): ReceivedBlock => {
        const { bytes: length, parts } = fetched[at] ?? { bytes: 0, parts: [] }
        const bytes = joined(parts, length)
        const { audit, column, digest, stripe } = shard
        // Its hash was checked; the root by which it will be audited is what the committer said.
        if (!equals(auditRoot(bytes), audit)) throw new PeerError({ code: 'SHARD_ALTERED', column, stripe })
        return { kind: 'shard', stripe, digest, audit, bytes }
      })
      await sink(blocks)
      return blocks.reduce((sum, { bytes }) => sum + bytes.length, 0)
    } finally {
      for (const block of fetched) block.release()
    }
  }
}

/** Shards that are read at once: so many that all that rebuilding them takes fits the window. */
function* together(shards: readonly Shard[], { map }: PlacedExtent): Generator<readonly Shard[]> {
  let some: Shard[] = []
  let windowBytes = 0
  for (const shard of shards) {
    const cost = map.map.stripeBytes(shard.stripe) * (map.map.stripes[shard.stripe]?.data ?? 1)
    if (some.length > 0 && windowBytes + cost > REPAIR_WINDOW_BYTES) {
      yield some
      some = []
      windowBytes = 0
    }
    some.push(shard)
    windowBytes += cost
  }
  if (some.length > 0) yield some
}

function placeOf({ map }: PlacedExtent, { number, stripe }: Shard): ShardPlace {
  const shard = map.map.shardsOfStripe(stripe).findIndex((one) => one.number === number)
  return { stripe, shard }
}

/** A fetcher that tells of every byte of a block that comes. */
export function metered(
  fetcher: BlockFetcher,
  onBytes: (bytes: number) => void,
): Pick<BlockFetcher, 'links' | 'fetch' | 'findProviders'> {
  return {
    findProviders: async (digest, signal) => fetcher.findProviders(digest, signal),
    links: (events) =>
      fetcher.links({
        onMissing: (peer, want) => events.onMissing(peer, want),
        onLost: (peer, wants, fault) => events.onLost(peer, wants, fault),
        onBlock: (peer, want, block, tookMs) => {
          onBytes(block.bytes)
          events.onBlock(peer, want, block, tookMs)
        },
      }),
    async *fetch(digests, providers, options) {
      for await (const block of fetcher.fetch(digests, providers, options)) {
        onBytes(block.bytes)
        yield block
      }
    },
  }
}
