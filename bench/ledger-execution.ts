/**
 * `execution`: what a transaction costs one validator before any network: read, admitted, put in a block, executed, voted on as one
 * that another made, final and durable on LevelDB. Beside it, from the same run, one verification of Ed25519, which nothing spares.
 *
 * Two chains in one process: the leader's makes the blocks, the follower's takes them, and each is timed by its own.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { base58btc } from 'multiformats/bases/base58'
import { concat } from 'uint8arrays/concat'
import { Author } from '../scripts/ledger-client.ts'
import { signVote } from '../src/consensus/votes.ts'
import { type InstitutionId, parseInstitutionId } from '../src/core/ids.ts'
import { BLOCK_TX_BYTES_MAX } from '../src/core/limits.ts'
import type { Log, Signer } from '../src/core/ports.ts'
import { generateEncryptionKey } from '../src/crypto/envelope.ts'
import { generateSigningKey, softwareSigner, verifyMessage } from '../src/crypto/signatures.ts'
import { accountDirectory } from '../src/domain/accounts.ts'
import { machines } from '../src/domain/machines.ts'
import { type Certificate, certificateOfVotes } from '../src/ledger/certificate.ts'
import { Chain, type ChainDeps } from '../src/ledger/chain.ts'
import type { PeerIdText } from '../src/ledger/fields.ts'
import { type Genesis, encodeGenesis } from '../src/ledger/genesis.ts'
import { Mempool } from '../src/ledger/mempool.ts'
import type { Proposal } from '../src/ledger/proposal.ts'
import { type SignedTx, decodeEnvelope } from '../src/ledger/transaction.ts'
import { leaderOf } from '../src/ledger/validators.ts'
import { LevelStore } from '../src/store/level-store.ts'
import { type Figure, beside } from './figure.ts'

const INSTITUTIONS = 4
const AUTHORS_PER_INSTITUTION = 32
/** As a chain has at 300 a second. */
const BLOCK_TXS = 80
const log: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

/** CPU time of one thing, summed up. */
class Stopwatch {
  #ms = 0
  #count = 0

  async of<T>(count: number, work: () => Promise<T> | T): Promise<T> {
    const started = process.cpuUsage()
    const result = await work()
    const { system, user } = process.cpuUsage(started)
    this.#ms += (system + user) / 1_000
    this.#count += count
    return result
  }

  get msEach(): number {
    return this.#ms / this.#count
  }
}

interface Institution {
  readonly id: InstitutionId
  readonly consensus: Signer
  readonly account: Signer
}

/** A validator without its network. */
class Site {
  readonly chain: Chain
  readonly mempool: Mempool
  readonly store: LevelStore

  private constructor(chain: Chain, mempool: Mempool, store: LevelStore) {
    this.chain = chain
    this.mempool = mempool
    this.store = store
    chain.onBlock(({ final, txs }) => void mempool.committed(txs, final.header.timeMs))
  }

  static async open(dir: string, genesisBytes: Uint8Array, clock: { nowMs(): number }): Promise<Site> {
    const store = await LevelStore.open(dir)
    const mempool = new Mempool()
    const waiting: ChainDeps['waiting'] = (leaf) => mempool.byLeaf(leaf)
    const deps = { store, clock, log, machines, directory: accountDirectory, waiting }
    return new Site(await Chain.open(deps, { genesisBytes }), mempool, store)
  }

  /** As LedgerNode admits. */
  async admit(bytes: Uint8Array, nowMs: number): Promise<void> {
    const tx = decodeEnvelope(bytes)
    const fault = await this.chain.admissionFault(tx, nowMs)
    if (fault !== undefined) throw new Error(fault.code)
    this.mempool.add(tx, await this.chain.nextSeq(tx.body.account, tx.body.lane), nowMs)
  }
}

const newWatches = () => ({
  admit: new Stopwatch(),
  propose: new Stopwatch(),
  follow: new Stopwatch(),
  commit: new Stopwatch(),
})

class Bench {
  watches = newWatches()
  readonly #leader: Site
  readonly #follower: Site
  readonly #institutions: readonly Institution[]
  #certificate: Certificate | null = null
  nowMs: number

  constructor(leader: Site, follower: Site, institutions: readonly Institution[], nowMs: number) {
    this.#leader = leader
    this.#follower = follower
    this.#institutions = institutions
    this.nowMs = nowMs
  }

