/** A consortium in memory for tests of ledger, domain and consensus: every key comes from its name, so ids are the same in every run. */
import { base58btc } from 'multiformats/bases/base58'
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import { type AccountId, type ChainId, type InstitutionId, parseInstitutionId } from '../../../src/core/ids.ts'
import type { Log, Signer } from '../../../src/core/ports.ts'
import { signVote } from '../../../src/consensus/votes.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import { softwareSigner } from '../../../src/crypto/signatures.ts'
import { accountDirectory, draftAccountCreate } from '../../../src/domain/accounts.ts'
import { machines } from '../../../src/domain/machines.ts'
import { type AccountKeys, accountIdOfKeys } from '../../../src/ledger/account-keys.ts'
import type { BlockBytes } from '../../../src/ledger/block-bytes.ts'
import { type Certificate, certificateOfVotes, encodeCertificate } from '../../../src/ledger/certificate.ts'
import { Chain, type ChainDeps } from '../../../src/ledger/chain.ts'
import type { PeerIdText } from '../../../src/ledger/fields.ts'
import { type Genesis, type InstitutionRole, chainIdOf, encodeGenesis } from '../../../src/ledger/genesis.ts'
import type { Proposal, ProposalRequest } from '../../../src/ledger/proposal.ts'
import { type DraftTx, type Precondition, type SignedTx, signTx, txBodyOf } from '../../../src/ledger/transaction.ts'
import { type ValidatorSet, leaderOf } from '../../../src/ledger/validators.ts'
import type { Ballot } from '../../../src/ledger/vote.ts'
import { MapStore } from './map-store.ts'

export const START_MS = Date.UTC(2027, 0, 4, 8)
export const HOUR_MS = 60 * 60 * 1_000

export const silentLog: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

export function seedOf(name: string): Uint8Array {
  return sha256(new TextEncoder().encode(`apotheca test key: ${name}`))
}

export function signerOf(name: string): Signer {
  return softwareSigner(seedOf(name))
}

/** The ledger doesn't open anything, so 32 bytes that stand for an X25519 key are enough here. */
export function keysOf(name: string): AccountKeys {
  return {
    signingKey: signerOf(name).publicKey,
    encryption: { wrap: 'x25519', publicKey: seedOf(`${name} encryption`) },
  }
}

export function peerIdOf(name: string): PeerIdText {
  const head = new Uint8Array([0x00, 0x24, 0x08, 0x01, 0x12, 0x20])
  return base58btc.baseEncode(concat([head, signerOf(`${name} peer`).publicKey])) as PeerIdText
}

export interface Person {
  readonly name: string
  readonly org: InstitutionId
  readonly id: AccountId
  readonly signer: Signer
}

export function person(name: string, org: string): Person {
  return { name, org: parseInstitutionId(org), id: accountIdOfKeys(keysOf(name)), signer: signerOf(name) }
}

/** The account of an institution, as one who signs. */
export function staff(org: string): Person {
  return person(`${org} account`, org)
}

/** The consensus key of an institution that is in force in an epoch: its first, or the one it rotated to. */
function voterOf(set: ValidatorSet, institution: string): Signer {
  const rotated = signerOf(`${institution} new consensus`)
  return set.validators.some(({ key }) => equals(key, rotated.publicKey))
    ? rotated
    : signerOf(`${institution} consensus`)
}

export function makeGenesis(
  institutions: Readonly<Record<string, InstitutionRole>>,
  validators: readonly string[],
): Genesis {
  return {
    version: 1,
    name: 'Test consortium',
    timeMs: START_MS,
    institutions: Object.entries(institutions).map(([id, role]) => ({
      id: parseInstitutionId(id),
      name: `The ${id}`,
      role,
      adminKey: signerOf(`${id} admin`).publicKey,
      account: keysOf(`${id} account`),
      peers: [peerIdOf(id)],
    })),
    validators: validators.map((id) => ({
      institution: parseInstitutionId(id),
      key: signerOf(`${id} consensus`).publicKey,
    })),
  }
}

export const GENESIS = makeGenesis({ city: 'hospital', north: 'hospital', lab: 'research-institute' }, ['city'])

/** A chain in memory, with a wall clock that the test moves. */
export class TestChain {
  readonly genesis: Genesis
  readonly genesisBytes: Uint8Array
  readonly id: ChainId
  nowMs = START_MS + 1_000
  store = new MapStore()
  #chain: Chain | undefined

