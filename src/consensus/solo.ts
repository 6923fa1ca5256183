/**
 * Consensus of one validator: the n = 1 case of the protocol, as a pure step. It makes no I/O and reads no clock; what it
 * wants done are effects, what was done are events.
 *
 *   waiting --(due)--> building --built--> saving --saved--> signing --signed--> committing --committed--> waiting
 *
 * Rule 2 decides when a block is due: with transactions waiting, `blockIntervalMs` after the parent; with none,
 * `idleIntervalMs` after it. That idle block keeps block time moving, which grants and expiries are judged by.
 *
 * Safety: at most one block is ever signed at a height. A proposal is saved durably before it is signed, and a state that
 * starts with a saved proposal goes straight to signing it again; building never begins while one is there. Ed25519 is
 * deterministic, so signing the same block twice gives the same signature.
 *
 * With q = 1 the notarize round adds nothing: the one signature that finalizes is the whole quorum, and a finalize
 * certificate justifies the next block as well as a notarize certificate does.
 *
 * @see docs/decisions/0033-idle-blocks.md, 0036-solo-consensus.md
 */
import type { CID } from 'multiformats/cid'
import { CodedError } from '../core/coded-error.ts'
import { type Certificate, certificateOfVotes } from '../ledger/certificate.ts'
import type { ValidatorSet } from '../ledger/validators.ts'
import type { Ballot, Vote } from '../ledger/vote.ts'

export interface SoloOptions {
  /** From the parent's time to a block with transactions. @default 150 */
  readonly blockIntervalMs: number
  /** From the parent's time to a block without. @default 10000 */
  readonly idleIntervalMs: number
}

export const SOLO_DEFAULTS: SoloOptions = { blockIntervalMs: 150, idleIntervalMs: 10_000 }

/** The block that the next one follows. */
export interface SoloParent {
  readonly height: number
  readonly view: number
  readonly timeMs: number
}

/** A block as far as consensus looks at it. */
export interface SoloBlock {
  readonly id: CID
  readonly epoch: number
  readonly view: number
  readonly height: number
}

export type SoloPhase =
  | { readonly name: 'waiting' }
  | { readonly name: 'building'; readonly view: number }
  | { readonly name: 'saving' | 'signing'; readonly block: SoloBlock }
  | { readonly name: 'committing'; readonly block: SoloBlock; readonly certificate: Certificate }

export interface SoloState {
  readonly parent: SoloParent
  /** The validators of the next block: this one alone. */
  readonly set: ValidatorSet
  readonly transactionsWait: boolean
  readonly phase: SoloPhase
}

export type SoloEvent =
  /** The time, when a timer that was asked for has run out, or at any other moment. */
  | { readonly type: 'time'; readonly nowMs: number }
  /** Transactions came, or none are left. */
  | { readonly type: 'transactions'; readonly nowMs: number; readonly wait: boolean }
  /** The block that was asked for is executed; nothing of it is stored. */
  | { readonly type: 'built'; readonly block: SoloBlock }
  /** None of the transactions that waited had a place in a block; nothing was built. */
  | { readonly type: 'nothing-to-build'; readonly nowMs: number }
  /** The proposal is durable. */
  | { readonly type: 'saved' }
  | { readonly type: 'signed'; readonly vote: Vote }
  /** Certificate, block and state are durable. */
  | {
      readonly type: 'committed'
      readonly nowMs: number
      readonly parent: SoloParent
      readonly set: ValidatorSet
      readonly transactionsWait: boolean
    }

export type SoloEffect =
  /** Execute a block; answer `built`, or for transactions `nothing-to-build`. */
  | { readonly type: 'build'; readonly for: 'transactions' | 'idle'; readonly view: number; readonly timeMs: number }
  /** Store header and body durably; answer `saved`. */
  | { readonly type: 'save'; readonly block: SoloBlock }
  /** Answer `signed`. */
  | { readonly type: 'sign'; readonly ballot: Ballot }
  /** Store the block with its certificate and state durably; answer `committed`. */
  | { readonly type: 'commit'; readonly block: SoloBlock; readonly certificate: Certificate }
  /** Tell the others; no answer. */
  | { readonly type: 'broadcast'; readonly block: SoloBlock; readonly certificate: Certificate }
  /** Send `time` at this time; takes the place of any earlier timer. */
  | { readonly type: 'timer'; readonly atMs: number }

export interface SoloStep {
  readonly state: SoloState
  readonly effects: readonly SoloEffect[]
}

export type SoloFault =
  | { code: 'CONSENSUS_EVENT_OUT_OF_ORDER'; event: string; phase: string }
  | { code: 'CONSENSUS_NOT_SOLO'; validators: number }
  | { code: 'CONSENSUS_BLOCK_WRONG'; view: number; expected: number }
  | { code: 'CONSENSUS_VOTE_WRONG'; view: number }
export class SoloError extends CodedError<SoloFault> {}

