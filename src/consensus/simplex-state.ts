/**
 * What a validator knows of the views above the newest final block: blocks, votes, certificates, and what it did itself.
 *
 * `SimplexState` is never changed; a step works on a `Draft` of it, which copies what it touches.
 */
import type { CID } from 'multiformats/cid'
import { CodecError } from '../core/codec.ts'
import { type Justification, bodyCid, decodeBody } from '../ledger/block-body.ts'
import type { Certificate } from '../ledger/certificate.ts'
import { type Header, decodeHeader, headerId } from '../ledger/header.ts'
import { type ValidatorSet, leaderOrder, quorumOf } from '../ledger/validators.ts'
import type { Ballot, Vote } from '../ledger/vote.ts'
import type { SimplexEffect } from './simplex-events.ts'

export interface SimplexOptions {
  /** Bound on message delay that the timers start from. @default 150 */
  readonly deltaMs: number
  /** From the parent's time to a block with transactions. @default 150 */
  readonly blockIntervalMs: number
  /** From the parent's time to a block without. @default 10000 */
  readonly idleIntervalMs: number
}

export const SIMPLEX_DEFAULTS: SimplexOptions = { deltaMs: 150, blockIntervalMs: 150, idleIntervalMs: 10_000 }

/** A block that is not final, as it came. */
export interface Block {
  readonly id: CID
  readonly header: Header
  readonly headerBytes: Uint8Array
  readonly body: Uint8Array
  readonly justify: Justification
}

/** `held`: not executed yet; `later`: to be tried again; `valid`: its roots are what executing it gives. */
export type BlockStatus = 'held' | 'executing' | 'later' | 'valid' | 'invalid'

export interface HeldBlock {
  readonly block: Block
  readonly status: BlockStatus
}

/** The newest final block, or the genesis (height 0). */
export interface FinalPoint {
  readonly id: CID
  readonly height: number
  /** Of its header; 0 for the genesis. The epoch's views go on from here. */
  readonly view: number
  readonly timeMs: number
  /** `null` for the genesis. */
  readonly certificate: Certificate | null
}

/** Votes for one ballot. */
export interface BallotBox {
  readonly ballot: Ballot
  /** By signer; `true`: its signature was checked. */
  readonly votes: ReadonlyMap<number, { readonly vote: Vote; readonly checked: boolean }>
  readonly checking: boolean
}

/** A leader's proposal for a view: a new block, or one that ends the epoch and is proposed again. */
export interface ViewProposal {
  readonly block: CID
  /** Why the block may stand in this view; for a new block, what its body says. Let go with the view. */
  readonly justify: Justification
  /** Whether every certificate of `justify` was verified. */
  readonly justified: 'checking' | 'yes' | 'no'
  readonly receivedMs: number
  /** By the clock that blocks' times are held against. */
  readonly receivedWallMs: number
}

export type HaltReason = 'key-in-use-elsewhere' | 'state-differs'

/** What this validator did in a view; set when it decides to, before it is durable and sent. */
export interface OwnVotes {
  readonly notarized?: CID
  readonly finalized?: CID
  readonly nullified: boolean
  /** A block was asked for, or proposed. */
  readonly proposed: boolean
}

export interface ViewState {
  readonly proposal?: ViewProposal
  readonly notarization?: Certificate
  readonly nullification?: Certificate
  readonly finalization?: Certificate
  /** By kind and block: see `boxKey`. */
  readonly boxes: ReadonlyMap<string, BallotBox>
  readonly own: OwnVotes
}

/** A block that is known by its certificate only. */
export interface Wanted {
  readonly block: CID
  /** Validators that should have it, in the order they are asked. */
  readonly from: readonly number[]
  readonly asked: number
  readonly askedMs: number
}

export interface SimplexState {
  readonly options: SimplexOptions
  readonly set: ValidatorSet
  /** Validators in the order of their turns to lead. */
  readonly order: readonly number[]
  /** This validator's index in `set`. */
  readonly me: number
  readonly final: FinalPoint
  readonly view: number
  readonly enteredMs: number
  /** Steps that Δ has grown: with each view without finality after the first, and back with each final block. */
  readonly growth: number
  /** Views above the final block's. */
  readonly views: ReadonlyMap<number, ViewState>
  /** Blocks above the final one, by id. */
  readonly blocks: ReadonlyMap<string, HeldBlock>
  readonly wanted: ReadonlyMap<string, Wanted>
  /** Since when transactions wait that a block could take, or `undefined` where none do. */
  readonly transactionsSinceMs: number | undefined
  /** When this validator began with the epoch. */
  readonly startedMs: number
  /** Votes up to this view are forgotten, and none are made. */
  readonly floorView: number
  /** When each validator was heard last; `undefined`: not since then. */
  readonly heardMs: readonly (number | undefined)[]
  /** Validators that sent a signature which is not theirs, or a certificate that doesn't hold. */
  readonly banned: readonly number[]
  /** When this validator asked or answered each other last, so that it does so once in Δ. */
  readonly askedMs: readonly (number | undefined)[]
  readonly answeredMs: readonly (number | undefined)[]
  /** Block whose finalizing was asked for. */
  readonly committing: string | undefined
  /** When the newest block became final. */
  readonly finalMs: number
  /** When to send again what is above the final block. */
  readonly resendMs: number
  readonly timerMs: number | undefined
  /** Why this key must not sign any more. */
  readonly halted: HaltReason | undefined
  /** Certificates that were adopted since the last vote: they are logged with the next. */
  readonly unlogged: readonly Certificate[]
  /** Certificates that were formed here, and when they go to those who show no sign of them by then (rule 7). */
  readonly handing: readonly { readonly certificate: Certificate; readonly dueMs: number }[]
}

