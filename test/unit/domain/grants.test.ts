import { beforeEach, describe, expect, test } from 'vitest'
import { type RecordId, type TxId, txIdOf } from '../../../src/core/ids.ts'
import { CONSENT_PERIOD_MS_MAX } from '../../../src/core/limits.ts'
import { EnvelopeError, generateEncryptionKey, unwrapKey, wrapKey } from '../../../src/crypto/envelope.ts'
import {
  type ConsentGrant,
  type ListedGrant,
  draftConsentGrant,
  getGrant,
  grantInForce,
  grantKeyContext,
  listGrantsOfGrantee,
  listGrantsOfRecord,
} from '../../../src/domain/grants.ts'
import { draftRecordAdd, draftRecordAmend, recordIdOfTx } from '../../../src/domain/records.ts'
import { HOUR_MS, type Person, TestChain, person, seedOf, staff } from '../ledger/network.ts'
import { manifestOf, wrapped } from '../ledger/samples.ts'

const ada = person('ada', 'city')
const ben = person('ben', 'city')
const lab = staff('lab')

let chain: TestChain
let record: RecordId
beforeEach(async () => {
  chain = await TestChain.open()
  await chain.block(await chain.createTx(ada), await chain.createTx(ben))
  record = await addRecord()
})

async function addRecord(): Promise<RecordId> {
  const draft = draftRecordAdd({
    patient: ada.id,
    category: 'imaging',
    manifest: manifestOf('mr'),
    key: wrapped('ada'),
  })
  const tx = await chain.tx(ben, draft)
  await chain.block(tx)
  return recordIdOfTx(tx.id)
}

const consent = (change: Partial<ConsentGrant> = {}): ConsentGrant => ({
  record,
  version: 1,
  grantee: lab.id,
  purpose: 'HRESCH',
  startMs: chain.nowMs,
  endMs: chain.nowMs + HOUR_MS,
  key: wrapped('lab'),
  ...change,
})

async function grant(change: Partial<ConsentGrant> = {}, by: Person = ada): Promise<string> {
  return chain.outcome(await chain.tx(by, draftConsentGrant(consent(change))))
}

async function collect(listed: AsyncIterable<ListedGrant>): Promise<string[]> {
  const found: string[] = []
  for await (const { grant: one } of listed) found.push(`${one.record} ${one.version} ${one.purpose} ${one.grantee}`)
  return found
}

const inForce = (atMs: number, version = 1, purpose?: 'HRESCH' | 'TREAT') =>
  grantInForce(chain.chain.reader, { record, version, grantee: lab.id }, atMs, purpose)

