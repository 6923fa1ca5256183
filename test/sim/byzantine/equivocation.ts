/** Proposes one block to some and another, as good, to the others; votes for both. */
import { buildOther, forging, setOf } from './attack.ts'

export const equivocation = forging(
  (means, honest) => buildOther(means, honest, {}),
  (means, to) => setOf(means).validators.findIndex(({ institution }) => institution === to) % 2 === 0,
)