/** Of a proposal whose view is over: what stood there is needed no more. */
export const NOT_JUSTIFIED: Justification = { parentCert: null, nullifyCerts: [] }

export const NO_VIEW: ViewState = {
  boxes: new Map(),
  own: { nullified: false, proposed: false },
}

/** Whether nothing may follow the block before it is final. */
export const isLastOfEpoch = (header: Header): boolean => header.nextValidators !== undefined

/** A block as it came, if its parts are blocks' parts and belong together; nothing else of it is checked. */
export function readBlock(headerBytes: Uint8Array, bodyBytes: Uint8Array): Block | undefined {
  try {
    const header = decodeHeader(headerBytes)
    if (!bodyCid(bodyBytes).equals(header.body)) return undefined
    const { justify } = decodeBody(bodyBytes)
    return { id: headerId(headerBytes), header, headerBytes, body: bodyBytes, justify }
  } catch (error) {
    if (error instanceof CodecError) return undefined
    throw error
  }
}

export const boxKey = (ballot: Pick<Ballot, 'kind' | 'block'>): string => `${ballot.kind} ${ballot.block ?? ''}`

/** A step's working copy: reads go to the newest values, writes copy what they change. */
export class Draft {
  readonly effects: SimplexEffect[] = []
  state: SimplexState
  readonly nowMs: number
  /** Wall clock: what block times are held against. */
  readonly wallMs: number

  constructor(state: SimplexState, at: { readonly nowMs: number; readonly wallMs: number }) {
    this.state = state
    this.nowMs = at.nowMs
    this.wallMs = at.wallMs
  }

  get quorum(): number {
    return quorumOf(this.state.set.validators.length)
  }

  set(change: Partial<SimplexState>): void {
    this.state = { ...this.state, ...change }
  }

  emit(effect: SimplexEffect): void {
    this.effects.push(effect)
  }

  view(view: number): ViewState {
    return this.state.views.get(view) ?? NO_VIEW
  }

  editView(view: number, change: Partial<ViewState>): void {
    const views = new Map(this.state.views)
    views.set(view, { ...this.view(view), ...change })
    this.set({ views })
  }

  editOwn(view: number, change: Partial<OwnVotes>): void {
    this.editView(view, { own: { ...this.view(view).own, ...change } })
  }

  block(id: CID): HeldBlock | undefined {
    return this.state.blocks.get(id.toString())
  }

  holdBlock(block: Block, status: BlockStatus): void {
    const blocks = new Map(this.state.blocks)
    blocks.set(block.id.toString(), { block, status })
    const wanted = new Map(this.state.wanted)
    wanted.delete(block.id.toString())
    this.set({ blocks, wanted })
  }

  /** The views above the final block's that something is known of, ascending. */
  knownViews(): number[] {
    return [...this.state.views.keys()].sort((a, b) => a - b)
  }

  leader(view: number): number {
    const { order } = this.state
    return order[view % order.length] ?? 0
  }

  isFinal(id: CID): boolean {
    return this.state.final.id.equals(id)
  }

  /** Whether a block may be built on: it is final, or executed. */
  isExecuted(id: CID): boolean {
    return this.isFinal(id) || this.block(id)?.status === 'valid'
  }
}

/** The state of a validator that enters an epoch. */
export function epochState(given: {
  readonly options: SimplexOptions
  readonly set: ValidatorSet
  readonly me: number
  readonly final: FinalPoint
  readonly nowMs: number
  readonly transactionsSinceMs: number | undefined
}): SimplexState {
  const { final, me, nowMs, options, set, transactionsSinceMs } = given
  const none = set.validators.map(() => undefined)
  return {
    options,
    set,
    order: leaderOrder(set),
    me,
    final,
    view: final.view + 1,
    enteredMs: nowMs,
    growth: 0,
    views: new Map(),
    blocks: new Map(),
    wanted: new Map(),
    transactionsSinceMs,
    startedMs: nowMs,
    floorView: 0,
    heardMs: none,
    banned: [],
    askedMs: none,
    answeredMs: none,
    committing: undefined,
    finalMs: nowMs,
    resendMs: nowMs,
    timerMs: undefined,
    halted: undefined,
    unlogged: [],
    handing: [],
  }
}