  async block(txs: readonly SignedTx[]): Promise<void> {
    const { admit, commit, follow, propose } = this.watches
    const count = txs.length
    this.nowMs += 250
    await admit.of(2 * count, async () => {
      for (const { bytes } of txs) {
        await this.#leader.admit(new Uint8Array(bytes), this.nowMs)
        await this.#follower.admit(new Uint8Array(bytes), this.nowMs)
      }
    })
    const { chain, mempool } = this.#leader
    const proposal = await propose.of(count, () => this.#propose(chain, mempool))
    if (proposal.txs.length !== count) throw new Error(`${proposal.txs.length} of ${count} are in the block`)
    const { body, header } = proposal
    await follow.of(count, () => this.#follower.chain.addPending({ header, body: new Uint8Array(body) }))
    const certificate = await this.#certify(proposal)
    await commit.of(2 * count, async () => {
      await chain.finalize(proposal.id, certificate)
      await this.#follower.chain.finalize(proposal.id, certificate)
    })
    this.#certificate = certificate
  }

  #propose(chain: Chain, mempool: Mempool): Promise<Proposal> {
    const { head } = chain
    const set = chain.validators()
    const view = head.view + 1
    const leader = set?.validators[leaderOf(set, view)]
    if (leader === undefined) throw new Error('no leader')
    return chain.propose({
      parent: head.id,
      view,
      timeMs: this.nowMs,
      proposer: leader.institution,
      justify: { parentCert: this.#certificate, nullifyCerts: [] },
      txs: mempool.take({ bytes: BLOCK_TX_BYTES_MAX, count: 10_000 }),
    })
  }

  async #certify({ fields, id }: Proposal): Promise<Certificate> {
    const { chain } = this.#leader
    const set = chain.validators(fields.epoch)
    if (set === undefined) throw new Error('no epoch')
    const ballot = { epoch: fields.epoch, view: fields.view, kind: 'finalize' as const, block: id }
    const votes = await Promise.all(
      this.#institutions.map(({ consensus }) => signVote(consensus, chain.id, set, ballot)),
    )
    const certificate = certificateOfVotes(ballot, votes, set)
    if (certificate === undefined) throw new Error('no quorum')
    return certificate
  }
}

function peerIdOf({ publicKey }: Signer): PeerIdText {
  const head = new Uint8Array([0x00, 0x24, 0x08, 0x01, 0x12, 0x20])
  return base58btc.baseEncode(concat([head, publicKey])) as PeerIdText
}

function newSigner(): Signer {
  return softwareSigner(generateSigningKey().privateKey)
}

async function foundConsortium(nowMs: number): Promise<{ genesis: Genesis; institutions: Institution[] }> {
  const institutions = Array.from({ length: INSTITUTIONS }, (_one, index) => ({
    id: parseInstitutionId(`p${index}`),
    consensus: newSigner(),
    account: newSigner(),
  }))
  const genesis: Genesis = {
    version: 1,
    name: 'bench',
    timeMs: nowMs,
    institutions: await Promise.all(
      institutions.map(async ({ account, id }) => {
        const { publicKey, wrap } = await generateEncryptionKey('x-wing')
        return {
          id,
          name: id,
          role: 'hospital' as const,
          adminKey: newSigner().publicKey,
          account: { signingKey: account.publicKey, encryption: { wrap, publicKey } },
          peers: [peerIdOf(newSigner())],
        }
      }),
    ),
    validators: institutions.map(({ consensus, id }) => ({ institution: id, key: consensus.publicKey })),
  }
  return { genesis, institutions }
}

export async function benchExecution(options: { quick: boolean }): Promise<Figure[]> {
  const blocks = options.quick ? 30 : 100
  const startMs = Date.now()
  const { genesis, institutions } = await foundConsortium(startMs)
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-bench-execution-'))
  const clock = { nowMs: () => bench.nowMs }
  const genesisBytes = encodeGenesis(genesis)
  const leader = await Site.open(join(dir, 'leader'), genesisBytes, clock)
  const follower = await Site.open(join(dir, 'follower'), genesisBytes, clock)
  const bench = new Bench(leader, follower, institutions, startMs)
  try {
    const chain = leader.chain.id
    const authors: Author[] = []
    for (let index = 0; index < INSTITUTIONS * AUTHORS_PER_INSTITUTION; index++) {
      authors.push(await Author.make({ institution: institutions[index % INSTITUTIONS]?.id ?? '', chain }))
    }
    const accounts = authors.map((author, index) => {
      const attesting = institutions[index % INSTITUTIONS]?.account
      return author.signCreate(attesting === undefined ? [] : [attesting], startMs)
    })
    await bench.block(await Promise.all(accounts))
    const run = async (count: number): Promise<void> => {
      for (let block = 0, next = 0; block < count; block++) {
        const txs: SignedTx[] = []
        for (let index = 0; index < BLOCK_TXS; index++, next++) {
          const author = authors[next % authors.length]
          if (author !== undefined) txs.push(await author.signRecord(bench.nowMs))
        }
        await bench.block(txs)
      }
    }
    // Until the code is compiled.
    await run(Math.ceil(blocks / 4))
    bench.watches = newWatches()
    await run(blocks)
    return figures(bench.watches, await verificationMs(chain))
  } finally {
    await leader.store.close()
    await follower.store.close()
    await rm(dir, { recursive: true, force: true })
  }
}

function figures(watches: Bench['watches'], verifyMs: number): Figure[] {
  const { admit, commit, follow, propose } = watches
  const all = admit.msEach + (propose.msEach + (INSTITUTIONS - 1) * follow.msEach) / INSTITUTIONS + commit.msEach
  const figure = (name: string, ms: number): Figure => beside('execution', `${name}, CPU`, ms, 'ms', verifyMs)
  return [
    figure('a transaction admitted', admit.msEach),
    figure('a transaction proposed', propose.msEach),
    figure('a transaction executed by who did not propose it', follow.msEach),
    figure('a transaction made final', commit.msEach),
    figure(`a transaction and validator, of ${INSTITUTIONS}`, all),
  ]
}

async function verificationMs(chain: Chain['id']): Promise<number> {
  const signer = newSigner()
  const author = await Author.make({ institution: 'p0', chain })
  const { bodyBytes, sigs } = await author.signRecord()
  const [sig] = sigs
  if (sig === undefined) throw new Error(`${String(signer.publicKey.length)} bytes and no signature`)
  const watch = new Stopwatch()
  await watch.of(2_000, () => {
    for (let count = 0; count < 2_000; count++) verifyMessage(sig.key, sig.sig, 'tx', chain, bodyBytes)
  })
  return watch.msEach
}
