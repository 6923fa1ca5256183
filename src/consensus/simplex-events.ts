/** What happens to a validator's consensus, and what it wants done. */
import type { CID } from 'multiformats/cid'
import type { Justification } from '../ledger/block-body.ts'
import type { Certificate } from '../ledger/certificate.ts'
import type { Ballot, Evidence, Vote } from '../ledger/vote.ts'
import type { ConsensusMessage } from './messages.ts'
import type { Block, FinalPoint, SimplexState } from './simplex-state.ts'

/** Each event comes with the time. */
export interface EventTime {
  /** Of a clock that never goes back. */
  readonly nowMs: number
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: number
}

export type SimplexEvent = EventTime &
  (
    | { readonly type: 'time' }
    /** Transactions came that a block could take, or none are left. */
    | { readonly type: 'transactions'; readonly wait: boolean }
    /** A validator said something; whoever calls has made sure that it was that validator. */
    | { readonly type: 'message'; readonly from: number; readonly message: ConsensusMessage }
    /** The votes are signed and durable. */
    | { readonly type: 'cast'; readonly votes: readonly Vote[] }
    /** The block that was asked for is executed. */
    | { readonly type: 'built'; readonly view: number; readonly block: Block }
    /** None of the transactions that waited had a place in a block. */
    | { readonly type: 'nothing-to-build'; readonly epoch: number; readonly view: number }
    /** `later`: nothing is said of the block; this chain can't take it now. */
    | { readonly type: 'executed'; readonly block: CID; readonly verdict: 'valid' | 'invalid' | 'later' }
    | {
        readonly type: 'votes-checked'
        readonly ballot: Ballot
        readonly good: readonly number[]
        readonly bad: readonly number[]
      }
    | {
        readonly type: 'certificates-checked'
        readonly epoch: number
        readonly from: number
        readonly view: number | undefined
        readonly good: readonly Certificate[]
        readonly bad: number
      }
    /** A block became final here, by a `commit` or by catching up, and the epoch goes on. */
    | { readonly type: 'head'; readonly final: FinalPoint }
  )

export type SimplexEffect =
  /** Sign these, make them durable (with the block, if one is given), then answer `cast`. */
  | {
      readonly type: 'cast'
      readonly ballots: readonly Ballot[]
      readonly block?: Block
      /** That were adopted since the last votes: what these votes rest on must be as durable as they are. */
      readonly certificates?: readonly Certificate[]
    }
  /** Execute a new block; answer `built`, or for transactions `nothing-to-build`. */
  | {
      readonly type: 'build'
      readonly for: 'transactions' | 'idle'
      readonly view: number
      readonly parent: CID
      readonly timeMs: number
      readonly justify: Justification
    }
  /** Answer `executed`. */
  | { readonly type: 'execute'; readonly block: Block }
  /** Answer `votes-checked`. */
  | { readonly type: 'check-votes'; readonly ballot: Ballot; readonly votes: readonly Vote[] }
  /** Answer `certificates-checked`; `view`: of the proposal that they justify. */
  | {
      readonly type: 'check-certificates'
      readonly epoch: number
      readonly from: number
      readonly view: number | undefined
      readonly certificates: readonly Certificate[]
    }
  /** Make the block and its ancestors final; `head` follows. */
  | { readonly type: 'commit'; readonly block: CID; readonly certificate: Certificate }
  /** `to: undefined`: all other validators. Lost messages are sent again by the rules. */
  | { readonly type: 'send'; readonly to: number | undefined; readonly message: ConsensusMessage }
  /** Send a block: this one, or one that is final, if this peer has it; not faster than it should be. */
  | { readonly type: 'serve'; readonly to: number; readonly block: CID; readonly held: Block | undefined }
  /** More is final than can be had from the validators' messages. */
  | { readonly type: 'catch-up' }
  /** Hand the transactions that wait to all validators once more. */
  | { readonly type: 'share-transactions' }
  /** Check the two votes, and submit them if both signatures hold. */
  | { readonly type: 'report'; readonly evidence: Evidence }
  /** Send `time` then; takes the place of any earlier timer. */
  | { readonly type: 'timer'; readonly atMs: number }
  /** For the log. */
  | { readonly type: 'note'; readonly what: SimplexNote }

export type SimplexNote =
  | { readonly name: 'view'; readonly view: number; readonly by: 'notarized' | 'nullified' | 'finalized' }
  | { readonly name: 'nullify'; readonly view: number; readonly why: 'timer' | 'invalid' | 'leader' }
  | { readonly name: 'banned'; readonly validator: number }
  | { readonly name: 'halted'; readonly why: 'key-in-use-elsewhere' | 'state-differs' }

export interface SimplexStep {
  readonly state: SimplexState
  readonly effects: readonly SimplexEffect[]
}
