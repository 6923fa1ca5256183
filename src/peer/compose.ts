/**
 * The one place where a daemon is put together. Everything is opened in the order in which it is needed, and closed in the
 * reverse order, also when a later part can't be opened.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { CID } from 'multiformats/cid'
import { accountDirectory } from '../domain/accounts.ts'
import { machines } from '../domain/machines.ts'
import { COLLECT_FRESH_MS } from '../core/limits.ts'
import { faultOf } from '../core/coded-error.ts'
import type { Clock, Log } from '../core/ports.ts'
import { type Chain, type ChainDeps, isDamage } from '../ledger/chain.ts'
import { softwareSigner } from '../crypto/signatures.ts'
import { encodeGenesis, parseGenesisJson } from '../ledger/genesis.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import { Mempool } from '../ledger/mempool.ts'
import { BlockServer } from '../p2p/block-server.ts'
import { type P2pHost, startHost } from '../p2p/host.ts'
import { MemberDialer } from '../p2p/member-dialer.ts'
import { dropStrangers } from '../p2p/member-gate.ts'
import { type Blocks, RemoveCapability } from '../store/blocks.ts'
import type { LevelStore } from '../store/level-store.ts'
import { PrefixStore } from '../store/prefix-store.ts'
import { getStoredObject } from '../domain/storage-state.ts'
import { UploadJournal } from '../store/upload-journal.ts'
import { AuditAnswers } from './audit-answers.ts'
import { Auditor, type AuditorDeps } from './auditor.ts'
import { BitswapOnDemand, type BitswapOnDemandDeps } from './bitswap-on-demand.ts'
import type { CatchUpOptions } from './catch-up.ts'
import type { PeerConfig } from './config.ts'
import { CarService } from './car.ts'
import { Collector, type CollectorDeps } from './collector.ts'
import { EvidenceReports } from './evidence-reports.ts'
import { PeerError } from './faults.ts'
import { FreshBlocks } from './fresh-blocks.ts'
import { type Identity, openIdentity } from './identity.ts'
import { InstitutionAccount } from './institution-account.ts'
import { LedgerArrival } from './ledger-arrival.ts'
import { LedgerBlocks } from './ledger-blocks.ts'
import { LedgerDatabase } from './ledger-database.ts'
import { LedgerNode, type LedgerNodeDeps } from './ledger-node.ts'
import { MemberSet } from './member-set.ts'
import { ObjectService } from './objects.ts'
import { openBlocks } from './open-blocks.ts'
import { openContent } from './open-content.ts'
import { type DataPart, damagedPart, openChainOn, openNotes, tryOpenChain } from './open-ledger.ts'
import { OrphanMarks } from './orphan-marks.ts'
import type { Peer } from './peer.ts'
import { Pins } from './pins.ts'
import { RecentBlocks } from './recent-blocks.ts'
import { ScrubSchedule } from './scrub-schedule.ts'
import { startStorageNetwork } from './storage-network.ts'
import { UploadService } from './uploads.ts'
import { Validator, noteSigned } from './validator.ts'

export interface ComposeDeps {
  readonly clock: Clock
  readonly log: Log
  /** Called when the daemon can't go on safely: it should end, and be started again. */
  readonly onFailure: (error: unknown) => void
  /** @default the limits' */
  readonly catchUp?: CatchUpOptions
  /** How long blocks are no candidates of collection after they were written. @default `COLLECT_FRESH_MS` */
  readonly freshMs?: number
}

const HOUR_MS = 3_600_000

/**
 * Starts a peer.
 *
 * @throws faults of the keystore, the genesis, the store and the network; whatever was opened is closed again
 */
