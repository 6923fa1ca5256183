/**
 * A validator: carries out what `simplex.ts` wants done, over ports, and tells it what happened. No clock, timer, socket or
 * file of its own, so a simulation runs exactly this code.
 *
 *   message, timer, new head ──► event ──► step ──► effects ──┬► sign, log durably ──► `cast`  ──► sent
 *                                  ▲                          ├► execute, build, check ──► answer
 *                                  └──────────── answers ─────┴► send, commit, timer
 *
 * Effects run side by side: while a vote is being made durable, messages are taken. That is safe since the step remembers
 * what it decided, and a vote is sent only when the answer `cast` says that it is durable.
 *
 * @see docs/spec/consensus.md
 */
import type { CID } from 'multiformats/cid'
import { CodecError } from '../core/codec.ts'
import { faultOf } from '../core/coded-error.ts'
import type { InstitutionId, TxId } from '../core/ids.ts'
import {
  BLOCK_TX_BYTES_MAX,
  CATCH_UP_INTERVAL_MS,
  TRANSACTIONS_SHARED_AGAIN_MAX,
  TRANSACTIONS_SHARED_MAX,
  TRANSACTIONS_SHARE_AGAIN_MS,
} from '../core/limits.ts'
import { BlockError, HeaderError } from '../ledger/block-check.ts'
import type { AcceptedBlock } from '../ledger/block-tree.ts'
import type { Certificate } from '../ledger/certificate.ts'
import type { Chain } from '../ledger/chain.ts'
import type { Mempool } from '../ledger/mempool.ts'
import type { ValidatorSet } from '../ledger/validators.ts'
import type { Ballot, Evidence, Vote } from '../ledger/vote.ts'
import { BlockPace } from './block-pace.ts'
import { BlockService } from './block-service.ts'
import { type ConsensusMessage, decodeMessage, encodeMessage } from './messages.ts'
import { startSimplex, stepSimplex, tipOf } from './simplex.ts'
import type { EventTime, SimplexEffect, SimplexEvent, SimplexNote, SimplexStep } from './simplex-events.ts'
import type { Block, FinalPoint, HaltReason, SimplexState } from './simplex-state.ts'
import { isFarAbove } from './simplex-timers.ts'
import type { ReplicaDeps, ReplicaOptions } from './replica-ports.ts'
import { SignatureChecks } from './signature-checks.ts'
import { VoteRecords } from './vote-records.ts'
import { signVote } from './votes.ts'

/** Faults of a block that say nothing against it: this chain has moved on, has no room for it now, or can't be read. */
const NOT_THE_BLOCKS: ReadonlySet<string> = new Set([
  'HEADER_PARENT_UNKNOWN',
  'HEADER_KNOWN',
  'HEADER_EPOCH_UNKNOWN',
  'HEADER_EPOCH_NOT_FINAL',
  'CHAIN_PENDING_FULL',
  'CHAIN_DAMAGED',
  'STORE_DATABASE_DAMAGED',
])

export class Replica {
  readonly #deps: ReplicaDeps
  readonly #options: ReplicaOptions
  readonly #records: VoteRecords
  #state: SimplexState | undefined
  #waiting: { readonly event: (at: EventTime) => SimplexEvent }[] = []
  #isStepping = false
  #stopped = false
  #stopListening: (() => void) | undefined
  #caughtUpMs = Number.NEGATIVE_INFINITY
  #sharedAgainMs = Number.NEGATIVE_INFINITY
  readonly #pace = new BlockPace()
  /** Transactions that have no place in a block on this parent, such as one whose turn a pending block gave to another. */
  #unplaced: { readonly parent: CID; readonly ids: ReadonlySet<TxId> } | undefined
  readonly #checks: SignatureChecks
  readonly #service: BlockService
  /** Why this key must not sign, in whatever epoch. */
  #halted: HaltReason | undefined
  #underWay = new Set<Promise<void>>()

  constructor(deps: ReplicaDeps, options: ReplicaOptions) {
    this.#deps = deps
    this.#options = options
    this.#records = new VoteRecords(deps.voteLog)
    this.#checks = new SignatureChecks(deps)
    this.#service = new BlockService(deps, { againMs: options.deltaMs })
  }

  /** What this validator knows now; `undefined` while it isn't one. */
  get state(): SimplexState | undefined {
    return this.#state
  }

