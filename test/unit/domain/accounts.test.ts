import { beforeEach, describe, expect, test } from 'vitest'
import {
  currentKeys,
  draftAccountCreate,
  getAccount,
  getInstitution,
  listInstitutions,
} from '../../../src/domain/accounts.ts'
import { accountIdOfKeys } from '../../../src/ledger/account-keys.ts'
import { type SignedTx, signTx } from '../../../src/ledger/transaction.ts'
import { TestChain, keysOf, person, seedOf, signerOf, staff } from '../ledger/network.ts'

const ada = person('ada', 'city')

let chain: TestChain
beforeEach(async () => {
  chain = await TestChain.open()
})

async function admitted(tx: SignedTx): Promise<string> {
  return (await chain.chain.admissionFault(tx, chain.nowMs))?.code ?? 'ok'
}

describe('accounts', () => {
  test('of institutions come from the genesis', async () => {
    const names: string[] = []
    for await (const { account, id, name, role } of listInstitutions(chain.chain.reader)) {
      names.push(`${id} ${role} ${name}`)
      const found = await getAccount(chain.chain.reader, account)
      expect(found).toMatchObject({ kind: 'institution', org: id })
      expect(account).toBe(staff(id).id)
    }
    expect(names).toEqual(
      ['lab research-institute The lab', 'city hospital The city', 'north hospital The north'].sort(),
    )
    expect(await getInstitution(chain.chain.reader, person('x', 'south').org)).toBeUndefined()
  })

  test('of people begin with their own signature and their institution’s', async () => {
    expect(await chain.outcome(await chain.createTx(ada))).toBe('ok')
    const account = await getAccount(chain.chain.reader, ada.id)
    expect(account).toMatchObject({ id: ada.id, kind: 'person', org: 'city' })
    if (account === undefined) throw new Error('it was created')
    expect(currentKeys(account)).toEqual({ ...keysOf('ada'), fromMs: chain.chain.head.timeMs })
  })

  test('have an id that is made of all their first keys', () => {
    const keys = keysOf('ada')
    expect(accountIdOfKeys({ ...keys, encryption: { wrap: 'x25519', publicKey: seedOf('other') } })).not.toBe(ada.id)
    expect(accountIdOfKeys({ ...keys, signingKey: signerOf('other').publicKey })).not.toBe(ada.id)
    expect(accountIdOfKeys({ ...keys, fromMs: 5 } as typeof keys)).toBe(ada.id)
  })

  test('are not begun by a stranger, by another institution, or without the new key', async () => {
    const draft = draftAccountCreate(keysOf('ada'))
    const by = (...beside: string[]): Promise<SignedTx> =>
      chain.tx(ada, draft, { beside: beside.map(signerOf), seq: 1 })
    expect(await admitted(await by())).toBe('TX_SIGNATURE_COUNT')
    expect(await admitted(await by('stranger'))).toBe('TX_SIGNATURE_KEY_WRONG')
    expect(await admitted(await by('north account'))).toBe('TX_SIGNATURE_KEY_WRONG')
    expect(await admitted(await by('city admin'))).toBe('TX_SIGNATURE_KEY_WRONG')
    const { body } = await by('city account')
    expect(await admitted(await signTx(body, [staff('city').signer, ada.signer]))).toBe('TX_SIGNATURE_KEY_WRONG')
    expect(await admitted(await signTx(body, [staff('city').signer]))).toBe('TX_SIGNATURE_COUNT')
    expect(await admitted(await signTx({ ...body, org: person('x', 'south').org }, [ada.signer]))).toBe(
      'TX_ORG_UNKNOWN',
    )
    expect(await admitted(await by('city account'))).toBe('ok')
  })

  test('are not begun under another id than that of their keys', async () => {
    const draft = draftAccountCreate(keysOf('someone else'))
    const tx = await chain.tx(ada, draft, { beside: [staff('city').signer], seq: 1 })
    expect(await admitted(tx)).toBe('ACCOUNT_ID_WRONG')
  })

  test('are not begun twice', async () => {
    await chain.block(await chain.createTx(ada))
    expect(await admitted(await chain.createTx(ada))).toBe('TX_SEQ_USED')
    const again = await chain.tx(ada, draftAccountCreate(keysOf('ada')), { beside: [staff('city').signer] })
    expect(await chain.outcome(again)).toBe('ACCOUNT_EXISTS')
  })

  test.each([
    ['a kind that is not for people to choose', { kind: 'institution' }],
    ['an encryption key of the wrong length', { encryption: { wrap: 'x-wing', publicKey: new Uint8Array(32) } }],
    ['no encryption key', { encryption: undefined }],
    ['a name', { name: 'Ada' }],
  ])('are not begun with %s', async (_what, change) => {
    const draft = draftAccountCreate(keysOf('ada'))
    const payload = Object.fromEntries(
      Object.entries({ ...(draft.payload as object), ...change }).filter(([, value]) => value !== undefined),
    )
    const tx = await chain.tx(ada, { ...draft, payload }, { beside: [staff('city').signer], seq: 1 })
    expect(await admitted(tx)).toBe('TX_PAYLOAD_MALFORMED')
  })
})
