/** Lost connections: tried again, from where it was. */
import { setTimeout as waitMs } from 'node:timers/promises'
import { RETRIES_MAX, RETRY_MS_MAX } from '../core/limits.ts'
import { CliError } from './faults.ts'

/** Repeats on lost connections only; waits longer each time. */
export async function withRetries<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt()
    } catch (error) {
      const code = error instanceof CliError ? error.fault.code : undefined
      if ((code !== 'PEER_UNREACHABLE' && code !== 'PEER_BROKE_OFF') || tried > RETRIES_MAX) throw error
      await waitMs(Math.min(100 * 2 ** tried, RETRY_MS_MAX), undefined, { signal })
    }
  }
}
