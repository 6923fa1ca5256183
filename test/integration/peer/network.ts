/** Small consortiums of real peers in this process: real TCP, real disks, real HTTP; free ports; a folder that goes afterwards. */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type CliAccount, ENCRYPTION_KEY, SIGNING_KEY, accountOf } from '../../../src/cli/account.ts'
import { ApiClient } from '../../../src/cli/api-client.ts'
import { submitTx } from '../../../src/cli/submit.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import type { Clock, Log } from '../../../src/core/ports.ts'
import { generateEncryptionKey } from '../../../src/crypto/envelope.ts'
import { sealKeystore } from '../../../src/crypto/keystore.ts'
import { generateSigningKey } from '../../../src/crypto/signatures.ts'
import { draftAccountCreate } from '../../../src/domain/accounts.ts'
import { type Gateway, startGateway } from '../../../src/gateway/server.ts'
import type { CatchUpOptions } from '../../../src/peer/catch-up.ts'
import type { StorageParams } from '../../../src/ledger/storage-params.ts'
import { startPeer } from '../../../src/peer/compose.ts'
import type { PeerConfig } from '../../../src/peer/config.ts'
import { type PublicIdentity, createIdentity } from '../../../src/peer/identity.ts'
import { makeGenesis } from '../../../src/peer/network.ts'
import type { Peer } from '../../../src/peer/peer.ts'

export const GIB = 1024 ** 3
const TOKEN = 'test-token-of-thirty-two-characters!'
const machineClock: Clock = { nowMs: () => Date.now() }
const quiet: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

export interface TestPeer {
  readonly config: PeerConfig
  readonly peer: Peer
  readonly gateway: Gateway
  readonly client: ApiClient
  /** The CLI's folder for this peer's users. */
  readonly home: string
  close(): Promise<void>
}

export interface NetworkOptions {
  readonly peers: number
  /** By index: parts of a config that differ from the usual. */
  readonly store?: Readonly<Record<number, Partial<PeerConfig['store']>>>
  readonly extraPeers?: readonly string[]
  /** How many of the peers validate, from the first. @default 1 */
  readonly validators?: number
  /** How many of the peers are in the genesis, from the first. @default all */
  readonly founders?: number
  /** How many of the peers are started, from the first. @default all */
  readonly started?: number
  /** How storage runs on the chain. @default the limits' */
  readonly storage?: Partial<StorageParams>
  /** How long ago the network was founded. @default a second */
  readonly ageMs?: number
  readonly catchUp?: CatchUpOptions
  /** Between blocks that nothing happens in. @default 10 s */
  readonly idleIntervalMs?: number
  /** @default nothing is logged */
  readonly log?: Log
  /** Of all peers. @default the machine's */
  readonly clock?: Clock
  /** @default the limit's */
  readonly freshMs?: number
  /** Called before any peer is started. */
  readonly prepare?: (network: TestNetwork) => Promise<void>
}

export class TestNetwork implements AsyncDisposable {
  readonly folder: string
  readonly peers: TestPeer[] = []
  readonly configs: PeerConfig[]
  readonly #running = new Set<TestPeer>()
  readonly #options: NetworkOptions

  private constructor(folder: string, configs: PeerConfig[], options: NetworkOptions) {
    this.folder = folder
    this.configs = configs
    this.#options = options
  }

  static async start(options: NetworkOptions): Promise<TestNetwork> {
    const folder = await mkdtemp(join(tmpdir(), 'apotheca-test-'))
    const configs = Array.from({ length: options.peers }, (_, index) => {
      const config = configOf(folder, index, options.store?.[index])
      const { idleIntervalMs = config.ledger.idleIntervalMs } = options
      return { ...config, ledger: { ...config.ledger, idleIntervalMs } }
    })
    const identities: PublicIdentity[] = []
    for (const config of configs) {
      await mkdir(config.dataDir, { recursive: true })
      await writeFile(config.passphraseFile, 'for a test\n', { mode: 0o600 })
      identities.push(await createIdentity(config))
    }
    const template = join(folder, 'template.json')
    const founders = configs.slice(0, options.founders ?? options.peers)
    const institutions = founders.map(({ institution: id }) => ({ id, name: id, role: 'hospital' }))
    await writeFile(
      template,
      JSON.stringify({
        name: 'test',
        institutions,
        validators: configs.slice(0, options.validators ?? 1).map((one) => one.institution),
        storage: options.storage,
      }),
    )
    const extraPeers = new Map([['h0', options.extraPeers ?? []]])
    const { json } = await makeGenesis(template, identities, {
      nowMs: Date.now() - (options.ageMs ?? 1_000),
      extraPeers,
    })
    await writeFile(join(folder, 'genesis.json'), json)
    const network = new TestNetwork(folder, configs, options)
    await options.prepare?.(network)
    for (let index = 0; index < (options.started ?? options.peers); index++) await network.startPeer(index)
    return network
  }

