/**
 * What a peer must keep, and when what it needn't may go. Pure: the collector brings the ledger's and the store's words here, and does what
 * comes of it.
 *
 *                   ┌─ a kept object's column that it holds, or should hold ──────────────┐
 *   a block here is ├─ staged, of an open upload, of an object that waits for placement   ├─► live
 *                   ├─ of the ledger, pinned, or written a moment ago ────────────────────┘
 *                   ├─ of an object that nobody keeps, still on the ledger ──► marked, stays
 *                   ├─ of a staged column that expired ──► marked ──► goes with the next round
 *                   └─ nothing of these ──► marked ──► after orphanMs of block time, still nothing of these: goes
 *
 * Of an extent with a column that nobody holds everything that is here stays: it may be what the column is rebuilt from.
 *
 * @see docs/decisions/0099-collection.md
 */
import type { Extent } from '../domain/storage-state.ts'
import { DigestSet } from './digest-set.ts'

/** Why a block lies here that needn't. */
export type OrphanReason =
  /** Nobody keeps its object any more: the lease is over. */
  | 'released'
  /** Its column is another peer's now. */
  | 'moved'
  /** It lies whole on its holders; this is a further copy. */
  | 'copy'
  /** Nothing here says what it belongs to: given up, expired, forgotten. */
  | 'unreferenced'

/** What a peer has to do with an extent. */
export interface ExtentDuty {
  /** Columns whose shards it keeps; `all`: whatever it has of the extent. */
  readonly columns: 'all' | readonly number[]
  /** Its word stands on the ledger: without the map it doesn't know what it must keep. */
  readonly isHolder: boolean
  /** Why the rest of it is no longer needed here. */
  readonly rest: OrphanReason
}

export interface ExtentView {
  readonly extent: Pick<Extent, 'holders'>
  /** Number of this peer; `undefined`: it never offered room. */
  readonly own: number | undefined
  /** By column: who should hold it, by the table in force. */
  readonly assigned: readonly (number | undefined)[]
  /** Whether what this peer holds counts: it wasn't removed. */
  readonly isCounted: (number: number) => boolean
  readonly isKept: boolean
  /** All extents of the object are committed. */
  readonly isWhole: boolean
}

export function extentDuty({ assigned, extent, isCounted, isKept, isWhole, own }: ExtentView): ExtentDuty {
  const { holders } = extent
  const isHolder = own !== undefined && holders.includes(own)
  const isSafe = isWhole && holders.every((holder) => holder !== undefined && isCounted(holder))
  const mine = (holder: number | undefined, column: number): boolean =>
    own !== undefined && (holder === own || assigned[column] === own)
  const columns = isSafe ? holders.flatMap((holder, column) => (mine(holder, column) ? [column] : [])) : 'all'
  if (!isKept) return { columns, isHolder, rest: 'released' }
  return { columns, isHolder, rest: columns.length === 0 ? 'copy' : 'moved' }
}

/** What is known of a block that is not live. */
export interface OrphanMark {
  /** Block time at which it was first seen not to be. */
  readonly sinceMs: number
  readonly reason: OrphanReason
}

export interface CollectionTime {
  /** Of the newest final block when the live set was begun. */
  readonly blockTimeMs: number
  readonly orphanMs: number
  /** The store has little room left. */
  readonly isPressed: boolean
}

export type BlockVerdict =
  /** It has no mark, or loses it. */
  | 'live'
  /** It has a mark, or gets one, and stays. */
  | 'marked'
  /** It may go. */
  | 'due'

/** Digests that were found to be needed. It only ever grows while one round goes on. */
export class LiveSet {
  /** Headers and bodies of the ledger. */
  readonly ledger: DigestSet
  /** Of kept objects on the ledger. */
  readonly kept = new DigestSet()
  /** Of objects on the ledger that nobody keeps: the ledger hasn't forgotten them. */
  readonly ending = new DigestSet()
  /** Of what isn't on the ledger yet: staged columns, open uploads, objects that wait. */
  readonly local = new DigestSet()
  /** What users keep here. */
  readonly pinned = new DigestSet()
  /** Of staged columns that no commit can name any more, of extents that the ledger doesn't have. */
  readonly expired = new DigestSet()
  /** Of kept objects that lie whole on their holders; not this peer's columns. */
  readonly copies = new DigestSet()

  constructor(ledger: DigestSet = new DigestSet()) {
    this.ledger = ledger
  }

  isLive(digest: Uint8Array): boolean {
    return this.kept.has(digest) || this.local.has(digest) || this.pinned.has(digest) || this.ledger.has(digest)
  }

  /** Whether something else than an erased object needs this block: pins don't count, nor what was released. */
  isShared(digest: Uint8Array): boolean {
    return this.kept.has(digest) || this.ending.has(digest) || this.local.has(digest) || this.ledger.has(digest)
  }

  /** Whether nothing needs this block: not even the ledger names it. */
  isLoose(digest: Uint8Array): boolean {
    return !this.isLive(digest) && !this.ending.has(digest)
  }

  /** @param mark - of earlier rounds; none: this is the first that sees it. */
  verdict(digest: Uint8Array, mark: OrphanMark | undefined, time: CollectionTime): BlockVerdict {
    if (this.isLive(digest)) return 'live'
    // Renewed, held, or named by a record it would be live again: only the ledger says that it is over.
    if (this.ending.has(digest)) return 'marked'
    if (this.expired.has(digest)) return 'due'
    if (time.isPressed && this.copies.has(digest)) return 'due'
    if (mark === undefined) return 'marked'
    return time.blockTimeMs >= mark.sinceMs + time.orphanMs ? 'due' : 'marked'
  }
}
