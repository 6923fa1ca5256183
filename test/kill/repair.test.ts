// Real daemons as processes of their own. One lost its disk, and is killed again and again while it gets back what it held.
import { createHash, randomInt } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { randomFile } from '../../bench/machine.ts'
import { DaemonNetwork, type DaemonPeer } from '../../scripts/daemon-network.ts'
import { cliJson } from '../../scripts/daemon-process.ts'
import type { PeerStatus } from '../../src/peer/peer.ts'
import type { PlacementStatus } from '../../src/peer/placement-status.ts'

const MIB = 1024 * 1024
const KILLS = 5
const RATE = 4 * MIB
/** Beyond its rate repair may take one burst, and overdraw by one window of which all three sources give all. */
const OVERDRAFT = RATE + 12 * MIB
const TEST_MS = 900_000
const WAIT = { timeout: 240_000, interval: 50 }

const hashFile = async (path: string): Promise<string> => {
  const hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array)
  return hash.digest('hex')
}

test(
  'a peer that lost its blocks, and is killed while it gets them back, holds all of them in the end, within its rate',
  async () => {
    await using network = await DaemonNetwork.start({
      count: 4,
      config: { store: { repairRate: `${RATE / MIB} MiB` } },
    })
    const [from, others] = [network.peer(0), [1, 2, 3].map((index) => network.peer(index))]
    await cliJson('dist', from.args('key', 'create', 'storer'))
    const file = join(network.folder, 'input.bin')
    await randomFile(file, 96 * MIB)
    const { manifest } = await cliJson<{ manifest: { '/': string } }>('dist', from.args('put', file))
    const status = (at: DaemonPeer): Promise<PlacementStatus> => at.get(`/objects/${manifest['/']}/placement`)
    await vi.waitFor(async () => expect(await status(from)).toMatchObject({ state: 'placed', held: 4 }), WAIT)

    const [victim, ...rest] = others
    if (victim === undefined) throw new Error('nobody is killed')
    await victim.stop()
    await rm(join(victim.dataDir, 'blocks'), { recursive: true })
    await victim.restart()
    const overdrawn: number[] = []
    for (let kill = 0; kill < KILLS; kill++) {
      const enough = randomInt(1, 7) * MIB
      await vi.waitFor(async () => {
        const { repair, upMs } = await victim.get<PeerStatus>('/status')
        overdrawn.push(repair.fetchedBytes - (upMs / 1_000) * RATE - OVERDRAFT)
        expect(repair.mendedBytes).toBeGreaterThanOrEqual(enough)
      }, WAIT)
      victim.signal('SIGKILL')
      await victim.stop()
      await victim.restart()
    }
    await vi.waitFor(
      async () => {
        const { height, repair, upMs } = await victim.get<PeerStatus>('/status')
        const { columns, fetchedBytes, looked, notFound } = repair
        overdrawn.push(fetchedBytes - (upMs / 1_000) * RATE - OVERDRAFT)
        expect({ looked, columns, notFound }).toEqual({ looked: true, columns: 0, notFound: 0 })
        expect(height).toBe(await from.height())
        expect(await status(from)).toMatchObject({ held: 4 })
      },
      { timeout: 400_000, interval: 500 },
    )
    expect(Math.max(...overdrawn)).toBeLessThan(0)
    // Two of four columns are enough, and one of these two is the victim's.
    await Promise.all([from, rest[0]].map(async (peer) => peer?.stop()))
    const out = join(network.folder, 'output.bin')
    await cliJson('dist', [...from.args('get', manifest['/'], '--out', out), '--peer', victim.dataDir])
    expect(await hashFile(out)).toBe(await hashFile(file))
  },
  TEST_MS,
)
