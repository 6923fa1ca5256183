/** Lost connections: tried again, from where it was. */
import { setTimeout as waitMs } from 'node:timers/promises'
import { RETRIES_MAX, RETRY_MS_MAX } from '../core/limits.ts'
import { faultOf } from '../core/coded-error.ts'

const PASSING: ReadonlySet<string> = new Set([
  'PEER_UNREACHABLE',
  'PEER_BROKE_OFF',
  'UPLOAD_BUSY',
  'UPLOAD_OFFSET',
  'API_RATE_LIMITED',
])

/** A lost connection; or the peer is still busy with the one that was lost before. */
function isPassing(error: unknown): boolean {
  return PASSING.has(faultOf(error)?.code ?? '')
}

/** Repeats after what passes by itself; waits longer each time. */
export async function withRetries<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt()
    } catch (error) {
      if (!isPassing(error) || tried > RETRIES_MAX) throw error
      await waitMs(Math.min(100 * 2 ** tried, RETRY_MS_MAX), undefined, { signal })
    }
  }
}
