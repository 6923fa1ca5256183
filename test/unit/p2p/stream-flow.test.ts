import type { Stream } from '@libp2p/interface'
import { expect, test, vi } from 'vitest'
import { flushed } from '../../../src/p2p/stream-flow.ts'

/** A stream that still holds bytes, and passes a few on whenever the test says so. */
class HalfFullStream extends EventTarget {
  readonly status = 'open'
  writeBufferLength = 1_000
  writableNeedsDrain = true

  pass(bytes: number): void {
    this.writeBufferLength -= bytes
    this.writableNeedsDrain = this.writeBufferLength > 0
    this.dispatchEvent(new Event('drain'))
  }
}

test('what moves a little now and then, and is not sent in time, is STREAM_SLOW; what does not move is STREAM_STALLED', async () => {
  const stream = new HalfFullStream()
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setImmediate', 'performance'] })
  try {
    const sent = flushed(stream as unknown as Stream, 30_000, 120_000).catch((error: unknown) => error)
    for (let second = 0; second < 120; second += 10) {
      stream.pass(1)
      await vi.advanceTimersByTimeAsync(10_000)
    }
    expect(await sent).toMatchObject({ fault: { code: 'STREAM_SLOW', sendMs: 120_000 } })
    const stalled = flushed(stream as unknown as Stream, 30_000, 120_000).catch((error: unknown) => error)
    await vi.advanceTimersByTimeAsync(30_000)
    expect(await stalled).toMatchObject({ fault: { code: 'STREAM_STALLED', stallMs: 30_000 } })
    const taken = flushed(stream as unknown as Stream, 30_000, 120_000)
    stream.pass(stream.writeBufferLength)
    await vi.advanceTimersByTimeAsync(1)
    await taken
  } finally {
    vi.useRealTimers()
  }
})
