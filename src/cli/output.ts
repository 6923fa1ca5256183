/** What the CLI prints: words on a terminal, one JSON document with `--json`; faults on stderr, and their exit status. */
import * as dagJson from '@ipld/dag-json'
import type { FaultInfo } from '../core/coded-error.ts'
import { type FaultReport, faultCatalog, reportError } from '../gateway/fault-catalog.ts'
import { ApiError } from './api-client.ts'
import { cliFaults } from './faults.ts'

const catalog: Readonly<Record<string, FaultInfo>> = { ...faultCatalog, ...cliFaults }

/** Any error as it is shown: a peer's refusal in the peer's own words. */
export function cliReport(error: unknown): FaultReport {
  const report = reportError(error, catalog)
  return error instanceof ApiError ? { ...report, sentence: error.sentence, todo: error.todo } : report
}

/** Prints a fault and sets the exit status. */
export function printFault(error: unknown, json: boolean): void {
  const { code, sentence, todo, exit, fields } = cliReport(error)
  if (json) process.stderr.write(`${JSON.stringify({ fault: code, sentence, todo, fields })}\n`)
  else process.stderr.write(`${bold('error')} ${sentence}\n      ${todo} ${dim(`[${code}]`)}\n`)
  if (code === 'INTERNAL' && error instanceof Error && !json)
    process.stderr.write(`${dim(error.stack ?? error.message)}\n`)
  process.exitCode = exit
}

/** Prints a result: `words` for people, `value` (links and bytes as DAG-JSON) for programs. */
export function print(json: boolean, value: object, words: readonly (readonly [string, string])[]): void {
  if (json) process.stdout.write(`${dagJson.stringify(withoutUndefined(value))}\n`)
  else process.stdout.write(`${table(words)}\n`)
}

/** Labels in one column, values in the next. */
export function table(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([label]) => label.length))
  return rows.map(([label, value]) => `${label.padEnd(width)}  ${value}`).join('\n')
}

/** Columns under headings, each as wide as it needs to be. */
export function columns(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [headings, ...rows]
  const widths = headings.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)))
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return [dim(line(headings)), ...rows.map(line)].join('\n')
}

/** Bytes in the unit that reads best. */
export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`
  const units = ['KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = -1
  do {
    value /= 1024
    unit++
  } while (value >= 1024 && unit < units.length - 1)
  return `${value.toFixed(value >= 100 ? 0 : 1)} ${units[unit] ?? ''}`
}

/** Megabytes (10^6) a second. */
export function rateText(bytes: number, ms: number): string {
  return `${((bytes / Math.max(ms, 1)) * 1000 * 1e-6).toFixed(0)} MB/s`
}

export function secondsText(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 0)} s`
}

/** UTC, to the second. */
export function timeText(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').slice(0, 19)
}

const colours = (): boolean => process.stderr.isTTY && process.env['NO_COLOR'] === undefined
export const bold = (text: string): string => (colours() ? `\u001b[1m${text}\u001b[0m` : text)
export const dim = (text: string): string => (colours() ? `\u001b[2m${text}\u001b[0m` : text)

/** DAG-JSON has no `undefined`: fields without a value are left out. */
function withoutUndefined(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined))
}