  /** Begins, or begins again after a restart. */
  async start(): Promise<void> {
    const { chain } = this.#deps
    this.#records.load()
    if (this.#records.isHalted) this.#halted = 'key-in-use-elsewhere'
    let { head } = chain
    let certificate = await chain.reader.certificateAt(head.height)
    while (head.height !== chain.head.height) {
      // A block became final meanwhile: the certificate must be the head's, and an epoch is entered once.
      head = chain.head
      certificate = await chain.reader.certificateAt(head.height)
    }
    this.#stopListening = chain.onBlock((block) => this.#onHead(block))
    const { height, id, timeMs, view } = head
    const set = chain.validators()
    if (set !== undefined) this.#enterEpoch(set, { id, height, view, timeMs, certificate: certificate ?? null })
  }

  /** Settles when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#stopped = true
    this.#stopListening?.()
    await Promise.allSettled([...this.#underWay])
  }

  /** A message from an institution's peer; untrusted. */
  receive(from: InstitutionId, bytes: Uint8Array): void {
    const index = this.#state?.set.validators.findIndex((one) => one.institution === from) ?? -1
    if (index === -1) return
    let message: ConsensusMessage
    try {
      message = decodeMessage(bytes)
    } catch (error) {
      if (!(error instanceof CodecError)) throw error
      this.#deps.log.warn({ institution: from, fault: error.fault.code }, 'a validator sent what is no message')
      return
    }
    if (this.#state?.banned.includes(index) === true) return
    if (message.type === 'transactions') this.#deps.onTransactions(message.envelopes, from)
    this.#happen({ type: 'message', from: index, message })
  }

  /** A transaction began to wait. */
  transactionArrived(): void {
    // Where others wait already, one more changes nothing.
    if (this.#state?.transactionsSinceMs === undefined) this.transactionsChanged()
  }

  /** Transactions began to wait, or left. */
  transactionsChanged(): void {
    if (this.#state === undefined) return
    const wait = this.#nextTxs(1, tipOf(this.#state)).length > 0
    if (wait !== (this.#state.transactionsSinceMs !== undefined)) this.#happen({ type: 'transactions', wait })
  }

  /** Hands transactions to all other validators. */
  share(envelopes: readonly Uint8Array[]): void {
    for (let from = 0; from < envelopes.length; ) {
      let to = from
      for (let bytes = 0; to < envelopes.length && to - from < TRANSACTIONS_SHARED_MAX; to++) {
        bytes += envelopes[to]?.length ?? 0
        if (to > from && bytes > BLOCK_TX_BYTES_MAX) break
      }
      this.#send(undefined, { type: 'transactions', envelopes: envelopes.slice(from, to) })
      from = to
    }
  }

  /** Votes in an epoch, if this key is named in it, and nothing was said in a later one. */
  #enterEpoch(set: ValidatorSet, final: FinalPoint): void {
    const me = this.#indexIn(set)
    const said = this.#records.said(set.epoch)
    const growth = this.#state?.growth ?? 0
    this.#state = undefined
    if (me === -1 || said === undefined) return
    const start = { options: this.#options, set, me, final, growth, ...said }
    this.#step(() => startSimplex(this.#halted === undefined ? start : { ...start, halted: this.#halted }, this.#now()))
    this.transactionsChanged()
  }

  #indexIn(set: ValidatorSet): number {
    const { publicKey } = this.#deps.signer
    return set.validators.findIndex(({ key }) => key.every((byte, at) => byte === publicKey[at]))
  }

  #now(): EventTime {
    return { nowMs: this.#deps.monotonicMs(), wallMs: this.#deps.clock.nowMs() }
  }

  #happen(event: DistributiveOmit<SimplexEvent, keyof EventTime>): void {
    // Each event gets the time at which it is taken, so time never goes back between two steps.
    this.#waiting.push({ event: (at) => ({ ...event, ...at }) })
    if (!this.#isStepping) this.#step(() => undefined)
  }

  /** One step, and then those for what happened meanwhile; never one within another. */
  #step(first: () => SimplexStep | undefined): void {
    this.#isStepping = true
    try {
      const step = first()
      if (step !== undefined) this.#take(step)
      for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
        if (this.#state === undefined || this.#stopped) continue
        this.#take(stepSimplex(this.#state, next.event(this.#now())))
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#isStepping = false
    }
  }

  #take(step: SimplexStep): void {
    this.#state = step.state
    for (const effect of step.effects) {
      const task = this.#perform(effect)
      if (task !== undefined) this.#run(task)
    }
  }

  #run(task: Promise<void>): void {
    const tracked = task.catch((error: unknown) => this.#fail(error)).finally(() => this.#underWay.delete(tracked))
    this.#underWay.add(tracked)
  }

  #fail(error: unknown): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#deps.log.error({ err: error, fault: faultOf(error) }, 'consensus stopped')
    this.#deps.onFailure(error)
  }

  #perform(effect: SimplexEffect): Promise<void> | undefined {
    switch (effect.type) {
      case 'cast':
        return this.#cast(effect)
      case 'build':
        return this.#build(effect)
      case 'execute':
        return this.#execute(effect.block)
      case 'check-votes':
        return this.#checkVotes(effect.ballot, effect.votes)
      case 'check-certificates':
        return this.#checkCertificates(effect)
      case 'commit':
        return this.#commit(effect.block, effect.certificate)
      case 'serve':
        return this.#serve(effect)
      case 'report':
        return this.#report(effect.evidence)
      case 'send':
        this.#send(effect.to, effect.message)
        return undefined
      case 'catch-up':
        this.#catchUp()
        return undefined
      case 'share-transactions':
        return this.#shareAgain()
      case 'timer':
        this.#deps.setTimer(effect.atMs, () => this.#happen({ type: 'time' }))
        return undefined
      case 'note':
        this.#note(effect.what)
        return undefined
      default:
        return effect satisfies never
    }
  }

  /** Signs, makes durable, and only then lets the step send. */
  async #cast({ ballots, block, certificates }: Extract<SimplexEffect, { type: 'cast' }>): Promise<void> {
    const { chain, signer } = this.#deps
    const { blocks, set } = this.#state ?? {}
    if (set === undefined) return
    const below: Block[] = []
    for (let at = block; at !== undefined; ) {
      at = blocks?.get(at.header.parent.toString())?.block
      if (at !== undefined) below.push(at)
    }
    const votes: Vote[] = []
    for (const ballot of ballots) votes.push(await signVote(signer, chain.id, set, ballot))
    await this.#records.add(votes, block, certificates ?? [], below)
    this.#happen({ type: 'cast', votes })
  }

  async #build(effect: Extract<SimplexEffect, { type: 'build' }>): Promise<void> {
    const { chain, log, mempool } = this.#deps
    const { justify, parent, timeMs, view } = effect
    mempool.expire(timeMs)
    const epoch = this.#state?.set.epoch
    if (epoch === undefined) return
    // Where nothing becomes final for long, full blocks would only fill the log.
    const isFar = this.#state !== undefined && isFarAbove(this.#state.final, view)
    const txs = isFar ? [] : this.#nextTxs(this.#pace.txsOfBlock(this.#options.deltaMs), parent)
    const proposer = this.#options.institution
    let proposal: Awaited<ReturnType<Chain['propose']>>
    try {
      const startedMs = this.#deps.monotonicMs()
      proposal = await chain.propose({ parent, view, timeMs, proposer, justify, txs })
      this.#pace.executed(txs.length, this.#deps.monotonicMs() - startedMs)
    } catch (error) {
      const fault = faultOf(error)
      if (fault === undefined || !NOT_THE_BLOCKS.has(fault.code)) throw error
      // The chain has moved on meanwhile: the next head says where.
      log.info({ view, fault: fault.code }, 'nothing was proposed')
      return
    }
    for (const { fault, tx } of proposal.dropped) {
      log.info({ tx: tx.id, fault: fault.code }, 'a transaction left without a block')
      mempool.remove(tx.id)
    }
    if (effect.for === 'transactions' && proposal.txs.length === 0 && !isFar) {
      await chain.forget(proposal.id)
      this.#unplaced = { parent, ids: new Set([...this.#unplacedOn(parent), ...txs.map(({ id }) => id)]) }
      this.#happen({ type: 'nothing-to-build', epoch, view })
      this.transactionsChanged()
      return
    }
    const { body, fields: header, header: headerBytes, id } = proposal
    this.#happen({ type: 'built', view, block: { id, header, headerBytes, body, justify } })
  }

