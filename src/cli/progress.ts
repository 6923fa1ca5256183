/** Progress on a terminal: bytes, rate, time left. In a pipe it is quiet. */
import { Presets, SingleBar } from 'cli-progress'
import { bytesText, rateText } from './output.ts'

export interface Progress {
  /** Known once the work is planned. */
  start(bytes: number): void
  add(bytes: number): void
  stop(): void
}

/** @param quiet - no bar even on a terminal. */
export function progressBar(label: string, quiet: boolean): Progress {
  if (quiet || !process.stderr.isTTY) return { start: () => undefined, add: () => undefined, stop: () => undefined }
  const started = Date.now()
  let done = 0
  const bar = new SingleBar(
    {
      stream: process.stderr,
      hideCursor: true,
      clearOnComplete: true,
      etaBuffer: 100,
      format: `${label} {bar} {percentage}%  {done} of {all}  {rate}  {eta_formatted} left`,
    },
    Presets.shades_classic,
  )
  const payload = (): object => ({ done: bytesText(done), rate: rateText(done, Date.now() - started) })
  return {
    start: (bytes) => bar.start(bytes, 0, { ...payload(), all: bytesText(bytes) }),
    add: (bytes) => {
      done += bytes
      bar.update(done, payload())
    },
    stop: () => bar.stop(),
  }
}

/** One line on a terminal that says how it stands, written over again. In a pipe it is quiet. */
export interface StatusLine {
  show(text: string): void
  stop(): void
}

/** @param quiet - no line even on a terminal. */
export function statusLine(quiet: boolean): StatusLine {
  if (quiet || !process.stderr.isTTY) return { show: () => undefined, stop: () => undefined }
  const clear = '\r\u001b[K'
  return {
    show: (text) => process.stderr.write(`${clear}${text.slice(0, process.stderr.columns)}`),
    stop: () => process.stderr.write(clear),
  }
}
