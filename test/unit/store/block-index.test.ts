import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BlockIndex } from '../../../src/store/block-index.ts'

const digestOf = (id: number): Uint8Array => {
  const digest = new Uint8Array(32)
  // Few bits differ, and not the first: the hash must still spread them, and equal words must not be taken for equal digests.
  new DataView(digest.buffer).setUint32(id % 2 === 0 ? 0 : 28, id)
  return digest
}

test('it answers as a map does, whatever is set and deleted', () => {
  const change = fc.record({ id: fc.nat(300), offset: fc.nat(2 ** 31), remove: fc.boolean() })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 2_000, size: 'max' }), (changes) => {
      const index = new BlockIndex(randomBytes(8))
      const map = new Map<number, { pack: number; offset: number; length: number }>()
      for (const { id, offset, remove } of changes) {
        const place = { pack: 1 + (id % 3), offset, length: id }
        expect(remove ? index.delete(digestOf(id)) : index.set(digestOf(id), place)).toEqual(map.get(id))
        if (remove) map.delete(id)
        else map.set(id, place)
      }
      expect(index.size).toBe(map.size)
      expect(index.bytes).toBe([...map.values()].reduce((sum, { length }) => sum + length, 0))
      for (let id = 0; id <= 300; id++) expect(index.find(digestOf(id))).toEqual(map.get(id))
      const ofTwo = [...map].filter(([, { pack }]) => pack === 2).map(([id]) => digestOf(id))
      expect(new Set(index.blocksOf(2).map(({ digest }) => String(digest)))).toEqual(new Set(ofTwo.map(String)))
      expect([...index.digests()].length).toBe(map.size)
    }),
    { numRuns: 50 },
  )
})

test('100,000 blocks take less than 80 bytes each', () => {
  const digests = Array.from({ length: 100_000 }, () => randomBytes(32))
  const before = process.memoryUsage().arrayBuffers
  const index = new BlockIndex(randomBytes(8))
  for (const [i, digest] of digests.entries()) index.set(digest, { pack: 1 + (i >> 10), offset: i, length: 1 })
  // 53 in the long run; the slots of before each growth may not be collected yet.
  expect((process.memoryUsage().arrayBuffers - before) / 100_000).toBeLessThan(80)
  expect(index.find(digests[77_777] ?? digestOf(0))?.offset).toBe(77_777)
})
