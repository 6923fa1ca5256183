/** The main job between real peers in this process: put, record, grant, get; and what is refused on the way. */
import { randomBytes } from 'node:crypto'
import { appendFileSync, truncateSync } from 'node:fs'
import { mkdir, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { demoInput } from '../../../scripts/demo-input.ts'
import type { CliAccount } from '../../../src/cli/account.ts'
import { type GetOptions, get, getSealed } from '../../../src/cli/get.ts'
import { type PutOptions, type PutResult, put } from '../../../src/cli/put.ts'
import { submitTx } from '../../../src/cli/submit.ts'
import { objectKey, resolveObject } from '../../../src/cli/target.ts'
import { TreeReader } from '../../../src/cli/tree-reader.ts'
import { verify } from '../../../src/cli/verify.ts'
import type { RecordId } from '../../../src/core/ids.ts'
import { wrapKey } from '../../../src/crypto/envelope.ts'
import { rawCid } from '../../../src/crypto/hash.ts'
import { draftConsentGrant, grantKeyContext } from '../../../src/domain/grants.ts'
import { draftRecordAdd, recordIdOfTx, recordKeyContext } from '../../../src/domain/records.ts'
import { decodeManifest, encodeManifest } from '../../../src/shards/manifest.ts'
import { TestNetwork, type TestPeer, newAccount } from './network.ts'

const MIB = 1024 * 1024
const signal = new AbortController().signal
const seconds = (count: number): AbortSignal => AbortSignal.timeout(count * 1_000)

let network: TestNetwork
let hospital: TestPeer
let institute: TestPeer
let insurer: TestPeer
let patient: CliAccount
let researcher: CliAccount
let assessor: CliAccount

beforeAll(async () => {
  network = await TestNetwork.start({ peers: 3 })
  hospital = network.peer(0)
  institute = network.peer(1)
  insurer = network.peer(2)
  patient = await newAccount(hospital, 'patient')
  researcher = await newAccount(institute, 'researcher')
  assessor = await newAccount(insurer, 'assessor')
}, 60_000)
afterAll(async () => network[Symbol.asyncDispose]())

const putOptions = (at: TestPeer, more: Partial<PutOptions> = {}): PutOptions => ({
  home: at.home,
  profile: 'aes-256-gcm',
  restart: false,
  signal,
  onStart: () => undefined,
  onSent: () => undefined,
  ...more,
})
const getOptions = (out: string, more: Partial<GetOptions> = {}): GetOptions => ({
  out,
  force: false,
  keep: false,
  signal,
  onStart: () => undefined,
  onOpened: () => undefined,
  ...more,
})

async function inputFile(name: string, bytes: number): Promise<string> {
  const path = join(network.folder, name)
  await writeFile(path, randomBytes(bytes))
  return path
}

async function addRecord(stored: PutResult): Promise<RecordId> {
  const tree = new TreeReader(hospital.client, signal)
  const object = await resolveObject(hospital.client, tree, stored.manifest.toString(), undefined)
  const { key } = await objectKey(hospital.client, patient, object)
  const { manifest } = stored
  const wrapped = await wrapKey(patient.encryption, key, recordKeyContext({ patient: patient.id, manifest }))
  const draft = draftRecordAdd({ patient: patient.id, category: 'imaging', manifest, key: wrapped })
  return recordIdOfTx((await submitTx(hospital.client, patient, draft, { signal: seconds(20) })).tx)
}

async function grantTo(record: RecordId, grantee: CliAccount): Promise<void> {
  const tree = new TreeReader(hospital.client, signal)
  const object = await resolveObject(hospital.client, tree, record, undefined)
  const { key } = await objectKey(hospital.client, patient, object)
  const context = grantKeyContext({ record, version: 1, manifest: object.manifestCid, grantee: grantee.id })
  const startMs = hospital.peer.chain.head.timeMs
  const draft = draftConsentGrant({
    record,
    version: 1,
    grantee: grantee.id,
    purpose: 'HRESCH',
    startMs,
    endMs: Date.now() + 3_600_000,
    key: await wrapKey(grantee.encryption, key, context),
  })
  const { height } = await submitTx(hospital.client, patient, draft, { signal: seconds(20) })
  await vi.waitFor(() => expect(institute.peer.chain.head.height).toBeGreaterThanOrEqual(height), { timeout: 15_000 })
}

test('a granted institute gets a real study byte for byte, and one without a grant is refused', async () => {
  const { series } = await demoInput()
  const stored = await put(hospital.client, patient, series, putOptions(hospital))
  expect(stored).toMatchObject({ kind: 'folder', files: 20 })
  const record = await addRecord(stored)
  await grantTo(record, researcher)
  const out = join(network.folder, 'series-out')
  await get(institute.client, researcher, record, getOptions(out))
  for (const name of await readdir(series)) {
    expect((await readFile(join(out, name))).equals(await readFile(join(series, name)))).toBe(true)
  }
  const verified = await verify(institute.client, researcher, record, {
    path: out,
    signal,
    onStart: () => undefined,
    onOpened: () => undefined,
  })
  expect(verified).toMatchObject({ files: 20, onLedger: { record, version: 1 } })
  await vi.waitFor(() => expect(insurer.peer.chain.head.height).toBe(hospital.peer.chain.head.height), {
    timeout: 15_000,
  })
  const refused = get(insurer.client, assessor, record, getOptions(join(network.folder, 'no')))
  await expect(refused).rejects.toMatchObject({ fault: { code: 'KEY_NOT_GRANTED' } })
}, 60_000)

test('an interrupted get of a folder skips what is finished, and overwrites nothing else', async () => {
  const { series } = await demoInput()
  const stored = await put(hospital.client, patient, series, putOptions(hospital))
  const target = stored.manifest.toString()
  const out = join(network.folder, 'folder-again')
  await get(hospital.client, patient, target, getOptions(out))
  const names = await readdir(out)
  const [first = '', second = ''] = names
  await rm(join(out, first))
  await get(hospital.client, patient, target, getOptions(out))
  expect((await readFile(join(out, first))).equals(await readFile(join(series, first)))).toBe(true)
  await writeFile(join(out, second), 'something of the user')
  await expect(get(hospital.client, patient, target, getOptions(out))).rejects.toMatchObject({
    fault: { code: 'OUTPUT_EXISTS' },
  })
})

test('a copy that was altered on disk is told from what was stored', async () => {
  const file = await inputFile('copy.bin', 3 * MIB + 5)
  const stored = await put(hospital.client, patient, file, putOptions(hospital))
  const target = stored.manifest.toString()
  const options = { path: file, signal, onStart: () => undefined, onOpened: () => undefined }
  await expect(verify(hospital.client, patient, target, options)).resolves.toMatchObject({ files: 1 })
  const bytes = await readFile(file)
  bytes[2 * MIB] = (bytes[2 * MIB] ?? 0) ^ 1
  await writeFile(file, bytes)
  await expect(verify(hospital.client, patient, target, options)).rejects.toMatchObject({
    fault: { code: 'VERIFY_DIFFERS', files: 1, first: 0 },
  })
})

test.each([0, 1, MIB - 56, MIB - 55, 2 * MIB - 72, 5 * MIB + 3])(
  'a file of %i bytes comes back the same',
  async (bytes) => {
    const file = await inputFile(`size-${bytes}.bin`, bytes)
    const stored = await put(
      hospital.client,
      patient,
      file,
      putOptions(hospital, { profile: bytes % 2 === 0 ? 'aes-256-gcm' : 'chacha20-poly1305' }),
    )
    const out = `${file}.out`
    await get(hospital.client, patient, stored.manifest.toString(), getOptions(out))
    expect((await readFile(out)).equals(await readFile(file))).toBe(true)
  },
)

test('an interrupted put goes on at the last acknowledged segment', async () => {
  const file = await inputFile('resume.bin', 40 * MIB)
  const stop = new AbortController()
  let sent = 0
  const first = put(
    hospital.client,
    patient,
    file,
    putOptions(hospital, {
      signal: stop.signal,
      onSent: (bytes) => {
        sent += bytes
        if (sent > 24 * MIB) stop.abort(new Error('pulled the plug'))
      },
    }),
  )
  await expect(first).rejects.toThrow('pulled the plug')
  const resumedAt: number[] = []
  const stored = await put(
    hospital.client,
    patient,
    file,
    putOptions(hospital, { onSent: (bytes) => resumedAt.push(bytes) }),
  )
  // The first report of the second run is what the peer had durably.
  expect(resumedAt[0]).toBeGreaterThanOrEqual(MIB)
  const out = `${file}.out`
  await get(hospital.client, patient, stored.manifest.toString(), getOptions(out))
  expect((await readFile(out)).equals(await readFile(file))).toBe(true)
}, 30_000)

test('a folder of more files than there may be unfinished uploads is put and got, byte for byte', async () => {
  const folder = join(network.folder, 'slices')
  await mkdir(folder)
  // Over a thousand: their opaque names lie in two levels.
  const slices = Array.from({ length: 1_100 }, (_, i) => ({ name: `${i}.dcm`, bytes: randomBytes(i) }))
  for (const { name, bytes } of slices) await writeFile(join(folder, name), bytes)
  const stored = await put(hospital.client, patient, folder, putOptions(hospital))
  expect(stored).toMatchObject({ kind: 'folder', files: slices.length })
  const out = join(network.folder, 'slices-out')
  await get(hospital.client, patient, stored.manifest.toString(), getOptions(out))
  for (const { name, bytes } of slices) expect((await readFile(join(out, name))).equals(bytes)).toBe(true)
  expect(hospital.peer.uploads.roots()).toEqual([])
}, 120_000)

test('one process at a time puts one thing: two would seal under one key and header', async () => {
  const file = await inputFile('twice.bin', 4 * MIB)
  let second: Promise<unknown> | undefined
  const onStart = (): void => {
    second ??= put(hospital.client, patient, file, putOptions(hospital, { restart: true })).catch((error) => error)
  }
  const stored = await put(hospital.client, patient, file, putOptions(hospital, { onStart }))
  expect(await second).toMatchObject({ fault: { code: 'PUT_UNDER_WAY' } })
  const again = await put(hospital.client, patient, file, putOptions(hospital))
  expect(again.manifest.equals(stored.manifest)).toBe(false)
  expect(await readdir(join(hospital.home, 'uploads'))).toEqual([])
})

test('a put begun anew takes back what the interrupted one sent', async () => {
  const file = await inputFile('anew.bin', 40 * MIB)
  const stop = new AbortController()
  let sent = 0
  const onSent = (bytes: number): void => {
    sent += bytes
    if (sent > 10 * MIB) stop.abort(new Error('pulled the plug'))
  }
  const first = put(hospital.client, patient, file, putOptions(hospital, { signal: stop.signal, onSent }))
  await expect(first).rejects.toThrow('pulled the plug')
  const [note = ''] = (await readdir(join(hospital.home, 'uploads'))).filter((name) => name.endsWith('.jsonl'))
  const [, upload = ''] =
    /"upload":"([0-9a-f-]+)"/.exec(await readFile(join(hospital.home, 'uploads', note), 'utf8')) ?? []
  expect(hospital.peer.uploads.state(upload)).toMatchObject({ content: undefined })
  await put(hospital.client, patient, file, putOptions(hospital, { restart: true }))
  expect(() => hospital.peer.uploads.state(upload)).toThrow('UPLOAD_UNKNOWN')
}, 30_000)

test('a put goes on over a restart of the peer', async () => {
  const file = await inputFile('restart.bin', 30 * MIB)
  const stop = new AbortController()
  let sent = 0
  const onSent = (bytes: number): void => {
    sent += bytes
    if (sent > 20 * MIB) stop.abort(new Error('pulled the plug'))
  }
  await expect(
    put(institute.client, researcher, file, putOptions(institute, { signal: stop.signal, onSent })),
  ).rejects.toThrow('pulled the plug')
  await institute.close()
  institute = await network.startPeer(1)
  const reports: number[] = []
  const stored = await put(
    institute.client,
    researcher,
    file,
    putOptions(institute, { onSent: (bytes) => reports.push(bytes) }),
  )
  // The first report is what the peer had durably before it was stopped.
  expect(reports[0]).toBeGreaterThanOrEqual(MIB)
  const out = `${file}.out`
  await get(institute.client, researcher, stored.manifest.toString(), getOptions(out))
  expect((await readFile(out)).equals(await readFile(file))).toBe(true)
}, 30_000)

test('an interrupted get goes on at its last verified segment, and takes over nothing unverified', async () => {
  const file = await inputFile('resume-get.bin', 12 * MIB)
  const stored = await put(hospital.client, patient, file, putOptions(hospital))
  const target = stored.manifest.toString()
  const out = join(network.folder, 'resume-get.out')
  await get(hospital.client, patient, target, getOptions(out))
  // As an interruption leaves it: a part file, cut off, with a damaged byte in its fifth segment.
  const part = await readFile(out)
  part[4 * MIB + 99] = (part[4 * MIB + 99] ?? 0) ^ 1
  const again = join(network.folder, 'again.out')
  await writeFile(`${again}.part`, part.subarray(0, 7 * MIB))
  const opened: number[] = []
  await get(hospital.client, patient, target, getOptions(again, { onOpened: (bytes) => opened.push(bytes) }))
  expect(opened.find((bytes) => bytes > 0)).toBe(4 * MIB - 40 - 4 * 16)
  expect((await readFile(again)).equals(await readFile(file))).toBe(true)
})

test('a file that changes while it is stored is refused, and nothing of it is kept', async () => {
  const file = await inputFile('changing.bin', 8 * MIB)
  const before = hospital.peer.store.stats().blocks
  let changed = false
  const onSent = (): void => {
    if (changed) return
    changed = true
    appendFileSync(file, 'more')
  }
  await expect(put(hospital.client, patient, file, putOptions(hospital, { onSent }))).rejects.toMatchObject({
    fault: { code: 'PUT_FILE_CHANGED' },
  })
  await vi.waitFor(() => expect(hospital.peer.store.stats().blocks).toBe(before), { timeout: 5_000 })
})

test('a file that shrinks while it is stored is refused', async () => {
  const file = await inputFile('shrinking.bin', 24 * MIB)
  // At once: a quick machine stores all of it before anything that waits has its turn.
  const onStart = (): void => truncateSync(file, MIB)
  const storing = put(hospital.client, patient, file, putOptions(hospital, { onStart, onSent: () => undefined }))
  await expect(storing).rejects.toMatchObject({ fault: { code: 'PUT_FILE_CHANGED' } })
})

test('a resumed put whose file changed without a trace in its times is refused before it is sent', async () => {
  const file = await inputFile('sneaky.bin', 40 * MIB)
  const { mtime, atime } = await stat(file)
  const stop = new AbortController()
  let sent = 0
  const onSent = (bytes: number): void => {
    sent += bytes
    if (sent > 24 * MIB) stop.abort(new Error('pulled the plug'))
  }
  await expect(
    put(hospital.client, patient, file, putOptions(hospital, { signal: stop.signal, onSent })),
  ).rejects.toThrow('pulled the plug')
  const { utimes } = await import('node:fs/promises')
  const bytes = await readFile(file)
  bytes.fill(7, 0, 39 * MIB)
  await writeFile(file, bytes)
  await utimes(file, atime, mtime)
  // The change time tells it even so: the put begins anew under another key, and stores the file as it is now.
  const stored = await put(hospital.client, patient, file, putOptions(hospital))
  const out = `${file}.out`
  await get(hospital.client, patient, stored.manifest.toString(), getOptions(out))
  expect((await readFile(out)).equals(bytes)).toBe(true)
}, 30_000)

test('a manifest that lies about its size is refused, and so is one whose blocks are not here', async () => {
  const file = await inputFile('honest.bin', MIB)
  const stored = await put(hospital.client, patient, file, putOptions(hospital))
  const { body } = await hospital.client.call(`/api/v1/blocks/${stored.manifest.toString()}`)
  const manifest = decodeManifest(new Uint8Array(body))
  const commit = async (at: TestPeer, bytes: Uint8Array): Promise<unknown> =>
    at.client.call('/api/v1/objects', {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.ipld.dag-cbor' },
      body: bytes,
    })
  const lying = encodeManifest({ ...manifest, bytes: manifest.bytes + 1 })
  await expect(commit(hospital, lying.bytes)).rejects.toMatchObject({
    fault: { code: 'OBJECT_SIZE_LIES' },
    status: 422,
  })
  // Of the object itself the insurer has a copy as soon as it is placed.
  const elsewhere = encodeManifest({ ...manifest, content: rawCid(randomBytes(32)) })
  await expect(commit(insurer, elsewhere.bytes)).rejects.toMatchObject({
    fault: { code: 'OBJECT_INCOMPLETE' },
  })
})

test('a CID that is none, and one that nobody has, are refused with a code', async () => {
  const out = join(network.folder, 'nothing')
  await expect(get(hospital.client, patient, 'bafynonsense', getOptions(out))).rejects.toMatchObject({
    fault: { code: 'CID_MALFORMED' },
  })
  await expect(get(hospital.client, patient, 'hello', getOptions(out))).rejects.toMatchObject({
    fault: { code: 'TARGET_UNKNOWN' },
  })
  const nobody = 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'
  await expect(getSealed(hospital.client, nobody, getOptions(out))).rejects.toMatchObject({ status: 404 })
}, 20_000)

test('a kept copy serves when the first peer is gone', async () => {
  const file = await inputFile('kept.bin', 6 * MIB)
  const stored = await put(hospital.client, patient, file, putOptions(hospital))
  await getSealed(
    insurer.client,
    stored.manifest.toString(),
    getOptions(join(network.folder, 'kept.sealed'), { keep: true }),
  )
  expect(insurer.peer.store.has(stored.content.multihash.digest)).toBe(true)
  expect(insurer.peer.store.has(stored.manifest.multihash.digest)).toBe(true)
}, 20_000)

test('a full store refuses with exact numbers, and keeps nothing', async () => {
  await using small = await TestNetwork.start({ peers: 1, store: { 0: { capacityBytes: 20 * MIB } } })
  const at = small.peer(0)
  const owner = await newAccount(at, 'owner')
  const folder = join(small.folder, 'in')
  await mkdir(folder)
  await writeFile(join(folder, 'large.bin'), randomBytes(30 * MIB))
  const before = at.peer.store.stats().blocks
  const storing = put(at.client, owner, folder, putOptions(at))
  await expect(storing).rejects.toMatchObject({ fault: { code: 'STORE_FULL', capacityBytes: 20 * MIB }, status: 507 })
  await vi.waitFor(() => expect(at.peer.store.stats().blocks).toBe(before), { timeout: 5_000 })
}, 30_000)
