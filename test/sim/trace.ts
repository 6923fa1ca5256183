/** What happened, as lines; all of them go into a digest, the last ones are kept. */

const KEPT_LINES = 40

export class Trace {
  readonly #print: ((line: string) => void) | undefined
  readonly #last: string[] = []
  #lines = 0
  #high = 0xdeadbeef
  #low = 0x41c6ce57

  /** @param print - gets each line as it comes. */
  constructor(print?: (line: string) => void) {
    this.#print = print
  }

  add(nowMs: number, what: string): void {
    const line = `${nowMs.toFixed(1).padStart(9)} ${what}`
    this.#lines++
    let [high, low] = [this.#high, this.#low]
    for (let index = 0; index < line.length; index++) {
      const code = line.charCodeAt(index)
      high = Math.imul(high ^ code, 2654435761)
      low = Math.imul(low ^ code, 1597334677)
    }
    this.#high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909)
    this.#low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909)
    this.#print?.(line)
    this.#last.push(line)
    if (this.#last.length > 2 * KEPT_LINES) this.#last.splice(0, KEPT_LINES)
  }

  /** Of all lines: two runs that differ anywhere have different ones. */
  get digest(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0')
    return `${this.#lines}:${hex(this.#high)}${hex(this.#low)}`
  }

  last(count: number): string[] {
    return this.#last.slice(-count)
  }
}
