/** Decoders of the fields that several structures of the ledger share. */
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import {
  type AccountId,
  type Brand,
  type ChainId,
  type InstitutionId,
  type RecordId,
  type TxId,
  parseAccountId,
  parseInstitutionId,
  parseRecordId,
  parseTxId,
} from '../core/ids.ts'
import { type Decoder, byteString, cid, integer, shapeFault, text } from '../core/schema.ts'
import { DAG_CBOR } from '../crypto/hash.ts'

/** A libp2p peer id of an Ed25519 key, in base58btc: `12D3KooW…`. */
export type PeerIdText = Brand<string, 'PeerIdText'>

/** An Ed25519 public key as libp2p's protobuf, in an identity multihash: fixed head, then 32 bytes of key. */
const PEER_ID_HEAD = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20] as const
const PEER_ID_BYTES = PEER_ID_HEAD.length + 32

/** Makes a decoder of a parser that throws its own fault, so that the path is named. */
function parsed<T extends string>(parse: (value: string) => T, expected: string): Decoder<T> {
  const any = text(1, 128)
  return (value, path) => {
    const given = any(value, path)
    try {
      return parse(given)
    } catch {
      throw shapeFault(path, expected)
    }
  }
}

export const accountId: Decoder<AccountId> = parsed(parseAccountId, 'an account id: acc1 and 52 characters a-z2-7')
export const txId: Decoder<TxId> = parsed(parseTxId, 'a transaction id: tx1 and 52 characters a-z2-7')
export const recordId: Decoder<RecordId> = parsed(parseRecordId, 'a record id: rec1 and 52 characters a-z2-7')
export const institutionId: Decoder<InstitutionId> = parsed(
  parseInstitutionId,
  'an institution id: 1 to 32 of a-z, 0-9, -',
)

/** 32 bytes: a SHA-256. */
export const digest: Decoder<Uint8Array> = byteString(32)
/** 32 bytes: a raw Ed25519 public key; whether it is a point is checked where it is used. */
export const signingKey: Decoder<Uint8Array> = byteString(32)
/** 64 bytes: a raw Ed25519 signature. */
export const signatureBytes: Decoder<Uint8Array> = byteString(64)
/** Milliseconds since the Unix epoch. */
export const timeMs: Decoder<number> = integer(0)
/** A link to a dag-cbor block. */
export const cborLink: Decoder<CID> = cid(DAG_CBOR)

/** The text of a chain's id; the CID of its genesis. */
export const chainIdOfLink = (link: CID): ChainId => link.toString() as ChainId

/** The link behind a chain's id. */
export function parseLink(chain: ChainId): CID {
  // A process has one chain: its id isn't parsed for each transaction.
  if (lastParsed?.chain !== chain) lastParsed = { chain, link: CID.parse(chain) }
  return lastParsed.link
}

let lastParsed: { readonly chain: ChainId; readonly link: CID } | undefined

/** Whether the link is the chain's; spares the text of the link. */
export function isLinkOf(link: CID, chain: ChainId): boolean {
  return link.equals(parseLink(chain))
}

export const peerIdText: Decoder<PeerIdText> = (value, path) => {
  const expected = 'a peer id of an Ed25519 key: 12D3KooW and 44 characters'
  if (typeof value !== 'string' || value.length !== 52) throw shapeFault(path, expected)
  let bytes: Uint8Array
  try {
    bytes = base58btc.baseDecode(value)
  } catch {
    throw shapeFault(path, expected)
  }
  const isHead = PEER_ID_HEAD.every((byte, index) => bytes[index] === byte)
  // One spelling only: base58 with another number of leading zeros would be a second name of one peer.
  if (!isHead || bytes.length !== PEER_ID_BYTES || base58btc.baseEncode(bytes) !== value)
    throw shapeFault(path, expected)
  return value as PeerIdText
}

/** The raw Ed25519 public key, 32 bytes, behind a peer id. */
export function peerIdKey(peer: PeerIdText): Uint8Array {
  return base58btc.baseDecode(peer).slice(PEER_ID_HEAD.length)
}

/** The peer id of a raw Ed25519 key: what `peerIdKey` reads. */
export function peerIdOfKey(key: Uint8Array): PeerIdText {
  return peerIdText(base58btc.baseEncode(new Uint8Array([...PEER_ID_HEAD, ...key])), 'peer')
}
