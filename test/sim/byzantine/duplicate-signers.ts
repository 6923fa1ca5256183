/** Makes certificates of too few votes: one vote counted several times, signers that did not sign, signatures of another ballot. */
import type { Certificate } from '../../../src/ledger/certificate.ts'
import { quorumOf } from '../../../src/ledger/validators.ts'
import type { Vote } from '../../../src/ledger/vote.ts'
import { HONEST, type Means, type Traitor, othersOf, read, setOf } from './attack.ts'
import { encodeMessage } from '../../../src/consensus/messages.ts'

export const duplicateSigners: Traitor = (means) => {
  let left = 60
  return {
    ...HONEST,
    hears: (_from, bytes) => {
      const message = read(bytes)
      if ((message?.type !== 'vote' && message?.type !== 'proposal') || left === 0) return
      left--
      const to = means.random.pick(othersOf(means))
      means.send(to, encodeMessage({ type: 'certificate', certificate: forgedOf(means, message.vote) }))
    },
  }
}

function forgedOf(means: Means, { block, epoch, kind, sig, signer, view }: Vote): Certificate {
  const { random } = means
  const { length } = setOf(means).validators
  const quorum = quorumOf(length)
  const claimed = random.pick([[signer], Array.from({ length: quorum }, (_one, index) => index)])
  const signers = new Uint8Array(Math.ceil(length / 8))
  for (const one of claimed) signers[one >> 3] = (signers[one >> 3] ?? 0) | (1 << (one & 7))
  const sigs = Array.from({ length: quorum }, () => sig)
  // For another kind the one signature that is real isn't either.
  const other = random.pick(['finalize', kind] as const)
  const ofBlock =
    block === undefined ? { kind: 'nullify' as const } : { kind: other === 'nullify' ? kind : other, block }
  return { epoch, view, ...ofBlock, signers, sigs }
}
