/** What the ledger's routes answer, as the CLI reads it. */
import type { Fault } from '../core/coded-error.ts'
import type { ChainId, InstitutionId, TxId } from '../core/ids.ts'
import type { Account } from '../domain/accounts.ts'

export interface NextAnswer {
  readonly chain: ChainId
  readonly seq: number
  readonly blockTimeMs: number
  readonly institution: InstitutionId
}

export interface ReceiptAnswer {
  readonly tx: TxId
  readonly height: number
  readonly receipt: { readonly ok: boolean; readonly fault?: Fault }
}

export type AccountAnswer = Account
