/** Which states a peer keeps for others: a real chain over many epochs, in memory. */
import { expect, test, vi } from 'vitest'
import { EPOCH_BLOCKS, SNAPSHOTS_ASKED_MAX, SNAPSHOT_ASKED_MS } from '../../../src/core/limits.ts'
import { FIRST_KEY } from '../../../src/ledger/state-range.ts'
import { SnapshotService } from '../../../src/peer/snapshot-source.ts'
import { MemoryLog, startPeer } from '../p2p/test-peer.ts'
import { LongChain } from './long-chain.ts'
import { TestNetwork } from './network.ts'

const WAIT = { timeout: 30_000, interval: 5 }
const GONE = 'SNAPSHOT_VERSION_GONE'

test('the end of an epoch stays as long as others fetch its state, and not longer, nor for ever', async () => {
  await using network = await TestNetwork.start({ peers: 1, started: 0, ageMs: 100 * 3_600_000 })
  await using bare = await startPeer('bare', new Set())
  const long = await LongChain.begin(network)
  const log = new MemoryLog()
  const { chain, store } = long
  let nowMs = 1_000_000
  const service = new SnapshotService({ chain, store, host: bare.host, clock: { nowMs: () => nowMs }, log })
  await service.start()
  const grow = async (epochs: number): Promise<void> => {
    const height = epochs * EPOCH_BLOCKS
    await long.grow(height, (at) => (at % EPOCH_BLOCKS === 0 ? 5 : 0))
    await vi.waitFor(
      () => expect(log.lines.map(({ fields }) => fields)).toContainEqual(expect.objectContaining({ height })),
      WAIT,
    )
  }
  const ask = async (epoch: number): Promise<Uint8Array> => service.chunk(epoch * EPOCH_BLOCKS, FIRST_KEY)
  await grow(2)
  const first = await ask(1)
  for (const epochs of [3, 4, 5]) {
    await grow(epochs)
    expect(await ask(1)).toEqual(first)
  }
  // Nobody asked for them; the last one and the one before stay without that.
  for (const epoch of [2, 3]) await expect(ask(epoch)).rejects.toThrow(GONE)
  await expect(ask(4)).resolves.toBeDefined()
  nowMs += SNAPSHOT_ASKED_MS
  await grow(6)
  await expect(ask(1)).rejects.toThrow(GONE)
  await expect(ask(4)).rejects.toThrow(GONE)
  await expect(ask(5)).resolves.toBeDefined()
  // One that is asked for again and again is given up when it is old.
  for (let epochs = 7; epochs <= 5 + SNAPSHOTS_ASKED_MAX; epochs++) {
    await grow(epochs)
    await expect(ask(5)).resolves.toBeDefined()
  }
  await grow(6 + SNAPSHOTS_ASKED_MAX)
  await expect(ask(5)).rejects.toThrow(GONE)
  await service.stop()
}, 240_000)
