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
    for (const sample of decoder.samples) this.#reaches(sample)
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
    // Asking V8 takes as long as a hundred inputs: first of all together, and of each only where there is something new.
    if (this.#reached.has(this.#coverage.take())) return
    for (const bytes of tried) if (this.#reaches(bytes)) this.#corpus.push(bytes)
  }

  /** @returns whether this input reaches something new, which counts as reached from then on. */
  #reaches(bytes: Uint8Array): boolean {
    // What ran since the last question was not this input.
    this.#coverage.take()
    checkDecoder(this.#decoder, bytes)
    const ran = this.#coverage.take()
    if (this.#reached.has(ran)) return false
    this.#reached.add(ran)
    return true
  }
}
