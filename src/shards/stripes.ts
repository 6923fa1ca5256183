/**
 * Stripes of an extent: which shard lies in which column, and how the last stripe is shortened.
 *
 * Data shards fill the columns from the front, parity shards from the back. A full stripe has one shard in each column; a
 * shortened one has fewer data shards and, where columns are left, more parity, since what is small costs little and shall not be
 * the weakest part of an object.
 *
 * @see docs/spec/extent-map.md
 */

/** `data` of `data + parity` columns rebuild an extent. */
export interface Code {
  readonly data: number
  readonly parity: number
}

/** One stripe: its data shards are the segments from `first` on. */
export interface Stripe extends Code {
  /** Number of its first segment within the extent. */
  readonly first: number
}

/** Where one shard lies: `parity` is the row of the generator matrix, `data` the column of it. */
export type ShardPlace =
  | { readonly kind: 'data'; readonly index: number }
  | { readonly kind: 'parity'; readonly index: number }

/** Parity of a stripe with few data shards: keeps the loss of a small object below 1e-10 a year. */
const PARITY_OF_ONE_OR_TWO = 4
const PARITY_UP_TO_TEN = 5
const TEN = 10

/** @param segments - data segments of the extent, 1 to `EXTENT_SEGMENTS`. */
export function stripesOf(segments: number, code: Code): Stripe[] {
  const stripes: Stripe[] = []
  for (let first = 0; first < segments; first += code.data) {
    const data = Math.min(code.data, segments - first)
    stripes.push({ first, data, parity: data === code.data ? code.parity : shortParity(data, code) })
  }
  return stripes
}

function shortParity(data: number, code: Code): number {
  const wanted = data <= 2 ? PARITY_OF_ONE_OR_TWO : data <= TEN ? PARITY_UP_TO_TEN : code.parity
  return Math.min(Math.max(wanted, code.parity), code.data + code.parity - data)
}

/** What lies in a column of a stripe; `undefined`: nothing. @param columns - of the extent, data and parity. */
export function shardAt(stripe: Stripe, column: number, columns: number): ShardPlace | undefined {
  if (column < stripe.data) return { kind: 'data', index: column }
  const row = columns - 1 - column
  return row < stripe.parity ? { kind: 'parity', index: row } : undefined
}