  peer(index: number): TestPeer {
    const peer = this.peers[index]
    if (peer === undefined) throw new Error(`no peer ${index}`)
    return peer
  }

  /** Starts a peer, or starts it again. @param dials - addresses. @default those of all that run */
  async startPeer(index: number, dials?: readonly string[]): Promise<TestPeer> {
    const base = this.configs[index]
    if (base === undefined) throw new Error(`no peer ${index}`)
    const running = [...this.#running].map((other) => String(other.peer.host.getMultiaddrs()[0]))
    const members = (dials ?? running).map((address) => ({ institution: base.institution, address }))
    const config = { ...base, members }
    const { catchUp, clock = machineClock, freshMs, log = quiet } = this.#options
    const peer = await startPeer(config, {
      clock,
      log,
      ...(catchUp === undefined ? {} : { catchUp }),
      ...(freshMs === undefined ? {} : { freshMs }),
      onFailure: (error) => {
        throw error
      },
    })
    const gateway = await startGateway({ peer, clock, log: quiet }, { host: '127.0.0.1', port: 0, token: TOKEN })
    const client = new ApiClient({ url: gateway.url, token: TOKEN })
    const close = async (): Promise<void> => {
      if (!this.#running.delete(started)) return
      client.close()
      await gateway.close()
      await peer.close()
    }
    const started: TestPeer = { config, peer, gateway, client, home: join(this.folder, `home-${index}`), close }
    this.peers[index] = started
    this.#running.add(started)
    return started
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.peers.map(async (peer) => peer.close()))
    await rm(this.folder, { recursive: true, force: true })
  }
}

function configOf(folder: string, index: number, store: Partial<PeerConfig['store']> = {}): PeerConfig {
  const dataDir = join(folder, `h${index}`)
  return {
    institution: parseInstitutionId(`h${index}`),
    dataDir,
    genesis: join(folder, 'genesis.json'),
    passphraseFile: join(dataDir, 'passphrase'),
    listen: ['/ip4/127.0.0.1/tcp/0'],
    announce: [],
    members: [],
    encrypters: ['tls', 'noise'],
    api: { host: '127.0.0.1', port: 0, allowRemote: false },
    store: {
      capacityBytes: 8 * GIB,
      reserveFreeBytes: 0,
      fullRatio: 1,
      scrubDays: 30,
      scrubBytesPerSecondMax: 1e9,
      repairBytesPerSecond: 1e9,
      offer: true,
      zone: `h${index}`,
      ...store,
    },
    uploads: { expireHours: 24, openMax: 64 },
    ledger: { deltaMs: 150, blockIntervalMs: 50, idleIntervalMs: 10_000 },
    log: { level: 'silent' },
  }
}

/** A person's account, registered through a peer. */
export async function newAccount(at: TestPeer, name: string): Promise<CliAccount> {
  const encryption = await generateEncryptionKey('x25519')
  const words = new TextEncoder().encode('for a test')
  const keys = [
    { name: SIGNING_KEY, type: 'ed25519' as const, ...generateSigningKey() },
    {
      name: ENCRYPTION_KEY,
      type: 'x25519' as const,
      publicKey: encryption.publicKey,
      privateKey: encryption.privateKey,
    },
  ]
  const file = await sealKeystore(keys, words, { cost: { memoryKib: 8_192, passes: 1, parallelism: 1 } })
  const account = accountOf(name, file, async () => words)
  const { signingKey } = account
  const draft = draftAccountCreate({ signingKey, encryption: account.encryption })
  await submitTx(at.client, account, draft, { signal: AbortSignal.timeout(60_000), route: 'accounts' })
  return account
}
