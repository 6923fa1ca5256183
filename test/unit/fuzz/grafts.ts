/** Changes of the value rather than of its bytes: still canonical, so that a schema has to see them. */
import fc from 'fast-check'
import { CodecError, decodeCanonical, encodeCanonical } from '../../../src/core/codec.ts'

const { value: anyValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom(null, true, false, '', '__proto__', 'constructor'),
    fc.integer(),
    fc.constantFrom<unknown>(2n ** 53n, 2n ** 64n - 1n, -(2n ** 64n), -1, 0, 2 ** 32, Number.MAX_SAFE_INTEGER),
    fc.string({ maxLength: 70 }),
    fc.uint8Array({ maxLength: 80 }),
    fc.constantFrom(32, 64).map((length) => new Uint8Array(length)),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(fc.string({ maxLength: 8 }), tie('value'), { maxKeys: 4 }),
  ),
}))

/** The samples that are canonical dag-cbor, with something in them exchanged, left out or added. */
export function graftedBytes(samples: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> | undefined {
  const values = samples.flatMap((bytes) => valueOf(bytes))
  if (values.length === 0) return undefined
  const path = fc.array(fc.nat(1_000), { maxLength: 6 })
  return fc
    .tuple(fc.constantFrom(...values), path, anyValue, fc.boolean())
    .map(([value, at, put, isLeftOut]) => encoded(grafted(value, at, isLeftOut ? undefined : put)))
}

function valueOf(bytes: Uint8Array): unknown[] {
  try {
    return [decodeCanonical(bytes)]
  } catch {
    return []
  }
}

/** What can't be encoded (too deep, an item left out at the top) stands as no bytes at all. */
function encoded(value: unknown): Uint8Array {
  try {
    return value === undefined ? new Uint8Array(0) : encodeCanonical(value)
  } catch (error) {
    if (error instanceof CodecError) return new Uint8Array(0)
    throw error
  }
}

/** @param put - `undefined` leaves the place out. */
function grafted(value: unknown, at: readonly number[], put: unknown): unknown {
  const [first, ...rest] = at
  if (first === undefined || typeof value !== 'object' || value === null || value instanceof Uint8Array) return put
  if (Array.isArray(value)) {
    const items = [...(value as unknown[])]
    const index = first % (items.length + 1)
    items[index] = grafted(items[index], rest, put)
    return items.filter((item) => item !== undefined)
  }
  const entries = Object.entries(value)
  // One more than there are: a field that nobody knows.
  const [key = 'unknown', before] = entries[first % (entries.length + 1)] ?? []
  return Object.fromEntries(
    [...entries.filter(([name]) => name !== key), [key, grafted(before, rest, put)]].filter(
      ([, item]) => item !== undefined,
    ),
  )
}
