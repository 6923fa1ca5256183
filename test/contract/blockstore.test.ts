/** What Helia needs of a `Blockstore` (interface-blockstore), on its own in memory, and on ours on disk and in a bucket. */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { MemoryBlockstore } from 'blockstore-core'
import type { Blockstore, InputPair } from 'interface-blockstore'
import type { CID } from 'multiformats/cid'
import { afterEach, describe, expect, test } from 'vitest'
import { type BlockCodec, DAG_PB, digestCid, RAW } from '../../src/crypto/hash.ts'
import { BlockStore } from '../../src/store/block-store.ts'
import { RemoveCapability } from '../../src/store/blocks.ts'
import { HeliaBlockstore } from '../../src/store/helia-blockstore.ts'
import { S3BlockStore } from '../../src/store/s3-block-store.ts'
import { TestS3 } from '../unit/store/s3-server.ts'

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const capability = new RemoveCapability()
const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function openOnDisk(): Promise<Blockstore> {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-blocks-'))
  cleanups.push(() => rm(dir, { recursive: true, force: true }))
  const store = await BlockStore.open(
    { clock: { nowMs: () => Date.now() }, log: silent, capability },
    { dir, capacityBytes: 2 ** 40, reserveFreeBytes: 0, ballastBytes: 0 },
  )
  cleanups.push(() => store.close())
  return new HeliaBlockstore(store)
}

async function openInBucket(): Promise<Blockstore> {
  const server = await TestS3.start()
  cleanups.push(async () => server[Symbol.asyncDispose]())
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-blocks-'))
  cleanups.push(() => rm(dir, { recursive: true, force: true }))
  const store = await S3BlockStore.open(
    { log: silent, capability },
    { s3: server.options(), dir, owner: 'a peer', capacityBytes: 2 ** 40, ballastBytes: 0 },
  )
  cleanups.push(() => store.close())
  return new HeliaBlockstore(store)
}

const implementations: readonly [string, () => Promise<Blockstore>][] = [
  ['MemoryBlockstore', async () => new MemoryBlockstore()],
  ['HeliaBlockstore on BlockStore', openOnDisk],
  ['HeliaBlockstore on S3BlockStore', openInBucket],
]

function pair(text: string, codec: BlockCodec = RAW): { cid: CID; bytes: Uint8Array } {
  const bytes = new TextEncoder().encode(text)
  return { cid: digestCid(codec, new Uint8Array(createHash('sha256').update(bytes).digest())), bytes }
}

async function collect(bytes: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of bytes) parts.push(part)
  return Buffer.concat(parts).toString()
}

/** Deleting needs the capability where there is one; others ignore it. */
const withCapability: { readonly capability: RemoveCapability; readonly signal?: AbortSignal } = { capability }

describe.each(implementations)('%s', (_name, open) => {
  test('a block reads back by the CID of any codec, however its bytes came', async () => {
    const store = await open()
    const [one, two, three] = [pair('one'), pair('two'), pair('three')]
    expect(await store.put(one.cid, one.bytes)).toBe(one.cid)
    await store.put(two.cid, [two.bytes.subarray(0, 1), two.bytes.subarray(1)])
    await store.put(
      three.cid,
      (async function* () {
        yield three.bytes
      })(),
    )
    for (const [{ cid }, text] of [
      [one, 'one'],
      [two, 'two'],
      [three, 'three'],
    ] as const) {
      expect(await store.has(cid)).toBe(true)
      expect(await collect(store.get(cid))).toBe(text)
      expect(await collect(store.get(digestCid(DAG_PB, cid.multihash.digest)))).toBe(text)
    }
  })

  test('a missing block is a NotFoundError', async () => {
    const store = await open()
    const { cid } = pair('missing')
    expect(await store.has(cid)).toBe(false)
    await expect(
      collect({
        [Symbol.asyncIterator]: async function* () {
          yield* store.get(cid)
        },
      }),
    ).rejects.toMatchObject({
      name: 'NotFoundError',
    })
  })

  test('putMany yields each CID in order when its block is there, without waiting for a slow source', async () => {
    const store = await open()
    const pairs = Array.from({ length: 30 }, (_, i) => pair(`block ${i}`))
    const stored: CID[] = []
    let acknowledged = (): void => undefined
    const source = async function* (): AsyncGenerator<InputPair> {
      for (const [i, one] of pairs.entries()) {
        // The source goes on only after all before were acknowledged.
        if (i === 20 && stored.length < 20) await new Promise<void>((resolve) => (acknowledged = resolve))
        yield one
      }
    }
    for await (const cid of store.putMany(source())) {
      expect(await store.has(cid)).toBe(true)
      stored.push(cid)
      if (stored.length === 20) acknowledged()
    }
    expect(stored).toEqual(pairs.map(({ cid }) => cid))
  })

  test('getMany and getAll yield pairs', async () => {
    const store = await open()
    const pairs = Array.from({ length: 10 }, (_, i) => pair(`block ${i}`))
    for (const { cid, bytes } of pairs) await store.put(cid, bytes)
    let count = 0
    for await (const { cid, bytes } of store.getMany(pairs.map((one) => one.cid))) {
      expect(cid).toEqual(pairs[count]?.cid)
      expect(await collect(bytes)).toBe(`block ${count++}`)
    }
    const all = new Map<string, string>()
    for await (const { cid, bytes } of store.getAll()) all.set(cid.toString(), await collect(bytes))
    expect(all).toEqual(new Map(pairs.map(({ cid }, i) => [cid.toString(), `block ${i}`])))
  })

  test('delete and deleteMany remove', async () => {
    const store = await open()
    const pairs = Array.from({ length: 5 }, (_, i) => pair(`block ${i}`))
    for (const { cid, bytes } of pairs) await store.put(cid, bytes)
    const [first, ...others] = pairs.map(({ cid }) => cid)
    if (first === undefined) throw new Error('no CID')
    await store.delete(first, withCapability)
    expect(await store.has(first)).toBe(false)
    const gone: CID[] = []
    for await (const cid of store.deleteMany(others, withCapability)) gone.push(cid)
    expect(gone).toEqual(others)
    for (const cid of others) expect(await store.has(cid)).toBe(false)
  })

  test('an aborted call is refused', async () => {
    const store = await open()
    const { cid, bytes } = pair('aborted')
    const options = { signal: AbortSignal.abort() }
    await expect((async () => store.put(cid, bytes, options))()).rejects.toThrow('aborted')
    expect(await store.has(cid)).toBe(false)
  })
})
