import fc from 'fast-check'
import type { FuzzedDecoder } from './decoders.ts'
import { graftedBytes } from './grafts.ts'
import { mutate, mutation } from './mutations.ts'

/** Bytes for one decoder: mostly its samples with a few changes, seldom those of another or nothing of the kind. */
export function anyBytes(decoder: FuzzedDecoder, all: readonly FuzzedDecoder[]): fc.Arbitrary<Uint8Array> {
  const own = fc.constantFrom(...decoder.samples)
  const other = fc.constantFrom(...all.flatMap(({ samples }) => samples))
  const changes = fc.array(mutation, { minLength: 1, maxLength: 4 })
  const grafted = graftedBytes(decoder.samples)
  return fc.oneof(
    ...(grafted === undefined ? [] : [{ weight: 8, arbitrary: grafted }]),
    { weight: 12, arbitrary: fc.tuple(own, own, changes).map((parts) => mutate(...parts)) },
    { weight: 4, arbitrary: fc.tuple(own, other, changes).map((parts) => mutate(...parts)) },
    { weight: 1, arbitrary: other.map((bytes) => bytes.slice()) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }) },
  )
}
