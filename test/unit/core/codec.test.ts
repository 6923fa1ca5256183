import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { describe, expect, test } from 'vitest'
import { CodecError, decodeCanonical, encodeCanonical, viewCanonical } from '../../../src/core/codec.ts'
import { CBOR_BYTES_MAX, CBOR_DEPTH_MAX, CBOR_ITEMS_MAX } from '../../../src/core/limits.ts'
import { decodeReference, encodeReference } from './codec-reference.ts'

/** A CBOR head with an argument of exactly `size` bytes (0: within the first byte). */
function head(major: number, argument: number, size: 0 | 1 | 2 | 4 | 8): number[] {
  if (size === 0) return [(major << 5) | argument]
  const bytes = [(major << 5) | (24 + Math.log2(size))]
  for (let i = size - 1; i >= 0; i--) bytes.push(Math.floor(argument / 256 ** i) % 256)
  return bytes
}

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'))

function codeOf(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    // Anything but a CodecError is a crash of the daemon that decodes.
    expect(error).toBeInstanceOf(CodecError)
    return (error as CodecError).fault.code
  }
  return 'none'
}

const anyCid = fc
  .tuple(fc.constantFrom(0x55, 0x70, 0x71), fc.uint8Array({ minLength: 32, maxLength: 32 }))
  .map(([codec, digest]) => CID.createV1(codec, Digest.create(0x12, digest)))
// Well-formed text only: a lone surrogate has no UTF-8. A byte order mark at the beginning is refused.
const anyText = fc
  .string({ unit: 'binary', maxLength: 30 })
  .filter((text) => text.isWellFormed() && !text.startsWith('\ufeff'))
const anyValue = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.integer(),
    // -0 is the integer 0 in CBOR.
    fc.maxSafeInteger().map((value) => value + 0),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.bigInt({ min: -(2n ** 64n), max: -(2n ** 53n) }),
    anyText,
    fc.uint8Array({ maxLength: 300 }),
    anyCid,
  ),
  value: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    tie('leaf'),
    fc.array(tie('value'), { maxLength: 30 }),
    fc.dictionary(anyText, tie('value'), { maxKeys: 30 }),
  ),
})).value

const mutation = fc.record({
  kind: fc.constantFrom('replace', 'insert', 'remove', 'cut', 'append', 'swap'),
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  byte: fc.nat(255),
})
type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never

function mutated(from: Uint8Array, mutations: readonly Mutation[]): Uint8Array {
  const bytes = [...from]
  for (const { kind, at, byte } of mutations) {
    const index = Math.floor(at * bytes.length)
    if (kind === 'replace') bytes[index] = byte
    else if (kind === 'insert') bytes.splice(index, 0, byte)
    else if (kind === 'remove') bytes.splice(index, 1)
    else if (kind === 'cut') bytes.length = index
    else if (kind === 'append') bytes.push(byte)
    else bytes.push(...bytes.splice(index, 1))
  }
  return Uint8Array.from(bytes)
}

/** Items that go together now and then: small maps with keys that sort, repeat, are no text or no UTF-8; links, short and broken. */
const anyItem: fc.Arbitrary<readonly number[]> = fc.oneof(
  fc.constantFrom(0xa1, 0xa2, 0xa3, 0x80, 0x81, 0x82, 0xf4, 0xf6, 0xf7, 0xd8).map((byte) => [byte]),
  fc.constantFrom('a', 'b', 'aa', '/', 'bytes', '__proto__', 'é', '\ufeffa', '').map((text) => {
    const bytes = [...new TextEncoder().encode(text)]
    return [0x60 | bytes.length, ...bytes]
  }),
  fc.constantFrom([0x61, 0xff], [0x61, 0xfe], [0x63, 0xef, 0xbf, 0xbd], [0x63, 0xed, 0xa0, 0x80]),
  fc.constantFrom(
    [0xd8, 0x2a, 0x58, 0x25, 0, 1, 0x71, 0x12, 0x20, ...new Uint8Array(32)],
    [0xd8, 0x2a, 0x58, 0x26, 0, 1, 0xf1, 0, 0x12, 0x20, ...new Uint8Array(32)],
    [0xd8, 0x2a, 0x58, 0x23, 0, 0x12, 0x20, ...new Uint8Array(32)],
    [0xd8, 0x2a, 0x45, 0, 1, 0x55, 0, 0],
    [0xd8, 0x2a, 0x46, 0, 1, 0x55, 0x80, 0, 0],
  ),
  fc
    .tuple(fc.nat(7), fc.nat(300), fc.constantFrom(0, 1, 2, 4, 8))
    .map(([major, argument, size]) =>
      size === 0 ? [(major << 5) | (argument % 24)] : head(major, argument, size as 1 | 2 | 4 | 8),
    ),
)

