/** Sends what is no message: deep nesting, lengths beyond the end, large and random bytes, a message with a byte too many. */
import { encodeMessage } from '../../../src/consensus/messages.ts'
import { HONEST, type Means, type Traitor, often, othersOf } from './attack.ts'

const DEEP = 50_000
const LARGE = 200_000

export const hostileCbor: Traitor = (means) => {
  often(means, 600, () => {
    for (const to of othersOf(means)) means.send(to, rubbish(means))
  })
  return HONEST
}

function rubbish({ random }: Means): Uint8Array {
  const message = encodeMessage({ type: 'ask', epoch: 0, view: 1 })
  return random.pick([
    () => new Uint8Array(DEEP).fill(0x81),
    () => new Uint8Array([0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    () => new Uint8Array([0x5a, 0xff, 0xff, 0xff, 0xff, 1]),
    () => new Uint8Array(LARGE),
    () => random.bytes(random.between(0, 80)),
    () => new Uint8Array([...message, 0]),
    () => message.slice(0, -1),
    () => message.with(random.between(0, message.length - 1), random.between(0, 255)),
  ])()
}
