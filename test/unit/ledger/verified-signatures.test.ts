import { beforeEach, expect, test } from 'vitest'
import { draftRecordAdd } from '../../../src/domain/records.ts'
import { type SignedTx, decodeEnvelope, encodeEnvelope } from '../../../src/ledger/transaction.ts'
import { VerifiedSignatures } from '../../../src/ledger/verified-signatures.ts'
import { TestChain, person } from './network.ts'
import { manifestOf, wrapped } from './samples.ts'

const ada = person('ada', 'city')
const draft = draftRecordAdd({ patient: ada.id, category: 'imaging', manifest: manifestOf('m'), key: wrapped('ada') })

let chain: TestChain
let tx: SignedTx
beforeEach(async () => {
  chain = await TestChain.open()
  tx = await chain.tx(ada, draft)
})

const verify = (cache: VerifiedSignatures, of: SignedTx): boolean =>
  of.sigs.every((one) => cache.verify(of, one, chain.id))

test('a good signature is remembered, a bad one is not, and neither changes the other’s verdict', () => {
  const cache = new VerifiedSignatures()
  const [sig] = tx.sigs
  if (sig === undefined) throw new Error('it is signed')
  const forged = decodeEnvelope(encodeEnvelope({ body: tx.bodyBytes, sigs: [{ ...sig, sig: new Uint8Array(64) }] }))
  expect([verify(cache, forged), cache.count]).toEqual([false, 0])
  expect([verify(cache, tx), cache.count]).toEqual([true, 1])
  expect([verify(cache, tx), verify(cache, forged), cache.count]).toEqual([true, false, 1])
})

test('a signature of one transaction counts for no other', async () => {
  const cache = new VerifiedSignatures()
  verify(cache, tx)
  const other = await chain.tx(ada, draft, { seq: 2 })
  expect(verify(cache, decodeEnvelope(encodeEnvelope({ body: other.bodyBytes, sigs: tx.sigs })))).toBe(false)
})

test('so many are remembered and no more; the oldest go first, and are checked again', async () => {
  const cache = new VerifiedSignatures(3)
  const txs = await Promise.all([1, 2, 3, 4, 5].map((seq) => chain.tx(ada, draft, { seq })))
  for (const one of [...txs, ...txs]) {
    expect(verify(cache, one)).toBe(true)
    expect(cache.count).toBeLessThanOrEqual(3)
  }
})
