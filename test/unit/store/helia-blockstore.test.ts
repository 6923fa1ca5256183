import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { BLOCK_BYTES_MAX } from '../../../src/core/limits.ts'
import { digestCid, RAW } from '../../../src/crypto/hash.ts'
import { RemoveCapability } from '../../../src/store/blocks.ts'
import { HeliaBlockstore } from '../../../src/store/helia-blockstore.ts'
import { block, faultOf, openStore, tempFolder } from './setup.ts'

const one = block(1_000)
const cid = digestCid(RAW, one.digest)

test('bytes that are not those of the CID are refused, and not stored under any name', async () => {
  const store = await openStore(await tempFolder())
  const blockstore = new HeliaBlockstore(store)
  const altered = one.bytes.slice()
  altered[500] = (altered[500] ?? 0) ^ 1
  expect(await faultOf(blockstore.put(cid, altered))).toEqual({ code: 'STORE_BLOCK_MISMATCH', cid: cid.toString() })
  expect(await faultOf(blockstore.put(cid, [one.bytes, new Uint8Array(1)]))).toMatchObject({
    code: 'STORE_BLOCK_MISMATCH',
  })
  expect(store.stats().blocks).toBe(0)
  await store.close()
})

test('without the capability nothing is deleted, by whichever call', async () => {
  const capability = new RemoveCapability()
  const store = await openStore(await tempFolder(), {}, { capability })
  const blockstore = new HeliaBlockstore(store)
  await blockstore.put(cid, one.bytes)
  expect((await faultOf(blockstore.delete(cid))).code).toBe('STORE_REMOVE_REFUSED')
  expect((await faultOf(blockstore.deleteMany([cid]).next())).code).toBe('STORE_REMOVE_REFUSED')
  expect((await faultOf(blockstore.delete(cid, { capability: new RemoveCapability() }))).code).toBe(
    'STORE_REMOVE_REFUSED',
  )
  expect(blockstore.has(cid)).toBe(true)
  await blockstore.delete(cid, { capability })
  expect(blockstore.has(cid)).toBe(false)
  await store.close()
})

test('an endless source is cut off at the largest block', async () => {
  const store = await openStore(await tempFolder())
  const endless = function* (): Generator<Uint8Array> {
    for (;;) yield new Uint8Array(100_000)
  }
  expect(await faultOf(new HeliaBlockstore(store).put(cid, endless()))).toMatchObject({
    code: 'STORE_BLOCK_TOO_LARGE',
    bytesMax: BLOCK_BYTES_MAX,
  })
  await store.close()
})

test('a CID of another hash is refused on put, and not there', async () => {
  const store = await openStore(await tempFolder())
  const blockstore = new HeliaBlockstore(store)
  const sha512 = CID.createV1(RAW, Digest.create(0x13, new Uint8Array(createHash('sha512').update(one.bytes).digest())))
  expect(await faultOf(blockstore.put(sha512, one.bytes))).toEqual({ code: 'STORE_HASH_UNSUPPORTED', hash: '0x13' })
  expect(blockstore.has(sha512)).toBe(false)
  await expect(blockstore.get(sha512).next()).rejects.toThrow('STORE_BLOCK_MISSING')
  await store.close()
})

test('putMany reports the first block that is refused, after those before it', async () => {
  const store = await openStore(await tempFolder())
  const pairs = Array.from({ length: 12 }, (_, i) => {
    const { digest, bytes } = block(100 + i)
    return { cid: digestCid(RAW, digest), bytes: i === 6 ? new Uint8Array(3) : bytes }
  })
  const stored: CID[] = []
  const all = (async (): Promise<void> => {
    for await (const done of new HeliaBlockstore(store).putMany(pairs)) stored.push(done)
  })()
  expect((await faultOf(all)).code).toBe('STORE_BLOCK_MISMATCH')
  expect(stored).toEqual(pairs.slice(0, 6).map((pair) => pair.cid))
  await store.close()
})
