/** What a broken or hostile peer may send: whole blocks that a leader made of what has no place in one, and certificates. */
import { beforeEach, describe, expect, test } from 'vitest'
import { signVote } from '../../../src/consensus/votes.ts'
import { encodeCanonical } from '../../../src/core/codec.ts'
import { CodedError } from '../../../src/core/coded-error.ts'
import { BLOCK_TXS_MAX, TX_QUOTA_URGENT } from '../../../src/core/limits.ts'
import { draftMembershipPropose } from '../../../src/domain/membership.ts'
import { draftRecordAdd } from '../../../src/domain/records.ts'
import { leafHash } from '../../../src/crypto/merkle.ts'
import { bodyCid, txRootOf } from '../../../src/ledger/block-body.ts'
import { type Certificate, checkCertificate, encodeCertificate } from '../../../src/ledger/certificate.ts'
import { encodeFinalHeader, encodeHeader, headerId } from '../../../src/ledger/header.ts'
import { QUOTA_NAMESPACE } from '../../../src/ledger/quota.ts'
import { encodeStateValue } from '../../../src/ledger/state.ts'
import { type SignedTx, signTx } from '../../../src/ledger/transaction.ts'
import type { ValidatorSet } from '../../../src/ledger/validators.ts'
import { HOUR_MS, TestChain, makeGenesis, person, signerOf, staff } from './network.ts'
import { manifestOf, wrapped } from './samples.ts'

const ada = person('ada', 'city')
const record = draftRecordAdd({ patient: ada.id, category: 'imaging', manifest: manifestOf('m'), key: wrapped('ada') })

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'ok'
  } catch (error) {
    if (!(error instanceof CodedError)) throw error
    const fault = error.fault as { code: string; problem?: string }
    return fault.problem === undefined ? fault.code : `${fault.code} ${fault.problem}`
  }
}

