/**
 * Keeps what this peer should hold here, and says so on the ledger. It looks at the ledger after each block that changed who holds
 * what, and at the store's list of damage; whatever the table gives to it and isn't here it gets, the most endangered first.
 *
 *   final blocks ──► extents, table ──┐                     ┌─► taken over or rebuilt ──► receipt ──► storage.confirm
 *                                     ├──► columns, ordered ┤
 *   reads, scrub ──► damaged blocks ──┘                     └─► mended in place; not soon enough ──► storage.lost
 *
 * Nothing of this is kept on the disk: blocks that came are whole and named, and the ledger tells the rest. So a crash at any moment costs
 * what was under way. Bytes from the network are kept under a rate.
 *
 * @see ledger-repairs.ts for what is to do, column-mender.ts for how; docs/decisions/0097-repair-is-pulled.md
 */
import { type Fault, faultOf } from '../core/coded-error.ts'
import {
  COLUMNS_AT_ONCE_MAX,
  REPAIR_CHECK_MS,
  REPAIR_COLUMNS_AT_ONCE,
  REPAIR_LOOK_MS,
  REPAIR_LOST_AFTER_MS,
  REPAIR_OWN_CHECK_MS,
  REPAIR_QUEUE_MAX,
  REPAIR_RECHECK_MS,
  REPAIR_RECHECK_RATIO,
} from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import {
  type StorageConfirm,
  type StorageLost,
  draftStorageConfirm,
  draftStorageLost,
} from '../domain/storage-columns.ts'
import type { ExtentRef } from '../domain/storage-state.ts'
import type { Chain } from '../ledger/chain.ts'
import type { Repair } from '../shards/repair-order.ts'
import type { Blocks } from '../store/blocks.ts'
import type { ByteRate } from './byte-rate.ts'
import { ColumnConfirms } from './column-confirms.ts'
import type { ColumnMender } from './column-mender.ts'
import type { InstitutionAccount } from './institution-account.ts'
import { type LedgerRepairs, extentsOfBlock } from './ledger-repairs.ts'
import { type RepairItem, RepairQueue } from './repair-queue.ts'
import type { StrayBlocks } from './stray-blocks.ts'

export interface RepairerDeps {
  readonly chain: Pick<Chain, 'onBlock'>
  readonly store: Pick<Blocks, 'stats' | 'damaged'>
  readonly account: Pick<InstitutionAccount, 'submit'>
  readonly ledger: LedgerRepairs
  readonly mender: ColumnMender
  readonly strays: StrayBlocks
  readonly rate: Pick<ByteRate, 'bytesPerSecond' | 'spentBytes'>
  readonly log: Log
}

export interface RepairerOptions {
  /** @default `REPAIR_CHECK_MS` */
  readonly checkMs?: number
  /** How long a column may be damaged before the ledger is told. @default `REPAIR_LOST_AFTER_MS` */
  readonly lostAfterMs?: number
}

/** How far repair is. Of this peer alone, and of this life of the process. */
export interface RepairStatus {
  /** Whether all of the ledger was looked through: before that nothing is known. */
  readonly looked: boolean
  /** That wait, or are under way. */
  readonly columns: number
  readonly extents: number
  /** At most: of a damaged column a part may be whole. */
  readonly bytes: number
  /** Of the most endangered of these extents; absent: nothing is to repair. */
  readonly survives?: number
  readonly bytesPerSecond: number
  /** At that rate; absent: it isn't known yet. */
  readonly minutesLeft?: number
  readonly mendedColumns: number
  readonly mendedBytes: number
  /** What came over the network for it: a rebuilt shard takes as many as the code has data shards. */
  readonly fetchedBytes: number
  /** Why some of it doesn't get on: codes, and how many columns. */
  readonly faults: Readonly<Record<string, number>>
  /** Damaged blocks beside the shards that no member has. */
  readonly notFound: number
}

/** What needs no further attempt: a new look finds it where it does. */
const OVERTAKEN: ReadonlySet<string> = new Set([
  'EXTENT_UNKNOWN',
  'COLUMN_ERASED',
  'COLUMN_NOT_ASSIGNED',
  'COLUMN_NOT_HELD',
  'SHARD_NOT_ASSIGNED',
])

