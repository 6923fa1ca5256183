// Real daemons as processes of their own. Those that hold what is being read are killed, or stopped, while it is.
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { randomFile } from '../../bench/machine.ts'
import { DaemonNetwork, type DaemonPeer } from '../../scripts/daemon-network.ts'
import { type Link, cliJson } from '../../scripts/daemon-process.ts'
import { type Streamed, byBlocksGiven, contentOf, streamed, tableOf } from '../../scripts/placed-reads.ts'

const MIB = 1024 * 1024
const BYTES = 96 * MIB
const PARITY = 2
const TEST_MS = 300_000
const STALL_MS_MAX = 2_000

let network: DaemonNetwork
let storer: DaemonPeer
let reader: DaemonPeer
let content: string
let whole: Streamed

beforeAll(async () => {
  network = await DaemonNetwork.start({ count: 6 })
  storer = network.peer(0)
  await tableOf(network, 4)
  const file = join(network.folder, 'input.bin')
  await randomFile(file, BYTES)
  const { manifest } = await cliJson<{ manifest: Link }>('dist', storer.args('put', file, '--as', 'bench'))
  reader = network.peer(1)
  content = await contentOf(reader, manifest['/'])
  whole = await streamed(reader, content, 0, () => undefined)
}, 600_000)
afterAll(async () => network[Symbol.asyncDispose]())

test(
  'when m holders of the data are stopped in mid-read, every byte comes, without a pause of two seconds',
  async () => {
    const stopped = (await byBlocksGiven(network, reader)).filter((peer) => peer !== storer).slice(0, PARITY)
    try {
      const stop = (): void => stopped.forEach((peer) => peer.signal('SIGSTOP'))
      const { hash, pauseMs } = await streamed(reader, content, BYTES / 3, stop)
      expect(hash).toBe(whole.hash)
      expect(pauseMs).toBeLessThan(STALL_MS_MAX)
    } finally {
      stopped.forEach((peer) => peer.signal('SIGCONT'))
    }
  },
  TEST_MS,
)

test(
  'when m holders of the data are killed in mid-read, every byte comes, without a pause of two seconds',
  async () => {
    await network.connected()
    const killed = (await byBlocksGiven(network, reader)).filter((peer) => peer !== storer).slice(0, PARITY)
    const kill = (): void => killed.forEach((peer) => peer.signal('SIGKILL'))
    const { hash, pauseMs } = await streamed(reader, content, BYTES / 3, kill)
    expect(hash).toBe(whole.hash)
    expect(pauseMs).toBeLessThan(STALL_MS_MAX)
  },
  TEST_MS,
)
