/**
 * The erasure certificate as a document: whoever knows the chain's id checks it without a peer and without a network.
 *
 *   light proof ──► the ledger says that the object is erased, and has noted these very signatures
 *   signatures  ──► each holder's own word that it has deleted its column
 *
 * Whom it is still waited for is the word of the peer that made it.
 *
 * @see docs/spec/erasure-certificate.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import type { ChainId } from '../core/ids.ts'
import { EXTENTS_MAX, COLUMNS_MAX, CBOR_BYTES_MAX } from '../core/limits.ts'
import { byteString, integer, list, literal, object } from '../core/schema.ts'
import { verifyMany } from '../crypto/signatures.ts'
import { cborLink, institutionId, peerIdText, signatureBytes, timeMs } from '../ledger/fields.ts'
import { type CheckedProof, checkProof } from '../ledger/proof.ts'
import type { StateView } from '../ledger/state.ts'
import { equals } from 'uint8arrays/equals'
import { column } from './shard-receipt.ts'
import { type ErasureCertificate, erasedCheck, erasedSignature, erasureStateKeys } from './storage-erasure.ts'
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

/** @param proof - light proof of the first keys of `erasureStateKeys`. */
export function encodeErasureCertificate(of: ErasureCertificate, proof: Uint8Array): Uint8Array {
  return encodeCanonical({ version: 1, ...of, proof })
}

/**
 * Checks a certificate.
 *
 * @param bytes - untrusted.
 * @param trusted - as for `checkProof`.
 * @returns what it says, every signature checked, and the proof under it.
 * @throws {ErasureCertificateError}; {ProofError}
 */
export async function checkErasureCertificate(
  bytes: Uint8Array,
  trusted: { readonly chainId: ChainId; readonly genesis?: Uint8Array },
): Promise<{ readonly certificate: ErasureCertificate; readonly proof: CheckedProof }> {
  const { proof: proofBytes, version: _version, ...said } = decode(bytes)
  const proof = checkProof(proofBytes, trusted)
  const { proved } = proof
  if (proved.kind !== 'state') throw isFalse('its proof is not of the state')
  const view: StateView = {
    get: async (namespace, key) => {
      const found = proved.entries.find((entry) => entry.namespace === namespace && equals(entry.key, key))
      return found?.present === true ? found.value : undefined
    },
  }
  const stored = await getStoredObject(view, said.manifest)
  if (stored === undefined) throw isFalse('its proof is of another object')
  if (stored.erasedMs === 0 || stored.erasedMs !== said.erasedMs)
    throw isFalse('the ledger says otherwise of the erasure')
  const noted = erasureStateKeys(said).slice(1)
  for (const [at, { key, namespace }] of noted.entries()) {
    const value = await view.get(namespace, key)
    const { signature } = said.signed[at] ?? { signature: new Uint8Array(0) }
    // A proof holds some hundred entries: of larger objects the later columns have the peers' signatures alone.
    if (value !== undefined && !equals(erasedSignature(value), signature))
      throw isFalse('a signature is not the one on the ledger')
  }
  const checks = said.signed.map((one) =>
    erasedCheck(trusted.chainId, { manifest: said.manifest, ...one }, one.signature),
  )
  if ((await verifyMany(checks)).includes(false)) throw isFalse('a signature is not of the peer that it names')
  return { certificate: said, proof }
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
