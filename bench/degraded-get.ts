/**
 * `degraded-get`: a file read at one of ten peers that lies on all of them, first with all there, then with as many killed as its code
 * has parity, those with data first. Beside the healthy speed of the same run; and how long the stream stands still at the kill.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DaemonNetwork } from '../scripts/daemon-network.ts'
import { cliJson } from '../scripts/daemon-process.ts'
import { byBlocksGiven, contentOfRecord, streamed, tableOf } from '../scripts/placed-reads.ts'
import { type Figure, beside, median, reaches, staysUnder } from './figure.ts'
import { storeAndGrant } from './get.ts'
import { mbPerS } from './limits.ts'
import { randomFile } from './machine.ts'

const MIB = 1024 * 1024
const STALL_MS_MAX = 2_000

/** Peers, and the code that so many have. */
const FULL = { peers: 10, data: 6, parity: 4 }
const QUICK = { peers: 4, data: 2, parity: 2 }

export async function benchDegradedGet(options: { quick: boolean }): Promise<Figure[]> {
  const { data, parity, peers } = options.quick ? QUICK : FULL
  const bytes = (options.quick ? 48 : 256) * MIB
  const rounds = options.quick ? 1 : 3
  await using network = await DaemonNetwork.start({ count: peers })
  const [storer, reader] = [network.peer(0), network.peer(1)]
  await tableOf(network, data + parity)
  const file = join(network.folder, 'input.bin')
  await randomFile(file, bytes)
  const record = await storeAndGrant(network, file)
  const content = await contentOfRecord(reader, record)
  const get = async (): Promise<number> => {
    const out = join(network.folder, 'output.bin')
    await rm(out, { force: true })
    const started = performance.now()
    await cliJson('dist', reader.args('get', record, '--out', out))
    return mbPerS(bytes, performance.now() - started)
  }
  const healthy: number[] = []
  for (let round = 0; round < rounds; round++) healthy.push(await get())
  const whole = await streamed(reader, content, 0, () => undefined)
  const victims = (await byBlocksGiven(network, reader)).filter((peer) => peer !== storer).slice(0, parity)
  const kill = (): void => victims.forEach((peer) => peer.signal('SIGKILL'))
  const broken = await streamed(reader, content, Math.floor(whole.bytes / 3), kill)
  if (broken.hash !== whole.hash) throw new Error('what came after the kill was not what was stored')
  const degraded: number[] = []
  for (let round = 0; round < rounds; round++) degraded.push(await get())
  const code = `${data}+${parity}`
  const killed = `${victims.length} of ${peers} killed, ${code}`
  return [
    reaches('degraded-get', `get with ${killed}`, median(degraded), 'MB/s', median(healthy), 0.5),
    staysUnder('degraded-get', 'longest pause at the moment of the kill', broken.pauseMs, 'ms', STALL_MS_MAX),
    beside('degraded-get', 'longest pause while all are there', whole.pauseMs, 'ms', STALL_MS_MAX),
  ]
}
