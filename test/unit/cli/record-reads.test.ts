/** What the CLI reads of a ledger that holds more than one page of everything: the production routes over a chain in memory. */
import fastify from 'fastify'
import { type CID } from 'multiformats/cid'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { CliAccount } from '../../../src/cli/account.ts'
import { ApiClient } from '../../../src/cli/api-client.ts'
import { mentionsOf, readGrants, readRecord, readRecordsOf, readVersions } from '../../../src/cli/record-reads.ts'
import { objectKey, resolveObject } from '../../../src/cli/target.ts'
import type { TreeReader } from '../../../src/cli/tree-reader.ts'
import type { RecordId } from '../../../src/core/ids.ts'
import { LIST_DEFAULT, LIST_MAX } from '../../../src/core/limits.ts'
import { type WrappedKey, generateEncryptionKey, wrapKey } from '../../../src/crypto/envelope.ts'
import { PURPOSES_OF_USE, draftConsentGrant, grantKeyContext } from '../../../src/domain/grants.ts'
import { draftRecordAdd, draftRecordAmend, recordIdOfTx, recordKeyContext } from '../../../src/domain/records.ts'
import { sendProblem } from '../../../src/gateway/problem.ts'
import { type VersionsAnswer, grantRoutes, recordRoutes } from '../../../src/gateway/record-routes.ts'
import type { DraftTx } from '../../../src/ledger/transaction.ts'
import type { Manifest } from '../../../src/shards/manifest.ts'
import { HOUR_MS, type Person, TestChain, person, staff } from '../ledger/network.ts'
import { manifestOf, wrapped } from '../ledger/samples.ts'

const MANY = LIST_MAX + 1
const ada = person('ada', 'city')
const mallory = person('mallory', 'city')
const lab = staff('lab')
const key = new Uint8Array(32).fill(7)
const scan = manifestOf('scan')

const app = fastify()
let chain: TestChain
let client: ApiClient
let patient: CliAccount
let reader: CliAccount
/** Added before and after all the others: the first has many versions, and so has the last page its end. */
let amended: RecordId
let sealed: RecordId
let grantedMs: number

/** An account of the ledger with an encryption key of its own; the routes don't look at keys. */
async function accountOf(who: Person): Promise<CliAccount & { wrap(context: Uint8Array): Promise<WrappedKey> }> {
  const { privateKey, publicKey } = await generateEncryptionKey('x25519')
  const encryption = { wrap: 'x25519' as const, publicKey }
  return {
    name: who.name,
    id: who.id,
    signingKey: who.signer.publicKey,
    encryption,
    openSigner: async () => who.signer,
    openEncryption: async () => ({ wrap: 'x25519', privateKey }),
    wrap: async (context) => wrapKey(encryption, key, context),
  }
}

async function block(by: Person, drafts: readonly DraftTx[]): Promise<RecordId[]> {
  const first = await chain.chain.nextSeq(by.id, 1)
  const txs = await Promise.all(drafts.map(async (draft, index) => chain.tx(by, draft, { seq: first + index })))
  await chain.block(...txs)
  return txs.map((tx) => recordIdOfTx(tx.id))
}

const adding = (manifest: CID, wrappedKey: WrappedKey): DraftTx =>
  draftRecordAdd({ patient: ada.id, category: 'imaging', manifest, key: wrappedKey })

beforeAll(async () => {
  chain = await TestChain.open()
  await chain.block(await chain.createTx(ada), await chain.createTx(mallory))
  const own = await accountOf(ada)
  const labs = await accountOf(lab)
  ;[patient, reader] = [own, labs]
  const stranger = wrapped('nobody')
  ;[amended] = (await block(mallory, [adding(manifestOf('first'), stranger)])) as [RecordId]
  const versions = Array.from({ length: MANY - 1 }, (_, index) =>
    draftRecordAmend({ record: amended, manifest: manifestOf(index % 500 === 0 ? 'often' : 'other'), key: stranger }),
  )
  await block(mallory, versions)
  // What a hostile account can do: many records of the patient, and bytes that are no key in one that names the scan.
  await block(mallory, [
    adding(scan, stranger),
    ...Array.from({ length: MANY }, () => adding(manifestOf('junk'), stranger)),
  ])
  const context = recordKeyContext({ patient: ada.id, manifest: scan })
  ;[sealed] = (await block(ada, [adding(scan, await own.wrap(context))])) as [RecordId]
  grantedMs = chain.nowMs
  const grants = Array.from({ length: MANY }, (_, index) =>
    draftConsentGrant({
      record: amended,
      version: 1 + Math.floor(index / PURPOSES_OF_USE.length),
      grantee: lab.id,
      purpose: PURPOSES_OF_USE[index % PURPOSES_OF_USE.length] ?? 'TREAT',
      startMs: grantedMs,
      endMs: grantedMs + HOUR_MS,
      key: stranger,
    }),
  )
  await block(ada, grants)
  const bound = { record: sealed, version: 1, manifest: scan, grantee: lab.id }
  const grant = { ...bound, purpose: 'HRESCH' as const, startMs: grantedMs, endMs: grantedMs + HOUR_MS }
  const { manifest: _manifest, ...named } = grant
  await block(ada, [draftConsentGrant({ ...named, key: await labs.wrap(grantKeyContext(bound)) })])
  app.setErrorHandler(async (error, _request, reply) => sendProblem(reply, error))
  await app.register(async (api) => recordRoutes(api, chain.chain), { prefix: '/api/v1' })
  await app.register(async (api) => grantRoutes(api, chain.chain), { prefix: '/api/v1' })
  client = new ApiClient({ url: await app.listen({ host: '127.0.0.1', port: 0 }), token: 'none is asked for here' })
}, 60_000)
afterAll(async () => {
  client.close()
  await app.close()
})

