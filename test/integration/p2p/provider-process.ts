/** A block provider in a process of its own, for tests that kill or stop it. Started by `provider-child.ts`. */
import { BlockServer } from '../../../src/p2p/block-server.ts'
import type { ProviderTask } from './provider-child.ts'
import { range, TestSource } from './test-blocks.ts'
import { startPeer } from './test-peer.ts'

process.once('disconnect', () => process.exit())
process.once('message', (task: ProviderTask) => {
  provide(task).catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
})

async function provide(task: ProviderTask): Promise<void> {
  const { host, address, log } = await startPeer(task.word, new Set(task.members))
  await new BlockServer({ host, source: new TestSource(range(task.blocks), task.blockBytes), log }).start()
  process.send?.(address)
}
