/**
 * Keys from keys: HKDF-SHA256 (RFC 5869) with an empty salt and `info = "apotheca/<label>/1" || u32be(index)`.
 *
 * The index has a fixed length and the label comes before `/1`, so no two pairs of label and index share an info.
 */
import { equalSecrets, hkdfSha256 } from '#native'
import { concat } from 'uint8arrays/concat'
import { CodedError } from '../core/coded-error.ts'

export type DeriveFault =
  | { code: 'DERIVE_KEY_LENGTH'; bytes: number; expectedBytes: number }
  | { code: 'DERIVE_LABEL_INVALID'; label: string }
export class DeriveError extends CodedError<DeriveFault> {}

const KEY_BYTES = 32
const INDEX_BYTES = 4
const INDEX_MAX = 2 ** 32 - 1
const LABEL_PATTERN = /^[a-z0-9]+(?:-[a-z0-9]+)*$/
const NO_SALT = new Uint8Array(0)

export { equalSecrets }

/**
 * Derives a 32-byte key for one purpose.
 *
 * @param key - 32 bytes of full entropy; never a passphrase.
 * @param label - the purpose: `[a-z0-9-]`, such as `segment-index`.
 * @param index - which one of the purpose, 0 to 2^32 - 1.
 * @throws {DeriveError} `DERIVE_KEY_LENGTH`, `DERIVE_LABEL_INVALID`
 */
export function deriveKey(key: Uint8Array, label: string, index = 0): Uint8Array {
  if (key.length !== KEY_BYTES) {
    throw new DeriveError({ code: 'DERIVE_KEY_LENGTH', bytes: key.length, expectedBytes: KEY_BYTES })
  }
  if (!LABEL_PATTERN.test(label) || !Number.isInteger(index) || index < 0 || index > INDEX_MAX) {
    throw new DeriveError({ code: 'DERIVE_LABEL_INVALID', label: `${label}/${index}` })
  }
  const suffix = new Uint8Array(INDEX_BYTES)
  new DataView(suffix.buffer).setUint32(0, index)
  return hkdfSha256(key, NO_SALT, concat([new TextEncoder().encode(`apotheca/${label}/1`), suffix]), KEY_BYTES)
}
