/**
 * Joins calls of one costly idempotent action: at most one runs, and at most one waits. Whoever calls while one runs gets the
 * next one, which starts after the call, so that it includes whatever the caller did before.
 */
export class Coalesced {
  readonly #action: () => Promise<void>
  #running: Promise<void> | undefined
  #next: Promise<void> | undefined

  constructor(action: () => Promise<void>) {
    this.#action = action
  }

  run(): Promise<void> {
    if (this.#next !== undefined) return this.#next
    if (this.#running === undefined) return this.#start()
    const start = (): Promise<void> => {
      this.#next = undefined
      return this.#start()
    }
    // A failure of the one that runs is told to those who wait for that one.
    this.#next = this.#running.then(start, start)
    return this.#next
  }

  #start(): Promise<void> {
    const running = this.#action().finally(() => {
      if (this.#running === running) this.#running = undefined
    })
    this.#running = running
    return running
  }
}
