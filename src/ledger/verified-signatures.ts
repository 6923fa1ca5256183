/**
 * Signatures of transactions that were found valid, so that what was admitted isn't verified again when it is executed, and what
 * was executed in one proposal not again in the next. Only good ones are remembered: a forger gains no place in memory.
 */
import { concat } from 'uint8arrays/concat'
import type { ChainId } from '../core/ids.ts'
import { VERIFIED_SIGNATURES_MAX } from '../core/limits.ts'
import { byteText, sha256 } from '../crypto/hash.ts'
import { verifyMessage } from '../crypto/signatures.ts'
import type { SignedTx, TxSignature } from './transaction.ts'

export class VerifiedSignatures {
  readonly #max: number
  /** SHA-256 of body hash, key and signature, one character a byte; oldest first. */
  readonly #good = new Set<string>()
  /** Of which all are good: while a transaction waits, it is one object. */
  readonly #whole = new WeakSet<SignedTx>()

  /** @param max - how many are remembered; the oldest are forgotten first. */
  constructor(max: number = VERIFIED_SIGNATURES_MAX) {
    this.#max = max
  }

  get count(): number {
    return this.#good.size
  }

  /** Whether all signatures of this very object were verified. */
  isWhole(tx: SignedTx): boolean {
    return this.#whole.has(tx)
  }

  /** All of its signatures were verified. */
  whole(tx: SignedTx): void {
    this.#whole.add(tx)
  }

  /** Whether this is the key's signature of the transaction, on this chain; a chain has a cache of its own. */
  verify(tx: SignedTx, { key, sig }: TxSignature, chain: ChainId): boolean {
    const name = byteText(sha256(concat([tx.hash, key, sig])))
    if (this.#good.has(name)) return true
    if (!verifyMessage(key, sig, 'tx', chain, tx.bodyBytes)) return false
    const oldest = this.#good.size >= this.#max ? this.#good.values().next().value : undefined
    if (oldest !== undefined) this.#good.delete(oldest)
    this.#good.add(name)
    return true
  }
}
