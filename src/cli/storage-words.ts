/** What `gc`, `pin`, `hold` and `erase` say in words. */
import type { ErasureCertificate } from '../domain/storage-erasure.ts'
import type { KeepingAnswer } from '../gateway/storage-routes.ts'
import type { CollectionSummary } from '../peer/collection-report.ts'
import type { Pin } from '../peer/pins.ts'
import type { OrphanReason } from '../shards/live-set.ts'
import { bytesText, columns, table, timeText } from './output.ts'

const REASONS: Readonly<Record<OrphanReason, string>> = {
  released: 'nobody keeps its object any more',
  moved: "another peer's column now",
  copy: 'a further copy of what lies whole on its holders',
  unreferenced: 'given up, expired, or forgotten',
}

export function collectionText(summary: CollectionSummary, isDry: boolean): string {
  const { blockTimeMs, dueBlocks, dueBytes, removedBlocks, removedBytes, unknown, waitingBlocks, waitingBytes } =
    summary
  const went = isDry
    ? (['would go now', `${dueBlocks} blocks, ${bytesText(dueBytes)}`] as const)
    : (['removed', `${removedBlocks} blocks, ${bytesText(removedBytes)}`] as const)
  const rows: (readonly [string, string])[] = [
    ['block time', `${timeText(blockTimeMs)} UTC`],
    ['kept', `${summary.keptBlocks} blocks at least`],
    went,
    ['waits', `${waitingBlocks} blocks, ${bytesText(waitingBytes)}`],
  ]
  if (unknown.length > 0) {
    rows.push([
      'suspended',
      `${unknown.length} blocks are missing that say what must stay, the first ${unknown[0] ?? ''}`,
    ])
  }
  if (summary.lines.length === 0) return table(rows)
  const lines = summary.lines.map((line) => [
    timeText(line.earliestMs),
    String(line.blocks),
    bytesText(line.bytes),
    line.object ?? '-',
    REASONS[line.reason],
  ])
  return `${table(rows)}\n\n${columns(['not before (UTC)', 'blocks', 'bytes', 'object', 'why'], lines)}`
}

export function pinsText(pins: readonly Pin[]): string {
  if (pins.length === 0) return 'nothing is kept here for users'
  return columns(
    ['since (UTC)', 'what'],
    pins.map(({ cid, sinceMs }) => [timeText(sinceMs), cid.toString()]),
  )
}

export function holdsText({ blockTimeMs, erasedMs, holds, isKept, leaseMs, records }: KeepingAnswer): string {
  const lease = `${leaseMs > blockTimeMs ? 'until' : 'over since'} ${timeText(leaseMs)} UTC`
  const state = erasedMs > 0 ? `erased ${timeText(erasedMs)} UTC` : isKept ? 'kept' : 'nobody keeps it'
  const rows = table([
    ['state', state],
    ['records', `${records} versions name it`],
    ['lease', lease],
    ['holds', String(holds.length)],
  ])
  if (holds.length === 0) return rows
  const list = holds.map(({ institution, reason, sinceMs }) => [institution, reason, timeText(sinceMs)])
  return `${rows}\n\n${columns(['by', 'reason', 'since (UTC)'], list)}`
}

export function certificateRows({
  erasedMs,
  manifest,
  signed,
  waiting,
}: ErasureCertificate): (readonly [string, string])[] {
  const lines = [
    ...signed.map((one) => [
      `${one.index}/${one.column}`,
      one.institution,
      `deleted, signed ${timeText(one.timeMs)} UTC`,
      one.peer,
    ]),
    ...waiting.map((one) => [`${one.index}/${one.column}`, one.institution, 'has not signed', one.peer]),
  ]
  return [
    ['object', manifest.toString()],
    ['erased', `${timeText(erasedMs)} UTC`],
    [
      'complete',
      waiting.length === 0
        ? `yes: all ${signed.length} columns are signed for`
        : `no: ${waiting.length} are waited for`,
    ],
    ...(lines.length === 0
      ? []
      : [['columns', `\n${columns(['extent/column', 'by', 'state', 'peer'], lines)}`] as const]),
  ]
}
