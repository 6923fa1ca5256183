import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import { blockFaults } from './block-faults.ts'
import type { ChainStoreFault } from './chain-store.ts'
import type { GenesisFault } from './genesis.ts'
import type { MachineFault } from './machine.ts'
import type { MempoolFault } from './mempool.ts'
import { proofFaults } from './proof-faults.ts'
import type { PendingFault } from './pending-blocks.ts'
import { snapshotFaults } from './snapshot-faults.ts'
import type { StateProofFault } from './state-proof.ts'
import type { TxFault, TxRefusal } from './transaction.ts'

/** Every code that this folder's rules can answer with, but for those of blocks; a code without a row, or a row without a code, doesn't compile. */
type Code = (
  | ChainStoreFault
  | GenesisFault
  | MachineFault
  | MempoolFault
  | PendingFault
  | StateProofFault
  | TxFault
  | TxRefusal
)['code']

const ownFaults = {
  GENESIS_JSON_SYNTAX: {
    says: 'The genesis is not JSON: {problem} at line {line}, column {column}.',
    todo: 'Mend that line; comments and trailing commas are allowed.',
    http: 400,
    exit: EXIT.usage,
  },
  GENESIS_TOO_LARGE: {
    says: 'The genesis has {bytes} bytes; at most {bytesMax} are accepted.',
    todo: 'Found the consortium with fewer institutions; others can join later.',
    http: 413,
    exit: EXIT.capacity,
  },
  GENESIS_DUPLICATE: {
    says: '{path} of the genesis says the same as {firstPath}.',
    todo: 'Every institution, peer and key stands once, and every key has one purpose; make another.',
    http: 400,
    exit: EXIT.usage,
  },
  GENESIS_KEY_INVALID: {
    says: '{path} of the genesis is not a usable Ed25519 public key.',
    todo: 'Copy the key again, whole; make it with apotheca key create.',
    http: 400,
    exit: EXIT.usage,
  },
  GENESIS_INSTITUTION_UNKNOWN: {
    says: '{path} of the genesis names {institution}, which is not among its institutions.',
    todo: 'Add the institution, or correct the name.',
    http: 400,
    exit: EXIT.usage,
  },
  TX_TOO_LARGE: {
    says: 'The transaction has {bytes} bytes; its type allows {bytesMax}.',
    todo: 'Put what is large into the store, and its CID into the transaction.',
    http: 413,
    exit: EXIT.capacity,
  },
  TX_WRONG_CHAIN: {
    says: 'The transaction is for the chain {chain}, not for this one.',
    todo: 'Sign it for this chain; check which network you are connected to.',
    http: 409,
    exit: EXIT.conflict,
  },
  TX_TYPE_UNKNOWN: {
    says: 'There is no transaction type {type} on this chain.',
    todo: 'Correct the type, or update the program that made it.',
    http: 400,
    exit: EXIT.usage,
  },
  TX_LANE_WRONG: {
    says: 'The transaction is in lane {lane}; its type belongs in lane {expected}.',
    todo: 'Set the lane of the type, and sign again.',
    http: 400,
    exit: EXIT.usage,
  },
  TX_EXPIRED: {
    says: 'The transaction was void from {expiresMs}; it is {blockTimeMs}.',
    todo: 'Sign it again with a later expiry; check the clock of the machine that signed it.',
    http: 409,
    exit: EXIT.conflict,
  },
  TX_EXPIRES_TOO_FAR: {
    says: 'The transaction expires at {expiresMs}; the latest allowed is {latestMs}.',
    todo: 'Let it expire within 24 hours; check the clock of the machine that signed it.',
    http: 400,
    exit: EXIT.usage,
  },
  TX_ORG_UNKNOWN: {
    says: '{org} is not an institution of this chain.',
    todo: 'Correct the name of the institution.',
    http: 404,
    exit: EXIT.notFound,
  },
  TX_ACCOUNT_UNKNOWN: {
    says: 'There is no account {account} on this chain.',
    todo: 'Create the account first, through its institution.',
    http: 404,
    exit: EXIT.notFound,
  },
  TX_ACCOUNT_NOT_OF_ORG: {
    says: 'The account {account} is not at home in {org}.',
    todo: 'Name the institution that attested the account.',
    http: 403,
    exit: EXIT.denied,
  },
  TX_SEQ_USED: {
    says: 'The number {seq} was used already by this account in this lane; the next is {next}.',
    todo: 'If the transaction was sent before, look at its receipt; else sign it with the next number.',
    http: 409,
    exit: EXIT.conflict,
  },
  TX_SEQ_AHEAD: {
    says: 'The number {seq} is ahead of its turn; the next is {next}.',
    todo: 'Send the transactions between first.',
    http: 409,
    exit: EXIT.conflict,
  },
  TX_QUOTA_EXHAUSTED: {
    says: '{org} has used up its quota of transactions; the next fits at {fitsMs}.',
    todo: 'Send it again then. Find out which account of the institution sends so much.',
    http: 429,
    exit: EXIT.unavailable,
  },
  TX_SIGNATURE_COUNT: {
    says: 'The transaction has {signatures} signatures; its type needs exactly {expected}.',
    todo: 'Let all who must sign it, and nobody else.',
    http: 403,
    exit: EXIT.denied,
  },
  TX_SIGNATURE_KEY_WRONG: {
    says: 'Signature {index} is by another key than the one that must sign there.',
    todo: 'Sign with the current key of the account, then with those that its type asks for, in order.',
    http: 403,
    exit: EXIT.denied,
  },
  TX_SIGNATURE_INVALID: {
    says: 'Signature {index} of the transaction is not valid.',
    todo: 'Sign the transaction again; it was altered, or signed for another chain.',
    http: 403,
    exit: EXIT.denied,
  },
  TX_PRECONDITION_FAILED: {
    says: 'Precondition {index} of the transaction does not hold: the version found is {found}.',
    todo: 'Read the state again, decide again, and send a new transaction.',
    http: 409,
    exit: EXIT.conflict,
  },
  TX_PAYLOAD_MALFORMED: {
    says: 'At {path} of the transaction: expected {expected}.',
    todo: 'Correct that field; docs/spec/ has the table of every type.',
    http: 400,
    exit: EXIT.usage,
  },
  MACHINE_NAMESPACE_TAKEN: {
    says: 'Two state machines claim the namespace {namespace}.',
    todo: 'This is a fault of the program: report it.',
    http: 500,
    exit: EXIT.internal,
  },
  MACHINE_TYPE_TAKEN: {
    says: 'Two state machines claim the transaction type {type}.',
    todo: 'This is a fault of the program: report it.',
    http: 500,
    exit: EXIT.internal,
  },
  MACHINE_EPOCHS_TAKEN: {
    says: '{machines} state machines want to decide when an epoch ends.',
    todo: 'This is a fault of the program: report it.',
    http: 500,
    exit: EXIT.internal,
  },
  MACHINE_NAMESPACE_FOREIGN: {
    says: 'A transaction of type {type} would write to {namespace}, which belongs to another machine.',
    todo: 'This is a fault of the program: report it.',
    http: 500,
    exit: EXIT.internal,
  },
  MEMPOOL_DUPLICATE: {
    says: 'The transaction {tx} waits already.',
    todo: 'Wait for its receipt.',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMPOOL_FULL: {
    says: 'No room for more transactions: {bytes} of {bytesMax} bytes, {count} of {countMax} transactions wait.',
    todo: 'Try again in a few seconds.',
    http: 503,
    exit: EXIT.unavailable,
  },
  MEMPOOL_INSTITUTION_FULL: {
    says: '{bytes} bytes of transactions of {org} wait already; one institution may fill {bytesMax}.',
    todo: 'Try again when some of them are final.',
    http: 429,
    exit: EXIT.unavailable,
  },
  MEMPOOL_SEQ_TAKEN: {
    says: 'Another transaction with the number {seq} of this account and lane waits already: {tx}.',
    todo: 'Wait for its receipt, then sign with the next number.',
    http: 409,
    exit: EXIT.conflict,
  },
  MEMPOOL_SEQ_TOO_FAR: {
    says: 'The number {seq} is too far ahead of the next, {next}; at most {aheadMax} of one account wait.',
    todo: 'Send the transactions between first.',
    http: 409,
    exit: EXIT.conflict,
  },
  CHAIN_FORMAT_UNKNOWN: {
    says: 'The chain in this data folder has format {format}; this version reads {expected}.',
    todo: 'Use the version that wrote it, or start from an empty folder and let the peer catch up.',
    http: 500,
    exit: EXIT.usage,
  },
  CHAIN_OTHER_GENESIS: {
    says: 'This data folder holds the chain {found}, not {given}.',
    todo: 'Use the genesis that it was begun with, or another data folder.',
    http: 500,
    exit: EXIT.usage,
  },
  CHAIN_DAMAGED: {
    says: 'The chain in this data folder is damaged: {what} at {at}.',
    todo: 'The peer sets the damaged ledger aside and rebuilds it from the others by itself. Look at the health of the disk.',
    http: 500,
    exit: EXIT.integrity,
  },
  CHAIN_SNAPSHOT_UNFINISHED: {
    says: 'The state at height {height} is being taken over from other peers, and is not whole yet.',
    todo: 'Let the peer catch up; it goes on where it was.',
    http: 503,
    exit: EXIT.unavailable,
  },
  CHAIN_PENDING_FULL: {
    says: '{blocks} blocks are executed and not final; at most {blocksMax} are kept.',
    todo: 'See which validators are silent: the network orders blocks and can’t make them final.',
    http: 503,
    exit: EXIT.unavailable,
  },
  CHAIN_NOT_PENDING: {
    says: 'The block {block} was to become final and has not been executed here.',
    todo: 'This is a fault of the program: report it. The peer fetches the block from the others.',
    http: 500,
    exit: EXIT.internal,
  },
  STATE_PROOF_ROOT_WRONG: {
    says: 'The proof does not lead to this state root.',
    todo: 'Take the state root of the header that the proof was made for; ask another peer for the proof.',
    http: 422,
    exit: EXIT.integrity,
  },
  STATE_PROOF_OTHER_PATH: {
    says: 'The proof is of another key.',
    todo: 'Ask another peer for the proof.',
    http: 422,
    exit: EXIT.integrity,
  },
  STATE_PROOF_VALUE_WRONG: {
    says: 'The proof is of another value than this one.',
    todo: 'Ask another peer for value and proof.',
    http: 422,
    exit: EXIT.integrity,
  },
} as const satisfies Readonly<Record<Code, FaultInfo>>

export const ledgerFaults = { ...ownFaults, ...blockFaults, ...proofFaults, ...snapshotFaults }
