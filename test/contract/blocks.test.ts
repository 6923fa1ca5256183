/** What everything above the store relies on (`Blocks`): the same of packs on a disk and of a bucket behind an S3 server. */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { BlockStore } from '../../src/store/block-store.ts'
import { type Blocks, RemoveCapability } from '../../src/store/blocks.ts'
import { S3BlockStore } from '../../src/store/s3-block-store.ts'
import { TestS3 } from '../unit/store/s3-server.ts'
import { block, blocks, faultOf, silent, type TestBlock } from '../unit/store/setup.ts'

const capability = new RemoveCapability()
const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A place where blocks are kept, which outlives the stores that are opened on it. */
interface Place {
  open(capacityBytes?: number): Promise<Blocks>
  /** Changes a byte of a block where it is kept. */
  damage(one: TestBlock): Promise<void>
}

async function tempFolder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-contract-'))
  cleanups.push(() => rm(dir, { recursive: true, force: true }))
  return dir
}

async function damageFile(path: string, one: TestBlock): Promise<boolean> {
  const bytes = await readFile(path)
  const at = bytes.indexOf(one.bytes)
  if (at < 0) return false
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
  return true
}

async function onDisk(): Promise<Place> {
  const dir = await tempFolder()
  return {
    open: (capacityBytes = 2 ** 40) =>
      BlockStore.open(
        { clock: { nowMs: () => Date.now() }, log: silent, capability },
        { dir, capacityBytes, fullRatio: 1, reserveFreeBytes: 0, ballastBytes: 0 },
      ),
    damage: async (one) => {
      const packs = (await readdir(join(dir, 'packs'))).filter((name) => name.endsWith('.pack'))
      const done = await Promise.all(packs.map((name) => damageFile(join(dir, 'packs', name), one)))
      if (!done.includes(true)) throw new Error('no such block')
    },
  }
}

async function inBucket(): Promise<Place> {
  const server = await TestS3.start()
  cleanups.push(async () => server[Symbol.asyncDispose]())
  const dir = await tempFolder()
  return {
    open: (capacityBytes = 2 ** 40) =>
      S3BlockStore.open(
        { log: silent, capability },
        { s3: server.options(), dir, owner: 'a peer', capacityBytes, fullRatio: 1, ballastBytes: 0 },
      ),
    damage: async (one) => {
      if (!(await damageFile(server.fileOf(one.digest), one))) throw new Error('no such block')
    },
  }
}

async function opened(place: Place, capacityBytes?: number): Promise<Blocks> {
  const store = await place.open(capacityBytes)
  cleanups.push(() => store.close())
  return store
}

/** Compared as bytes: as lists of numbers, megabytes take seconds. */
function expectSame(found: Uint8Array | undefined, bytes: Uint8Array): void {
  expect(found !== undefined && Buffer.compare(found, bytes) === 0).toBe(true)
}

const hexes = (digests: Iterable<Uint8Array>): string[] =>
  [...digests].map((digest) => Buffer.from(digest).toString('hex')).sort()

