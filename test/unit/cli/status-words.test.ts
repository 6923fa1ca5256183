import { expect, test } from 'vitest'
import type { ConsensusStatus } from '../../../src/consensus/status.ts'
import { type InstitutionId, parseInstitutionId } from '../../../src/core/ids.ts'
import { PeerError } from '../../../src/peer/faults.ts'
import { type LedgerStatus, ledgerRows, repairRows } from '../../../src/cli/status-words.ts'

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
  expect(words({ ...stalled, waitsFor: 'own-block' })['consensus']).toContain('its ledger is older than its votes')
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

test('a peer that catches up says how, and how far it is', () => {
  const text = (catchingUp: NonNullable<LedgerStatus['catchingUp']>): string | undefined =>
    Object.fromEntries(ledgerRows({ ...status, catchingUp }, NOW_MS))['catching up']
  expect(text({ by: 'blocks', height: 1_200, of: 5_000 })).toBe('height 1200 of 5000, by blocks')
  expect(text({ by: 'epochs', epoch: 7 })).toBe('by snapshot, follows the validators of epoch 7')
  expect(text({ by: 'snapshot', height: 9_000, chunk: 3, chunks: 40 })).toBe(
    'by snapshot of height 9000, chunk 3 of ~40',
  )
  expect(text({ by: 'headers', height: 9_000, left: 700 })).toBe('by snapshot of height 9000, 700 headers left')
  expect(
    text({ by: 'damaged', fault: new PeerError({ code: 'LEDGER_NOT_FOUND', reason: 'CHAIN_DAMAGED' }).fault }),
  ).toBe(
    'damaged: The ledger of this peer is damaged (CHAIN_DAMAGED), and no member that is connected shows that it has it. Let at least one other member be connected: the peer then rebuilds its ledger by itself. If no other has it, bring back the data folder from a copy.',
  )
})

test('repair says what is left, for how long, and what stands in the way; and nothing where nothing is', () => {
  const store = { damagedBlocks: 0 } as Parameters<typeof repairRows>[0]['store']
  const none = {
    looked: true,
    columns: 0,
    extents: 0,
    bytes: 0,
    bytesPerSecond: 0,
    mendedColumns: 5,
    mendedBytes: 9,
    fetchedBytes: 18,
    faults: {},
    notFound: 0,
  }
  expect(repairRows({ repair: none, store })).toEqual([])
  const some = {
    ...none,
    columns: 3,
    extents: 2,
    bytes: 600 * 1024 ** 2,
    bytesPerSecond: 1024 ** 2,
    minutesLeft: 10,
    survives: 1,
    faults: { EXTENT_UNAVAILABLE: 1 },
    notFound: 2,
  }
  expect(Object.fromEntries(repairRows({ repair: some, store: { ...store, damagedBlocks: 7 } }))).toEqual({
    damaged: '7 blocks await repair; 2 of them no connected member has',
    repair: '3 columns of 2 extents, 600 MiB, 10 min left at 1.0 MiB/s',
    'held up': '1 EXTENT_UNAVAILABLE',
  })
})
