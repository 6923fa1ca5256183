/**
 * Makes light proofs of what a chain holds. Whoever gets one trusts neither this peer nor its store: see proof.ts.
 *
 * @see docs/spec/light-proof.md
 */
import type { TxId } from '../core/ids.ts'
import { PROOF_ENTRIES_MAX, PROOF_LINKS_MAX, PROOF_READ_TRIES } from '../core/limits.ts'
import { DAG_CBOR, digestCid } from '../crypto/hash.ts'
import { inclusionProof } from '../crypto/merkle.ts'
import type { Chain } from './chain.ts'
import type { ChainReader } from './chain-reader.ts'
import { ChainStoreError } from './chain-store.ts'
import type { FinalHeader } from './header.ts'
import { type LightProof, PROOF_VERSION, ProofError, type ProofLink, type ProofSubject, encodeProof } from './proof.ts'
import { encodeReceipt } from './receipt.ts'
import { encodeStateProof } from './state-proof.ts'
import { type Validator, type ValidatorSet, sameValidators } from './validators.ts'

/** What a proof is made from: a chain, as far as it is needed. */
export type ProofSource = Pick<Chain, 'genesisBytes' | 'proveHistory' | 'proveState'> & {
  readonly head: { readonly height: number }
  readonly reader: Pick<ChainReader, 'bodyAt' | 'headerAt' | 'headerById' | 'plainHeaderAt' | 'receipt' | 'receiptsAt'>
  validators(epoch: number): ValidatorSet | undefined
}

export interface StateKey {
  readonly namespace: string
  readonly key: Uint8Array
}

/**
 * Proof that the block of a height is final.
 *
 * @throws {ProofError} `PROOF_NOT_YET`, `PROOF_TOO_LONG`
 */
export async function proveBlock(source: ProofSource, height: number): Promise<Uint8Array> {
  return proofAt(source, height, { kind: 'block' })
}

/**
 * Proof of the values of state keys, or of their absence, all as of the newest final block.
 *
 * @param keys - 1 to `PROOF_ENTRIES_MAX`.
 * @throws {ProofError} `PROOF_NOT_YET`, `PROOF_TOO_LONG`
 */
export async function proveState(source: ProofSource, keys: readonly StateKey[]): Promise<Uint8Array> {
  if (keys.length > PROOF_ENTRIES_MAX) throw tooLong('state keys', keys.length, PROOF_ENTRIES_MAX)
  for (let tries = 0; tries < PROOF_READ_TRIES; tries++) {
    const found = await Promise.all(keys.map(async ({ key, namespace }) => source.proveState(namespace, key)))
    const height = found[0]?.head.height ?? 0
    if (found.some(({ head }) => head.height !== height)) continue
    const entries = keys.map(({ key, namespace }, index) => {
      const one = found[index]
      if (one === undefined) throw new Error('an answer for each key')
      return { namespace, key, value: one.value ?? null, proof: encodeStateProof(one.proof) }
    })
    return proofAt(source, height, { kind: 'state', entries })
  }
  throw new ProofError({ code: 'PROOF_NOT_YET', height: source.head.height })
}

/**
 * Proof that a transaction stands in a final block, and what its receipt says.
 *
 * @returns `undefined` where no final block that is kept here holds the transaction.
 * @throws {ProofError} `PROOF_NOT_YET`, `PROOF_TOO_LONG`
 */
export async function proveTransaction(source: ProofSource, id: TxId): Promise<Uint8Array | undefined> {
  const { reader } = source
  const found = await reader.receipt(id)
  if (found === undefined) return undefined
  const { height, index } = found
  const txs = (await reader.bodyAt(height))?.body.txs
  const receipts = (await reader.receiptsAt(height))?.map(encodeReceipt)
  const envelope = txs?.[index]
  const receipt = receipts?.[index]
  if (txs === undefined || receipts === undefined || envelope === undefined || receipt === undefined) return undefined
  return proofAt(source, height, {
    kind: 'transaction',
    index,
    count: txs.length,
    envelope,
    envelopePath: inclusionProof(txs, index),
    receipt,
    receiptPath: inclusionProof(receipts, index),
  })
}

