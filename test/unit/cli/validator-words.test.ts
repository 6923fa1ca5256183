import { expect, test } from 'vitest'
import { proposalRows, validatorsText } from '../../../src/cli/validator-words.ts'
import { table } from '../../../src/cli/output.ts'
import { type ChainId, parseInstitutionId, txIdOf } from '../../../src/core/ids.ts'
import type { ProposalAnswer, ValidatorsAnswer } from '../../../src/gateway/validator-routes.ts'

const id = parseInstitutionId
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte)
const MONDAY_MS = Date.UTC(2026, 10, 23, 12)

const PROPOSAL: ProposalAnswer = {
  id: txIdOf(key(7)),
  base: 3,
  by: id('city'),
  changes: [
    { kind: 'add', institution: id('lab'), key: key(5) },
    { kind: 'remove', institution: id('south') },
  ],
  now: true,
  expiresMs: MONDAY_MS,
  approvals: [id('city'), id('north')],
  state: 'open',
  approvalsNeeded: 4,
  institutions: ['city', 'north', 'south', 'east', 'lab'].map(id),
}

const ANSWER: ValidatorsAnswer = {
  chain: 'bafy' as ChainId,
  height: 3_204,
  blockTimeMs: MONDAY_MS,
  epoch: 4,
  since: { height: 3_112, timeMs: MONDAY_MS },
  endsAtHeight: 4_000,
  endsNow: false,
  base: 3,
  institutions: 5,
  approvalsNeeded: 4,
  quorum: 3,
  validators: [{ institution: id('city'), key: key(1), sinceEpoch: 0 }],
  leftOut: [{ institution: id('south'), key: key(3) }],
  waiting: [{ kind: 'rotate', institution: id('north'), key: key(6) }],
  suspended: [{ institution: id('south'), key: key(3), epoch: 3, view: 41, height: 3_100 }],
  proposals: [PROPOSAL],
}

test('the list says who votes since when, until when, what waits, and who is suspended for which view', () => {
  const text = validatorsText(ANSWER)
  for (const part of [
    'epoch 4, since height 3112, 2026-11-23 12:00:00 UTC; ends with height 4000 (now 3204) at the latest',
    '1 of 5 institutions validate; 3 must vote for a block',
    `city       0            ${'01'.repeat(32)}`,
    'left out for evidence against them: south',
    `approved, for the end of an epoch:\n  rotate north = ${'06'.repeat(32)}`,
    `south      view 41 of epoch 3  height 3100  ${'03'.repeat(32)}`,
    'city  2 of 4    add lab, remove south',
  ])
    expect(text).toContain(part)
})

test('what there is not takes no room; an approved `now` is told', () => {
  const quiet = { ...ANSWER, endsNow: true, leftOut: [], waiting: [], suspended: [], proposals: [] }
  const text = validatorsText({ ...quiet, since: { height: 0, timeMs: 0 } })
  expect(text).toContain('since the genesis; ends with the next block')
  for (const part of ['left out', 'approved', 'suspended', 'proposal']) expect(text).not.toContain(part)
})

test('a proposal says what it changes, who approved it, who may still, and until when', () => {
  const text = table(proposalRows(PROPOSAL))
  for (const part of [
    `add lab = ${'05'.repeat(32)}`,
    'remove south',
    'as soon as it is approved',
    '2 of 4 needed: city, north',
    '2 of: south, east, lab',
    '2026-11-23 12:00:00 UTC, while the validators since epoch 3 are in force',
  ])
    expect(text).toContain(part)
  expect(text).not.toContain('state')
  expect(table(proposalRows({ ...PROPOSAL, state: 'stale' }))).toContain('stale: other validators are in force')
  expect(table(proposalRows({ ...PROPOSAL, state: 'expired' }))).toContain('expired: ')
})
