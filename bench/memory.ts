/** `memory`: resident memory of both daemons while a large file is put and fetched; an idle peer; how soon it listens. */
import { rm } from 'node:fs/promises'
import { setTimeout as waitMs } from 'node:timers/promises'
import { join } from 'node:path'
import { DaemonNetwork } from '../scripts/daemon-network.ts'
import { cliJson } from '../scripts/daemon-process.ts'
import { type Figure, median, staysUnder } from './figure.ts'
import { storeAndGrant } from './get.ts'
import { memoryOf, randomFile } from './machine.ts'

const MIB = 1024 * 1024
const IDLE_MS = 20_000

export async function benchMemory(options: { quick: boolean }): Promise<Figure[]> {
  const bytes = (options.quick ? 256 : 4096) * MIB
  const starts: number[] = []
  await using network = await DaemonNetwork.start({ count: 2 })
  const [from, to] = [network.peer(0), network.peer(1)]
  for (let round = 0; round < (options.quick ? 1 : 5); round++) {
    await to.daemon.stop()
    await to.restart()
    starts.push(to.daemon.startedMs)
  }
  await network.connected()
  await waitMs(options.quick ? 2_000 : IDLE_MS)
  const idle = await memoryOf(to.daemon.pid, 'VmRSS')
  const file = join(network.folder, 'input.bin')
  await randomFile(file, bytes)
  const record = await storeAndGrant(network, file)
  const putting = await memoryOf(from.daemon.pid, 'VmHWM')
  const out = join(network.folder, 'output.bin')
  await cliJson('dist', to.args('get', record, '--out', out))
  await rm(out)
  const serving = await memoryOf(from.daemon.pid, 'VmHWM')
  const getting = await memoryOf(to.daemon.pid, 'VmHWM')
  return [
    staysUnder('memory', 'idle peer, RSS', idle / MIB, 'MiB', 200),
    staysUnder('memory', 'start to listening', median(starts), 'ms', 2_000),
    staysUnder('memory', `peer that stores ${bytes / MIB} MiB, largest RSS`, putting / MIB, 'MiB', 350),
    staysUnder('memory', 'peer that serves it, largest RSS', serving / MIB, 'MiB', 350),
    staysUnder('memory', 'peer that fetches it, largest RSS', getting / MIB, 'MiB', 350),
  ]
}
