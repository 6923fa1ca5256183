import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { BLOCK_BYTES_MAX } from '../../../src/core/limits.ts'
import { RemoveCapability } from '../../../src/store/blocks.ts'
import { nodeFileSystem } from '../../../src/store/file-system.ts'
import { recordBytes } from '../../../src/store/pack-record.ts'
import { StoreError } from '../../../src/store/store-error.ts'
import { block, blocks, clock, dropIndexFiles, faultOf, openStore, packFiles, tempFolder } from './setup.ts'

const lengths = [0, 1, 7, 8, 1_000, 4_096, 300_000, 1_048_576, BLOCK_BYTES_MAX]

test('blocks of every size read back, before and after a restart, with and without index files', async () => {
  const dir = await tempFolder()
  const written = lengths.map((length) => block(length))
  let store = await openStore(dir)
  await store.write(written)
  for (const withIndex of [true, false]) {
    for (const { digest, bytes } of written) {
      expect(store.has(digest)).toBe(true)
      expect(store.size(digest)).toBe(bytes.length)
      expect(Buffer.compare((await store.read(digest)) ?? new Uint8Array(1), bytes)).toBe(0)
      expect(Buffer.compare((await store.readUnverified(digest)) ?? new Uint8Array(1), bytes)).toBe(0)
    }
    expect(store.stats()).toMatchObject({ blocks: written.length, damagedBlocks: 0, lostBytes: 0 })
    await store.close()
    if (!withIndex) await dropIndexFiles(dir)
    store = await openStore(dir)
  }
  await store.close()
})

test('what was never written is not there', async () => {
  const store = await openStore(await tempFolder())
  const { digest } = block(10)
  expect(store.has(digest)).toBe(false)
  expect(store.size(digest)).toBeUndefined()
  expect(await store.read(digest)).toBeUndefined()
  expect(await store.readUnverified(digest)).toBeUndefined()
  await store.close()
})

test('a block is not there before it is durable, and is from then on', async () => {
  const store = await openStore(await tempFolder())
  const one = block(5_000)
  const write = store.write([one])
  expect(store.has(one.digest)).toBe(false)
  await write
  expect(store.has(one.digest)).toBe(true)
  await store.close()
})

test('the same block written at the same time, twice in a call, or again, is stored once', async () => {
  const store = await openStore(await tempFolder())
  const one = block(5_000)
  await Promise.all([store.write([one, one]), store.write([one]), store.write([block(100), one])])
  await store.write([one])
  expect(store.stats()).toMatchObject({
    blocks: 2,
    bytes: 5_100,
    usedBytes: 16 + recordBytes(5_000) + recordBytes(100),
  })
  await store.close()
})

test('a hundred concurrent writers share packs of the closing size, and all survive a restart', async () => {
  const dir = await tempFolder()
  const written = blocks(300, 2_000)
  const store = await openStore(dir, { packBytes: 64 * 1024 })
  await Promise.all(Array.from({ length: 100 }, (_, i) => store.write(written.slice(i * 3, i * 3 + 3))))
  await store.close()
  expect((await packFiles(dir)).length).toBeGreaterThan(1)
  const again = await openStore(dir)
  for (const { digest, bytes } of written) expect(await again.read(digest)).toEqual(bytes)
  await again.close()
})

test('a call larger than a piece is stored whole', async () => {
  const store = await openStore(await tempFolder())
  const written = blocks(40, 1_048_000)
  await store.write(written)
  expect(store.stats().blocks).toBe(40)
  await store.close()
})

test('a block that is too large, or not named by 32 bytes, is refused', async () => {
  const store = await openStore(await tempFolder())
  const large = { digest: new Uint8Array(32), parts: [new Uint8Array(BLOCK_BYTES_MAX), new Uint8Array(1)] }
  expect(await faultOf(store.write([large]))).toEqual({
    code: 'STORE_BLOCK_TOO_LARGE',
    bytes: BLOCK_BYTES_MAX + 1,
    bytesMax: BLOCK_BYTES_MAX,
  })
  const short = { digest: new Uint8Array(20), parts: [] }
  expect((await faultOf(store.write([short]))).code).toBe('STORE_HASH_UNSUPPORTED')
  await store.close()
})

