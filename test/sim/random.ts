/** Chance that comes from a seed: the same in every run. */

/** sfc32 of Chris Doty-Humphrey (PractRand), seeded from one number by splitmix32. */
export class Random {
  readonly #words: Uint32Array

  constructor(seed: number) {
    let mixed = seed >>> 0
    const next = (): number => {
      mixed = (mixed + 0x9e3779b9) >>> 0
      let word = mixed ^ (mixed >>> 16)
      word = Math.imul(word, 0x21f0aaad)
      word ^= word >>> 15
      word = Math.imul(word, 0x735a2d97)
      return (word ^ (word >>> 15)) >>> 0
    }
    this.#words = new Uint32Array([next(), next(), next(), 1])
    // The first words still look like the seed.
    for (let round = 0; round < 12; round++) this.word()
  }

  /** 32 bits. */
  word(): number {
    const [a = 0, b = 0, c = 0, counter = 0] = this.#words
    const sum = (a + b + counter) >>> 0
    this.#words[0] = b ^ (b >>> 9)
    this.#words[1] = c + (c << 3)
    this.#words[2] = ((c << 21) | (c >>> 11)) + sum
    this.#words[3] = counter + 1
    return sum
  }

  /** From 0 to below 1. */
  unit(): number {
    return this.word() / 2 ** 32
  }

  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor(this.unit() * (high - low + 1))
  }

  chance(ratio: number): boolean {
    return this.unit() < ratio
  }

  pick<T>(list: readonly T[]): T {
    const one = list[this.between(0, list.length - 1)]
    if (one === undefined) throw new Error('nothing to pick from')
    return one
  }

  /** Some of the list, in another order. */
  some<T>(list: readonly T[], count: number): T[] {
    const left = [...list]
    const taken: T[] = []
    while (taken.length < count && left.length > 0) taken.push(...left.splice(this.between(0, left.length - 1), 1))
    return taken
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.word() & 0xff)
  }
}
