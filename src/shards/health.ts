/**
 * Health of what is stored: how many institutions may fail at once, whichever they are, with nothing lost. Computed from who holds
 * which column now, never remembered.
 *
 * A column counts where its holder has confirmed it and isn't known to have failed. A stripe lives while as many of its shards
 * count as it has data shards; an extent while all its stripes do; an object while all its extents do.
 *
 * @see docs/spec/health.md
 */
import type { InstitutionId } from '../core/ids.ts'
import type { Extent } from '../domain/storage-state.ts'
import { shardAt, stripesOf } from './stripes.ts'

/** Who stands behind a column. */
export interface ColumnHolder {
  readonly institution: InstitutionId
  /** Whether it is taken to have its columns: not failed, not removed, not silent. */
  readonly isCounted: boolean
}

export interface Health {
  /** Institutions that hold a part of it and are counted. */
  readonly institutions: number
  /** Whichever so many of them fail, nothing is lost. -1: it can't be read now. */
  readonly survives: number
  /** Columns that nobody holds who is counted. */
  readonly missingColumns: number
  readonly missingBytes: number
}

/** What nothing is missing of; the health of nothing at all. */
const NOTHING: Health = { institutions: 0, survives: Number.POSITIVE_INFINITY, missingColumns: 0, missingBytes: 0 }

/** @param holderOf - of a storage peer's number. */
export function extentHealth(
  extent: Pick<Extent, 'columns' | 'data' | 'holders' | 'parity' | 'segments'>,
  holderOf: (number: number) => ColumnHolder | undefined,
): Health {
  const { columns, data, holders, parity, segments } = extent
  const institutions = holders.map((number) => {
    const holder = number === undefined ? undefined : holderOf(number)
    return holder?.isCounted === true ? holder.institution : undefined
  })
  let missingColumns = 0
  let missingBytes = 0
  for (const [column, bytes] of columns.entries()) {
    // A column of a shortened stripe alone may have no shard at all.
    if (bytes === 0 || institutions[column] !== undefined) continue
    missingColumns++
    missingBytes += bytes
  }
  const stripes = stripesOf(segments, { data, parity })
  // All but the last are alike.
  const shapes = stripes.length > 1 ? stripes.slice(-2) : stripes
  const survives = shapes.map((stripe) => {
    const shards = institutions.filter((_, column) => shardAt(stripe, column, holders.length) !== undefined)
    return stripeSurvives(shards, stripe.data)
  })
  const counted = new Set(institutions.filter((one) => one !== undefined))
  return { institutions: counted.size, survives: Math.min(...survives), missingColumns, missingBytes }
}

/** Health of several extents together, as one object or as all objects. */
export function worstHealth(all: Iterable<Health>): Health {
  let worst = NOTHING
  for (const one of all) {
    worst = {
      institutions: Math.max(worst.institutions, one.institutions),
      survives: Math.min(worst.survives, one.survives),
      missingColumns: worst.missingColumns + one.missingColumns,
      missingBytes: worst.missingBytes + one.missingBytes,
    }
  }
  return worst
}

/** The worst case: institutions with the most shards of the stripe fail first. */
function stripeSurvives(holders: readonly (InstitutionId | undefined)[], needed: number): number {
  const shards = new Map<InstitutionId, number>()
  for (const holder of holders) if (holder !== undefined) shards.set(holder, (shards.get(holder) ?? 0) + 1)
  let left = [...shards.values()].reduce((sum, count) => sum + count, 0)
  let failed = 0
  for (const count of [...shards.values()].toSorted((a, b) => b - a)) {
    if (left < needed) break
    left -= count
    failed++
  }
  return left < needed ? failed - 1 : failed
}