/**
 * Begins, or begins again after a restart.
 *
 * @param at.saved - the proposal that was saved for the next block; it is signed, whatever waits.
 * @throws {SoloError} `CONSENSUS_NOT_SOLO`
 */
export function startSolo(
  at: {
    readonly nowMs: number
    readonly parent: SoloParent
    readonly set: ValidatorSet
    readonly transactionsWait: boolean
    readonly saved?: SoloBlock
  },
  options: SoloOptions = SOLO_DEFAULTS,
): SoloStep {
  const { nowMs, parent, saved, transactionsWait } = at
  const state: SoloState = { parent, set: checkSolo(at.set), transactionsWait, phase: { name: 'waiting' } }
  return saved === undefined ? whenDue(state, nowMs, options) : signing(state, saved)
}

/**
 * @throws {SoloError} `CONSENSUS_EVENT_OUT_OF_ORDER` for an answer to something that wasn't asked; the other codes for an
 *   answer that doesn't fit
 */
export function stepSolo(state: SoloState, event: SoloEvent, options: SoloOptions = SOLO_DEFAULTS): SoloStep {
  const { phase } = state
  switch (event.type) {
    case 'time':
      return phase.name === 'waiting' ? whenDue(state, event.nowMs, options) : { state, effects: [] }
    case 'transactions': {
      const next = { ...state, transactionsWait: event.wait }
      return phase.name === 'waiting' ? whenDue(next, event.nowMs, options) : { state: next, effects: [] }
    }
    case 'built': {
      if (phase.name !== 'building') throw outOfOrder(event, phase)
      const { block } = event
      if (block.view !== phase.view || block.height !== state.parent.height + 1) {
        throw new SoloError({ code: 'CONSENSUS_BLOCK_WRONG', view: block.view, expected: phase.view })
      }
      return { state: { ...state, phase: { name: 'saving', block } }, effects: [{ type: 'save', block }] }
    }
    case 'nothing-to-build':
      if (phase.name !== 'building') throw outOfOrder(event, phase)
      return whenDue({ ...state, transactionsWait: false, phase: { name: 'waiting' } }, event.nowMs, options)
    case 'saved':
      if (phase.name !== 'saving') throw outOfOrder(event, phase)
      return signing(state, phase.block)
    case 'signed':
      if (phase.name !== 'signing') throw outOfOrder(event, phase)
      return committing(state, phase.block, event.vote)
    case 'committed': {
      if (phase.name !== 'committing') throw outOfOrder(event, phase)
      const { block, certificate } = phase
      const { nowMs, parent, transactionsWait } = event
      const next: SoloState = { parent, set: checkSolo(event.set), transactionsWait, phase: { name: 'waiting' } }
      const step = whenDue(next, nowMs, options)
      // Told only now: what others hear of is durable here.
      return { state: step.state, effects: [{ type: 'broadcast', block, certificate }, ...step.effects] }
    }
    default:
      return event satisfies never
  }
}

/** Rule 2: builds if a block is due, else asks to be woken when it will be. */
function whenDue(state: SoloState, nowMs: number, options: SoloOptions): SoloStep {
  const { parent, transactionsWait } = state
  const intervalMs = transactionsWait ? options.blockIntervalMs : options.idleIntervalMs
  // Against the parent's time, not a monotonic clock: with a clock that was set back this waits until the wall clock has
  // caught up, since a block must not be earlier than its parent, and others refuse one that is ahead of their time.
  const dueMs = parent.timeMs + intervalMs
  if (nowMs < dueMs) return { state, effects: [{ type: 'timer', atMs: dueMs }] }
  const view = parent.view + 1
  const timeMs = Math.max(nowMs, parent.timeMs + 1)
  return {
    state: { ...state, phase: { name: 'building', view } },
    effects: [{ type: 'build', for: transactionsWait ? 'transactions' : 'idle', view, timeMs }],
  }
}

function signing(state: SoloState, block: SoloBlock): SoloStep {
  const ballot = ballotOf(block)
  return { state: { ...state, phase: { name: 'signing', block } }, effects: [{ type: 'sign', ballot }] }
}

function committing(state: SoloState, block: SoloBlock, vote: Vote): SoloStep {
  const certificate = certificateOfVotes(ballotOf(block), [vote], state.set)
  if (certificate === undefined) throw new SoloError({ code: 'CONSENSUS_VOTE_WRONG', view: vote.view })
  return {
    state: { ...state, phase: { name: 'committing', block, certificate } },
    effects: [{ type: 'commit', block, certificate }],
  }
}

function ballotOf(block: SoloBlock): Ballot {
  return { epoch: block.epoch, view: block.view, kind: 'finalize', block: block.id }
}

function checkSolo(set: ValidatorSet): ValidatorSet {
  const validators = set.validators.length
  if (validators !== 1) throw new SoloError({ code: 'CONSENSUS_NOT_SOLO', validators })
  return set
}

function outOfOrder(event: SoloEvent, phase: SoloPhase): SoloError {
  return new SoloError({ code: 'CONSENSUS_EVENT_OUT_OF_ORDER', event: event.type, phase: phase.name })
}
