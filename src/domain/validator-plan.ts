/**
 * Who votes in the next epoch: the roster that the institutions approved, with approved changes, without suspended keys.
 *
 * Two bounds. At one boundary at most f validators differ from those before (one where f is 0): the keys of those who leave stay
 * valid for the epoch that ended, and f of them in false hands can't fork it afterwards. And of a roster of n, at most f are ever
 * left out for evidence against them: what the protocol tolerates. With more, too few would decide for all; removing them is for
 * the institutions then, by approved changes.
 *
 * @see docs/spec/membership.md; docs/decisions/0055-validator-changes.md, 0065-what-the-epoch-model-says.md
 */
import { equals } from 'uint8arrays/equals'
import { VALIDATORS_MAX } from '../core/limits.ts'
import type { InstitutionId } from '../core/ids.ts'
import { type Validator, faultyMax } from '../ledger/validators.ts'

/** One change of the roster. */
export type ValidatorChange =
  | { readonly kind: 'add'; readonly institution: InstitutionId; readonly key: Uint8Array }
  | { readonly kind: 'rotate'; readonly institution: InstitutionId; readonly key: Uint8Array }
  | { readonly kind: 'remove'; readonly institution: InstitutionId }

/** Where the suspended keys stand in the order of their suspension; `undefined`: not suspended. */
export type SuspensionOrder = (key: Uint8Array) => number | undefined

export interface NextValidators {
  /** Who votes. */
  readonly validators: readonly Validator[]
  /** As the institutions approved it. */
  readonly roster: readonly Validator[]
  /** Approved changes that wait for a later boundary. */
  readonly waiting: readonly ValidatorChange[]
}

/** How many validators may differ between two epochs. */
export const changesMax = (validators: number): number => Math.max(1, faultyMax(validators))

/**
 * @param now.validators - who votes until the boundary.
 * @param now.queue - approved changes, in the order of their approval. One that makes no sense any more is passed over.
 */
export function planValidators(
  now: {
    readonly validators: readonly Validator[]
    readonly roster: readonly Validator[]
    readonly queue: readonly ValidatorChange[]
  },
  suspended: SuspensionOrder,
): NextValidators {
  const limit = changesMax(now.validators.length)
  let { roster } = now
  const waiting: ValidatorChange[] = []
  for (const change of now.queue) {
    // Changes of one institution stay in their order.
    if (waiting.some(({ institution }) => institution === change.institution)) {
      waiting.push(change)
      continue
    }
    const changed = withChange(roster, change)
    if (changed === undefined) continue
    if (differing(now.validators, standing(changed, now.validators, suspended, limit)) > limit) waiting.push(change)
    else roster = changed
  }
  return { validators: standing(roster, now.validators, suspended, limit), roster, waiting }
}

/** The roster after a change, or `undefined` where the change makes no sense. */
export function withChange(roster: readonly Validator[], change: ValidatorChange): Validator[] | undefined {
  const { institution, kind } = change
  const isThere = roster.some((one) => one.institution === institution)
  if (kind === 'remove') {
    // The last one stays: without validators nothing could ever be changed again.
    return isThere && roster.length > 1 ? roster.filter((one) => one.institution !== institution) : undefined
  }
  const { key } = change
  if (roster.some((one) => equals(one.key, key))) return undefined
  if (kind === 'rotate') {
    return isThere ? roster.map((one) => (one.institution === institution ? { institution, key } : one)) : undefined
  }
  return isThere || roster.length >= VALIDATORS_MAX ? undefined : [...roster, { institution, key }]
}

/** The roster without those who are suspended, as far as the two bounds allow. */
function standing(
  roster: readonly Validator[],
  before: readonly Validator[],
  suspended: SuspensionOrder,
  limit: number,
): Validator[] {
  const guilty = roster
    .map((one, index) => ({ one, index, order: suspended(one.key) }))
    .filter(({ order }) => order !== undefined)
    .sort((a, b) => (a.order ?? 0) - (b.order ?? 0) || a.index - b.index)
    .slice(0, faultyMax(roster.length))
    .map(({ one }) => one)
  const without = (count: number): Validator[] => roster.filter((one) => !guilty.slice(0, count).includes(one))
  let out = guilty.length
  // Who was suspended first leaves first; the others leave at the next boundary.
  while (out > 0 && differing(before, without(out)) > limit && has(before, guilty[out - 1])) out--
  return without(out)
}

/** How many institutions vote in one list and not in the other, or with another key. */
function differing(before: readonly Validator[], after: readonly Validator[]): number {
  const gone = before.filter((one) => !has(after, one))
  const come = after.filter(
    (one) => !has(before, one) && !gone.some(({ institution }) => institution === one.institution),
  )
  return gone.length + come.length
}

function has(list: readonly Validator[], wanted: Validator | undefined): boolean {
  return list.some((one) => one.institution === wanted?.institution && equals(one.key, wanted.key))
}
