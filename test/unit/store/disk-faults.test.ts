import { expect, test } from 'vitest'
import { BlockStore } from '../../../src/store/block-store.ts'
import { RemoveCapability } from '../../../src/store/blocks.ts'
import type { BlockStoreOptions } from '../../../src/store/block-store-options.ts'
import { recordBytes } from '../../../src/store/pack-record.ts'
import { block, blocks, clock, faultOf, silent } from './setup.ts'
import { type DiskOperation, SimDisk } from './sim-disk.ts'

const capability = new RemoveCapability()

function open(disk: SimDisk, options: Partial<BlockStoreOptions> = {}): Promise<BlockStore> {
  return BlockStore.open(
    { fs: disk, clock, log: silent, capability },
    { dir: '/data', capacityBytes: 2 ** 40, reserveFreeBytes: 0, ballastBytes: 0, ...options },
  )
}

/** Fails one operation on packs, or all from then on. */
function failPacks(disk: SimDisk, operation: DiskOperation, code: string, times = 1): void {
  let left = times
  disk.fault = (now, path) => (now === operation && path.endsWith('.pack') && left-- > 0 ? code : undefined)
}

test('after one failed sync no write succeeds, what was stored is still served, and a restart takes writes again', async () => {
  const disk = new SimDisk(1)
  const [before, during, after] = [block(1_000), block(2_000), block(3_000)]
  const store = await open(disk)
  await store.write([before])
  failPacks(disk, 'datasync', 'EIO')
  expect(await faultOf(store.write([during]))).toEqual({ code: 'STORE_FSYNC_FAILED', reason: 'EIO' })
  expect(await faultOf(store.write([after]))).toEqual({ code: 'STORE_FSYNC_FAILED', reason: 'EIO' })
  expect((await faultOf(store.remove(before.digest, capability))).code).toBe('STORE_FSYNC_FAILED')
  expect(store.has(during.digest)).toBe(false)
  expect(await store.read(before.digest)).toEqual(before.bytes)
  await store.close()
  const again = await open(disk)
  expect(again.has(during.digest)).toBe(false)
  expect(await again.read(before.digest)).toEqual(before.bytes)
  await again.write([during])
  expect(await again.read(during.digest)).toEqual(during.bytes)
  await again.close()
})

test('when a sync fails, none of the writes under way is reported as stored', async () => {
  for (let seed = 0; seed < 50; seed++) {
    const disk = new SimDisk(seed)
    const store = await open(disk)
    let syncs = 0
    disk.fault = (operation, path) => {
      if (operation !== 'datasync' || !path.endsWith('.pack')) return undefined
      return ++syncs === 2 ? 'EIO' : undefined
    }
    const written = blocks(20, 100)
    const acknowledged: Uint8Array[] = []
    await Promise.allSettled(
      written.map(async (one) => {
        await store.write([one])
        expect(syncs, 'acknowledged after the failure').toBeLessThan(2 + 1)
        acknowledged.push(one.digest)
      }),
    )
    expect(acknowledged.length).toBeLessThan(20)
    const next = await open(disk.afterCrash(seed))
    for (const digest of acknowledged) expect(await next.read(digest), `seed ${seed}`).toBeDefined()
    await next.close()
  }
})

test('a failed sync of a removal ends all writing', async () => {
  const disk = new SimDisk(2)
  const store = await open(disk)
  const one = block(1_000)
  await store.write([one])
  failPacks(disk, 'datasync', 'EIO')
  expect((await faultOf(store.remove(one.digest, capability))).code).toBe('STORE_FSYNC_FAILED')
  expect((await faultOf(store.write([block(10)]))).code).toBe('STORE_FSYNC_FAILED')
  await store.close()
})

test('a full disk: the write is refused, leaves nothing behind, and the next one that fits is taken', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const disk = new SimDisk(seed)
    disk.capacityBytes = 10_000
    const store = await open(disk)
    await store.write([block(4_000)])
    const used = (): number => [...disk.files.values()].reduce((sum, bytes) => sum + bytes.length, 0)
    const before = used()
    // Larger than what the figure of free space showed at the start: somebody else fills the disk.
    disk.capacityBytes = before + 3_000
    const refused = [block(2_000), block(5_000)]
    const fault = await faultOf(store.write(refused))
    expect(['STORE_DISK_FULL', 'STORE_FULL']).toContain(fault.code)
    expect(used()).toBe(before)
    for (const { digest } of refused) expect(store.has(digest)).toBe(false)
    await store.write([block(1_000)])
    await store.close()
    disk.capacityBytes = Number.POSITIVE_INFINITY
    const again = await open(disk)
    expect(again.stats()).toMatchObject({ blocks: 2, damagedBlocks: 0, lostBytes: 0 })
    await again.close()
  }
})

