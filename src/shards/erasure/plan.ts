/** Which shards are read to make which others, and with what coefficients: the algebra of a rebuild, without its bytes. */
import { addScaled, invert, parityCoefficient } from './gf256.ts'

/** Shards of one stripe: 0 to `data - 1` are data, `data` to `data + parity - 1` are parity. */
export interface ErasureCode {
  readonly data: number
  readonly parity: number
}

export interface ErasurePlan {
  /** Shards to read, as many as the code has data shards, by index. */
  readonly inputs: readonly number[]
  /** Shards that are sums of products: a coefficient for each input. At most `parity - 1`. */
  readonly products: readonly { readonly shard: number; readonly coefficients: Uint8Array }[]
  /**
   * The shard, if any, that is a plain sum: of the first `inputs` of the inputs and the first `products` of the products.
   *
   * All data shards and the first parity shard sum to nothing, so the last of them that is wanted needs no multiplication.
   */
  readonly sum: { readonly shard: number; readonly inputs: number; readonly products: number } | undefined
}

/**
 * @param isPresent - of each shard of the code, at least `code.data` of them.
 * @param wanted - shards that are not present, each once.
 */
export function planRebuild(
  code: ErasureCode,
  isPresent: (shard: number) => boolean,
  wanted: readonly number[],
): ErasurePlan {
  const all = Array.from({ length: code.data + code.parity }, (_, shard) => shard)
  const inputs = all.filter(isPresent).slice(0, code.data)
  const targets = wanted.toSorted((one, other) => one - other)
  const summed = (shard: number): boolean => shard <= code.data
  const known = new Set([...inputs, ...targets])
  const last = all.filter(summed).every((shard) => known.has(shard)) ? targets.findLast(summed) : undefined
  const products = targets.filter((shard) => shard !== last)
  const dataRows = rowsOfData(code, inputs)
  return {
    inputs,
    products: products.map((shard) => ({ shard, coefficients: rowOf(shard, code, dataRows) })),
    sum:
      last === undefined
        ? undefined
        : { shard: last, inputs: inputs.filter(summed).length, products: products.filter(summed).length },
  }
}

/** Each data shard as a combination of the inputs: itself where it is one, else a row of the inverse. */
function rowsOfData(code: ErasureCode, inputs: readonly number[]): readonly Uint8Array[] {
  const rows = Array.from({ length: code.data }, () => new Uint8Array(code.data))
  inputs.forEach((shard, column) => {
    const row = rows[shard]
    if (row !== undefined) row[column] = 1
  })
  const missing = rows.flatMap((_, shard) => (inputs.includes(shard) ? [] : [shard]))
  const parities = inputs.flatMap((shard, column) => (shard < code.data ? [] : [{ row: shard - code.data, column }]))
  // Parity less what the present data shards count in it: a combination of the missing ones alone.
  const syndromes = parities.map(({ row, column }) => {
    const syndrome = new Uint8Array(code.data)
    syndrome[column] = 1
    rows.forEach((dataRow, shard) => addScaled(syndrome, dataRow, parityCoefficient(row, shard)))
    return syndrome
  })
  const inverse = invert(parities.map(({ row }) => Uint8Array.from(missing, (shard) => parityCoefficient(row, shard))))
  missing.forEach((shard, index) => {
    syndromes.forEach((syndrome, at) => addScaled(rows[shard], syndrome, inverse[index]?.[at] ?? 0))
  })
  return rows
}

function rowOf(shard: number, code: ErasureCode, dataRows: readonly Uint8Array[]): Uint8Array {
  if (shard < code.data) return dataRows[shard] ?? new Uint8Array(code.data)
  const row = new Uint8Array(code.data)
  dataRows.forEach((dataRow, column) => addScaled(row, dataRow, parityCoefficient(shard - code.data, column)))
  return row
}