function verdict(decode: () => unknown): unknown {
  try {
    return { value: decode() }
  } catch (error) {
    expect(error).toBeInstanceOf(CodecError)
    return (error as CodecError).fault
  }
}

function sameAsReference(bytes: Uint8Array): void {
  const expected = verdict(() => decodeReference(bytes))
  expect(verdict(() => decodeCanonical(bytes))).toEqual(expected)
  expect(verdict(() => viewCanonical(bytes))).toEqual(expected)
}

describe('canonical dag-cbor', () => {
  test('a value comes back from its bytes, and its bytes from the value', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        const bytes = encodeCanonical(value)
        const decoded = decodeCanonical(bytes)
        expect(decoded).toEqual(value)
        expect(encodeCanonical(decoded)).toEqual(bytes)
      }),
      { numRuns: 1000 },
    )
  })

  test('keys in any order of insertion give the same bytes', () => {
    fc.assert(
      fc.property(fc.uniqueArray(anyText, { maxLength: 20 }), fc.infiniteStream(fc.nat()), (names, order) => {
        const shuffled = names.map((name) => ({ name, at: order.next().value as number }))
        const sorted = shuffled.toSorted((a, b) => a.at - b.at).map(({ name }) => name)
        const objectOf = (list: string[]): object => Object.fromEntries(list.map((name) => [name, 1]))
        expect(encodeCanonical(objectOf(sorted))).toEqual(encodeCanonical(objectOf(names)))
      }),
      { numRuns: 1000 },
    )
  })

  test('encodes to the bytes of the reference', () => {
    fc.assert(
      fc.property(anyValue, (value) => {
        expect(encodeCanonical(value)).toEqual(encodeReference(value))
      }),
      { numRuns: 1000 },
    )
  })

  test('mutated bytes get the verdict and the value of the reference, to the code of the fault', () => {
    fc.assert(
      fc.property(anyValue, fc.array(mutation, { minLength: 1, maxLength: 4 }), (value, mutations) => {
        sameAsReference(mutated(encodeCanonical(value), mutations))
      }),
      { numRuns: 500 },
    )
  })

  test('any bytes at all, and nearly well-formed ones, get the verdict and the value of the reference', () => {
    const items = fc.array(anyItem, { maxLength: 12 }).map((parts) => Uint8Array.from(parts.flat()))
    fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 80 }), items), sameAsReference), { numRuns: 2000 })
  })

  test.each([
    ['keys out of order', 'a2 6162 01 6161 02', 'CODEC_NOT_CANONICAL'],
    ['keys sorted bytewise, not by length first', 'a2 626161 01 6162 02', 'CODEC_NOT_CANONICAL'],
    ['a key twice', 'a2 6161 01 6161 02', 'CODEC_MALFORMED'],
    ['a key that is a number', 'a1 01 01', 'CODEC_MALFORMED'],
    ['a key that is bytes', 'a1 4161 01', 'CODEC_MALFORMED'],
    ['23 in two bytes', '18 17', 'CODEC_NOT_CANONICAL'],
    ['255 in three bytes', '19 00ff', 'CODEC_NOT_CANONICAL'],
    ['65,535 in five bytes', '1a 0000ffff', 'CODEC_NOT_CANONICAL'],
    ['2^32 - 1 in nine bytes', '1b 00000000ffffffff', 'CODEC_NOT_CANONICAL'],
    ['-1 in two bytes', '38 00', 'CODEC_NOT_CANONICAL'],
    ['a length of text in two bytes', '78 01 61', 'CODEC_NOT_CANONICAL'],
    ['a length of an array in nine bytes', '9b 0000000000000001 01', 'CODEC_NOT_CANONICAL'],
    ['a tag in three bytes', 'd9 002a 4100', 'CODEC_NOT_CANONICAL'],
    ['a half float', 'f9 3c00', 'CODEC_MALFORMED'],
    ['a single float', 'fa 3f800000', 'CODEC_MALFORMED'],
    ['a double float', 'fb 3ff8000000000000', 'CODEC_MALFORMED'],
    ['minus zero', 'fb 8000000000000000', 'CODEC_MALFORMED'],
    ['not a number', 'fb 7ff8000000000000', 'CODEC_MALFORMED'],
    ['undefined', 'f7', 'CODEC_MALFORMED'],
    ['an unassigned simple value', 'e0', 'CODEC_MALFORMED'],
    ['false in two bytes', 'f8 14', 'CODEC_MALFORMED'],
    ['a break', 'ff', 'CODEC_MALFORMED'],
    ['an indefinite array', '9f 01 ff', 'CODEC_MALFORMED'],
    ['an indefinite map', 'bf ff', 'CODEC_MALFORMED'],
    ['indefinite text', '7f 6161 ff', 'CODEC_MALFORMED'],
    ['indefinite bytes', '5f 4161 ff', 'CODEC_MALFORMED'],
    ['a reserved head', '1c', 'CODEC_MALFORMED'],
    ['a date tag', 'c0 60', 'CODEC_MALFORMED'],
    ['a bignum tag', 'c2 4101', 'CODEC_MALFORMED'],
    ['a CID tag of a number', 'd82a 01', 'CODEC_MALFORMED'],
    ['a CID tag of nothing', 'd82a', 'CODEC_MALFORMED'],
    ['a CID without its leading zero', `d82a 5824 01711220 ${'00'.repeat(32)}`, 'CODEC_MALFORMED'],
    ['a CID with a byte too many', `d82a 5826 00 01711220 ${'00'.repeat(33)}`, 'CODEC_MALFORMED'],
    ['a CID whose codec takes two bytes for one', `d82a 5826 00 01f1001220 ${'00'.repeat(32)}`, 'CODEC_MALFORMED'],
    ['a CID of version 2', `d82a 5825 00 02711220 ${'00'.repeat(32)}`, 'CODEC_MALFORMED'],
    ['text that is not UTF-8', '61 ff', 'CODEC_NOT_CANONICAL'],
    ['text with a surrogate', '63 eda080', 'CODEC_NOT_CANONICAL'],
    ['text with an overlong character', '62 c080', 'CODEC_NOT_CANONICAL'],
    ['a map that poses as a CID', 'a2 612f 6178 656279746573 6178', 'CODEC_MALFORMED'],
    ['nothing', '', 'CODEC_MALFORMED'],
    ['two values', '01 01', 'CODEC_MALFORMED'],
    ['an array cut short', '82 01', 'CODEC_MALFORMED'],
    ['text cut short', '62 61', 'CODEC_MALFORMED'],
    ['a head cut short', '19 01', 'CODEC_MALFORMED'],
    ['text of 2^64 - 1 bytes', '7b ffffffffffffffff 61', 'CODEC_MALFORMED'],
    ['an array of 2^64 - 1 items', '9b ffffffffffffffff', 'CODEC_MALFORMED'],
    ['a map of 2^63 pairs', 'bb 8000000000000000', 'CODEC_MALFORMED'],
  ])('%s is refused', (_what, bytes, code) => {
    expect(codeOf(() => decodeCanonical(hex(bytes)))).toBe(code)
  })

  test.each([
    ['00', 0],
    ['17', 23],
    ['1818', 24],
    ['18ff', 255],
    ['190100', 256],
    ['1a00010000', 65_536],
    ['1b0000000100000000', 2 ** 32],
    ['1b001fffffffffffff', Number.MAX_SAFE_INTEGER],
    ['1b0020000000000000', 2n ** 53n],
    ['1bffffffffffffffff', 2n ** 64n - 1n],
    ['3b001ffffffffffffe', Number.MIN_SAFE_INTEGER],
    ['3bffffffffffffffff', -(2n ** 64n)],
    ['f4', false],
    ['f6', null],
    ['a0', {}],
    ['80', []],
    ['a2616201626161 02'.replaceAll(' ', ''), { b: 1, aa: 2 }],
  ])('%s is the one encoding of its value', (bytes, value) => {
    expect(decodeCanonical(hex(bytes))).toEqual(value)
    expect(Buffer.from(encodeCanonical(value)).toString('hex')).toBe(bytes)
  })

  test('a key named __proto__ is data, and touches no prototype', () => {
    const decoded = decodeCanonical(hex('a1 695f5f70726f746f5f5f a1 6178 01')) as Record<string, unknown>
    expect(Object.hasOwn(decoded, '__proto__')).toBe(true)
    expect(decoded['x']).toBeUndefined()
    expect(Object.getPrototypeOf(decoded)).toBe(Object.prototype)
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })

  test.each([
    ['a float', 1.5],
    ['an integer that is not safe', 2 ** 53],
    ['a float deep inside', { a: [{ b: 0.1 }] }],
    ['infinity as a large float', 1e300],
    ['a text that begins with a byte order mark, which no decoder gives back', '\ufeffa'],
  ])('%s has no canonical encoding', (_what, value) => {
    expect(codeOf(() => encodeCanonical(value))).toBe('CODEC_MALFORMED')
  })

  test.each([
    ['undefined', { a: undefined }],
    ['not a number', Number.NaN],
    ['a function', () => 1],
    ['a date', new Date(0)],
    ['2^64', 2n ** 64n],
  ])('%s is not encoded', (_what, value) => {
    expect(() => encodeCanonical(value)).toThrow(/not supported|unsupported|larger than/)
  })
})