export class Repairer {
  readonly #deps: RepairerDeps
  readonly #checkMs: number
  readonly #lostAfterMs: number
  readonly #stopping = new AbortController()
  readonly #queue = new RepairQueue()
  readonly #confirms: ColumnConfirms<StorageConfirm['columns'][number]>
  readonly #losses: ColumnConfirms<StorageLost['columns'][number]>
  readonly #tasks = new Set<Promise<void>>()
  #stopListening: (() => void) | undefined
  #checkTimer: NodeJS.Timeout | undefined
  #dueTimer: NodeJS.Timeout | undefined
  #looking: Promise<void> | undefined
  #isLookDue = false
  #named: ExtentRef[] = []
  #version = ''
  /** When all of the ledger is looked through again, and when the own blocks are. */
  #allDueMs = 0
  #hasLooked = false
  #ownDueMs = 0
  #damaged = 0
  #fetching = 0
  #confirming = 0
  #isMendingStrays = false
  #busySinceMs = 0
  #busyBytes = 0
  #mendedColumns = 0
  #mendedBytes = 0

  constructor(
    deps: RepairerDeps,
    { checkMs = REPAIR_CHECK_MS, lostAfterMs = REPAIR_LOST_AFTER_MS }: RepairerOptions = {},
  ) {
    this.#deps = deps
    this.#checkMs = checkMs
    this.#lostAfterMs = lostAfterMs
    const { account } = deps
    const { signal } = this.#stopping
    this.#confirms = new ColumnConfirms({ account, signal, draft: (columns) => draftStorageConfirm({ columns }) })
    this.#losses = new ColumnConfirms({ account, signal, draft: (columns) => draftStorageLost({ columns }) })
  }

