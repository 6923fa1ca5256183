/** What the ledger's routes answer, as the CLI reads it. */
import type { CID } from 'multiformats/cid'
import type { Fault } from '../core/coded-error.ts'
import type { ChainId, InstitutionId, TxId } from '../core/ids.ts'
import type { Account } from '../domain/accounts.ts'
import type { Grant } from '../domain/grants.ts'
import type { MedicalRecord, RecordVersion } from '../domain/records.ts'

export interface RecordAnswer extends Omit<MedicalRecord, 'versions'> {
  readonly versions: readonly RecordVersion[]
}

export interface GrantAnswer extends Grant {
  readonly manifest: CID
  readonly inForce: boolean
}

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
