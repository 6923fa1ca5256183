/**
 * Changes of the validators: proposed by one institution, approved by others, each with its admin key; in force once more than two
 * thirds of all institutions approved, from the end of an epoch on.
 *
 *   membership.propose ──► approvals ──► more than 2/3 ──► queue ──► end of the epoch: at most f changes ──► next validators
 *
 * A proposal names the roster that it changes, by the epoch since which that is in force: once the roster is another, neither
 * approvals nor the proposal count any more. An institution has one open proposal; its next takes the place of it.
 *
 * @see docs/spec/membership.md; validator-plan.ts has the rule of the boundary
 */
import { type InstitutionId, type TxId, idHash, txIdOf } from '../core/ids.ts'
import {
  EPOCH_BLOCKS,
  EPOCH_SETS_KEPT,
  INSTITUTIONS_MAX,
  MEMBERSHIP_CHANGES_MAX,
  MEMBERSHIP_PERIOD_MS_MAX,
  MEMBERSHIP_QUEUE_MAX,
} from '../core/limits.ts'
import { type Decoder, boolean, integer, list, object, optional, shapeFault } from '../core/schema.ts'
import { isPublicKey } from '../crypto/signatures.ts'
import { institutionId, timeMs, txId } from '../ledger/fields.ts'
import type { Genesis } from '../ledger/genesis.ts'
import {
  type BlockContext,
  type EpochEnd,
  type Signers,
  type StateMachine,
  type Step,
  type Tx,
  accept,
  refuse,
  txType,
} from '../ledger/machine.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { sameValidators } from '../ledger/validators.ts'
import { accountsPart, getInstitution } from './accounts.ts'
import { type MemberChange, type MemberFault, memberChange, memberStep } from './member-changes.ts'
import { type ValidatorChange, planValidators, withChange } from './validator-plan.ts'
import {
  EARLY_KEY,
  MEMBERSHIP_NAMESPACE,
  MEMBERS_KEY,
  QUEUE_KEY,
  ROSTER_KEY,
  type Roster,
  VALIDATORS_NAMESPACE,
  approvalsNeeded,
  approvedChanges,
  endsEarly,
  epochKey,
  getRoster,
  getSuspension,
  memberIds,
  suspensionOrder,
  validatorChange,
  validatorsOf,
} from './validator-sets.ts'

/** Key = hash of the proposing transaction. */
const PROPOSAL_NAMESPACE = 'membership-proposal'
/** Key = institution; value = hash of its open proposal's transaction. */
const OPEN_NAMESPACE = 'membership-open'
const PROPOSE = 'membership.propose'
const APPROVE = 'membership.approve'
const URGENT_LANE = 0

export interface MembershipPropose {
  /** `since` of the roster that is changed. */
  readonly base: number
  /** In the order they should come into force; may be none where the epoch is only to end early. */
  readonly changes: readonly ValidatorChange[]
  /** In force with the block of the last approval. */
  readonly member?: MemberChange
  /** End the epoch with the block after the approval. */
  readonly now?: boolean
  /** Block time from which approvals don't count any more. */
  readonly expiresMs: number
}

export interface MembershipApprove {
  /** Transaction that proposed it. */
  readonly proposal: TxId
}

/** A proposal that isn't approved yet. */
export interface MembershipProposal extends MembershipPropose {
  readonly by: InstitutionId
  /** The proposing one included. */
  readonly approvals: readonly InstitutionId[]
}

export type MembershipFault =
  | { code: 'MEMBERSHIP_INSTITUTION_UNKNOWN'; institution: string }
  | { code: 'MEMBERSHIP_NOT_INSTITUTION'; account: string; org: string }
  | { code: 'MEMBERSHIP_BASE_STALE'; base: number; since: number }
  | { code: 'MEMBERSHIP_EXPIRED'; expiresMs: number; blockTimeMs: number }
  | { code: 'MEMBERSHIP_PERIOD_TOO_LONG'; expiresMs: number; latestMs: number }
  | { code: 'MEMBERSHIP_CHANGE_IMPOSSIBLE'; index: number; kind: string; institution: string }
  | { code: 'MEMBERSHIP_KEY_INVALID'; index: number }
  | { code: 'MEMBERSHIP_KEY_SUSPENDED'; index: number; institution: string }
  | { code: 'MEMBERSHIP_PROPOSAL_UNKNOWN'; proposal: string }
  | { code: 'MEMBERSHIP_APPROVED_ALREADY'; institution: string }
  | { code: 'MEMBERSHIP_QUEUE_FULL'; waiting: number; waitingMax: number }

