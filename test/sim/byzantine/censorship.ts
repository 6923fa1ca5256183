/** As a leader leaves out the transactions of one institution. */
import { HONEST, type Traitor, setOf } from './attack.ts'

export const censorship: Traitor = (means) => {
  const victim = means.random.pick(setOf(means).validators).institution
  return { ...HONEST, takes: ({ body }) => body.org !== victim }
}
