/** Signs a transaction, submits it, and waits until it is final. */
import { CodedError, type Fault, faultOf } from '../core/coded-error.ts'
import { TX_LIFETIME_MS, TX_WAIT_MS_MAX } from '../core/limits.ts'
import { type AccountId, type TxId, parseTxId } from '../core/ids.ts'
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

/** Times a transaction is signed, where other programs that sign for the account take the turn before it. */
const TRIES = 8

/**
 * Signs with the account's next `seq`. Where the peer refuses it because another program, or the peer itself, has that turn, the next one
 * is taken once that is final. What the peer once took is never signed again: it may be final though its receipt isn't here.
 *
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
  const asked = `/api/v1/accounts/${account.id}/next?lane=${draft.lane}`
  const headers = { 'content-type': 'application/vnd.ipld.dag-cbor' }
  let signer: Signer | undefined
  let leastSeq = 0
  for (let tries = 1; ; tries++) {
    const next = await client.get<NextAnswer>(asked, { signal })
    const org = route === 'accounts' ? next.institution : await homeOf(client, account.id)
    signer ??= await account.openSigner()
    const body = txBodyOf(draft, {
      chain: next.chain,
      org,
      account: account.id,
      seq: Math.max(next.seq, leastSeq),
      expiresMs: Math.max(Date.now(), next.blockTimeMs) + TX_LIFETIME_MS,
    })
    const { bytes } = await signTx(body, [signer])
    try {
      const answer = await client.get<{ tx: TxId }>(`/api/v1/${route}`, {
        method: 'POST',
        headers,
        body: bytes,
        signal,
      })
      return await waitFinal(client, answer.tx, signal)
    } catch (error) {
      const taken = tries < TRIES ? takenTurn(error) : undefined
      if (taken === undefined || !(await isOver(client, taken.by, signal))) throw error
      leastSeq = taken.next
    }
  }
}

/** @returns who has the turn, where that is known, and the one that may be free; `undefined` for any other fault. */
function takenTurn(error: unknown): { readonly by?: TxId; readonly next: number } | undefined {
  const fault: Fault & { tx?: unknown; next?: unknown } = faultOf(error) ?? { code: '' }
  if (fault.code === 'MEMPOOL_SEQ_TAKEN') return { by: parseTxId(String(fault.tx)), next: 0 }
  return fault.code === 'TX_SEQ_USED' ? { next: Number(fault.next) } : undefined
}

/** Waits for the receipt of who has the turn. */
async function isOver(client: ApiClient, by: TxId | undefined, signal: AbortSignal): Promise<boolean> {
  if (by === undefined) return true
  try {
    await waitReceipt(client, by, { timeoutMs: TX_WAIT_MS_MAX, signal })
    return true
  } catch {
    signal.throwIfAborted()
    return false
  }
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
