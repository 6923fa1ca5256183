import { copyFile, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { BlockStore } from '../../../src/store/block-store.ts'
import { RemoveCapability } from '../../../src/store/blocks.ts'
import { PACK_MARK, RECORD_HEADER_BYTES, recordBytes } from '../../../src/store/pack-record.ts'
import { hexOf } from '../../../src/store/quarantine.ts'
import { block, blocks, dropIndexFiles, faultOf, openStore, packFiles, type TestBlock, tempFolder } from './setup.ts'

const BLOCK_BYTES = 1_000
const RECORD_BYTES = recordBytes(BLOCK_BYTES)
const offsetOf = (i: number): number => PACK_MARK.length + i * RECORD_BYTES

/** A closed store of one pack with ten blocks of one size, in order. */
async function tenBlocks(): Promise<{ dir: string; written: TestBlock[]; pack: string }> {
  const dir = await tempFolder()
  const store = await openStore(dir)
  const written = Array.from({ length: 10 }, (_, i) => block(BLOCK_BYTES, i + 1))
  await store.write(written)
  await store.close()
  const [pack = ''] = await packFiles(dir)
  return { dir, written, pack }
}

async function flip(path: string, at: number, bit = 0): Promise<void> {
  const bytes = await readFile(path)
  bytes[at] = (bytes[at] ?? 0) ^ (1 << bit)
  await writeFile(path, bytes)
}

/** Everything but `missing` reads back right; those are not there. */
async function expectBlocks(
  store: BlockStore,
  written: readonly TestBlock[],
  missing: readonly number[],
): Promise<void> {
  for (const [i, { digest, bytes }] of written.entries()) {
    expect(store.has(digest), `block ${i}`).toBe(!missing.includes(i))
    expect(await store.read(digest), `block ${i}`).toEqual(missing.includes(i) ? undefined : bytes)
  }
}

test('a pack cut at any byte of its last record keeps all before, loses only that record, and takes writes again', async () => {
  const { dir, written, pack } = await tenBlocks()
  await dropIndexFiles(dir)
  const whole = await readFile(pack)
  for (const kept of [0, 1, 3, 4, 8, 47, 48, 49, 500, RECORD_HEADER_BYTES + BLOCK_BYTES - 1]) {
    await dropIndexFiles(dir)
    await writeFile(pack, whole.subarray(0, offsetOf(9) + kept))
    const store = await openStore(dir)
    await expectBlocks(store, written, [9])
    expect(store.stats(), `cut at ${kept}`).toMatchObject({ damagedBlocks: 0, lostBytes: 0 })
    await store.write(written)
    await expectBlocks(store, written, [])
    await store.close()
    expect(await readFile(pack)).toEqual(whole)
  }
})

test('zeros where a crash left a length without bytes are cut off', async () => {
  const { dir, written, pack } = await tenBlocks()
  await dropIndexFiles(dir)
  await truncate(pack, offsetOf(9))
  await truncate(pack, offsetOf(9) + 100_000)
  const store = await openStore(dir)
  await expectBlocks(store, written, [9])
  expect(store.stats().lostBytes).toBe(0)
  await store.close()
  expect((await stat(pack)).size).toBe(offsetOf(9))
})

test('a damaged last record that was known to be durable is quarantined, not cut off', async () => {
  const { dir, written, pack } = await tenBlocks()
  const size = (await stat(pack)).size
  await flip(pack, offsetOf(9) + 10)
  await flip(pack, offsetOf(9) + 200)
  const store = await openStore(dir)
  expect(await faultOf(store.read(written[9]?.digest ?? new Uint8Array()))).toMatchObject({
    code: 'STORE_BLOCK_DAMAGED',
  })
  await expectBlocks(store, written, [9])
  await store.close()
  expect((await stat(pack)).size).toBe(size)
})

test.each([0, 4, 9])(
  'a flipped bit in the payload of block %i: never served, reported once, kept, and repaired by a write',
  async (at) => {
    const { dir, written, pack } = await tenBlocks()
    const size = (await stat(pack)).size
    await flip(pack, offsetOf(at) + RECORD_HEADER_BYTES + 321, 5)
    const digest = written[at]?.digest ?? new Uint8Array()
    const store = await openStore(dir)
    expect(store.has(digest)).toBe(true)
    expect(await faultOf(store.read(digest))).toEqual({ code: 'STORE_BLOCK_DAMAGED', digest: hexOf(digest) })
    await expectBlocks(store, written, [at])
    expect(store.stats().damagedBlocks).toBe(1)
    expect(store.damaged()).toEqual([digest])
    await store.close()
    expect((await stat(pack)).size).toBe(size)
    for (const withIndex of [true, false]) {
      if (!withIndex) await dropIndexFiles(dir)
      const again = await openStore(dir)
      await expectBlocks(again, written, [at])
      expect(again.damaged()).toEqual([digest])
      await again.close()
    }
    const repaired = await openStore(dir)
    await repaired.write(written)
    await expectBlocks(repaired, written, [])
    expect(repaired.stats().damagedBlocks).toBe(0)
    await repaired.close()
    const last = await openStore(dir)
    expect(last.stats().damagedBlocks).toBe(0)
    await last.close()
  },
)

test('a flipped bit anywhere in a header, without an index file, loses that block only, and nothing is cut off', async () => {
  const { dir, written, pack } = await tenBlocks()
  const whole = await readFile(pack)
  for (const at of [0, 3, 4, 5, 6, 7, 8, 10, 41, 43, 44, 47]) {
    await dropIndexFiles(dir)
    await writeFile(pack, whole)
    await flip(pack, offsetOf(4) + at, at % 8)
    const store = await openStore(dir)
    await expectBlocks(store, written, [4])
    expect(store.stats(), `byte ${at}`).toMatchObject({ lostBytes: RECORD_BYTES })
    await store.close()
    expect((await stat(pack)).size).toBe(whole.length)
  }
})

test('the same with an index file: the block still reads back, and scrub finds and quarantines its record', async () => {
  const { dir, written, pack } = await tenBlocks()
  await flip(pack, offsetOf(4) + 5)
  const store = await openStore(dir)
  await expectBlocks(store, written, [])
  const report = await store.scrub()
  expect(report.damaged).toEqual([written[4]?.digest])
  await expectBlocks(store, written, [4])
  await store.close()
})

test('scrub finds every flipped bit in a hundred, and only those', async () => {
  const dir = await tempFolder()
  const written = blocks(300, 700)
  const first = await openStore(dir, { packBytes: 32 * 1024 })
  for (let i = 0; i < 300; i += 20) await first.write(written.slice(i, i + 20))
  await first.close()
  const store = await openStore(dir)
  const bad = written.filter((_, i) => i % 3 === 1)
  for (const pack of await packFiles(dir)) {
    const bytes = await readFile(pack)
    for (const one of bad) {
      const at = bytes.indexOf(one.bytes)
      if (at !== -1) bytes[at + (one.bytes.length >> 1)] = (bytes[at + (one.bytes.length >> 1)] ?? 0) ^ 16
    }
    await writeFile(pack, bytes)
  }
  const report = await store.scrub()
  expect(new Set(report.damaged.map(hexOf))).toEqual(new Set(bad.map(({ digest }) => hexOf(digest))))
  expect(store.stats().blocks).toBe(200)
  expect((await store.scrub()).damaged).toEqual([])
  await store.close()
})

test("content written to another block's place is never served", async () => {
  const { dir, written, pack } = await tenBlocks()
  const bytes = await readFile(pack)
  const [from, to] = [offsetOf(2), offsetOf(6)]
  bytes.copyWithin(to, from, from + RECORD_BYTES)
  await writeFile(pack, bytes)
  for (const withIndex of [true, false]) {
    if (!withIndex) await dropIndexFiles(dir)
    const store = await openStore(dir)
    if (withIndex) {
      expect((await faultOf(store.read(written[6]?.digest ?? new Uint8Array()))).code).toBe('STORE_BLOCK_DAMAGED')
    }
    await expectBlocks(store, written, [6])
    await store.close()
  }
})

test('records of another pack are none, wherever they appear', async () => {
  const one = await tenBlocks()
  const other = await tenBlocks()
  await copyFile(other.pack, one.pack)
  await dropIndexFiles(one.dir)
  const store = await openStore(one.dir)
  expect(store.stats()).toMatchObject({ blocks: 0, lostBytes: 10 * RECORD_BYTES })
  await store.close()
})

test('a payload that looks like records does not become blocks, when the header before it is damaged', async () => {
  const dir = await tempFolder()
  const first = await openStore(dir)
  await first.write(Array.from({ length: 10 }, (_, i) => block(BLOCK_BYTES, i + 1)))
  await first.close()
  const [pack = ''] = await packFiles(dir)
  // What a hostile sender might try: a block whose payload is a copy of the pack so far, at the same alignment.
  const bytes = new Uint8Array(await readFile(pack)).slice(PACK_MARK.length)
  const { createHash } = await import('node:crypto')
  const digest = new Uint8Array(createHash('sha256').update(bytes).digest())
  const store = await openStore(dir)
  await store.write([{ digest, parts: [bytes] }])
  await store.close()
  await dropIndexFiles(dir)
  await flip(pack, offsetOf(10) + 6)
  const again = await openStore(dir)
  expect(again.stats()).toMatchObject({ blocks: 10, lostBytes: recordBytes(bytes.length) })
  await again.close()
})

test('a damaged index file is not believed', async () => {
  const { dir, written } = await tenBlocks()
  const name = (await readdir(join(dir, 'packs'))).find((file) => file.endsWith('.index')) ?? ''
  await flip(join(dir, 'packs', name), 60)
  const store = await openStore(dir)
  await expectBlocks(store, written, [])
  await store.close()
})

test('the blocks of a pack that is gone are reported until they are written again', async () => {
  const { dir, written, pack } = await tenBlocks()
  await rm(pack)
  for (let start = 0; start < 2; start++) {
    const store = await openStore(dir)
    await expectBlocks(store, written, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(new Set(store.damaged().map(hexOf))).toEqual(new Set(written.map(({ digest }) => hexOf(digest))))
    if (start === 1) await store.write(written)
    await store.close()
  }
  const store = await openStore(dir)
  expect(store.stats()).toMatchObject({ blocks: 10, damagedBlocks: 0 })
  await store.close()
})

test('a rewritten pack keeps its damaged bytes aside until the block is repaired', async () => {
  const capability = new RemoveCapability()
  const dir = await tempFolder()
  const written = Array.from({ length: 10 }, (_, i) => block(BLOCK_BYTES, i + 1))
  const store = await openStore(dir, { packBytes: offsetOf(10) }, { capability })
  await store.write(written)
  // Another pack grows now: the first may be rewritten.
  await store.write([block(50)])
  const [pack = ''] = await packFiles(dir)
  const damagedAt = offsetOf(3) + RECORD_HEADER_BYTES
  await flip(pack, damagedAt + 100, 2)
  const rotten = (await readFile(pack)).subarray(damagedAt, damagedAt + BLOCK_BYTES)
  const digest = written[3]?.digest ?? new Uint8Array()
  expect((await faultOf(store.read(digest))).code).toBe('STORE_BLOCK_DAMAGED')
  for (const i of [0, 1, 2, 4, 5, 6]) await store.remove(written[i]?.digest ?? new Uint8Array(), capability)
  await store.tidy()
  expect((await packFiles(dir)).includes(pack)).toBe(false)
  expect(await readFile(join(dir, 'quarantine', `${hexOf(digest)}.damaged`))).toEqual(rotten)
  await expectBlocks(store, written, [0, 1, 2, 3, 4, 5, 6])
  await store.close()
  const again = await openStore(dir, {}, { capability })
  expect(again.damaged()).toEqual([digest])
  await again.write([written[3] ?? block(1)])
  expect(again.stats().damagedBlocks).toBe(0)
  expect(await readdir(join(dir, 'quarantine'))).toEqual([])
  await again.close()
})
