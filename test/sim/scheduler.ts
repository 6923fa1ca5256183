/**
 * Virtual time: things happen in the order of their times, each with all that it sets in motion, before the next.
 *
 * Between two of them the microtasks run dry: one turn of the event loop, in which no real timer and no real I/O has anything
 * to say, since the ports that would use them are simulated.
 */

interface Planned {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

export class Scheduler {
  /** Milliseconds since the world began. */
  nowMs = 0
  /** How many things happened. */
  events = 0
  readonly #heap: Planned[] = []
  #order = 0

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + delayMs, run)
  }

  at(atMs: number, run: () => void): void {
    const one = { atMs: Math.max(atMs, this.nowMs), order: this.#order++, run }
    const heap = this.#heap
    heap.push(one)
    for (let index = heap.length - 1; index > 0; ) {
      const above = (index - 1) >> 1
      const parent = heap[above]
      if (parent === undefined || isBefore(parent, one)) break
      heap[index] = parent
      heap[above] = one
      index = above
    }
  }

  /** Until that time, or until `isDone`, which is asked after each event. @returns whether it was done. */
  async run(untilMs: number, isDone: () => boolean = () => false): Promise<boolean> {
    await quiet()
    while (!isDone()) {
      const next = this.#heap[0]
      if (next === undefined || next.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs)
        return isDone()
      }
      this.#take()
      this.nowMs = next.atMs
      this.events++
      next.run()
      await quiet()
    }
    return true
  }

  #take(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let index = 0
    for (;;) {
      const left = 2 * index + 1
      const right = left + 1
      const [a, b] = [heap[left], heap[right]]
      if (a === undefined) break
      const lower = b !== undefined && isBefore(b, a) ? right : left
      const child = heap[lower]
      if (child === undefined || isBefore(last, child)) break
      heap[index] = child
      index = lower
    }
    heap[index] = last
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order)
}

function quiet(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
