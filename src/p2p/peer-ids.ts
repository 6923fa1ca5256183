/** Peer ids as text (the genesis and the config name peers so) and as libp2p's own type. */
import { generateKeyPairFromSeed, publicKeyFromRaw } from '@libp2p/crypto/keys'
import type { PeerId } from '@libp2p/interface'
import { peerIdFromPrivateKey, peerIdFromPublicKey, peerIdFromString } from '@libp2p/peer-id'
import { CodedError } from '../core/coded-error.ts'

export type PeerIdFault = { code: 'P2P_PEER_ID_MALFORMED'; peer: string }
export class PeerIdError extends CodedError<PeerIdFault> {}

/** @param publicKey - raw Ed25519, 32 bytes. */
export function peerIdText(publicKey: Uint8Array): string {
  return peerIdFromPublicKey(publicKeyFromRaw(publicKey)).toString()
}

/** @param seed - of the peer's Ed25519 key, 32 bytes, as given to `startHost`. */
export async function peerIdOfSeed(seed: Uint8Array): Promise<string> {
  return peerIdFromPrivateKey(await generateKeyPairFromSeed('Ed25519', seed)).toString()
}

/** @throws {PeerIdError} `P2P_PEER_ID_MALFORMED` */
export function parsePeerId(text: string): PeerId {
  try {
    return peerIdFromString(text)
  } catch (error) {
    throw new PeerIdError({ code: 'P2P_PEER_ID_MALFORMED', peer: text }, { cause: error })
  }
}
