/** A running peer, as the gateway sees it. Built by `compose.ts`. */
import type { ConsensusStatus } from '../consensus/status.ts'
import type { AccountId, InstitutionId } from '../core/ids.ts'
import type { Chain } from '../ledger/chain.ts'
import type { Mempool } from '../ledger/mempool.ts'
import { leaderOf } from '../ledger/validators.ts'
import type { P2pHost } from '../p2p/host.ts'
import type { DialStatus, MemberDialer } from '../p2p/member-dialer.ts'
import type { Blocks, BlockStoreStats } from '../store/blocks.ts'
import type { CatchUpStatus } from './catch-up.ts'
import type { CarService } from './car.ts'
import type { Collector } from './collector.ts'
import type { ContentService } from './content.ts'
import type { FreshBlocks } from './fresh-blocks.ts'
import type { ExtentDirectory } from './extent-directory.ts'
import type { Identity } from './identity.ts'
import type { InstitutionAccount } from './institution-account.ts'
import type { LedgerNode } from './ledger-node.ts'
import type { MemberSet } from './member-set.ts'
import type { ObjectService } from './objects.ts'
import type { PeerHistory, PeerReads } from './peer-history.ts'
import type { Pins } from './pins.ts'
import type { PlacementQueue } from './placement-queue.ts'
import type { RepairStatus, Repairer } from './repairer.ts'
import type { UploadService } from './uploads.ts'

export interface Peer {
  readonly institution: InstitutionId
  readonly identity: Identity
  /** What the daemon does in the institution's name. */
  readonly account: InstitutionAccount
  readonly chain: Chain
  readonly members: Pick<MemberSet, 'institutions'>
  readonly mempool: Mempool
  readonly ledger: LedgerNode
  readonly store: Blocks
  readonly content: ContentService
  readonly directory: ExtentDirectory
  readonly history: PeerHistory
  readonly uploads: UploadService
  readonly fresh: FreshBlocks
  readonly cars: CarService
  readonly objects: ObjectService
  readonly host: P2pHost
  readonly dialer: MemberDialer
  readonly placements: PlacementQueue
  readonly repairer: Repairer
  readonly collector: Collector
  readonly pins: Pins
  /** How consensus stands; absent, or without an answer, where this peer takes no part in it. */
  readonly consensus?: () => ConsensusStatus | undefined
  /** Stops everything, in the reverse order of its start; settles when all of it is on disk. */
  close(): Promise<void>
}

export interface MemberStatus {
  readonly institution: string
  readonly peerId: string
  readonly connected: boolean
  /** How it served blocks to this peer; absent: it was asked for none. */
  readonly reads?: PeerReads
}

/** What an operator looks at first. */
export interface PeerStatus {
  readonly institution: InstitutionId
  /** Whether the ledger, as far as it is known here, names this peer as a member's. */
  readonly admitted: boolean
  readonly peerId: string
  readonly account: AccountId
  readonly chain: string
  readonly network: string
  readonly height: number
  readonly blockTimeMs: number
  readonly behind: number
  /** What this peer does about it, or why it doesn't. */
  readonly catchingUp?: CatchUpStatus
  readonly validator: boolean
  /** Of the newest final block. */
  readonly view: number
  /** Of the next block. */
  readonly epoch: number
  /** Who leads the view after the newest block's. */
  readonly leader: InstitutionId | ''
  /** Of the epoch of the next block, by institution. */
  readonly validators: readonly InstitutionId[]
  /** Only where this peer takes part in consensus. */
  readonly consensus?: ConsensusStatus
  readonly waitingTransactions: number
  readonly addresses: readonly string[]
  readonly members: readonly MemberStatus[]
  readonly dials: readonly DialStatus[]
  readonly store: BlockStoreStats
  readonly repair: RepairStatus
  readonly rssBytes: number
  readonly upMs: number
}

export function peerStatus(peer: Peer): PeerStatus {
  const { chain, host, identity, institution, ledger, mempool, store } = peer
  const connected = new Set(host.getPeers().map(String))
  const members = [...peer.members.institutions]
    .filter(([peerId]) => peerId !== identity.peerId)
    .map(([peerId, of]) => {
      const reads = peer.history.reads(peerId)
      const status = { institution: of, peerId, connected: connected.has(peerId) }
      return reads === undefined ? status : { ...status, reads }
    })
    .toSorted((one, other) => one.institution.localeCompare(other.institution))
  const set = chain.validators()
  const validators = set?.validators.map((one) => one.institution) ?? []
  const leader = set === undefined ? '' : (validators[leaderOf(set, chain.head.view + 1)] ?? '')
  const consensus = peer.consensus?.()
  return {
    institution,
    admitted: peer.members.institutions.get(identity.peerId) === institution,
    peerId: identity.peerId,
    account: identity.account.id,
    chain: chain.id,
    network: chain.genesis.name,
    height: chain.head.height,
    blockTimeMs: chain.head.timeMs,
    behind: ledger.behind,
    ...(ledger.catchingUp === undefined ? {} : { catchingUp: ledger.catchingUp }),
    validator: validators.includes(institution),
    view: chain.head.view,
    epoch: chain.head.nextEpoch,
    leader,
    validators,
    ...(consensus === undefined ? {} : { consensus }),
    waitingTransactions: mempool.count,
    addresses: host.getMultiaddrs().map(String),
    members,
    dials: peer.dialer.status(),
    store: store.stats(),
    repair: peer.repairer.status(),
    rssBytes: process.memoryUsage.rss(),
    upMs: Math.round(process.uptime() * 1_000),
  }
}