const utf8 = new TextEncoder()

const proposeFields = {
  base: integer(0),
  changes: list(validatorChange, 0, MEMBERSHIP_CHANGES_MAX),
  member: optional(memberChange),
  now: optional(boolean),
  expiresMs: timeMs,
} as const
const anyPropose = object(proposeFields)
const propose: Decoder<MembershipPropose> = (value, path) => {
  const given = anyPropose(value, path)
  if (given.changes.length === 0 && given.member === undefined && given.now !== true) {
    throw shapeFault(`${path}.changes`, 'a change, or now')
  }
  return given
}
const approve: Decoder<MembershipApprove> = object({ proposal: txId })
const stored: Decoder<MembershipProposal> = object({
  ...proposeFields,
  by: institutionId,
  approvals: list(institutionId, 1, INSTITUTIONS_MAX),
})

export const membershipMachine: StateMachine = {
  namespaces: [
    ...accountsPart.namespaces,
    MEMBERSHIP_NAMESPACE,
    VALIDATORS_NAMESPACE,
    PROPOSAL_NAMESPACE,
    OPEN_NAMESPACE,
  ],
  types: {
    ...accountsPart.types,
    [PROPOSE]: txType({ lane: URGENT_LANE, payload: propose, signers: adminSigner, apply: applyPropose }),
    [APPROVE]: txType({ lane: URGENT_LANE, payload: approve, signers: adminSigner, apply: applyApprove }),
  },
  genesis: (genesis) => [...accountsPart.genesis(genesis), ...genesisChanges(genesis)],
  epochEnd,
}

/** Signed by the admin key of the institution, in the name of the institution's account. */
export function draftMembershipPropose(payload: MembershipPropose): DraftTx {
  return { lane: URGENT_LANE, type: PROPOSE, payload }
}

/** Signed as the proposal is, by another institution. */
export function draftMembershipApprove(payload: MembershipApprove): DraftTx {
  return { lane: URGENT_LANE, type: APPROVE, payload }
}

/** A proposal that waits for approvals; `undefined` once it is approved or replaced. */
export async function getMembershipProposal(view: StateView, id: TxId): Promise<MembershipProposal | undefined> {
  const value = await view.get(PROPOSAL_NAMESPACE, idHash(id))
  return value === undefined ? undefined : stored(value, 'proposal')
}

/** All proposals that wait for approvals, also those whose time or whose roster is over: they stay until they are replaced. */
export async function* openProposals(view: StateView): AsyncGenerator<MembershipProposal & { readonly id: TxId }> {
  for (const institution of await memberIds(view)) {
    const hash = await view.get(OPEN_NAMESPACE, utf8.encode(institution))
    if (!(hash instanceof Uint8Array)) continue
    const id = txIdOf(hash)
    const proposal = await getMembershipProposal(view, id)
    if (proposal !== undefined) yield { id, ...proposal }
  }
}

async function adminSigner(view: StateView, tx: Tx<unknown>): Promise<Signers> {
  const no = (fault: MembershipFault): Signers => ({ ok: false, fault })
  const institution = await getInstitution(view, tx.org)
  if (institution === undefined) return no({ code: 'MEMBERSHIP_INSTITUTION_UNKNOWN', institution: tx.org })
  if (institution.account !== tx.account) {
    return no({ code: 'MEMBERSHIP_NOT_INSTITUTION', account: tx.account, org: tx.org })
  }
  return { ok: true, keys: [institution.adminKey] }
}

