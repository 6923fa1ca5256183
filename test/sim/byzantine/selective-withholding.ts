/** In each view tells some validators everything and others nothing, so that they see different certificates. */
import type { InstitutionId } from '../../../src/core/ids.ts'
import { HONEST, type Traitor, othersOf } from './attack.ts'

export const selectiveWithholding: Traitor = (means) => {
  let view = 0
  let favoured: readonly InstitutionId[] = []
  return {
    ...HONEST,
    says: (to, bytes) => {
      const now = means.replica.state?.view ?? 0
      if (now !== view) {
        view = now
        const others = othersOf(means)
        favoured = means.random.some(others, means.random.between(0, others.length))
      }
      return favoured.includes(to) ? [{ bytes }] : []
    },
  }
}
