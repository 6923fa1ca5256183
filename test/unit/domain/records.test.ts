import { beforeEach, describe, expect, test } from 'vitest'
import { EnvelopeError, generateEncryptionKey, unwrapKey, wrapKey } from '../../../src/crypto/envelope.ts'
import {
  type ListedRecord,
  type RecordAdd,
  draftRecordAdd,
  draftRecordAmend,
  getRecord,
  getRecordVersion,
  listRecordsOfCustodian,
  listRecordsOfPatient,
  listVersions,
  recordIdOfTx,
  recordKeyContext,
} from '../../../src/domain/records.ts'
import { type Person, TestChain, person, seedOf, staff } from '../ledger/network.ts'
import { manifestOf, wrapped } from '../ledger/samples.ts'

const ada = person('ada', 'city')
const ben = person('ben', 'city')
const nina = person('nina', 'north')

let chain: TestChain
beforeEach(async () => {
  chain = await TestChain.open()
  await chain.block(...(await Promise.all([ada, ben, nina].map((who) => chain.createTx(who)))))
})

const payload = (change: Partial<RecordAdd> = {}): RecordAdd => ({
  patient: ada.id,
  category: 'imaging',
  manifest: manifestOf('mr'),
  key: wrapped('ada'),
  ...change,
})

/** Adds a record, in a block of its own. */
async function add(by: Person, change: Partial<RecordAdd> = {}) {
  const tx = await chain.tx(by, draftRecordAdd(payload(change)))
  expect(await chain.outcome(tx)).toBe('ok')
  return recordIdOfTx(tx.id)
}

async function idsOf(listed: AsyncIterable<ListedRecord>): Promise<string[]> {
  const ids: string[] = []
  for await (const { record } of listed) ids.push(record.id)
  return ids
}

describe('record.add', () => {
  test('keeps who wrote it, who keeps it, for whom, and when by block time', async () => {
    const id = await add(ben)
    const { reader } = chain.chain
    expect(await getRecord(reader, id)).toEqual({
      id,
      patient: ada.id,
      category: 'imaging',
      custodian: 'city',
      author: ben.id,
      addedMs: chain.chain.head.timeMs,
      versions: 1,
    })
    const version = await getRecordVersion(reader, id, 1)
    expect(version).toMatchObject({ record: id, version: 1, author: ben.id, org: 'city', key: wrapped('ada') })
    expect(version?.manifest.toString()).toBe(manifestOf('mr').toString())
    expect(recordIdOfTx(version?.tx ?? (await chain.createTx(ada)).id)).toBe(id)
  })

  test('is open to any account of any member institution, its own account and the patient too', async () => {
    for (const by of [ben, nina, staff('lab'), ada]) await add(by)
    expect(await idsOf(listRecordsOfPatient(chain.chain.reader, ada.id))).toHaveLength(4)
  })

  test.each([
    ['a patient who has no account', { patient: person('nobody', 'city').id }, 'RECORD_PATIENT_UNKNOWN'],
    ['an institution as the patient', { patient: staff('city').id }, 'RECORD_PATIENT_NOT_PERSON'],
    [
      'a key wrapped in another way than the patient opens',
      { key: { wrap: 'x-wing' as const, enc: new Uint8Array(1_120), sealed: new Uint8Array(48) } },
      'RECORD_KEY_WRAP_WRONG',
    ],
    ['a category that is none', { category: 'Imaging!' }, 'TX_PAYLOAD_MALFORMED'],
    ['a manifest that is a raw block', { manifest: 'bafkreiabc' as never }, 'TX_PAYLOAD_MALFORMED'],
    ['a file’s name', { fileName: 'brain.dcm' } as object, 'TX_PAYLOAD_MALFORMED'],
  ])('refuses %s', async (_what, change, code) => {
    expect(await chain.outcome(await chain.tx(ben, draftRecordAdd(payload(change))))).toBe(code)
    expect(await idsOf(listRecordsOfPatient(chain.chain.reader, ada.id))).toEqual([])
  })
})