async function applyPropose(
  view: StateView,
  tx: Tx<MembershipPropose>,
  block: BlockContext,
): Promise<Step<MemberFault | MembershipFault>> {
  const { org, payload } = tx
  const { expiresMs } = payload
  const latestMs = block.timeMs + MEMBERSHIP_PERIOD_MS_MAX
  if (expiresMs > latestMs) return refuse({ code: 'MEMBERSHIP_PERIOD_TOO_LONG', expiresMs, latestMs })
  const roster = await getRoster(view)
  const fault = staleFault(payload, roster, block) ?? (await changesFault(view, roster, payload.changes))
  if (fault !== undefined) return refuse(fault)
  const before = await view.get(OPEN_NAMESPACE, utf8.encode(org))
  const replaced: StateChange[] =
    before instanceof Uint8Array ? [{ namespace: PROPOSAL_NAMESPACE, key: before, value: undefined }] : []
  const proposal: MembershipProposal = { ...payload, by: org, approvals: [org] }
  const step = await afterApproval(view, tx.hash, proposal, block)
  return step.ok ? accept([...replaced, ...step.changes]) : step
}

async function applyApprove(
  view: StateView,
  tx: Tx<MembershipApprove>,
  block: BlockContext,
): Promise<Step<MemberFault | MembershipFault>> {
  const { org, payload } = tx
  const proposal = await getMembershipProposal(view, payload.proposal)
  if (proposal === undefined) return refuse({ code: 'MEMBERSHIP_PROPOSAL_UNKNOWN', proposal: payload.proposal })
  const roster = await getRoster(view)
  const stale = staleFault(proposal, roster, block)
  if (stale !== undefined) return refuse(stale)
  if (proposal.approvals.includes(org)) return refuse({ code: 'MEMBERSHIP_APPROVED_ALREADY', institution: org })
  // Asked with each approval: who was a member when it was proposed may be none now, and would get a seat that its peers can't fill.
  const fault = await changesFault(view, roster, proposal.changes)
  if (fault !== undefined) return refuse(fault)
  return afterApproval(view, idHash(payload.proposal), { ...proposal, approvals: [...proposal.approvals, org] }, block)
}

function staleFault(proposal: MembershipPropose, roster: Roster, block: BlockContext): MembershipFault | undefined {
  const { base, expiresMs } = proposal
  if (base !== roster.since) return { code: 'MEMBERSHIP_BASE_STALE', base, since: roster.since }
  if (expiresMs <= block.timeMs) return { code: 'MEMBERSHIP_EXPIRED', expiresMs, blockTimeMs: block.timeMs }
  return undefined
}

/** Whether the changes make sense one after the other, on this roster. */
async function changesFault(
  view: StateView,
  { validators }: Roster,
  changes: readonly ValidatorChange[],
): Promise<MembershipFault | undefined> {
  let roster = validators
  for (const [index, change] of changes.entries()) {
    const { institution, kind } = change
    // A seat can be taken away whoever has it: the peers of one that was removed are strangers, and nobody would ever fill it.
    const isSeat = kind === 'remove' && roster.some((one) => one.institution === institution)
    if (!isSeat && (await getInstitution(view, institution)) === undefined) {
      return { code: 'MEMBERSHIP_INSTITUTION_UNKNOWN', institution }
    }
    if (change.kind !== 'remove') {
      if (!isPublicKey(change.key)) return { code: 'MEMBERSHIP_KEY_INVALID', index }
      if ((await getSuspension(view, change.key)) !== undefined) {
        return { code: 'MEMBERSHIP_KEY_SUSPENDED', index, institution }
      }
    }
    const changed = withChange(roster, change)
    if (changed === undefined) return { code: 'MEMBERSHIP_CHANGE_IMPOSSIBLE', index, kind, institution }
    roster = changed
  }
  return undefined
}

