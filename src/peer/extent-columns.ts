/**
 * The columns of an extent that is being written: who takes part, who was left behind and why, and whether enough remain.
 *
 * A holder that is lost, or stores nothing while others do, is left behind as long as a write quorum remains.
 */
import { CodedError, faultOf } from '../core/coded-error.ts'
import { SHARD_SENDER_SILENT_MS, SHARD_STALL_MS } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { writeQuorum } from '../domain/placement-table.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import { ShardPushError } from '../p2p/shard-push.ts'
import type { Code } from '../shards/stripes.ts'
import type { ColumnSink } from './column-sink.ts'

/** Who should hold a column. */
export interface ColumnHolder {
  readonly peer: PeerIdText
  readonly institution: string
}

/** By column; `undefined`: the table has nobody for it. */
export type HolderRow = readonly (ColumnHolder | undefined)[]

export type ExtentWriteFault = {
  code: 'EXTENT_HOLDERS_TOO_FEW'
  index: number
  columns: number
  needed: number
  /** Institutions, each with the code of its fault. */
  missing: string
}
export class ExtentWriteError extends CodedError<ExtentWriteFault> {}

/** How often silence is looked for; a tick that comes much later means that our own process was busy. */
const WATCH_MS = 500
const WATCH_LATE_MS = 1_500

export class ExtentColumns {
  readonly #deps: { readonly log: Log; readonly onMissing: (institutions: readonly string[]) => void }
  readonly #of: { readonly index: number; readonly code: Code; readonly row: HolderRow }
  readonly #sinks = new Map<number, ColumnSink>()
  /** Signed for. */
  readonly #done = new Set<number>()
  readonly #faults = new Map<number, string>()
  #watchMs = performance.now()
  #watch: NodeJS.Timeout | undefined

  constructor(
    deps: { readonly log: Log; readonly onMissing: (institutions: readonly string[]) => void },
    of: { readonly index: number; readonly code: Code; readonly row: HolderRow },
  ) {
    this.#deps = deps
    this.#of = of
  }

  /** Opens all columns at once. @throws {ExtentWriteError} */
  async open(openSink: (holder: ColumnHolder, column: number) => Promise<ColumnSink>): Promise<void> {
    await Promise.all(
      this.#of.row.map(async (holder, column) => {
        if (holder === undefined) return
        try {
          this.#sinks.set(column, await openSink(holder, column))
        } catch (error) {
          this.fail(column, error)
        }
      }),
    )
    this.check()
    this.#watch = setInterval(() => this.#lookForSilence(), WATCH_MS)
  }

  /** Those that take part. */
  entries(): readonly (readonly [column: number, sink: ColumnSink])[] {
    return [...this.#sinks]
  }

  /** Where a column goes; `undefined`: nowhere any more. */
  get(column: number): ColumnSink | undefined {
    const sink = this.#sinks.get(column)
    return sink?.loss === undefined ? sink : undefined
  }

  /** The holder has signed for its column. */
  done(column: number): void {
    this.#done.add(column)
    this.#sinks.delete(column)
  }

  fail(column: number, error: unknown): void {
    this.#sinks.get(column)?.close('its column failed')
    this.#sinks.delete(column)
    const fault = (error instanceof ShardPushError ? error.refusal : undefined) ?? faultOf(error)
    this.#faults.set(column, fault?.code ?? 'INTERNAL')
    const { peer } = this.#of.row[column] ?? {}
    this.#deps.log.info(
      { peer, column, fault, ...(fault === undefined ? { err: error } : {}) },
      'a holder takes no column',
    )
    this.#deps.onMissing([...this.#faults.keys()].flatMap((one) => this.#of.row[one]?.institution ?? []))
  }

  /** Leaves behind who was lost. @throws {ExtentWriteError} where too few remain */
  check(): void {
    for (const [column, { loss }] of this.#sinks) if (loss !== undefined) this.fail(column, loss)
    const { code, index, row } = this.#of
    const needed = writeQuorum(code)
    const columns = this.#sinks.size + this.#done.size
    if (columns >= needed) return
    const missing = row.flatMap((holder, column) => {
      if (this.#sinks.has(column) || this.#done.has(column)) return []
      return [`${holder?.institution ?? 'nobody'} (${this.#faults.get(column) ?? 'no peer'})`]
    })
    throw new ExtentWriteError({
      code: 'EXTENT_HOLDERS_TOO_FEW',
      index,
      columns,
      needed,
      missing: missing.join(', '),
    })
  }

  close(): void {
    clearInterval(this.#watch)
    for (const sink of this.#sinks.values()) sink.close('the extent is done')
  }

  #lookForSilence(): void {
    const nowMs = performance.now()
    const isLate = nowMs - this.#watchMs > WATCH_LATE_MS
    this.#watchMs = nowMs
    const live = [...this.#sinks.values()].filter(({ loss }) => loss === undefined)
    if (isLate) for (const sink of live) sink.excuse(nowMs)
    const others = live.some((sink) => sink.silentMs(nowMs) < SHARD_STALL_MS / 2)
    let spare = live.length - writeQuorum(this.#of.code)
    for (const sink of live) {
      const silentMs = sink.silentMs(nowMs)
      const isStalled = silentMs >= SHARD_STALL_MS && others && spare > 0
      if (!isStalled && silentMs < SHARD_SENDER_SILENT_MS) continue
      sink.giveUpSilent(silentMs)
      spare--
    }
  }
}
