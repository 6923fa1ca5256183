/** Says nothing, for seconds at a time or for ever. */
import { HONEST, type Traitor, often } from './attack.ts'

export const silence: Traitor = (means) => {
  let silent = true
  const isForEver = means.random.chance(0.5)
  often(means, 4_000, () => {
    silent = isForEver || !silent
  })
  return { ...HONEST, says: (_to, bytes) => (silent ? [] : [{ bytes }]) }
}
