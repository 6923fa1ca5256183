import { CarWriter } from '@ipld/car/writer'
import * as dagPb from '@ipld/dag-pb'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import { expect, test } from 'vitest'
import { encodeCanonical } from '../../../src/core/codec.ts'
import { faultOf } from '../../../src/core/coded-error.ts'
import { BLOCK_BYTES_MAX, CAR_ROOTS_MAX } from '../../../src/core/limits.ts'
import { DAG_PB, cborCid, digestCid, rawCid, sha256 } from '../../../src/crypto/hash.ts'
import { type CarBlock, carHeader, carSectionHead, readCar } from '../../../src/shards/car.ts'
import { seededBytes } from '../../vectors/seeded.ts'

interface Named {
  readonly cid: CID
  readonly bytes: Uint8Array
}

const raw = (bytes: Uint8Array): Named => ({ cid: rawCid(bytes), bytes })
const LEAVES = [0, 1, 300, 70_000].map((length) => raw(seededBytes(`leaf ${length}`, length)))
const ROOT = ((): Named => {
  const bytes = encodeCanonical({ leaves: LEAVES.map((leaf) => leaf.cid) })
  return { cid: cborCid(bytes), bytes }
})()
const ALL = [ROOT, ...LEAVES]

function carOf(roots: readonly CID[], blocks: readonly Named[]): Uint8Array {
  const sections = blocks.flatMap(({ bytes, cid }) => [carSectionHead(cid, bytes.length), bytes])
  return concat([carHeader(roots), ...sections])
}

/** The stream in pieces of `pieceBytes`. */
async function* inPieces(bytes: Uint8Array, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.subarray(at, at + pieceBytes)
}

async function readAll(bytes: Uint8Array, pieceBytes = 1_000): Promise<{ roots: readonly CID[]; blocks: CarBlock[] }> {
  const { blocks, roots } = await readCar(inPieces(bytes, pieceBytes))
  return { roots, blocks: await Array.fromAsync(blocks) }
}

async function refusal(bytes: Uint8Array): Promise<object | undefined> {
  return readAll(bytes).then(
    () => undefined,
    (error: unknown) => faultOf(error),
  )
}

test('what is written is what @ipld/car writes, byte for byte', async () => {
  const { out, writer } = CarWriter.create([ROOT.cid])
  const theirs = Array.fromAsync(out)
  for (const block of ALL) await writer.put(block)
  await writer.close()
  expect(carOf([ROOT.cid], ALL)).toEqual(concat(await theirs))
})

test('a CAR reads back the same, whatever the pieces it comes in', async () => {
  const car = carOf([ROOT.cid], ALL)
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 100_000 }), async (pieceBytes) => {
      const { blocks, roots } = await readAll(car, pieceBytes)
      expect(roots.map(String)).toEqual([ROOT.cid.toString()])
      expect(blocks.map(({ cid }) => cid.toString())).toEqual(ALL.map(({ cid }) => cid.toString()))
      for (const [index, { bytes }] of blocks.entries()) expect(bytes).toEqual(ALL[index]?.bytes)
    }),
    { numRuns: 50 },
  )
})

test('a CAR version 0 CID, as old Kubo nodes have them, is read', async () => {
  const bytes = dagPb.encode({ Links: [] })
  const cid = CID.createV0(digestCid(DAG_PB, sha256(bytes)).multihash as never)
  const { blocks } = await readAll(carOf([cid], [{ cid, bytes }]))
  expect(blocks[0]?.cid.toString()).toMatch(/^Qm/)
})

test('a CAR that ends anywhere but between two sections is refused as truncated', async () => {
  const blocks = [ROOT, ...LEAVES.slice(0, 3)]
  const car = carOf([ROOT.cid], blocks)
  const boundaries = new Set([carHeader([ROOT.cid]).length])
  for (let at = 0; at < blocks.length; at++) boundaries.add(carOf([ROOT.cid], blocks.slice(0, at + 1)).length)
  for (let length = 0; length < car.length; length++) {
    const fault = await refusal(car.subarray(0, length))
    if (boundaries.has(length)) expect(fault).toBeUndefined()
    else expect(fault).toMatchObject({ code: 'CAR_TRUNCATED' })
  }
})

