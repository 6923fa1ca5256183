/** What a round of collection found: per object where it can be named, what lies here that needn't, why, and when it may go. */
import { COLLECT_LINES_MAX } from '../core/limits.ts'
import type { OrphanReason } from '../shards/live-set.ts'
import type { LiveView } from './live-walk.ts'
import type { StoredMark } from './orphan-marks.ts'

export interface CollectionLine {
  /** CID of the object; absent: nothing here says which. */
  readonly object?: string
  readonly reason: OrphanReason
  readonly blocks: number
  readonly bytes: number
  /** Block time at which the first of it may go, at the earliest. */
  readonly earliestMs: number
  /** Of these, what may go now. */
  readonly dueBlocks: number
  readonly dueBytes: number
}

export interface CollectionSummary {
  readonly blockTimeMs: number
  readonly orphanMs: number
  /** Blocks that must stay, at least. */
  readonly keptBlocks: number
  readonly removedBlocks: number
  readonly removedBytes: number
  readonly dueBlocks: number
  readonly dueBytes: number
  readonly waitingBlocks: number
  readonly waitingBytes: number
  /** Objects that the ledger has erased. */
  readonly erasedObjects: number
  /** Own objects that the ledger may forget. */
  readonly forgettableObjects: number
  /** The largest first, `COLLECT_LINES_MAX` at most. */
  readonly lines: readonly CollectionLine[]
  /** CIDs of blocks that are missing here: without them nobody knows what must stay, and nothing is removed. */
  readonly unknown: readonly string[]
}

interface Line {
  blocks: number
  bytes: number
  earliestMs: number
  dueBlocks: number
  dueBytes: number
}

export class CollectionReport {
  readonly #view: LiveView
  readonly #lines = new Map<string, Line & Pick<CollectionLine, 'object' | 'reason'>>()
  #removedBlocks = 0
  #removedBytes = 0

  constructor(view: LiveView) {
    this.#view = view
  }

  /** @param dueMs - block time, where it may go now. */
  orphan({ manifest, reason, sinceMs }: StoredMark, bytes: number, dueMs: number | undefined): void {
    const object = manifest?.toString()
    const name = `${object ?? ''} ${reason}`
    const line = this.#lines.get(name) ?? {
      ...(object === undefined ? {} : { object }),
      reason,
      blocks: 0,
      bytes: 0,
      earliestMs: Number.MAX_SAFE_INTEGER,
      dueBlocks: 0,
      dueBytes: 0,
    }
    this.#lines.set(name, line)
    line.blocks++
    line.bytes += bytes
    line.earliestMs = Math.min(line.earliestMs, dueMs ?? sinceMs + this.#view.params.orphanMs)
    if (dueMs === undefined) return
    line.dueBlocks++
    line.dueBytes += bytes
  }

  removed(blocks: number, bytes = 0): void {
    this.#removedBlocks += blocks
    this.#removedBytes += bytes
  }

  summary(): CollectionSummary {
    const { blockTimeMs, erased, forgettable, live, params, unknown } = this.#view
    const lines = [...this.#lines.values()]
    const sum = (of: (line: Line) => number): number => lines.reduce((total, line) => total + of(line), 0)
    const [dueBlocks, dueBytes] = [sum((line) => line.dueBlocks), sum((line) => line.dueBytes)]
    return {
      blockTimeMs,
      orphanMs: params.orphanMs,
      keptBlocks: live.kept.size + live.local.size + live.pinned.size + live.ledger.size,
      removedBlocks: this.#removedBlocks,
      removedBytes: this.#removedBytes,
      dueBlocks,
      dueBytes,
      waitingBlocks: sum((line) => line.blocks) - dueBlocks,
      waitingBytes: sum((line) => line.bytes) - dueBytes,
      erasedObjects: erased.length,
      forgettableObjects: forgettable.length,
      lines: lines.toSorted((a, b) => b.bytes - a.bytes).slice(0, COLLECT_LINES_MAX),
      unknown: unknown.slice(0, COLLECT_LINES_MAX).map(String),
    }
  }
}