describe('bombs', () => {
  const nested = (depth: number, major: number): Uint8Array =>
    Uint8Array.from([...Array.from({ length: depth }, () => (major === 4 ? [0x81] : [0xa1, 0x60])).flat(), 0x00])

  test('nesting is allowed up to the limit, and refused beyond it without recursion', () => {
    for (const major of [4, 5]) {
      expect(codeOf(() => decodeCanonical(nested(CBOR_DEPTH_MAX, major)))).toBe('none')
      expect(codeOf(() => decodeCanonical(nested(CBOR_DEPTH_MAX + 1, major)))).toBe('CODEC_TOO_DEEP')
      expect(codeOf(() => decodeCanonical(nested(900_000, major)))).toBe('CODEC_TOO_DEEP')
    }
    const tags = Uint8Array.from(Array.from({ length: 500_000 }, () => [0xd8, 0x2a]).flat())
    expect(codeOf(() => decodeCanonical(tags))).toBe('CODEC_TOO_DEEP')
  })

  test('items are counted: as many as allowed decode, one more does not', () => {
    const arrayOf = (items: number): Uint8Array => Uint8Array.from([...head(4, items, 4), ...new Uint8Array(items)])
    // The array itself is an item too.
    expect(codeOf(() => decodeCanonical(arrayOf(CBOR_ITEMS_MAX - 1)))).toBe('none')
    expect(codeOf(() => decodeCanonical(arrayOf(CBOR_ITEMS_MAX)))).toBe('CODEC_TOO_MANY_ITEMS')
    const wide = encodeWide(4, 34)
    expect(codeOf(() => decodeCanonical(wide))).toBe('CODEC_TOO_MANY_ITEMS')
  })

  test('a length that can’t be true costs nothing', () => {
    for (const size of [1, 2, 4, 8] as const) {
      const claim = size === 8 ? 2 ** 60 : 2 ** (size * 8 - 1)
      for (const major of [2, 3, 4, 5]) {
        // A lie within arrays, so that an allocation for each would add up.
        const bytes = Uint8Array.from([...head(4, 2, 0), ...head(major, claim, size), 0x00])
        expect(codeOf(() => decodeCanonical(bytes))).toBe('CODEC_MALFORMED')
      }
    }
  })

  test('bytes above the limit are not looked at', () => {
    expect(codeOf(() => decodeCanonical(new Uint8Array(CBOR_BYTES_MAX + 1)))).toBe('CODEC_TOO_LARGE')
    expect(codeOf(() => decodeCanonical(hex('83 01 02 03'), 3))).toBe('CODEC_TOO_LARGE')
    expect(codeOf(() => decodeCanonical(hex('83 01 02 03'), 4))).toBe('none')
    const large = encodeCanonical(new Uint8Array(CBOR_BYTES_MAX - 5))
    expect(large.length).toBe(CBOR_BYTES_MAX)
    expect(codeOf(() => decodeCanonical(large))).toBe('none')
  })

  test('the most expensive bytes within the limits are decided in bounded time', () => {
    const worst = [
      Uint8Array.from([...head(4, 200_000, 4), ...new Uint8Array(200_000).fill(0x80)]),
      Uint8Array.from([...head(5, 100_000, 4), ...new Uint8Array(200_000).fill(0x60)]),
      encodeCanonical(Object.fromEntries(Array.from({ length: 60_000 }, (_, i) => [`key ${i}`, i]))),
    ]
    for (const bytes of worst) {
      const startMs = performance.now()
      codeOf(() => decodeCanonical(bytes))
      // A hundred times what it takes on an idle machine; quadratic work would take minutes.
      expect(performance.now() - startMs).toBeLessThan(5_000)
    }
  })
})

/** An array of arrays, `breadth` wide at each of `depth` levels. */
function encodeWide(depth: number, breadth: number): Uint8Array {
  let level = Uint8Array.of(0)
  for (let i = 0; i < depth; i++) {
    const one = level
    level = Uint8Array.from([
      ...head(4, breadth, breadth < 24 ? 0 : 1),
      ...Array.from({ length: breadth }, () => [...one]).flat(),
    ])
  }
  return level
}
