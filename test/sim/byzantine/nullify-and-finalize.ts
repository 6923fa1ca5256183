/** Gives up each view in which it votes to finalize, and tells one half of the validators the one, the other half the other. */
import { HONEST, type Traitor, read, setOf, signAnything, tell } from './attack.ts'

export const nullifyAndFinalize: Traitor = (means) => ({
  ...HONEST,
  says: (to, bytes) => {
    const message = read(bytes)
    if (message?.type !== 'vote' || message.vote.kind !== 'finalize') return [{ bytes }]
    const index = setOf(means).validators.findIndex(({ institution }) => institution === to)
    if (index % 2 === 0) return [{ bytes }]
    const { epoch, view } = message.vote
    signAnything(means, { epoch, view, kind: 'nullify' }).then(
      (vote) => {
        if (vote !== undefined) tell(means, { type: 'vote', vote }, [to])
      },
      () => undefined,
    )
    return []
  },
})
