/** Kubo beside us, where an `ipfs` binary is on the path: `ipfs add` on one of its daemons, `ipfs cat` through another. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { median } from './figure.ts'
import { mbPerS } from './limits.ts'

const exec = promisify(execFile)

export interface KuboRates {
  /** Medians, MB/s. */
  readonly add: number
  readonly cat: number
}

/** @returns undefined where no `ipfs` is on the path. */
export async function measureKubo(options: {
  file: string
  bytes: number
  rounds: number
}): Promise<KuboRates | undefined> {
  if (
    await exec('ipfs', ['version']).then(
      () => false,
      () => true,
    )
  )
    return undefined
  const folder = await mkdtemp(join(tmpdir(), 'apotheca-kubo-'))
  const nodes = [join(folder, 'one'), join(folder, 'two')]
  const daemons: ChildProcess[] = []
  const adds: number[] = []
  const cats: number[] = []
  try {
    for (const repo of nodes) daemons.push(await startKubo(repo))
    const [one = '', two = ''] = nodes
    const { stdout } = await ipfs(one, 'id', '-f', '<addrs>')
    await ipfs(two, 'swarm', 'connect', stdout.trim().split('\n')[0] ?? '')
    for (let round = 0; round < options.rounds; round++) {
      let started = performance.now()
      const added = await ipfs(
        one,
        'add',
        '-Q',
        '--cid-version=1',
        '--raw-leaves',
        '--chunker=size-1048576',
        options.file,
      )
      adds.push(mbPerS(options.bytes, performance.now() - started))
      const cid = added.stdout.trim()
      started = performance.now()
      await ipfs(two, 'get', '-o', join(folder, `out-${round}`), cid)
      cats.push(mbPerS(options.bytes, performance.now() - started))
      for (const repo of nodes) {
        if (repo === one) await ipfs(repo, 'pin', 'rm', cid)
        await ipfs(repo, 'repo', 'gc', '-q')
      }
    }
  } finally {
    for (const daemon of daemons) daemon.kill()
    await Promise.all(daemons.map(async (daemon) => new Promise((resolve) => daemon.once('close', resolve))))
    await rm(folder, { recursive: true, force: true })
  }
  return { add: median(adds), cat: median(cats) }
}

async function ipfs(repo: string, ...args: string[]): Promise<{ stdout: string }> {
  return exec('ipfs', args, { env: { ...process.env, IPFS_PATH: repo }, maxBuffer: 64 * 1024 * 1024 })
}

/** A daemon on free loopback ports, with no bootstrap and no routing: it never leaves this machine. */
async function startKubo(repo: string): Promise<ChildProcess> {
  await ipfs(repo, 'init', '--empty-repo')
  await ipfs(repo, 'bootstrap', 'rm', '--all')
  const settings: [string, string][] = [
    ['Addresses.Swarm', '["/ip4/127.0.0.1/tcp/0"]'],
    ['Addresses.API', '"/ip4/127.0.0.1/tcp/0"'],
    ['Addresses.Gateway', '""'],
    ['Routing.Type', '"none"'],
    ['AutoTLS.Enabled', 'false'],
    ['Discovery.MDNS.Enabled', 'false'],
    ['Swarm.DisableNatPortMap', 'true'],
  ]
  for (const [name, value] of settings) await ipfs(repo, 'config', '--json', name, value)
  const daemon = spawn('ipfs', ['daemon'], {
    env: { ...process.env, IPFS_PATH: repo },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  await new Promise<void>((resolve, reject) => {
    daemon.stdout.on('data', (text: Buffer) => {
      if (text.includes('Daemon is ready')) resolve()
    })
    daemon.once('close', () => reject(new Error('the Kubo daemon ended')))
  })
  return daemon
}
