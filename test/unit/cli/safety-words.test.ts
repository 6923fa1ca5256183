import { expect, test } from 'vitest'
import { quotaText, safetyRows, safetyText } from '../../../src/cli/safety-words.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import type { Safety } from '../../../src/peer/safety.ts'

const nowMs = Date.UTC(2026, 10, 28, 11, 0)
const healthy: Safety = {
  objects: 3,
  bytes: 5 * 1024 ** 3,
  extents: 7,
  institutions: 10,
  survives: 4,
  repairingExtents: 0,
  repairingBytes: 0,
  provenMs: Date.UTC(2026, 10, 28, 9, 12),
  away: [],
}

test('a healthy network says what it survives and when that was last proven', () => {
  expect(safetyText(healthy, { nowMs })).toBe('survives any 4 of 10 institutions failing; last proven 09:12 UTC')
  expect(safetyRows(healthy, { nowMs })[1]).toEqual(['placed', '3 objects, 5.0 GiB, in 7 extents'])
})

test('what is being repaired is said with the time it takes, or with the bytes while that is unknown', () => {
  const hurt = { ...healthy, survives: 3, institutions: 9, repairingExtents: 3, repairingBytes: 300 * 1024 ** 2 }
  expect(safetyText(hurt, { nowMs, minutesLeft: 12 })).toBe(
    'survives any 3 of 9 institutions failing; last proven 09:12 UTC; 3 extents being repaired, 12 minutes left',
  )
  expect(safetyText({ ...hurt, repairingExtents: 1 }, { nowMs })).toContain('1 extent being repaired, 300 MiB to go')
})

test('yesterday’s proof is told with its date, none at all is said so', () => {
  const old = { ...healthy, provenMs: Date.UTC(2026, 10, 27, 23, 59) }
  expect(safetyText(old, { nowMs })).toContain('last proven 2026-11-27 23:59 UTC')
  expect(safetyText({ ...healthy, provenMs: 0 }, { nowMs })).toContain('not proven by an audit yet')
})

test('no margin, and a loss, are not said in the words of safety', () => {
  expect(safetyText({ ...healthy, survives: 0, institutions: 6 }, { nowMs })).toContain(
    'survives no failure: every one of 6 institutions is needed',
  )
  expect(safetyText({ ...healthy, survives: -1 }, { nowMs })).toContain('can’t be read now')
  const { survives: _survives, provenMs: _provenMs, ...nothing } = { ...healthy, extents: 0 }
  expect(safetyText(nothing, { nowMs })).toBe('nothing is placed on the network yet')
})

test('who is not counted on is named, with since when', () => {
  const away = { institution: parseInstitutionId('river'), why: 'silent', sinceMs: nowMs } as const
  expect(safetyRows({ ...healthy, away: [away] }, { nowMs }).at(-1)).toEqual([
    'not counted',
    'river does not answer since 2026-11-28 11:00 UTC',
  ])
})

test('the quota says what may be added, and for how long', () => {
  const quota = { bytes: 64 * 1024 ** 4, leftBytes: 63.4 * 1024 ** 4 }
  expect(quotaText({ ...quota, leaseMs: 365 * 86_400_000 })).toBe('63.4 TiB of 64.0 TiB free, for leases of 365 days')
  expect(quotaText({ ...quota, leaseMs: 90_000 })).toContain('for leases of 90 s')
})
