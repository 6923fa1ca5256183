/** Small consortiums of real daemons for benches and kill tests, in a folder that goes afterwards. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { randomInt } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as waitMs } from 'node:timers/promises'
import { type CliEntry, type Daemon, cliJson, startDaemon, writePeerConfig } from './daemon-process.ts'

/** Every daemon has an address of its own, so the ports never collide, and stay the same when it is started again. */
const PEER_PORT = 24_100
const API_PORT = 24_101
const CONNECTED_MS_MAX = 60_000
const POLL_MS = 50

/** Where a daemon runs. */
export interface DaemonPlace {
  /** IPv4 address that other peers reach. */
  readonly host: string
  /** Address of its HTTP API. */
  readonly apiHost: string
  /** Command that starts it there, such as `ip netns exec NAME`. */
  readonly within: readonly string[]
}

export interface DaemonNetworkOptions {
  readonly count: number
  /** How many of them validate, from the first. @default 1 */
  readonly validators?: number
  /** @default 'dist' */
  readonly entry?: CliEntry
  /** Of a peer, by index. @default a loopback address of its own */
  readonly place?: (index: number) => DaemonPlace
  /** Parts of each config that differ from the usual. */
  readonly config?: Readonly<Record<string, unknown>>
  /** Parameters of storage in the genesis; see docs/spec/genesis.md. */
  readonly storage?: Readonly<Record<string, number>>
  /** Peer ids of other IPFS programs that the genesis admits, for the first institution. */
  readonly guests?: readonly string[]
  /** Runs when the genesis is there, and no daemon. */
  readonly beforeStart?: (network: DaemonNetwork) => Promise<void>
}

export interface DaemonApi {
  readonly url: string
  readonly token: string
}

/** One peer: its folder, and the daemon that runs there now or ran there last. */
export class DaemonPeer {
  readonly id: string
  readonly folder: string
  readonly config: string
  readonly #entry: CliEntry
  readonly #within: readonly string[]
  readonly #passphrase: string
  readonly #guests: readonly string[]
  #daemon: Daemon | undefined

  constructor(
    at: { readonly id: string; readonly folder: string; readonly config: string },
    how: {
      readonly entry: CliEntry
      readonly within: readonly string[]
      readonly passphrase: string
      readonly guests: readonly string[]
    },
  ) {
    this.id = at.id
    this.folder = at.folder
    this.config = at.config
    this.#entry = how.entry
    this.#within = how.within
    this.#passphrase = how.passphrase
    this.#guests = how.guests
  }