test('a disk that fills up between the check and the write gives STORE_DISK_FULL with what is free', async () => {
  const disk = new SimDisk(3)
  const store = await open(disk)
  await store.write([block(100)])
  const [used = 0] = [...disk.files.values()].map((bytes) => bytes.length)
  disk.capacityBytes = used + 500
  expect(await faultOf(store.write([block(1_000)]))).toEqual({
    code: 'STORE_DISK_FULL',
    dir: '/data/packs',
    freeBytes: 500,
  })
  expect(disk.files.size).toBe(1)
  await store.close()
})

test('a full disk gives up the ballast for others, and refuses blocks until it is back', async () => {
  const disk = new SimDisk(4)
  const store = await open(disk, { ballastBytes: 10_000 })
  expect(disk.files.get('/data/ballast')?.length).toBe(10_000)
  const used = (): number => [...disk.files.values()].reduce((sum, bytes) => sum + bytes.length, 0)
  await store.write([block(100)])
  disk.capacityBytes = used()
  expect((await faultOf(store.write([block(1_000)]))).code).toBe('STORE_DISK_FULL')
  expect(disk.files.has('/data/ballast')).toBe(false)
  // There would be room, but it is for the logs.
  expect((await faultOf(store.write([block(1_001)]))).code).toBe('STORE_DISK_FULL')
  disk.capacityBytes = used() + 25_000
  await store.write([block(1_002)])
  expect(disk.files.get('/data/ballast')?.length).toBe(10_000)
  await store.close()
})

test('a failed write other than for room is refused alone', async () => {
  const disk = new SimDisk(5)
  const store = await open(disk)
  await store.write([block(10)])
  failPacks(disk, 'writev', 'EIO')
  expect(await faultOf(store.write([block(1_000)]))).toEqual({ code: 'STORE_WRITE_FAILED', reason: 'EIO' })
  await store.write([block(1_001)])
  expect(store.stats().blocks).toBe(2)
  await store.close()
})

test('half a record that can not be cut off ends all writing', async () => {
  const disk = new SimDisk(6)
  const store = await open(disk)
  await store.write([block(10)])
  disk.fault = (operation, path) =>
    path.endsWith('.pack') && (operation === 'writev' || operation === 'truncate') ? 'EIO' : undefined
  expect((await faultOf(store.write([block(1_000)]))).code).toBe('STORE_FSYNC_FAILED')
  disk.fault = () => undefined
  expect((await faultOf(store.write([block(1_001)]))).code).toBe('STORE_FSYNC_FAILED')
  await store.close()
})

test('a block that the disk can not read is damaged; a read that fails otherwise says nothing about the block', async () => {
  const disk = new SimDisk(7)
  const store = await open(disk)
  const one = block(1_000)
  await store.write([one])
  failPacks(disk, 'read', 'EMFILE')
  expect(await faultOf(store.read(one.digest))).toEqual({ code: 'STORE_READ_FAILED', reason: 'EMFILE' })
  failPacks(disk, 'read', 'EIO')
  // Once is no proof.
  expect(await store.read(one.digest)).toEqual(one.bytes)
  failPacks(disk, 'read', 'EIO', Number.POSITIVE_INFINITY)
  expect((await faultOf(store.read(one.digest))).code).toBe('STORE_BLOCK_DAMAGED')
  expect(store.has(one.digest)).toBe(false)
  await store.close()
})

test('room of a refused write is given back', async () => {
  const disk = new SimDisk(8)
  const store = await open(disk, { capacityBytes: 5_000, fullRatio: 1 })
  await store.write([block(10)])
  for (let i = 0; i < 10; i++) {
    failPacks(disk, 'writev', 'EIO')
    expect((await faultOf(store.write([block(3_000)]))).code).toBe('STORE_WRITE_FAILED')
  }
  await store.write([block(3_000)])
  expect(store.stats().usedBytes).toBe(16 + recordBytes(10) + recordBytes(3_000))
  await store.close()
})
