/**
 * Fuzzing led by coverage: an input that reaches a part of the code which none before it reached is kept, and changed further, as
 * if it were a sample. So what stands behind several checks is found one check after the other.
 */
import fc from 'fast-check'
import { checkDecoder } from './check.ts'
import { type Coverage, Reached } from './coverage.ts'
import type { FuzzedDecoder } from './decoders.ts'
import { anyBytes } from './sources.ts'

export interface Tally {
  accepted: number
  refused: number
}

export class GuidedFuzzer {
  readonly #decoder: FuzzedDecoder
  readonly #all: readonly FuzzedDecoder[]
  readonly #coverage: Coverage
  readonly #reached = new Reached()
  readonly #corpus: Uint8Array[]
  readonly tally: Tally = { accepted: 0, refused: 0 }

  /** @param all - whose samples are spliced in. */
  constructor(decoder: FuzzedDecoder, all: readonly FuzzedDecoder[], coverage: Coverage) {
    this.#decoder = decoder
    this.#all = all
    this.#coverage = coverage
    this.#corpus = [...decoder.samples]
    // All samples are kept, whether they reach something new or not.
    this.#sift(decoder.samples)
  }

  get name(): string {
    return this.#decoder.name
  }

  /** Inputs that are changed further: the samples, and what reached something new. */
  get corpus(): readonly Uint8Array[] {
    return this.#corpus
  }

  /** Characters of the sources that ran so far. */
  get reached(): number {
    return this.#reached.size
  }

  /** @throws what fast-check says of the first input that breaks a rule: the smallest bytes it found. */
  turn(seed: number, inputs: number): void {
    const decoder = { ...this.#decoder, samples: this.#corpus }
    const tried: Uint8Array[] = []
    const property = fc.property(anyBytes(decoder, this.#all), (bytes) => {
      tried.push(bytes)
      this.tally[checkDecoder(decoder, bytes)]++
    })
    this.#coverage.take()
    fc.assert(property, { seed, numRuns: inputs })
    if (!this.#reached.has(this.#coverage.take())) this.#corpus.push(...this.#sift(tried))
  }

  /**
   * Which of these inputs reach something new, which counts as reached from then on. To ask V8 takes as long as dozens of inputs: so it is
   * asked of all together, and of halves only where there is something.
   */
  #sift(inputs: readonly Uint8Array[]): Uint8Array[] {
    // What ran since the last question was not these.
    this.#coverage.take()
    for (const bytes of inputs) checkDecoder(this.#decoder, bytes)
    const ran = this.#coverage.take()
    if (this.#reached.has(ran)) return []
    if (inputs.length > 1) {
      const half = inputs.length >> 1
      return [...this.#sift(inputs.slice(0, half)), ...this.#sift(inputs.slice(half))]
    }
    this.#reached.add(ran)
    return [...inputs]
  }
}
