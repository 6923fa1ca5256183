/** One validator of four on a bench: a test hands it events, and looks at what it wants done. Signatures are made up: a step checks none. */
import type { CID } from 'multiformats/cid'
import type { ConsensusMessage } from '../../../src/consensus/messages.ts'
import { type SimplexStart, startSimplex, stepSimplex } from '../../../src/consensus/simplex.ts'
import type { EventTime, SimplexEffect, SimplexEvent, SimplexStep } from '../../../src/consensus/simplex-events.ts'
import { type Block, SIMPLEX_DEFAULTS, type SimplexState, readBlock } from '../../../src/consensus/simplex-state.ts'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { type Justification, bodyCid, encodeBody } from '../../../src/ledger/block-body.ts'
import type { Certificate } from '../../../src/ledger/certificate.ts'
import { type Header, encodeHeader } from '../../../src/ledger/header.ts'
import { type ValidatorSet, leaderOrder, quorumOf } from '../../../src/ledger/validators.ts'
import type { Ballot, Vote, VoteKind } from '../../../src/ledger/vote.ts'
import { START_MS, seedOf, signerOf } from '../ledger/network.ts'

const NAMES = ['north', 'south', 'east', 'west', 'harbour', 'valley', 'lakeside']
const GENESIS_ID = cborCid(seedOf('genesis'))
const EMPTY = seedOf('empty')

type Happening<E = SimplexEvent> = E extends unknown ? Omit<E, keyof EventTime> : never

export function setOf(validators: number, epoch = 0): ValidatorSet {
  return {
    epoch,
    seed: seedOf(`epoch ${epoch}`),
    validators: Array.from({ length: validators }, (_, at) => NAMES[at] ?? `v${at}`).map((name) => ({
      institution: parseInstitutionId(name),
      key: signerOf(`${name} consensus`).publicKey,
    })),
  }
}

export class Bench {
  readonly set: ValidatorSet
  readonly me: number
  /** Milliseconds since the test began; wall and monotonic clock go together, unless a test says otherwise. */
  nowMs = 0
  wallOffMs = 0
  state: SimplexState
  /** All that was wanted since the last look. */
  #effects: SimplexEffect[] = []