  get daemon(): Daemon {
    if (this.#daemon === undefined) throw new Error(`${this.id} was never started`)
    return this.#daemon
  }

  get dataDir(): string {
    return join(this.folder, 'data')
  }

  get log(): string {
    return join(this.folder, 'daemon.log')
  }

  /** Arguments that make the CLI act at this peer. */
  args(...rest: string[]): string[] {
    const home = join(this.folder, 'home')
    return ['--home', home, '--peer', this.dataDir, '--passphrase-file', this.#passphrase, ...rest]
  }

  /** Starts the daemon, or starts it again. */
  async restart(): Promise<void> {
    this.#daemon = await startDaemon(this.#entry, this.config, { log: this.log, within: this.#within })
  }

  /** Where its HTTP API is now. */
  async api(): Promise<DaemonApi> {
    return JSON.parse(await readFile(join(this.dataDir, 'api.json'), 'utf8')) as DaemonApi
  }

  async get<T>(path: string): Promise<T> {
    const { token, url } = await this.api()
    const headers = { authorization: `Bearer ${token}` }
    const answer = await fetch(`${url}/api/v1${path}`, { headers, signal: AbortSignal.timeout(10_000) })
    if (!answer.ok) throw new Error(`${this.id} ${path}: HTTP ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as T
  }

  /** Whether all other daemons are connected. */
  async isConnected(): Promise<boolean> {
    const { members } = await this.get<{ members: { peerId: string; connected: boolean }[] }>('/status')
    return members.every(({ connected, peerId }) => connected || this.#guests.includes(peerId))
  }

  async height(): Promise<number> {
    return (await this.get<{ height: number }>('/ledger/head')).height
  }

  async stop(): Promise<void> {
    // One that was stopped in its tracks can't end in an orderly way.
    if (this.#daemon === undefined) return
    this.signal('SIGCONT')
    await this.#daemon.stop()
  }

  /** Sends a signal, where the process still runs. */
  signal(signal: NodeJS.Signals): void {
    try {
      process.kill(this.daemon.pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    }
  }
}

/** Daemons `p0`, `p1`, …: all members, each of which knows where the others are. */
export class DaemonNetwork implements AsyncDisposable {
  readonly folder: string
  readonly peers: readonly DaemonPeer[]

  private constructor(folder: string, peers: readonly DaemonPeer[]) {
    this.folder = folder
    this.peers = peers
  }

  static async start(options: DaemonNetworkOptions): Promise<DaemonNetwork> {
    const { beforeStart, count } = options
    const folder = await mkdtemp(join(tmpdir(), 'apotheca-network-'))
    const network = new DaemonNetwork(folder, await found(folder, count, options))
    try {
      await beforeStart?.(network)
      await Promise.all(network.peers.map((peer) => peer.restart()))
      await network.connected()
    } catch (error) {
      await network[Symbol.asyncDispose]()
      throw error
    }
    return network
  }

  get genesis(): string {
    return join(this.folder, 'genesis.json')
  }

  peer(index: number): DaemonPeer {
    const peer = this.peers[index]
    if (peer === undefined) throw new Error(`there is no peer ${index}`)
    return peer
  }

  /** Waits until every peer sees every other. */
  async connected(): Promise<void> {
    const until = Date.now() + CONNECTED_MS_MAX
    for (const peer of this.peers) {
      while (!(await peer.isConnected())) {
        if (Date.now() > until) throw new Error(`${peer.id} did not reach the others`)
        await waitMs(POLL_MS)
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.peers.map((peer) => peer.stop()))
    await rm(this.folder, { recursive: true, force: true })
  }
}

/** Keys, genesis and configs. */
async function found(folder: string, count: number, options: DaemonNetworkOptions): Promise<DaemonPeer[]> {
  const { config = {}, entry = 'dist', guests = [], place = loopback(), storage, validators = 1 } = options
  const passphrase = join(folder, 'passphrase')
  await writeFile(passphrase, 'bench and test only\n', { mode: 0o600 })
  const genesis = join(folder, 'genesis.json')
  const ids = Array.from({ length: count }, (_, index) => `p${index}`)
  const members: { institution: string; address: string }[] = []
  for (const [index, institution] of ids.entries()) {
    const file = await writePeerConfig({ institution, folder: join(folder, institution) }, genesis)
    const { peer } = await cliJson<{ peer: string }>(entry, ['peer', 'init', '--config', file])
    members.push({ institution, address: `/ip4/${place(index).host}/tcp/${PEER_PORT}/p2p/${peer}` })
  }
  const template = join(folder, 'template.json')
  const institutions = ids.map((id) => ({ id, name: id, role: 'hospital' }))
  const founding = { name: 'test', institutions, validators: ids.slice(0, validators), storage }
  await writeFile(template, JSON.stringify(founding))
  const identities = ids.map((id) => join(folder, id, 'data/identity.json'))
  const extra = guests.flatMap((guest) => ['--extra-peer', `${ids[0]}=${guest}`])
  await cliJson(entry, ['network', 'create', template, ...identities, '--out', genesis, ...extra])
  return Promise.all(
    ids.map(async (id, index) => {
      const { apiHost, host, within } = place(index)
      const parts = {
        listen: [`/ip4/${host}/tcp/${PEER_PORT}`],
        api: { host: apiHost, port: API_PORT, allowRemote: true },
        ...config,
      }
      const others = members.filter(({ institution }) => institution !== id)
      const setup = { institution: id, folder: join(folder, id), members: others, options: parts }
      const at = { id, folder: join(folder, id), config: await writePeerConfig(setup, genesis) }
      return new DaemonPeer(at, { entry, within, passphrase, guests })
    }),
  )
}

/** Linux takes all of 127.0.0.0/8 as this machine. Two numbers by lot keep networks that run at the same time apart. */
function loopback(): (index: number) => DaemonPlace {
  const network = `127.${randomInt(1, 255)}.${randomInt(1, 255)}`
  return (index) => {
    const host = `${network}.${index + 1}`
    return { host, apiHost: host, within: [] }
  }
}
