/**
 * The closed form that the simulation is checked against: one placement group as a birth-death chain over its missing columns.
 *
 *   0 ⇄ 1 ⇄ … ⇄ m → lost        up: (n - i) × failures      down: i / repair time
 *
 * Exact where holders fail independently at a constant rate and every missing column is rebuilt in an exponential time of its own.
 *
 * @see Trivedi, Probability and Statistics (2002), section 8.2; Chen et al., RAID, ACM Computing Surveys 26(2) (1994)
 */
import type { PlacementCode } from '../../src/domain/placement-table.ts'

export interface GroupModel {
  readonly code: PlacementCode
  /** Of one holder, a year. */
  readonly failuresPerYear: number
  /** Mean time to rebuild one column, in years, while `missing` are missing. */
  readonly repairYears: (missing: number) => number
}

/** Mean time from complete to lost, in years: the sum of the mean times from each state to the next worse one. */
export function meanYearsToLoss({ code, failuresPerYear, repairYears }: GroupModel): number {
  let total = 0
  let toNext = 0
  for (let missing = 0; missing <= code.parity; missing++) {
    const up = (code.data + code.parity - missing) * failuresPerYear
    const down = missing === 0 ? 0 : missing / repairYears(missing)
    toNext = (1 + down * toNext) / up
    total += toNext
  }
  return total
}

/** Losses of one group a year. */
export const lossesPerYear = (model: GroupModel): number => 1 / meanYearsToLoss(model)

/** The part of its time that a group has exactly so many columns missing, where loss is rare. */
export function timeRatioMissing({ code, failuresPerYear, repairYears }: GroupModel, missing: number): number {
  const weights = [1]
  for (let level = 1; level <= code.parity; level++) {
    const up = (code.data + code.parity - level + 1) * failuresPerYear
    weights.push(((weights[level - 1] ?? 0) * up * repairYears(level)) / level)
  }
  return (weights[missing] ?? 0) / weights.reduce((sum, one) => sum + one, 0)
}

/** "11" for a loss of 1e-11 a year: the digits of 99.999999999% of what is kept. */
export const nines = (lossPerYear: number): number => -Math.log10(lossPerYear)
