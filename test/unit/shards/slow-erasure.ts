/**
 * The erasure code a second time, from docs/spec/erasure.md alone: no logarithms, no kernel, no shortcuts, nothing of src.
 */

/** Product in GF(2^8)/0x11d, bit by bit as at school. */
export function slowMultiply(left: number, right: number): number {
  let product = 0
  for (let bit = 7; bit >= 0; bit--) {
    product <<= 1
    if ((product & 0x100) !== 0) product ^= 0x11d
    if (((right >> bit) & 1) === 1) product ^= left
  }
  return product
}

/** Found by trying. */
function slowInverse(element: number): number {
  for (let other = 1; other < 256; other++) if (slowMultiply(element, other) === 1) return other
  throw new RangeError('0 has no inverse')
}
const INVERSE = Array.from({ length: 256 }, (_, element) => (element === 0 ? 0 : slowInverse(element)))

const at = (matrix: readonly (readonly number[])[], row: number, column: number): number => matrix[row]?.[column] ?? 0

/** The Cauchy matrix of x = row, y = 255 - column, columns scaled, then rows. */
export function slowGenerator(rows: number, columns: number): number[][] {
  const invert = (element: number): number => INVERSE[element] ?? 0
  const cauchy = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) => invert(row ^ (255 - column))),
  )
  const columnsScaled = cauchy.map((row) =>
    row.map((value, column) => slowMultiply(value, invert(at(cauchy, 0, column)))),
  )
  return columnsScaled.map((row) => row.map((value) => slowMultiply(value, invert(row[0] ?? 0))))
}

/** Whether a square matrix is nonsingular, by elimination. */
export function rankIsFull(matrix: readonly (readonly number[])[]): boolean {
  const rows = matrix.map((row) => [...row])
  for (let step = 0; step < rows.length; step++) {
    const pivot = rows.findIndex((row, index) => index >= step && row[step] !== 0)
    if (pivot < 0) return false
    const chosen = rows[pivot] ?? []
    rows[pivot] = rows[step] ?? []
    rows[step] = chosen
    const scale = INVERSE[chosen[step] ?? 0] ?? 0
    for (let below = step + 1; below < rows.length; below++) {
      const factor = slowMultiply(at(rows, below, step), scale)
      rows[below] = (rows[below] ?? []).map((value, column) => value ^ slowMultiply(factor, chosen[column] ?? 0))
    }
  }
  return true
}

const PRODUCTS = new Map<number, Uint8Array>()

function productsOf(factor: number): Uint8Array {
  const products = PRODUCTS.get(factor) ?? Uint8Array.from({ length: 256 }, (_, byte) => slowMultiply(factor, byte))
  PRODUCTS.set(factor, products)
  return products
}

/** Parity shards of data shards, byte by byte. */
export function slowParity(data: readonly Uint8Array[], parity: number): Uint8Array[] {
  const bytes = Math.max(...data.map((shard) => shard.length))
  return slowGenerator(parity, data.length).map((row) => {
    const shard = new Uint8Array(bytes)
    data.forEach((other, column) => {
      const products = productsOf(row[column] ?? 0)
      other.forEach((byte, index) => {
        shard[index] = (shard[index] ?? 0) ^ (products[byte] ?? 0)
      })
    })
    return shard
  })
}
