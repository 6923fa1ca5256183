/** Sends as much as it can of what costs the others: votes for far views and unknown blocks, questions, wants, transactions. */
import { type ConsensusMessage, encodeMessage } from '../../../src/consensus/messages.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { HONEST, type Means, type Traitor, often, othersOf, setOf } from './attack.ts'

const BURST = 12

export const flood: Traitor = (means) => {
  often(means, 700, () => {
    const to = means.random.pick(othersOf(means))
    for (let count = 0; count < BURST; count++) means.send(to, encodeMessage(anything(means)))
  })
  return HONEST
}

function anything(means: Means): ConsensusMessage {
  const { random } = means
  const { epoch, validators } = setOf(means)
  const block = cborCid(random.bytes(32))
  const view = (means.replica.state?.view ?? 1) + random.pick([0, 1, 2, 60, 1_000_000])
  const signer = Math.max(
    0,
    validators.findIndex(({ institution }) => institution === means.institution),
  )
  const sig = random.bytes(64)
  return random.pick<ConsensusMessage>([
    { type: 'vote', vote: { epoch, view, kind: 'notarize', block, signer, sig } },
    { type: 'vote', vote: { epoch: epoch + random.between(0, 3), view, kind: 'nullify', signer, sig } },
    { type: 'ask', epoch, view: random.between(1, view) },
    { type: 'want', block },
    { type: 'block', header: random.bytes(40), body: random.bytes(40) },
    { type: 'transactions', envelopes: [random.bytes(100)] },
  ])
}
