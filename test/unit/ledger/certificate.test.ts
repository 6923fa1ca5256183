import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { signVote, validatorIndex } from '../../../src/consensus/votes.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { decodeCanonical, encodeCanonical } from '../../../src/core/codec.ts'
import type { ChainId } from '../../../src/core/ids.ts'
import {
  type Certificate,
  certificateOfVotes,
  checkCertificate,
  decodeCertificate,
  encodeCertificate,
  signersOf,
} from '../../../src/ledger/certificate.ts'
import { type ValidatorSet, faultyMax, leaderOf, leaderOrder, quorumOf } from '../../../src/ledger/validators.ts'
import { type Ballot, type Vote, decodeVote, encodeVote } from '../../../src/ledger/vote.ts'
import { evidenceFault, voteFault } from '../../../src/ledger/vote-check.ts'
import { GENESIS, TestChain, makeGenesis, seedOf, signerOf } from './network.ts'

const { id: chain } = new TestChain()
const otherChain = new TestChain({ ...GENESIS, name: 'Another' }).id
const block = cborCid(new Uint8Array([1]))
const otherBlock = cborCid(new Uint8Array([2]))
const ballot: Ballot = { epoch: 0, view: 7, kind: 'finalize', block }

function setOf(count: number, seed = seedOf('epoch')): ValidatorSet {
  const names = Array.from({ length: count }, (_one, index) => `v${index}`)
  const institutions = Object.fromEntries(names.map((name) => [name, 'hospital' as const]))
  return { epoch: 0, seed, validators: makeGenesis(institutions, names).validators }
}

const votesOf = (set: ValidatorSet, on: Ballot, onChain: ChainId = chain): Promise<Vote[]> =>
  Promise.all(set.validators.map(({ institution }) => signVote(signerOf(`${institution} consensus`), onChain, set, on)))

async function certificateOf(set: ValidatorSet, on: Ballot = ballot, onChain: ChainId = chain): Promise<Certificate> {
  const made = certificateOfVotes(on, await votesOf(set, on, onChain), set)
  if (made === undefined) throw new Error('all have voted')
  return made
}

describe('quorums', () => {
  test('any two quorums share an honest validator, and the honest alone are a quorum, for 1 to 100', () => {
    for (let n = 1; n <= 100; n++) {
      const f = faultyMax(n)
      expect(2 * quorumOf(n) - n, `n = ${n}`).toBeGreaterThan(f)
      expect(n - f).toBe(quorumOf(n))
    }
    expect([1, 2, 3, 4, 7, 10, 100].map(quorumOf)).toEqual([1, 2, 3, 3, 5, 7, 67])
  })
})

describe('certificates', () => {
  test.each([1, 2, 4, 7, 9, 100])('of %i validators hold with exactly a quorum, in signer order', async (n) => {
    const set = setOf(n)
    const made = await certificateOf(set)
    expect(checkCertificate(made, chain, set)).toBeUndefined()
    expect(made.sigs).toHaveLength(quorumOf(n))
    expect(signersOf(made.signers)).toEqual(Array.from({ length: quorumOf(n) }, (_one, index) => index))
    expect(checkCertificate(decodeCertificate(encodeCertificate(made)), chain, set)).toBeUndefined()
  })

  test('are made of any quorum of votes, in whatever order they came, and of nothing less', async () => {
    const set = setOf(7)
    const votes = await votesOf(set, ballot)
    const strays = await votesOf(set, { ...ballot, block: otherBlock })
    fc.assert(
      fc.property(fc.shuffledSubarray(votes), (some) => {
        const made = certificateOfVotes(ballot, [...strays, ...some, ...some], set)
        if (some.length < 5) expect(made).toBeUndefined()
        else expect(made === undefined ? 'none' : checkCertificate(made, chain, set)).toBeUndefined()
      }),
      { numRuns: 50 },
    )
  })

  test.each([
    ['one signature fewer', 'CERTIFICATE_NO_QUORUM', (c: Certificate) => ({ ...c, sigs: c.sigs.slice(1) })],
    [
      'one signature twice',
      'CERTIFICATE_NO_QUORUM',
      (c: Certificate) => ({ ...c, sigs: [...c.sigs, ...c.sigs.slice(0, 1)] }),
    ],
    [
      'one signer more than a quorum',
      'CERTIFICATE_NO_QUORUM',
      (c: Certificate) => ({ ...c, signers: new Uint8Array([0b1111]) }),
    ],
    ['one signer fewer', 'CERTIFICATE_NO_QUORUM', (c: Certificate) => ({ ...c, signers: new Uint8Array([0b11]) })],
    [
      'a signer that is no validator',
      'CERTIFICATE_SIGNER_UNKNOWN',
      (c: Certificate) => ({ ...c, signers: new Uint8Array([0b10011]) }),
    ],
    [
      'a bitmap that is too long',
      'CERTIFICATE_SIGNERS_MALFORMED',
      (c: Certificate) => ({ ...c, signers: new Uint8Array([0b111, 0]) }),
    ],
    [
      'signatures in another order',
      'CERTIFICATE_SIGNATURE_INVALID',
      (c: Certificate) => ({ ...c, sigs: [...c.sigs].reverse() }),
    ],
    [
      'signatures under another signer',
      'CERTIFICATE_SIGNATURE_INVALID',
      (c: Certificate) => ({ ...c, signers: new Uint8Array([0b1110]) }),
    ],
    [
      'one signer counted for another',
      'CERTIFICATE_SIGNATURE_INVALID',
      (c: Certificate) => ({ ...c, sigs: c.sigs.map(() => c.sigs[0] ?? new Uint8Array(64)) }),
    ],
    ['another block', 'CERTIFICATE_SIGNATURE_INVALID', (c: Certificate) => ({ ...c, block: otherBlock })],
    ['another view', 'CERTIFICATE_SIGNATURE_INVALID', (c: Certificate) => ({ ...c, view: 8 })],
    ['another kind', 'CERTIFICATE_SIGNATURE_INVALID', (c: Certificate) => ({ ...c, kind: 'notarize' as const })],
    ['another epoch', 'CERTIFICATE_EPOCH_WRONG', (c: Certificate) => ({ ...c, epoch: 1 })],
  ])('with %s do not hold', async (_what, code, alter) => {
    const set = setOf(4)
    expect(checkCertificate(alter(await certificateOf(set)), chain, set)?.code).toBe(code)
  })

  test('of another chain do not hold', async () => {
    const set = setOf(4)
    const made = await certificateOf(set, ballot, otherChain)
    expect(checkCertificate(made, chain, set)?.code).toBe('CERTIFICATE_SIGNATURE_INVALID')
  })

  test('to nullify name no block, all others do', async () => {
    const set = setOf(4)
    const { block: _block, ...view } = ballot
    const nullify = await certificateOf(set, { ...view, kind: 'nullify' })
    expect(checkCertificate(nullify, chain, set)).toBeUndefined()
    const withBlock = encodeCanonical({ ...nullify, block })
    expect(() => decodeCertificate(withBlock)).toThrow('CODEC_SHAPE')
    const bare = decodeCanonical(encodeCertificate(nullify)) as object
    expect(() => decodeCertificate(encodeCanonical({ ...bare, kind: 'finalize' }))).toThrow('CODEC_SHAPE')
  })
})

