import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { ProofFault } from './proof.ts'

export const proofFaults = {
  PROOF_MALFORMED: {
    says: 'This is no light proof: {part} is malformed ({problem}).',
    todo: 'Get the file again, whole, from whoever made it.',
    http: 422,
    exit: EXIT.integrity,
  },
  PROOF_OTHER_CHAIN: {
    says: 'The proof is of another chain: {part} says {chain}; expected {expected}.',
    todo: 'Check the id of the chain with a source you trust; if it is right, this proof is of no use.',
    http: 422,
    exit: EXIT.integrity,
  },
  PROOF_GENESIS_NEEDED: {
    says: 'The proof comes without the genesis of its chain.',
    todo: 'Give the genesis too; "apotheca ledger check" takes it with --genesis.',
    http: 400,
    exit: EXIT.usage,
  },
  PROOF_NOT_FINAL: {
    says: 'The validators did not make a block final that the proof rests on: {part} ({problem}).',
    todo: 'Do not believe it; ask a peer of the consortium for a new proof.',
    http: 422,
    exit: EXIT.integrity,
  },
  PROOF_OUT_OF_ORDER: {
    says: 'The proof does not lead from the genesis to its newest block: {part} ({problem}).',
    todo: 'Do not believe it; ask a peer of the consortium for a new proof.',
    http: 422,
    exit: EXIT.integrity,
  },
  PROOF_NOT_IN_HISTORY: {
    says: 'The block of height {height} that the proof shows ({part}) is not in the history of the chain.',
    todo: 'Do not believe it; ask a peer of the consortium for a new proof.',
    http: 422,
    exit: EXIT.integrity,
  },
  PROOF_STATE_WRONG: {
    says: 'What the proof says of the state (entry {entry}) does not follow from the block ({problem}).',
    todo: 'Do not believe it; ask a peer of the consortium for a new proof.',
    http: 422,
    exit: EXIT.integrity,
  },
  PROOF_TX_WRONG: {
    says: 'What the proof says of the transaction does not follow from the block: {problem}.',
    todo: 'Do not believe it; ask a peer of the consortium for a new proof.',
    http: 422,
    exit: EXIT.integrity,
  },
  PROOF_NOT_YET: {
    says: 'No block from height {height} on has a certificate that can be shown, yet.',
    todo: 'Try again after the next block; "apotheca peer status" says whether the ledger goes on.',
    http: 503,
    exit: EXIT.unavailable,
  },
  PROOF_TOO_LONG: {
    says: 'The proof would be too long: {count} {what}; at most {countMax} are allowed.',
    todo: 'Ask for less at once: a record with many versions is proved by its state keys, one by one.',
    http: 413,
    exit: EXIT.capacity,
  },
} as const satisfies Readonly<Record<ProofFault['code'], FaultInfo>>
