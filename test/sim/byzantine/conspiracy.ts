/** Too many traitors: each proposes two blocks in a view, one for each half, and votes for all that it hears of. */
import { type Traitor, read } from './attack.ts'
import { voteForAll } from './double-votes.ts'
import { equivocation } from './equivocation.ts'

export const conspiracy: Traitor = (means) => {
  const voted = new Set<string>()
  return {
    ...equivocation(means),
    hears: (_from, bytes) => {
      const message = read(bytes)
      if (message?.type === 'vote' || message?.type === 'proposal') voteForAll(means, voted, message.vote)
    },
  }
}
