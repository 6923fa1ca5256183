/** Says everything late. */
import { HONEST, type Traitor } from './attack.ts'

export const lateness: Traitor = ({ random }) => ({
  ...HONEST,
  says: (_to, bytes) => [{ bytes, delayMs: random.between(100, 4_000) }],
})
