/** Small consortiums of real daemons for the benches, on free ports, in a folder that goes afterwards. */
import { createWriteStream } from 'node:fs'
import { randomFillSync } from 'node:crypto'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CliEntry, type Daemon, cliJson, startDaemon, writePeerConfig } from '../scripts/daemon-process.ts'

export interface BenchPeer {
  readonly id: string
  readonly folder: string
  daemon: Daemon
  /** Arguments that make the CLI act at this peer. */
  args(...rest: string[]): string[]
  restart(): Promise<void>
}

/** Daemons `p0`, `p1`, …: all members, p0 validates; each later one dials the earlier ones. */
export class BenchNetwork implements AsyncDisposable {
  readonly folder: string
  readonly peers: readonly BenchPeer[]

  private constructor(folder: string, peers: readonly BenchPeer[]) {
    this.folder = folder
    this.peers = peers
  }

  static async start(count: number, entry: CliEntry = 'dist'): Promise<BenchNetwork> {
    const folder = await mkdtemp(join(tmpdir(), 'apotheca-bench-'))
    const passphrase = join(folder, 'passphrase')
    await writeFile(passphrase, 'bench only\n', { mode: 0o600 })
    const ids = Array.from({ length: count }, (_, index) => `p${index}`)
    const genesis = join(folder, 'genesis.json')
    const configs = new Map<string, string>()
    for (const id of ids) {
      const file = await writePeerConfig({ institution: id, folder: join(folder, id) }, genesis)
      configs.set(id, file)
      await cliJson(entry, ['peer', 'init', '--config', file])
    }
    const template = join(folder, 'template.json')
    const institutions = ids.map((id) => ({ id, name: id, role: 'hospital' }))
    await writeFile(template, JSON.stringify({ name: 'bench', institutions, validators: ['p0'] }))
    const identities = ids.map((id) => join(folder, id, 'data/identity.json'))
    await cliJson(entry, ['network', 'create', template, ...identities, '--out', genesis])
    const peers: BenchPeer[] = []
    for (const id of ids) {
      const members = peers.map((peer) => ({ institution: peer.id, address: peer.daemon.addresses[0] ?? '' }))
      const file = await writePeerConfig({ institution: id, folder: join(folder, id), members }, genesis)
      const log = join(folder, id, 'daemon.log')
      const peer: BenchPeer = {
        id,
        folder: join(folder, id),
        daemon: await startDaemon(entry, file, { log }),
        args: (...rest) => {
          const home = join(folder, id, 'home')
          return ['--home', home, '--peer', join(folder, id, 'data'), '--passphrase-file', passphrase, ...rest]
        },
        restart: async () => {
          peer.daemon = await startDaemon(entry, file, { log })
        },
      }
      peers.push(peer)
    }
    const network = new BenchNetwork(folder, peers)
    await network.connected(entry)
    return network
  }

  peer(index: number): BenchPeer {
    const peer = this.peers[index]
    if (peer === undefined) throw new Error(`there is no peer ${index}`)
    return peer
  }

  /** Waits until every peer sees every other. */
  async connected(entry: CliEntry = 'dist'): Promise<void> {
    const until = Date.now() + 30_000
    for (const peer of this.peers) {
      for (;;) {
        const status = await cliJson<{ members: { connected: boolean }[] }>(entry, peer.args('peer', 'status'))
        if (status.members.every((member) => member.connected)) break
        if (Date.now() > until) throw new Error(`${peer.id} did not reach the others`)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.peers.map(async ({ daemon }) => {
        // One that a bench has stopped in its tracks can't end in an orderly way.
        if (isRunning(daemon.pid)) process.kill(daemon.pid, 'SIGCONT')
        await daemon.stop()
      }),
    )
    await rm(this.folder, { recursive: true, force: true })
  }
}

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** A file of random bytes. */
export async function randomFile(path: string, bytes: number): Promise<void> {
  await mkdir(join(path, '..'), { recursive: true })
  const stream = createWriteStream(path)
  const piece = Buffer.allocUnsafe(4 * 1024 * 1024)
  for (let left = bytes; left > 0; left -= piece.length) {
    randomFillSync(piece)
    if (!stream.write(Buffer.from(piece.subarray(0, Math.min(left, piece.length))))) await once(stream, 'drain')
  }
  stream.end()
  await once(stream, 'close')
}

/** A line of /proc/PID/status, in bytes: `VmRSS`, or `VmHWM` for the largest so far. */
export async function memoryOf(pid: number, field: 'VmRSS' | 'VmHWM'): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]
  if (kib === undefined) throw new Error(`no ${field} of process ${pid}`)
  return Number(kib) * 1024
}