export async function startPeer(config: PeerConfig, deps: ComposeDeps): Promise<Peer> {
  const found = new Set<DataPart>()
  let damaged: DataPart | undefined
  for (;;) {
    const closers: (() => Promise<void>)[] = []
    const close = async (): Promise<void> => {
      for (const closer of closers.splice(0).reverse()) await closer()
    }
    try {
      return await openAll(config, deps, { closers, close, damaged })
    } catch (error) {
      await close()
      damaged = damagedPart(error, config.dataDir)
      if (damaged === undefined || found.has(damaged)) throw error
      deps.log.error({ fault: faultOf(error), part: damaged }, 'a start came upon damage: set aside, and started again')
      found.add(damaged)
    }
  }
}

interface StartRun {
  readonly closers: (() => Promise<void>)[]
  readonly close: () => Promise<void>
  /** What the start before this one came upon. */
  readonly damaged: DataPart | undefined
}

async function openAll(config: PeerConfig, deps: ComposeDeps, { close, closers, damaged }: StartRun): Promise<Peer> {
  const { clock, log, onFailure } = deps
  // The database is opened first: it is the lock on the data folder.
  let freeRoom = async (): Promise<boolean> => false
  const onDiskFull = async (): Promise<boolean> => freeRoom()
  const state = await openState(config, { onDiskFull, log, isDamaged: damaged === 'notes' })
  closers.push(async () => state.close())
  const identity = await openIdentity(config)
  // Only who holds this may remove blocks: uploads, of what was never committed, and the collector.
  const capability = new RemoveCapability()
  const store = await openBlocks(config, identity.peerId, { clock, log, capability })
  closers.push(async () => store.close())
  // On a full disk the store's ballast makes way for the ledger and the journals.
  freeRoom = async () => store.releaseBallast()
  const mempool = new Mempool()
  const ledgerDeps = { clock, log, mempool, onDiskFull, isDamaged: damaged === 'ledger' }
  const opened = await openLedger(config, ledgerDeps, state, closers)
  const { chain } = opened
  const members = await MemberSet.open({ chain, log })
  closers.push(async () => members.stop())
  const host = await openHost(config, members, identity, log)
  closers.push(async () => host.stop())

  const journal = await UploadJournal.open({ log, onDiskFull }, { dir: join(config.dataDir, 'uploads') })
  closers.push(async () => journal.close())
  const recent = new RecentBlocks(deps.freshMs ?? COLLECT_FRESH_MS)
  const fresh = new FreshBlocks({ store, capability, recent })
  const uploads = new UploadService(
    { store, journal, fresh, clock, log },
    { openMax: config.uploads.openMax, expireMs: config.uploads.expireHours * HOUR_MS },
  )
  await uploads.start()
  closers.push(async () => uploads.stop())
  const claim = (digests: readonly Uint8Array[]): void => fresh.release(digests)
  const self = identity.peerId
  const arrival = new LedgerArrival(clock)
  // There is nobody else to hear of it from.
  if (members.institutions.size === 1) arrival.came()
  const reads = openContent({ chain, arrival, host, store, self, claim, clock, log }, closers)
  const { content, directory, history } = reads
  const blocks = new BlockServer({ host, source: store, log })
  await blocks.start()
  closers.push(async () => blocks.stop())

  const nodeDeps = { ...opened, arrival, members, mempool, host, content, store, onFailure, clock, log }
  const ledger = new LedgerNode(nodeDeps, deps.catchUp)
  await ledger.start()
  closers.push(async () => ledger.stop())
  const { institution } = config
  const account = new InstitutionAccount({ chain, node: ledger, account: identity.account, institution, clock })
  const voting = { chain, members, mempool, ledger, account, identity, host, state }
  const validator = await startValidator(config, deps, voting, closers)
  const networkDeps = { chain, host, store, state, identity, account, directory, history, claim, clock, log }
  const { placements, repairer, staged } = await startStorageNetwork(networkDeps, config.store, closers)
  await startAudits({ chain, host, store, content, account, identity, institution, log }, closers)
  const listed = new PrefixStore(state, 'objects/')
  const isErased = async (manifest: CID): Promise<boolean> =>
    ((await getStoredObject(chain.reader, manifest))?.erasedMs ?? 0) > 0
  const objects = new ObjectService({ store, state: listed, uploads, fresh, placements, isErased, clock })
  const pins = await Pins.open({ state: new PrefixStore(state, 'pins/'), clock })
  const cars = new CarService({ store, content, objects, fresh, pins })
  const holdings = { store, capability, staged, placements, uploads, fresh, recent, objects, pins }
  const collector = startCollector({ ...holdings, chain, ledger, identity, account, institution, state, log }, closers)

  const dialer = startDialer(config, { host, members, log })
  closers.push(async () => dialer.stop())
  startUpkeep({ host, store, state, clock, log, onFailure, directory }, config, closers)
  const consensus = (): ReturnType<Validator['status']> => validator.status()
  const ledgerParts = { chain, members, mempool, ledger, consensus, account, placements, repairer }
  const parts = { ...ledgerParts, collector, pins, store, ...reads, uploads, fresh, objects, cars, host, dialer }
  return { institution, identity, ...parts, close }
}

