/**
 * Executing a block. A transaction is first *admitted* (its envelope is right: chain, lane, turn, expiry, signatures), then
 * *applied* by its machine.
 *
 * A transaction that isn't admitted has no place in a block: whoever takes another's body and puts a bad signature on it must
 * not be able to write a refusal under that transaction's id. A block that holds one is invalid, and a proposer leaves it
 * out. A transaction that is admitted uses up its `seq`, whatever becomes of it; if its machine refuses it, it changes
 * nothing else, and its receipt holds the fault.
 *
 * @see docs/spec/transaction.md, receipt.md; docs/decisions/0031-admitted-or-not-in-the-block.md
 */
import { equals } from 'uint8arrays/equals'
import type { Fault } from '../core/coded-error.ts'
import { type AccountId, type ChainId, idHash } from '../core/ids.ts'
import { TX_LIFETIME_MS_MAX } from '../core/limits.ts'
import { chainIdOfLink, isLinkOf } from './fields.ts'
import type { AccountDirectory, BlockContext, Registry, Signers, TxType } from './machine.ts'
import { quotaChange, quotaFault } from './quota.ts'
import { type Receipt, receiptFault } from './receipt.ts'
import { type BlockState, type StateChange, type StateView, keyOf } from './state.ts'
import type { Lane, SignedTx, TxFault, TxRefusal } from './transaction.ts'
import type { VerifiedSignatures } from './verified-signatures.ts'

/** Namespace of the ledger's own: the last `seq` used, by account and lane. */
export const SEQ_NAMESPACE = 'seq'

export interface Rules {
  readonly registry: Registry
  readonly directory: AccountDirectory
  readonly signatures: VerifiedSignatures
}

/** A transaction that was left out of a proposal, and why. */
export interface DroppedTx {
  readonly tx: SignedTx
  readonly fault: Fault
}

export interface Execution {
  readonly included: readonly SignedTx[]
  /** One for each included transaction, in their order. */
  readonly receipts: readonly Receipt[]
  readonly dropped: readonly DroppedTx[]
}

/** Holds a fault to the union it belongs to. */
const fault = (given: TxFault): TxFault => given
const no = (given: TxFault): Signers => ({ ok: false, fault: given })

export function seqKey(account: AccountId, lane: Lane): Uint8Array {
  return keyOf(idHash(account), new Uint8Array([lane]))
}

/** The `seq` that the account's next transaction in this lane must have. */
export async function nextSeq(view: StateView, account: AccountId, lane: Lane): Promise<number> {
  const used = await view.get(SEQ_NAMESPACE, seqKey(account, lane))
  return typeof used === 'number' ? used + 1 : 1
}

/**
 * Whether the envelope is right, in this state, at this time. The signatures come last: they cost the most.
 *
 * @param timeMs - of the block; for a transaction that waits, the later of the newest block's time and now.
 * @param options.ahead - a transaction before its turn is admitted too; used for those that wait.
 * @returns the first fault, or `undefined`.
 */
export async function admissionFault(
  rules: Rules,
  view: StateView,
  tx: SignedTx,
  block: { readonly chain: ChainId; readonly timeMs: number },
  options: { readonly ahead?: boolean } = {},
): Promise<Fault | undefined> {
  const type = rules.registry.type(tx.body.type)
  if (type === undefined) return fault({ code: 'TX_TYPE_UNKNOWN', type: tx.body.type })
  const early = envelopeFault(type, tx, block)
  if (early !== undefined) return early
  const next = await nextSeq(view, tx.body.account, tx.body.lane)
  const { seq } = tx.body
  if (seq < next) return fault({ code: 'TX_SEQ_USED', seq, next })
  if (seq > next && options.ahead !== true) return fault({ code: 'TX_SEQ_AHEAD', seq, next })
  const overQuota = await quotaFault(view, tx, block.timeMs)
  if (overQuota !== undefined) return overQuota
  const signers = await signersOf(rules, type, view, tx)
  return signers.ok ? signatureFault(rules.signatures, tx, block.chain, signers.keys) : signers.fault
}

