// Real daemons as processes of their own. The one that places an object is killed while it does, again and again.
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { randomFile } from '../../bench/machine.ts'
import { DaemonNetwork } from '../../scripts/daemon-network.ts'
import { cliJson } from '../../scripts/daemon-process.ts'
import type { PlacementStatus } from '../../src/peer/placement-status.ts'

const MIB = 1024 * 1024
const KILLS = 3
const TEST_MS = 600_000

test(
  'a peer that is killed while it places an object goes on when it is started again, and places all of it',
  async () => {
    await using network = await DaemonNetwork.start({ count: 5 })
    const from = network.peer(1)
    await cliJson('dist', from.args('key', 'create', 'storer'))
    const file = join(network.folder, 'input.bin')
    await randomFile(file, 192 * MIB)
    const { manifest } = await cliJson<{ manifest: { '/': string } }>('dist', from.args('put', file, '--no-wait'))
    const status = (): Promise<PlacementStatus> => from.get(`/objects/${manifest['/']}/placement`)
    for (let kill = 0; kill < KILLS; kill++) {
      let last: PlacementStatus | undefined
      await vi.waitFor(
        async () => {
          last = await status()
          expect(last.state === 'placed' || last.bytesPlaced > kill * 16 * MIB).toBe(true)
        },
        { timeout: 120_000, interval: 5 },
      )
      if (last?.state === 'placed') break
      from.signal('SIGKILL')
      await from.stop()
      await from.restart()
    }
    await vi.waitFor(async () => expect(await status()).toMatchObject({ state: 'placed', columns: 4, held: 4 }), {
      timeout: 240_000,
      interval: 200,
    })
  },
  TEST_MS,
)
