/**
 * The bytes of a vote log: a header, then one frame for each append, then a mark of the end.
 *
 *   header:  `apovotes` | version 4 | salt 8 | key 32 | length 2 | chain id | crc32c 4
 *   frame:   head (magic 4 | length 4 | crc32c 4) | records (type 1 | length 4 | payload) | crc32c 4
 *   end:     a head of another magic, length 0
 *
 * What a crash may leave and what only damage leaves must look different, since one is cut off and the other ends the key:
 *
 * - A head has a CRC of its own, so a flipped length is not taken for a frame that was cut short.
 * - A frame is written whole or was never acknowledged, whatever order the disk wrote its sectors in.
 * - A frame is begun, and the end is marked, only when all before is durable. So what is wrong with a right head anywhere behind
 *   it is damage; with none behind it, a write that stopped.
 * - The CRCs cover the place and a random salt of this file: no payload can hold what passes for a head.
 *
 * @see docs/spec/vote-log.md; docs/decisions/0059-frames-in-the-vote-log.md
 */
import { CodedError } from '../core/coded-error.ts'
import type { ChainId } from '../core/ids.ts'
import { VOTE_LOG_RECORD_BYTES_MAX } from '../core/limits.ts'
import { equals } from 'uint8arrays/equals'
import { crc32c } from './crc32c.ts'

export type VoteLogFault =
  | { code: 'VOTE_LOG_DAMAGED'; path: string; offset: number }
  | { code: 'VOTE_LOG_FOREIGN'; path: string; part: 'version' | 'chain' | 'key' }
  | { code: 'VOTE_LOG_MISSING'; path: string }
  | { code: 'VOTE_LOG_FULL'; bytes: number; bytesMax: number }
  | { code: 'VOTE_LOG_RECORD_TOO_LARGE'; bytes: number; bytesMax: number }
export class VoteLogError extends CodedError<VoteLogFault> {}

/** What one step of the consensus must not forget. */
export interface VoteLogRecord {
  /** 0 to 255: the caller's. */
  readonly type: number
  /** At most `VOTE_LOG_RECORD_BYTES_MAX` bytes. */
  readonly payload: Uint8Array
}

/** Whose log it is. */
export interface VoteLogOwner {
  readonly chain: ChainId
  /** The consensus key, 32 bytes. */
  readonly publicKey: Uint8Array
}

export interface VoteLogContent {
  readonly records: readonly VoteLogRecord[]
  readonly salt: Uint8Array
  /** Where the last whole frame ends. */
  readonly goodBytes: number
  /** Whether the end is marked right behind it, and nothing else follows. */
  readonly marked: boolean
}

export const VOTE_LOG_SALT_BYTES = 8
const MARK = new TextEncoder().encode('apovotes')
const VERSION = 1
const KEY_BYTES = 32
const SALT_AT = 12
const KEY_AT = SALT_AT + VOTE_LOG_SALT_BYTES
const CHAIN_LENGTH_AT = KEY_AT + KEY_BYTES
const CHAIN_AT = CHAIN_LENGTH_AT + 2
const CRC_BYTES = 4
const HEAD_BYTES = 12
const RECORD_HEAD_BYTES = 5
/** Big-endian words that differ in many bits: no single flip turns one into the other. */
const FRAME_MAGIC = 0x41705674
const END_MAGIC = 0xbe8fa98b

