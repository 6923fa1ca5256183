/** What `gc`, `pin`, `hold` and `erase` say in words. */
import type { CheckedErasure } from '../domain/erasure-certificate.ts'
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

/** @param checked - says what is proved: the rest is the word of the peer that made the certificate, and is told as that. */
export function certificateRows({
  certificate: { erasedMs, manifest, signed, waiting },
  proved,
}: Pick<CheckedErasure, 'certificate' | 'proved'>): (readonly [string, string])[] {
  const lines = [
    ...signed.map((one, at) => [
      `${one.index}/${one.column}`,
      at < proved ? `deleted, signed ${timeText(one.timeMs)} UTC` : 'signed, not proved to be by its holder',
      one.peer,
      one.institution,
    ]),
    ...waiting.map((one) => [`${one.index}/${one.column}`, 'has not signed, it is said', one.peer, one.institution]),
  ]
  const rest = signed.length - proved
  return [
    ['object', manifest.toString()],
    ['erased', `${timeText(erasedMs)} UTC`],
    ['proved', `the holders of ${proved} columns have signed that they deleted them`],
    ...(rest === 0 ? [] : [['not proved', `that ${rest} more signatures are those of holders`] as const]),
    ['waited for', `${waiting.length === 0 ? 'nobody' : `${waiting.length} columns`}, as the peer says that made this`],
    ...(lines.length === 0
      ? []
      : [['columns', `\n${columns(['extent/column', 'state', 'peer', 'said to be of'], lines)}`] as const]),
  ]
}
