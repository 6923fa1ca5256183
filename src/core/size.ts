/** Sizes as people write them: "8 TiB", "500MiB". */

const UNITS: ReadonlyMap<string, number> = new Map(
  ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'].map((unit, power) => [unit, 1024 ** power]),
)

/**
 * @param value - bytes, or a number of at most three decimals and a unit of `UNITS`.
 * @returns whole bytes, or undefined.
 */
export function parseSize(value: string | number): number | undefined {
  const match = /^(\d{1,12}(?:\.\d{1,3})?) ?([KMGTP]iB|B)$/.exec(typeof value === 'number' ? `${value} B` : value)
  const bytes = Number(match?.[1]) * (UNITS.get(match?.[2] ?? '') ?? Number.NaN)
  return Number.isSafeInteger(bytes) ? bytes : undefined
}
