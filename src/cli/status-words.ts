/** `peer status` in words: where the ledger stands, who leads, who is silent since when, and why nothing becomes final. */
import type { ConsensusStatus, MissingValidator } from '../consensus/status.ts'
import { CodedError } from '../core/coded-error.ts'
import type { CatchUpStatus } from '../peer/catch-up.ts'
import type { PeerStatus } from '../peer/peer.ts'
import { bold, bytesText, cliReport, timeText } from './output.ts'

type Row = readonly [string, string]

/** What of the status this is about. */
export type LedgerStatus = Pick<
  PeerStatus,
  'behind' | 'blockTimeMs' | 'catchingUp' | 'consensus' | 'epoch' | 'height' | 'leader' | 'validators' | 'view'
> & {
  readonly members: readonly { readonly institution: string; readonly connected: boolean }[]
}

/** Longer without a block than any idle interval that a config allows by default. */
const QUIET_MS = 60_000
const DAY_MS = 86_400_000

/** @param nowMs - of the machine that the peer runs on. */
export function ledgerRows(status: LedgerStatus, nowMs: number): Row[] {
  const { behind, blockTimeMs, consensus, height } = status
  const age = height === 0 ? 'no block yet' : `final ${timeText(blockTimeMs)} UTC, ${agoText(nowMs - blockTimeMs)} ago`
  const lag = behind === 0 ? '' : `; ${behind} blocks behind`
  const rows: Row[] = [['ledger', `height ${height}, ${age}${lag}`]]
  if (status.catchingUp !== undefined) rows.push(['catching up', catchUpText(status.catchingUp)])
  return [...rows, ...(consensus === undefined ? followerRows(status, nowMs) : validatorRows(status, consensus, nowMs))]
}

function catchUpText(status: CatchUpStatus): string {
  switch (status.by) {
    case 'blocks':
      return `height ${status.height} of ${status.of}, by blocks`
    case 'epochs':
      return `by snapshot, follows the validators of epoch ${status.epoch}`
    case 'snapshot':
      return `by snapshot of height ${status.height}, chunk ${status.chunk} of ~${status.chunks}`
    case 'headers':
      return `by snapshot of height ${status.height}, ${status.left} headers left`
    case 'damaged': {
      const { sentence, todo } = cliReport(new CodedError(status.fault))
      return `${bold('damaged')}: ${sentence} ${todo}`
    }
    default:
      return status satisfies never
  }
}

function validatorRows(status: LedgerStatus, consensus: ConsensusStatus, nowMs: number): Row[] {
  const { epoch, halted, leader, missing, stalledSinceMs, validates, view } = consensus
  const rows: Row[] = [
    ['view', `${view} of epoch ${epoch}, led by ${leader}${validates ? '' : '; this peer has no vote'}`],
  ]
  if (halted !== undefined) {
    const { sentence, todo } = cliReport(new CodedError(halted))
    rows.push(['consensus', `${bold('halted')}: ${sentence} ${todo}`])
  } else if (stalledSinceMs !== null) {
    rows.push([
      'consensus',
      `${bold('not final')} since ${clockText(stalledSinceMs, nowMs)} UTC: ${stallText(status, consensus, nowMs)}`,
    ])
  } else {
    rows.push(['consensus', waitText(consensus)])
    if (missing.length > 0) rows.push(['silent', `${silentText(missing, nowMs)}; ${neededText(status, consensus)}`])
  }
  return rows
}

/** Why nothing becomes final: the silent ones where too few are left, else what is waited for. */
function stallText(status: LedgerStatus, consensus: ConsensusStatus, nowMs: number): string {
  const { missing, quorum } = consensus
  const total = status.validators.length
  const silent = `${missing.length} of ${total} validators silent (${silentText(missing, nowMs)})`
  if (total - missing.length < quorum) return `${silent}; ${quorum} are needed`
  return missing.length === 0 ? waitText(consensus) : `${waitText(consensus)}; ${silent}; ${quorum} are needed`
}

