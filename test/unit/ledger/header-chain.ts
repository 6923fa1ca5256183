/**
 * A chain of headers over an empty or fixed state, with short epochs and validators that change: what light proofs look at, without
 * executing thousands of blocks. Signatures, ids, history and state paths are real.
 */
import type { CID } from 'multiformats/cid'
import { signVote } from '../../../src/consensus/votes.ts'
import { encodeCanonical } from '../../../src/core/codec.ts'
import type { ChainId } from '../../../src/core/ids.ts'
import { cborCid, sha256 } from '../../../src/crypto/hash.ts'
import {
  EMPTY_RANGE,
  type MountainRange,
  appendLeaf,
  leafHash,
  merkleRoot,
  rangeProof,
  rangeRoot,
} from '../../../src/crypto/merkle.ts'
import { encodeBody, txRootOf } from '../../../src/ledger/block-body.ts'
import { certificateOfVotes, encodeCertificate } from '../../../src/ledger/certificate.ts'
import { chainIdOf, encodeGenesis, genesisCid } from '../../../src/ledger/genesis.ts'
import { type FinalHeader, type Header, encodeHeader, headerId } from '../../../src/ledger/header.ts'
import type { ProofSource } from '../../../src/ledger/proof-maker.ts'
import { encodeReceipt } from '../../../src/ledger/receipt.ts'
import { encodeStateValue } from '../../../src/ledger/state.ts'
import {
  EMPTY_ROOT,
  type StateProof,
  treeBit,
  treeInnerHash,
  treeKey,
  treeLeafHash,
} from '../../../src/ledger/state-proof.ts'
import { type SignedTx, signTx, txBodyOf } from '../../../src/ledger/transaction.ts'
import { type ValidatorSet, leaderOf } from '../../../src/ledger/validators.ts'
import type { VoteKind } from '../../../src/ledger/vote.ts'
import { draftAccountCreate } from '../../../src/domain/accounts.ts'
import { HOUR_MS, START_MS, keysOf, makeGenesis, person, signerOf, staff } from './network.ts'

const NAMES = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
const NO_JUSTIFICATION = { parentCert: null, nullifyCerts: [] } as const
const utf8 = new TextEncoder()

type Leaf = NonNullable<StateProof['leaf']>

/** The root of the leaves below a node of this depth, as docs/spec/state-tree.md says it; slow and without any store. */
function rootOf(leaves: readonly Leaf[], depth = 0): Uint8Array {
  const [first] = leaves
  if (first === undefined) return EMPTY_ROOT
  if (leaves.length === 1) return treeLeafHash(first.key, first.valueHash)
  return treeInnerHash(rootOf(side(leaves, depth, 0), depth + 1), rootOf(side(leaves, depth, 1), depth + 1))
}

function pathTo(key: Uint8Array, leaves: readonly Leaf[], depth = 0): StateProof {
  if (leaves.length <= 1) return { siblings: [], leaf: leaves[0] ?? null }
  const bit = treeBit(key, depth)
  const { leaf, siblings } = pathTo(key, side(leaves, depth, bit), depth + 1)
  const beside = side(leaves, depth, bit === 0 ? 1 : 0)
  return { leaf, siblings: [beside.length === 0 ? null : rootOf(beside, depth + 1), ...siblings] }
}

const side = (leaves: readonly Leaf[], depth: number, bit: 0 | 1): Leaf[] =>
  leaves.filter(({ key }) => treeBit(key, depth) === bit)

export interface HeaderOptions {
  /** Validators of the next epoch, by name: the block ends its epoch. */
  readonly next?: readonly string[]
  /** Of its certificate. @default finalize */
  readonly kind?: Extract<VoteKind, 'finalize' | 'notarize'>
  /** Views by which the certificate is later than the header. */
  readonly later?: number
  /** Who signs; by default all of the set. */
  readonly voters?: readonly string[]
  /** Transactions of the block; the receipt of each says ok. */
  readonly txs?: readonly SignedTx[]
  /** Whose validators sign; by default those of the header's epoch. */
  readonly set?: ValidatorSet
}