/** Checks that need no state. */
function envelopeFault(
  type: TxType,
  tx: SignedTx,
  block: { readonly chain: ChainId; readonly timeMs: number },
): Fault | undefined {
  const { lane, expiresMs } = tx.body
  if (tx.bytes.length > type.bytesMax) {
    return fault({ code: 'TX_TOO_LARGE', bytes: tx.bytes.length, bytesMax: type.bytesMax })
  }
  if (!isLinkOf(tx.body.chain, block.chain)) {
    return fault({ code: 'TX_WRONG_CHAIN', chain: chainIdOfLink(tx.body.chain) })
  }
  if (lane !== type.lane) return fault({ code: 'TX_LANE_WRONG', lane, expected: type.lane })
  if (expiresMs <= block.timeMs) return fault({ code: 'TX_EXPIRED', expiresMs, blockTimeMs: block.timeMs })
  const latestMs = block.timeMs + TX_LIFETIME_MS_MAX
  if (expiresMs > latestMs) return fault({ code: 'TX_EXPIRES_TOO_FAR', expiresMs, latestMs })
  return undefined
}

async function signersOf(rules: Rules, type: TxType, view: StateView, tx: SignedTx): Promise<Signers> {
  const { account, org } = tx.body
  if (!(await rules.directory.hasInstitution(view, org))) return no({ code: 'TX_ORG_UNKNOWN', org })
  if (type.signers !== undefined) return type.signers(view, tx)
  const known = await rules.directory.account(view, account)
  if (known === undefined) return no({ code: 'TX_ACCOUNT_UNKNOWN', account })
  if (known.org !== org) return no({ code: 'TX_ACCOUNT_NOT_OF_ORG', account, org })
  return { ok: true, keys: [known.signingKey] }
}

/** Exactly the signatures that are needed, in their order: an envelope has one form, and nobody can pad it. */
function signatureFault(
  signatures: VerifiedSignatures,
  tx: SignedTx,
  chain: ChainId,
  keys: readonly Uint8Array[],
): Fault | undefined {
  if (tx.sigs.length !== keys.length) {
    return fault({ code: 'TX_SIGNATURE_COUNT', signatures: tx.sigs.length, expected: keys.length })
  }
  const strange = tx.sigs.findIndex(({ key }, index) => !equals(key, keys[index] ?? new Uint8Array(0)))
  if (strange !== -1) return fault({ code: 'TX_SIGNATURE_KEY_WRONG', index: strange })
  if (signatures.isWhole(tx)) return undefined
  const bad = tx.sigs.findIndex((one) => !signatures.verify(tx, one, chain))
  if (bad !== -1) return fault({ code: 'TX_SIGNATURE_INVALID', index: bad })
  signatures.whole(tx)
  return undefined
}

/**
 * Executes transactions in order; the state takes what they change.
 *
 * @returns what was included with its receipts, and what had no place in the block.
 */
export async function execute(
  rules: Rules,
  state: BlockState,
  txs: readonly SignedTx[],
  block: BlockContext,
): Promise<Execution> {
  const included: SignedTx[] = []
  const receipts: Receipt[] = []
  const dropped: DroppedTx[] = []
  for (const tx of txs) {
    const notAdmitted = await admissionFault(rules, state, tx, block)
    if (notAdmitted !== undefined) {
      dropped.push({ tx, fault: notAdmitted })
      continue
    }
    included.push(tx)
    receipts.push(await applyTx(rules, state, tx, block))
  }
  return { included, receipts, dropped }
}

async function applyTx(rules: Rules, state: BlockState, tx: SignedTx, block: BlockContext): Promise<Receipt> {
  const { account, lane, seq, type } = tx.body
  const turn: StateChange = { namespace: SEQ_NAMESPACE, key: seqKey(account, lane), value: seq }
  // Preconditions look at the state before this transaction, its own `seq` included.
  const unmet = await preconditionFault(state, tx)
  state.apply([turn, await quotaChange(state, tx, block.timeMs)])
  if (unmet !== undefined) return { tx: tx.id, ok: false, fault: receiptFault(unmet) }
  const step = await rules.registry.type(type)?.apply(state, tx, block)
  if (step === undefined) return { tx: tx.id, ok: false, fault: receiptFault(fault({ code: 'TX_TYPE_UNKNOWN', type })) }
  if (!step.ok) return { tx: tx.id, ok: false, fault: receiptFault(step.fault) }
  rules.registry.checkNamespaces(type, step.changes)
  state.apply(step.changes)
  return { tx: tx.id, ok: true }
}

async function preconditionFault(state: BlockState, tx: SignedTx): Promise<TxRefusal | undefined> {
  for (const [index, { namespace, key, version }] of (tx.body.pre ?? []).entries()) {
    const found = (await state.stored(namespace, key))?.version ?? null
    if (found !== version) return { code: 'TX_PRECONDITION_FAILED', index, found: found ?? 'absent' }
  }
  return undefined
}