async function proofAt(source: ProofSource, height: number, subject: ProofSubject): Promise<Uint8Array> {
  const newest = await newestFinal(source, height)
  const { firstEpoch, links } = await linksTo(source, newest.header.epoch)
  const isNewest = newest.header.height === height
  const proof: LightProof = {
    version: PROOF_VERSION,
    genesis: source.genesisBytes,
    links,
    newest: await linkOf(source, newest, firstEpoch),
    block: isNewest ? null : await placed(source, await plainHeaderAt(source, height), newest),
    subject,
  }
  return encodeProof(proof)
}

/** The newest block from this height on that has a finalize certificate of its own: one before it may be final by it alone. */
async function newestFinal(source: ProofSource, height: number): Promise<FinalHeader> {
  for (let at = source.head.height; at >= Math.max(height, 1); at--) {
    const final = await headerAt(source, at)
    if (final.certificate.kind === 'finalize') return final
  }
  throw new ProofError({ code: 'PROOF_NOT_YET', height })
}

/** The links to the validators of an epoch, and the epoch since which they are the same. */
async function linksTo(
  source: ProofSource,
  epoch: number,
): Promise<{ readonly links: readonly ProofLink[]; readonly firstEpoch: number }> {
  const links: ProofLink[] = []
  let trusted: readonly Validator[] = setOf(source, 0).validators
  let firstEpoch = 0
  for (let next = 1; next <= epoch; next++) {
    const { validators } = setOf(source, next)
    if (sameValidators(validators, trusted)) continue
    if (links.length === PROOF_LINKS_MAX) {
      throw tooLong('changes of validators', links.length + 1, PROOF_LINKS_MAX)
    }
    links.push(await linkOf(source, await lastBefore(source, next), firstEpoch))
    trusted = validators
    firstEpoch = next
  }
  return { links, firstEpoch }
}

async function linkOf(source: ProofSource, final: FinalHeader, firstEpoch: number): Promise<ProofLink> {
  const { certificateBytes: certificate, header, headerBytes } = final
  if (header.epoch === firstEpoch) return { header: headerBytes, certificate }
  const since = await placed(source, await lastBefore(source, header.epoch), final)
  return { header: headerBytes, certificate, since }
}

async function placed(
  source: ProofSource,
  earlier: Pick<FinalHeader, 'header' | 'headerBytes'>,
  later: FinalHeader,
): Promise<{ readonly header: Uint8Array; readonly path: readonly Uint8Array[] }> {
  return {
    header: earlier.headerBytes,
    path: await source.proveHistory(earlier.header.height, later.header.height),
  }
}

/** The last header of the epoch before: its hash is the seed of the epoch. */
async function lastBefore(source: ProofSource, epoch: number): Promise<FinalHeader> {
  const final = await source.reader.headerById(digestCid(DAG_CBOR, setOf(source, epoch).seed))
  if (final === undefined)
    throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'last header of the epoch before', at: epoch })
  return final
}

function setOf(source: ProofSource, epoch: number): ValidatorSet {
  const set = source.validators(epoch)
  if (set === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'epoch', at: epoch })
  return set
}

async function headerAt(source: ProofSource, height: number): Promise<FinalHeader> {
  const final = await source.reader.headerAt(height)
  if (final === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: height })
  return final
}

async function plainHeaderAt(
  source: ProofSource,
  height: number,
): Promise<Pick<FinalHeader, 'header' | 'headerBytes'>> {
  const found = await source.reader.plainHeaderAt(height)
  if (found === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: height })
  return found
}

function tooLong(what: string, count: number, countMax: number): ProofError {
  return new ProofError({ code: 'PROOF_TOO_LONG', what, count, countMax })
}
