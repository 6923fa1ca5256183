/** Reads vote logs for the ledger checker: written from docs/spec/vote-log.md alone, it shares nothing with what it checks. */
import { decode } from '@ipld/dag-cbor'
import type { CID } from 'multiformats/cid'

const FRAME_MAGIC = 0x41705674
const HEADER_FIXED_BYTES = 8 + 4 + 8 + 32
const HEAD_BYTES = 12
const CRC_BYTES = 4
const RECORD_HEAD_BYTES = 5
/** The type of a record that is a vote (docs/spec/vote-log.md says: the caller's; src/consensus/replica.ts). */
const VOTE_RECORD = 1
/** Castagnoli's polynomial, bits reversed. */
const CRC_POLYNOMIAL = 0x82f63b78

export interface SignedVote {
  readonly epoch: number
  readonly view: number
  readonly kind: 'notarize' | 'nullify' | 'finalize'
  readonly block?: CID
  readonly signer: number
  readonly sig: Uint8Array
}

export interface ReadVoteLog {
  readonly chain: string
  /** The consensus key, 32 bytes. */
  readonly key: Uint8Array
  readonly votes: readonly SignedVote[]
}

/** @returns votes of all whole frames. @throws where the header is damaged, or a record is no vote. */
export function readVoteLog(bytes: Uint8Array): ReadVoteLog {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const text = new TextDecoder()
  if (text.decode(bytes.subarray(0, 8)) !== 'apovotes' || view.getUint32(8) !== 1) throw new Error('not a vote log')
  const chainAt = HEADER_FIXED_BYTES + 2
  const crcAt = chainAt + view.getUint16(HEADER_FIXED_BYTES)
  if (view.getUint32(crcAt) !== crc32c(bytes.subarray(0, crcAt))) throw new Error('the header of a vote log is damaged')
  const votes: SignedVote[] = []
  let at = crcAt + CRC_BYTES
  for (;;) {
    const end = frameEnd(bytes, view, at)
    if (end === undefined) break
    let record = at + HEAD_BYTES
    while (record < end - CRC_BYTES) {
      const from = record + RECORD_HEAD_BYTES
      const to = from + view.getUint32(record + 1)
      if (to > end - CRC_BYTES) throw new Error(`a record at ${record} of a vote log is longer than its frame`)
      if (view.getUint8(record) === VOTE_RECORD) votes.push(decode<SignedVote>(bytes.slice(from, to)))
      record = to
    }
    at = end
  }
  return { chain: text.decode(bytes.subarray(chainAt, crcAt)), key: bytes.slice(20, 52), votes }
}

/** Where the whole frame at `at` ends; undefined where none stands. */
function frameEnd(bytes: Uint8Array, view: DataView, at: number): number | undefined {
  if (at + HEAD_BYTES > bytes.length || view.getUint32(at) !== FRAME_MAGIC) return undefined
  const end = at + HEAD_BYTES + view.getUint32(at + 4) + CRC_BYTES
  if (end > bytes.length) return undefined
  return view.getUint32(end - CRC_BYTES) === crc32c(bytes.subarray(at, end - CRC_BYTES)) ? end : undefined
}

/** Bit by bit: slow, and plainly the definition. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ CRC_POLYNOMIAL : crc >>> 1
  }
  return (crc ^ 0xffffffff) >>> 0
}
