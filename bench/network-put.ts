/**
 * `network-put`: a file put at one of ten peers on this machine, from the CLI's start until its columns lie on all ten and the ledger has
 * them; beside the `put` into a single peer, per byte that leaves a process. CPU time of both sides, and their memory.
 */
import { join } from 'node:path'
import { DaemonNetwork, type DaemonPeer } from '../scripts/daemon-network.ts'
import { cliJson } from '../scripts/daemon-process.ts'
import type { PlacementStatus } from '../src/peer/placement-status.ts'
import { type Figure, beside, median, reaches, staysUnder } from './figure.ts'
import { mbPerS } from './limits.ts'
import { cpuMsOf, memoryOf, randomFile } from './machine.ts'

const MIB = 1024 * 1024
const PEERS = 10
const TABLE_MS_MAX = 180_000

interface Put {
  readonly bytes: number
  readonly tookMs: number
  readonly placement: PlacementStatus
}

export async function benchNetworkPut(options: { quick: boolean }): Promise<Figure[]> {
  const bytes = (options.quick ? 64 : 1024) * MIB
  const rounds = options.quick ? 1 : 3
  const largeBytes = options.quick ? 128 * MIB : 10_000_000_000
  const alone = await putAlone(bytes, rounds)
  await using network = await DaemonNetwork.start({ count: PEERS, config: { store: { capacity: '64 GiB' } } })
  await network.connected()
  const from = network.peer(0)
  await cliJson('dist', from.args('key', 'create', 'bench'))
  await tableOfAll(from, network.folder)
  const file = join(network.folder, 'input.bin')
  await randomFile(file, bytes)
  const rates: number[] = []
  const cpu = { from: [] as number[], holders: [] as number[] }
  for (let round = 0; round < rounds; round++) {
    const before = await cpuOf(network)
    const { placement, tookMs } = await cliJson<Put>('dist', from.args('put', file, '--restart'))
    if (placement.state !== 'placed' || placement.held !== PEERS) throw new Error(JSON.stringify(placement))
    const after = await cpuOf(network)
    rates.push(mbPerS(placement.bytesPushed, tookMs))
    const pushedMib = placement.bytesPushed / MIB
    cpu.from.push(((after[0] ?? 0) - (before[0] ?? 0)) / pushedMib)
    const holdersMs = after.slice(1).reduce((sum, ms, at) => sum + ms - (before[at + 1] ?? 0), 0)
    cpu.holders.push(holdersMs / pushedMib)
  }
  await randomFile(file, largeBytes)
  await cliJson('dist', from.args('put', file, '--restart'))
  const [uploader = 0, ...holders] = await Promise.all(
    network.peers.map(async ({ daemon }) => memoryOf(daemon.pid, 'VmHWM')),
  )
  const largeMib = Math.round(largeBytes / MIB)
  return [
    reaches('network-put', 'put over ten peers, bytes that leave the uploader', median(rates), 'MB/s', alone, 0.35),
    beside('network-put', 'CPU of the uploading daemon for a MiB that leaves it', median(cpu.from), 'ms', 1),
    beside('network-put', 'CPU of the holders for a MiB', median(cpu.holders), 'ms', 1),
    staysUnder('network-put', `uploader of ${largeMib} MiB, largest RSS`, uploader / MIB, 'MiB', 400),
    staysUnder('network-put', 'holder with the largest RSS', Math.max(...holders) / MIB, 'MiB', 400),
  ]
}

/** MB/s of `put` into a peer that is alone. */
async function putAlone(bytes: number, rounds: number): Promise<number> {
  await using network = await DaemonNetwork.start({ count: 1 })
  const peer = network.peer(0)
  await cliJson('dist', peer.args('key', 'create', 'bench'))
  const file = join(network.folder, 'input.bin')
  await randomFile(file, bytes)
  const rates: number[] = []
  for (let round = 0; round < rounds; round++) {
    const { tookMs } = await cliJson<Put>('dist', peer.args('put', file, '--restart'))
    rates.push(mbPerS(bytes, tookMs))
  }
  return median(rates)
}

/** Waits until objects are placed on all peers: each try is a small one. */
async function tableOfAll(from: DaemonPeer, folder: string): Promise<void> {
  const file = join(folder, 'small.bin')
  await randomFile(file, MIB)
  for (const untilMs = Date.now() + TABLE_MS_MAX; ; ) {
    const { placement } = await cliJson<Put>('dist', from.args('put', file, '--restart'))
    if (placement.columns === PEERS) return
    if (Date.now() > untilMs) throw new Error(`no table of ${PEERS} peers: ${JSON.stringify(placement)}`)
  }
}

/** CPU time so far, uploader first, in milliseconds. */
function cpuOf(network: DaemonNetwork): Promise<number[]> {
  return Promise.all(network.peers.map(async ({ daemon }) => cpuMsOf(daemon.pid)))
}