  async #execute(block: Block): Promise<void> {
    const { chain, log } = this.#deps
    try {
      await chain.addPending({ header: block.headerBytes, body: block.body })
      this.#happen({ type: 'executed', block: block.id, verdict: 'valid' })
    } catch (error) {
      const fault = faultOf(error)
      const isLater = fault !== undefined && NOT_THE_BLOCKS.has(fault.code)
      // A disk that can't be read is no fault of the block: the process ends then.
      const isBlocks = error instanceof HeaderError || error instanceof BlockError || error instanceof CodecError
      if (!isLater && !isBlocks) throw error
      log.warn({ block: block.id.toString(), height: block.header.height, fault }, 'a proposed block was not taken')
      this.#happen({ type: 'executed', block: block.id, verdict: isLater ? 'later' : 'invalid' })
    }
  }

  async #checkVotes(ballot: Ballot, votes: readonly Vote[]): Promise<void> {
    const set = this.#state?.set
    if (set?.epoch !== ballot.epoch) return
    this.#happen({ type: 'votes-checked', ballot, ...(await this.#checks.votes(set, ballot, votes)) })
  }

  async #checkCertificates(effect: Extract<SimplexEffect, { type: 'check-certificates' }>): Promise<void> {
    const { certificates, epoch, from, view } = effect
    this.#happen({
      type: 'certificates-checked',
      epoch,
      from,
      view,
      ...(await this.#checks.certificates(certificates)),
    })
  }

  async #commit(block: CID, certificate: Certificate): Promise<void> {
    try {
      await this.#deps.chain.finalize(block, certificate)
    } catch (error) {
      // It became final by catching up, with another block on top of it.
      if (faultOf(error)?.code !== 'CHAIN_NOT_PENDING') throw error
      this.#catchUp()
    }
  }

  async #serve({ block, held, to }: Extract<SimplexEffect, { type: 'serve' }>): Promise<void> {
    const given = await this.#service.block(to, block, held)
    if (given !== undefined) this.#send(to, { type: 'block', ...given })
  }

  async #report(evidence: Evidence): Promise<void> {
    const { log, onEvidence } = this.#deps
    const set = this.#state?.set
    const { first } = evidence
    const key = set?.validators[first.signer]
    if (set === undefined || key === undefined || !(await this.#checks.evidence(set, evidence))) return
    log.error({ institution: key.institution, view: first.view }, 'a validator made two votes that exclude each other')
    onEvidence(evidence)
  }

  #send(to: number | undefined, message: ConsensusMessage): void {
    const state = this.#state
    if (state === undefined) return
    const bytes = encodeMessage(message)
    for (const [index, { institution }] of state.set.validators.entries()) {
      if (index !== state.me && (to === undefined || to === index)) this.#deps.send(institution, bytes)
    }
  }

  /** Hands on again what waits, once it was held against the final state: what has no place any more must not be waited for. */
  async #shareAgain(): Promise<void> {
    const { chain, clock, log, mempool, monotonicMs } = this.#deps
    const nowMs = monotonicMs()
    if (nowMs < this.#sharedAgainMs + TRANSACTIONS_SHARE_AGAIN_MS) return
    this.#sharedAgainMs = nowMs
    const envelopes: Uint8Array[] = []
    for (const tx of this.#nextTxs(TRANSACTIONS_SHARED_AGAIN_MAX, undefined)) {
      const fault = await chain.admissionFault(tx, clock.nowMs())
      if (fault === undefined) envelopes.push(tx.bytes)
      else {
        log.info({ tx: tx.id, fault: fault.code }, 'a transaction left without a block')
        mempool.remove(tx.id)
      }
    }
    this.share(envelopes)
    this.transactionsChanged()
  }

  #catchUp(): void {
    const nowMs = this.#deps.monotonicMs()
    if (nowMs < this.#caughtUpMs + CATCH_UP_INTERVAL_MS) return
    this.#caughtUpMs = nowMs
    this.#deps.catchUp()
  }

  #unplacedOn(parent: CID | undefined): ReadonlySet<TxId> {
    const { ids, parent: tried } = this.#unplaced ?? {}
    return ids !== undefined && parent !== undefined && tried?.equals(parent) === true ? ids : new Set()
  }

  /** Transactions for a block on this parent: those in its pending ancestors are taken, and some were tried in vain. */
  #nextTxs(count: number, parent: CID | undefined): ReturnType<Mempool['take']> {
    const { chain, mempool } = this.#deps
    const taken: ReadonlySet<TxId> = parent === undefined ? new Set() : chain.pendingTxs(parent)
    const unplaced = this.#unplacedOn(parent)
    return mempool.take({ bytes: BLOCK_TX_BYTES_MAX, count, skip: (id) => taken.has(id) || unplaced.has(id) })
  }

  #onHead({ final }: AcceptedBlock): void {
    const { certificate, header, id } = final
    const { epoch, height, nextValidators, timeMs, view } = header
    const point: FinalPoint = { id, height, view, timeMs, certificate }
    const set = nextValidators === undefined ? undefined : this.#deps.chain.validators(epoch + 1)
    if (set === undefined) this.#happen({ type: 'head', final: point })
    else this.#enterEpoch(set, point)
    this.transactionsChanged()
    const next = epoch + (nextValidators === undefined ? 0 : 1)
    this.#run(this.#records.forgetBelow(next, view))
  }

  #note(what: SimplexNote): void {
    const { log } = this.#deps
    switch (what.name) {
      case 'view':
        log.debug({ view: what.view, by: what.by }, 'view entered')
        // Another block may be built on now, which has taken transactions.
        this.transactionsChanged()
        return
      case 'nullify':
        log.info({ view: what.view, why: what.why }, 'view given up')
        return
      case 'banned': {
        const institution = this.#state?.set.validators[what.validator]?.institution
        log.error({ institution }, 'a validator sent a signature or a block that does not hold; nothing of it is taken')
        return
      }
      case 'halted':
        this.#halted = what.why
        log.error({ why: what.why }, 'this validator signs nothing any more')
        // Computing something else may be mended by another version; a key that speaks elsewhere is lost.
        if (what.why === 'key-in-use-elsewhere') this.#run(this.#records.halt())
        return
      default:
        what satisfies never
    }
  }
}

type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never