export function encodeVoteLogHeader(owner: VoteLogOwner, salt: Uint8Array): Uint8Array {
  const chain = new TextEncoder().encode(owner.chain)
  const bytes = new Uint8Array(CHAIN_AT + chain.length + CRC_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(MARK)
  view.setUint32(MARK.length, VERSION)
  bytes.set(salt, SALT_AT)
  bytes.set(owner.publicKey, KEY_AT)
  view.setUint16(CHAIN_LENGTH_AT, chain.length)
  bytes.set(chain, CHAIN_AT)
  view.setUint32(bytes.length - CRC_BYTES, crc32c(bytes.subarray(0, bytes.length - CRC_BYTES)))
  return bytes
}

/** Bytes of the frame of these records. */
export function voteLogFrameBytes(records: readonly VoteLogRecord[]): number {
  return records.reduce((sum, { payload }) => sum + RECORD_HEAD_BYTES + payload.length, HEAD_BYTES + CRC_BYTES)
}

/** @param offset - where the frame will stand in the file. @returns its parts, in order; payloads are not copied. */
export function encodeVoteLogFrame(records: readonly VoteLogRecord[], salt: Uint8Array, offset: number): Uint8Array[] {
  const bodyBytes = voteLogFrameBytes(records) - HEAD_BYTES - CRC_BYTES
  const parts: Uint8Array[] = [encodeHead(FRAME_MAGIC, bodyBytes, salt, offset)]
  for (const { type, payload } of records) {
    const head = new Uint8Array(RECORD_HEAD_BYTES)
    head[0] = type
    new DataView(head.buffer).setUint32(1, payload.length)
    parts.push(head, payload)
  }
  const end = new Uint8Array(CRC_BYTES)
  new DataView(end.buffer).setUint32(
    0,
    parts.reduce((crc, part) => crc32c(part, crc), 0),
  )
  return [...parts, end]
}

export function encodeVoteLogEnd(salt: Uint8Array, offset: number): Uint8Array {
  return encodeHead(END_MAGIC, 0, salt, offset)
}

/**
 * Reads a whole log.
 *
 * @param bytes - kept by the records, which are views of it.
 * @param path - named by the faults.
 * @throws {VoteLogError} `VOTE_LOG_DAMAGED`, `VOTE_LOG_FOREIGN`
 */
export function decodeVoteLog(bytes: Uint8Array, owner: VoteLogOwner, path: string): VoteLogContent {
  const { salt, headerBytes } = readHeader(bytes, owner, path)
  const records: VoteLogRecord[] = []
  let at = headerBytes
  for (;;) {
    const frame = readFrame(bytes, salt, at)
    if (frame === undefined) break
    const found = recordsOf(bytes.subarray(at + HEAD_BYTES, frame.end - CRC_BYTES))
    if (found === undefined) throw new VoteLogError({ code: 'VOTE_LOG_DAMAGED', path, offset: at })
    records.push(...found)
    at = frame.end
  }
  const marked = bytes.length === at + HEAD_BYTES && readHead(bytes, salt, at)?.magic === END_MAGIC
  for (let later = at + 1; later + HEAD_BYTES <= bytes.length; later++) {
    if (readHead(bytes, salt, later) !== undefined) {
      throw new VoteLogError({ code: 'VOTE_LOG_DAMAGED', path, offset: at })
    }
  }
  return { records, salt, goodBytes: at, marked }
}

/** The header is put in place with the file in one step: no crash leaves a part of it. */
function readHeader(
  bytes: Uint8Array,
  owner: VoteLogOwner,
  path: string,
): { readonly salt: Uint8Array; readonly headerBytes: number } {
  const damaged = new VoteLogError({ code: 'VOTE_LOG_DAMAGED', path, offset: 0 })
  if (bytes.length < CHAIN_AT || !equals(bytes.subarray(0, MARK.length), MARK)) throw damaged
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const crcAt = CHAIN_AT + view.getUint16(CHAIN_LENGTH_AT)
  if (crcAt + CRC_BYTES > bytes.length || view.getUint32(crcAt) !== crc32c(bytes.subarray(0, crcAt))) throw damaged
  if (view.getUint32(MARK.length) !== VERSION)
    throw new VoteLogError({ code: 'VOTE_LOG_FOREIGN', path, part: 'version' })
  const salt = bytes.slice(SALT_AT, KEY_AT)
  const expected = encodeVoteLogHeader(owner, salt)
  if (!equals(bytes.subarray(CHAIN_AT, crcAt), expected.subarray(CHAIN_AT, expected.length - CRC_BYTES))) {
    throw new VoteLogError({ code: 'VOTE_LOG_FOREIGN', path, part: 'chain' })
  }
  if (!equals(bytes.subarray(KEY_AT, CHAIN_LENGTH_AT), owner.publicKey)) {
    throw new VoteLogError({ code: 'VOTE_LOG_FOREIGN', path, part: 'key' })
  }
  return { salt, headerBytes: crcAt + CRC_BYTES }
}

/** @returns where the frame at `at` ends; undefined where there is no whole frame. */
function readFrame(bytes: Uint8Array, salt: Uint8Array, at: number): { readonly end: number } | undefined {
  const head = readHead(bytes, salt, at)
  if (head?.magic !== FRAME_MAGIC) return undefined
  const end = at + HEAD_BYTES + head.length + CRC_BYTES
  if (end > bytes.length) return undefined
  const crc = new DataView(bytes.buffer, bytes.byteOffset).getUint32(end - CRC_BYTES)
  return crc === crc32c(bytes.subarray(at, end - CRC_BYTES)) ? { end } : undefined
}

function recordsOf(body: Uint8Array): VoteLogRecord[] | undefined {
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  const records: VoteLogRecord[] = []
  let at = 0
  while (at < body.length) {
    if (at + RECORD_HEAD_BYTES > body.length) return undefined
    const length = view.getUint32(at + 1)
    const start = at + RECORD_HEAD_BYTES
    if (length > VOTE_LOG_RECORD_BYTES_MAX || start + length > body.length) return undefined
    records.push({ type: view.getUint8(at), payload: body.subarray(start, start + length) })
    at = start + length
  }
  return records
}

function encodeHead(magic: number, length: number, salt: Uint8Array, offset: number): Uint8Array {
  const head = new Uint8Array(HEAD_BYTES)
  const view = new DataView(head.buffer)
  view.setUint32(0, magic)
  view.setUint32(4, length)
  view.setUint32(8, headCrc(head, salt, offset))
  return head
}

function readHead(
  bytes: Uint8Array,
  salt: Uint8Array,
  at: number,
): { readonly magic: number; readonly length: number } | undefined {
  if (at + HEAD_BYTES > bytes.length) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, HEAD_BYTES)
  const magic = view.getUint32(0)
  if (magic !== FRAME_MAGIC && magic !== END_MAGIC) return undefined
  if (view.getUint32(8) !== headCrc(bytes.subarray(at, at + HEAD_BYTES), salt, at)) return undefined
  return { magic, length: view.getUint32(4) }
}

function headCrc(head: Uint8Array, salt: Uint8Array, offset: number): number {
  const place = new Uint8Array(VOTE_LOG_SALT_BYTES + 8)
  place.set(salt)
  new DataView(place.buffer).setBigUint64(VOTE_LOG_SALT_BYTES, BigInt(offset))
  return crc32c(head.subarray(0, 8), crc32c(place))
}