describe('a block by a leader who follows no rule', () => {
  let chain: TestChain
  let tx: SignedTx
  beforeEach(async () => {
    chain = await TestChain.open()
    await chain.block(await chain.createTx(ada))
    tx = await chain.tx(ada, record)
  })

  /** A header that is right in all but what these transactions would do, with a body of them; certified. */
  async function blockOf(envelopes: readonly Uint8Array[], timeMs?: number): Promise<string> {
    const proposal = await chain.propose([], timeMs === undefined ? {} : { timeMs })
    const parentCert = await chain.chain.reader.certificateAt(chain.chain.head.height)
    const body = encodeCanonical({ txs: envelopes, justify: { parentCert, nullifyCerts: [] } })
    const fields = { ...proposal.fields, body: bodyCid(body), txRoot: txRootOf(envelopes.map(leafHash)) }
    const header = encodeHeader(fields)
    const block = await chain.finalize({ ...proposal, fields, header, body, id: headerId(header) })
    const [pending, final] = [codeOf(chain.chain.addPending({ header, body })), codeOf(chain.chain.acceptBlock(block))]
    const code = await pending
    expect(await final).toBe(code)
    expect(chain.chain.head.height).toBe(1)
    return code
  }

  const changed = (change: Partial<SignedTx['body']>): Promise<SignedTx> =>
    signTx({ ...tx.body, ...change }, [ada.signer])

  test.each<[string, string, () => Promise<SignedTx>]>([
    ['a replay', 'TX_SEQ_USED', async () => chain.createTx(ada)],
    ['a turn before its time', 'TX_SEQ_AHEAD', () => changed({ seq: 3 })],
    ['an expired one', 'TX_EXPIRED', () => changed({ expiresMs: chain.nowMs })],
    ['one that expires in two days', 'TX_EXPIRES_TOO_FAR', () => changed({ expiresMs: chain.nowMs + 48 * HOUR_MS })],
    ['one of another chain', 'TX_WRONG_CHAIN', () => changed({ chain: manifestOf('elsewhere') })],
    ['one of an unknown type', 'TX_TYPE_UNKNOWN', () => changed({ type: 'record.burn' })],
    ['one in the wrong lane', 'TX_LANE_WRONG', () => changed({ lane: 3 })],
    ['an oversized one', 'TX_TOO_LARGE', () => changed({ payload: new Uint8Array(40_000) })],
    ['one that another signed', 'TX_SIGNATURE_KEY_WRONG', () => signTx(tx.body, [staff('city').signer])],
  ])('with %s is refused', async (_what, code, make) => {
    const bad = await make()
    expect(await blockOf([bad.bytes])).toBe(`BLOCK_TX_INADMISSIBLE ${code}`)
  })

  test('with one twice is refused', async () => {
    expect(await blockOf([tx.bytes, tx.bytes])).toBe('BLOCK_TX_INADMISSIBLE TX_SEQ_USED')
  })

  test('with urgent lanes behind others is refused; a proposer puts them first', async () => {
    const payload = { base: 0, changes: [], now: true, expiresMs: chain.nowMs + HOUR_MS }
    const admin = { ...staff('city'), signer: signerOf('city admin') }
    const urgent = await chain.tx(admin, draftMembershipPropose(payload))
    expect(await blockOf([tx.bytes, urgent.bytes])).toBe('BLOCK_LANE_ORDER_WRONG')
    expect((await chain.propose([tx, urgent])).txs).toEqual([urgent, tx])
  })

  test('with more than its institution’s quota is refused', async () => {
    // The store says that the bucket is empty: what a flood leaves behind.
    const left = { milliTokens: TX_QUOTA_URGENT * 1_000, timeMs: chain.nowMs + 60_000 }
    const at = [...chain.store.entries.values()].find(({ key }) =>
      new TextDecoder().decode(key).includes(QUOTA_NAMESPACE),
    )
    if (at === undefined) throw new Error('the institution has had a transaction')
    await chain.store.batch([{ key: at.key, value: encodeStateValue({ version: 1, value: left }) }])
    // A running chain keeps what it has read.
    await chain.reopen()
    expect(await blockOf([tx.bytes])).toBe('BLOCK_TX_INADMISSIBLE TX_QUOTA_EXHAUSTED')
  })

  test('with more transactions or bytes than a block may have is refused', async () => {
    const many = Array.from({ length: BLOCK_TXS_MAX + 1 }, () => new Uint8Array([0xa0]))
    expect(await blockOf(many)).toBe('BODY_MALFORMED CODEC_SHAPE')
    const large = Array.from({ length: 17 }, () => new Uint8Array(65_000))
    expect(await blockOf(large)).toBe('BODY_MALFORMED CODEC_SHAPE')
    expect(await blockOf([new Uint8Array(70_000)])).toBe('BODY_MALFORMED CODEC_SHAPE')
    const huge = Array.from({ length: 33 }, () => new Uint8Array(65_000))
    expect(await blockOf(huge)).toBe('BODY_MALFORMED CODEC_TOO_LARGE')
  })

  test('with evidence or anything else in its body is refused', async () => {
    const proposal = await chain.propose([])
    const parentCert = await chain.chain.reader.certificateAt(1)
    const body = encodeCanonical({ txs: [], evidence: [], justify: { parentCert, nullifyCerts: [] } })
    const header = encodeHeader({ ...proposal.fields, body: bodyCid(body) })
    expect(await codeOf(chain.chain.addPending({ header, body }))).toBe('BODY_MALFORMED CODEC_SHAPE')
  })

  test('from the future is not relayed', async () => {
    const proposal = await chain.propose([])
    const header = encodeHeader({ ...proposal.fields, timeMs: chain.nowMs + 2_001 })
    const { certificate } = await chain.finalize({ ...proposal, header, id: headerId(header) })
    const message = encodeFinalHeader({ headerBytes: header, certificateBytes: certificate })
    expect(await chain.chain.verifyFinalHeader(message)).toMatchObject({
      verdict: 'ignore',
      fault: { code: 'HEADER_TIME_AHEAD' },
    })
  })
})

