/** As a leader gives its block to some only, and to the others its vote for it; gives nobody a block that is asked for. */
import { HONEST, type Traitor, othersOf, read, tell } from './attack.ts'

export const withheldBody: Traitor = (means) => {
  const without = new Map<number, ReadonlySet<string>>()
  return {
    ...HONEST,
    says: (to, bytes) => {
      const message = read(bytes)
      if (message?.type === 'block') return []
      if (message?.type !== 'proposal') return [{ bytes }]
      const { view } = message.vote
      const others = othersOf(means)
      const deprived = without.get(view) ?? new Set(means.random.some(others, means.random.between(1, others.length)))
      without.set(view, deprived)
      if (!deprived.has(to)) return [{ bytes }]
      tell(means, { type: 'vote', vote: message.vote }, [to])
      return []
    },
  }
}
