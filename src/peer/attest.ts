/** The institution's signature beside that of an account that it registers: whoever may use this peer's API may register. */
import { ACCOUNT_CREATE } from '../domain/accounts.ts'
import { signMessage } from '../crypto/signatures.ts'
import { decodeEnvelope, encodeEnvelope } from '../ledger/transaction.ts'
import { PeerError } from './faults.ts'
import type { Peer } from './peer.ts'

/**
 * Adds the institution's signature to an `account.create`.
 *
 * @param envelope - signed by the new account alone.
 * @returns the envelope with both signatures, in the order that the ledger asks for.
 * @throws {CodecError} where it isn't an envelope; {PeerError} `ATTEST_TYPE` for any other transaction: this signature must not be
 * had for anything else
 */
export async function attestAccount(peer: Pick<Peer, 'identity' | 'chain'>, envelope: Uint8Array): Promise<Uint8Array> {
  const { body, bodyBytes, sigs } = decodeEnvelope(envelope)
  if (body.type !== ACCOUNT_CREATE || sigs.length !== 1) throw new PeerError({ code: 'ATTEST_TYPE', type: body.type })
  const { signer } = peer.identity.account
  const sig = await signMessage(signer, 'tx', peer.chain.id, bodyBytes)
  return encodeEnvelope({ body: bodyBytes, sigs: [...sigs, { key: signer.publicKey, alg: 'ed25519', sig }] })
}
