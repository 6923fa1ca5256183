import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { SoloFault } from './solo.ts'
import type { VoteFault } from './votes.ts'

/** Every code that this folder's rules can answer with; a code without a row, or a row without a code, doesn't compile. */
type Code = (SoloFault | VoteFault)['code']

export const consensusFaults = {
  VOTE_EPOCH_WRONG: {
    says: 'The vote is of epoch {epoch}; expected {expected}.',
    todo: 'Let the peer catch up.',
    http: 422,
    exit: EXIT.integrity,
  },
  VOTE_SIGNER_UNKNOWN: {
    says: 'The vote names signer {signer}; this epoch has {validators} validators.',
    todo: 'Drop the sender: it is broken or false.',
    http: 422,
    exit: EXIT.integrity,
  },
  VOTE_SIGNATURE_INVALID: {
    says: 'The signature of validator {signer} under its vote is not valid.',
    todo: 'Drop the sender: it is broken or false.',
    http: 422,
    exit: EXIT.integrity,
  },
  VOTE_NOT_VALIDATOR: {
    says: 'This peer’s consensus key is not among the validators of epoch {epoch}.',
    todo: 'Give the peer the consensus key that the genesis names, or run it without one: it follows then.',
    http: 403,
    exit: EXIT.usage,
  },
  EVIDENCE_NOT_CONFLICTING: {
    says: 'The two votes don’t contradict each other.',
    todo: 'Send two votes of one validator in one view that the rules forbid together.',
    http: 422,
    exit: EXIT.usage,
  },
  CONSENSUS_EVENT_OUT_OF_ORDER: {
    says: 'Consensus was told {event} while {phase}.',
    todo: 'This is a fault of the program: report it.',
    http: 500,
    exit: EXIT.internal,
  },
  CONSENSUS_NOT_SOLO: {
    says: 'Consensus of one was started with {validators} validators.',
    todo: 'Use a genesis with one validator, or a version that runs several.',
    http: 500,
    exit: EXIT.usage,
  },
  CONSENSUS_BLOCK_WRONG: {
    says: 'A block of view {view} was built where {expected} was asked for.',
    todo: 'This is a fault of the program: report it.',
    http: 500,
    exit: EXIT.internal,
  },
  CONSENSUS_VOTE_WRONG: {
    says: 'A vote of view {view} does not make the certificate that was asked for.',
    todo: 'This is a fault of the program: report it.',
    http: 500,
    exit: EXIT.internal,
  },
} as const satisfies Readonly<Record<Code, FaultInfo>>
