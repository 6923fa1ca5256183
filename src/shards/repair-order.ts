/**
 * What a peer has to repair, and what comes first. Pure: the ledger says who should hold which column and who does; the store says what
 * was lost.
 *
 * A column is this peer's to get when the table assigns it to this peer and the ledger names another holder, or none; and to
 * mend when the ledger names this peer and blocks of it are gone. Nobody waits here: while a peer is merely out of reach, the table goes
 * on assigning its columns to it, so there is nothing to repair. The ledger fails it after `silentMs`, or at once where a group is
 * down to a third of its parity (see domain/audit-rounds.ts); then a new table assigns its columns to others, and they are due.
 *
 * @see docs/decisions/0097-repair-is-pulled.md
 */
import { toString } from 'uint8arrays/to-string'
import type { Extent, ExtentRef } from '../domain/storage-state.ts'
import { type ColumnHolder, extentHealth } from './health.ts'

/** `empty`: nobody holds it; `moved`: another peer does, and the table gives it to this one; `lost`: it is this peer's, and damaged. */
export type RepairReason = 'empty' | 'moved' | 'lost'

/** One column to get or to mend. */
export interface Repair extends ExtentRef {
  readonly column: number
  /** Of its shards. */
  readonly bytes: number
  readonly reason: RepairReason
  /** Institutions that may fail still, whichever they are, with nothing of the extent lost. */
  readonly survives: number
  /** Block time since which its object is stored. */
  readonly sinceMs: number
}

export interface RepairFacts {
  /** Number of this peer. */
  readonly own: number
  /** By column: who should hold it, by the table; `undefined`: there is no table. */
  readonly row: readonly (number | undefined)[] | undefined
  /** Whether blocks of the column, which this peer holds by the ledger, are missing here. */
  readonly isLost: boolean
  readonly holderOf: (number: number) => ColumnHolder | undefined
  readonly sinceMs: number
}

/** Columns of one extent that this peer has to get or to mend. */
export function repairsOf(extent: Extent, { holderOf, isLost, own, row, sinceMs }: RepairFacts): Repair[] {
  const reasons = extent.holders.map((holder, column) => {
    if (holder === own) return isLost ? 'lost' : undefined
    if (row?.[column] !== own) return undefined
    return holder === undefined || holderOf(holder)?.isCounted !== true ? 'empty' : 'moved'
  })
  if (reasons.every((reason) => reason === undefined)) return []
  // What is damaged here doesn't count: it is what endangers the extent.
  const holders = extent.holders.map((holder) => (holder === own && isLost ? undefined : holder))
  const { survives } = extentHealth({ ...extent, holders }, holderOf)
  const { index, manifest } = extent
  return reasons.flatMap((reason, column) =>
    reason === undefined
      ? []
      : { manifest, index, column, bytes: extent.columns[column] ?? 0, reason, survives, sinceMs },
  )
}

/** The most endangered first; then what is stored for longest; then in any order that is always the same. */
export function compareRepairs(one: Repair, other: Repair): number {
  return (
    one.survives - other.survives ||
    one.sinceMs - other.sinceMs ||
    (repairName(one) < repairName(other) ? -1 : Number(repairName(one) !== repairName(other)))
  )
}

/** Names a column. */
export function repairName({ column, index, manifest }: Pick<Repair, 'column' | 'index' | 'manifest'>): string {
  return `${toString(manifest.multihash.digest, 'base64')} ${index} ${column}`
}
