/** What a page needs to check light proofs, and nothing else of this project: bundled for the browser by page-bundle.ts. */
import * as dagJson from '@ipld/dag-json'
import { fromString } from 'uint8arrays/from-string'
import { CodedError } from '../../src/core/coded-error.ts'
import type { ChainId } from '../../src/core/ids.ts'
import { checkProof } from '../../src/ledger/proof.ts'

/** @returns DAG-JSON: `{ checked }` with what is proved, or `{ fault }`. */
export function check(proofHex: string, chain: string): string {
  try {
    const { proved, ...blocks } = checkProof(fromString(proofHex, 'base16'), { chainId: chain as ChainId })
    const subject = proved.kind === 'transaction' ? { kind: proved.kind, receipt: proved.receipt } : proved
    return dagJson.stringify({ checked: { ...blocks, proved: subject } })
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    return dagJson.stringify({ fault: error.fault })
  }
}
