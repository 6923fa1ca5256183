/** `put`: a file into a peer's durable store on the same machine, from the CLI's start to its "stored". */
import { join } from 'node:path'
import { DaemonNetwork } from '../scripts/daemon-network.ts'
import { cliJson } from '../scripts/daemon-process.ts'
import { type Figure, beside, median, reaches } from './figure.ts'
import { measureKubo } from './kubo.ts'
import { diskWriteLimit, mbPerS, sealAndHashLimit } from './limits.ts'
import { randomFile } from './machine.ts'

const MIB = 1024 * 1024

export async function benchPut(options: { quick: boolean }): Promise<Figure[]> {
  const bytes = (options.quick ? 128 : 1024) * MIB
  const rounds = options.quick ? 3 : 5
  await using network = await DaemonNetwork.start({ count: 1 })
  const peer = network.peer(0)
  await cliJson('dist', peer.args('key', 'create', 'bench'))
  const file = join(network.folder, 'input.bin')
  await randomFile(file, bytes)
  const puts: number[] = []
  const seals: number[] = []
  const disks: number[] = []
  for (let round = 0; round < rounds; round++) {
    seals.push(sealAndHashLimit(256 * MIB))
    disks.push(await diskWriteLimit(network.folder, bytes))
    const { tookMs } = await timed(peer.args('put', file))
    puts.push(mbPerS(bytes, tookMs))
  }
  const limit = Math.min(median(seals), median(disks))
  const kubo = await measureKubo({ file, bytes, rounds })
  return [
    reaches('put', 'put into one peer', median(puts), 'MB/s', limit, 0.5),
    beside('put', 'limit: seal + hash', median(seals), 'MB/s', limit),
    beside('put', 'limit: disk write + fsync', median(disks), 'MB/s', limit),
    ...(kubo === undefined ? [] : [beside('put', 'Kubo: ipfs add', kubo.add, 'MB/s', limit)]),
  ]
}

/** Wall time of the whole process, its start included. */
async function timed(args: string[]): Promise<{ tookMs: number }> {
  const started = performance.now()
  await cliJson('dist', args)
  return { tookMs: performance.now() - started }
}
