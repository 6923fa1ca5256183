/**
 * Makes envelope.json: `node test/vectors/make-envelope.ts > test/vectors/envelope.json`.
 *
 * Envelopes sealed by @hpke/core with @hpke/hybridkem-x-wing and @hpke/dhkem-x25519, a second implementation of RFC 9180 that
 * shares no code with `hpke`. Keys and encapsulation randomness are given, so a second run writes the same bytes.
 */
import { Aes256Gcm, CipherSuite, DhkemX25519HkdfSha256, HkdfSha256, type KemInterface } from '@hpke/core'
import { XWing } from '@hpke/hybridkem-x-wing'
import { concat } from 'uint8arrays/concat'
import { seededBytes } from './seeded.ts'

const PREFIX = new TextEncoder().encode('apotheca/envelope/1')

const hex = (bytes: ArrayBuffer | Uint8Array): string => Buffer.from(new Uint8Array(bytes)).toString('hex')
const owned = (bytes: Uint8Array): ArrayBuffer => new Uint8Array(bytes).buffer

async function envelope(wrap: string, kem: KemInterface, ikm: Uint8Array, ekm: ArrayBuffer | CryptoKeyPair) {
  const suite = new CipherSuite({ kem, kdf: new HkdfSha256(), aead: new Aes256Gcm() })
  const pair = await suite.kem.deriveKeyPair(owned(ikm))
  const secret = seededBytes(`secret ${wrap}`, 32)
  const context = seededBytes(`context ${wrap}`, 20)
  const info = owned(concat([PREFIX, context]))
  const sender = await suite.createSenderContext({ recipientPublicKey: pair.publicKey, info, ekm })
  return {
    wrap,
    privateKey: hex(await suite.kem.serializePrivateKey(pair.privateKey)),
    publicKey: hex(await suite.kem.serializePublicKey(pair.publicKey)),
    context: hex(context),
    secret: hex(secret),
    enc: hex(sender.enc),
    sealed: hex(await sender.seal(owned(secret))),
  }
}

const x25519 = new DhkemX25519HkdfSha256()
const cases = [
  await envelope('x-wing', new XWing(), seededBytes('key x-wing', 32), owned(seededBytes('encapsulation x-wing', 64))),
  await envelope(
    'x25519',
    x25519,
    seededBytes('key x25519', 32),
    await x25519.deriveKeyPair(owned(seededBytes('encapsulation x25519', 32))),
  ),
]
console.log(JSON.stringify({ source: '@hpke/core, by test/vectors/make-envelope.ts', cases }, undefined, 2))
