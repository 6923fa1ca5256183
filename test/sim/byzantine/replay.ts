/** Says again, at any time and to anyone, what it and others said before. */
import { HONEST, type Traitor, often, othersOf } from './attack.ts'

const REMEMBERED = 200

export const replay: Traitor = (means) => {
  const heard: Uint8Array[] = []
  const remember = (bytes: Uint8Array): void => {
    if (heard.length < REMEMBERED) heard.push(bytes)
    else heard[means.random.between(0, REMEMBERED - 1)] = bytes
  }
  often(means, 150, () => {
    if (heard.length > 0) means.send(means.random.pick(othersOf(means)), means.random.pick(heard))
  })
  return {
    ...HONEST,
    says: (_to, bytes) => {
      remember(bytes)
      return [{ bytes }]
    },
    hears: (_from, bytes) => remember(bytes),
  }
}
