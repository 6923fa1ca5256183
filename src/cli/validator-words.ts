/** `validators` in words: who votes, what waits, which keys are suspended, and what a proposal changes. */
import { toString } from 'uint8arrays/to-string'
import type { ValidatorChange } from '../domain/validator-plan.ts'
import type { MemberChange } from '../domain/member-changes.ts'
import type { ProposalAnswer, ValidatorsAnswer } from '../gateway/validator-routes.ts'
import { columns, timeText } from './output.ts'

type Row = readonly [string, string]

/** The whole answer to `validators list`. */
export function validatorsText(answer: ValidatorsAnswer): string {
  const { epoch, leftOut, proposals, quorum, suspended, validators, waiting } = answer
  const { institutions, approvalsNeeded } = answer
  const blocks = [
    `epoch ${epoch}, ${sinceText(answer)}; ${endText(answer)}`,
    `${validators.length} of ${institutions} institutions validate; ${quorum} must vote for a block`,
    columns(
      ['validator', 'since epoch', 'consensus key'],
      validators.map((one) => [one.institution, String(one.sinceEpoch), keyText(one.key)]),
    ),
  ]
  if (leftOut.length > 0) {
    const names = leftOut.map((one) => one.institution).join(', ')
    blocks.push(`left out for evidence against them: ${names}; each votes again with another key ("rotate")`)
  }
  if (waiting.length > 0) {
    blocks.push(`approved, for the end of an epoch:\n${waiting.map((one) => `  ${changeText(one)}`).join('\n')}`)
  }
  if (suspended.length > 0) {
    const rows = suspended.map((one) => [
      one.institution,
      `view ${one.view} of epoch ${one.epoch}`,
      `height ${one.height}`,
      keyText(one.key),
    ])
    blocks.push(columns(['suspended', 'voted twice in', 'proved at', 'consensus key'], rows))
  }
  if (proposals.length > 0) {
    const rows = proposals.map((one) => [
      one.id,
      one.by,
      one.state === 'open' ? `${one.approvals.length} of ${approvalsNeeded}` : one.state,
      [...(one.member === undefined ? [] : [memberText(one.member)]), ...one.changes.map(shortText)].join(', ') ||
        'end the epoch',
    ])
    blocks.push(columns(['proposal', 'by', 'approved', 'changes'], rows))
  }
  return blocks.join('\n\n')
}

export function proposalRows(proposal: ProposalAnswer): Row[] {
  const { approvals, approvalsNeeded, base, by, changes, expiresMs, id, institutions, now } = proposal
  const missing = approvalsNeeded - approvals.length
  const others = institutions.filter((one) => !approvals.includes(one))
  return [
    ['proposal', id],
    ['by', by],
    ...(proposal.member === undefined ? [] : [['member', memberText(proposal.member)] as const]),
    ...(changes.length === 0 ? [] : [['changes', changes.map(changeText).join(`\n${' '.repeat(10)}`)] as const]),
    [
      'in force',
      proposal.member !== undefined && changes.length === 0
        ? 'with the last approval'
        : now === true
          ? 'as soon as it is approved: it ends the epoch'
          : 'from the next epoch after its approval',
    ],
    ['approved', `${approvals.length} of ${approvalsNeeded} needed: ${approvals.join(', ')}`],
    ['missing', `${missing} of: ${others.join(', ')}`],
    ['until', `${timeText(expiresMs)} UTC, while the validators since epoch ${base} are in force`],
    ...(proposal.state === 'open' ? [] : [['state', stateText(proposal)] as const]),
  ]
}

function stateText({ state }: ProposalAnswer): string {
  return state === 'expired'
    ? 'expired: it can not be approved any more; propose again'
    : 'stale: other validators are in force since; propose again'
}

function sinceText({ since }: ValidatorsAnswer): string {
  return since.height === 0 ? 'since the genesis' : `since height ${since.height}, ${timeText(since.timeMs)} UTC`
}

function endText({ endsAtHeight, endsNow, height }: ValidatorsAnswer): string {
  return endsNow ? 'ends with the next block' : `ends with height ${endsAtHeight} (now ${height}) at the latest`
}

function changeText(change: ValidatorChange): string {
  return change.kind === 'remove'
    ? `remove ${change.institution}`
    : `${change.kind} ${change.institution} = ${keyText(change.key)}`
}

function memberText(change: MemberChange): string {
  const { institution, kind } = change
  if (kind === 'admit') {
    const { name, peers, role } = change.admitted
    return `admit ${institution} (${name}, ${role}) with ${peers.join(', ')}`
  }
  return kind === 'remove' ? `remove the institution ${institution}` : `${kind} ${institution} = ${change.peer}`
}

const shortText = ({ institution, kind }: ValidatorChange): string => `${kind} ${institution}`

const keyText = (key: Uint8Array): string => toString(key, 'base16')
