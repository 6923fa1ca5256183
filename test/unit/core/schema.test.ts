import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import * as Digest from 'multiformats/hashes/digest'
import { describe, expect, test } from 'vitest'
import { CodecError, decodeCanonical, encodeCanonical } from '../../../src/core/codec.ts'
import {
  boolean,
  byteString,
  cid,
  type Decoder,
  integer,
  list,
  literal,
  nullable,
  object,
  optional,
  text,
} from '../../../src/core/schema.ts'

function faultOf(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    expect(error).toBeInstanceOf(CodecError)
    return (error as CodecError).fault
  }
  return undefined
}

const digest = <Code extends number>(code: Code, bytes: number) => Digest.create(code, new Uint8Array(bytes))
const RAW_LINK = CID.createV1(0x55, digest(0x12, 32))
const CBOR_LINK = CID.createV1(0x71, digest(0x12, 32))

const person = object({
  name: text(1, 5, /^[a-z]+$/),
  age: integer(0, 150),
  keys: list(byteString(2), 1, 2),
  link: cid(0x71),
  role: optional(literal('nurse', 'doctor')),
})
const ANNA = { name: 'anna', age: 40, keys: [new Uint8Array(2)], link: CBOR_LINK }

describe('schemas', () => {
  test.each<[string, Decoder<unknown>, unknown[], unknown[]]>([
    ['integer', integer(-1, 3), [-1, 0, 3], [-2, 4, 1.5, Number.NaN, '1', 1n, null, undefined]],
    ['integer without maximum', integer(0), [0, Number.MAX_SAFE_INTEGER], [-1, 2 ** 53, Number.POSITIVE_INFINITY]],
    ['text', text(1, 3), ['a', 'abc'], ['', 'abcd', 1, null, ['a']]],
    ['text like', text(0, 9, /^x*$/), ['', 'xx'], ['xy', 'X']],
    ['bytes', byteString(2), [new Uint8Array(2)], [new Uint8Array(1), new Uint8Array(3), [0, 0], 'ab', null]],
    ['bytes from to', byteString(0, 1), [new Uint8Array(0), new Uint8Array(1)], [new Uint8Array(2)]],
    ['boolean', boolean, [true, false], [0, 1, 'true', null]],
    ['literal', literal<'a' | 1 | true>('a', 1, true), ['a', 1, true], ['b', '1', false, null]],
    ['nullable', nullable(integer(0)), [null, 5], [undefined, -1, 'x']],
    ['list', list(integer(0), 1, 2), [[1], [1, 2]], [[], [1, 2, 3], [-1], 'ab', null, new Uint8Array(1), { 0: 1 }]],
    ['any CID', cid(), [RAW_LINK, CBOR_LINK], [RAW_LINK.toString(), {}, null]],
    ['CID of a codec', cid(0x71, 0x70), [CBOR_LINK], [RAW_LINK]],
  ])('%s takes what it names and nothing else', (_name, decoder, good, bad) => {
    for (const value of good) expect(decoder(value, 'it')).toEqual(value)
    for (const value of bad)
      expect(faultOf(() => decoder(value, 'it'))).toMatchObject({
        code: 'CODEC_SHAPE',
        path: expect.stringMatching(/^it(\[0\])?$/),
      })
  })

  test('a CID of version 0, of another hash, or of another digest length is refused', () => {
    const wrong = [
      CID.createV0(digest(0x12, 32)),
      CID.createV1(0x71, digest(0x13, 64)),
      CID.createV1(0x71, digest(0x12, 20)),
      CID.createV1(0x71, digest(0x00, 4)),
    ]
    for (const link of wrong) {
      expect(faultOf(() => cid()(link, 'link'))).toMatchObject({ code: 'CODEC_SHAPE', path: 'link' })
    }
  })

  test('an object comes back with its fields, optional ones only where they are', () => {
    expect(person(ANNA, 'person')).toEqual(ANNA)
    expect(person({ ...ANNA, role: 'nurse' }, 'person')).toEqual({ ...ANNA, role: 'nurse' })
    expect(Object.keys(person(ANNA, 'person'))).not.toContain('role')
  })

  test.each<[string, unknown]>([
    ['person.name', { ...ANNA, name: 'Anna' }],
    ['person.age', { ...ANNA, age: 151 }],
    ['person.keys', { ...ANNA, keys: [] }],
    ['person.keys[1]', { ...ANNA, keys: [new Uint8Array(2), new Uint8Array(3)] }],
    ['person.link', { ...ANNA, link: RAW_LINK }],
    ['person.role', { ...ANNA, role: undefined }],
    ['person.extra', { ...ANNA, extra: 1 }],
    ['person.age', { name: 'anna', keys: ANNA.keys, link: CBOR_LINK }],
    ['person', null],
    ['person', [ANNA]],
    ['person', new Uint8Array(3)],
    ['person', CBOR_LINK],
    ['person', 'anna'],
  ])('a fault names its path: %s', (path, value) => {
    expect(faultOf(() => person(value, 'person'))).toMatchObject({ code: 'CODEC_SHAPE', path })
  })

  test('fields of the prototype don’t count as given', () => {
    const inherited = Object.create(ANNA) as unknown
    expect(faultOf(() => person(inherited, 'person'))).toMatchObject({ path: 'person.name' })
    const named = object({ constructor: integer(0) })
    expect(faultOf(() => named({}, 'it'))).toMatchObject({ path: 'it.constructor' })
    expect(faultOf(() => person(decodeCanonical(encodeCanonical({ ['__proto__']: 1 })), 'p'))).toMatchObject({
      path: 'p.__proto__',
    })
  })

  test('any canonical value at all is either taken or refused with a path', () => {
    fc.assert(
      fc.property(fc.anything({ withBigInt: true, maxDepth: 3 }), (value) => {
        const fault = faultOf(() => person(value, 'person'))
        expect(fault).toMatchObject({ code: 'CODEC_SHAPE', path: expect.stringMatching(/^person/) })
      }),
      { numRuns: 1000 },
    )
  })
})
