/** One figure of a bench: what was measured, beside the limit measured in the same run. */
export interface Figure {
  readonly bench: string
  readonly figure: string
  readonly value: number
  readonly unit: string
  readonly limit: number
  /** `value / limit`; where less is better (bytes of memory, seconds) `limit / value`. */
  readonly ratio: number
  readonly atLeast: number
  readonly ok: boolean
}

/** More is better: `value` must reach `atLeast` of `limit`. */
export function reaches(
  bench: string,
  figure: string,
  value: number,
  unit: string,
  limit: number,
  atLeast: number,
): Figure {
  const ratio = value / limit
  return {
    bench,
    figure,
    value: round(value),
    unit,
    limit: round(limit),
    ratio: round(ratio),
    atLeast,
    ok: ratio >= atLeast,
  }
}

/** Less is better: `value` must stay under `limit`. */
export function staysUnder(bench: string, figure: string, value: number, unit: string, limit: number): Figure {
  const ratio = limit / value
  return {
    bench,
    figure,
    value: round(value),
    unit,
    limit: round(limit),
    ratio: round(ratio),
    atLeast: 1,
    ok: value < limit,
  }
}

/** Neither more nor less is better: `value` and `limit` must be within `atLeast` of each other, whichever is larger. */
export function agrees(
  bench: string,
  figure: string,
  value: number,
  unit: string,
  limit: number,
  atLeast: number,
): Figure {
  const ratio = value / limit
  return {
    bench,
    figure,
    value: round(value),
    unit,
    limit: round(limit),
    ratio: round(ratio),
    atLeast,
    ok: ratio >= atLeast && ratio <= 1 / atLeast,
  }
}

/** Printed for comparison; nothing is asked of it. */
export function beside(bench: string, figure: string, value: number, unit: string, limit: number): Figure {
  return {
    bench,
    figure,
    value: round(value),
    unit,
    limit: round(limit),
    ratio: round(value / limit),
    atLeast: 0,
    ok: true,
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2
}

function round(value: number): number {
  return Number(value.toPrecision(4))
}

export function printFigures(figures: readonly Figure[], json: boolean): void {
  if (json) {
    for (const figure of figures) process.stdout.write(`${JSON.stringify(figure)}\n`)
    return
  }
  const rows = figures.map((one) => [
    one.bench,
    one.figure,
    `${one.value} ${one.unit}`,
    `${one.limit} ${one.unit}`,
    one.ratio.toFixed(2),
    one.atLeast === 0 ? '-' : one.atLeast.toFixed(2),
    one.atLeast === 0 ? '' : one.ok ? 'ok' : 'MISSED',
  ])
  const all = [['bench', 'figure', 'value', 'limit', 'ratio', 'at least', ''], ...rows]
  const widths = (all[0] ?? []).map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  for (const row of all)
    process.stdout.write(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    )
}
