/** Votes in the name of others: with their index under its own signature, and with its own index under theirs. */
import { HONEST, type Traitor, read, setOf, tell } from './attack.ts'

export const impersonation: Traitor = (means) => {
  let left = 40
  return {
    ...HONEST,
    hears: (_from, bytes) => {
      const message = read(bytes)
      if (message?.type !== 'vote' || left === 0) return
      left--
      const { vote } = message
      const signer = setOf(means).validators.findIndex(({ institution }) => institution === means.institution)
      if (signer === -1) return
      const forged = means.random.chance(0.5) ? { ...vote, sig: means.random.bytes(64) } : { ...vote, signer }
      tell(means, { type: 'vote', vote: forged })
    },
  }
}