describe.each([
  ['BlockStore', onDisk],
  ['S3BlockStore', inBucket],
] as const)('%s', (_name, placeOf) => {
  test('blocks of every size read back in every way, before and after a restart', async () => {
    const place = await placeOf()
    const all = [0, 1, 255, 4_096, 262_144, 1_048_576, 2_097_152].map((length) => block(length))
    let store = await opened(place)
    await store.write(all)
    for (const restarted of [false, true]) {
      if (restarted) {
        await store.close()
        store = await opened(place)
      }
      expect(hexes(store.digests())).toEqual(hexes(all.map(({ digest }) => digest)))
      for (const { digest, bytes } of all) {
        expect(store.has(digest)).toBe(true)
        expect(store.size(digest)).toBe(bytes.length)
        expectSame(await store.read(digest), bytes)
        expectSame(await store.readUnverified(digest), bytes)
        const into = new Uint8Array(bytes.length + 3)
        expect(await store.readInto(digest, into)).toBe(bytes.length)
        expectSame(into.subarray(0, bytes.length), bytes)
      }
      const total = all.reduce((sum, { bytes }) => sum + bytes.length, 0)
      expect(store.stats()).toMatchObject({ blocks: all.length, bytes: total, damagedBlocks: 0, lostBytes: 0 })
    }
  })

  test('a block that is not here is undefined in every way, and one that does not fit a buffer says its size', async () => {
    const store = await opened(await placeOf())
    const [here, away] = [block(100), block(101)]
    await store.write([here])
    expect(store.has(away.digest)).toBe(false)
    expect(store.size(away.digest)).toBeUndefined()
    expect(await store.read(away.digest)).toBeUndefined()
    expect(await store.readUnverified(away.digest)).toBeUndefined()
    expect(await store.readInto(away.digest, new Uint8Array(200))).toBeUndefined()
    expect(await store.readInto(here.digest, new Uint8Array(99))).toBe(100)
  })

  test('the same block written many times at once is kept once', async () => {
    const store = await opened(await placeOf())
    const one = block(5_000)
    await Promise.all(Array.from({ length: 20 }, () => store.write([one, one])))
    expect(store.stats()).toMatchObject({ blocks: 1, bytes: 5_000 })
    expectSame(await store.read(one.digest), one.bytes)
  })

  test('a write that exceeds the capacity is refused with the numbers, and what was there before still reads', async () => {
    const store = await opened(await placeOf(), 300_000)
    const [first, second] = [block(200_000), block(150_000)]
    await store.write([first])
    const { usedBytes } = store.stats()
    expect(await faultOf(store.write([second]))).toMatchObject({
      usedBytes,
      capacityBytes: 300_000,
      limitBytes: 300_000,
    })
    expect(await faultOf(store.checkRoom(150_000))).toMatchObject({ usedBytes, askedBytes: 150_000 })
    await store.checkRoom(50_000)
    expect(store.has(second.digest)).toBe(false)
    expectSame(await store.read(first.digest), first.bytes)
    // A refusal sets nothing apart.
    await store.write([block(50_000)])
  })

  test('nothing is removed without the very capability of the store, and what is removed stays away', async () => {
    const place = await placeOf()
    let store = await opened(place)
    const [kept, gone] = [block(1_000), block(2_000)]
    await store.write([kept, gone])
    for (const other of [undefined, new RemoveCapability()]) {
      expect(await faultOf(store.remove(gone.digest, other))).toEqual({ code: 'STORE_REMOVE_REFUSED' })
    }
    expect(store.has(gone.digest)).toBe(true)
    expect(await store.remove(gone.digest, capability)).toBe(true)
    expect(await store.remove(gone.digest, capability)).toBe(false)
    expect(await store.read(gone.digest)).toBeUndefined()
    await store.close()
    store = await opened(place)
    expect(hexes(store.digests())).toEqual(hexes([kept.digest]))
    await store.write([gone])
    expectSame(await store.read(gone.digest), gone.bytes)
  })

  test('a block that is too large or oddly named is refused, and leaves nothing', async () => {
    const store = await opened(await placeOf())
    const parts = [new Uint8Array(2 * 1024 * 1024), new Uint8Array(1)]
    const large = { digest: new Uint8Array(32), parts }
    expect(await faultOf(store.write([block(10), large]))).toMatchObject({ code: 'STORE_BLOCK_TOO_LARGE' })
    const odd = { digest: new Uint8Array(20), parts: [] }
    expect(await faultOf(store.write([odd]))).toMatchObject({ code: 'STORE_HASH_UNSUPPORTED' })
    expect(store.stats().blocks).toBe(0)
  })

  test('wrong bytes are never served: told once, listed for repair, and right again when written again', async () => {
    const place = await placeOf()
    let store = await opened(place)
    const [sick, well] = [block(70_000), block(60_000)]
    await store.write([sick, well])
    await place.damage(sick)
    expect(await faultOf(store.read(sick.digest))).toMatchObject({ code: 'STORE_BLOCK_DAMAGED' })
    for (const restarted of [false, true]) {
      if (restarted) {
        await store.close()
        store = await opened(place)
      }
      expect(await store.read(sick.digest)).toBeUndefined()
      expect(store.has(sick.digest)).toBe(false)
      expect(store.damaged()).toEqual([sick.digest])
      expect(store.stats()).toMatchObject({ blocks: 1, damagedBlocks: 1 })
    }
    await store.write([sick])
    expectSame(await store.read(sick.digest), sick.bytes)
    expect(store.damaged()).toEqual([])
    await store.close()
    store = await opened(place)
    expectSame(await store.read(sick.digest), sick.bytes)
    expect(store.stats()).toMatchObject({ blocks: 2, damagedBlocks: 0 })
  })

  test('scrubbing finds what is damaged, and goes on where it stopped', async () => {
    const place = await placeOf()
    const store = await opened(place)
    const all = blocks(40, 3_000)
    await store.write(all)
    const sick = [all[3], all[17], all[31]].filter((one) => one !== undefined)
    for (const one of sick) await place.damage(one)
    expect((await store.scrub({ signal: AbortSignal.abort() })).blocks).toBe(0)
    const found: Uint8Array[] = []
    let seen = 0
    let position: { packId: number; offset: number } | undefined = { packId: 0, offset: 0 }
    while (position !== undefined) {
      const signal = AbortSignal.timeout(40)
      const report = await store.scrub({ from: position, bytesPerSecondMax: 500_000, signal })
      found.push(...report.damaged)
      seen += report.blocks
      position = report.position
    }
    expect(hexes(found)).toEqual(hexes(sick.map(({ digest }) => digest)))
    expect(seen).toBe(40)
    for (const one of sick) expect(store.has(one.digest)).toBe(false)
  })

  test('a closed store refuses', async () => {
    const store = await opened(await placeOf())
    const one = block(10)
    await store.write([one])
    await store.close()
    await store.close()
    expect(await faultOf(store.read(one.digest))).toEqual({ code: 'STORE_CLOSED' })
    expect(await faultOf(store.write([one]))).toEqual({ code: 'STORE_CLOSED' })
    expect(await faultOf(store.checkRoom(1))).toEqual({ code: 'STORE_CLOSED' })
    expect(await faultOf(store.remove(one.digest, capability))).toEqual({ code: 'STORE_CLOSED' })
  })
})
