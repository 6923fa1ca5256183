/** Safety in words: "survives any 4 of 10 institutions failing; last proven 09:12; 3 extents being repaired, 12 minutes left". */
import type { StorageQuota } from '../domain/storage-quota.ts'
import type { AwayPeer, Safety } from '../peer/safety.ts'
import { bold, bytesText, timeText } from './output.ts'

const DAY_MS = 86_400_000

/** @param minutesLeft - of repair, as far as this peer does it. */
export function safetyText(safety: Safety, options: { readonly nowMs: number; readonly minutesLeft?: number }): string {
  const { extents, survives } = safety
  if (extents === 0 || survives === undefined) return 'nothing is placed on the network yet'
  return [
    survivalText(safety, survives),
    provenText(safety, options.nowMs),
    ...repairText(safety, options.minutesLeft),
  ].join('; ')
}

/** Rows for a terminal. */
export function safetyRows(
  safety: Safety,
  options: { readonly nowMs: number; readonly minutesLeft?: number },
): (readonly [string, string])[] {
  const { bytes, extents, objects } = safety
  return [
    ['safety', safetyText(safety, options)],
    ['placed', `${count(objects, 'object')}, ${bytesText(bytes)}, in ${count(extents, 'extent')}`],
    ...safety.away.map((peer) => ['not counted', awayText(peer)] as const),
  ]
}

/** What the institution may add; a shorter lease takes less of it, a longer one more. */
export function quotaText({ bytes, leaseMs, leftBytes }: StorageQuota): string {
  return `${bytesText(leftBytes)} of ${bytesText(bytes)} free, for leases of ${leaseMs < DAY_MS ? `${leaseMs / 1_000} s` : count(Math.floor(leaseMs / DAY_MS), 'day')}`
}

function survivalText({ institutions }: Safety, survives: number): string {
  if (survives < 0) return bold('a part can’t be read now: too many of its holders are gone')
  if (survives === 0) return bold(`survives no failure: every one of ${institutions} institutions is needed`)
  return `survives any ${survives} of ${institutions} institutions failing`
}

function provenText({ provenMs }: Safety, nowMs: number): string {
  if (provenMs === undefined || provenMs === 0) return 'not proven by an audit yet'
  const text = timeText(provenMs)
  // The day goes without saying while it is today.
  return `last proven ${text.slice(0, 10) === timeText(nowMs).slice(0, 10) ? text.slice(11, 16) : text.slice(0, 16)} UTC`
}

function repairText({ repairingBytes, repairingExtents }: Safety, minutesLeft: number | undefined): string[] {
  if (repairingExtents === 0) return []
  const left = minutesLeft === undefined ? `${bytesText(repairingBytes)} to go` : `${count(minutesLeft, 'minute')} left`
  return [`${count(repairingExtents, 'extent')} being repaired, ${left}`]
}

function awayText({ institution, sinceMs, why }: AwayPeer): string {
  const words = { failed: 'failed its audits', removed: 'left or was removed', silent: 'does not answer' }
  return `${institution} ${words[why]} since ${timeText(sinceMs).slice(0, 16)} UTC`
}

const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? '' : 's'}`
