/**
 * `npm run test:fuzz -- --seconds N --seed S`: changes valid bytes at random and gives them to every decoder of untrusted bytes, in
 * turns, for so long. The same property as in `npm test`, in more runs and led by coverage; ends with status 1 at the first decoder
 * that breaks it.
 */
import { parseArgs } from 'node:util'
import { Coverage } from '../test/unit/fuzz/coverage.ts'
import { fuzzedDecoders } from '../test/unit/fuzz/decoders.ts'
import { GuidedFuzzer } from '../test/unit/fuzz/guided.ts'

const SECONDS_DEFAULT = 60
/** One decoder's turn: some tenths of a second. */
const INPUTS_PER_TURN = 500
/** Ours, and the codec below it. */
const COUNTED = /\/src\/|\/node_modules\/(@ipld|cborg|multiformats)\//

const { values } = parseArgs({ options: { seconds: { type: 'string' }, seed: { type: 'string' } } })
const seconds = Number(values.seconds ?? SECONDS_DEFAULT)
const firstSeed = Number(values.seed ?? Date.now() % 2 ** 31)
if (!(seconds > 0) || !Number.isSafeInteger(firstSeed)) {
  console.error('usage: npm run test:fuzz -- [--seconds N] [--seed S]')
  process.exit(2)
}
using coverage = new Coverage((url) => COUNTED.test(url))
const decoders = await fuzzedDecoders()
const fuzzers = decoders.map((decoder) => new GuidedFuzzer(decoder, decoders, coverage))
const reachedBySamples = new Map(fuzzers.map((fuzzer) => [fuzzer, fuzzer.reached]))
const endMs = performance.now() + seconds * 1_000
let seed = firstSeed
for (; performance.now() < endMs; seed++) {
  for (const fuzzer of fuzzers) {
    try {
      fuzzer.turn(seed, INPUTS_PER_TURN)
    } catch (error) {
      console.error(error)
      console.error(`${fuzzer.name} failed; again with: npm run test:fuzz -- --seconds ${seconds} --seed ${firstSeed}`)
      process.exit(1)
    }
    if (performance.now() >= endMs) break
  }
}
const columns = (...words: readonly (number | string)[]): string =>
  words.map((word, i) => (i === 0 ? String(word).padEnd(40) : String(word).padStart(12))).join('')
console.log(columns('', 'accepted', 'refused', 'reached', 'by samples', 'kept'))
for (const fuzzer of fuzzers) {
  const { accepted, refused } = fuzzer.tally
  console.log(
    columns(fuzzer.name, accepted, refused, fuzzer.reached, reachedBySamples.get(fuzzer) ?? 0, fuzzer.corpus.length),
  )
}
console.log(`${decoders.length} decoders, ${seconds} s, seeds ${firstSeed} to ${seed}: no rule was broken`)
