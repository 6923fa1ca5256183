/**
 * `repair`: one of five peers on this machine lost its disk, and rebuilds its column of each extent from the others; bytes that come to it
 * in a second, beside what its config allows. Once with a cap that binds, once with one that doesn't, and then beside the rate of `get`.
 */
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as waitMs } from 'node:timers/promises'
import { DaemonNetwork, type DaemonPeer } from '../scripts/daemon-network.ts'
import { cliJson } from '../scripts/daemon-process.ts'
import type { PlacementStatus } from '../src/peer/placement-status.ts'
import type { PeerStatus } from '../src/peer/peer.ts'
import { type Figure, beside, reaches, staysUnder } from './figure.ts'
import { mbPerS } from './limits.ts'
import { cpuMsOf, memoryOf, randomFile } from './machine.ts'

const MIB = 1024 * 1024
const PEERS = 5
const REPAIR_MS_MAX = 600_000
const POLL_MS = 20
const CAP_MIB = 16
/** More than this machine moves. */
const NO_CAP_MIB = 16 * 1024

interface Put {
  readonly manifest: { '/': string }
  readonly placement: PlacementStatus
}

interface Repaired {
  readonly mbPerS: number
  readonly cpuMsPerMib: number
  readonly rssMib: number
}

export async function benchRepair(options: { quick: boolean }): Promise<Figure[]> {
  const bytes = (options.quick ? 64 : 1024) * MIB
  const cappedBytes = (options.quick ? 32 : 192) * MIB
  const capped = await repairOnce(cappedBytes, CAP_MIB)
  const free = await repairOnce(bytes, NO_CAP_MIB)
  const cap = (CAP_MIB * MIB) / 1e6
  return [
    staysUnder('repair', `bytes that come in a second at a cap of ${CAP_MIB} MiB`, capped.mbPerS, 'MB/s', cap * 1.1),
    reaches('repair', 'the same, of the cap', capped.mbPerS, 'MB/s', cap, 0.7),
    beside('repair', 'bytes that come in a second without a cap', free.mbPerS, 'MB/s', cap),
    beside('repair', 'CPU of the repairing daemon for a MiB that comes', free.cpuMsPerMib, 'ms', 1),
    staysUnder('repair', 'largest RSS of the repairing daemon', free.rssMib, 'MiB', 400),
  ]
}

/** A peer loses its blocks, and is started again. */
async function repairOnce(bytes: number, capMib: number): Promise<Repaired> {
  await using network = await DaemonNetwork.start({ count: PEERS, config: { store: { capacity: '32 GiB' } } })
  const [from, victim] = [network.peer(0), network.peer(1)]
  await cliJson('dist', from.args('key', 'create', 'bench'))
  await tableOfAll(network)
  const file = join(network.folder, 'input.bin')
  // Every peer has a column of four in five extents: enough of them that this one has some.
  const objects = 8
  for (let object = 0; object < objects; object++) {
    await randomFile(file, Math.round(bytes / objects))
    await cliJson('dist', from.args('put', file, '--restart'))
  }
  await victim.stop()
  await rm(join(victim.dataDir, 'blocks'), { recursive: true })
  const config = JSON.parse(await readFile(victim.config, 'utf8')) as { store: Record<string, unknown> }
  config.store = { ...config.store, repairRate: `${capMib} MiB` }
  await writeFile(victim.config, JSON.stringify(config))
  await victim.restart()
  return await measured(victim)
}

async function measured(victim: DaemonPeer): Promise<Repaired> {
  const { pid } = victim.daemon
  let first: { readonly atMs: number; readonly bytes: number; readonly cpuMs: number } | undefined
  for (const untilMs = performance.now() + REPAIR_MS_MAX; performance.now() < untilMs; await waitMs(POLL_MS)) {
    const { repair } = await victim.get<PeerStatus>('/status')
    const now = { atMs: performance.now(), bytes: repair.fetchedBytes, cpuMs: await cpuMsOf(pid) }
    // The burst that follows the start isn't its pace.
    if (first === undefined && now.bytes > 0) first = now
    if (first === undefined || repair.columns > 0 || repair.mendedColumns === 0) continue
    const bytes = now.bytes - first.bytes
    return {
      mbPerS: mbPerS(bytes, now.atMs - first.atMs),
      cpuMsPerMib: (now.cpuMs - first.cpuMs) / (bytes / MIB),
      rssMib: (await memoryOf(pid, 'VmHWM')) / MIB,
    }
  }
  throw new Error('the peer did not get its columns back')
}

/** Waits until what is put is placed on all columns of a table of 2+2. */
async function tableOfAll(network: DaemonNetwork): Promise<void> {
  const from = network.peer(0)
  const file = join(network.folder, 'small.bin')
  await randomFile(file, MIB)
  for (const untilMs = Date.now() + REPAIR_MS_MAX; Date.now() < untilMs; ) {
    const { placement } = await cliJson<Put>('dist', from.args('put', file, '--restart'))
    if (placement.columns === 4 && placement.held === 4) return
  }
  throw new Error('there is no table of 2+2')
}