test('a write beyond the capacity is refused with the exact numbers, and one that fits is taken', async () => {
  const store = await openStore(await tempFolder(), { capacityBytes: 10_000, fullRatio: 0.9 })
  await store.write([block(3_000), block(3_001)])
  const usedBytes = 16 + recordBytes(3_000) + recordBytes(3_001)
  const fault = await faultOf(store.write([block(3_002)]))
  expect(fault).toMatchObject({
    code: 'STORE_FULL',
    usedBytes,
    capacityBytes: 10_000,
    limitBytes: 9_000,
    reserveFreeBytes: 0,
    askedBytes: recordBytes(3_002),
  })
  expect(await faultOf(store.checkRoom(9_000 - usedBytes + 1))).toMatchObject({ askedBytes: 9_000 - usedBytes + 1 })
  await store.checkRoom(9_000 - usedBytes)
  await store.write([block(9_000 - usedBytes - recordBytes(0))])
  expect(store.stats().usedBytes).toBe(9_000)
  await store.close()
})

test('concurrent writes can not together exceed the capacity', async () => {
  const store = await openStore(await tempFolder(), { capacityBytes: 10_000, fullRatio: 1 })
  const results = await Promise.allSettled(blocks(20, 1_000).map((one) => store.write([one])))
  const refused = results.filter(({ status }) => status === 'rejected')
  expect(refused.length).toBe(11)
  expect(store.stats().usedBytes).toBeLessThanOrEqual(10_000)
  await store.close()
})

test('below the free space that is to be kept, a write is refused with the free space of the disk', async () => {
  let freeBytes = 1_000_000
  const fs = { ...nodeFileSystem, statfs: async () => ({ bavail: freeBytes, bsize: 1 }) }
  const store = await openStore(await tempFolder(), { reserveFreeBytes: 900_000 }, { fs })
  await store.write([block(20_000)])
  freeBytes = 910_000
  expect(await faultOf(store.write([block(90_000)]))).toMatchObject({
    code: 'STORE_FULL',
    freeBytes: 910_000,
    reserveFreeBytes: 900_000,
    askedBytes: recordBytes(90_000),
  })
  await store.write([block(5_000)])
  await store.close()
})

test('only the capability that the store was opened with removes blocks', async () => {
  const capability = new RemoveCapability()
  const one = block(100)
  const without = await openStore(await tempFolder())
  await without.write([one])
  expect((await faultOf(without.remove(one.digest, capability))).code).toBe('STORE_REMOVE_REFUSED')
  expect((await faultOf(without.remove(one.digest, undefined))).code).toBe('STORE_REMOVE_REFUSED')
  await without.close()
  const store = await openStore(await tempFolder(), {}, { capability })
  await store.write([one])
  expect((await faultOf(store.remove(one.digest, new RemoveCapability()))).code).toBe('STORE_REMOVE_REFUSED')
  expect(store.has(one.digest)).toBe(true)
  expect(await store.remove(one.digest, capability)).toBe(true)
  expect(await store.remove(one.digest, capability)).toBe(false)
  expect(await store.read(one.digest)).toBeUndefined()
  await store.close()
})

test.each([true, false])(
  'a removed block does not come back after a restart (index files: %s), and can be written again',
  async (withIndex) => {
    const dir = await tempFolder()
    const capability = new RemoveCapability()
    const [one, ...others] = blocks(5, 1_000)
    if (one === undefined) throw new Error('no block')
    const first = await openStore(dir, {}, { capability })
    await first.write([one, ...others])
    await first.close()
    const second = await openStore(dir, {}, { capability })
    await second.remove(one.digest, capability)
    await second.close()
    if (!withIndex) await dropIndexFiles(dir)
    const third = await openStore(dir, {}, { capability })
    expect(third.has(one.digest)).toBe(false)
    for (const other of others) expect(await third.read(other.digest)).toEqual(other.bytes)
    await third.write([one])
    expect(await third.read(one.digest)).toEqual(one.bytes)
    await third.close()
  },
)

test('removing half frees the room of it, and what is left reads back, also while it is moved', async () => {
  const dir = await tempFolder()
  const capability = new RemoveCapability()
  const written = blocks(200, 2_000)
  const store = await openStore(dir, { packBytes: 32 * 1024 }, { capability })
  for (let i = 0; i < 200; i += 10) await store.write(written.slice(i, i + 10))
  const before = store.stats().usedBytes
  const gone = written.filter((_, i) => i % 5 < 3)
  const kept = written.filter((_, i) => i % 5 >= 3)
  const reads = Promise.all(kept.map(async ({ digest, bytes }) => expect(await store.read(digest)).toEqual(bytes)))
  await Promise.all(gone.map(({ digest }) => store.remove(digest, capability)))
  await reads
  await store.tidy()
  expect(store.stats().usedBytes).toBeLessThan(before * 0.65)
  for (const { digest, bytes } of kept) expect(await store.read(digest)).toEqual(bytes)
  await store.close()
  const onDisk = await Promise.all((await packFiles(dir)).map(async (path) => (await stat(path)).size))
  expect(onDisk.reduce((sum, size) => sum + size, 0)).toBe(store.stats().usedBytes)
  const again = await openStore(dir)
  expect(again.stats().blocks).toBe(kept.length)
  await again.close()
})

