import { beforeEach, describe, expect, test } from 'vitest'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { EPOCH_BLOCKS, EPOCH_SETS_KEPT } from '../../../src/core/limits.ts'
import {
  type MembershipPropose,
  draftMembershipApprove,
  draftMembershipPropose,
  getMembershipProposal,
  membershipMachine,
} from '../../../src/domain/membership.ts'
import type { ValidatorChange } from '../../../src/domain/validator-plan.ts'
import { approvedChanges, getRoster, validatorsOf } from '../../../src/domain/validator-sets.ts'
import { readUint64 } from '../../../src/ledger/state.ts'
import { type SignedTx, signTx } from '../../../src/ledger/transaction.ts'
import { HOUR_MS, type Person, START_MS, TestChain, makeGenesis, person, signerOf, staff } from '../ledger/network.ts'

const VALIDATORS = ['city', 'north', 'south', 'east']
const ALL = [...VALIDATORS, 'lab', 'court']
const GENESIS = makeGenesis(Object.fromEntries(ALL.map((name) => [name, 'hospital' as const])), VALIDATORS)
/** More than two thirds of six. */
const ENOUGH = ['city', 'north', 'south', 'east', 'lab']
const MONTH_MS = 30 * 24 * HOUR_MS

let chain: TestChain
beforeEach(async () => {
  chain = await TestChain.open(GENESIS)
})

const keyOf = (name: string): Uint8Array => signerOf(`${name} consensus`).publicKey
const newKeyOf = (name: string): Uint8Array => signerOf(`${name} new consensus`).publicKey
const add = (name: string, key = keyOf(name)): ValidatorChange => ({
  kind: 'add',
  institution: parseInstitutionId(name),
  key,
})
const rotate = (name: string, key = newKeyOf(name)): ValidatorChange => ({ ...add(name, key), kind: 'rotate', key })
const remove = (name: string): ValidatorChange => ({ kind: 'remove', institution: parseInstitutionId(name) })

/** An institution that acts with its admin key, in the name of its account. */
const admin = (org: string): Person => ({ ...staff(org), signer: signerOf(`${org} admin`) })

async function proposal(by: string, change: Partial<MembershipPropose> = {}): Promise<SignedTx> {
  const { since } = await getRoster(chain.chain.reader)
  const payload = { base: since, changes: [add('lab')], expiresMs: chain.nowMs + MONTH_MS, ...change }
  return chain.tx(admin(by), draftMembershipPropose(payload))
}

const approval = (by: string, of: SignedTx): Promise<SignedTx> =>
  chain.tx(admin(by), draftMembershipApprove({ proposal: of.id }))

/** Proposed by the first, approved by the others, a block each. @returns the outcomes. */
async function decide(names: readonly string[], change: Partial<MembershipPropose> = {}): Promise<string[]> {
  const [first = '', ...others] = names
  const tx = await proposal(first, change)
  const outcomes = [await chain.outcome(tx)]
  for (const name of others) outcomes.push(await chain.outcome(await approval(name, tx)))
  return outcomes
}

const voters = (): string =>
  (chain.chain.validators()?.validators ?? []).map(({ institution }) => institution).join(' ')

async function codeOfAdmission(tx: SignedTx): Promise<string> {
  return (await chain.chain.admissionFault(tx, chain.nowMs))?.code ?? 'ok'
}

