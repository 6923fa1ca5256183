/** All attacks, by name. */
import type { Traitor } from './attack.ts'
import { badJustification } from './bad-justification.ts'
import { censorship } from './censorship.ts'
import { doubleVotes } from './double-votes.ts'
import { duplicateSigners } from './duplicate-signers.ts'
import { equivocation } from './equivocation.ts'
import { flood } from './flood.ts'
import { futureTime } from './future-time.ts'
import { hostileCbor } from './hostile-cbor.ts'
import { impersonation } from './impersonation.ts'
import { lateness } from './lateness.ts'
import { nullifyAndFinalize } from './nullify-and-finalize.ts'
import { replay } from './replay.ts'
import { selectiveWithholding } from './selective-withholding.ts'
import { silence } from './silence.ts'
import { withheldBody } from './withheld-body.ts'
import { wrongStateRoot } from './wrong-state-root.ts'

export const ATTACKS: Readonly<Record<string, Traitor>> = {
  'equivocating proposals': equivocation,
  'double votes': doubleVotes,
  'nullify and finalize': nullifyAndFinalize,
  silence,
  lateness,
  replay,
  impersonation,
  'body withheld from some': withheldBody,
  'wrong state root': wrongStateRoot,
  'bad justification': badJustification,
  'future time': futureTime,
  'duplicate signers': duplicateSigners,
  flood,
  'hostile CBOR': hostileCbor,
  'selective withholding': selectiveWithholding,
  censorship,
}