test('a changed byte is never read as a block: whatever is handed out is what its CID says', async () => {
  const car = carOf([ROOT.cid], [ROOT, ...LEAVES.slice(0, 3)])
  await fc.assert(
    fc.asyncProperty(fc.nat(car.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const altered = car.slice()
      altered[at] = (altered[at] ?? 0) ^ flip
      try {
        const { blocks } = await readAll(altered)
        for (const { bytes, digest } of blocks) expect(sha256(bytes)).toEqual(digest)
      } catch (error) {
        expect(faultOf(error)?.code).toMatch(/^(?:CAR_|DAG_)/)
      }
    }),
    { numRuns: 1_000 },
  )
})

test('a changed block is named with the place where it stands', async () => {
  const car = carOf([ROOT.cid], ALL)
  car[car.length - 1] = (car.at(-1) ?? 0) ^ 1
  const last = LEAVES.at(-1)
  expect(await refusal(car)).toMatchObject({ code: 'CAR_BLOCK_ALTERED', cid: last?.cid.toString() })
})

test('a length beyond what a block may have is refused before anything is kept for it', async () => {
  let pulled = 0
  const endless = async function* (): AsyncGenerator<Uint8Array> {
    yield carHeader([ROOT.cid])
    yield carSectionHead(ROOT.cid, 2 ** 40)
    for (;;) {
      pulled += 1
      yield new Uint8Array(65_536)
    }
  }
  const { blocks } = await readCar(endless())
  const fault = await blocks.next().catch((error: unknown) => faultOf(error))
  expect(fault).toMatchObject({ code: 'CAR_BLOCK_TOO_LARGE', bytes: 2 ** 40, bytesMax: BLOCK_BYTES_MAX })
  expect(pulled).toBeLessThanOrEqual(1)
})

const varint = (value: number): Uint8Array => carSectionHead(ROOT.cid, value - ROOT.cid.bytes.length).subarray(0, -36)
const withoutRoots = (): Uint8Array => {
  const header = encodeCanonical({ roots: [], version: 1 })
  return concat([Uint8Array.of(header.length), header])
}
const identity = CID.createV1(0x55, {
  code: 0,
  size: 3,
  digest: new Uint8Array(3),
  bytes: Uint8Array.of(0, 3, 0, 0, 0),
})
const json = CID.createV1(0x0129, ROOT.cid.multihash)
test.each<[string, Uint8Array, string]>([
  ['an empty stream', new Uint8Array(0), 'CAR_TRUNCATED'],
  ['no CAR at all', seededBytes('not a car', 4_096), 'CAR_MALFORMED'],
  ['a header of no length', new Uint8Array(100), 'CAR_MALFORMED'],
  ['a header of 4 GiB', concat([varint(2 ** 32), new Uint8Array(1_000)]), 'CAR_BLOCK_TOO_LARGE'],
  ['no roots', withoutRoots(), 'CAR_ROOTS'],
  ['too many roots', carHeader(Array.from({ length: CAR_ROOTS_MAX + 1 }, () => ROOT.cid)), 'CAR_ROOTS'],
  ['version 2', Uint8Array.from([0x0a, 0xa1, 0x67, ...new TextEncoder().encode('version'), 2, 0, 0]), 'CAR_VERSION'],
  ['a section of no length', concat([carHeader([ROOT.cid]), new Uint8Array(50)]), 'CAR_MALFORMED'],
  [
    'a section shorter than its CID',
    concat([carHeader([ROOT.cid]), Uint8Array.of(10), ROOT.cid.bytes, new Uint8Array(90)]),
    'CAR_MALFORMED',
  ],
  ['a CID with another hash', carOf([ROOT.cid], [{ cid: identity, bytes: new Uint8Array(3) }]), 'DAG_BLOCK_INVALID'],
  ['a codec that nobody here follows', carOf([ROOT.cid], [{ cid: json, bytes: ROOT.bytes }]), 'DAG_BLOCK_INVALID'],
])('%s is refused with a code', async (_, bytes, code) => {
  expect(await refusal(bytes)).toMatchObject({ code })
})

test('a source that breaks is not taken for the end of a CAR', async () => {
  const broken = async function* (): AsyncGenerator<Uint8Array> {
    yield carOf([ROOT.cid], [ROOT])
    throw new Error('the line is cut')
  }
  const { blocks } = await readCar(broken())
  await expect(Array.fromAsync(blocks)).rejects.toThrow('the line is cut')
})
