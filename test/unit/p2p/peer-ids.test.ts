import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { parsePeerId, peerIdOfSeed, peerIdText } from '../../../src/p2p/peer-ids.ts'

test('the peer id of a seed is the peer id of its public key', async () => {
  const { privateKey } = generateKeyPairSync('ed25519')
  const jwk = privateKey.export({ format: 'jwk' })
  const seed = Buffer.from(jwk.d ?? '', 'base64url')
  const raw = Buffer.from(createPublicKey(privateKey).export({ format: 'jwk' }).x ?? '', 'base64url')
  const text = peerIdText(raw)
  expect(await peerIdOfSeed(seed)).toBe(text)
  expect(text).toMatch(/^12D3KooW/)
  expect(parsePeerId(text).toString()).toBe(text)
})

test.each(['', '12D3Koo', 'not a peer id'])('%j is P2P_PEER_ID_MALFORMED', (peer) => {
  const fault = { code: 'P2P_PEER_ID_MALFORMED', peer }
  expect(() => parsePeerId(peer)).toThrow(expect.objectContaining({ fault }))
})
