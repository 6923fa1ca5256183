/** Votes for everything that it hears of, in every way: two blocks in one view, and the view given up as well. */
import type { Ballot } from '../../../src/ledger/vote.ts'
import { HONEST, type Means, type Traitor, read, signAnything, tell } from './attack.ts'

const KINDS = ['notarize', 'finalize', 'nullify'] as const

export const doubleVotes: Traitor = (means) => {
  const voted = new Set<string>()
  return {
    ...HONEST,
    hears: (_from, bytes) => {
      const message = read(bytes)
      if (message?.type === 'vote' || message?.type === 'proposal') voteForAll(means, voted, message.vote)
    },
  }
}

/** All that can be voted about a view and a block. */
export function voteForAll(means: Means, voted: Set<string>, { block, epoch, view }: Ballot): void {
  for (const kind of KINDS) {
    if (kind !== 'nullify' && block === undefined) continue
    const ballot: Ballot =
      kind === 'nullify' || block === undefined ? { epoch, view, kind } : { epoch, view, kind, block }
    const name = `${epoch} ${view} ${kind} ${ballot.block ?? ''}`
    if (voted.has(name)) continue
    voted.add(name)
    signAnything(means, ballot).then(
      (vote) => {
        if (vote !== undefined) tell(means, { type: 'vote', vote })
      },
      () => undefined,
    )
  }
}
