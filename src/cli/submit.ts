/** Signs a transaction, submits it, and waits until it is final. */
import { CodedError } from '../core/coded-error.ts'
import { TX_LIFETIME_MS, TX_WAIT_MS_MAX } from '../core/limits.ts'
import type { AccountId, TxId } from '../core/ids.ts'
import type { Signer } from '../core/ports.ts'
import { type DraftTx, txBodyOf, signTx } from '../ledger/transaction.ts'
import type { ApiClient } from './api-client.ts'
import { ApiError } from './api-client.ts'
import { CliError } from './faults.ts'
import type { AccountAnswer, NextAnswer, ReceiptAnswer } from './ledger-answers.ts'
import { cliReport } from './output.ts'

export interface FinalTx {
  readonly tx: TxId
  readonly height: number
}

/**
 * @param route - where the envelope goes; an account's creation is attested by its institution on the way.
 * @throws {CliError} `TX_REFUSED`, `TX_NOT_FINAL`; {ApiError} where it can't be in a block
 */
export async function submitTx(
  client: ApiClient,
  account: { readonly id: AccountId; openSigner(): Promise<Signer> },
  draft: DraftTx,
  options: { signal: AbortSignal; route?: 'ledger/transactions' | 'accounts' },
): Promise<FinalTx> {
  const { signal, route = 'ledger/transactions' } = options
  const next = await client.get<NextAnswer>(`/api/v1/accounts/${account.id}/next?lane=${draft.lane}`, { signal })
  const org = route === 'accounts' ? next.institution : await homeOf(client, account.id)
  const { bytes } = await signTx(
    txBodyOf(draft, {
      chain: next.chain,
      org,
      account: account.id,
      seq: next.seq,
      expiresMs: Math.max(Date.now(), next.blockTimeMs) + TX_LIFETIME_MS,
    }),
    [await account.openSigner()],
  )
  const headers = { 'content-type': 'application/vnd.ipld.dag-cbor' }
  const { tx } = await client.get<{ tx: TxId }>(`/api/v1/${route}`, { method: 'POST', headers, body: bytes, signal })
  return waitFinal(client, tx, signal)
}

async function waitFinal(client: ApiClient, tx: TxId, signal: AbortSignal): Promise<FinalTx> {
  const answer = await waitReceipt(client, tx, { timeoutMs: TX_WAIT_MS_MAX, signal })
  const { fault } = answer.receipt
  if (fault !== undefined) {
    const { sentence, todo } = cliReport(new CodedError(fault))
    throw new CliError({ code: 'TX_REFUSED', refusal: fault.code, sentence, todo })
  }
  return { tx, height: answer.height }
}

/**
 * Waits until a transaction is final, whatever became of it.
 *
 * @throws {CliError} `TX_NOT_FINAL`
 */
export async function waitReceipt(
  client: ApiClient,
  tx: TxId,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<ReceiptAnswer> {
  const { signal, timeoutMs } = options
  for (let leftMs = timeoutMs; ; leftMs -= TX_WAIT_MS_MAX) {
    const waitMs = Math.min(leftMs, TX_WAIT_MS_MAX)
    try {
      return await client.get<ReceiptAnswer>(`/api/v1/ledger/transactions/${tx}?waitMs=${waitMs}`, { signal })
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error
      if (waitMs === leftMs) {
        throw new CliError({ code: 'TX_NOT_FINAL', id: tx, waitedMs: timeoutMs }, { cause: error })
      }
    }
  }
}

async function homeOf(client: ApiClient, account: AccountId): Promise<AccountAnswer['org']> {
  return (await client.get<AccountAnswer>(`/api/v1/accounts/${account}`)).org
}