describe('record.amend', () => {
  test('adds a version beside the old one', async () => {
    const id = await add(ben)
    const tx = await chain.tx(ben, draftRecordAmend({ record: id, manifest: manifestOf('mr 2'), key: wrapped('2') }))
    expect(await chain.outcome(tx)).toBe('ok')
    const manifests: string[] = []
    for await (const { manifest, version } of listVersions(chain.chain.reader, id))
      manifests.push(`${version} ${manifest}`)
    expect(manifests).toEqual([`1 ${manifestOf('mr')}`, `2 ${manifestOf('mr 2')}`])
    expect((await getRecord(chain.chain.reader, id))?.versions).toBe(2)
    expect(await getRecordVersion(chain.chain.reader, id, 3)).toBeUndefined()
  })

  test('is open to the author, the patient and the institution that keeps the record, and to nobody else', async () => {
    const id = await add(nina)
    const outcome = async (by: Person): Promise<string> =>
      chain.outcome(await chain.tx(by, draftRecordAmend({ record: id, manifest: manifestOf('x'), key: wrapped('x') })))
    expect(await outcome(nina)).toBe('ok')
    expect(await outcome(ada)).toBe('ok')
    expect(await outcome(staff('north'))).toBe('ok')
    expect(await outcome(ben)).toBe('RECORD_NOT_AUTHOR')
    expect(await outcome(staff('lab'))).toBe('RECORD_NOT_AUTHOR')
    expect((await getRecord(chain.chain.reader, id))?.versions).toBe(4)
  })

  test('refuses a record that is not there, and a key the patient can not open', async () => {
    const nowhere = recordIdOfTx((await chain.createTx(ada)).id)
    const amend = async (record: typeof nowhere, key = wrapped('x')): Promise<string> =>
      chain.outcome(await chain.tx(ben, draftRecordAmend({ record, manifest: manifestOf('x'), key })))
    expect(await amend(nowhere)).toBe('RECORD_UNKNOWN')
    const key = { wrap: 'x-wing' as const, enc: new Uint8Array(1_120), sealed: new Uint8Array(48) }
    expect(await amend(await add(ben), key)).toBe('RECORD_KEY_WRAP_WRONG')
  })
})

describe('lists', () => {
  test('of a patient and of a custodian are in the order of time, page after page, either way round', async () => {
    const ids: string[] = []
    for (const by of [ben, nina, ben, ada, nina]) ids.push(await add(by))
    await add(nina, { patient: ben.id })
    const { reader } = chain.chain
    expect(await idsOf(listRecordsOfPatient(reader, ada.id))).toEqual(ids)
    expect(await idsOf(listRecordsOfPatient(reader, ada.id, { reverse: true }))).toEqual(ids.toReversed())
    expect(await idsOf(listRecordsOfCustodian(reader, ben.org))).toEqual([ids[0], ids[2], ids[3]])
    for (const reverse of [false, true]) {
      const paged: string[] = []
      let after: Uint8Array | undefined
      for (let page = 0; page < 4; page++) {
        const options = { limit: 2, reverse, ...(after === undefined ? {} : { after }) }
        for await (const { cursor, record } of listRecordsOfPatient(reader, ada.id, options)) {
          paged.push(record.id)
          after = cursor
        }
      }
      expect(paged).toEqual(reverse ? ids.toReversed() : ids)
    }
  })

  test('of an institution hold nothing of one whose name goes on from it', async () => {
    expect(await idsOf(listRecordsOfCustodian(chain.chain.reader, person('x', 'nor').org))).toEqual([])
    await add(nina)
    expect(await idsOf(listRecordsOfCustodian(chain.chain.reader, person('x', 'nor').org))).toEqual([])
    expect(await idsOf(listRecordsOfCustodian(chain.chain.reader, nina.org))).toHaveLength(1)
  })

  test('never lead outside their prefix, whatever they are asked to follow', async () => {
    await add(ben, { patient: ben.id })
    for (const after of [new Uint8Array([0]), new Uint8Array(200).fill(255)]) {
      for (const reverse of [false, true]) {
        expect(await idsOf(listRecordsOfPatient(chain.chain.reader, ada.id, { after, reverse }))).toEqual([])
      }
    }
  })
})

test('a wrapped key opens for the manifest and the patient it was made for, and for no other', async () => {
  const pair = await generateEncryptionKey('x25519')
  const secret = seedOf('secret')
  const key = await wrapKey(pair, secret, recordKeyContext({ patient: ada.id, manifest: manifestOf('mr') }))
  const open = (context: Uint8Array): Promise<Uint8Array> => unwrapKey(pair, key, context)
  expect(await open(recordKeyContext({ patient: ada.id, manifest: manifestOf('mr') }))).toEqual(secret)
  await expect(open(recordKeyContext({ patient: ada.id, manifest: manifestOf('ct') }))).rejects.toThrow(EnvelopeError)
  await expect(open(recordKeyContext({ patient: ben.id, manifest: manifestOf('mr') }))).rejects.toThrow(EnvelopeError)
})
