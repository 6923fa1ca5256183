/** Columns that a peer has to rebuild, urgent ones first. */
export class RebuildQueue {
  readonly #urgent: number[] = []
  readonly #usual: number[] = []
  #urgentAt = 0
  #usualAt = 0

  add(cell: number, isUrgent: boolean): void {
    if (isUrgent) this.#urgent.push(cell)
    else this.#usual.push(cell)
  }

  /** The next one, or `undefined`. It may have been rebuilt meanwhile, or belong to another by now. */
  take(): number | undefined {
    if (this.#urgentAt < this.#urgent.length) return this.#urgent[this.#urgentAt++]
    if (this.#usualAt < this.#usual.length) return this.#usual[this.#usualAt++]
    this.clear()
    return undefined
  }

  clear(): void {
    this.#urgent.length = 0
    this.#usual.length = 0
    this.#urgentAt = 0
    this.#usualAt = 0
  }
}
