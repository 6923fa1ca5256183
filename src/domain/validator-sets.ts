/**
 * What the state says of validators: who votes in which epoch, the roster that the institutions approved, what waits, and which keys
 * are suspended. Written by the machines of membership and evidence; here are keys, shapes and reads.
 *
 * @see docs/spec/membership.md
 */
import type { InstitutionId } from '../core/ids.ts'
import { INSTITUTIONS_MAX, MEMBERSHIP_QUEUE_MAX, VALIDATORS_MAX } from '../core/limits.ts'
import { type Decoder, integer, list, literal, object, optional, shapeFault } from '../core/schema.ts'
import { institutionId, signingKey } from '../ledger/fields.ts'
import type { ListOptions, StateReader, StateView } from '../ledger/state.ts'
import { uint64Bytes } from '../ledger/state.ts'
import { type Validator, validatorList } from '../ledger/validators.ts'
import type { ValidatorChange } from './validator-plan.ts'

/** Key = epoch, 8 bytes: who votes in it. */
export const VALIDATORS_NAMESPACE = 'validators'
/** Keys: `members`, `changed`, `roster`, `queue`, `early`. */
export const MEMBERSHIP_NAMESPACE = 'membership'
/** Key = consensus key, 32 bytes. */
export const SUSPENDED_NAMESPACE = 'suspended'

const utf8 = new TextEncoder()
export const MEMBERS_KEY: Uint8Array = utf8.encode('members')
/** Height of the block that changed institutions or their peers last; absent: none did. */
export const MEMBERS_CHANGED_KEY: Uint8Array = utf8.encode('changed')
export const ROSTER_KEY: Uint8Array = utf8.encode('roster')
export const QUEUE_KEY: Uint8Array = utf8.encode('queue')
/** There (true) while the next block must be the last of its epoch. */
export const EARLY_KEY: Uint8Array = utf8.encode('early')

/** The validators that the institutions approved. */
export interface Roster {
  /** First epoch in which they were: proposals name it, so that none applies to another roster than its approvers saw. */
  readonly since: number
  readonly validators: readonly Validator[]
}

/** Evidence that was accepted against a consensus key. */
export interface Suspension {
  readonly institution: InstitutionId
  /** Where the two votes were cast. */
  readonly epoch: number
  readonly view: number
  /** Of the block that accepted the evidence. */
  readonly height: number
}

const changeFields = object({
  kind: literal('add', 'rotate', 'remove'),
  institution: institutionId,
  key: optional(signingKey),
})

export const validatorChange: Decoder<ValidatorChange> = (value, path) => {
  const { institution, key, kind } = changeFields(value, path)
  if (kind === 'remove') {
    if (key !== undefined) throw shapeFault(`${path}.key`, 'no key to remove a validator')
    return { kind, institution }
  }
  if (key === undefined) throw shapeFault(`${path}.key`, 'the new consensus key')
  return { kind, institution, key }
}

const roster: Decoder<Roster> = object({ since: integer(0), validators: validatorList })
const queue = list(validatorChange, 0, MEMBERSHIP_QUEUE_MAX)
const members = list(institutionId, 1, INSTITUTIONS_MAX)
const suspension: Decoder<Suspension> = object({
  institution: institutionId,
  epoch: integer(0),
  view: integer(1),
  height: integer(1),
})

export const epochKey = (epoch: number): Uint8Array => uint64Bytes(epoch)

/** Who votes in an epoch; `undefined` for one that is to come, or so long ago that it isn't kept. */
export async function validatorsOf(view: StateView, epoch: number): Promise<readonly Validator[] | undefined> {
  const value = await view.get(VALIDATORS_NAMESPACE, epochKey(epoch))
  return value === undefined ? undefined : validatorList(value, 'validators')
}

export async function getRoster(view: StateView): Promise<Roster> {
  return roster(await view.get(MEMBERSHIP_NAMESPACE, ROSTER_KEY), 'roster')
}

/** Approved changes that wait for the end of an epoch. */
export async function approvedChanges(view: StateView): Promise<readonly ValidatorChange[]> {
  return queue((await view.get(MEMBERSHIP_NAMESPACE, QUEUE_KEY)) ?? [], 'queue')
}

/** All institutions, validators or not: each has one voice in membership. */
export async function memberIds(view: StateView): Promise<readonly InstitutionId[]> {
  return members(await view.get(MEMBERSHIP_NAMESPACE, MEMBERS_KEY), 'members')
}

/** The block that changed institutions or their peers last; 0: the genesis. */
export async function membersChangedAt(view: StateView): Promise<number> {
  return integer(0)((await view.get(MEMBERSHIP_NAMESPACE, MEMBERS_CHANGED_KEY)) ?? 0, 'membership.changed')
}

/** Approvals that put a proposal in force: more than two thirds of the institutions. */
export const approvalsNeeded = (institutions: number): number => Math.floor((institutions * 2) / 3) + 1

export async function endsEarly(view: StateView): Promise<boolean> {
  return (await view.get(MEMBERSHIP_NAMESPACE, EARLY_KEY)) === true
}

export async function getSuspension(view: StateView, key: Uint8Array): Promise<Suspension | undefined> {
  const value = await view.get(SUSPENDED_NAMESPACE, key)
  return value === undefined ? undefined : suspension(value, 'suspended')
}

/** All keys that were ever suspended. */
export async function* listSuspensions(
  reader: StateReader,
  options?: ListOptions,
): AsyncGenerator<Suspension & { readonly key: Uint8Array }> {
  for await (const { key, value } of reader.list(SUSPENDED_NAMESPACE, new Uint8Array(0), options)) {
    yield { key, ...suspension(value, 'suspended') }
  }
}

/** In what order the keys of these validators were suspended. */
export async function suspensionOrder(
  view: StateView,
  validators: readonly Validator[],
): Promise<(key: Uint8Array) => number | undefined> {
  const heights = new Map<string, number>()
  for (const { key } of validators.slice(0, VALIDATORS_MAX + MEMBERSHIP_QUEUE_MAX)) {
    const found = await getSuspension(view, key)
    if (found !== undefined) heights.set(key.join(), found.height)
  }
  return (key) => heights.get(key.join())
}