test('a full store that removes blocks takes new ones, though its one pack is not full of waste', async () => {
  const capability = new RemoveCapability()
  const store = await openStore(await tempFolder(), { capacityBytes: 30_000, fullRatio: 1 }, { capability })
  const written = blocks(28, 1_000)
  await store.write(written)
  expect((await faultOf(store.write([block(4_000)]))).code).toBe('STORE_FULL')
  for (const { digest } of written.slice(0, 5)) await store.remove(digest, capability)
  await store.tidy()
  await store.write([block(4_000)])
  for (const { digest, bytes } of written.slice(5)) expect(await store.read(digest)).toEqual(bytes)
  await store.close()
})

test('a closed store refuses everything', async () => {
  const store = await openStore(await tempFolder())
  await store.close()
  await store.close()
  expect((await faultOf(store.write([block(1)]))).code).toBe('STORE_CLOSED')
  expect((await faultOf(store.read(block(1).digest))).code).toBe('STORE_CLOSED')
  expect(() => store.scrub()).toThrow(StoreError)
})

test.each([
  { capacityBytes: 0 },
  { reserveFreeBytes: -1 },
  { fullRatio: 1.1 },
  { ballastBytes: 0.5 },
  { packBytes: 2 ** 32 },
])('options %j are refused by name', async (options) => {
  expect(await faultOf(openStore(await tempFolder(), options))).toMatchObject({
    code: 'STORE_OPTIONS_INVALID',
    option: Object.keys(options)[0],
  })
})

test('a folder that is a file is refused', async () => {
  const dir = join(await tempFolder(), 'file')
  await writeFile(dir, 'x')
  expect(await faultOf(openStore(dir))).toEqual({
    code: 'STORE_FOLDER_UNUSABLE',
    dir: join(dir, 'packs'),
    reason: 'ENOTDIR',
  })
})

test('strange files in the folder are left alone; rubbish of a crash is cleared', async () => {
  const dir = await tempFolder()
  await (await openStore(dir)).close()
  await writeFile(join(dir, 'packs', 'notes.txt'), 'mine')
  await writeFile(join(dir, 'packs', 'p00000001-0000000000000000.index.new'), 'half')
  await writeFile(join(dir, 'packs', 'p00000009-0000000000000000.pack'), 'apotheca')
  const store = await openStore(dir)
  await store.write([block(10)])
  await store.close()
  expect(await readFile(join(dir, 'packs', 'notes.txt'), 'utf8')).toBe('mine')
  await expect(stat(join(dir, 'packs', 'p00000001-0000000000000000.index.new'))).rejects.toThrow('ENOENT')
  await expect(stat(join(dir, 'packs', 'p00000009-0000000000000000.pack'))).rejects.toThrow('ENOENT')
})

test('scrub reads everything, within its rate, and goes on where it stopped', async () => {
  const dir = await tempFolder()
  const store = await openStore(dir, { packBytes: 64 * 1024 })
  const written = blocks(60, 5_000)
  await store.write(written)
  expect(await store.scrub()).toEqual({
    blocks: 60,
    bytes: written.reduce((sum, { bytes }) => sum + bytes.length, 0),
    damaged: [],
    position: undefined,
  })
  const startMs = clock.nowMs()
  await store.scrub({ bytesPerSecondMax: 1_500_000 })
  expect(clock.nowMs() - startMs).toBeGreaterThan(150)
  let scrubbed = 0
  let from = { packId: 0, offset: 0 }
  for (let rounds = 0; rounds < 1_000; rounds++) {
    const report = await store.scrub({ from, bytesPerSecondMax: 500_000, signal: AbortSignal.timeout(15) })
    scrubbed += report.blocks
    if (report.position === undefined) break
    from = report.position
  }
  expect(scrubbed).toBe(60)
  await store.close()
})