describe('votes', () => {
  test('count for the validator that signed, in the view and kind it signed', async () => {
    const set = setOf(4)
    const vote = await signVote(signerOf('v2 consensus'), chain, set, ballot)
    expect(vote.signer).toBe(2)
    expect(voteFault(decodeVote(encodeVote(vote)), chain, set)).toBeUndefined()
    expect(voteFault({ ...vote, signer: 1 }, chain, set)?.code).toBe('VOTE_SIGNATURE_INVALID')
    expect(voteFault({ ...vote, signer: 9 }, chain, set)?.code).toBe('VOTE_SIGNER_UNKNOWN')
    expect(voteFault({ ...vote, kind: 'notarize' }, chain, set)?.code).toBe('VOTE_SIGNATURE_INVALID')
    expect(voteFault({ ...vote, epoch: 3 }, chain, set)?.code).toBe('VOTE_EPOCH_WRONG')
    expect(voteFault(vote, otherChain, set)?.code).toBe('VOTE_SIGNATURE_INVALID')
  })

  test('are not made by a key outside the set, or for another epoch', async () => {
    const set = setOf(4)
    await expect(signVote(signerOf('stranger'), chain, set, ballot)).rejects.toThrow('VOTE_NOT_VALIDATOR')
    await expect(signVote(signerOf('v0 consensus'), chain, set, { ...ballot, epoch: 1 })).rejects.toThrow(
      'VOTE_EPOCH_WRONG',
    )
    expect(validatorIndex(set, signerOf('v3 consensus').publicKey)).toBe(3)
  })

  test.each([
    ['finalize', 'finalize', true],
    ['notarize', 'notarize', true],
    ['finalize', 'notarize', true],
  ] as const)(
    'to %s and to %s different blocks in one view are evidence; for one block they are not',
    async (a, b, holds) => {
      const set = setOf(4)
      const sign = (kind: 'finalize' | 'notarize', on: typeof block): Promise<Vote> =>
        signVote(signerOf('v1 consensus'), chain, set, { ...ballot, kind, block: on })
      const first = await sign(a, block)
      const fault = (second: Vote): string | undefined => evidenceFault({ first, second }, chain, set)?.code
      expect(fault(await sign(b, otherBlock)) === undefined).toBe(holds)
      expect(fault(await sign(b, block))).toBe('EVIDENCE_NOT_CONFLICTING')
    },
  )

  test('to nullify and to finalize one view are evidence; to nullify and to notarize are not', async () => {
    const set = setOf(4)
    const sign = (on: Ballot, name = 'v1'): Promise<Vote> => signVote(signerOf(`${name} consensus`), chain, set, on)
    const { block: _block, ...view } = ballot
    const nullify = await sign({ ...view, kind: 'nullify' })
    const fault = (second: Vote): string | undefined => evidenceFault({ first: nullify, second }, chain, set)?.code
    expect(fault(await sign(ballot))).toBeUndefined()
    expect(fault(await sign({ ...ballot, kind: 'notarize' }))).toBe('EVIDENCE_NOT_CONFLICTING')
    expect(fault(await sign({ ...ballot, view: 8 }))).toBe('EVIDENCE_NOT_CONFLICTING')
    expect(fault(await sign(ballot, 'v2'))).toBe('EVIDENCE_NOT_CONFLICTING')
    expect(fault({ ...(await sign({ ...ballot, view: 8 })), view: 7 })).toBe('VOTE_SIGNATURE_INVALID')
  })
})

describe('leaders', () => {
  test('take turns: in any n views in a row, each validator leads once', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.nat({ max: 1e9 }), fc.string(), (n, view, seed) => {
        const set = setOf(n, seedOf(seed))
        const leaders = Array.from({ length: n }, (_one, index) => leaderOf(set, view + index))
        expect(new Set(leaders).size).toBe(n)
      }),
      { numRuns: 30 },
    )
  })

  test('are in another order in an epoch with another seed', () => {
    const orders = ['a', 'b', 'c', 'd'].map((seed) => leaderOrder(setOf(20, seedOf(seed))).join())
    expect(new Set(orders).size).toBe(4)
  })
})