export class HeaderChain implements ProofSource {
  readonly genesisBytes: Uint8Array
  readonly id: ChainId
  readonly finals: FinalHeader[] = []
  readonly sets: ValidatorSet[]
  readonly reader: ProofSource['reader'] = {
    headerAt: async (height) => this.finals[height - 1],
    plainHeaderAt: async (height) => this.finals[height - 1],
    headerById: async (id) => this.finals.find((one) => one.id.equals(id)),
    receipt: async (id) => {
      for (const [at, txs] of this.#txs) {
        const index = txs.findIndex((tx) => tx.id === id)
        if (index !== -1) return { receipt: { tx: id, ok: true }, height: at, index }
      }
      return undefined
    },
    receiptsAt: async (height) => this.#txs.get(height)?.map(({ id }) => ({ tx: id, ok: true })),
    bodyAt: async (height) => {
      const body = { txs: (this.#txs.get(height) ?? []).map(({ bytes }) => bytes), justify: NO_JUSTIFICATION }
      return { body, bytes: encodeBody(body) }
    },
  }
  readonly #values = new Map(
    NAMES.map((name, index) => [name, encodeStateValue({ version: index, value: { name, at: index } })] as const),
  )
  readonly #leaves = [...this.#values].map(([name, bytes]) => ({
    key: treeKey('sample', utf8.encode(name)),
    valueHash: sha256(bytes),
  }))
  readonly #txs = new Map<number, readonly SignedTx[]>()
  readonly #nodes = new Map<string, Uint8Array>()
  #range: MountainRange = EMPTY_RANGE

  constructor(validators: readonly string[] = NAMES.slice(0, 4)) {
    const genesis = makeGenesis(Object.fromEntries(validators.map((name) => [name, 'hospital' as const])), validators)
    this.genesisBytes = encodeGenesis(genesis)
    this.id = chainIdOf(this.genesisBytes)
    this.sets = [{ epoch: 0, seed: sha256(this.genesisBytes), validators: genesis.validators }]
    this.#append(genesisCid(this.genesisBytes))
  }

  get head(): ReturnType<HeaderChain['headOf']> {
    return this.headOf(this.finals.at(-1))
  }

  headOf(final: FinalHeader | undefined) {
    const stateRoot = rootOf(this.#leaves)
    const { length: epochs } = this.sets
    if (final === undefined) {
      const id = genesisCid(this.genesisBytes)
      return { height: 0, id, view: 0, timeMs: START_MS, stateRoot, nextEpoch: 0, endsEpoch: false }
    }
    const { height, nextValidators, timeMs, view } = final.header
    const endsEpoch = nextValidators !== undefined
    return { height, id: final.id, view, timeMs, stateRoot, nextEpoch: epochs - 1, endsEpoch }
  }

  validators(epoch: number): ValidatorSet | undefined {
    return this.sets[epoch]
  }

  async proveState(namespace: string, key: Uint8Array) {
    const value = namespace === 'sample' ? this.#values.get(new TextDecoder().decode(key)) : undefined
    return { head: this.head, value, proof: pathTo(treeKey(namespace, key), this.#leaves) }
  }

  proveHistory(height: number, under: number): Promise<Uint8Array[]> {
    return rangeProof(
      height,
      under,
      async ({ index, level }) => this.#nodes.get(`${level}/${index}`) ?? new Uint8Array(),
    )
  }

  /** The fields of the next header; not part of the chain yet. */
  fields(options: HeaderOptions = {}): Header {
    const { height, id: parent, view: parentView, timeMs } = this.head
    const set = this.setOf(this.sets.length - 1)
    const view = parentView + 1
    const proposer = set.validators[leaderOf(set, view)]?.institution
    if (proposer === undefined) throw new Error('every view has a leader')
    return {
      version: 1,
      chain: genesisCid(this.genesisBytes),
      epoch: set.epoch,
      view,
      height: height + 1,
      parent,
      parentView,
      timeMs: timeMs + 1_000,
      proposer,
      body: cborCid(encodeCanonical('no body: nobody executes these')),
      txRoot: txRootOf((options.txs ?? []).map(({ leaf }) => leaf)),
      stateRoot: rootOf(this.#leaves),
      receiptsRoot: merkleRoot((options.txs ?? []).map(({ id }) => encodeReceipt({ tx: id, ok: true }))),
      historyRoot: rangeRoot(this.#range),
      layoutVersion: 0,
      ...(options.next === undefined ? {} : { nextValidators: validatorsNamed(options.next) }),
    }
  }

  async certified(header: Header, options: HeaderOptions = {}): Promise<FinalHeader> {
    const { kind = 'finalize', later = 0 } = options
    const set = options.set ?? this.setOf(header.epoch)
    const headerBytes = encodeHeader(header)
    const id = headerId(headerBytes)
    const ballot = { epoch: header.epoch, view: header.view + later, kind, block: id } as const
    const names = options.voters ?? set.validators.map(({ institution }) => institution)
    const votes = await Promise.all(names.map((name) => signVote(signerOf(`${name} consensus`), this.id, set, ballot)))
    const certificate = certificateOfVotes(ballot, votes, set)
    if (certificate === undefined) throw new Error('too few votes')
    return { id, header, certificate, headerBytes, certificateBytes: encodeCertificate(certificate) }
  }

  async add(options: HeaderOptions = {}): Promise<FinalHeader> {
    const final = await this.certified(this.fields(options), options)
    this.finals.push(final)
    this.#append(final.id)
    if (options.txs !== undefined) this.#txs.set(final.header.height, options.txs)
    const { epoch, nextValidators } = final.header
    if (nextValidators !== undefined) {
      this.sets.push({ epoch: epoch + 1, seed: final.id.multihash.digest, validators: nextValidators })
    }
    return final
  }

  setOf(epoch: number): ValidatorSet {
    const set = this.sets[epoch]
    if (set === undefined) throw new Error(`no epoch ${epoch}`)
    return set
  }

  #append(id: CID): void {
    const { nodes, range } = appendLeaf(this.#range, leafHash(id.multihash.digest))
    for (const { hash, index, level } of nodes) this.#nodes.set(`${level}/${index}`, hash)
    this.#range = range
  }
}

export function validatorsNamed(names: readonly string[]): ValidatorSet['validators'] {
  return makeGenesis(Object.fromEntries(names.map((name) => [name, 'hospital' as const])), names).validators
}

/** Epochs of three blocks; the validators change before the second (a leaves, e comes) and before the fifth. */
export async function changingChain(): Promise<HeaderChain> {
  const chain = new HeaderChain()
  const sets = ['abcd', 'bcde', 'bcde', 'bcde', 'bcdefg', 'bcdefg']
  for (const next of sets.slice(1)) {
    await chain.add({ txs: await threeTxs(chain) })
    await chain.add()
    await chain.add({ next: next.split(''), later: next.length })
  }
  await chain.add()
  await chain.add()
  return chain
}

/** Three accounts that begin; other ones at each height. */
export async function threeTxs({ head, id }: HeaderChain): Promise<SignedTx[]> {
  const people = ['ada', 'ben', 'cleo'].map((name) => person(`${name} ${head.height}`, 'a'))
  return Promise.all(
    people.map(async ({ id: account, name, org, signer }) => {
      const at = { chain: id, org, account, seq: 1, expiresMs: START_MS + HOUR_MS }
      return signTx(txBodyOf(draftAccountCreate(keysOf(name)), at), [signer, staff(org).signer])
    }),
  )
}
