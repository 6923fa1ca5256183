/**
 * Back-pressure of libp2p streams.
 *
 * `send()` returning false means "the transport is full", but nothing bounds what is then appended, and `onDrain()` of
 * `@libp2p/utils` 7 settles at once after its first use (its promise is never renewed). So writers here wait for the
 * stream's own write buffer to be empty, and for the transport to have room: the kernel still holds enough to keep the line busy.
 */
import type { Stream } from '@libp2p/interface'
import { CodedError } from '../core/coded-error.ts'

export type StreamFault =
  | { code: 'STREAM_STALLED'; stallMs: number }
  | { code: 'STREAM_SLOW'; sendMs: number }
  | { code: 'STREAM_CLOSED' }
export class StreamError extends CodedError<StreamFault> {}

/**
 * Waits until everything sent so far has left the stream's write buffer, the transport takes more, and every other stream
 * of the connection has had its turn. Without the last, a bulk stream that is always ready starves pings, gossip and
 * requests: the muxer serves its streams in the order of their opening.
 *
 * @param stallMs - longest time in which nothing moves.
 * @param sendMs - longest time for all of it: a byte now and then is movement, too. @default no bound
 * @throws {StreamError} `STREAM_STALLED`, `STREAM_SLOW`, `STREAM_CLOSED`.
 */
export async function flushed(stream: Stream, stallMs: number, sendMs = Number.POSITIVE_INFINITY): Promise<void> {
  const endMs = performance.now() + sendMs
  do {
    while (stream.writeBufferLength > 0 || stream.writableNeedsDrain) {
      const leftMs = endMs - performance.now()
      if (leftMs <= 0) throw new StreamError({ code: 'STREAM_SLOW', sendMs })
      if (leftMs >= stallMs) await movement(stream, stallMs, { code: 'STREAM_STALLED', stallMs })
      else await movement(stream, leftMs, { code: 'STREAM_SLOW', sendMs })
    }
    // What the others send now, in their microtasks, may fill the transport again.
    await new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
  } while (!isClosed(stream) && stream.writableNeedsDrain)
  if (isClosed(stream)) throw new StreamError({ code: 'STREAM_CLOSED' })
}

/** Settles when the stream has passed something on. @throws {StreamError} `late` when it hasn't within `withinMs` */
function movement(stream: Stream, withinMs: number, late: StreamFault): Promise<void> {
  return new Promise((resolve, reject) => {
    if (isClosed(stream)) {
      reject(new StreamError({ code: 'STREAM_CLOSED' }))
      return
    }
    const end = (): void => {
      clearTimeout(timer)
      stream.removeEventListener('idle', onMove)
      stream.removeEventListener('drain', onMove)
      stream.removeEventListener('close', onClose)
    }
    const onMove = (): void => {
      end()
      resolve()
    }
    const onClose = (): void => {
      end()
      reject(new StreamError({ code: 'STREAM_CLOSED' }))
    }
    const timer = setTimeout(() => {
      end()
      reject(new StreamError(late))
    }, withinMs)
    timer.unref()
    stream.addEventListener('idle', onMove)
    stream.addEventListener('drain', onMove)
    stream.addEventListener('close', onClose)
  })
}

/** Whether nothing can be written any more. */
export function isClosed(stream: Stream): boolean {
  return stream.status !== 'open' && stream.status !== 'closing'
}

/** The pieces of a message, as they came from the transport: no copy. */
export function piecesOf(data: Uint8Array | Iterable<Uint8Array>): Iterable<Uint8Array> {
  return data instanceof Uint8Array ? [data] : data
}
