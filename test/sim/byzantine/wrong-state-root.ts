/** Proposes blocks whose header states another state, other receipts, or another history than they lead to. */
import { encodeHeader } from '../../../src/ledger/header.ts'
import { forging } from './attack.ts'

export const wrongStateRoot = forging(async ({ random }, { body, header }) => {
  const wrong = random.bytes(32)
  const change = random.pick([{ stateRoot: wrong }, { receiptsRoot: wrong }, { historyRoot: wrong }, { txRoot: wrong }])
  return { header: encodeHeader({ ...header, ...change }), body }
})