/** This peer shows what it holds, and judges others in the name of its institution. */
async function startAudits(
  deps: Pick<AuditorDeps, 'account' | 'content' | 'host' | 'institution' | 'log'> & {
    readonly chain: Chain
    readonly host: P2pHost
    readonly store: Blocks
    readonly identity: Identity
  },
  closers: (() => Promise<void>)[],
): Promise<void> {
  const { chain, host, identity, log, store } = deps
  const answers = new AuditAnswers({ state: () => chain.reader, store, host, log })
  await answers.start()
  closers.push(async () => answers.stop())
  const auditor = new Auditor({ ...deps, answers, peer: identity.peerId as PeerIdText })
  auditor.start()
  closers.push(async () => auditor.stop())
}

/** What goes on beside everything else: the scrub, and bitswap for members without our block protocol. */
function startUpkeep(
  deps: BitswapOnDemandDeps & { readonly state: LevelStore; readonly clock: Clock },
  config: PeerConfig,
  closers: (() => Promise<void>)[],
): void {
  const { clock, directory, host, log, onFailure, state, store } = deps
  const scrubs = new ScrubSchedule({ store, state: new PrefixStore(state, 'scrub/'), clock, log }, config.store)
  scrubs.start()
  closers.push(async () => scrubs.stop())
  const bitswap = new BitswapOnDemand({ host, store, directory, log, onFailure })
  bitswap.start()
  closers.push(async () => bitswap.stop())
}

/** Removes what nothing needs, from now on. */
function startCollector(
  deps: Omit<CollectorDeps, 'ledgerBlocks' | 'marks' | 'peer' | 'signer'> & {
    readonly chain: Chain
    readonly ledger: LedgerNode
    readonly identity: Identity
    readonly state: LevelStore
  },
  closers: (() => Promise<void>)[],
): Collector {
  const { chain, identity, ledger, state, ...rest } = deps
  const collector = new Collector({
    ...rest,
    chain,
    ledgerBlocks: new LedgerBlocks(chain),
    marks: new OrphanMarks(new PrefixStore(state, 'collector/')),
    peer: identity.peerId as PeerIdText,
    signer: softwareSigner(identity.peerSeed),
  })
  collector.start()
  ledger.pauseMeanwhile(collector)
  closers.push(async () => collector.stop())
  return collector
}

async function openState(
  config: PeerConfig,
  deps: Pick<ComposeDeps, 'log'> & { readonly onDiskFull: () => Promise<boolean>; readonly isDamaged: boolean },
): Promise<LevelStore> {
  const { isDamaged, ...rest } = deps
  return openNotes(rest, { dataDir: config.dataDir, isDamaged }, async (notes) => {
    // Whether the key has signed may be among what was lost.
    await noteSigned(new PrefixStore(notes, 'validator/'), (await openIdentity(config)).consensus.publicKey)
  })
}

