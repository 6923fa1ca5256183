/** Proposes blocks of another time: an hour ahead, or a minute. */
import { buildOther, forging } from './attack.ts'

export const futureTime = forging((means, honest) =>
  buildOther(means, honest, { timeMs: honest.header.timeMs + means.random.pick([3_000, 60_000, 3_600_000]) }),
)
