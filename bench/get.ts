/** `get`: a file fetched from another peer process, verified, opened, written; beside one raw libp2p stream and plain bitswap. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DaemonNetwork } from '../scripts/daemon-network.ts'
import { type Link, cliJson } from '../scripts/daemon-process.ts'
import { type Figure, beside, median, reaches } from './figure.ts'
import { measureKubo } from './kubo.ts'
import { mbPerS } from './limits.ts'
import { randomFile } from './machine.ts'
import { measureBitswap, measureRawStream } from './p2p-baseline.ts'

const MIB = 1024 * 1024

export async function benchGet(options: { quick: boolean }): Promise<Figure[]> {
  const bytes = (options.quick ? 128 : 1024) * MIB
  const rounds = options.quick ? 3 : 5
  const gets: number[] = []
  const raws: number[] = []
  const socketRaws: number[] = []
  const swaps: number[] = []
  await using network = await DaemonNetwork.start({ count: 2 })
  const [from, to] = [network.peer(0), network.peer(1)]
  const file = join(network.folder, 'input.bin')
  await randomFile(file, bytes)
  const record = await storeAndGrant(network, file)
  const out = join(network.folder, 'output.bin')
  for (let round = 0; round < rounds; round++) {
    raws.push((await measureRawStream({ bytes })).mbPerS)
    socketRaws.push((await measureRawStream({ bytes, encrypter: 'socket-tls' })).mbPerS)
    swaps.push((await measureBitswap({ bytes: Math.min(bytes, 256 * MIB) })).mbPerS)
    await rm(out, { force: true })
    const started = performance.now()
    await cliJson('dist', to.args('get', record, '--out', out))
    gets.push(mbPerS(bytes, performance.now() - started))
  }
  const kubo = await measureKubo({ file, bytes, rounds })
  const raw = median(raws)
  return [
    reaches('get', `get from another peer (${from.id} to ${to.id})`, median(gets), 'MB/s', raw, 0.5),
    beside('get', 'get, beside that stream with our TLS (0105)', median(gets), 'MB/s', median(socketRaws)),
    reaches('get', 'get, beside plain bitswap', median(gets), 'MB/s', median(swaps), 2),
    ...(kubo === undefined ? [] : [beside('get', 'Kubo: ipfs cat', kubo.cat, 'MB/s', raw)]),
  ]
}

/** Stores a file at p0 as a record of a patient, who grants it to an account at p1. @returns the record */
export async function storeAndGrant(network: DaemonNetwork, file: string): Promise<string> {
  const [from, to] = [network.peer(0), network.peer(1)]
  const patient = await cliJson<{ account: string }>('dist', from.args('key', 'create', 'patient'))
  const reader = await cliJson<{ account: string }>('dist', to.args('key', 'create', 'reader'))
  const { manifest } = await cliJson<{ manifest: Link }>('dist', from.args('put', file, '--as', 'patient'))
  const add = ['record', 'add', manifest['/'], '--patient', patient.account, '--category', 'imaging', '--as', 'patient']
  const { record } = await cliJson<{ record: string }>('dist', from.args(...add))
  const grant = ['consent', 'grant', record, '--to', reader.account, '--purpose', 'TREAT', '--as', 'patient']
  const { height } = await cliJson<{ height: number }>('dist', from.args(...grant))
  for (;;) {
    const status = await cliJson<{ height: number }>('dist', to.args('peer', 'status'))
    if (status.height >= height) return record
  }
}
