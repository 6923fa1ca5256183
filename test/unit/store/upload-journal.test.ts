import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { UPLOAD_META_BYTES_MAX, UPLOAD_RECORD_DIGESTS_MAX } from '../../../src/core/limits.ts'
import { UploadJournal, type UploadJournalOptions } from '../../../src/store/upload-journal.ts'
import { block, faultOf, silent, tempFolder } from './setup.ts'
import { SimDisk, seededRandom } from './sim-disk.ts'

const ID = 'upload-0001'
const meta = new TextEncoder().encode('what it is')
const digests = (from: number, count: number): Uint8Array[] =>
  Array.from({ length: count }, (_, i) => block(8, from + i).digest)

function open(
  dir: string,
  options: Partial<UploadJournalOptions> = {},
  nowMs = (): number => 1_000,
): Promise<UploadJournal> {
  return UploadJournal.open({ log: silent, clock: { nowMs } }, { dir, ...options })
}

test('a session reads back, before and after a restart, and goes on', async () => {
  const dir = await tempFolder()
  let journal = await open(dir)
  await journal.create(ID, meta)
  await journal.append(ID, digests(0, 16))
  await journal.append(ID, digests(16, 1))
  await journal.append(ID, [])
  await journal.close()
  journal = await open(dir)
  await Promise.all([journal.append(ID, digests(17, 3)), journal.append(ID, digests(20, 4))])
  const session = { id: ID, meta, digests: digests(0, 24), createdAtMs: 1_000, touchedAtMs: 1_000 }
  expect(await journal.load(ID)).toEqual(session)
  expect(await journal.list()).toEqual([session])
  expect(await journal.load('upload-0002')).toBeUndefined()
  await journal.close()
})

test('a removed session is gone for good', async () => {
  const dir = await tempFolder()
  const journal = await open(dir)
  await journal.create(ID, meta)
  const append = journal.append(ID, digests(0, 2))
  expect(await journal.remove(ID)).toBe(true)
  await append
  expect(await journal.remove(ID)).toBe(false)
  expect((await faultOf(journal.append(ID, digests(0, 1)))).code).toBe('STORE_UPLOAD_UNKNOWN')
  await journal.close()
  expect(await (await open(dir)).list()).toEqual([])
  expect(await readdir(dir)).toEqual([])
})

test('every limit is a coded refusal', async () => {
  const journal = await open(await tempFolder(), { uploadsMax: 2 })
  for (const id of ['', 'short', '../escape-1', `x${'y'.repeat(64)}`, 'with space', '-leading-dash']) {
    expect((await faultOf(journal.create(id, meta))).code).toBe('STORE_UPLOAD_ID_INVALID')
  }
  await journal.create(ID, meta)
  expect(await faultOf(journal.create(ID, meta))).toEqual({ code: 'STORE_UPLOAD_EXISTS', id: ID })
  expect(await faultOf(journal.create('upload-0002', new Uint8Array(UPLOAD_META_BYTES_MAX + 1)))).toMatchObject({
    code: 'STORE_UPLOAD_TOO_LARGE',
    countMax: UPLOAD_META_BYTES_MAX,
  })
  await journal.create('upload-0002', meta)
  expect(await faultOf(journal.create('upload-0003', meta))).toEqual({ code: 'STORE_UPLOADS_TOO_MANY', uploadsMax: 2 })
  const many = Array.from({ length: UPLOAD_RECORD_DIGESTS_MAX + 1 }, () => new Uint8Array(32))
  expect((await faultOf(journal.append(ID, many))).code).toBe('STORE_UPLOAD_TOO_LARGE')
  expect((await faultOf(journal.append(ID, [new Uint8Array(31)]))).code).toBe('STORE_HASH_UNSUPPORTED')
  await journal.close()
  expect((await faultOf(journal.append(ID, digests(0, 1)))).code).toBe('STORE_CLOSED')
})

test('a journal cut at any byte, or with any bit flipped, tells a beginning of what was noted, and goes on from there', async () => {
  const dir = await tempFolder()
  const first = await open(dir)
  await first.create(ID, meta)
  for (let i = 0; i < 4; i++) await first.append(ID, digests(i * 2, 2))
  await first.close()
  const path = join(dir, `${ID}.upload`)
  const whole = new Uint8Array(await readFile(path))
  const headerBytes = 24 + meta.length
  const variants = Array.from({ length: whole.length - headerBytes }, (_, i) => whole.subarray(0, headerBytes + i))
  for (let at = headerBytes; at < whole.length; at++) {
    const flipped = whole.slice()
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8))
    variants.push(flipped)
  }
  for (const variant of variants) {
    await writeFile(path, variant)
    const journal = await open(dir)
    const found = (await journal.load(ID))?.digests ?? []
    expect(found.length).toBeLessThan(8)
    expect(found).toEqual(digests(0, found.length))
    await journal.append(ID, digests(found.length, 1))
    await journal.close()
    const again = await open(dir)
    expect((await again.load(ID))?.digests).toEqual(digests(0, found.length + 1))
    await again.close()
  }
})