function waitText({ leader, pendingBlocks, waitsFor }: ConsensusStatus): string {
  const blocks = pendingBlocks === 1 ? '1 block' : `${pendingBlocks} blocks`
  switch (waitsFor) {
    case 'transactions':
      return 'waits for transactions'
    case 'proposal':
      return `waits for the proposal of ${leader}`
    case 'votes':
      return `waits for votes, ${blocks} not final yet`
    case 'own-block':
      return 'lacks a block that it voted final: its ledger is older than its votes; connect a member that has the block, or bring back the newest ledger folder'
    case 'catching-up':
      return 'fetches blocks that it lacks'
    case 'nothing':
      return 'at work'
    default:
      return waitsFor satisfies never
  }
}

function neededText({ validators }: LedgerStatus, { quorum }: ConsensusStatus): string {
  return `the others are enough: ${quorum} of ${validators.length} are needed`
}

function silentText(missing: readonly MissingValidator[], nowMs: number): string {
  const one = ({ institution, silentSinceMs }: MissingValidator): string =>
    silentSinceMs === null ? `${institution} never heard` : `${institution} since ${clockText(silentSinceMs, nowMs)}`
  return missing.map(one).join(', ')
}

/** A peer that doesn't validate knows headers, and who is connected. */
function followerRows(status: LedgerStatus, nowMs: number): Row[] {
  const { blockTimeMs, epoch, height, leader, members, validators, view } = status
  const rows: Row[] = [['view', `${view} of epoch ${epoch} was the last; ${leader} leads the next`]]
  const connected = new Set(members.filter((one) => one.connected).map((one) => one.institution))
  const known = new Set(members.map((one) => one.institution))
  const away = validators.filter((one) => known.has(one) && !connected.has(one))
  if (height > 0 && nowMs - blockTimeMs > QUIET_MS) {
    rows.push([
      'consensus',
      `${bold('no block')} since ${clockText(blockTimeMs, nowMs)} UTC; "peer status" at a validator says why`,
    ])
  }
  if (away.length > 0)
    rows.push(['validators', `not connected: ${away.join(', ')} (${away.length} of ${validators.length})`])
  return rows
}

/** Members whose blocks were wrong, missing or late: the first are damaged, the others busy or far. */
export function readRows({ members }: Pick<PeerStatus, 'members'>): Row[] {
  return members.flatMap(({ institution, reads }): Row[] => {
    if (reads === undefined || reads.altered + reads.lacking + reads.late === 0) return []
    const words = [
      ...(reads.altered > 0 ? [bold(`${reads.altered} altered`)] : []),
      ...(reads.lacking > 0 ? [`${reads.lacking} that it should have and hadn't`] : []),
      ...(reads.late > 0 ? [`late ${reads.late} times`] : []),
    ]
    return [
      ['reads', `${institution}: ${reads.blocks} blocks; ${words.join(', ')}; a block in ${reads.p95Ms} ms or less`],
    ]
  })
}

/** The time of day; with the date where that is another day. */
function clockText(ms: number, nowMs: number): string {
  const text = timeText(ms)
  return Math.floor(ms / DAY_MS) === Math.floor(nowMs / DAY_MS) ? text.slice(11) : text
}

function agoText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000))
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`
  return `${Math.round(seconds / 86_400)} days`
}

/** What the peer repairs of what it should hold, and what stands in the way. */
export function repairRows({ repair, store }: Pick<PeerStatus, 'repair' | 'store'>): Row[] {
  const { bytes, bytesPerSecond, columns, extents, faults, minutesLeft, notFound, survives } = repair
  const rows: Row[] = []
  if (store.damagedBlocks > 0) {
    const lost = notFound === 0 ? '' : `; ${notFound} of them no connected member has`
    rows.push(['damaged', `${bold(`${store.damagedBlocks} blocks`)} await repair${lost}`])
  }
  if (columns === 0) return rows
  const pace = minutesLeft === undefined ? '' : `, ${minutesLeft} min left at ${bytesText(bytesPerSecond)}/s`
  const danger =
    survives === undefined || survives > 0 ? '' : `; ${bold('the most endangered survives no further failure')}`
  rows.push(['repair', `${columns} columns of ${extents} extents, ${bytesText(bytes)}${pace}${danger}`])
  const why = Object.entries(faults).map(([code, count]) => `${count} ${code}`)
  if (why.length > 0) rows.push(['held up', why.join(', ')])
  return rows
}
