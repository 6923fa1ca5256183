/**
 * Kubo nodes as real processes, for the interop suite and the benches: closed, as a member of a consortium should be
 * (docs/interop.md). No bootstrap, no routing, no discovery, no relay, no telemetry, loopback only: what it isn't told to dial it
 * doesn't reach.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'

const exec = promisify(execFile)
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024
/** Kubo says so once its API and its swarm listen. */
const READY = 'Daemon is ready'

type Config = Readonly<Record<string, unknown>>

/** What differs from Kubo's own config; each value replaces the whole of its part. */
const CLOSED: Config = {
  Addresses: { Swarm: ['/ip4/127.0.0.1/tcp/0'], API: '/ip4/127.0.0.1/tcp/0', Gateway: [] },
  AutoConf: { Enabled: false },
  AutoNAT: { ServiceMode: 'disabled' },
  AutoTLS: { Enabled: false },
  Bootstrap: [],
  DNS: { Resolvers: {} },
  Discovery: { MDNS: { Enabled: false } },
  HTTPRetrieval: { Enabled: false },
  Internal: { Libp2pForceReachability: 'private' },
  Ipns: { DelegatedPublishers: [] },
  Plugins: { Plugins: { telemetry: { Disabled: true } } },
  Provide: { Enabled: false },
  Routing: { Type: 'none', DelegatedRouters: [] },
  Swarm: {
    DisableNatPortMap: true,
    EnableHolePunching: false,
    RelayClient: { Enabled: false },
    RelayService: { Enabled: false },
    Transports: { Network: { QUIC: false, Relay: false, WebRTCDirect: false, WebTransport: false, Websocket: false } },
  },
  Version: { SwarmCheckEnabled: false },
}

export interface KuboPeering {
  readonly ID: string
  readonly Addrs: readonly string[]
}

export class KuboNode implements AsyncDisposable {
  readonly id: string
  readonly #program: string
  readonly #repo: string
  #daemon: ChildProcess | undefined

  private constructor(program: string, repo: string, id: string) {
    this.#program = program
    this.#repo = repo
    this.id = id
  }

  /** Makes a repository with keys of its own, and starts nothing. @param program - the `ipfs` binary. */
  static async create(program: string, repo: string): Promise<KuboNode> {
    await exec(program, ['init', '--empty-repo'], { env: environment(repo) })
    const config = await readConfig(repo)
    await writeConfig(repo, { ...config, ...CLOSED })
    return new KuboNode(program, repo, (config['Identity'] as { PeerID: string }).PeerID)
  }

  /** Whom it keeps connected, and connects to by itself when it starts. */
  async peerWith(peers: readonly KuboPeering[]): Promise<void> {
    await writeConfig(this.#repo, { ...(await readConfig(this.#repo)), Peering: { Peers: peers } })
  }

  /** Starts the daemon; settles when it is ready. */
  async start(): Promise<void> {
    const daemon = spawn(this.#program, ['daemon', '--migrate=false'], {
      env: environment(this.#repo),
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#daemon = daemon
    let output = ''
    await new Promise<void>((resolve, reject) => {
      const onText = (text: Buffer): void => {
        output = (output + text.toString()).slice(-OUTPUT_BYTES_MAX)
        if (output.includes(READY)) resolve()
      }
      daemon.stdout.on('data', onText)
      daemon.stderr.on('data', onText)
      daemon.once('error', reject)
      daemon.once('close', () => reject(new Error(`the Kubo daemon ended: ${output.slice(-4_096)}`)))
    })
  }

  async stop(): Promise<void> {
    const daemon = this.#daemon
    this.#daemon = undefined
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return
    const closed = new Promise((resolve) => daemon.once('close', resolve))
    daemon.kill()
    await closed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  /** Runs an `ipfs` command at this node. @returns its output, trimmed. */
  async run(...args: string[]): Promise<string> {
    const { stdout } = await exec(this.#program, args, { env: environment(this.#repo), maxBuffer: OUTPUT_BYTES_MAX })
    return stdout.trim()
  }

  /** An `ipfs` command that must fail. @returns what it said. */
  async refusal(...args: string[]): Promise<string> {
    try {
      await this.run(...args)
    } catch (error) {
      return (error as { stderr?: string }).stderr ?? String(error)
    }
    throw new Error(`ipfs ${args.join(' ')} did not fail`)
  }

  /** `ipfs ... > file`: for output that is large, or no text. */
  async runInto(file: string, ...args: string[]): Promise<void> {
    const child = spawn(this.#program, args, { env: environment(this.#repo), stdio: ['ignore', 'pipe', 'inherit'] })
    const closed = new Promise<unknown>((resolve) => child.once('close', resolve))
    await pipeline(child.stdout, createWriteStream(file))
    if ((await closed) !== 0) throw new Error(`ipfs ${args.join(' ')} failed`)
  }

  /** Where its swarm listens, with its peer id. */
  async address(): Promise<string> {
    const [address] = (await this.run('id', '-f', '<addrs>')).split('\n')
    if (address === undefined || address === '') throw new Error('Kubo listens nowhere')
    return address
  }
}

function environment(repo: string): NodeJS.ProcessEnv {
  return { ...process.env, IPFS_PATH: repo, IPFS_TELEMETRY: 'off' }
}

async function readConfig(repo: string): Promise<Config> {
  return JSON.parse(await readFile(join(repo, 'config'), 'utf8')) as Config
}

async function writeConfig(repo: string, config: Config): Promise<void> {
  await writeFile(join(repo, 'config'), JSON.stringify(config, null, 2))
}
