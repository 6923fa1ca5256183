/**
 * This peer's room on the ledger, in the name of its institution: offers it, renews the offer when the room or the zone changes, and
 * takes the peer off once it was drained and nothing of the network lies on it. It stays off until someone offers it again.
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
import { draftStorageOffer, draftStorageRemove, getPeerSet } from '../domain/storage-offers.ts'
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
    const number = await getStorageNumber(chain.reader, peer)
    const entry = number === undefined ? undefined : await getStoragePeer(chain.reader, number)
    if (entry?.state === 'draining') {
      // Until a table without it is in force, columns still come to it.
      const isInTable = (await getLayout(chain.reader))?.base !== (await getPeerSet(chain.reader)).version
      if (isInTable || (await getHeld(chain.reader, entry.number)).columns > 0) return
      const { receipt } = await account.submit(draftStorageRemove(peer), this.#stopping.signal)
      if (receipt.ok) log.info({}, 'drained: this peer stores nothing for the network any more')
      // Something was committed to it meanwhile: it goes first.
      else log.info({ fault: receipt.fault }, 'this peer stays among those that store')
      return
    }
    const bytes = this.#roomBytes()
    if (!offer || !isDue(entry, { bytes, zone })) return
    const { receipt } = await account.submit(draftStorageOffer({ peer, bytes, zone }), this.#stopping.signal)
    if (receipt.ok) log.info({ bytes, zone }, 'room offered')
    else log.warn({ fault: receipt.fault }, 'the ledger refused the offer of room')
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
