import { beforeEach, describe, expect, test } from 'vitest'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { getInstitution, getPeerInstitution, listMemberPeers } from '../../../src/domain/accounts.ts'
import type { MemberChange, NewInstitution } from '../../../src/domain/member-changes.ts'
import {
  type MembershipPropose,
  draftMembershipApprove,
  draftMembershipPropose,
} from '../../../src/domain/membership.ts'
import { draftStorageOffer, draftStorageRemove } from '../../../src/domain/storage-offers.ts'
import { getStorageNumber, getStoragePeer } from '../../../src/domain/storage-state.ts'
import type { ValidatorChange } from '../../../src/domain/validator-plan.ts'
import { approvedChanges, getRoster, memberIds, membersChangedAt } from '../../../src/domain/validator-sets.ts'
import type { SignedTx } from '../../../src/ledger/transaction.ts'
import {
  HOUR_MS,
  type Person,
  TestChain,
  keysOf,
  makeGenesis,
  peerIdOf,
  person,
  signerOf,
  staff,
} from '../ledger/network.ts'

const ALL = ['city', 'north', 'south', 'east']
/** More than two thirds of four. */
const ENOUGH = ['city', 'north', 'south']
const GENESIS = makeGenesis(Object.fromEntries(ALL.map((name) => [name, 'hospital' as const])), ['city', 'north'])
const id = parseInstitutionId

let chain: TestChain
beforeEach(async () => {
  chain = await TestChain.open(GENESIS)
})

const admin = (org: string): Person => ({ ...staff(org), signer: signerOf(`${org} admin`) })
const bringing = (name: string, change: Partial<NewInstitution> = {}): NewInstitution => ({
  name: `The ${name}`,
  role: 'laboratory',
  adminKey: signerOf(`${name} admin`).publicKey,
  account: keysOf(`${name} account`),
  peers: [peerIdOf(name)],
  ...change,
})
const admit = (name: string, change: Partial<NewInstitution> = {}): MemberChange => ({
  kind: 'admit',
  institution: id(name),
  admitted: bringing(name, change),
})
const peerOf = (kind: 'add-peer' | 'remove-peer', name: string, peer: string): MemberChange => ({
  kind,
  institution: id(name),
  peer: peerIdOf(peer),
})
const remove = (name: string): MemberChange => ({ kind: 'remove', institution: id(name) })

/** Proposed by the first, approved by the others, a block each. @returns the outcomes. */
async function decide(member: MemberChange, [first = '', ...others]: readonly string[] = ENOUGH): Promise<string[]> {
  const { since: base } = await getRoster(chain.chain.reader)
  const payload = { base, changes: [], member, expiresMs: chain.nowMs + HOUR_MS }
  const tx = await chain.tx(admin(first), draftMembershipPropose(payload))
  const outcomes = [await chain.outcome(tx)]
  for (const name of others) {
    outcomes.push(await chain.outcome(await chain.tx(admin(name), draftMembershipApprove({ proposal: tx.id }))))
  }
  return outcomes
}

const members = async (): Promise<string> => (await memberIds(chain.chain.reader)).join(' ')
const peers = async (): Promise<number> => (await Array.fromAsync(listMemberPeers(chain.chain.reader))).length

