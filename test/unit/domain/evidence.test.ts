import { beforeEach, describe, expect, test } from 'vitest'
import { signVote } from '../../../src/consensus/votes.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { draftEvidenceSubmit } from '../../../src/domain/evidence.ts'
import { draftMembershipApprove, draftMembershipPropose } from '../../../src/domain/membership.ts'
import type { ValidatorChange } from '../../../src/domain/validator-plan.ts'
import { getRoster, getSuspension } from '../../../src/domain/validator-sets.ts'
import type { Ballot, Vote } from '../../../src/ledger/vote.ts'
import { HOUR_MS, TestChain, makeGenesis, person, signerOf, staff } from '../ledger/network.ts'

const NAMES = ['city', 'north', 'south', 'east']
const GENESIS = makeGenesis(Object.fromEntries(NAMES.map((name) => [name, 'hospital' as const])), NAMES)
const ada = person('ada', 'city')
const [a, b] = [cborCid(new Uint8Array([1])), cborCid(new Uint8Array([2]))]

let chain: TestChain
beforeEach(async () => {
  chain = await TestChain.open(GENESIS)
  await chain.block(await chain.createTx(ada))
})

async function vote(by: string, ballot: Partial<Ballot>, key = `${by} consensus`): Promise<Vote> {
  const whole: Ballot = { epoch: 0, view: 7, kind: 'notarize', ...ballot }
  const set = chain.chain.validators(whole.epoch)
  if (set === undefined) throw new Error('no such epoch')
  return signVote(signerOf(key), chain.id, set, whole)
}

/** Two blocks notarized in one view. */
async function twice(by: string, key?: string): Promise<{ first: Vote; second: Vote }> {
  return { first: await vote(by, { block: a }, key), second: await vote(by, { block: b }, key) }
}

async function submit(evidence: { first: Vote; second: Vote }): Promise<string> {
  return chain.outcome(await chain.tx(ada, draftEvidenceSubmit(evidence)))
}

/** Ends the epoch with these changes, approved by all. */
async function endEpoch(changes: readonly ValidatorChange[] = []): Promise<void> {
  const { since } = await getRoster(chain.chain.reader)
  const admin = (org: string) => ({ ...staff(org), signer: signerOf(`${org} admin`) })
  const payload = { base: since, changes, now: true, expiresMs: chain.nowMs + HOUR_MS }
  const proposal = await chain.tx(admin('city'), draftMembershipPropose(payload))
  const approvals = NAMES.slice(1, 3).map((name) =>
    chain.tx(admin(name), draftMembershipApprove({ proposal: proposal.id })),
  )
  await chain.block(proposal, ...(await Promise.all(approvals)))
  await chain.block()
}

const voters = (): string =>
  (chain.chain.validators()?.validators ?? []).map(({ institution }) => institution).join(' ')

describe('evidence', () => {
  test('from anyone suspends the key: its institution does not vote from the next epoch on', async () => {
    expect(await submit(await twice('south'))).toBe('ok')
    expect(await getSuspension(chain.chain.reader, signerOf('south consensus').publicKey)).toEqual({
      institution: 'south',
      epoch: 0,
      view: 7,
      height: chain.chain.head.height,
    })
    expect(voters()).toBe('city north south east')
    await endEpoch()
    expect([chain.chain.head.nextEpoch, voters()]).toEqual([1, 'city north east'])
    for (let count = 0; count < 4; count++) await chain.block()
    await endEpoch()
    expect(voters()).toBe('city north east')
  })

  test('is taken once for a key; more against it is refused', async () => {
    await submit(await twice('south'))
    const other = {
      first: await vote('south', { view: 9, kind: 'nullify' }),
      second: await vote('south', { view: 9, kind: 'finalize', block: a }),
    }
    expect(await submit(await twice('south'))).toBe('EVIDENCE_KNOWN')
    expect(await submit(other)).toBe('EVIDENCE_KNOWN')
  })

  test.each<[string, string, () => Promise<{ first: Vote; second: Vote }>]>([
    [
      'the same block in two views: it was proposed again',
      'EVIDENCE_NOT_CONFLICTING',
      async () => ({ first: await vote('south', { block: a }), second: await vote('south', { block: a, view: 8 }) }),
    ],
    [
      'the same block, notarized and finalized',
      'EVIDENCE_NOT_CONFLICTING',
      async () => ({
        first: await vote('south', { block: a }),
        second: await vote('south', { block: a, kind: 'finalize' }),
      }),
    ],
    [
      'a view that was notarized, then nullified',
      'EVIDENCE_NOT_CONFLICTING',
      async () => ({ first: await vote('south', { block: a }), second: await vote('south', { kind: 'nullify' }) }),
    ],
    [
      'votes of two validators',
      'EVIDENCE_NOT_CONFLICTING',
      async () => ({ first: await vote('south', { block: a }), second: await vote('north', { block: b }) }),
    ],
    [
      'a forged signature',
      'VOTE_SIGNATURE_INVALID',
      async () => {
        const { first, second } = await twice('south')
        return { first, second: { ...second, sig: first.sig } }
      },
    ],
    [
      'a signer that is none',
      'VOTE_SIGNER_UNKNOWN',
      async () => {
        const { first, second } = await twice('south')
        return { first: { ...first, signer: 4 }, second: { ...second, signer: 4 } }
      },
    ],
    [
      'votes of an epoch that has not begun',
      'EVIDENCE_EPOCH_UNKNOWN',
      async () => {
        const { first, second } = await twice('south')
        return { first: { ...first, epoch: 1 }, second: { ...second, epoch: 1 } }
      },
    ],
  ])('is not %s', async (_what, code, make) => {
    expect(await submit(await make())).toBe(code)
    expect(await getSuspension(chain.chain.reader, signerOf('south consensus').publicKey)).toBeUndefined()
  })

  test('takes out no more than the protocol tolerates: a network of which all voted twice goes on', async () => {
    for (const name of NAMES) expect(await submit(await twice(name))).toBe('ok')
    await endEpoch()
    expect(voters()).toBe('north south east')
    await endEpoch()
    expect(voters()).toBe('north south east')
    await chain.block()
  })

  test('is against a key: with another one that was approved, the institution votes again', async () => {
    await submit(await twice('south'))
    await endEpoch()
    const fresh = signerOf('south new consensus').publicKey
    const old = signerOf('south consensus').publicKey
    const south = parseInstitutionId('south')
    await endEpoch([{ kind: 'rotate', institution: south, key: fresh }])
    expect(voters()).toBe('city north south east')
    const back = { kind: 'rotate', institution: south, key: old } as const
    const payload = { base: 2, changes: [back], expiresMs: chain.nowMs + HOUR_MS }
    const admin = { ...staff('city'), signer: signerOf('city admin') }
    expect(await chain.outcome(await chain.tx(admin, draftMembershipPropose(payload)))).toBe('MEMBERSHIP_KEY_SUSPENDED')
  })

  test('of an earlier epoch counts against the key of that time', async () => {
    const south = parseInstitutionId('south')
    const conflict = await twice('south')
    await endEpoch([{ kind: 'rotate', institution: south, key: signerOf('south new consensus').publicKey }])
    expect(await submit(conflict)).toBe('ok')
    await endEpoch()
    expect(voters()).toBe('city north south east')
    expect(await getSuspension(chain.chain.reader, signerOf('south consensus').publicKey)).toBeDefined()
  })
})
