/** What a validator needs of its surroundings: production gives it the machine's, a simulation its own. */
import type { InstitutionId } from '../core/ids.ts'
import type { Clock, Log, Signer } from '../core/ports.ts'
import type { SignatureCheck } from '../crypto/signatures.ts'
import type { Chain } from '../ledger/chain.ts'
import type { Mempool } from '../ledger/mempool.ts'
import type { Evidence } from '../ledger/vote.ts'
import type { SimplexOptions } from './simplex-state.ts'

/** One record of the vote log: see `VoteLog`. */
export interface LoggedRecord {
  readonly type: number
  readonly payload: Uint8Array
}

/** What `VoteLog` of the store does, as far as a validator needs it. */
export interface VoteLogPort {
  /** As found at the start. */
  readonly records: readonly LoggedRecord[]
  readonly bytes: number
  /** Durable when it settles. */
  append(records: readonly LoggedRecord[]): Promise<void>
  /** Only these stay. */
  replace(records: readonly LoggedRecord[]): Promise<void>
}

export interface ReplicaDeps {
  readonly chain: Chain
  readonly mempool: Mempool
  readonly signer: Signer
  readonly voteLog: VoteLogPort
  readonly clock: Clock
  /** Milliseconds of a clock that never goes back. */
  readonly monotonicMs: () => number
  /** Calls `wake` at that time of the monotonic clock; takes the place of any earlier call. */
  readonly setTimer: (atMs: number, wake: () => void) => void
  /** Sends to an institution's validator; may lose it. */
  readonly send: (to: InstitutionId, message: Uint8Array) => void
  /** Whether each signature holds, off the main thread where that can be. */
  readonly verify: (items: readonly SignatureCheck[]) => Promise<readonly boolean[]>
  /** Gets final blocks from other peers. */
  readonly catchUp: () => void
  /** Transactions that another validator hands on; untrusted. */
  readonly onTransactions: (envelopes: readonly Uint8Array[], from: InstitutionId) => void
  /** Two votes that prove a validator faulty, their signatures checked. */
  readonly onEvidence: (evidence: Evidence) => void
  /** Consensus can't go on: a failed write, or a bug. The process must end. */
  readonly onFailure: (error: unknown) => void
  readonly log: Log
}

export interface ReplicaOptions extends SimplexOptions {
  readonly institution: InstitutionId
}
