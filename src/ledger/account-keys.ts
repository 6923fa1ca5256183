/**
 * The public keys of an account, and the id made of the first of them. The id stays the same when keys are rotated: it is
 * the hash of where the account began.
 *
 * @see docs/spec/accounts.md
 */
import { encodeCanonical } from '../core/codec.ts'
import { type AccountId, accountIdOf } from '../core/ids.ts'
import { type Decoder, literal, object, shapeFault } from '../core/schema.ts'
import { type EncryptionPublicKey, WRAP_LENGTHS } from '../crypto/envelope.ts'
import { sha256 } from '../crypto/hash.ts'

export interface AccountKeys {
  /** Raw Ed25519, 32 bytes. */
  readonly signingKey: Uint8Array
  readonly encryption: EncryptionPublicKey
}

/** Account keys, their byte fields read by `bytes(min, max)`: as they are in the canonical form, from text in JSON. */
export function accountKeysBy(bytes: (min: number, max?: number) => Decoder<Uint8Array>): Decoder<AccountKeys> {
  const { 'x-wing': longest, x25519: shortest } = WRAP_LENGTHS
  const fields = object({
    wrap: literal('x-wing', 'x25519'),
    publicKey: bytes(shortest.publicKeyBytes, longest.publicKeyBytes),
  })
  const encryption: Decoder<EncryptionPublicKey> = (value, path) => {
    const key = fields(value, path)
    const expected = WRAP_LENGTHS[key.wrap].publicKeyBytes
    if (key.publicKey.length !== expected) throw shapeFault(`${path}.publicKey`, `${expected} bytes for ${key.wrap}`)
    return key
  }
  return object({ signingKey: bytes(32), encryption })
}

/** The id of the account that begins with these keys. */
export function accountIdOfKeys(keys: AccountKeys): AccountId {
  const { signingKey: key, encryption } = keys
  const { wrap, publicKey } = encryption
  return accountIdOf(sha256(encodeCanonical({ signingKey: key, encryption: { wrap, publicKey } })))
}
