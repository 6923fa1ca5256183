/**
 * Sets of block digests for whoever keeps what is in them: 16 to 32 bytes an entry, a tenth of what a `Set` of strings takes. Only the
 * first 64 bits of a digest count, so a set may say of one in 10^12 that it has what it hasn't, and never the other way round.
 */

/** Slots at the beginning; doubled when more than half are taken. */
const SLOTS_MIN = 1_024

export class DigestSet {
  /** Two numbers for each slot; both 0: free. */
  #slots = new Uint32Array(2 * SLOTS_MIN)
  #size = 0

  get size(): number {
    return this.#size
  }

  add(digest: Uint8Array): void {
    if (4 * this.#size >= this.#slots.length) this.#grow()
    if (this.#put(highOf(digest), lowOf(digest))) this.#size++
  }

  has(digest: Uint8Array): boolean {
    const [high, low] = [highOf(digest), lowOf(digest)]
    const at = this.#find(high, low)
    return this.#slots[at] === high && this.#slots[at + 1] === low
  }

  #put(high: number, low: number): boolean {
    const at = this.#find(high, low)
    if (this.#slots[at] === high && this.#slots[at + 1] === low) return false
    this.#slots[at] = high
    this.#slots[at + 1] = low
    return true
  }

  /** Where it is, or would be. Digests are uniform: their bits are their hash. */
  #find(high: number, low: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    let at = (2 * low) & mask
    while ((slots[at] !== 0 || slots[at + 1] !== 0) && (slots[at] !== high || slots[at + 1] !== low)) {
      at = (at + 2) & mask
    }
    return at
  }

  #grow(): void {
    const before = this.#slots
    this.#slots = new Uint32Array(2 * before.length)
    for (let at = 0; at < before.length; at += 2) {
      const [high = 0, low = 0] = [before[at], before[at + 1]]
      if (high !== 0 || low !== 0) this.#put(high, low)
    }
  }
}

const wordOf = (digest: Uint8Array, at: number): number =>
  (((digest[at] ?? 0) << 24) | ((digest[at + 1] ?? 0) << 16) | ((digest[at + 2] ?? 0) << 8) | (digest[at + 3] ?? 0)) >>>
  0

/** Never 0, so that no digest looks like a free slot. */
const highOf = (digest: Uint8Array): number => wordOf(digest, 0) || 1
const lowOf = (digest: Uint8Array): number => wordOf(digest, 4)