  start(): void {
    this.#stopListening = this.#deps.chain.onBlock((block) => {
      this.#named.push(...extentsOfBlock(block))
      this.#look()
    })
    this.#checkTimer = setInterval(() => this.#look(), this.#checkMs)
    this.#checkTimer.unref()
    this.#look()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#stopListening?.()
    clearInterval(this.#checkTimer)
    clearTimeout(this.#dueTimer)
    await this.#looking
    await Promise.all(this.#tasks)
    await Promise.all([this.#confirms.idle(), this.#losses.idle()])
  }

  status(): RepairStatus {
    const extents = new Set<string>()
    const faults: Record<string, number> = {}
    let [bytes, survives] = [0, Number.POSITIVE_INFINITY]
    for (const { doneBytes, fault, repair } of this.#queue.items()) {
      extents.add(`${repair.manifest.toString()} ${repair.index}`)
      bytes += Math.max(0, repair.bytes - doneBytes)
      survives = Math.min(survives, repair.survives)
      if (fault !== undefined) faults[fault.code] = (faults[fault.code] ?? 0) + 1
    }
    const seconds = (performance.now() - this.#busySinceMs) / 1_000
    const bytesPerSecond = this.#queue.size === 0 || seconds <= 0 ? 0 : Math.round(this.#busyBytes / seconds)
    return {
      looked: this.#hasLooked,
      columns: this.#queue.size + this.#queue.unlisted,
      extents: extents.size,
      bytes,
      ...(this.#queue.size === 0 ? {} : { survives }),
      bytesPerSecond,
      ...(bytesPerSecond === 0 ? {} : { minutesLeft: Math.ceil(bytes / bytesPerSecond / 60) }),
      mendedColumns: this.#mendedColumns,
      mendedBytes: this.#mendedBytes,
      fetchedBytes: this.#deps.rate.spentBytes,
      faults,
      notFound: this.#deps.strays.notFound,
    }
  }

  /** The most that it takes from the network in a second. */
  get bytesPerSecondMax(): number {
    return this.#deps.rate.bytesPerSecond
  }

  /** One look at a time; what comes meanwhile is seen by the next. */
  #look(): void {
    if (this.#stopping.signal.aborted) return
    this.#isLookDue = true
    this.#looking ??= this.#lookAgain()
  }

  async #lookAgain(): Promise<void> {
    while (this.#isLookDue && !this.#stopping.signal.aborted) {
      this.#isLookDue = false
      try {
        await this.#lookOnce()
        this.#sayLost()
      } catch (error) {
        if (this.#stopping.signal.aborted) break
        this.#version = ''
        this.#deps.log.error({ err: error }, 'what is to repair could not be looked up')
        break
      }
      this.#startDue()
    }
    this.#looking = undefined
  }

  async #lookOnce(): Promise<void> {
    const { ledger, store } = this.#deps
    const { signal } = this.#stopping
    const startMs = performance.now()
    const version = await ledger.version()
    const { damagedBlocks } = store.stats()
    const checksOwn = damagedBlocks > this.#damaged || startMs >= this.#ownDueMs
    this.#damaged = damagedBlocks
    const named = this.#named.splice(0)
    const isAllDue = version !== this.#version || checksOwn || startMs >= this.#allDueMs
    if (isAllDue) await this.#lookAtAll({ version, checksOwn, startMs })
    if (named.length === 0 || checksOwn) return
    // Of these it isn't known whether this peer has what they say it has: one that catches up has not.
    const { found } = await collect(ledger.of(named, { checksOwn: true, signal }), this.#queue)
    this.#queue.replaceOf(named, found, performance.now())
  }

  async #lookAtAll(of: {
    readonly version: string
    readonly checksOwn: boolean
    readonly startMs: number
  }): Promise<void> {
    const { ledger, log, store } = this.#deps
    const { checksOwn, startMs } = of
    this.#version = of.version
    const { signal } = this.#stopping
    const { found, unlisted } = await collect(ledger.all({ checksOwn, signal }), this.#queue)
    const nowMs = performance.now()
    this.#queue.replace(found, nowMs, { keepsLost: !checksOwn, unlisted })
    this.#hasLooked = true
    this.#allDueMs = nowMs + Math.max(REPAIR_LOOK_MS, (nowMs - startMs) * REPAIR_RECHECK_RATIO)
    if (checksOwn) {
      // While something is known to be damaged the list is worth another look soon; what it costs sets how soon.
      const pauseMs = store.stats().damagedBlocks > 0 ? REPAIR_RECHECK_MS : REPAIR_OWN_CHECK_MS
      // A peer that catches up from nothing learns later what it should have.
      if (await ledger.isKnown()) this.#ownDueMs = nowMs + Math.max(pauseMs, (nowMs - startMs) * REPAIR_RECHECK_RATIO)
      this.#mendStrays()
    }
    if (found.length > 0) log.info({ columns: found.length, tookMs: Math.round(nowMs - startMs) }, 'columns to repair')
  }

  #startDue(): void {
    const { signal } = this.#stopping
    if (signal.aborted) return
    clearTimeout(this.#dueTimer)
    const nowMs = performance.now()
    while (this.#fetching < REPAIR_COLUMNS_AT_ONCE && this.#confirming < COLUMNS_AT_ONCE_MAX) {
      const item = this.#queue.next(nowMs)
      if (item === undefined) break
      if (this.#fetching + this.#confirming === 0) [this.#busySinceMs, this.#busyBytes] = [nowMs, 0]
      item.isRunning = true
      this.#track(this.#run(item))
    }
    const { dueMs } = this.#queue
    if (dueMs === undefined || dueMs <= nowMs) return
    this.#dueTimer = setTimeout(() => this.#startDue(), dueMs - nowMs)
    this.#dueTimer.unref()
  }

  #track(task: Promise<void>): void {
    const tracked = task.finally(() => this.#tasks.delete(tracked))
    this.#tasks.add(tracked)
  }

  async #run(item: RepairItem): Promise<void> {
    const { log } = this.#deps
    const { repair } = item
    try {
      await this.#mend(item, repair)
      // Unless a look found meanwhile that something else is to be done about it.
      if (item.repair.reason === repair.reason) this.#queue.done(item)
      this.#mendedColumns++
      const { column, index, manifest, reason } = repair
      log.info({ manifest: manifest.toString(), index, column, reason }, 'column repaired')
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      this.#failed(item, error)
    } finally {
      item.isRunning = false
      if (repair.reason === 'lost') this.#mendStrays()
      if (this.#queue.size === 0 && this.#queue.unlisted > 0) {
        this.#allDueMs = 0
        this.#look()
      }
      this.#startDue()
    }
  }

  async #mend(item: RepairItem, repair: Repair): Promise<void> {
    const { mender } = this.#deps
    const { signal } = this.#stopping
    const onMended = (bytes: number): void => {
      item.doneBytes += bytes
      this.#busyBytes += bytes
      this.#mendedBytes += bytes
    }
    item.doneBytes = 0
    this.#fetching++
    let receipt
    try {
      if (repair.reason === 'lost') await mender.mend(repair, onMended, signal)
      else receipt = await mender.take(repair, onMended, signal)
    } finally {
      this.#fetching--
    }
    if (receipt === undefined) return
    this.#confirming++
    try {
      // The next column comes while the ledger decides.
      this.#startDue()
      await this.#confirms.add({ manifest: repair.manifest, index: repair.index, receipt })
    } finally {
      this.#confirming--
    }
  }

  #failed(item: RepairItem, error: unknown): void {
    const { column, index, manifest, reason } = item.repair
    const fault = faultOf(error)
    const of = { manifest: manifest.toString(), index, column, reason }
    if (fault !== undefined && OVERTAKEN.has(fault.code)) {
      this.#queue.done(item)
      this.#deps.log.info({ ...of, fault }, 'a column is not to be repaired any more')
      return
    }
    const pauseMs = this.#queue.failed(item, fault ?? INTERNAL, performance.now())
    this.#deps.log.warn(
      { ...of, pauseMs, ...(fault === undefined ? { err: error } : { fault }) },
      'a column could not be repaired yet',
    )
  }

  /** Tells the ledger of columns that stay damaged, so that the others know how endangered the extent is. */
  #sayLost(): void {
    const nowMs = performance.now()
    for (const item of this.#queue.items()) {
      const { column, index, manifest, reason } = item.repair
      if (reason !== 'lost' || item.isSaid || nowMs - item.foundMs < this.#lostAfterMs) continue
      item.isSaid = true
      const said = this.#losses.add({ manifest, index, column }).catch((error: unknown) => {
        item.isSaid = false
        if (this.#stopping.signal.aborted) return
        const fault = faultOf(error)
        if (fault !== undefined && OVERTAKEN.has(fault.code)) this.#queue.done(item)
        this.#deps.log.warn(
          { fault, ...(fault === undefined ? { err: error } : {}) },
          'a lost column was not taken note of',
        )
      })
      this.#track(said)
    }
  }

  #mendStrays(): void {
    if (this.#isMendingStrays || this.#deps.store.damaged().length === 0) return
    // First what is of a column, and known where to be had.
    for (const { repair } of this.#queue.items()) if (repair.reason === 'lost') return
    this.#isMendingStrays = true
    const mending = this.#deps.strays
      .mend(this.#stopping.signal)
      .then((blocks) => {
        if (blocks > 0) this.#deps.log.info({ blocks }, 'damaged blocks mended')
      })
      .catch((error: unknown) => {
        if (this.#stopping.signal.aborted) return
        this.#deps.log.warn({ err: error }, 'damaged blocks could not be mended')
      })
      .finally(() => {
        this.#isMendingStrays = false
      })
    this.#track(mending)
  }
}

const INTERNAL: Fault = { code: 'INTERNAL' }

/** What is taken up first of what is found; and how many more there are. */
async function collect(
  repairs: AsyncIterable<Repair>,
  queue: Pick<RepairQueue, 'first'>,
): Promise<{ readonly found: Repair[]; readonly unlisted: number }> {
  let found: Repair[] = []
  let unlisted = 0
  const cut = (): void => {
    const kept = queue.first(found)
    unlisted += found.length - kept.length
    found = kept
  }
  for await (const one of repairs) {
    found.push(one)
    if (found.length >= 2 * REPAIR_QUEUE_MAX) cut()
  }
  cut()
  return { found, unlisted }
}
