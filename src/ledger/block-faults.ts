import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { BlockFault, HeaderFault } from './block-check.ts'
import type { CertificateFault } from './certificate.ts'
import type { VoteFault } from './vote-check.ts'

/** Every code that this folder's rules can answer with; a code without a row, or a row without a code, doesn't compile. */
type Code = (BlockFault | CertificateFault | HeaderFault | VoteFault)['code']

export const blockFaults = {
  CERTIFICATE_EPOCH_WRONG: {
    says: 'The certificate is of epoch {epoch}; expected {expected}.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  CERTIFICATE_SIGNERS_MALFORMED: {
    says: 'The signers of the certificate take {bytes} bytes; this epoch has a bitmap of {expectedBytes}.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  CERTIFICATE_SIGNER_UNKNOWN: {
    says: 'The certificate names signer {signer}; this epoch has {validators} validators.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  CERTIFICATE_NO_QUORUM: {
    says: 'The certificate has {signatures} signatures; it must have exactly {quorum}.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  CERTIFICATE_SIGNATURE_INVALID: {
    says: 'The signature of validator {signer} in the certificate is not valid.',
    todo: 'Ask another peer for the block; the one that sent this is broken or false.',
    http: 422,
    exit: EXIT.integrity,
  },
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
  EVIDENCE_NOT_CONFLICTING: {
    says: 'The two votes don’t contradict each other.',
    todo: 'Send two votes of one validator in one view that the rules forbid together.',
    http: 422,
    exit: EXIT.usage,
  },
  HEADER_MALFORMED: {
    says: 'The header is not one ({problem}).',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_WRONG_CHAIN: {
    says: 'The header is of the chain {chain}, not of this one.',
    todo: 'Check that all peers have the same genesis.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_KNOWN: {
    says: 'The block at height {height} is known already.',
    todo: 'Nothing need be done.',
    http: 200,
    exit: EXIT.conflict,
  },
  HEADER_FORK: {
    says: 'Two final blocks at height {height}: {block}, and {known} here. A third of the validators or more broke the rules.',
    todo: 'Stop relying on this network; give both headers and certificates to all institutions: they prove who signed twice.',
    http: 409,
    exit: EXIT.integrity,
  },
  HEADER_EPOCH_UNKNOWN: {
    says: 'The header is of epoch {epoch}, whose validators this peer does not know yet.',
    todo: 'Let the peer catch up.',
    http: 503,
    exit: EXIT.unavailable,
  },
  HEADER_EPOCH_WRONG: {
    says: 'The header says epoch {epoch}; it must be {expected} here.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_EPOCH_NOT_FINAL: {
    says: 'The parent {parent} ends its epoch and is not final yet; epoch {epoch} begins only on a final block.',
    todo: 'Wait until the parent is final; it is proposed again until then.',
    http: 503,
    exit: EXIT.unavailable,
  },
  HEADER_PARENT_UNKNOWN: {
    says: 'The parent {parent} of the block at height {height} is neither this peer’s newest block nor one that is about to become final.',
    todo: 'Let the peer catch up; if it has, the sender is on another chain.',
    http: 503,
    exit: EXIT.unavailable,
  },
  HEADER_HEIGHT_WRONG: {
    says: 'The header says height {height}; it must be {expected} here.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_VIEW_WRONG: {
    says: 'The header says view {view} after view {parentView}; that is not its parent’s view, or not a later one.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_TIME_NOT_LATER: {
    says: 'The block’s time {timeMs} is not later than its parent’s, {parentTimeMs}.',
    todo: 'Check the clock of the validators.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_TIME_AHEAD: {
    says: 'The block’s time {timeMs} is ahead of this machine’s clock; at most {latestMs} is accepted now.',
    todo: 'Check the clock of this machine (NTP).',
    http: 503,
    exit: EXIT.unavailable,
  },
  HEADER_PROPOSER_WRONG: {
    says: 'The block was proposed by {proposer}; {leader} leads this view.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_HISTORY_ROOT_WRONG: {
    says: 'The header at height {height} names another history than this peer’s.',
    todo: 'Ask another peer for the block; if all say so, compare the genesis.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_LAYOUT_WRONG: {
    says: 'The header names placement layout {layoutVersion}; {expected} is in force.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_NEXT_VALIDATORS_WRONG: {
    says: 'The header at height {height} names other next validators than the state does, or names them in the wrong place.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  HEADER_CERTIFICATE_INVALID: {
    says: 'The certificate does not make this header final ({problem}).',
    todo: 'Ask another peer for the block; the one that sent this is broken or false.',
    http: 422,
    exit: EXIT.integrity,
  },
  BODY_MALFORMED: {
    says: 'The body of the block is not one ({problem}).',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  BODY_CID_WRONG: {
    says: 'The body {body} is not the one that the header names, {expected}.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  BODY_TX_ROOT_WRONG: {
    says: 'The transactions of the block at height {height} are not those that its header commits to.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  BODY_JUSTIFICATION_INVALID: {
    says: 'The block is not justified in its view ({problem}).',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  BLOCK_LANE_ORDER_WRONG: {
    says: 'Transaction {index} of the block at height {height} is in a more urgent lane than the one before it.',
    todo: 'Ask another peer for the block.',
    http: 422,
    exit: EXIT.integrity,
  },
  BLOCK_TX_INADMISSIBLE: {
    says: 'Transaction {index} of the block has no place in it ({problem}).',
    todo: 'Ask another peer for the block; if it is final, update this peer: it applies other rules than the validators.',
    http: 422,
    exit: EXIT.integrity,
  },
  BLOCK_STATE_ROOT_WRONG: {
    says: 'Executing the block at height {height} gives another state than its header states.',
    todo: 'Update this peer if the others run a newer version; else rebuild its state from the blocks.',
    http: 422,
    exit: EXIT.integrity,
  },
  BLOCK_RECEIPTS_ROOT_WRONG: {
    says: 'Executing the block at height {height} gives other receipts than its header states.',
    todo: 'Update this peer if the others run a newer version; else rebuild its state from the blocks.',
    http: 422,
    exit: EXIT.integrity,
  },
} as const satisfies Readonly<Record<Code, FaultInfo>>
