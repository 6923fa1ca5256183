// Method: bytes made by changing valid ones, valid ones of another structure, claims of lengths that aren't there, and random ones.
// A failure prints the seed and the smallest bytes; `npm run test:fuzz -- --seconds N` runs the same for longer.
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkDecoder } from './check.ts'
import { fuzzedDecoders } from './decoders.ts'
import { CLAIMS, mutate } from './mutations.ts'
import { anyBytes } from './sources.ts'

const SRC = fileURLToPath(new URL('../../../src', import.meta.url))
const EXPORTED = /^export (?:async )?(?:function|const) (decode[A-Z]\w*)/gm
/** Fuzzed in the tests of the codec itself, and below every decoder here. */
const ELSEWHERE = new Set(['decodeCanonical'])

const decoders = await fuzzedDecoders()

test('no exported decoder is missing here', async () => {
  const files = await readdir(SRC, { recursive: true })
  const exported = new Set<string>()
  for (const file of files.filter((name) => name.endsWith('.ts'))) {
    const source = await readFile(join(SRC, file), 'utf8')
    for (const [, name = ''] of source.matchAll(EXPORTED)) exported.add(name)
  }
  expect(exported.size).toBeGreaterThan(15)
  const known = new Set(decoders.map(({ name }) => name))
  expect([...exported].filter((name) => !known.has(name) && !ELSEWHERE.has(name))).toEqual([])
})

describe.each(decoders.map((one) => [one.name, one] as const))('%s', (_name, decoder) => {
  test('accepts its samples, and no beginning of them is taken for more than it is', () => {
    expect(decoder.samples.length).toBeGreaterThan(0)
    for (const sample of decoder.samples) {
      expect(checkDecoder(decoder, sample)).toBe('accepted')
      const step = Math.ceil(sample.length / 200)
      for (let length = 0; length < sample.length; length += step) checkDecoder(decoder, sample.slice(0, length))
    }
  })

  test('claims of lengths that are not there cost nothing, wherever they stand', () => {
    for (const sample of decoder.samples) {
      const step = Math.ceil(sample.length / 40)
      for (let at = 0; at <= sample.length; at += step) {
        for (const bytes of CLAIMS) {
          const claiming = mutate(sample, sample, [{ kind: 'overwrite', at, bytes }])
          expect(() => checkDecoder(decoder, claiming)).not.toThrow()
        }
      }
    }
    for (const depth of [17, 100_000, 1_000_000]) {
      for (const head of [0x81, 0xa1, 0xd8]) {
        expect(() => checkDecoder(decoder, new Uint8Array(depth).fill(head))).not.toThrow()
      }
    }
  })

  test('whatever the bytes: a coded fault, or a value that encodes to them', () => {
    fc.assert(
      fc.property(anyBytes(decoder, decoders), (bytes) => void checkDecoder(decoder, bytes)),
      { numRuns: 500 },
    )
  })
})
