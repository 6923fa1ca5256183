/** A holder of one column in a process of its own. Started by `forkHolder`. */
import { membersOf } from '../p2p/test-peer.ts'
import { type HolderTask, columnSource, makeExtent, startHolder } from './test-extent.ts'

process.once('disconnect', () => process.exit())
process.once('message', ({ column, members, shape, word }: HolderTask) => {
  membersOf(...members)
    .then(async (all) => startHolder(word, all, columnSource(makeExtent(shape), column)))
    .then(({ address }) => process.send?.(address))
    .catch((error: unknown) => {
      console.error(error)
      process.exit(1)
    })
})
