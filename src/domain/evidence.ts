/**
 * Evidence of equivocation: two votes of one validator that the rules forbid together. Anyone may submit them; the key is suspended,
 * and left out of the validators from the end of the epoch on (validator-plan.ts says within which bounds).
 *
 * @see docs/spec/membership.md, "Evidence"; docs/decisions/0056-evidence-is-a-transaction.md
 */
import { TX_LARGE_BYTES_MAX } from '../core/limits.ts'
import { type BlockContext, type StateMachine, type Step, type Tx, accept, refuse, txType } from '../ledger/machine.ts'
import type { StateView } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { type Evidence, evidence } from '../ledger/vote.ts'
import { type VoteFault, evidenceFault } from '../ledger/vote-check.ts'
import { SUSPENDED_NAMESPACE, type Suspension, getSuspension, validatorsOf } from './validator-sets.ts'

const EVIDENCE_SUBMIT = 'evidence.submit'
const URGENT_LANE = 0

export type EvidenceFault =
  | { code: 'EVIDENCE_EPOCH_UNKNOWN'; epoch: number }
  | { code: 'EVIDENCE_KNOWN'; institution: string; epoch: number; view: number }

export const evidenceMachine: StateMachine = {
  namespaces: [SUSPENDED_NAMESPACE],
  types: {
    [EVIDENCE_SUBMIT]: txType({
      lane: URGENT_LANE,
      payload: evidence,
      bytesMax: TX_LARGE_BYTES_MAX,
      apply: applyEvidence,
    }),
  },
}

/** Signed by any account. */
export function draftEvidenceSubmit(payload: Evidence): DraftTx {
  return { lane: URGENT_LANE, type: EVIDENCE_SUBMIT, payload }
}

async function applyEvidence(
  view: StateView,
  tx: Tx<Evidence>,
  block: BlockContext,
): Promise<Step<EvidenceFault | VoteFault>> {
  const { epoch, signer, view: voteView } = tx.payload.first
  const validators = await validatorsOf(view, epoch)
  if (validators === undefined) return refuse({ code: 'EVIDENCE_EPOCH_UNKNOWN', epoch })
  const validator = validators[signer]
  if (validator === undefined) return refuse({ code: 'VOTE_SIGNER_UNKNOWN', signer, validators: validators.length })
  const { institution, key } = validator
  // Before the signatures: a key is suspended once, and whoever repeats it costs little.
  const known = await getSuspension(view, key)
  if (known !== undefined) return refuse({ code: 'EVIDENCE_KNOWN', institution, epoch: known.epoch, view: known.view })
  const fault = evidenceFault(tx.payload, block.chain, { epoch, validators })
  if (fault !== undefined) return refuse(fault)
  const suspension: Suspension = { institution, epoch, view: voteView, height: block.height }
  return accept([{ namespace: SUSPENDED_NAMESPACE, key, value: suspension }])
}
