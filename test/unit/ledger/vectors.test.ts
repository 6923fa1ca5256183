import { beforeAll, expect, test } from 'vitest'
import { bytesOfHex, loadVectors } from '../../vectors/load.ts'
import { ledgerVectors } from '../../vectors/make-ledger.ts'
import { checkCertificate, decodeCertificate } from '../../../src/ledger/certificate.ts'
import type { ChainId } from '../../../src/core/ids.ts'
import { Chain } from '../../../src/ledger/chain.ts'
import { chainIdOf, encodeGenesis, parseGenesisJson } from '../../../src/ledger/genesis.ts'
import { decodeStateProof, verifyStateProof, verifyStateValue } from '../../../src/ledger/state-proof.ts'
import { decodeEnvelope } from '../../../src/ledger/transaction.ts'
import { TestChain } from './network.ts'

const NAMES = ['ledger-genesis', 'ledger-transaction', 'ledger-chain', 'ledger-votes', 'ledger-state-tree']

let made: Readonly<Record<string, object>>
beforeAll(async () => {
  made = await ledgerVectors()
})

test.each(NAMES)('%s: what this code encodes is what was pinned, byte for byte', (name) => {
  expect(made[name]).toEqual(loadVectors(name))
})

test('the pinned genesis, in the form people write, has the pinned chain id', () => {
  const { bytes, chain, json } = loadVectors<{ json: string; bytes: string; chain: string }>('ledger-genesis')
  expect(encodeGenesis(parseGenesisJson(json))).toEqual(bytesOfHex(bytes))
  expect(chainIdOf(bytesOfHex(bytes))).toBe(chain)
})

test('pinned envelopes have their pinned ids', () => {
  const { transactions } = loadVectors<{ transactions: { envelope: string; id: string; type: string }[] }>(
    'ledger-transaction',
  )
  for (const { envelope, id, type } of transactions) {
    const tx = decodeEnvelope(bytesOfHex(envelope))
    expect([tx.id, tx.body.type]).toEqual([id, type])
  }
})

test('a peer that starts from the pinned genesis accepts the pinned blocks', async () => {
  const { blocks } = loadVectors<{ blocks: { header: string; certificate: string; body: string; id: string }[] }>(
    'ledger-chain',
  )
  const { bytes } = loadVectors<{ bytes: string }>('ledger-genesis')
  const peer = new TestChain()
  peer.nowMs += 60_000
  const chain = await Chain.open(peer.deps, { genesisBytes: bytesOfHex(bytes) })
  for (const { body, certificate, header, id } of blocks) {
    const block = { header: bytesOfHex(header), certificate: bytesOfHex(certificate), body: bytesOfHex(body) }
    expect(await chain.acceptBlock(block)).toBe('accepted')
    expect(chain.head.id.toString()).toBe(id)
  }
})

test('the pinned certificate of three of four holds', () => {
  const { certificate, chain, keys, seed } = loadVectors<{
    certificate: string
    chain: ChainId
    keys: string[]
    seed: string
  }>('ledger-votes')
  const { validators } = new TestChain().genesis
  const [{ institution } = { institution: undefined }] = validators
  if (institution === undefined) throw new Error('the genesis has a validator')
  const set = {
    epoch: 2,
    seed: bytesOfHex(seed),
    validators: keys.map((key) => ({ institution, key: bytesOfHex(key) })),
  }
  expect(checkCertificate(decodeCertificate(bytesOfHex(certificate)), chain, set)).toBeUndefined()
})

test('the pinned proofs hold under the pinned root, of presence and of absence', () => {
  const { absent, entries, root } = loadVectors<{
    root: string
    entries: { treeKey: string; value: string; proof: string }[]
    absent: { treeKey: string; proof: string }
  }>('ledger-state-tree')
  for (const { proof, treeKey, value } of entries) {
    const decoded = decodeStateProof(bytesOfHex(proof))
    expect(() => verifyStateValue(bytesOfHex(root), bytesOfHex(treeKey), bytesOfHex(value), decoded)).not.toThrow()
  }
  const none = decodeStateProof(bytesOfHex(absent.proof))
  expect(verifyStateProof(bytesOfHex(root), bytesOfHex(absent.treeKey), none)).toBeUndefined()
})