describe('validators change', () => {
  test('once more than two thirds of all institutions have approved, and not before', async () => {
    expect(await decide(ENOUGH.slice(0, 4), { now: true })).toEqual(['ok', 'ok', 'ok', 'ok'])
    await chain.block()
    expect([chain.chain.head.nextEpoch, voters()]).toEqual([0, 'city north south east'])
    expect(await decide(ENOUGH, { now: true })).toEqual(['ok', 'ok', 'ok', 'ok', 'ok'])
    expect(chain.chain.head.nextEpoch).toBe(0)
    await chain.block()
    expect([chain.chain.head.nextEpoch, voters()]).toEqual([1, 'city north south east lab'])
  })

  test('with the block after an approved `now`, whose header names them; they make the next blocks final', async () => {
    await decide(ENOUGH, { now: true })
    const approvedAt = chain.chain.head.height
    await chain.block()
    await chain.block()
    await chain.block()
    const headers = await Promise.all([0, 1, 2].map((more) => chain.chain.reader.headerAt(approvedAt + more)))
    expect(headers.map((found) => found?.header.nextValidators?.length)).toEqual([undefined, 5, undefined])
    expect(headers.map((found) => found?.header.epoch)).toEqual([0, 0, 1])
    expect(await validatorsOf(chain.chain.reader, 1)).toHaveLength(5)
    expect((await getRoster(chain.chain.reader)).since).toBe(1)
    const follower = await TestChain.open(GENESIS)
    const given = []
    for await (const { certificateBytes: certificate, header, headerBytes } of chain.chain.reader.headers(1, 99)) {
      const body = await chain.chain.reader.bodyAt(header.height)
      given.push({ header: headerBytes, certificate, body: body?.bytes ?? new Uint8Array(0) })
    }
    await follower.chain.acceptBlocks(given)
    expect(follower.chain.head).toEqual(chain.chain.head)
    await chain.reopen()
    expect(voters()).toBe('city north south east lab')
    await chain.block()
  })

  test('else at the next end of an epoch', async () => {
    await decide(ENOUGH)
    await chain.block()
    expect(chain.chain.head.nextEpoch).toBe(0)
    expect(await approvedChanges(chain.chain.reader)).toHaveLength(1)
    const end = (height: number): ReturnType<NonNullable<typeof membershipMachine.epochEnd>> | undefined =>
      membershipMachine.epochEnd?.(chain.chain.reader, { height, epoch: 0 })
    expect(await end(EPOCH_BLOCKS - 1)).toBeUndefined()
    expect((await end(EPOCH_BLOCKS))?.validators).toHaveLength(5)
  })

  test('and the validators of old epochs are let go, as many as evidence may be of stay', async () => {
    const keyAt = async (epoch: number): Promise<(number | undefined)[]> => {
      const end = await membershipMachine.epochEnd?.(chain.chain.reader, { height: EPOCH_BLOCKS, epoch })
      const sets = (end?.changes ?? []).filter(({ namespace }) => namespace === 'validators')
      return sets.map(({ key, value }) => readUint64(key) * (value === undefined ? -1 : 1))
    }
    expect(await keyAt(7)).toEqual([8])
    expect(await keyAt(EPOCH_SETS_KEPT + 6)).toEqual([EPOCH_SETS_KEPT + 7, -7])
  })

  test('by at most f at once: the others wait for the next end of an epoch', async () => {
    await decide(ENOUGH, { changes: [add('lab'), add('court')], now: true })
    await chain.block()
    expect(voters()).toBe('city north south east lab')
    expect(await approvedChanges(chain.chain.reader)).toHaveLength(1)
    await decide(ENOUGH, { changes: [], now: true })
    await chain.block()
    expect([voters(), chain.chain.head.nextEpoch]).toEqual(['city north south east lab court', 2])
    expect(await approvedChanges(chain.chain.reader)).toEqual([])
  })

  test('to another key: the old one counts no more, and blocks go on with the new', async () => {
    await decide(ENOUGH, { changes: [rotate('south')], now: true })
    await chain.block()
    const south = chain.chain.validators()?.validators[2]
    expect(south).toEqual({ institution: 'south', key: newKeyOf('south') })
    for (let count = 0; count < 5; count++) await chain.block()
    expect(chain.chain.head.nextEpoch).toBe(1)
  })

  test('to fewer, and one after the other down to one', async () => {
    for (const name of ['east', 'south', 'north']) {
      await decide(ENOUGH, { changes: [remove(name)], now: true })
      await chain.block()
    }
    expect(voters()).toBe('city')
    expect(await decide(['city'], { changes: [remove('city')] })).toEqual(['MEMBERSHIP_CHANGE_IMPOSSIBLE'])
    await chain.block()
  })

  test('not by a proposal that was made for another roster', async () => {
    const early = await proposal('lab', { changes: [add('court')] })
    await chain.block(early)
    await decide(ENOUGH.slice(0, 4).concat('court'), { now: true })
    await chain.block()
    expect(await chain.outcome(await approval('city', early))).toBe('MEMBERSHIP_BASE_STALE')
    expect(await chain.outcome(await proposal('city', { base: 0 }))).toBe('MEMBERSHIP_BASE_STALE')
    expect(await chain.outcome(await proposal('city', { base: 9 }))).toBe('MEMBERSHIP_BASE_STALE')
  })
})

