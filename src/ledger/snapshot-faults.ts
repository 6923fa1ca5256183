/** Rows of ledger/faults.ts: what can be wrong with a snapshot. */
import { EXIT, type FaultInfo } from '../core/coded-error.ts'
import type { SnapshotFault } from './snapshot.ts'
import type { RangeProofFault } from './state-range.ts'

export const snapshotFaults = {
  RANGE_PROOF_WRONG: {
    says: 'The range proof does not fit the entries that came with it.',
    todo: 'Take the snapshot from another peer; the one that sent this is broken or false.',
    http: 422,
    exit: EXIT.integrity,
  },
  RANGE_PROOF_ROOT_WRONG: {
    says: 'The entries are not what the state with this root has in their range.',
    todo: 'Take the snapshot from another peer; the one that sent this is broken or false.',
    http: 422,
    exit: EXIT.integrity,
  },
  SNAPSHOT_CHUNK_OUT_OF_TURN: {
    says: 'The chunk of the snapshot is not the one that comes next.',
    todo: 'Ask for the chunk that begins where the last one ended.',
    http: 409,
    exit: EXIT.conflict,
  },
  SNAPSHOT_CHUNK_EMPTY: {
    says: 'The chunk of the snapshot holds no entry, and is not the last.',
    todo: 'Take the snapshot from another peer; the one that sent this is broken or false.',
    http: 422,
    exit: EXIT.integrity,
  },
  SNAPSHOT_INCOMPLETE: {
    says: 'The snapshot at height {height} is not there as a whole.',
    todo: 'Fetch the chunks that are missing, then end it.',
    http: 409,
    exit: EXIT.conflict,
  },
  SNAPSHOT_VERSION_GONE: {
    says: 'The state at height {height} is not kept any more, or not yet there.',
    todo: 'Ask for a newer snapshot.',
    http: 404,
    exit: EXIT.notFound,
  },
} as const satisfies Readonly<Record<(RangeProofFault | SnapshotFault)['code'], FaultInfo>>
