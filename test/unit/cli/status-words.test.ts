import { expect, test } from 'vitest'
import type { ConsensusStatus } from '../../../src/consensus/status.ts'
import { type InstitutionId, parseInstitutionId } from '../../../src/core/ids.ts'
import { type LedgerStatus, ledgerRows } from '../../../src/cli/status-words.ts'

const at = (time: string): number => Date.parse(`2027-03-01T${time}Z`)
const NOW_MS = at('12:04:40')
const [city, b, c, d] = ['hospital-a', 'hospital-b', 'insurer-c', 'lab-d'].map(parseInstitutionId) as [
  InstitutionId,
  InstitutionId,
  InstitutionId,
  InstitutionId,
]

const consensus: ConsensusStatus = {
  epoch: 2,
  view: 31,
  leader: b,
  height: 2_417,
  finalTimeMs: at('12:04:30'),
  validates: true,
  pendingBlocks: 0,
  waitsFor: 'transactions',
  missing: [],
  stalledSinceMs: null,
  quorum: 3,
}
const status: LedgerStatus = {
  height: 2_417,
  blockTimeMs: at('12:04:30'),
  behind: 0,
  view: 30,
  epoch: 2,
  leader: b,
  validators: [city, b, c, d],
  members: [b, c, d].map((institution) => ({ institution, connected: true })),
}
function words(changes: Partial<ConsensusStatus>): Record<string, string> {
  return Object.fromEntries(ledgerRows({ ...status, consensus: { ...consensus, ...changes } }, NOW_MS))
}
const silent = { institution: c, silentSinceMs: at('12:03:02') }

test('a ledger at rest says where it stands, who leads and what it waits for', () => {
  expect(words({})).toEqual({
    ledger: 'height 2417, final 2027-03-01 12:04:30 UTC, 10 s ago',
    view: '31 of epoch 2, led by hospital-b',
    consensus: 'waits for transactions',
  })
})

test('a stalled chain names the missing institutions, since when, and how many are needed', () => {
  const missing = [{ institution: b, silentSinceMs: at('12:04:29') }, silent]
  expect(words({ missing, stalledSinceMs: at('12:04:31'), waitsFor: 'votes', pendingBlocks: 1 })['consensus']).toBe(
    'not final since 12:04:31 UTC: 2 of 4 validators silent (hospital-b since 12:04:29, insurer-c since 12:03:02); 3 are needed',
  )
})

test('a validator that was never heard is told apart from one that fell silent, and yesterday from today', () => {
  const missing = [
    { institution: b, silentSinceMs: null },
    { institution: c, silentSinceMs: Date.parse('2027-02-28T23:59:58Z') },
  ]
  expect(words({ missing, stalledSinceMs: at('12:04:31') })['consensus']).toBe(
    'not final since 12:04:31 UTC: 2 of 4 validators silent (hospital-b never heard, insurer-c since 2027-02-28 23:59:58); 3 are needed',
  )
})

test('one silent validator of four stops nothing, and is named', () => {
  expect(words({ missing: [silent] })).toMatchObject({
    consensus: 'waits for transactions',
    silent: 'insurer-c since 12:03:02; the others are enough: 3 of 4 are needed',
  })
})

test('a chain that stalls though enough are there says what it waits for', () => {
  const stalled = { stalledSinceMs: at('12:04:31') }
  expect(words({ ...stalled, waitsFor: 'proposal' })['consensus']).toBe(
    'not final since 12:04:31 UTC: waits for the proposal of hospital-b',
  )
  expect(words({ ...stalled, waitsFor: 'votes', pendingBlocks: 2, missing: [silent] })['consensus']).toBe(
    'not final since 12:04:31 UTC: waits for votes, 2 blocks not final yet; 1 of 4 validators silent (insurer-c since 12:03:02); 3 are needed',
  )
  expect(words({ ...stalled, waitsFor: 'catching-up' })['consensus']).toContain('fetches blocks that it lacks')
})

test('a validator that halted says why and what to do', () => {
  const { consensus: text } = words({ halted: { code: 'VOTE_NOT_VALIDATOR' }, stalledSinceMs: at('12:04:31') })
  expect(text).toMatch(/^halted: .+\. .+\.$/)
})

test('a peer that has no vote says what headers and connections tell', () => {
  const away = [{ institution: b, connected: false }, ...status.members.slice(1)]
  const rows = Object.fromEntries(ledgerRows({ ...status, members: away, behind: 3 }, at('12:09:00')))
  expect(rows).toEqual({
    ledger: 'height 2417, final 2027-03-01 12:04:30 UTC, 5 min ago; 3 blocks behind',
    view: '30 of epoch 2 was the last; hospital-b leads the next',
    consensus: 'no block since 12:04:30 UTC; "peer status" at a validator says why',
    validators: 'not connected: hospital-b (1 of 4)',
  })
  expect(ledgerRows({ ...status, height: 0, view: 0 }, NOW_MS)[0]).toEqual(['ledger', 'height 0, no block yet'])
})
