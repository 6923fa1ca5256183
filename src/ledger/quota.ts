/**
 * Quotas: how many transactions an institution may have in blocks. There are no coins; each institution has a bucket of tokens that
 * block time refills, and every transaction that enters a block takes one, whatever becomes of it. All arithmetic is of integers,
 * in thousandths of a token, so that every peer counts alike.
 *
 * A part of the bucket is for lane 0 alone: whoever floods other lanes in an institution's name can't keep its revocations and its
 * evidence out.
 *
 * @see docs/spec/transaction.md, "Quota"; docs/decisions/0057-quotas.md
 */
import type { InstitutionId } from '../core/ids.ts'
import { TX_QUOTA_BURST, TX_QUOTA_PER_SECOND, TX_QUOTA_URGENT } from '../core/limits.ts'
import { integer, object } from '../core/schema.ts'
import { timeMs } from './fields.ts'
import type { StateChange, StateView } from './state.ts'
import type { SignedTx, TxFault } from './transaction.ts'

/** Key = institution; no entry: a full bucket. */
export const QUOTA_NAMESPACE = 'quota'

/** A bucket as it was after the institution's last transaction. */
interface Bucket {
  /** Thousandths of a token. */
  readonly milliTokens: number
  /** Block time. */
  readonly timeMs: number
}

const MILLI = 1_000
const FULL_MILLI_TOKENS = TX_QUOTA_BURST * MILLI
/** From empty to full; more time than that adds nothing, and keeps the product below far from 2^53. */
const REFILL_MS = Math.ceil(FULL_MILLI_TOKENS / TX_QUOTA_PER_SECOND)

const utf8 = new TextEncoder()
const bucket = object({ milliTokens: integer(0, FULL_MILLI_TOKENS), timeMs })

/** Whether the transaction's institution has a token left, at this time. */
export async function quotaFault(view: StateView, tx: SignedTx, nowMs: number): Promise<TxFault | undefined> {
  const { lane, org } = tx.body
  const { milliTokens } = await refilled(view, org, nowMs)
  const needed = MILLI + (lane === 0 ? 0 : TX_QUOTA_URGENT * MILLI)
  if (milliTokens >= needed) return undefined
  return { code: 'TX_QUOTA_EXHAUSTED', org, fitsMs: nowMs + Math.ceil((needed - milliTokens) / TX_QUOTA_PER_SECOND) }
}

/** Takes the transaction's token. */
export async function quotaChange(view: StateView, tx: SignedTx, nowMs: number): Promise<StateChange> {
  const { org } = tx.body
  const { milliTokens } = await refilled(view, org, nowMs)
  const value: Bucket = { milliTokens: Math.max(0, milliTokens - MILLI), timeMs: nowMs }
  return { namespace: QUOTA_NAMESPACE, key: utf8.encode(org), value }
}

async function refilled(view: StateView, org: InstitutionId, nowMs: number): Promise<Bucket> {
  const value = await view.get(QUOTA_NAMESPACE, utf8.encode(org))
  if (value === undefined) return { milliTokens: FULL_MILLI_TOKENS, timeMs: nowMs }
  const held = bucket(value, 'quota')
  // Tokens a second are thousandths of a token a millisecond.
  const passedMs = Math.min(Math.max(0, nowMs - held.timeMs), REFILL_MS)
  const milliTokens = Math.min(FULL_MILLI_TOKENS, held.milliTokens + passedMs * TX_QUOTA_PER_SECOND)
  return { milliTokens, timeMs: nowMs }
}