describe('a certificate', () => {
  const names = ['city', 'north', 'south', 'east']
  const genesis = makeGenesis(Object.fromEntries(names.map((name) => [name, 'hospital' as const])), names)

  /** One that holds, by the first three of four. */
  async function good(): Promise<{ chain: TestChain; set: ValidatorSet; certificate: Certificate }> {
    const chain = await TestChain.open(genesis)
    const set = chain.chain.validators()
    if (set === undefined) throw new Error('there is an epoch 0')
    return { chain, set, certificate: await chain.certify({ epoch: 0, view: 1, kind: 'nullify' }) }
  }

  test('that counts one signer more than once does not hold, however it is written', async () => {
    const { certificate, chain, set } = await good()
    const [first, second] = certificate.sigs
    if (first === undefined || second === undefined) throw new Error('it has three signatures')
    const code = (change: Partial<Certificate>): string | undefined =>
      checkCertificate({ ...certificate, ...change }, chain.id, set)?.code
    expect(code({})).toBeUndefined()
    // One signature in the place of another's; three of one signer under one bit; two bits and a signature twice.
    expect(code({ sigs: [first, first, second] })).toBe('CERTIFICATE_SIGNATURE_INVALID')
    expect(code({ signers: new Uint8Array([0b0001]), sigs: [first, first, first] })).toBe('CERTIFICATE_NO_QUORUM')
    expect(code({ signers: new Uint8Array([0b0011]), sigs: [first, second, second] })).toBe('CERTIFICATE_NO_QUORUM')
    expect(code({ signers: new Uint8Array([0b0011]), sigs: [first, second] })).toBe('CERTIFICATE_NO_QUORUM')
    expect(code({ signers: new Uint8Array([0b1111]) })).toBe('CERTIFICATE_NO_QUORUM')
    expect(code({ signers: new Uint8Array([0b0111, 0]) })).toBe('CERTIFICATE_SIGNERS_MALFORMED')
    expect(code({ signers: new Uint8Array([0b10011]) })).toBe('CERTIFICATE_SIGNER_UNKNOWN')
  })

  test('by the same votes in another order does not hold', async () => {
    const { certificate, chain, set } = await good()
    const sigs = certificate.sigs.toReversed()
    expect(checkCertificate({ ...certificate, sigs }, chain.id, set)?.code).toBe('CERTIFICATE_SIGNATURE_INVALID')
  })

  test('with votes for another view, epoch, kind or block does not hold', async () => {
    const { certificate, chain, set } = await good()
    const ballot = { epoch: 0, view: 2, kind: 'nullify' } as const
    const other = await signVote(signerOf('city consensus'), chain.id, set, ballot)
    const sigs = [other.sig, ...certificate.sigs.slice(1)]
    expect(checkCertificate({ ...certificate, sigs }, chain.id, set)?.code).toBe('CERTIFICATE_SIGNATURE_INVALID')
    for (const change of [{ view: 2 }, { kind: 'finalize', block: manifestOf('b') }] as const) {
      expect(checkCertificate({ ...certificate, ...change }, chain.id, set)?.code).toBe('CERTIFICATE_SIGNATURE_INVALID')
    }
    expect(checkCertificate({ ...certificate, epoch: 1 }, chain.id, set)?.code).toBe('CERTIFICATE_EPOCH_WRONG')
  })

  test('that nullifies makes no block final', async () => {
    const { certificate, chain } = await good()
    const proposal = await chain.propose([])
    const block = { header: proposal.header, body: proposal.body, certificate: encodeCertificate(certificate) }
    expect(await codeOf(chain.chain.acceptBlock(block))).toBe('HEADER_CERTIFICATE_INVALID of another block')
    expect(await codeOf(chain.chain.acceptBlocks([block]))).toBe('HEADER_CERTIFICATE_INVALID of another block')
  })
})
