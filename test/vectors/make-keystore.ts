/**
 * Makes keystore.json: `node test/vectors/make-keystore.ts > test/vectors/keystore.json`. Salt and nonce are random: a new run
 * gives another file, and the old one must still open.
 */
import { sealKeystore } from '../../src/crypto/keystore.ts'
import { ed25519PublicKey } from '../../src/crypto/native/node.ts'
import { hexOf, loadVectors } from './load.ts'
import { seededBytes } from './seeded.ts'

interface EnvelopeKey {
  wrap: 'x-wing' | 'x25519'
  privateKey: string
  publicKey: string
}

const passphrase = 'correct horse Bäckerei staple'
const seed = seededBytes('keystore ed25519', 32)
const envelopes = loadVectors<{ cases: EnvelopeKey[] }>('envelope').cases
const keys = [
  { name: 'signing', type: 'ed25519' as const, publicKey: ed25519PublicKey(seed), privateKey: seed },
  ...envelopes.map(({ wrap, privateKey, publicKey }) => ({
    name: wrap,
    type: wrap,
    publicKey: new Uint8Array(Buffer.from(publicKey, 'hex')),
    privateKey: new Uint8Array(Buffer.from(privateKey, 'hex')),
  })),
]
const file = await sealKeystore(keys, new TextEncoder().encode(passphrase))
const shown = keys.map((key) => ({ ...key, publicKey: hexOf(key.publicKey), privateKey: hexOf(key.privateKey) }))
const vector = {
  source: 'test/vectors/make-keystore.ts',
  passphrase,
  keys: shown,
  file: new TextDecoder().decode(file),
}
console.log(JSON.stringify(vector, undefined, 2))
