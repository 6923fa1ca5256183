/** Which parts of the code ran, by V8's own precise coverage: the sources as they are, nothing instrumented. */
import { type Profiler, Session } from 'node:inspector'

/** By the id of a script: for each character of its source 1 where it ran. */
export type Ran = ReadonlyMap<string, Uint8Array>

export class Coverage implements Disposable {
  readonly #session = new Session()
  readonly #isCounted: (url: string) => boolean

  /** One at a time in a process. @param isCounted - of a script, by its URL. */
  constructor(isCounted: (url: string) => boolean) {
    this.#isCounted = isCounted
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  /** What ran since the last call. */
  take(): Ran {
    const scripts = this.#scripts().filter(({ url }) => this.#isCounted(url))
    return new Map(scripts.map((script) => [script.scriptId, ranIn(script)]))
  }

  /** In its own thread the inspector answers before `post` returns. */
  #scripts(): readonly Profiler.ScriptCoverage[] {
    let scripts: readonly Profiler.ScriptCoverage[] | undefined
    this.#session.post('Profiler.takePreciseCoverage', (error, answer) => {
      if (error !== null) throw error
      scripts = answer.result
    })
    if (scripts === undefined) throw new Error('the inspector did not answer at once')
    return scripts
  }

  [Symbol.dispose](): void {
    this.#session.disconnect()
  }
}

/** A block that ran as often as the one around it isn't named: so it is what each character's innermost range says. */
function ranIn({ functions }: Profiler.ScriptCoverage): Uint8Array {
  const ranges = functions.flatMap((one) => one.ranges)
  const ran = new Uint8Array(ranges.reduce((end, { endOffset }) => Math.max(end, endOffset), 0))
  // V8 names what is outside before what is in it.
  for (const { startOffset, endOffset, count } of ranges) ran.fill(Math.min(count, 1), startOffset, endOffset)
  return ran
}

/** All that ran so far. */
export class Reached {
  readonly #scripts = new Map<string, Uint8Array>()
  #size = 0

  /** In characters of source. */
  get size(): number {
    return this.#size
  }

  has(ran: Ran): boolean {
    for (const [id, now] of ran) {
      const before = this.#scripts.get(id)
      if (now.some((one, at) => one > (before?.[at] ?? 0))) return false
    }
    return true
  }

  add(ran: Ran): void {
    for (const [id, now] of ran) {
      const before = this.#scripts.get(id) ?? new Uint8Array(0)
      const after = new Uint8Array(Math.max(before.length, now.length))
      for (let at = 0; at < after.length; at++) {
        after[at] = (before[at] ?? 0) | (now[at] ?? 0)
        this.#size += (after[at] ?? 0) - (before[at] ?? 0)
      }
      this.#scripts.set(id, after)
    }
  }
}
