import { expect, test } from 'vitest'
import { Coverage } from './coverage.ts'
import type { FuzzedDecoder } from './decoders.ts'
import { GuidedFuzzer } from './guided.ts'

const SECRET = [0xde, 0xad, 0xbe, 0xef]

/** Breaks the first rule of a decoder, behind four checks of a byte each: random bytes get there once in 2^32. */
function throwsBehindChecks(bytes: Uint8Array): 'accepted' {
  if (bytes[0] !== SECRET[0]) return 'accepted'
  if (bytes[1] !== SECRET[1]) return 'accepted'
  if (bytes[2] !== SECRET[2]) return 'accepted'
  if (bytes[3] !== SECRET[3]) return 'accepted'
  throw new Error('not a coded fault')
}

test('what stands behind several checks is found one after the other', () => {
  using coverage = new Coverage((url) => url.includes('guided.test'))
  const decoder: FuzzedDecoder = { name: 'throwsBehindChecks', samples: [new Uint8Array(4)], run: throwsBehindChecks }
  const fuzzer = new GuidedFuzzer(decoder, [decoder], coverage)
  const bySamples = fuzzer.reached
  const search = (): void => {
    for (let seed = 1; seed <= 500; seed++) fuzzer.turn(seed, 200)
  }
  expect(search).toThrow('Counterexample: [Uint8Array.from([222,173,190,239')
  expect(fuzzer.reached).toBeGreaterThan(bySamples)
  expect(fuzzer.corpus.length).toBeGreaterThanOrEqual(SECRET.length)
})
