/** Lengths of time as people write them. */
import { InvalidArgumentError } from 'commander'

const UNIT_MS: Readonly<Record<string, number>> = {
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
  y: 365 * 86_400_000,
}

/** @returns milliseconds. @throws {InvalidArgumentError} where it isn't a number and a unit: `90s`, `12h`, `30d`, `1y` */
export function durationArgument(text: string): number {
  const [, count, unit = ''] = /^([1-9]\d{0,5})([smhdwy])$/.exec(text) ?? []
  const unitMs = UNIT_MS[unit]
  if (count === undefined || unitMs === undefined) {
    throw new InvalidArgumentError('write a number and a unit: 12h, 30d, 1y')
  }
  return Number(count) * unitMs
}