describe('consent.grant', () => {
  test('lets the grantee read that version, for that purpose, within its time, and nothing else', async () => {
    const startMs = chain.nowMs + HOUR_MS
    const endMs = startMs + HOUR_MS
    expect(await grant({ startMs, endMs })).toBe('ok')
    expect(await inForce(startMs - 1)).toBeUndefined()
    expect(await inForce(startMs)).toMatchObject({
      grantee: lab.id,
      purpose: 'HRESCH',
      startMs,
      endMs,
      key: wrapped('lab'),
    })
    expect(await inForce(endMs - 1)).toBeDefined()
    expect(await inForce(endMs)).toBeUndefined()
    expect(await inForce(startMs, 2)).toBeUndefined()
    expect(await inForce(startMs, 1, 'HRESCH')).toBeDefined()
    expect(await inForce(startMs, 1, 'TREAT')).toBeUndefined()
    const { reader } = chain.chain
    expect(await grantInForce(reader, { record, version: 1, grantee: ben.id }, startMs)).toBeUndefined()
    const other = await addRecord()
    expect(await grantInForce(reader, { record: other, version: 1, grantee: lab.id }, startMs)).toBeUndefined()
  })

  test.each<[string, string, () => [Partial<ConsentGrant>, Person?]]>([
    ['by the author, who is not the patient', 'CONSENT_NOT_PATIENT', () => [{}, ben]],
    ['by the institution that keeps the record', 'CONSENT_NOT_PATIENT', () => [{}, staff('city')]],
    ['by the grantee', 'CONSENT_NOT_PATIENT', () => [{}, lab]],
    ['of a record that is not there', 'CONSENT_RECORD_UNKNOWN', () => [{ record: recordIdOfTx(idOfNobody()) }]],
    ['of a version that is not there', 'CONSENT_VERSION_UNKNOWN', () => [{ version: 2 }]],
    ['to an account that is not there', 'CONSENT_GRANTEE_UNKNOWN', () => [{ grantee: person('nobody', 'lab').id }]],
    [
      'with a key that the grantee can not open',
      'CONSENT_KEY_WRAP_WRONG',
      () => [{ key: { wrap: 'x-wing', enc: new Uint8Array(1_120), sealed: new Uint8Array(48) } }],
    ],
    ['that ends when it starts', 'CONSENT_PERIOD_EMPTY', () => [{ endMs: chain.nowMs }]],
    ['that ends before it starts', 'CONSENT_PERIOD_EMPTY', () => [{ startMs: chain.nowMs + 9, endMs: chain.nowMs }]],
    ['that has ended', 'CONSENT_EXPIRY_PAST', () => [{ startMs: chain.nowMs - HOUR_MS, endMs: chain.nowMs - 1 }]],
    [
      'for more than ten years',
      'CONSENT_PERIOD_TOO_LONG',
      () => [{ endMs: chain.nowMs + CONSENT_PERIOD_MS_MAX + 1_000 }],
    ],
    [
      'that begins in twenty years',
      'CONSENT_PERIOD_TOO_LONG',
      () => [{ startMs: chain.nowMs + 2 * CONSENT_PERIOD_MS_MAX, endMs: chain.nowMs + 2 * CONSENT_PERIOD_MS_MAX + 1 }],
    ],
    ['for a purpose that is none', 'TX_PAYLOAD_MALFORMED', () => [{ purpose: 'CURIOSITY' as 'TREAT' }]],
    ['without a purpose', 'TX_PAYLOAD_MALFORMED', () => [{ purpose: '' as 'TREAT' }]],
  ])('%s is refused', async (_what, code, make) => {
    const [change, by] = make()
    expect(await grant(change, by)).toBe(code)
    expect(await collect(listGrantsOfRecord(chain.chain.reader, record))).toEqual([])
    expect(await collect(listGrantsOfGrantee(chain.chain.reader, lab.id))).toEqual([])
  })

  test('is refused while one for the same is in force or yet to begin, and taken again when it has lapsed', async () => {
    expect(await grant({ startMs: chain.nowMs + 1_000, endMs: chain.nowMs + 5_000 })).toBe('ok')
    expect(await grant()).toBe('CONSENT_GRANT_EXISTS')
    expect(await grant({ purpose: 'TREAT' })).toBe('ok')
    expect(await grant({ grantee: ben.id, key: wrapped('ben') })).toBe('ok')
    chain.nowMs += 10_000
    expect(await grant({ key: wrapped('again') })).toBe('ok')
    const found = await getGrant(chain.chain.reader, { record, version: 1, grantee: lab.id, purpose: 'HRESCH' })
    expect(found?.key).toEqual(wrapped('again'))
  })

  test('of two purposes, the one that ends last counts where none is asked for', async () => {
    await grant({ endMs: chain.nowMs + HOUR_MS })
    await grant({ purpose: 'TREAT', endMs: chain.nowMs + 2 * HOUR_MS })
    expect((await inForce(chain.nowMs))?.purpose).toBe('TREAT')
  })

  test('of an amended record is for one version', async () => {
    const draft = draftRecordAmend({ record, manifest: manifestOf('mr 2'), key: wrapped('2') })
    await chain.block(await chain.tx(ben, draft))
    expect(await grant({ version: 2 })).toBe('ok')
    expect(await inForce(chain.nowMs, 1)).toBeUndefined()
    expect(await inForce(chain.nowMs, 2)).toBeDefined()
  })
})

test('grants are listed by record and by grantee, page after page', async () => {
  const second = await addRecord()
  await grant()
  await grant({ purpose: 'TREAT' })
  await grant({ record: second })
  await grant({ grantee: ben.id, key: wrapped('ben') })
  const { reader } = chain.chain
  expect(await collect(listGrantsOfRecord(reader, record))).toHaveLength(3)
  expect(await collect(listGrantsOfRecord(reader, second))).toEqual([`${second} 1 HRESCH ${lab.id}`])
  const ofLab = await collect(listGrantsOfGrantee(reader, lab.id))
  expect(new Set(ofLab)).toEqual(
    new Set([`${record} 1 HRESCH ${lab.id}`, `${record} 1 TREAT ${lab.id}`, `${second} 1 HRESCH ${lab.id}`]),
  )
  const paged: string[] = []
  let after: Uint8Array | undefined
  for (let page = 0; page < 4; page++) {
    for await (const one of listGrantsOfGrantee(reader, lab.id, {
      limit: 1,
      ...(after === undefined ? {} : { after }),
    })) {
      paged.push(`${one.grant.record} ${one.grant.version} ${one.grant.purpose} ${one.grant.grantee}`)
      after = one.cursor
    }
  }
  expect(paged).toEqual(ofLab)
})

test('a wrapped key opens for the record, version, manifest and grantee it was made for, and for no other', async () => {
  const pair = await generateEncryptionKey('x25519')
  const secret = seedOf('secret')
  const bound = { record, version: 1, manifest: manifestOf('mr'), grantee: lab.id }
  const key = await wrapKey(pair, secret, grantKeyContext(bound))
  expect(await unwrapKey(pair, key, grantKeyContext(bound))).toEqual(secret)
  for (const other of [
    { version: 2 },
    { manifest: manifestOf('ct') },
    { grantee: ben.id },
    { record: await addRecord() },
  ]) {
    await expect(unwrapKey(pair, key, grantKeyContext({ ...bound, ...other }))).rejects.toThrow(EnvelopeError)
  }
})

/** An id that no transaction has. */
function idOfNobody(): TxId {
  return txIdOf(seedOf('nobody'))
}
