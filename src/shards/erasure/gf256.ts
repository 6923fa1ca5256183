/**
 * GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), and the one generator of all erasure codes.
 *
 * @see docs/spec/erasure.md
 */
const POLYNOMIAL = 0x11d
const ORDER = 255
/** x, that is 2, generates the multiplicative group of this field. */
const EXP = new Uint8Array(2 * ORDER)
const LOG = new Uint8Array(ORDER + 1)
for (let power = 0, element = 1; power < ORDER; power++) {
  EXP[power] = element
  EXP[power + ORDER] = element
  LOG[element] = power
  element <<= 1
  if (element > ORDER) element ^= POLYNOMIAL
}

/** @param left - 0 to 255, as all elements here. */
export function multiply(left: number, right: number): number {
  if (left === 0 || right === 0) return 0
  return EXP[(LOG[left] ?? 0) + (LOG[right] ?? 0)] ?? 0
}

/** @param element - not 0, which has no inverse. */
function inverse(element: number): number {
  return EXP[ORDER - (LOG[element] ?? 0)] ?? 0
}

/**
 * What data shard `column` counts in parity shard `row`.
 *
 * A Cauchy matrix 1 / (x + y) with x = row and y = 255 - column, its columns and then its rows scaled so that row 0 and column
 * 0 are all ones. Every square part of it is nonsingular, so any k of k + m shards tell the rest, and a narrower code is the
 * corner of a wider one.
 *
 * @param row - from 0; `row + column < 255`.
 * @see Blömer et al., ICSI TR-95-048 (1995)
 */
export function parityCoefficient(row: number, column: number): number {
  const y = ORDER - column
  return multiply(multiply(y, ORDER ^ row), inverse(multiply(row ^ y, ORDER)))
}

/**
 * Inverts a matrix by Gauss and Jordan.
 *
 * @param matrix - square and nonsingular, as every square part of the generator; rows are written over.
 */
export function invert(matrix: Uint8Array[]): Uint8Array[] {
  const size = matrix.length
  const result = matrix.map((_, row) => Uint8Array.from({ length: size }, (_, column) => (row === column ? 1 : 0)))
  for (let at = 0; at < size; at++) {
    const pivot = matrix.findIndex((row, index) => index >= at && row[at] !== 0)
    for (const rows of [matrix, result]) {
      const [row, other] = [rows[at], rows[pivot]]
      if (row === undefined || other === undefined) throw new RangeError('a part of the generator is singular')
      rows[at] = other
      rows[pivot] = row
    }
    const scale = inverse(matrix[at]?.[at] ?? 0)
    for (const rows of [matrix, result]) addScaled(rows[at], rows[at], scale ^ 1)
    for (let row = 0; row < size; row++) {
      const factor = matrix[row]?.[at] ?? 0
      if (row === at || factor === 0) continue
      for (const rows of [matrix, result]) addScaled(rows[row], rows[at], factor)
    }
  }
  return result
}

/** `target + factor * source`, written over `target`. */
export function addScaled(target: Uint8Array | undefined, source: Uint8Array | undefined, factor: number): void {
  target?.forEach((value, index) => {
    target[index] = value ^ multiply(source?.[index] ?? 0, factor)
  })
}
