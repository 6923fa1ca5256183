/**
 * Keeps the placement table in step with the peers that offer room: when they differ from those it was made for, and have stayed
 * the same for a while, plans a table and submits it. Peers of those who are members no longer are taken off before. Any peer may do
 * both; so that not all do at once, each waits its turn by storage number.
 */
import { faultOf } from '../core/coded-error.ts'
import { LAYOUT_RETRY_MS, LAYOUT_SETTLE_MS, LAYOUT_TURN_MS } from '../core/limits.ts'
import type { Clock, Log } from '../core/ports.ts'
import { getPeerInstitution } from '../domain/accounts.ts'
import { draftStorageLayout, getPlacementTable, planningPeers } from '../domain/storage-layout.ts'
import { type PeerSet, activePeers, draftStorageRemove, getPeerSet } from '../domain/storage-offers.ts'
import { getStorageParams } from '../domain/storage-params.ts'
import { getStorageNumber, listStoragePeers } from '../domain/storage-state.ts'
import { type StorageLayout, getLayout } from '../domain/storage-table.ts'
import { memberIds, membersChangedAt } from '../domain/validator-sets.ts'
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
  /** Height of the change of members seen last, since when, and whether all storage peers are members' peers. */
  #members = { changedAt: -1, sinceMs: 0, areAll: false }

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
    const turnMs = await this.#removeOthers(set)
    if (turnMs > 0) return turnMs
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
    const { chain, clock } = this.#deps
    const nowMs = clock.nowMs()
    if (this.#seen.version !== set.version) this.#seen = { version: set.version, sinceMs: nowMs }
    const members = await memberIds(chain.reader)
    // Where all members offer room, no further offer is to be waited for.
    const settleMs = institutions >= members.length ? 0 : LAYOUT_SETTLE_MS
    const { layoutMs } = await getStorageParams(chain.reader)
    const allowedMs = (layout?.timeMs ?? -layoutMs) + layoutMs
    return Math.max(this.#seen.sinceMs + settleMs, allowedMs) + (await this.#turnMs(set)) - nowMs
  }

  /** How much later than the first peer this one acts. */
  async #turnMs({ active }: PeerSet): Promise<number> {
    const number = await getStorageNumber(this.#deps.chain.reader, this.#deps.peer)
    const place = number === undefined ? -1 : active.indexOf(number)
    return (place === -1 ? active.length : place) * LAYOUT_TURN_MS
  }

  /** @returns how long to wait until it is this peer's turn, in milliseconds. */
  async #removeOthers(set: PeerSet): Promise<number> {
    const { account, chain, clock, log } = this.#deps
    const changedAt = await membersChangedAt(chain.reader)
    if (this.#members.changedAt !== changedAt) {
      this.#members = { changedAt, sinceMs: clock.nowMs(), areAll: false }
    }
    const seen = this.#members
    if (seen.areAll) return 0
    const others: PeerIdText[] = []
    for await (const { institution, peer, state } of listStoragePeers(chain.reader)) {
      if (state === 'removed') continue
      if ((await getPeerInstitution(chain.reader, peer)) !== institution) others.push(peer)
    }
    const waitMs = others.length === 0 ? 0 : seen.sinceMs + (await this.#turnMs(set)) - clock.nowMs()
    if (waitMs > 0) return waitMs
    for (const peer of others) {
      const { receipt } = await account.submit(draftStorageRemove(peer), this.#stopping.signal)
      if (receipt.ok) log.info({ peer }, 'no member any more: it stores nothing for the network')
    }
    seen.areAll = others.length === 0
    // The set is another now.
    return others.length === 0 ? 0 : LAYOUT_RETRY_MS
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
