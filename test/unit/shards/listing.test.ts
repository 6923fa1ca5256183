import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import {
  type ListingEntry,
  ListingError,
  decodeListing,
  encodeListing,
  opaquePath,
} from '../../../src/shards/listing.ts'

const file = (path: string, bytes = 1): ListingEntry => ({ kind: 'file', path, bytes, mtimeMs: 0 })

test('a listing of several pages reads back as it was', () => {
  const entries = Array.from({ length: 1_000 }, (_, index) => file(`folder ${index % 7}/slice-${index}.dcm`, index))
  expect(decodeListing(encodeListing(entries))).toEqual(entries)
})

const unsafe = [
  '/etc/passwd',
  '../up',
  'a/../../b',
  'a//b',
  './a',
  'a/.',
  '',
  'a\u0000b',
  'a\nb',
  'c:/x',
  'a\\..\\b',
  'ü'.repeat(600),
]
test.each(unsafe)('the path %j is refused when a listing is written', (path) => {
  expect(() => encodeListing([file(path)])).toThrow(CodedError)
})

test("two entries of one path, or a file that is another one's folder, are refused", () => {
  for (const paths of [
    ['a', 'a'],
    ['a', 'a/b'],
    ['x/a/b', 'x/a'],
  ]) {
    expect(() => encodeListing(paths.map((path) => file(path)))).toThrow(ListingError)
  }
})

test('altered listings are refused with a code or read as a valid listing', () => {
  const bytes = encodeListing([file('a.dcm', 10), file('b/c.dcm', 20)])
  const property = fc.property(
    fc.nat(bytes.length - 1),
    fc.integer({ min: 1, max: 255 }),
    fc.nat(bytes.length),
    (at, flip, cut) => {
      const altered = bytes.slice(0, cut === 0 ? bytes.length : cut)
      if (at < altered.length) altered[at] = (altered[at] ?? 0) ^ flip
      try {
        expect(decodeListing(altered).length).toBeGreaterThan(0)
      } catch (error) {
        expect(error).toBeInstanceOf(CodedError)
      }
    },
  )
  fc.assert(property, { numRuns: 1_000 })
})

test('opaque paths are distinct and hold at most 1,000 names a folder', () => {
  const paths = Array.from({ length: 2_500 }, (_, index) => opaquePath(index, 2_500).join('/'))
  expect(new Set(paths).size).toBe(2_500)
  expect(opaquePath(7, 20)).toEqual(['007'])
  expect(opaquePath(2_007, 2_500)).toEqual(['002', '007'])
})
