/**
 * This peer's part in the network's storage, put together: it offers its room, keeps the placement table in step, takes columns that
 * the table gives to it, and places what is stored here.
 */
import { PLACEMENT_BUFFERS_KEPT, REPAIR_BURST_BYTES, SEGMENT_BYTES } from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { softwareSigner } from '../crypto/signatures.ts'
import { getStoragePeer } from '../domain/storage-state.ts'
import { assignedRow, extentGroup, getLayout } from '../domain/storage-table.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import { BlockFetcher } from '../p2p/block-fetcher.ts'
import { BufferPool } from '../p2p/buffer-pool.ts'
import type { P2pHost } from '../p2p/host.ts'
import { ShardServer } from '../p2p/shard-server.ts'
import type { Blocks } from '../store/blocks.ts'
import type { LevelStore } from '../store/level-store.ts'
import { PrefixStore } from '../store/prefix-store.ts'
import { ByteRate } from './byte-rate.ts'
import { ColumnMender, metered } from './column-mender.ts'
import type { PeerConfig } from './config.ts'
import { CopyReader } from './copy-reader.ts'
import type { ExtentDirectory } from './extent-directory.ts'
import { ExtentReader } from './extent-reader.ts'
import type { Identity } from './identity.ts'
import type { InstitutionAccount } from './institution-account.ts'
import { LayoutKeeper } from './layout-keeper.ts'
import { LedgerRepairs } from './ledger-repairs.ts'
import type { PeerHistory } from './peer-history.ts'
import { PlacementQueue } from './placement-queue.ts'
import { Repairer } from './repairer.ts'
import { type AssignedPeers, ShardHolder } from './shard-holder.ts'
import { StagedColumns } from './staged-columns.ts'
import { StrayBlocks } from './stray-blocks.ts'
import { StorageOffers } from './storage-offers.ts'

export interface StorageNetworkDeps {
  readonly chain: Chain
  readonly host: P2pHost
  readonly store: Blocks
  readonly state: LevelStore
  readonly identity: Identity
  readonly account: InstitutionAccount
  readonly directory: ExtentDirectory
  readonly history: PeerHistory
  readonly claim: (digests: readonly Uint8Array[]) => void
  readonly clock: Clock
  readonly log: Log
}

export interface StorageNetwork {
  readonly staged: StagedColumns
  readonly placements: PlacementQueue
  readonly repairer: Repairer
}

/** @param closers - gets what stops each part, in the order of their start. */
export async function startStorageNetwork(
  deps: StorageNetworkDeps,
  options: PeerConfig['store'],
  closers: (() => Promise<void>)[],
): Promise<StorageNetwork> {
  const { account, chain, claim, clock, directory, host, identity, log, state, store } = deps
  const peer = identity.peerId as PeerIdText
  const staged = await StagedColumns.open(new PrefixStore(state, 'staged/'))
  const signer = softwareSigner(identity.peerSeed)
  const holder = new ShardHolder({ chain, store, staged, signer, peer, assigned: assignedPeers(chain), claim })
  const server = new ShardServer({ host, taker: holder, log })
  await server.start()
  closers.push(async () => server.stop())
  const pool = new BufferPool({ bufferBytes: SEGMENT_BYTES, keptMax: PLACEMENT_BUFFERS_KEPT })
  const placements = await PlacementQueue.open({
    host,
    store,
    chain,
    holder,
    peer,
    pool,
    account,
    directory,
    state: new PrefixStore(state, 'placement/'),
    clock,
    log,
  })
  placements.start()
  closers.push(async () => placements.stop())
  const offers = new StorageOffers({ chain, account, store, peer, log }, options)
  offers.start()
  closers.push(async () => offers.stop())
  const keeper = new LayoutKeeper({ chain, account, peer, clock, log })
  keeper.start()
  closers.push(async () => keeper.stop())
  const repairer = openRepairer(deps, holder, options)
  repairer.start()
  closers.push(async () => repairer.stop())
  return { staged, placements, repairer }
}

function openRepairer(deps: StorageNetworkDeps, holder: ShardHolder, options: PeerConfig['store']): Repairer {
  const { account, chain, claim, directory, history, host, identity, log, store } = deps
  const bytesPerSecond = options.repairBytesPerSecond
  const rate = new ByteRate({ bytesPerSecond, burstBytes: Math.min(REPAIR_BURST_BYTES, bytesPerSecond) })
  const fetcher = new BlockFetcher({ host, log })
  const paced = metered(fetcher, (bytes) => rate.spend(bytes))
  const self = identity.peerId
  const extents = new ExtentReader({ store, fetcher: paced, history, log, self })
  const copies = new CopyReader({ store, fetcher: paced, history, self })
  const mender = new ColumnMender({ chain, store, holder, directory, extents, copies, rate, claim })
  const strays = new StrayBlocks({ store, fetcher, rate })
  const ledger = new LedgerRepairs({ chain, store, peer: self as PeerIdText, log })
  return new Repairer({ chain, store, account, ledger, mender, strays, rate, log })
}

/** By the table that this peer's ledger has now. */
function assignedPeers({ reader }: Chain): AssignedPeers {
  return async ({ index, manifest }, code) => {
    const layout = await getLayout(reader)
    if (layout === undefined) return undefined
    const row = await assignedRow(reader, layout, extentGroup(manifest, index), code)
    return Promise.all(
      row.map(async (number) => (number === undefined ? undefined : (await getStoragePeer(reader, number))?.peer)),
    )
  }
}