describe('proposals', () => {
  test('are kept with their approvals until they are decided', async () => {
    const tx = await proposal('city')
    await chain.block(tx)
    await chain.block(await approval('north', tx))
    expect(await getMembershipProposal(chain.chain.reader, tx.id)).toMatchObject({
      by: 'city',
      base: 0,
      approvals: ['city', 'north'],
    })
    for (const name of ['south', 'east', 'lab']) await chain.block(await approval(name, tx))
    expect(await getMembershipProposal(chain.chain.reader, tx.id)).toBeUndefined()
    expect(await chain.outcome(await approval('court', tx))).toBe('MEMBERSHIP_PROPOSAL_UNKNOWN')
  })

  test('of one institution take the place of each other', async () => {
    const [first, second] = [await proposal('city'), await proposal('city', { changes: [add('court')] })]
    const again = await chain.tx(admin('city'), draftMembershipPropose(second.body.payload as MembershipPropose), {
      seq: 2,
    })
    await chain.block(first, again)
    expect(await chain.outcome(await approval('north', first))).toBe('MEMBERSHIP_PROPOSAL_UNKNOWN')
    expect(await chain.outcome(await approval('north', again))).toBe('ok')
  })

  test('are not approved twice by one', async () => {
    const tx = await proposal('city')
    await chain.block(tx)
    expect(await chain.outcome(await approval('city', tx))).toBe('MEMBERSHIP_APPROVED_ALREADY')
    await chain.block(await approval('north', tx))
    expect(await chain.outcome(await approval('north', tx))).toBe('MEMBERSHIP_APPROVED_ALREADY')
  })

  test('expire, and do not wait for ever', async () => {
    const tx = await proposal('city', { expiresMs: chain.nowMs + HOUR_MS })
    await chain.block(tx)
    chain.nowMs += HOUR_MS
    expect(await chain.outcome(await approval('north', tx))).toBe('MEMBERSHIP_EXPIRED')
    expect(await chain.outcome(await proposal('city', { expiresMs: START_MS }))).toBe('MEMBERSHIP_EXPIRED')
    expect(await chain.outcome(await proposal('city', { expiresMs: chain.nowMs + 3 * MONTH_MS }))).toBe(
      'MEMBERSHIP_PERIOD_TOO_LONG',
    )
  })

  test.each<[string, string, ValidatorChange[]]>([
    ['add who is no member', 'MEMBERSHIP_INSTITUTION_UNKNOWN', [add('west')]],
    ['add who validates', 'MEMBERSHIP_CHANGE_IMPOSSIBLE', [add('city', newKeyOf('city'))]],
    ['add with the key of another', 'MEMBERSHIP_CHANGE_IMPOSSIBLE', [add('lab', keyOf('city'))]],
    ['add one twice', 'MEMBERSHIP_CHANGE_IMPOSSIBLE', [add('lab'), add('lab', newKeyOf('lab'))]],
    ['rotate who does not validate', 'MEMBERSHIP_CHANGE_IMPOSSIBLE', [rotate('lab')]],
    ['rotate to the same key', 'MEMBERSHIP_CHANGE_IMPOSSIBLE', [rotate('city', keyOf('city'))]],
    ['remove who does not validate', 'MEMBERSHIP_CHANGE_IMPOSSIBLE', [remove('lab')]],
    ['remove all', 'MEMBERSHIP_CHANGE_IMPOSSIBLE', VALIDATORS.map(remove)],
    ['use a key that is none', 'MEMBERSHIP_KEY_INVALID', [add('lab', new Uint8Array(32))]],
  ])('that would %s are refused', async (_what, code, changes) => {
    expect(await chain.outcome(await proposal('city', { changes }))).toBe(code)
  })

  test('with a key where none belongs, without one where one does, or with nothing to do, are malformed', async () => {
    const bad = [[{ ...remove('city'), key: keyOf('lab') }], [{ kind: 'add', institution: 'lab' }], []]
    for (const changes of bad) {
      expect(await codeOfAdmission(await proposal('city', { changes: changes as ValidatorChange[] }))).toBe(
        'TX_PAYLOAD_MALFORMED',
      )
    }
  })

  test('are signed by the institution’s admin key, and by no other', async () => {
    const { body } = await proposal('city')
    expect(await codeOfAdmission(await signTx(body, [admin('city').signer]))).toBe('ok')
    for (const signer of [staff('city').signer, admin('north').signer, signerOf('city consensus')]) {
      expect(await codeOfAdmission(await signTx(body, [signer]))).toBe('TX_SIGNATURE_KEY_WRONG')
    }
    const both = await signTx(body, [admin('city').signer, staff('city').signer])
    expect(await codeOfAdmission(both)).toBe('TX_SIGNATURE_COUNT')
    const ada = person('ada', 'city')
    await chain.block(await chain.createTx(ada))
    const byAda = await signTx({ ...body, account: ada.id }, [admin('city').signer])
    expect(await codeOfAdmission(byAda)).toBe('MEMBERSHIP_NOT_INSTITUTION')
  })

  test('that are approved faster than epochs end fill a bounded queue', async () => {
    const turns = ['city', 'north', 'south', 'east']
    const outcomes: string[] = []
    for (let round = 0; round < 5; round++) {
      const changes = Array.from({ length: 16 }, (_one, index) =>
        rotate(turns[index % 4] ?? '', signerOf(`key ${round} ${index}`).publicKey),
      )
      outcomes.push((await decide(ENOUGH, { changes })).at(-1) ?? '')
    }
    expect(outcomes).toEqual(['ok', 'ok', 'ok', 'ok', 'MEMBERSHIP_QUEUE_FULL'])
  })
})
