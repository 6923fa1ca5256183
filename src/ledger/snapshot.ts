/**
 * Chunks of a snapshot: consecutive entries of the state of one version, each chunk with a range proof against that version's
 * root. Pure: a peer checks a chunk with a final header's `stateRoot` before it keeps anything of it, so that a lying peer is
 * caught at its first chunk.
 *
 * Entries stand in the order of their tree keys. A chunk holds all keys from `from` to its last entry's, or to the very last key
 * where `isLast`; the next one begins with the key after.
 *
 * @see docs/spec/snapshot.md
 */
import { compare } from 'uint8arrays/compare'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import { SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_CHUNK_ENTRIES_MAX, STATE_KEY_BYTES_MAX } from '../core/limits.ts'
import { type Decoder, boolean, byteString, list, object, shapeFault, text } from '../core/schema.ts'
import { sha256 } from '../crypto/hash.ts'
import { digest } from './fields.ts'
import { treeKey } from './state-proof.ts'
import { LAST_KEY, type RangeProof, keyAfter, rangeProof, verifyRange } from './state-range.ts'

export interface SnapshotEntry {
  readonly namespace: string
  readonly key: Uint8Array
  /** `[version, value]`, canonical: the bytes that are hashed. */
  readonly bytes: Uint8Array
}

export interface SnapshotChunk {
  /** Tree key that the chunk begins with, whether or not there is an entry for it. */
  readonly from: Uint8Array
  readonly entries: readonly SnapshotEntry[]
  /** No entry follows. */
  readonly isLast: boolean
  readonly proof: RangeProof
}

/** An entry that was proved to belong to the state. */
export interface VerifiedEntry extends SnapshotEntry {
  readonly treeKey: Uint8Array
  readonly valueHash: Uint8Array
}

export interface VerifiedChunk {
  readonly entries: readonly VerifiedEntry[]
  /** Where the next chunk begins; `undefined` after the last. */
  readonly next: Uint8Array | undefined
}

export type SnapshotFault =
  | { code: 'SNAPSHOT_CHUNK_OUT_OF_TURN' }
  | { code: 'SNAPSHOT_CHUNK_EMPTY' }
  | { code: 'SNAPSHOT_INCOMPLETE'; height: number }
  | { code: 'SNAPSHOT_VERSION_GONE'; height: number }
export class SnapshotError extends CodedError<SnapshotFault> {}

const namespace = text(1, 32, /^[a-z][a-z0-9-]*$/)
const stateKey = byteString(1, STATE_KEY_BYTES_MAX)
const valueBytes = byteString(1, SNAPSHOT_CHUNK_BYTES_MAX)

/** As it is stored, and as it stands in a chunk: a list of three. */
const entry: Decoder<SnapshotEntry> = (value, path) => {
  if (!Array.isArray(value) || value.length !== 3) throw shapeFault(path, 'a list of namespace, key and value')
  const [name, key, bytes] = value as readonly unknown[]
  return {
    namespace: namespace(name, `${path}[0]`),
    key: stateKey(key, `${path}[1]`),
    bytes: valueBytes(bytes, `${path}[2]`),
  }
}
const chunk: Decoder<SnapshotChunk> = object({
  from: digest,
  entries: list(entry, 0, SNAPSHOT_CHUNK_ENTRIES_MAX),
  isLast: boolean,
  proof: rangeProof,
})

export function encodeSnapshotChunk(given: SnapshotChunk): Uint8Array {
  const { entries, ...rest } = given
  return encodeCanonical({ ...rest, entries: entries.map(({ bytes, key, namespace: name }) => [name, key, bytes]) })
}

/** @throws {CodecError} */
export function decodeSnapshotChunk(bytes: Uint8Array): SnapshotChunk {
  return chunk(decodeCanonical(bytes, SNAPSHOT_CHUNK_BYTES_MAX), 'chunk')
}

/** @throws {CodecError} */
export function decodeSnapshotEntry(bytes: Uint8Array): SnapshotEntry {
  return entry(decodeCanonical(bytes, SNAPSHOT_CHUNK_BYTES_MAX), 'entry')
}

/**
 * Checks that a chunk holds exactly what the state has from its beginning to its end.
 *
 * @param root - `stateRoot` of a final header.
 * @param from - where the chunk must begin: `FIRST_KEY`, or `next` of the chunk before.
 * @param given - untrusted, decoded.
 * @throws {SnapshotError} `SNAPSHOT_CHUNK_OUT_OF_TURN`, `SNAPSHOT_CHUNK_EMPTY`
 * @throws {RangeProofError}
 */
export function verifyChunk(root: Uint8Array, from: Uint8Array, given: SnapshotChunk): VerifiedChunk {
  if (compare(given.from, from) !== 0) throw new SnapshotError({ code: 'SNAPSHOT_CHUNK_OUT_OF_TURN' })
  const entries = given.entries.map((one) => ({
    ...one,
    treeKey: treeKey(one.namespace, one.key),
    valueHash: sha256(one.bytes),
  }))
  const last = given.isLast ? LAST_KEY : entries.at(-1)?.treeKey
  // Chunks without entries could be sent forever.
  if (last === undefined) throw new SnapshotError({ code: 'SNAPSHOT_CHUNK_EMPTY' })
  const leaves = entries.map(({ treeKey: key, valueHash }) => ({ key, valueHash }))
  verifyRange(root, { from, to: last }, leaves, given.proof)
  return { entries, next: keyAfter(last) }
}
