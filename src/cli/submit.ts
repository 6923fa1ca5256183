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

/** So long the receipt alone is asked for; then also whether the turn is over. */
const TURN_WAIT_MS = 2_000
/** Times a transaction is signed, where other programs that sign for the account take the turn before it. */
const TRIES = 8

/**
 * Signs with the account's next `seq`. Where another program, or the account's own peer, has that turn, the next one is taken once
 * that is final: what was refused for its `seq` has changed nothing.
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
  const askNext = async (): Promise<NextAnswer> =>
    client.get<NextAnswer>(`/api/v1/accounts/${account.id}/next?lane=${draft.lane}`, { signal })
  const nextSeq = async (): Promise<number> => (await askNext()).seq
  const headers = { 'content-type': 'application/vnd.ipld.dag-cbor' }
  let signer: Signer | undefined
  let leastSeq = 0
  for (let tries = 1; ; tries++) {
    const next = await askNext()
    const seq = Math.max(next.seq, leastSeq)
    const org = route === 'accounts' ? next.institution : await homeOf(client, account.id)
    signer ??= await account.openSigner()
    const body = txBodyOf(draft, {
      chain: next.chain,
      org,
      account: account.id,
      seq,
      expiresMs: Math.max(Date.now(), next.blockTimeMs) + TX_LIFETIME_MS,
    })
    const { bytes } = await signTx(body, [signer])
    try {
      const { tx } = await client.get<{ tx: TxId }>(`/api/v1/${route}`, {
        method: 'POST',
        headers,
        body: bytes,
        signal,
      })
      const answer = await waitTurn(client, { tx, seq, nextSeq }, signal)
      const superseded = { code: 'TX_SEQ_USED', seq, next: seq + 1 }
      if (answer === undefined) throw refused(superseded)
      const { height, receipt } = answer
      if (receipt.fault !== undefined) throw refused(receipt.fault)
      return { tx, height }
    } catch (error) {
      const taken = tries < TRIES ? takenTurn(error) : undefined
      if (taken === undefined) throw error
      if (taken.by !== undefined) await waitTurn(client, { tx: taken.by, seq, nextSeq }, signal)
      leastSeq = taken.next
    }
  }
}

/** @returns who has the turn, where that is known, and the one that may be free; `undefined` for any other fault. */
function takenTurn(error: unknown): { readonly by?: TxId; readonly next: number } | undefined {
  const fault: Fault & { tx?: unknown; next?: unknown; refusal?: unknown } = faultOf(error) ?? { code: '' }
  if (fault.code === 'MEMPOOL_SEQ_TAKEN') return { by: parseTxId(String(fault.tx)), next: 0 }
  if (fault.code === 'TX_SEQ_USED') return { next: Number(fault.next) }
  return fault.code === 'TX_REFUSED' && fault.refusal === 'TX_SEQ_USED' ? { next: 0 } : undefined
}

/**
 * Waits until a transaction is final, or another one in its turn, given to another peer: then this one never will be.
 *
 * @throws {CliError} `TX_NOT_FINAL`
 */
async function waitTurn(
  client: ApiClient,
  turn: { readonly tx: TxId; readonly seq: number; readonly nextSeq: () => Promise<number> },
  signal: AbortSignal,
): Promise<ReceiptAnswer | undefined> {
  let isOver = false
  for (let leftMs = TX_WAIT_MS_MAX; ; leftMs -= TURN_WAIT_MS) {
    const timeoutMs = isOver ? 0 : Math.min(leftMs, TURN_WAIT_MS)
    try {
      return await waitReceipt(client, turn.tx, { timeoutMs, signal })
    } catch (error) {
      if (faultOf(error)?.code !== 'TX_NOT_FINAL') throw error
      if (isOver) return undefined
      if (leftMs <= TURN_WAIT_MS) throw error
    }
    // Asked for once more then: it may have become final just now.
    isOver = (await turn.nextSeq()) > turn.seq
  }
}

function refused(fault: Fault): CliError {
  const { sentence, todo } = cliReport(new CodedError(fault))
  return new CliError({ code: 'TX_REFUSED', refusal: fault.code, sentence, todo })
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
