/** When something must have happened: rules 1, 2, 8 and 9. All times are `nowMs`, of the clock that never goes back. */
import {
  CONSENSUS_DELTA_GROWTH,
  CONSENSUS_DELTA_MS_MAX,
  CONSENSUS_FULL_VIEWS_MAX,
  CONSENSUS_GROWTH_KEPT_MAX,
  CONSENSUS_GROWTH_MAX,
  CONSENSUS_SILENT_MS,
  CONSENSUS_UNFINAL_DELTAS,
} from '../core/limits.ts'
import { parentFor } from './simplex-parent.ts'
import type { Draft, SimplexState } from './simplex-state.ts'

/** Steps that Δ loses with a final block. */
const GROWTH_SHRINKS = 0.5

/** The bound on message delay that this view goes by. */
export function deltaMs({ growth, options }: SimplexState): number {
  const grown = options.deltaMs * CONSENSUS_DELTA_GROWTH ** growth
  return Math.min(grown, Math.max(CONSENSUS_DELTA_MS_MAX, options.deltaMs))
}

/** Δ after a view was entered: larger with each that was given up, and with each without finality after the first. */
export function growthInView(
  { final, growth, view }: Pick<SimplexState, 'growth' | 'view'> & { readonly final: { readonly view: number } },
  isGivenUp: boolean,
): number {
  return isGivenUp || view > final.view + 2 ? Math.min(growth + 1, CONSENSUS_GROWTH_MAX) : growth
}

/**
 * Δ after a block became final: half a step smaller. On machines or lines that are slower than was configured it stays about as
 * large as it must be: it shrinks where two views of three succeed, as they do with f leaders gone, and grows where only every
 * other does. What a long outage made of it is forgotten.
 */
export function growthAfterFinal(growth: number): number {
  return Math.min(Math.max(0, growth - GROWTH_SHRINKS), CONSENSUS_GROWTH_KEPT_MAX)
}

/**
 * When the current view's block is due, as far as this validator knows: with transactions waiting soon after the parent; with
 * none, when an idle chain moves its time on. Far above the final block not before Δ: what ends view after view at once, such as clocks
 * that disagree, then ends one in a minute, and leaves days to mend it instead of filling logs, memory and blocks within minutes.
 */
export function dueMs(draft: Draft): number {
  const { enteredMs, final, options, transactionsSinceMs, view } = draft.state
  const parent = parentFor(draft, view)
  if (parent === undefined || parent.ending !== undefined) return enteredMs
  const { id, timeMs } = parent.point
  // Block time is another clock. One that is far off must not stop the chain: no wait in a view is longer than the interval.
  const parentMs = draft.nowMs - (draft.wallMs - timeMs)
  const after = (intervalMs: number): number => Math.min(parentMs, enteredMs) + intervalMs
  const idleMs = after(options.idleIntervalMs)
  // A notarized block that didn't become final by itself does so with the next one.
  const finishMs = final.id.equals(id) ? idleMs : enteredMs + CONSENSUS_UNFINAL_DELTAS * deltaMs(draft.state)
  const busyMs =
    transactionsSinceMs === undefined ? idleMs : Math.max(transactionsSinceMs, after(options.blockIntervalMs))
  const soonestMs = enteredMs + (isFarAbove(final, view) ? deltaMs(draft.state) : 0)
  return Math.max(soonestMs, Math.min(idleMs, finishMs, busyMs))
}

/** Whether what is in the way of finality is more than some lost messages or leaders. */
export function isFarAbove(final: { readonly view: number }, view: number): boolean {
  return view > final.view + CONSENSUS_FULL_VIEWS_MAX
}

export interface Deadlines {
  /** For the leader's proposal, while there is none. */
  readonly proposalMs: number | undefined
  /** For the view. */
  readonly viewMs: number
}

export function deadlines(draft: Draft): Deadlines {
  const due = dueMs(draft)
  const { proposal } = draft.view(draft.state.view)
  // A leader that was silent for long, while a quorum was not, is given no time (rule 9).
  const delta = isSilent(draft, draft.leader(draft.state.view)) ? 0 : deltaMs(draft.state)
  if (proposal === undefined) return { proposalMs: due + 2 * delta, viewMs: due + 3 * delta }
  return { proposalMs: undefined, viewMs: Math.min(due, proposal.receivedMs) + 3 * deltaMs(draft.state) }
}

/** Whether a validator was not heard for long before the last time that a quorum was. */
export function isSilent(draft: Draft, validator: number): boolean {
  const { heardMs, me, startedMs } = draft.state
  const heard = heardMs.map((ms, index) => (index === me ? draft.nowMs : (ms ?? startedMs)))
  const quorumMs = heard.toSorted((a, b) => b - a)[draft.quorum - 1] ?? startedMs
  return quorumMs - (heard[validator] ?? startedMs) >= CONSENSUS_SILENT_MS
}
