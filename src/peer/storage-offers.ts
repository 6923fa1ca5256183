/**
 * This peer's room on the ledger, in the name of its institution: offers it, renews the offer when the room or the zone changes, and
 * takes the institution's peers off that were drained, once nothing of the network lies on them. They stay off until someone offers them again.
 */
import {
  OFFER_BYTES_MIN,
  OFFER_CHANGE_RATIO,
  OFFER_CHECK_MS,
  OFFER_RETRY_MS_MAX,
  OFFER_RETRY_MS_MIN,
} from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { faultOf } from '../core/coded-error.ts'
import { getHeld } from '../domain/storage-held.ts'
import { draftStorageOffer, draftStorageRemove, getPeerSet, peersOfInstitution } from '../domain/storage-offers.ts'
import { type StoragePeerEntry, getStorageNumber, getStoragePeer } from '../domain/storage-state.ts'
import { getLayout } from '../domain/storage-table.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { Blocks } from '../store/blocks.ts'
import type { InstitutionAccount } from './institution-account.ts'

export interface StorageOffersDeps {
  readonly chain: Pick<Chain, 'reader'>
  readonly account: InstitutionAccount
  readonly store: Pick<Blocks, 'stats'>
  readonly peer: PeerIdText
  readonly log: Log
}

export interface StorageOffersOptions {
  /** Whether room is offered at all. */
  readonly offer: boolean
  readonly zone: string
  readonly fullRatio: number
  readonly reserveFreeBytes: number
}

export class StorageOffers {
  readonly #deps: StorageOffersDeps
  readonly #options: StorageOffersOptions
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #checking: Promise<void> | undefined
  #pauseMs = OFFER_RETRY_MS_MIN

  constructor(deps: StorageOffersDeps, options: StorageOffersOptions) {
    this.#deps = deps
    this.#options = options
  }

  start(): void {
    this.#checking = this.#check()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    clearTimeout(this.#timer)
    await this.#checking
  }

  async #check(): Promise<void> {
    try {
      await this.#changeIfDue()
      this.#pauseMs = OFFER_RETRY_MS_MIN
      this.#checkAfter(OFFER_CHECK_MS)
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      const fault = faultOf(error)
      // No validator is connected yet, or none has decided.
      this.#deps.log.info(
        { fault, ...(fault === undefined ? { err: error } : {}) },
        'this peer’s place among those that store was not changed',
      )
      this.#checkAfter(this.#pauseMs)
      this.#pauseMs = Math.min(2 * this.#pauseMs, OFFER_RETRY_MS_MAX)
    }
  }

  #checkAfter(pauseMs: number): void {
    if (this.#stopping.signal.aborted) return
    this.#timer = setTimeout(() => {
      this.#checking = this.#check()
    }, pauseMs)
    this.#timer.unref()
  }

  async #changeIfDue(): Promise<void> {
    const { account, chain, log, peer } = this.#deps
    const { offer, zone } = this.#options
    await this.#removeDrained()
    const number = await getStorageNumber(chain.reader, peer)
    const entry = number === undefined ? undefined : await getStoragePeer(chain.reader, number)
    const bytes = this.#roomBytes()
    if (!offer || !isDue(entry, { bytes, zone })) return
    const { receipt } = await account.submit(draftStorageOffer({ peer, bytes, zone }), this.#stopping.signal)
    if (receipt.ok) log.info({ bytes, zone }, 'room offered')
    else log.warn({ fault: receipt.fault }, 'the ledger refused the offer of room')
  }

  /** All of the institution's, since one that is drained may be switched off for good. */
  async #removeDrained(): Promise<void> {
    const { account, chain, log } = this.#deps
    // Until a table without it is in force, columns still come to a peer; with nobody left, none will be.
    const { active, version } = await getPeerSet(chain.reader)
    if (active.length > 0 && (await getLayout(chain.reader))?.base !== version) return
    for (const number of await peersOfInstitution(chain.reader, account.institution)) {
      const entry = await getStoragePeer(chain.reader, number)
      if (entry?.state !== 'draining' || (await getHeld(chain.reader, number)).columns > 0) continue
      const { receipt } = await account.submit(draftStorageRemove(entry.peer), this.#stopping.signal)
      if (receipt.ok) log.info({ peer: entry.peer }, 'drained: it stores nothing for the network any more')
      // Another peer of the institution was quicker, or something was committed to it meanwhile.
      else log.info({ peer: entry.peer, fault: receipt.fault }, 'a drained peer stays among those that store')
    }
  }

  /** What shards may take here in all: the capacity, or what the disk really has. */
  #roomBytes(): number {
    const { fullRatio, reserveFreeBytes } = this.#options
    const { capacityBytes, freeBytes, usedBytes } = this.#deps.store.stats()
    return Math.min(Math.floor(capacityBytes * fullRatio), usedBytes + Math.max(0, freeBytes - reserveFreeBytes))
  }
}

function isDue(entry: StoragePeerEntry | undefined, now: { readonly bytes: number; readonly zone: string }): boolean {
  if (entry === undefined) return now.bytes >= OFFER_BYTES_MIN
  if (entry.state !== 'active' || now.bytes < OFFER_BYTES_MIN) return false
  return entry.zone !== now.zone || Math.abs(now.bytes - entry.bytes) > entry.bytes * OFFER_CHANGE_RATIO
}
