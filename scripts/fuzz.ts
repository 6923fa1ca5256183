/**
 * `npm run test:fuzz -- --seconds N --seed S`: changes valid bytes at random and gives them to every decoder of untrusted bytes, in
 * turns, for so long. The same property as in `npm test`, in more runs; ends with status 1 at the first decoder that breaks it.
 */
import { parseArgs } from 'node:util'
import fc from 'fast-check'
import { checkDecoder } from '../test/unit/fuzz/check.ts'
import { type FuzzedDecoder, fuzzedDecoders } from '../test/unit/fuzz/decoders.ts'
import { anyBytes } from '../test/unit/fuzz/sources.ts'

const SECONDS_DEFAULT = 60
/** One decoder's turn: a seed and its failure stay small enough to look at. */
const RUNS_PER_TURN = 2_000

interface Tally {
  accepted: number
  refused: number
}

/** @throws what fast-check says of a failure: seed, path and the smallest bytes. */
function turn(decoder: FuzzedDecoder, all: readonly FuzzedDecoder[], seed: number, tally: Tally): void {
  const property = fc.property(anyBytes(decoder, all), (bytes) => {
    tally[checkDecoder(decoder, bytes)]++
  })
  fc.assert(property, { seed, numRuns: RUNS_PER_TURN })
}

const { values } = parseArgs({ options: { seconds: { type: 'string' }, seed: { type: 'string' } } })
const seconds = Number(values.seconds ?? SECONDS_DEFAULT)
const firstSeed = Number(values.seed ?? Date.now() % 2 ** 31)
if (!(seconds > 0) || !Number.isSafeInteger(firstSeed)) {
  console.error('usage: npm run test:fuzz -- [--seconds N] [--seed S]')
  process.exit(2)
}
const decoders = await fuzzedDecoders()
const tallies = new Map(decoders.map(({ name }) => [name, { accepted: 0, refused: 0 }]))
const endMs = performance.now() + seconds * 1_000
let seed = firstSeed
for (; performance.now() < endMs; seed++) {
  for (const decoder of decoders) {
    const tally = tallies.get(decoder.name) ?? { accepted: 0, refused: 0 }
    try {
      turn(decoder, decoders, seed, tally)
    } catch (error) {
      console.error(error)
      console.error(`${decoder.name} failed; again with: npm run test:fuzz -- --seconds 1 --seed ${seed}`)
      process.exit(1)
    }
    if (performance.now() >= endMs) break
  }
}
for (const [name, { accepted, refused }] of tallies) {
  console.log(`${name.padEnd(36)} ${String(accepted).padStart(9)} accepted ${String(refused).padStart(9)} refused`)
}
console.log(`${decoders.length} decoders, ${seconds} s, seeds ${firstSeed} to ${seed}: no rule was broken`)
