/** Bytes that may be under way at once; whoever wants more waits its turn. */
export class ByteWindow {
  readonly #bytesMax: number
  readonly #waiting: { readonly bytes: number; readonly grant: () => void }[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** More than the whole window is let through when nothing else is under way. */
  async take(bytes: number): Promise<void> {
    if (this.#waiting.length === 0 && this.#fits(bytes)) {
      this.#bytes += bytes
      return
    }
    await new Promise<void>((resolve) => {
      this.#waiting.push({ bytes, grant: resolve })
    })
  }

  give(bytes: number): void {
    this.#bytes -= bytes
    for (let next = this.#waiting[0]; next !== undefined && this.#fits(next.bytes); next = this.#waiting[0]) {
      this.#waiting.shift()
      this.#bytes += next.bytes
      next.grant()
    }
  }

  #fits(bytes: number): boolean {
    return this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax
  }
}
