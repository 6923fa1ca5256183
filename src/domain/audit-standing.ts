/**
 * How each storage peer stands: when it last proved what it holds, since when it is silent, what it is accused of, whether it failed.
 *
 * @see docs/spec/audits.md; audit-rounds.ts has the rules
 */
import { AUDIT_COMMITTEE, EXTENTS_MAX } from '../core/limits.ts'
import { type Decoded, integer, list, object } from '../core/schema.ts'
import { cborLink, timeMs } from '../ledger/fields.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import { leafNumber, stripeNumber } from './audit-proof.ts'
import { column } from './shard-receipt.ts'
import { uint16Bytes } from './storage-state.ts'

/** Key = number of a storage peer; absent: never audited. */
export const AUDIT_STANDING_NAMESPACE = 'audit-standing'

/** A leaf that a committee member didn't get, or got wrong. */
export const namedLeaf = object({
  manifest: cborLink,
  index: integer(0, EXTENTS_MAX - 1),
  stripe: stripeNumber,
  column,
  leaf: leafNumber,
})
export type NamedLeaf = Decoded<typeof namedLeaf>

const storedStanding = object({
  /** Block time of the last audit that it passed; 0: none yet. */
  provenMs: timeMs,
  /** Block time of the first audit in a row that it didn't answer; 0: it answers. */
  silentMs: timeMs,
  /** Block time until which it may appeal; 0: it isn't accused. */
  accusedMs: timeMs,
  /** What it must show until then. */
  leaves: list(namedLeaf, 0, AUDIT_COMMITTEE),
  /** Block time at which it failed; 0: it hasn't, or has proven itself since. */
  failedMs: timeMs,
})
export type Standing = Decoded<typeof storedStanding>

export const NEVER_AUDITED: Standing = { provenMs: 0, silentMs: 0, accusedMs: 0, leaves: [], failedMs: 0 }

/** @param number - of a storage peer. */
export async function getStanding(view: StateView, number: number): Promise<Standing> {
  const value = await view.get(AUDIT_STANDING_NAMESPACE, uint16Bytes(number))
  return value === undefined ? NEVER_AUDITED : storedStanding(value, 'audit-standing')
}

export function standingChange(number: number, standing: Standing): StateChange {
  return { namespace: AUDIT_STANDING_NAMESPACE, key: uint16Bytes(number), value: standing }
}
