/** Events of virtual time, the earliest first: a binary heap in typed arrays, since there are tens of millions. */
export class EventQueue {
  #times = new Float64Array(1_024)
  #events = new Int32Array(1_024)
  #length = 0

  get length(): number {
    return this.#length
  }

  /** Time of the earliest event. */
  get nextTime(): number {
    return this.#length === 0 ? Number.POSITIVE_INFINITY : (this.#times[0] ?? 0)
  }

  push(time: number, event: number): void {
    if (this.#length === this.#times.length) this.#grow()
    let at = this.#length++
    while (at > 0) {
      const parent = (at - 1) >> 1
      const parentTime = this.#times[parent] ?? 0
      if (parentTime <= time) break
      this.#times[at] = parentTime
      this.#events[at] = this.#events[parent] ?? 0
      at = parent
    }
    this.#times[at] = time
    this.#events[at] = event
  }

  /** Takes the earliest event out; there is one. */
  pop(): number {
    const first = this.#events[0] ?? 0
    const last = --this.#length
    const time = this.#times[last] ?? 0
    const event = this.#events[last] ?? 0
    let at = 0
    for (let child = 1; child < last; child = 2 * at + 1) {
      if (child + 1 < last && (this.#times[child + 1] ?? 0) < (this.#times[child] ?? 0)) child++
      if ((this.#times[child] ?? 0) >= time) break
      this.#times[at] = this.#times[child] ?? 0
      this.#events[at] = this.#events[child] ?? 0
      at = child
    }
    this.#times[at] = time
    this.#events[at] = event
    return first
  }

  #grow(): void {
    const times = new Float64Array(this.#times.length * 2)
    const events = new Int32Array(this.#times.length * 2)
    times.set(this.#times)
    events.set(this.#events)
    this.#times = times
    this.#events = events
  }
}
