/** Chains of many blocks with the keys of a test network, made in memory in seconds, and put into the folders of its peers. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { signVote } from '../../../src/consensus/votes.ts'
import type { KeyChange, KeyValueStore, Log } from '../../../src/core/ports.ts'
import { generateSigningKey, softwareSigner } from '../../../src/crypto/signatures.ts'
import { accountDirectory, draftAccountCreate } from '../../../src/domain/accounts.ts'
import { machines } from '../../../src/domain/machines.ts'
import { type AccountKeys, accountIdOfKeys } from '../../../src/ledger/account-keys.ts'
import { type Certificate, certificateOfVotes } from '../../../src/ledger/certificate.ts'
import { Chain } from '../../../src/ledger/chain.ts'
import { encodeGenesis, parseGenesisJson } from '../../../src/ledger/genesis.ts'
import { type SignedTx, signTx, txBodyOf } from '../../../src/ledger/transaction.ts'
import { leaderOf } from '../../../src/ledger/validators.ts'
import { type Identity, openIdentity } from '../../../src/peer/identity.ts'
import { LedgerDatabase } from '../../../src/peer/ledger-database.ts'
import { MemoryStore } from '../../../src/store/memory-store.ts'
import type { TestNetwork } from './network.ts'

const BLOCK_MS = 1_000
const HOUR_MS = 3_600_000
const EVERYTHING = { from: new Uint8Array(0), to: new Uint8Array([0xff]) }
const log: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** A chain that grows in memory. */
export class LongChain {
  readonly chain: Chain
  readonly #store: MemoryStore
  readonly #identities: readonly Identity[]
  #certificate: Certificate | null = null
  #seq = 1

  private constructor(chain: Chain, store: MemoryStore, identities: readonly Identity[]) {
    this.chain = chain
    this.#store = store
    this.#identities = identities
  }

  /** @param validators - of the network, from the first. */
  static async begin(network: TestNetwork, validators = 1): Promise<LongChain> {
    const identities = await Promise.all(network.configs.slice(0, validators).map(openIdentity))
    const store = new MemoryStore()
    const clock = { nowMs: () => Number.MAX_SAFE_INTEGER }
    const genesisBytes = encodeGenesis(parseGenesisJson(await readFile(join(network.folder, 'genesis.json'), 'utf8')))
    const chain = await Chain.open({ store, clock, log, machines, directory: accountDirectory }, { genesisBytes })
    return new LongChain(chain, store, identities)
  }

  /** @param txsOf - transactions of the block of a height. @default none */
  async grow(height: number, txsOf: (height: number) => number = () => 0): Promise<void> {
    while (this.chain.head.height < height) await this.#block(txsOf(this.chain.head.height + 1))
  }

  /** In memory. */
  get store(): KeyValueStore {
    return this.#store
  }

  /** What its store holds now. */
  async entries(): Promise<KeyChange[]> {
    const entries: KeyChange[] = []
    for await (const entry of this.#store.range(EVERYTHING)) entries.push(entry)
    return entries
  }

  async #block(txs: number): Promise<void> {
    const { chain } = this
    const { head } = chain
    const set = chain.validators()
    if (set === undefined) throw new Error('an epoch has validators')
    const view = head.view + 1
    const leader = set.validators[leaderOf(set, view)]
    if (leader === undefined) throw new Error('a view has a leader')
    const timeMs = head.timeMs + BLOCK_MS
    const proposal = await chain.propose({
      parent: head.id,
      view,
      timeMs,
      proposer: leader.institution,
      justify: { parentCert: this.#certificate, nullifyCerts: [] },
      txs: await Promise.all(Array.from({ length: txs }, async () => this.#tx(timeMs))),
    })
    const ballot = { epoch: set.epoch, view, kind: 'finalize' as const, block: proposal.id }
    const votes = await Promise.all(
      this.#identities.map(async ({ consensus }) => signVote(consensus, chain.id, set, ballot)),
    )
    const certificate = certificateOfVotes(ballot, votes, set)
    if (certificate === undefined) throw new Error('all of them are a quorum')
    await chain.finalize(proposal.id, certificate)
    this.#certificate = certificate
  }

  /** A new account, attested by the first institution. */
  async #tx(timeMs: number): Promise<SignedTx> {
    const [identity] = this.#identities
    const org = this.chain.genesis.institutions[0]?.id
    if (identity === undefined || org === undefined) throw new Error('a network has an institution')
    const { privateKey, publicKey } = generateSigningKey()
    const encryption = { wrap: 'x25519' as const, publicKey: generateSigningKey().publicKey }
    const keys: AccountKeys = { signingKey: publicKey, encryption }
    const expiresMs = timeMs + HOUR_MS
    const at = { chain: this.chain.id, org, account: accountIdOfKeys(keys), seq: this.#seq, expiresMs }
    return signTx(txBodyOf(draftAccountCreate(keys), at), [softwareSigner(privateKey), identity.account.signer])
  }
}

/** Puts a ledger into the folder of a peer that has none. */
export async function putLedger(network: TestNetwork, index: number, entries: readonly KeyChange[]): Promise<void> {
  const config = network.configs[index]
  if (config === undefined) throw new Error(`no peer ${index}`)
  const nothing = new MemoryStore()
  const database = await LedgerDatabase.open({ log }, join(config.dataDir, 'ledger'), nothing, false)
  await database.batch(entries)
  await database.close()
}
