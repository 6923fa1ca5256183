/**
 * What this peer does about objects that were erased on request: removes all that it has of them, at once and whatever pins it, and signs for
 * the columns that it held.
 *
 *   shards ──► tree ──► copies, note that the shards are gone, map ──► signature ──► storage.erased
 *
 * The map goes last: after a crash it still says what there is to remove. What another object needs stays, and belongs to that one alone.
 */
import { faultOf } from '../core/coded-error.ts'
import { COLUMNS_AT_ONCE_MAX } from '../core/limits.ts'
import type { Log, Signer } from '../core/ports.ts'
import { type StorageErased, draftStorageErased, signErased } from '../domain/storage-erasure.ts'
import { type Extent, type StoredObject, getExtent } from '../domain/storage-state.ts'
import type { Chain } from '../ledger/chain.ts'
import type { LiveSet } from '../shards/live-set.ts'
import type { Blocks, RemoveCapability } from '../store/blocks.ts'
import type { InstitutionAccount } from './institution-account.ts'
import { type LiveView, blocksBelow, mapHere } from './live-walk.ts'
import type { OrphanMarks } from './orphan-marks.ts'
import type { Pins } from './pins.ts'
import type { RecentBlocks } from './recent-blocks.ts'

export interface ErasuresDeps {
  readonly chain: Pick<Chain, 'id' | 'reader'>
  readonly store: Blocks
  readonly capability: RemoveCapability
  readonly marks: OrphanMarks
  readonly pins: Pins
  readonly recent: RecentBlocks
  readonly account: InstitutionAccount
  /** Of the peer's own (libp2p) key. */
  readonly signer: Signer
  readonly log: Log
}

export class Erasures {
  readonly #deps: ErasuresDeps

  constructor(deps: ErasuresDeps) {
    this.#deps = deps
  }

  /**
   * @returns how many blocks went, and whether something is left to do that doesn't wait for others.
   * @throws the signal's reason; faults of the store
   */
  async carryOut(view: LiveView, signal: AbortSignal): Promise<{ readonly removed: number; readonly isOpen: boolean }> {
    let removed = 0
    let isOpen = false
    const columns: StorageErased['columns'][number][] = []
    for (const stored of view.erased) {
      signal.throwIfAborted()
      const { gone, isBusy, mine } = await this.#one(stored, view, signal)
      removed += gone
      isOpen ||= isBusy
      columns.push(...mine)
    }
    for (let at = 0; at < columns.length; at += COLUMNS_AT_ONCE_MAX) {
      isOpen = !(await this.#submit(columns.slice(at, at + COLUMNS_AT_ONCE_MAX), signal)) || isOpen
    }
    return { removed, isOpen }
  }

  async #one(
    stored: StoredObject,
    { isDisputed, live, own }: Pick<LiveView, 'isDisputed' | 'live' | 'own'>,
    signal: AbortSignal,
  ): Promise<{ readonly gone: number; readonly isBusy: boolean; readonly mine: StorageErased['columns'] }> {
    const { chain, pins, store } = this.#deps
    const { content, manifest } = stored
    const isThis = !isDisputed(stored)
    if (isThis) for (const cid of [manifest, content]) await pins.remove(cid)
    const extents: Extent[] = []
    let gone = 0
    /** Something that isn't on the ledger yet needs a block of it: signed once that is decided. */
    let isBusy = false
    const remove = async (digest: Uint8Array): Promise<void> => {
      const outcome = await this.#remove(digest, live)
      if (outcome === 'gone') gone++
      if (outcome === 'busy') isBusy = true
    }
    for (let index = 0; index < stored.committed; index++) {
      const extent = await getExtent(chain.reader, manifest, index)
      if (extent === undefined) continue
      extents.push(extent)
      const map = await mapHere(store, extent.map)
      for (let stripe = 0; map !== undefined && stripe < map.stripes.length; stripe++) {
        for (const { digest } of map.shardsOfStripe(stripe)) await remove(digest)
      }
    }
    if (isThis && store.has(manifest.multihash.digest)) {
      for await (const digest of blocksBelow(store, manifest, signal)) await remove(digest)
    }
    if (isBusy) return { gone, isBusy, mine: [] }
    for (const extent of extents) await this.#clear(extent, remove)
    return { gone, isBusy, mine: isBusy || own === undefined ? [] : await this.#signed(extents, own) }
  }

  /** Copies and map of an extent whose shards are gone. */
  async #clear(extent: Extent, remove: (digest: Uint8Array) => Promise<void>): Promise<void> {
    const { marks, store } = this.#deps
    const map = await mapHere(store, extent.map)
    if (map === undefined) return
    for (const { cid } of map.fields.copies) await remove(cid.multihash.digest)
    await marks.noteCleared(extent)
    await remove(extent.map.multihash.digest)
  }

  async #signed(extents: readonly Extent[], own: number): Promise<StorageErased['columns']> {
    const { chain, marks, signer } = this.#deps
    const columns: StorageErased['columns'][number][] = []
    for (const extent of extents) {
      const { holders, index, manifest } = extent
      if (!holders.includes(own) || !(await marks.wasCleared(extent))) continue
      for (const [column, holder] of holders.entries()) {
        if (holder !== own) continue
        columns.push({
          manifest,
          index,
          column,
          signature: await signErased(signer, chain.id, { manifest, index, column }),
        })
      }
    }
    return columns
  }

  async #remove(digest: Uint8Array, live: LiveSet): Promise<'gone' | 'shared' | 'busy' | 'absent'> {
    const { capability, recent, store } = this.#deps
    const isHere = store.has(digest)
    if (live.kept.has(digest) || live.ending.has(digest) || live.ledger.has(digest)) return isHere ? 'shared' : 'absent'
    if (live.local.has(digest)) return isHere ? 'busy' : 'absent'
    const isWanted = (one: Uint8Array): boolean => recent.isOfRound(one)
    // Also what isn't here by the index: of a damaged block the bytes lie apart, and they go, too.
    const went = await store.remove(digest, capability, isWanted)
    return went ? 'gone' : isHere && isWanted(digest) ? 'busy' : 'absent'
  }

  /** @returns whether the ledger has them. */
  async #submit(columns: StorageErased['columns'], signal: AbortSignal): Promise<boolean> {
    const { account, log } = this.#deps
    try {
      const { receipt } = await account.submit(draftStorageErased({ columns }), signal)
      if (receipt.ok) log.info({ columns: columns.length }, 'erased columns are signed for')
      // Another attempt may have been quicker: the next round looks at the ledger again.
      else log.warn({ fault: receipt.fault }, 'the ledger refused the signatures under an erasure')
      return receipt.ok
    } catch (error) {
      if (signal.aborted) throw error
      const fault = faultOf(error)
      log.warn({ fault, ...(fault === undefined ? { err: error } : {}) }, 'signatures under an erasure were not taken')
      return false
    }
  }
}
