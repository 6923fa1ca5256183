import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { SigningFault } from './votes.ts'

/** Why a validator must not sign any more, though its vote log is whole. */
export type HaltFault =
  | { code: 'CONSENSUS_STATE_DIFFERS' }
  | { code: 'CONSENSUS_KEY_ELSEWHERE' }
  | { code: 'CONSENSUS_KEY_OTHER'; institution: string }

/** Every code that this folder's rules can answer with; a code without a row, or a row without a code, doesn't compile. The ledger has the rows of faults that it shares. */
type Code = Exclude<(HaltFault | SigningFault)['code'], 'VOTE_EPOCH_WRONG'>

export const consensusFaults = {
  VOTE_NOT_VALIDATOR: {
    says: 'This peer’s consensus key is not among the validators of epoch {epoch}.',
    todo: 'Give the peer the consensus key that the genesis names, or run it without one: it follows then.',
    http: 403,
    exit: EXIT.usage,
  },
  CONSENSUS_STATE_DIFFERS: {
    says: 'A quorum agreed on a block that gives another state here. This peer signs nothing until it is started again.',
    todo: 'Compare its version with the others’, then rebuild its ledger from theirs: move the folder "state" away and start it.',
    http: 503,
    exit: EXIT.internal,
  },
  CONSENSUS_KEY_ELSEWHERE: {
    says: 'A certificate has this validator’s signature on a vote that is not in its vote log: its key is in use elsewhere, or the log is an old copy. It signs nothing.',
    todo: 'Stop the other peer that has this key. If the folder was restored from a copy, replace its key with "apotheca peer rotate-key" and a membership change.',
    http: 503,
    exit: EXIT.denied,
  },
  CONSENSUS_KEY_OTHER: {
    says: 'The ledger names another consensus key of {institution} than this peer has: it follows, and does not vote.',
    todo: 'After "apotheca peer rotate-key", propose the new key with "apotheca validators propose --rotate". Otherwise start the peer with its newest keys.json.',
    http: 503,
    exit: EXIT.denied,
  },
} as const satisfies Readonly<Record<Code, FaultInfo>>
