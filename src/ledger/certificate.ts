/**
 * Certificates: exactly q signatures of one ballot, in signer order.
 *
 * Exactly q, not "at least": a certificate has one form for one set of signers, and can't be padded. The bitmap names each
 * signer once, so a signature can't be counted twice.
 *
 * @see docs/spec/certificate.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import type { ChainId } from '../core/ids.ts'
import { CERTIFICATE_BYTES_MAX, VALIDATORS_MAX } from '../core/limits.ts'
import { type Decoder, byteString, list, object } from '../core/schema.ts'
import { verifyMessage } from '../crypto/signatures.ts'
import { signatureBytes } from './fields.ts'
import { type ValidatorSet, quorumOf } from './validators.ts'
import { type Ballot, type Vote, ballotBytes, ballotFields, checkBallotBlock } from './vote.ts'

export interface Certificate extends Ballot {
  /** Bit `i & 7` of byte `i >> 3` is set if validator `i` signed; exactly as many bytes as the validators need. */
  readonly signers: Uint8Array
  /** One signature per bit that is set, in the order of the indexes. */
  readonly sigs: readonly Uint8Array[]
}

export type CertificateFault =
  | { code: 'CERTIFICATE_EPOCH_WRONG'; epoch: number; expected: number }
  | { code: 'CERTIFICATE_SIGNERS_MALFORMED'; bytes: number; expectedBytes: number }
  | { code: 'CERTIFICATE_SIGNER_UNKNOWN'; signer: number; validators: number }
  | { code: 'CERTIFICATE_NO_QUORUM'; signatures: number; quorum: number }
  | { code: 'CERTIFICATE_SIGNATURE_INVALID'; signer: number }

const certificateFields = object({
  ...ballotFields,
  signers: byteString(1, Math.ceil(VALIDATORS_MAX / 8)),
  sigs: list(signatureBytes, 1, VALIDATORS_MAX),
})

export const certificate: Decoder<Certificate> = (value, path) => {
  const decoded = certificateFields(value, path)
  checkBallotBlock(decoded, path)
  return decoded
}

export function encodeCertificate(value: Certificate): Uint8Array {
  return encodeCanonical(value)
}

/** @throws {CodecError} */
export function decodeCertificate(bytes: Uint8Array): Certificate {
  return certificate(decodeCanonical(bytes, CERTIFICATE_BYTES_MAX), 'certificate')
}

/** The indexes in a signer bitmap, ascending. */
export function signersOf(bitmap: Uint8Array): number[] {
  const signers: number[] = []
  for (const [offset, byte] of bitmap.entries()) {
    for (let bit = 0; bit < 8; bit++) if ((byte >> bit) & 1) signers.push(offset * 8 + bit)
  }
  return signers
}

/**
 * Checks all of a certificate but its signatures.
 *
 * @returns the first fault, or `undefined`.
 */
export function certificateShapeFault(given: Certificate, set: ValidatorSet): CertificateFault | undefined {
  const validators = set.validators.length
  if (given.epoch !== set.epoch) {
    return { code: 'CERTIFICATE_EPOCH_WRONG', epoch: given.epoch, expected: set.epoch }
  }
  const expectedBytes = Math.ceil(validators / 8)
  if (given.signers.length !== expectedBytes) {
    return { code: 'CERTIFICATE_SIGNERS_MALFORMED', bytes: given.signers.length, expectedBytes }
  }
  const signers = signersOf(given.signers)
  const stranger = signers.find((signer) => signer >= validators)
  if (stranger !== undefined) return { code: 'CERTIFICATE_SIGNER_UNKNOWN', signer: stranger, validators }
  const quorum = quorumOf(validators)
  if (signers.length !== quorum || given.sigs.length !== quorum) {
    return { code: 'CERTIFICATE_NO_QUORUM', signatures: Math.min(signers.length, given.sigs.length), quorum }
  }
  return undefined
}

/**
 * Checks a certificate against the validators of its epoch; the cheap checks come first.
 *
 * @returns the first fault, or `undefined` if the certificate holds.
 */
export function checkCertificate(given: Certificate, chain: ChainId, set: ValidatorSet): CertificateFault | undefined {
  const fault = certificateShapeFault(given, set)
  if (fault !== undefined) return fault
  const message = ballotBytes(given)
  for (const [index, signer] of signersOf(given.signers).entries()) {
    const key = set.validators[signer]?.key
    const sig = given.sigs[index]
    if (key === undefined || sig === undefined || !verifyMessage(key, sig, given.kind, chain, message)) {
      return { code: 'CERTIFICATE_SIGNATURE_INVALID', signer }
    }
  }
  return undefined
}

/**
 * Makes a certificate of votes for one ballot: of those with the lowest indexes, as many as a quorum needs.
 *
 * @param votes - each verified already; other ballots and second votes of one signer are passed over.
 * @returns `undefined` while there are too few.
 */
export function certificateOfVotes(ballot: Ballot, votes: readonly Vote[], set: ValidatorSet): Certificate | undefined {
  const wanted = ballotBytes(ballot).join()
  const bySigner = new Map<number, Uint8Array>()
  for (const vote of votes) {
    if (vote.kind === ballot.kind && ballotBytes(vote).join() === wanted && vote.signer < set.validators.length) {
      if (!bySigner.has(vote.signer)) bySigner.set(vote.signer, vote.sig)
    }
  }
  const quorum = quorumOf(set.validators.length)
  if (bySigner.size < quorum) return undefined
  const chosen = [...bySigner].sort(([a], [b]) => a - b).slice(0, quorum)
  const signers = new Uint8Array(Math.ceil(set.validators.length / 8))
  for (const [signer] of chosen) signers[signer >> 3] = (signers[signer >> 3] ?? 0) | (1 << (signer & 7))
  const { epoch, view, kind, block } = ballot
  return { epoch, view, kind, ...(block === undefined ? {} : { block }), signers, sigs: chosen.map(([, sig]) => sig) }
}
