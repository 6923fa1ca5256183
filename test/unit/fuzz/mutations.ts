/** Changes of valid bytes that a decoder must survive: what a broken disk, a hostile peer or a newer version may send. */
import fc from 'fast-check'

/** One change, in numbers that fit any sample: places are taken modulo its length. */
export type Mutation =
  | { readonly kind: 'flip'; readonly at: number; readonly bits: number }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'overwrite'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'delete'; readonly at: number; readonly count: number }
  | { readonly kind: 'repeat'; readonly at: number; readonly count: number; readonly times: number }
  | { readonly kind: 'splice'; readonly at: number; readonly from: number; readonly count: number }
  | { readonly kind: 'nest'; readonly at: number; readonly depth: number; readonly head: number }

/** Heads of CBOR items and lengths of frames that claim more than there is, or say it in another way than the shortest. */
export const CLAIMS: readonly Uint8Array[] = [
  '9bffffffffffffffff',
  'bbffffffffffffffff',
  '5bffffffffffffffff',
  '7b001fffffffffffff',
  '9a00ffffff',
  'ba00ffffff',
  '5a7fffffff',
  '5affffffff',
  '9f',
  'bf',
  '5f',
  'ff',
  '1800',
  '190001',
  '1bffffffffffffffff',
  '3bffffffffffffffff',
  'f97e00',
  'fb7ff8000000000000',
  'f7',
  'c249010000000000000000',
  'd82a',
  'd82a4100',
  'a1616101',
  '00000000',
  'ffffffff',
  '7fffffff',
  '00200000',
].map((hex) => new Uint8Array(Buffer.from(hex, 'hex')))

const place = fc.nat(1 << 20)
const someBytes = fc.oneof(fc.constantFrom(...CLAIMS), fc.uint8Array({ minLength: 1, maxLength: 12 }))

export const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: place, bits: fc.integer({ min: 1, max: 255 }) }),
  fc.record({ kind: fc.constant('insert' as const), at: place, bytes: someBytes }),
  fc.record({ kind: fc.constant('overwrite' as const), at: place, bytes: someBytes }),
  fc.record({ kind: fc.constant('delete' as const), at: place, count: fc.integer({ min: 1, max: 64 }) }),
  fc.record({
    kind: fc.constant('repeat' as const),
    at: place,
    count: fc.integer({ min: 1, max: 40 }),
    times: fc.integer({ min: 1, max: 200 }),
  }),
  fc.record({ kind: fc.constant('splice' as const), at: place, from: place, count: fc.integer({ min: 1, max: 256 }) }),
  fc.record({
    kind: fc.constant('nest' as const),
    at: place,
    depth: fc.constantFrom(1, 15, 16, 17, 1_000),
    head: fc.constantFrom(0x81, 0xa1, 0xd8, 0xc6),
  }),
)

/** @param other - where spliced bytes come from. */
export function mutate(sample: Uint8Array, other: Uint8Array, changes: readonly Mutation[]): Uint8Array {
  return changes.reduce((bytes, change) => changed(bytes, other, change), sample)
}

function changed(bytes: Uint8Array, other: Uint8Array, change: Mutation): Uint8Array {
  const at = change.at % (bytes.length + 1)
  switch (change.kind) {
    case 'flip':
      return bytes.map((byte, i) => (i === at ? byte ^ change.bits : byte))
    case 'insert':
      return replaced(bytes, at, 0, change.bytes)
    case 'overwrite':
      return replaced(bytes, at, change.bytes.length, change.bytes)
    case 'delete':
      return replaced(bytes, at, change.count, new Uint8Array(0))
    case 'repeat': {
      const part = bytes.subarray(at, at + change.count)
      return replaced(bytes, at, 0, Buffer.concat(Array.from({ length: change.times }, () => part)))
    }
    case 'splice': {
      const from = change.from % (other.length + 1)
      return replaced(bytes, at, change.count, other.subarray(from, from + change.count))
    }
    case 'nest':
      return replaced(bytes, at, 0, new Uint8Array(change.depth).fill(change.head))
    default:
      return change satisfies never
  }
}

function replaced(bytes: Uint8Array, at: number, drop: number, put: Uint8Array): Uint8Array {
  const rest = bytes.subarray(Math.min(bytes.length, at + drop))
  const result = new Uint8Array(at + put.length + rest.length)
  result.set(bytes.subarray(0, at))
  result.set(put, at)
  result.set(rest, at + put.length)
  return result
}