/** Manifests that no key lies in, as those of an object that somebody else stored. */
const tree = { manifest: async () => ({ keys: [] }) as unknown as Manifest } as unknown as TreeReader
const count = async (list: AsyncIterable<unknown>): Promise<number> => (await Array.fromAsync(list)).length

test('the newest version is the newest, however many there are', async () => {
  const { record } = await resolveObject(client, tree, amended, undefined)
  expect(record).toMatchObject({ record: amended, version: MANY, patient: ada.id })
  expect((await resolveObject(client, tree, amended, 3)).record).toMatchObject({ version: 3 })
})

test.each([0, MANY + 1])('version %i, which there is not, is refused as such', async (version) => {
  const refused = resolveObject(client, tree, amended, version)
  await expect(refused).rejects.toMatchObject({ fault: { code: 'RECORD_VERSION_UNKNOWN', version, versions: MANY } })
})

test('a patient opens a record by its own key, behind any number of records that others added', async () => {
  const object = await resolveObject(client, tree, sealed, undefined)
  const found = await objectKey(client, patient, object)
  expect(Buffer.from(found.key).equals(key)).toBe(true)
  expect(found.mention).toMatchObject({ record: sealed, version: 1 })
})

test('a patient opens an object by its CID, behind a record that names it with bytes that are no key', async () => {
  const found = await objectKey(client, patient, await resolveObject(client, tree, scan.toString(), undefined))
  expect(Buffer.from(found.key).equals(key)).toBe(true)
  expect(found.mention).toMatchObject({ record: sealed })
}, 30_000)

test('a grantee opens what was granted, by record and by CID, behind any number of other grants', async () => {
  for (const target of [sealed, scan.toString()]) {
    const found = await objectKey(client, reader, await resolveObject(client, tree, target, undefined))
    expect(Buffer.from(found.key).equals(key)).toBe(true)
    expect(found.mention).toMatchObject({ record: sealed, version: 1 })
  }
})

test('who has no grant has no key', async () => {
  const object = await resolveObject(client, tree, sealed, undefined)
  const refused = objectKey(client, await accountOf(mallory), object)
  await expect(refused).rejects.toMatchObject({ fault: { code: 'KEY_NOT_GRANTED' } })
})

test('lists are whole, page after page', async () => {
  expect(await count(readVersions(client, amended))).toBe(MANY)
  expect(await count(readVersions(client, amended, MANY - 1))).toBe(1)
  // The amended one, that with bytes for a key, the junk, and the patient's own.
  expect(await count(readRecordsOf(client, ada.id))).toBe(MANY + 3)
  expect(await count(readGrants(client, { grantee: lab.id }))).toBe(MANY + 1)
  expect(await count(readGrants(client, { record: amended }))).toBe(MANY)
  const page = await client.get<VersionsAnswer>(`/api/v1/records/${amended}/versions`)
  expect([page.versions.length, page.next]).toEqual([LIST_DEFAULT, LIST_DEFAULT])
})

test('the versions that name an object are found from the newest on', async () => {
  const record = await readRecord(client, amended)
  const found = await mentionsOf(client, record, manifestOf('often'), 2)
  expect(found).toEqual([502, 2].map((version) => ({ record: amended, version })))
  expect(await mentionsOf(client, record, manifestOf('first'), 1)).toEqual([{ record: amended, version: 1 }])
})