  constructor(genesis: Genesis = GENESIS) {
    this.genesis = genesis
    this.genesisBytes = encodeGenesis(genesis)
    this.id = chainIdOf(this.genesisBytes)
  }

  static async open(genesis: Genesis = GENESIS): Promise<TestChain> {
    const test = new TestChain(genesis)
    await test.reopen()
    return test
  }

  get chain(): Chain {
    if (this.#chain === undefined) throw new Error('open the chain first')
    return this.#chain
  }

  get deps(): ChainDeps {
    return {
      store: this.store,
      clock: { nowMs: () => this.nowMs },
      log: silentLog,
      machines,
      directory: accountDirectory,
    }
  }

  async reopen(store: MapStore = this.store): Promise<void> {
    this.store = store
    this.#chain = await Chain.open(this.deps, { genesisBytes: this.genesisBytes })
  }

  /** A transaction in its turn, signed by the account and by those beside it. */
  async tx(
    by: Person,
    draft: DraftTx,
    options: { beside?: Signer[]; seq?: number; expiresMs?: number; pre?: Precondition[] } = {},
  ): Promise<SignedTx> {
    const { beside = [], expiresMs = this.nowMs + HOUR_MS, pre } = options
    const seq = options.seq ?? (await this.chain.nextSeq(by.id, draft.lane))
    const at = { chain: this.id, org: by.org, account: by.id, seq, expiresMs, ...(pre === undefined ? {} : { pre }) }
    return signTx(txBodyOf(draft, at), [by.signer, ...beside])
  }

  createTx(who: Person): Promise<SignedTx> {
    return this.tx(who, draftAccountCreate(keysOf(who.name)), { beside: [staff(who.org).signer], seq: 1 })
  }

  /** A block by whoever leads, on the head or on what `request` says; justified by the certificate stored with the head. */
  async propose(
    txs: readonly SignedTx[],
    request: Partial<ProposalRequest> & { nullifyCerts?: readonly Certificate[] } = {},
  ): Promise<Proposal> {
    const { head } = this.chain
    const { nullifyCerts = [], ...others } = request
    this.nowMs = Math.max(this.nowMs, head.timeMs) + 200
    const view = request.view ?? head.view + 1
    return this.chain.propose({
      parent: head.id,
      view,
      timeMs: this.nowMs,
      proposer: this.leader(view),
      justify: { parentCert: (await this.chain.reader.certificateAt(head.height)) ?? null, nullifyCerts },
      txs,
      ...others,
    })
  }

  /** Who leads a view of the next block's epoch. */
  leader(view: number): InstitutionId {
    const set = this.chain.validators()
    const leader = set?.validators[leaderOf(set, view)]
    if (leader === undefined) throw new Error('every view has a leader')
    return leader.institution
  }

  /** A certificate by the given validators; by default by all. */
  async certify(ballot: Ballot, voters?: readonly string[]): Promise<Certificate> {
    const set = this.chain.validators(ballot.epoch)
    if (set === undefined) throw new Error('no such epoch')
    const names = voters ?? set.validators.map(({ institution }) => institution)
    const votes = await Promise.all(names.map((name) => signVote(voterOf(set, name), this.id, set, ballot)))
    const certificate = certificateOfVotes(ballot, votes, set)
    if (certificate === undefined) throw new Error('too few votes')
    return certificate
  }

  /** Finalize votes of the given validators; by default of all. */
  async finalize(proposal: Proposal, voters?: readonly string[]): Promise<BlockBytes> {
    const { epoch, view } = proposal.fields
    const certificate = await this.certify({ epoch, view, kind: 'finalize', block: proposal.id }, voters)
    return { header: proposal.header, certificate: encodeCertificate(certificate), body: proposal.body }
  }

  /** Makes a block of these transactions, final at once. */
  async block(...txs: SignedTx[]): Promise<BlockBytes> {
    const bytes = await this.finalize(await this.propose(txs))
    await this.chain.acceptBlock(bytes)
    return bytes
  }

  /** The fault of a transaction's receipt, or `ok`. */
  async outcome(tx: SignedTx): Promise<string> {
    await this.block(tx)
    const found = await this.chain.reader.receipt(tx.id)
    if (found === undefined) return 'no receipt'
    return found.receipt.ok ? 'ok' : found.receipt.fault.code
  }
}
