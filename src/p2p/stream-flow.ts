/**
 * Back-pressure of libp2p streams.
 *
 * `send()` returning false means "the transport is full", but nothing bounds what is then appended, and `onDrain()` of
 * `@libp2p/utils` 7 settles at once after its first use (its promise is never renewed). So writers here wait for the
 * stream's own write buffer to be empty: the muxer and the encrypter below still hold enough to keep the line busy.
 */
import type { Stream } from '@libp2p/interface'
import { CodedError } from '../core/coded-error.ts'

export type StreamFault = { code: 'STREAM_STALLED'; stallMs: number } | { code: 'STREAM_CLOSED' }
export class StreamError extends CodedError<StreamFault> {}

/**
 * Waits until everything sent so far has left the stream's write buffer.
 *
 * @param stallMs - longest time without one byte leaving.
 * @throws {StreamError} `STREAM_STALLED`, `STREAM_CLOSED`.
 */
export function flushed(stream: Stream, stallMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    if (isClosed(stream)) {
      reject(new StreamError({ code: 'STREAM_CLOSED' }))
      return
    }
    let bufferedBytes = stream.writeBufferLength
    if (bufferedBytes === 0) {
      resolve()
      return
    }
    const end = (): void => {
      clearInterval(timer)
      stream.removeEventListener('idle', onIdle)
      stream.removeEventListener('close', onClose)
    }
    const onIdle = (): void => {
      if (stream.writeBufferLength > 0) return
      end()
      // An abort empties the buffer, too.
      if (isClosed(stream)) reject(new StreamError({ code: 'STREAM_CLOSED' }))
      else resolve()
    }
    const onClose = (): void => {
      end()
      reject(new StreamError({ code: 'STREAM_CLOSED' }))
    }
    const timer = setInterval(() => {
      if (stream.writeBufferLength < bufferedBytes) {
        bufferedBytes = stream.writeBufferLength
        return
      }
      end()
      reject(new StreamError({ code: 'STREAM_STALLED', stallMs }))
    }, stallMs)
    timer.unref()
    stream.addEventListener('idle', onIdle)
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