  /** @param start.leads - the view that this validator leads first. @default 2 */
  constructor(start: Partial<SimplexStart> & { readonly leads?: number; readonly validators?: number } = {}) {
    const { leads = 2, validators = 4, ...others } = start
    this.set = others.set ?? setOf(validators)
    this.me = leaderOrder(this.set)[leads % validators] ?? 0
    const final = { id: GENESIS_ID, height: 0, view: 0, timeMs: START_MS - 60_000, certificate: null }
    const given = {
      options: SIMPLEX_DEFAULTS,
      set: this.set,
      me: this.me,
      final,
      votes: [],
      blocks: [],
      certificates: [],
      floorView: 0,
    }
    const step = startSimplex({ ...given, ...others }, this.#time())
    this.state = step.state
    this.#take(step)
  }

  get quorum(): number {
    return quorumOf(this.set.validators.length)
  }

  /** The others, in the order of their indexes. */
  get others(): number[] {
    return [...this.set.validators.keys()].filter((index) => index !== this.me)
  }

  leader(view: number): number {
    const order = leaderOrder(this.set)
    return order[view % order.length] ?? 0
  }

  happen(event: Happening): void {
    this.#take(stepSimplex(this.state, { ...event, ...this.#time() }))
  }

  hear(from: number, message: ConsensusMessage): void {
    this.happen({ type: 'message', from, message })
  }

  wait(forMs: number): void {
    this.nowMs += forMs
    this.happen({ type: 'time' })
  }

  /** What was wanted since the last call, of one type. */
  wanted<T extends SimplexEffect['type']>(type: T): Extract<SimplexEffect, { type: T }>[] {
    const is = (effect: SimplexEffect): effect is Extract<SimplexEffect, { type: T }> => effect.type === type
    const found = this.#effects.filter(is)
    this.#effects = this.#effects.filter((effect) => !is(effect))
    return found
  }

  /** Ballots that it wants to cast, as text, since the last call. */
  ballots(): string[] {
    return this.wanted('cast').flatMap(({ ballots }) => ballots.map((ballot) => this.text(ballot)))
  }

  sent(): { readonly to: number | undefined; readonly message: ConsensusMessage }[] {
    return this.wanted('send')
  }

  sentTypes(): string[] {
    return this.sent().map(({ message }) => message.type)
  }

  text({ block, kind, view }: Ballot): string {
    return block === undefined ? `${kind} ${view}` : `${kind} ${view} ${block.toString().slice(-6)}`
  }

  vote(signer: number, kind: VoteKind, view: number, block?: CID): Vote {
    const ballot: Ballot = { epoch: this.set.epoch, view, kind, ...(block === undefined ? {} : { block }) }
    return { ...ballot, signer, sig: new Uint8Array(64).fill(signer + 1) }
  }

  /** Signed by the given validators; by default by those of the others that make a quorum. */
  certificate(kind: VoteKind, view: number, block?: CID, signers = this.others.slice(0, this.quorum)): Certificate {
    const bitmap = new Uint8Array(1)
    for (const signer of signers) bitmap[0] = (bitmap[0] ?? 0) | (1 << signer)
    const ballot: Ballot = { epoch: this.set.epoch, view, kind, ...(block === undefined ? {} : { block }) }
    return { ...ballot, signers: bitmap, sigs: signers.map((signer) => new Uint8Array(64).fill(signer + 1)) }
  }

  /** A certificate comes, and its signatures hold. */
  learn(kind: VoteKind, view: number, block?: CID, signers?: number[]): Certificate {
    const certificate = this.certificate(kind, view, block, signers)
    this.happen({
      type: 'certificates-checked',
      epoch: this.set.epoch,
      from: this.others[0] ?? 0,
      view: undefined,
      good: [certificate],
      bad: 0,
    })
    return certificate
  }

  /** A block on the genesis, or on another block. */
  block(view: number, on?: Block, change: Partial<Header> & { readonly justify?: Justification } = {}): Block {
    const { justify: given, ...fields } = change
    const parentView = on?.header.view ?? 0
    const between = Array.from({ length: Math.max(0, view - parentView - 1) }, (_one, index) =>
      this.certificate('nullify', parentView + 1 + index),
    )
    const parentCert = on === undefined ? null : this.certificate('notarize', parentView, on.id)
    const body = encodeBody({ txs: [], justify: given ?? { parentCert, nullifyCerts: between } })
    const header = encodeHeader({
      version: 1,
      chain: GENESIS_ID,
      epoch: this.set.epoch,
      view,
      height: (on?.header.height ?? 0) + 1,
      parent: on?.id ?? GENESIS_ID,
      parentView,
      timeMs: START_MS + this.nowMs,
      proposer: this.set.validators[this.leader(view)]?.institution ?? parseInstitutionId('north'),
      body: bodyCid(body),
      txRoot: EMPTY,
      stateRoot: EMPTY,
      receiptsRoot: EMPTY,
      historyRoot: EMPTY,
      layoutVersion: 0,
      ...fields,
    })
    const read = readBlock(header, body)
    if (read === undefined) throw new Error('the bench made something that is no block')
    return read
  }

  /** The leader of a view proposes. */
  propose(block: Block, view = block.header.view, again: Justification | null = null): void {
    const from = this.leader(view)
    const vote = this.vote(from, 'notarize', view, block.id)
    this.hear(from, { type: 'proposal', header: block.headerBytes, body: block.body, again, vote })
  }

  /** What is asked for is done as it should be: certificates hold, blocks are valid. */
  answer(valid = true): void {
    for (const { certificates, from, view } of this.wanted('check-certificates')) {
      this.happen({ type: 'certificates-checked', epoch: this.set.epoch, from, view, good: certificates, bad: 0 })
    }
    for (const { block } of this.wanted('execute'))
      this.happen({ type: 'executed', block: block.id, verdict: valid ? 'valid' : 'invalid' })
  }

  /** The votes that are wanted become durable. */
  makeDurable(): void {
    for (const { ballots } of this.wanted('cast')) {
      this.happen({ type: 'cast', votes: ballots.map((one) => this.vote(this.me, one.kind, one.view, one.block)) })
    }
  }

  #time(): EventTime {
    return { nowMs: this.nowMs, wallMs: START_MS + this.nowMs + this.wallOffMs }
  }

  #take(step: SimplexStep): void {
    this.state = step.state
    this.#effects.push(...step.effects)
  }
}