test('a journal whose header is damaged is set aside, and the others are taken up', async () => {
  const dir = await tempFolder()
  const first = await open(dir)
  await first.create(ID, meta)
  await first.create('upload-0002', meta)
  await first.close()
  const path = join(dir, `${ID}.upload`)
  const bytes = await readFile(path)
  bytes[21] = (bytes[21] ?? 0) ^ 1
  await writeFile(path, bytes)
  const journal = await open(dir)
  expect((await journal.list()).map(({ id }) => id)).toEqual(['upload-0002'])
  expect((await readdir(dir)).sort()).toEqual([`${ID}.damaged`, 'upload-0002.upload'])
  await journal.close()
})

test('acknowledged segments survive kills and losses of power, and no others are invented', async () => {
  for (let seed = 0; seed < 200; seed++) {
    let disk = new SimDisk(seed)
    const random = seededRandom(seed)
    let acknowledged = 0
    let asked = 0
    let created = false
    const begin = (): Promise<UploadJournal> =>
      UploadJournal.open({ fs: disk, log: silent, clock: { nowMs: () => 5 } }, { dir: '/uploads' })
    const work = async (): Promise<void> => {
      const journal = await begin()
      if ((await journal.load(ID)) === undefined) await journal.create(ID, meta)
      created = true
      asked = acknowledged
      for (;;) {
        const count = 1 + Math.floor(random() * 20)
        asked = acknowledged + count
        await journal.append(ID, digests(acknowledged, count))
        acknowledged = asked
      }
    }
    for (let life = 0; life < 3; life++) {
      disk.operationsLeft = Math.floor(random() * 60)
      await Promise.race([work(), disk.crashed])
      const [was, mayBe] = [acknowledged, asked]
      disk = random() < 0.5 ? disk.afterKill(seed) : disk.afterCrash(seed)
      const journal = await begin()
      const session = await journal.load(ID)
      if (created) expect(session, `seed ${seed}`).toBeDefined()
      const found = session?.digests ?? []
      expect(found.length, `seed ${seed}`).toBeGreaterThanOrEqual(was)
      expect(found.length, `seed ${seed}`).toBeLessThanOrEqual(mayBe)
      expect(found).toEqual(digests(0, found.length))
      acknowledged = found.length
      asked = acknowledged
      await journal.close()
    }
  }
})

test('a full disk: the ballast is asked for, and without one the segments are not acknowledged and nothing stays', async () => {
  const disk = new SimDisk(1)
  let ballast = 0
  const journal = await UploadJournal.open(
    {
      fs: disk,
      log: silent,
      onDiskFull: async () => {
        disk.capacityBytes += ballast
        return ballast > 0
      },
    },
    { dir: '/uploads' },
  )
  await journal.create(ID, meta)
  const used = disk.files.get(`/uploads/${ID}.upload`)?.length ?? 0
  disk.capacityBytes = used + 100
  expect(await faultOf(journal.append(ID, digests(0, 10)))).toEqual({
    code: 'STORE_DISK_FULL',
    dir: '/uploads',
    freeBytes: 100,
  })
  expect(disk.files.get(`/uploads/${ID}.upload`)?.length).toBe(used)
  ballast = 1_000
  await journal.append(ID, digests(0, 10))
  expect((await journal.load(ID))?.digests).toEqual(digests(0, 10))
  await journal.close()
})

test('after one failed sync nothing is acknowledged any more', async () => {
  const disk = new SimDisk(2)
  const journal = await UploadJournal.open({ fs: disk, log: silent }, { dir: '/uploads' })
  await journal.create(ID, meta)
  await journal.append(ID, digests(0, 1))
  disk.fault = (operation) => (operation === 'datasync' ? 'EIO' : undefined)
  expect((await faultOf(journal.append(ID, digests(1, 1)))).code).toBe('STORE_FSYNC_FAILED')
  disk.fault = () => undefined
  expect((await faultOf(journal.append(ID, digests(1, 1)))).code).toBe('STORE_FSYNC_FAILED')
  await journal.close()
  const again = await UploadJournal.open({ fs: disk, log: silent }, { dir: '/uploads' })
  expect((await again.load(ID))?.digests).toEqual(digests(0, 1))
  await again.close()
})
