/**
 * The erasure certificate as a document: whoever knows the chain's id checks it without a peer and without a network.
 *
 *   light proof ──► the ledger says that the object is erased, and has noted these very signatures: it took each from a holder only
 *   signatures  ──► each holder's own word that it has deleted its column
 *
 * A proof has room for the signatures of so many columns. What is said of more, whose peers they are, and whom it is still waited for,
 * is the word of the peer that made the certificate: anyone can sign with some key that he has deleted something.
 *
 * @see docs/spec/erasure-certificate.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import type { ChainId } from '../core/ids.ts'
import { CBOR_BYTES_MAX, COLUMNS_MAX, EXTENTS_MAX, PROOF_ENTRIES_MAX } from '../core/limits.ts'
import { byteString, integer, list, literal, object } from '../core/schema.ts'
import { verifyMany } from '../crypto/signatures.ts'
import { cborLink, institutionId, peerIdText, signatureBytes, timeMs } from '../ledger/fields.ts'
import { type CheckedProof, checkProof } from '../ledger/proof.ts'
import type { StateView } from '../ledger/state.ts'
import { equals } from 'uint8arrays/equals'
import { column } from './shard-receipt.ts'
import { type ErasureCertificate, erasedCheck, erasureStateKeys, notedErasure } from './storage-erasure.ts'
import { getStoredObject } from './storage-state.ts'

export type ErasureCertificateFault =
  | { code: 'ERASURE_CERTIFICATE_MALFORMED' }
  | { code: 'ERASURE_CERTIFICATE_FALSE'; problem: string }
export class ErasureCertificateError extends CodedError<ErasureCertificateFault> {}

const COLUMNS_TOTAL_MAX = EXTENTS_MAX * COLUMNS_MAX
const erasedColumn = { index: integer(0, EXTENTS_MAX - 1), column, peer: peerIdText, institution: institutionId }
const certificate = object({
  version: literal(1),
  manifest: cborLink,
  erasedMs: timeMs,
  signed: list(object({ ...erasedColumn, timeMs, signature: signatureBytes }), 0, COLUMNS_TOTAL_MAX),
  waiting: list(object(erasedColumn), 0, COLUMNS_TOTAL_MAX),
  /** Light proof of the state keys of `erasureStateKeys`, as many as fit one. */
  proof: byteString(1, CBOR_BYTES_MAX),
})

/** Columns that a proof has room for, beside the object itself. */
const COLUMNS_PROVED_MAX = PROOF_ENTRIES_MAX - 1

export interface CheckedErasure {
  readonly certificate: ErasureCertificate
  /** So many of `signed`, from the first on, are as the ledger has them: signed by who held the column. Of the others nothing is proved. */
  readonly proved: number
  readonly proof: CheckedProof
}

/** @param proof - light proof of the first keys of `erasureStateKeys`. */
export function encodeErasureCertificate(of: ErasureCertificate, proof: Uint8Array): Uint8Array {
  return encodeCanonical({ version: 1, ...of, proof })
}

/**
 * Checks a certificate.
 *
 * @param bytes - untrusted.
 * @param trusted - as for `checkProof`.
 * @returns what it says, how much of that is proved, and the proof under it.
 * @throws {ErasureCertificateError}; {ProofError}
 */
export async function checkErasureCertificate(
  bytes: Uint8Array,
  trusted: { readonly chainId: ChainId; readonly genesis?: Uint8Array },
): Promise<CheckedErasure> {
  const { proof: proofBytes, version: _version, ...said } = decode(bytes)
  const proof = checkProof(proofBytes, trusted)
  const { proved } = proof
  if (proved.kind !== 'state') throw isFalse('its proof is not of the state')
  const entryOf = (namespace: string, key: Uint8Array) =>
    proved.entries.find((entry) => entry.namespace === namespace && equals(entry.key, key))
  const view: StateView = {
    get: async (namespace, key) => {
      const found = entryOf(namespace, key)
      return found?.present === true ? found.value : undefined
    },
  }
  const stored = await getStoredObject(view, said.manifest)
  if (stored === undefined) throw isFalse('its proof is of another object')
  if (stored.erasedMs === 0 || stored.erasedMs !== said.erasedMs)
    throw isFalse('the ledger says otherwise of the erasure')
  if (!isInOrder(said.signed)) throw isFalse('a column is named twice, or out of order')
  const noted = erasureStateKeys(said).slice(1, 1 + COLUMNS_PROVED_MAX)
  for (const [at, { key, namespace }] of noted.entries()) {
    const entry = entryOf(namespace, key)
    if (entry === undefined) throw isFalse('its proof leaves out a column')
    const { signature, timeMs: atMs } = said.signed[at] ?? { signature: new Uint8Array(0), timeMs: 0 }
    const found = entry.present ? notedErasure(entry.value) : undefined
    if (found === undefined || found.timeMs !== atMs || !equals(found.signature, signature))
      throw isFalse('a signature is not the one on the ledger')
  }
  const checks = said.signed.map((one) =>
    erasedCheck(trusted.chainId, { manifest: said.manifest, ...one }, one.signature),
  )
  if ((await verifyMany(checks)).includes(false)) throw isFalse('a signature is not of the peer that it names')
  return { certificate: said, proved: noted.length, proof }
}

/** By extent and column, each once, as the ledger lists them. */
function isInOrder(signed: ErasureCertificate['signed']): boolean {
  return signed.every((one, at) => {
    const before = signed[at - 1]
    return (
      before === undefined || before.index < one.index || (before.index === one.index && before.column < one.column)
    )
  })
}

function decode(bytes: Uint8Array): ReturnType<typeof certificate> {
  try {
    return certificate(decodeCanonical(bytes, ERASURE_CERTIFICATE_BYTES_MAX), 'certificate')
  } catch (error) {
    throw new ErasureCertificateError({ code: 'ERASURE_CERTIFICATE_MALFORMED' }, { cause: error })
  }
}

/** With its proof: that of an object of 4 TiB has 61,440 columns of 250 bytes. */
export const ERASURE_CERTIFICATE_BYTES_MAX: number = 20 * CBOR_BYTES_MAX

function isFalse(problem: string): ErasureCertificateError {
  return new ErasureCertificateError({ code: 'ERASURE_CERTIFICATE_FALSE', problem })
}