/** The ledger's database, and the chain on it. */
async function openLedger(
  config: PeerConfig,
  deps: Pick<ComposeDeps, 'clock' | 'log'> & {
    readonly mempool: Mempool
    readonly onDiskFull: () => Promise<boolean>
    readonly isDamaged: boolean
  },
  notes: LevelStore,
  closers: (() => Promise<void>)[],
): Promise<Pick<LedgerNodeDeps, 'chain' | 'database' | 'tryOpen'>> {
  const { clock, isDamaged, log, mempool, onDiskFull } = deps
  const before = new PrefixStore(notes, 'chain/')
  const database = await LedgerDatabase.open({ onDiskFull, log }, join(config.dataDir, 'ledger'), before, isDamaged)
  closers.push(async () => database.close())
  const chainDeps = { clock, log, machines, directory: accountDirectory }
  const genesisBytes = await readGenesis(config.genesis)
  const onDamage = (error: unknown): void => database.damaged(error)
  const waiting: ChainDeps['waiting'] = (leaf) => mempool.byLeaf(leaf)
  const chain = await openChainOn(database, { ...chainDeps, waiting, onDamage }, genesisBytes)
  return { chain, database, tryOpen: async (other) => tryOpenChain(other, chainDeps, genesisBytes) }
}

async function readGenesis(file: string): Promise<Uint8Array> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    throw new PeerError({ code: 'GENESIS_UNREADABLE', file }, { cause: error })
  }
  return encodeGenesis(parseGenesisJson(text))
}

async function openHost(config: PeerConfig, members: MemberSet, identity: Identity, log: Log): Promise<P2pHost> {
  if (members.institutions.get(identity.peerId) !== config.institution) {
    log.warn(
      { peer: identity.peerId, institution: config.institution },
      'this peer waits to be admitted: no member yet',
    )
  }
  return startHost({
    privateKey: identity.peerSeed,
    listen: config.listen,
    announce: config.announce,
    members: () => members.peers,
    encrypters: config.encrypters,
    log,
  })
}

/** Dials the members that the config names, and again whenever the ledger's members change. */
function startDialer(
  config: PeerConfig,
  { host, log, members }: { readonly host: P2pHost; readonly members: MemberSet; readonly log: Log },
): MemberDialer {
  const dialer = new MemberDialer({ host, log }, { addresses: config.members.map((member) => member.address) })
  members.onChange(() => {
    for (const peer of dropStrangers(host, () => members.peers)) log.info({ peer }, 'disconnected: no member any more')
    dialer.hurry()
  })
  dialer.start()
  return dialer
}

/** Validates, where the ledger names this institution's consensus key now or later. */
async function startValidator(
  config: PeerConfig,
  deps: ComposeDeps,
  parts: {
    chain: Chain
    members: MemberSet
    mempool: Mempool
    ledger: LedgerNode
    account: InstitutionAccount
    identity: Identity
    host: P2pHost
    state: LevelStore
  },
  closers: (() => Promise<void>)[],
): Promise<Validator> {
  const { account, chain, host, identity, ledger, members, mempool, state } = parts
  const { institution } = config
  const { clock, log, onFailure } = deps
  const reports = new EvidenceReports({ account, log })
  const validator = new Validator(
    {
      chain,
      members,
      mempool,
      host,
      node: ledger,
      state: new PrefixStore(state, 'validator/'),
      signer: identity.consensus,
      clock,
      log,
      // A damaged ledger is rebuilt while the daemon runs; consensus begins again behind that.
      onFailure: (error) => (isDamage(error) ? ledger.damaged(error) : onFailure(error)),
      onEvidence: (evidence) => reports.report(evidence),
    },
    { ...config.ledger, institution, dataDir: config.dataDir },
  )
  await validator.start()
  ledger.pauseMeanwhile(validator)
  closers.push(async () => {
    reports.stop()
    await validator.stop()
  })
  return validator
}