describe('an institution is admitted', () => {
  test('with the last approval: its account signs, its peer belongs to it, it has a voice', async () => {
    await decide(admit('clinic'), ENOUGH.slice(0, 2))
    expect([await members(), await membersChangedAt(chain.chain.reader)]).toEqual(['city east north south', 0])
    expect(await decide(admit('clinic'))).toEqual(['ok', 'ok', 'ok'])
    expect(await members()).toBe('city clinic east north south')
    expect(await membersChangedAt(chain.chain.reader)).toBe(chain.chain.head.height)
    expect(await getPeerInstitution(chain.chain.reader, peerIdOf('clinic'))).toBe('clinic')
    expect(await chain.outcome(await chain.createTx(person('nurse', 'clinic')))).toBe('ok')
    // Four of five now.
    expect(await decide(peerOf('add-peer', 'clinic', 'clinic 2'), ['clinic', 'city', 'north', 'south'])).toEqual(
      Array(4).fill('ok'),
    )
    expect(await peers()).toBe(6)
  })

  test('not under an id, with a key, or with a peer that is taken, nor with one that is none', async () => {
    const outcome = async (change: MemberChange) => (await decide(change, ['city']))[0]
    expect(await outcome(admit('north'))).toBe('MEMBER_INSTITUTION_EXISTS')
    expect(await outcome(admit('clinic', { adminKey: signerOf('east admin').publicKey }))).toBe('MEMBER_KEY_USED')
    expect(await outcome(admit('clinic', { account: keysOf('east account') }))).toBe('MEMBER_KEY_USED')
    expect(await outcome(admit('clinic', { adminKey: keysOf('clinic account').signingKey }))).toBe('MEMBER_KEY_USED')
    expect(await outcome(admit('clinic', { adminKey: new Uint8Array(32) }))).toBe('MEMBER_KEY_INVALID')
    expect(await outcome(admit('clinic', { peers: [peerIdOf('east')] }))).toBe('MEMBER_PEER_EXISTS')
    expect(await outcome(peerOf('add-peer', 'north', 'east'))).toBe('MEMBER_PEER_EXISTS')
    expect(await outcome(peerOf('remove-peer', 'north', 'east'))).toBe('MEMBER_PEER_UNKNOWN')
    expect(await outcome(remove('clinic'))).toBe('MEMBER_INSTITUTION_UNKNOWN')
  })
})

describe('an institution is removed', () => {
  test('at once: it has no voice, its accounts and peers are strangers, its seat goes with the epoch', async () => {
    await chain.block(await chain.createTx(person('nurse', 'north')))
    expect(await decide(remove('north'))).toEqual(['ok', 'ok', 'ok'])
    const { reader } = chain.chain
    expect([await members(), await getInstitution(reader, id('north'))]).toEqual(['city east south', undefined])
    expect(await getPeerInstitution(reader, peerIdOf('north'))).toBeUndefined()
    expect(await peers()).toBe(3)
    const nurse = await chain.tx(person('nurse', 'north'), draftStorageRemove(peerIdOf('north')))
    expect((await chain.chain.admissionFault(nurse, chain.nowMs))?.code).toBe('TX_ORG_UNKNOWN')
    expect(await approvedChanges(reader)).toEqual([{ kind: 'remove', institution: 'north' }])
    expect((await decide(admit('north', { peers: [peerIdOf('other')] }), ['city']))[0]).toBe(
      'MEMBER_INSTITUTION_EXISTS',
    )
  })

  test('its peers don’t store any more once anyone says so', async () => {
    await chain.block(
      await chain.tx(staff('east'), draftStorageOffer({ peer: peerIdOf('east'), bytes: 2 ** 30, zone: 'east' })),
    )
    await decide(remove('east'))
    expect(await chain.outcome(await chain.tx(staff('city'), draftStorageRemove(peerIdOf('east'))))).toBe('ok')
    const number = (await getStorageNumber(chain.chain.reader, peerIdOf('east'))) ?? -1
    expect((await getStoragePeer(chain.chain.reader, number))?.state).toBe('removed')
  })

  test('not the last validator', async () => {
    const alone = makeGenesis({ city: 'hospital', north: 'hospital' }, ['city'])
    chain = await TestChain.open(alone)
    expect((await decide(remove('city'), ['city']))[0]).toBe('MEMBER_LAST_VALIDATOR')
  })
})