/** Keeps the proposal, or, with more than two thirds of the institutions behind it, does what it says. */
async function afterApproval(
  view: StateView,
  hash: Uint8Array,
  proposal: MembershipProposal,
  block: BlockContext,
): Promise<Step<MemberFault | MembershipFault>> {
  const open = { namespace: OPEN_NAMESPACE, key: utf8.encode(proposal.by) }
  const record = { namespace: PROPOSAL_NAMESPACE, key: hash }
  const { changes, member } = proposal
  // Asked again with the last approval: others may have come and gone since the first.
  const step = member === undefined ? { changes: [] } : await memberStep(view, member, block)
  if ('code' in step) return refuse(step)
  const members = await memberIds(view)
  // Who was removed has no voice any more.
  const voices = proposal.approvals.filter((one) => members.includes(one))
  if (voices.length < approvalsNeeded(members.length)) {
    return accept([
      { ...record, value: proposal },
      { ...open, value: hash },
    ])
  }
  const before = await approvedChanges(view)
  const leaving = member?.kind === 'remove' ? await seatOf(view, member.institution, [...before, ...changes]) : []
  const queue = [...before, ...changes, ...leaving]
  if (queue.length > MEMBERSHIP_QUEUE_MAX) {
    return refuse({ code: 'MEMBERSHIP_QUEUE_FULL', waiting: before.length, waitingMax: MEMBERSHIP_QUEUE_MAX })
  }
  if (member?.kind === 'remove' && (await keepsSeat(view, member.institution, queue)))
    return refuse({ code: 'MEMBER_LAST_VALIDATOR', institution: member.institution })
  return accept([
    { ...record, value: undefined },
    { ...open, value: undefined },
    ...(member === undefined || queue.length > before.length
      ? [{ namespace: MEMBERSHIP_NAMESPACE, key: QUEUE_KEY, value: queue }]
      : []),
    ...(proposal.now === true ? [{ namespace: MEMBERSHIP_NAMESPACE, key: EARLY_KEY, value: true }] : []),
    ...step.changes,
  ])
}

/** What takes the validator's seat from an institution, where it has one or is about to get one. */
async function seatOf(
  view: StateView,
  institution: InstitutionId,
  coming: readonly ValidatorChange[],
): Promise<readonly ValidatorChange[]> {
  const { validators } = await getRoster(view)
  return [...validators, ...coming].some((one) => one.institution === institution)
    ? [{ kind: 'remove', institution }]
    : []
}

/** Whether it has a seat after all of that: the last one can't be taken away. */
async function keepsSeat(
  view: StateView,
  institution: InstitutionId,
  queue: readonly ValidatorChange[],
): Promise<boolean> {
  let { validators } = await getRoster(view)
  for (const change of queue) validators = withChange(validators, change) ?? validators
  return validators.some((one) => one.institution === institution)
}

/** Ends the epoch at every 1,000th block, and with the block after an approved `now`; says who votes next. */
async function epochEnd(
  view: StateView,
  block: { readonly height: number; readonly epoch: number },
): Promise<EpochEnd | undefined> {
  const isEarly = await endsEarly(view)
  if (block.height % EPOCH_BLOCKS !== 0 && !isEarly) return undefined
  const roster = await getRoster(view)
  const queue = await approvedChanges(view)
  const validators = (await validatorsOf(view, block.epoch)) ?? roster.validators
  const coming = queue.flatMap((change) => (change.kind === 'remove' ? [] : [change]))
  const suspended = await suspensionOrder(view, [...roster.validators, ...coming])
  const next = planValidators({ validators, roster: roster.validators, queue }, suspended)
  const epoch = block.epoch + 1
  const membership = (key: Uint8Array, value: unknown): StateChange => ({ namespace: MEMBERSHIP_NAMESPACE, key, value })
  const epochSet = (of: number, value: unknown): StateChange => ({
    namespace: VALIDATORS_NAMESPACE,
    key: epochKey(of),
    value,
  })
  const isNewRoster = !sameValidators(next.roster, roster.validators)
  return {
    validators: next.validators,
    changes: [
      epochSet(epoch, next.validators),
      ...(epoch >= EPOCH_SETS_KEPT ? [epochSet(epoch - EPOCH_SETS_KEPT, undefined)] : []),
      ...(isNewRoster ? [membership(ROSTER_KEY, { since: epoch, validators: next.roster })] : []),
      ...(queue.length > 0 ? [membership(QUEUE_KEY, next.waiting.length > 0 ? next.waiting : undefined)] : []),
      ...(isEarly ? [membership(EARLY_KEY, undefined)] : []),
    ],
  }
}

function genesisChanges({ institutions, validators }: Genesis): StateChange[] {
  const members = institutions.map(({ id }) => id).toSorted()
  const set = validators.map(({ institution, key }) => ({ institution, key }))
  return [
    { namespace: MEMBERSHIP_NAMESPACE, key: MEMBERS_KEY, value: members },
    { namespace: MEMBERSHIP_NAMESPACE, key: ROSTER_KEY, value: { since: 0, validators: set } },
    { namespace: VALIDATORS_NAMESPACE, key: epochKey(0), value: set },
  ]
}
