/** What an operator is told of a validator's consensus, worked out from its state. */
import type { InstitutionId } from '../core/ids.ts'
import { LEDGER_STALL_MS } from '../core/limits.ts'
import { quorumOf } from '../ledger/validators.ts'
import type { EventTime } from './simplex-events.ts'
import { Draft, type SimplexState } from './simplex-state.ts'
import { dueMs } from './simplex-timers.ts'
import type { ConsensusStatus, MissingValidator, WaitsFor } from './status.ts'

/** @param behind - how many final blocks this peer knows to lack. */
export function statusOf(state: SimplexState, at: EventTime, behind: number): ConsensusStatus {
  const { blocks, final, halted, set, view } = state
  const draft = new Draft(state, at)
  const stalledMs = stalledSince(state, at.nowMs)
  const wall = (ms: number): number => Math.round(at.wallMs - (at.nowMs - ms))
  return {
    epoch: set.epoch,
    view,
    leader: institutionAt(state, draft.leader(view)),
    height: final.height,
    finalTimeMs: final.timeMs,
    validates: halted === undefined,
    pendingBlocks: blocks.size,
    waitsFor: behind > 0 ? 'catching-up' : waitsFor(draft),
    missing: missing(state, at.nowMs, stalledMs !== undefined).map(
      ({ heard, index }): MissingValidator => ({
        institution: institutionAt(state, index),
        silentSinceMs: heard === undefined ? null : wall(heard),
      }),
    ),
    stalledSinceMs: stalledMs === undefined ? null : wall(stalledMs),
    quorum: quorumOf(set.validators.length),
    ...(halted === undefined
      ? {}
      : { halted: { code: halted === 'state-differs' ? 'CONSENSUS_STATE_DIFFERS' : 'CONSENSUS_KEY_ELSEWHERE' } }),
  }
}

function waitsFor(draft: Draft): WaitsFor {
  if (lacksOwnBlock(draft.state)) return 'own-block'
  const { view } = draft.state
  const { own, proposal } = draft.view(view)
  if (proposal !== undefined || own.nullified) return 'votes'
  if (draft.nowMs < dueMs(draft)) return draft.state.transactionsSinceMs === undefined ? 'transactions' : 'nothing'
  return 'proposal'
}

/** Votes up to `floorView` are forgotten: they were made on blocks that were final then. */
function lacksOwnBlock({ blocks, final, floorView, views }: SimplexState): boolean {
  if (floorView > final.view) return true
  return [...views.values()].some(({ own }) => own.finalized !== undefined && !blocks.has(own.finalized.toString()))
}

/** Since when a block is due and none becomes final, if that is long. */
function stalledSince(state: SimplexState, nowMs: number): number | undefined {
  const { finalMs, options, transactionsSinceMs } = state
  const dueMs =
    transactionsSinceMs === undefined ? finalMs + options.idleIntervalMs : Math.max(finalMs, transactionsSinceMs)
  return nowMs - dueMs > LEDGER_STALL_MS ? dueMs : undefined
}

/** Validators that should have been heard by now: in a quiet chain each is with every idle block. */
function missing(
  state: SimplexState,
  nowMs: number,
  isStalled: boolean,
): { readonly index: number; readonly heard: number | undefined }[] {
  const patienceMs = isStalled ? LEDGER_STALL_MS : state.options.idleIntervalMs + LEDGER_STALL_MS
  return state.heardMs.flatMap((heard, index) => {
    if (index === state.me) return []
    return heard !== undefined && nowMs - heard <= patienceMs ? [] : [{ index, heard }]
  })
}

function institutionAt(state: SimplexState, index: number): InstitutionId {
  const validator = state.set.validators[index]
  if (validator === undefined) throw new RangeError(`no validator ${index}`)
  return validator.institution
}