describe('a seat whose holder was removed', () => {
  const SIX = ['city', 'north', 'south', 'east', 'lab', 'court']
  const add = (name: string): ValidatorChange => ({
    kind: 'add',
    institution: id(name),
    key: signerOf(`${name} consensus`).publicKey,
  })
  const leave = (name: string): ValidatorChange => ({ kind: 'remove', institution: id(name) })
  const open = async (...validators: string[]): Promise<void> => {
    chain = await TestChain.open(
      makeGenesis(Object.fromEntries(SIX.map((name) => [name, 'hospital' as const])), validators),
    )
  }
  const propose = async (by: string, change: Partial<MembershipPropose>): Promise<SignedTx> => {
    const { since: base } = await getRoster(chain.chain.reader)
    const payload = { base, changes: [], expiresMs: chain.nowMs + HOUR_MS, ...change }
    return chain.tx(admin(by), draftMembershipPropose(payload))
  }
  const approve = async (tx: SignedTx, ...names: string[]): Promise<string[]> => {
    const outcomes: string[] = []
    for (const name of names)
      outcomes.push(await chain.outcome(await chain.tx(admin(name), draftMembershipApprove({ proposal: tx.id }))))
    return outcomes
  }
  const seats = async (): Promise<string> =>
    (await getRoster(chain.chain.reader)).validators.map(({ institution }) => institution).join(' ')

  test('does not come to be by what was proposed while it was a member', async () => {
    await open('city', 'north', 'south')
    const adding = await propose('city', { changes: [add('court')], now: true })
    expect(await chain.outcome(adding)).toBe('ok')
    expect(await approve(adding, 'north', 'south', 'east')).toEqual(['ok', 'ok', 'ok'])
    const removing = await propose('north', { member: remove('court') })
    expect(await chain.outcome(removing)).toBe('ok')
    expect(await approve(removing, 'city', 'south', 'east', 'lab')).toEqual(['ok', 'ok', 'ok', 'ok'])
    expect(await members()).toBe('city east lab north south')
    // Four of five are behind it already. Whoever approves it is told why it can't be, each time, and nothing of it waits.
    expect(await approve(adding, 'lab', 'lab')).toEqual(Array(2).fill('MEMBERSHIP_INSTITUTION_UNKNOWN'))
    expect(await approvedChanges(chain.chain.reader)).toEqual([])
    await chain.block()
    expect(await seats()).toBe('city north south')
  })

  test('can be taken away by a proposal', async () => {
    await open('city', 'north', 'court')
    expect(await decide(remove('court'), SIX.slice(0, 5))).toEqual(Array(5).fill('ok'))
    expect(await seats()).toBe('city north court')
    expect(await chain.outcome(await propose('city', { changes: [leave('court')] }))).toBe('ok')
    expect(await chain.outcome(await propose('city', { changes: [leave('court'), leave('court')] }))).toBe(
      'MEMBERSHIP_INSTITUTION_UNKNOWN',
    )
    expect(await chain.outcome(await propose('city', { changes: [add('court')] }))).toBe(
      'MEMBERSHIP_INSTITUTION_UNKNOWN',
    )
  })

  test('does not become the only one by changes that wait', async () => {
    await open('city', 'court')
    const leaving = await propose('city', { changes: [leave('city')] })
    expect(await chain.outcome(leaving)).toBe('ok')
    expect(await approve(leaving, ...SIX.slice(1, 5))).toEqual(Array(4).fill('ok'))
    expect((await decide(remove('court'), SIX.slice(0, 5))).at(-1)).toBe('MEMBER_LAST_VALIDATOR')
    expect(await members()).toContain('court')
  })
})

test('approvals of one that was removed meanwhile do not count', async () => {
  const { since: base } = await getRoster(chain.chain.reader)
  const payload = { base, changes: [], member: admit('clinic'), expiresMs: chain.nowMs + HOUR_MS }
  const tx = await chain.tx(admin('south'), draftMembershipPropose(payload))
  await chain.block(tx)
  const approve = async (name: string) =>
    chain.outcome(await chain.tx(admin(name), draftMembershipApprove({ proposal: tx.id })))
  expect(await approve('east')).toBe('ok')
  await decide(remove('east'), ['city', 'north', 'south'])
  // Of three all three are needed, and east's voice is none any more.
  expect(await approve('city')).toBe('ok')
  expect(await members()).toBe('city north south')
  expect(await approve('north')).toBe('ok')
  expect(await members()).toBe('city clinic north south')
})
