/**
 * Keeps the placement table in step with the peers that offer room: when they differ from those it was made for, and have stayed
 * the same for a while, plans a table and submits it. Any peer may; so that not all do at once, each waits its turn by storage number.
 */
import { faultOf } from '../core/coded-error.ts'
import { LAYOUT_RETRY_MS, LAYOUT_SETTLE_MS, LAYOUT_TURN_MS } from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { draftStorageLayout, getPlacementTable, planningPeers } from '../domain/storage-layout.ts'
import { type PeerSet, activePeers, getPeerSet } from '../domain/storage-offers.ts'
import { getStorageParams } from '../domain/storage-params.ts'
import { getStorageNumber } from '../domain/storage-state.ts'
import { type StorageLayout, getLayout } from '../domain/storage-table.ts'
import { memberIds } from '../domain/validator-sets.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import { planTable } from '../shards/placement.ts'
import type { InstitutionAccount } from './institution-account.ts'

export interface LayoutKeeperDeps {
  readonly chain: Pick<Chain, 'reader' | 'onBlock'>
  readonly account: InstitutionAccount
  readonly peer: PeerIdText
  readonly clock: Clock
  readonly log: Log
}

/** Fewer place nothing: what is stored lies whole on the one peer. */
const INSTITUTIONS_MIN = 2

export class LayoutKeeper {
  readonly #deps: LayoutKeeperDeps
  readonly #stopping = new AbortController()
  #stopListening: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  #working: Promise<void> | undefined
  #isDue = false
  /** The version of the set of peers seen last, and since when. */
  #seen = { version: -1, sinceMs: 0 }

  constructor(deps: LayoutKeeperDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#stopListening = this.#deps.chain.onBlock(() => this.#look())
    this.#look()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#stopListening?.()
    clearTimeout(this.#timer)
    await this.#working
  }

  /** One look at a time; a block that comes meanwhile is seen by the next. */
  #look(): void {
    if (this.#stopping.signal.aborted) return
    this.#isDue = true
    this.#working ??= this.#lookAgain()
  }

  async #lookAgain(): Promise<void> {
    let againMs: number | undefined
    while (this.#isDue && !this.#stopping.signal.aborted) {
      this.#isDue = false
      againMs = await this.#lookOnce()
    }
    this.#working = undefined
    clearTimeout(this.#timer)
    if (againMs === undefined || this.#stopping.signal.aborted) return
    this.#timer = setTimeout(() => this.#look(), againMs)
    this.#timer.unref()
  }

  async #lookOnce(): Promise<number | undefined> {
    try {
      return await this.#planIfDue()
    } catch (error) {
      if (this.#stopping.signal.aborted) return undefined
      const fault = faultOf(error)
      this.#deps.log.info({ fault, ...(fault === undefined ? { err: error } : {}) }, 'no placement table was made')
      return LAYOUT_RETRY_MS
    }
  }

  /** @returns when to look again, in milliseconds; `undefined`: when a block comes. */
  async #planIfDue(): Promise<number | undefined> {
    const { chain } = this.#deps
    const set = await getPeerSet(chain.reader)
    const layout = await getLayout(chain.reader)
    if (layout?.base === set.version) return undefined
    const institutions = new Set((await activePeers(chain.reader)).map(({ institution }) => institution))
    if (institutions.size < (layout === undefined ? INSTITUTIONS_MIN : 1)) return undefined
    const waitMs = await this.#waitMs(set, layout, institutions.size)
    if (waitMs > 0) return waitMs
    await this.#plan()
    // Refused, or not all parts taken: the next look tells.
    return LAYOUT_RETRY_MS
  }

  async #waitMs(set: PeerSet, layout: StorageLayout | undefined, institutions: number): Promise<number> {
    const { chain, clock, peer } = this.#deps
    const nowMs = clock.nowMs()
    if (this.#seen.version !== set.version) this.#seen = { version: set.version, sinceMs: nowMs }
    const members = await memberIds(chain.reader)
    // Where all members offer room, no further offer is to be waited for.
    const settleMs = institutions >= members.length ? 0 : LAYOUT_SETTLE_MS
    const number = await getStorageNumber(chain.reader, peer)
    const place = number === undefined ? -1 : set.active.indexOf(number)
    const turnMs = (place === -1 ? set.active.length : place) * LAYOUT_TURN_MS
    const { layoutMs } = await getStorageParams(chain.reader)
    const allowedMs = (layout?.timeMs ?? -layoutMs) + layoutMs
    return Math.max(this.#seen.sinceMs + settleMs, allowedMs) + turnMs - nowMs
  }

  async #plan(): Promise<void> {
    const { account, chain, log } = this.#deps
    const { base, numbers, peers } = await planningPeers(chain.reader)
    const before = await getPlacementTable(chain.reader)
    const { code, groups, rows } = planTable(peers, before?.table)
    const table = { base, groups, code, rows: rows.map((index) => numbers[index] ?? 0) }
    for (const draft of draftStorageLayout(table)) {
      const { receipt } = await account.submit(draft, this.#stopping.signal)
      if (!receipt.ok) {
        // Another one was quicker, or peers have come meanwhile.
        log.info({ fault: receipt.fault }, 'the ledger refused a placement table')
        return
      }
    }
    log.info({ base, groups, code, peers: peers.length }, 'placement table in force')
  }
}
