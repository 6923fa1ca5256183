/** How consensus stands at one validator, in plain data: for `peer status`, `/metrics` and whoever is called at night. */
import type { Fault } from '../core/coded-error.ts'
import type { InstitutionId } from '../core/ids.ts'

/**
 * What a validator waits for in its view; `nothing`: it is at work. `own-block`: a block that it voted final, or may have, and that its ledger
 * has lost since, as one that is put back from a copy. Without it, this validator can't let the view go.
 */
export type WaitsFor = 'transactions' | 'proposal' | 'votes' | 'own-block' | 'catching-up' | 'nothing'

/** A validator that the others hear nothing from. */
export interface MissingValidator {
  readonly institution: InstitutionId
  /** Milliseconds since the Unix epoch, by this peer's clock; `null`: not heard since this peer started. */
  readonly silentSinceMs: number | null
}

export interface ConsensusStatus {
  /** Of the view, from 0. */
  readonly epoch: number
  /** That this peer is in. */
  readonly view: number
  /** Who leads the view. */
  readonly leader: InstitutionId
  /** Of the newest final block; 0: the genesis. */
  readonly height: number
  /** Time of the newest final block, in milliseconds since the Unix epoch. */
  readonly finalTimeMs: number
  /** Whether this peer votes in the epoch. */
  readonly validates: boolean
  /** Blocks that are proposed or notarized here, and not final. */
  readonly pendingBlocks: number
  readonly waitsFor: WaitsFor
  readonly missing: readonly MissingValidator[]
  /** Since when there is something to make final and nothing becomes final; `null`: all is well. */
  readonly stalledSinceMs: number | null
  /** Validators that must vote for a block to become final. */
  readonly quorum: number
  /** Why this peer doesn't vote any more, until someone acts. */
  readonly halted?: Fault
}
