/**
 * This peer as a validator: `Replica` over real ports. Where its vote log can't be relied on, the peer only follows, and says
 * why: a key that may have said something else must not speak again.
 */
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { concat } from 'uint8arrays/concat'
import { equals } from 'uint8arrays/equals'
import type { Fault } from '../core/coded-error.ts'
import { CONSENSUS_BYTES_PER_SECOND, CONSENSUS_MESSAGES_PER_SECOND } from '../core/limits.ts'
import type { InstitutionId } from '../core/ids.ts'
import type { Clock, KeyValueStore, Log, Signer } from '../core/ports.ts'
import type { HaltFault } from '../consensus/faults.ts'
import { Replica } from '../consensus/replica.ts'
import type { SimplexOptions } from '../consensus/simplex-state.ts'
import { statusOf } from '../consensus/simplex-status.ts'
import type { ConsensusStatus } from '../consensus/status.ts'
import { verifyMany } from '../crypto/signatures.ts'
import { type Chain, isDamage } from '../ledger/chain.ts'
import type { Mempool } from '../ledger/mempool.ts'
import { leaderOf, quorumOf } from '../ledger/validators.ts'
import type { Evidence } from '../ledger/vote.ts'
import { ConsensusStreams } from '../p2p/consensus-streams.ts'
import type { P2pHost } from '../p2p/host.ts'
import { Pace } from '../p2p/pace.ts'
import { VoteLog, VOTES_FOLDER } from '../store/vote-log.ts'
import { VoteLogError } from '../store/vote-log-frames.ts'
import type { MemberSet } from './member-set.ts'
import type { LedgerNode } from './ledger-node.ts'

export interface ValidatorDeps {
  readonly members: Pick<MemberSet, 'institutions'>
  readonly chain: Chain
  readonly mempool: Mempool
  readonly node: LedgerNode
  readonly host: P2pHost
  /** Remembers that this key has signed: its vote log must be there from then on. */
  readonly state: KeyValueStore
  readonly signer: Signer
  readonly clock: Clock
  readonly log: Log
  readonly onEvidence: (evidence: Evidence) => void
  /** Called when consensus can't go on: a failed write, or a bug. The daemon ends then; a restart goes on safely. */
  readonly onFailure: (error: unknown) => void
}

export interface ValidatorOptions extends SimplexOptions {
  readonly institution: InstitutionId
  readonly dataDir: string
}

/** A quorum's votes and certificates are a few dozen messages a block; full blocks come every 150 ms. */
const PACE = {
  messagesPerSecond: CONSENSUS_MESSAGES_PER_SECOND,
  bytesPerSecond: CONSENSUS_BYTES_PER_SECOND,
  burstSeconds: 2,
}
/** Each key has a note of its own: another one begins a log of its own. */
const SIGNED = new TextEncoder().encode('signed/')

/**
 * Notes that this key may have signed, so that it never signs again without its vote log.
 *
 * @param publicKey - of the consensus key, 32 bytes.
 */
export async function noteSigned(state: KeyValueStore, publicKey: Uint8Array): Promise<void> {
  await state.batch([{ key: signedKey(publicKey), value: new Uint8Array([1]) }])
}

export class Validator {
  readonly #deps: ValidatorDeps
  readonly #options: ValidatorOptions
  readonly #streams: ConsensusStreams
  readonly #paces = new Map<string, Pace>()
  #voteLog: VoteLog | undefined
  #replica: Replica | undefined
  #timer: NodeJS.Timeout | undefined
  #stopListening: (() => void) | undefined
  #starting: Promise<void> | undefined
  #isPaused = false
  /** Why this key must not vote. */
  #halted: Fault | undefined

  constructor(deps: ValidatorDeps, options: ValidatorOptions) {
    this.#deps = deps
    this.#options = options
    const { host, log } = deps
    this.#streams = new ConsensusStreams({
      host,
      log,
      onMessage: (from, bytes) => this.#onMessage(from, bytes),
      mayJoin: (peer) => this.#mayJoin(peer),
    })
  }

  /**
   * Votes from now on, if the ledger names this peer's consensus key; else from the epoch on in which it does.
   *
   * @throws {StoreError} where the vote log can't be opened at all
   */
  async start(): Promise<void> {
    const { chain, log, node, onFailure } = this.#deps
    this.#stopListening = chain.onBlock(({ final }) => {
      // Once: a peer that catches up passes the ends of many epochs while it begins.
      const mayBegin = this.#starting === undefined && !this.#isPaused
      if (final.header.nextValidators !== undefined && mayBegin && this.#isNamed()) {
        this.#starting = this.#begin().catch(onFailure)
      }
      // An ancestor that became final with its descendant is told of by the descendant.
      if (this.#replica?.state === undefined || final.certificate.kind !== 'finalize') return
      node.publish(final).catch((error: unknown) => log.warn({ err: error }, 'a header was not published'))
    })
    await this.resume()
  }

  async stop(): Promise<void> {
    this.#stopListening?.()
    await this.pause()
  }

  /** Takes no part in consensus for now: the chain is about to be another. */
  async pause(): Promise<void> {
    this.#isPaused = true
    await this.#starting
    clearTimeout(this.#timer)
    this.#deps.node.serveValidator(undefined)
    const [replica, voteLog] = [this.#replica, this.#voteLog]
    this.#starting = undefined
    this.#replica = undefined
    this.#voteLog = undefined
    await replica?.stop()
    await this.#streams.stop()
    await voteLog?.close()
  }

  /** Goes on at the head of the chain as it is now, as after a restart: with all that was said before in its vote log. */
  async resume(): Promise<void> {
    this.#isPaused = false
    if (!this.#isNamed()) return
    this.#starting = this.#begin()
    await this.#starting
  }

  /** @returns `undefined` while this institution is no validator. */
  status(): ConsensusStatus | undefined {
    const { chain, clock, node } = this.#deps
    const state = this.#replica?.state
    const halted = this.#halted ?? this.#otherKey()
    if (halted !== undefined) return haltedStatus(chain, node.behind, halted)
    if (state === undefined) return undefined
    return statusOf(state, { nowMs: performance.now(), wallMs: clock.nowMs() }, node.behind)
  }

  #isNamed(): boolean {
    const { chain, signer } = this.#deps
    return chain.validators()?.validators.some(({ key }) => equals(key, signer.publicKey)) === true
  }

  /** The ledger names this institution, with a key that isn't here: a new key that isn't approved yet, or keys of an old copy. */
  #otherKey(): HaltFault | undefined {
    const { institution } = this.#options
    const validators = this.#deps.chain.validators()?.validators ?? []
    if (this.#isNamed() || !validators.some((one) => one.institution === institution)) return undefined
    return { code: 'CONSENSUS_KEY_OTHER', institution }
  }

  async #begin(): Promise<void> {
    const { log, node, signer, state } = this.#deps
    try {
      this.#voteLog = await this.#openLog()
    } catch (error) {
      if (!(error instanceof VoteLogError)) throw error
      this.#halted = error.fault
      log.error({ fault: error.fault }, 'this validator signs nothing: its vote log can not be relied on')
      return
    }
    await noteSigned(state, signer.publicKey)
    const replica = this.#makeReplica(this.#voteLog)
    await this.#streams.start()
    await replica.start()
    this.#replica = replica
    node.serveValidator({
      isVoting: () => replica.state !== undefined,
      wake: () => replica.transactionArrived(),
      share: (envelopes) => replica.share(envelopes),
    })
  }

  async #openLog(): Promise<VoteLog> {
    const { chain, log, signer, state } = this.#deps
    const mustExist = await hasSigned(state, signer.publicKey)
    const dir = join(this.#options.dataDir, VOTES_FOLDER)
    return VoteLog.open({ log }, { dir, mustExist, chain: chain.id, publicKey: signer.publicKey })
  }

  #makeReplica(voteLog: VoteLog): Replica {
    const { chain, clock, log, mempool, node, onEvidence, onFailure, signer } = this.#deps
    return new Replica(
      {
        chain,
        mempool,
        signer,
        voteLog,
        clock,
        log,
        onEvidence,
        onFailure,
        monotonicMs: () => performance.now(),
        setTimer: (atMs, wake) => {
          clearTimeout(this.#timer)
          this.#timer = globalThis.setTimeout(wake, Math.max(0, Math.ceil(atMs - performance.now())))
        },
        send: (to, message) => this.#send(to, message),
        verify: verifyMany,
        catchUp: () => node.catchUp(),
        onTransactions: (envelopes, from) => node.takeShared(from, envelopes),
      },
      this.#options,
    )
  }

  #send(to: InstitutionId, message: Uint8Array): void {
    for (const [peer, institution] of this.#deps.members.institutions)
      if (institution === to) this.#streams.send(peer, message)
  }

  #onMessage(from: string, bytes: Uint8Array): Promise<void> | undefined {
    const institution = this.#deps.members.institutions.get(from)
    if (institution === undefined) return undefined
    this.#replica?.receive(institution, bytes)
    const pace = this.#paces.get(from) ?? new Pace(PACE, () => performance.now())
    this.#paces.set(from, pace)
    const waitMs = pace.take(bytes.length)
    return waitMs === 0 ? undefined : setTimeout(waitMs, undefined, { ref: false })
  }

  #mayJoin(peer: string): boolean {
    const institution = this.#deps.members.institutions.get(peer)
    const validators = this.#deps.chain.validators()?.validators ?? []
    return validators.some((one) => one.institution === institution)
  }
}

function signedKey(publicKey: Uint8Array): Uint8Array {
  return concat([SIGNED, publicKey])
}

async function hasSigned(state: KeyValueStore, publicKey: Uint8Array): Promise<boolean> {
  try {
    return (await state.get(signedKey(publicKey))) !== undefined
  } catch (error) {
    if (!isDamage(error)) throw error
    return true
  }
}

/** Of a validator that only follows. */
function haltedStatus(chain: Chain, behind: number, halted: Fault): ConsensusStatus | undefined {
  const { head } = chain
  const set = chain.validators()
  const leader = set?.validators[leaderOf(set, head.view + 1)]
  if (set === undefined || leader === undefined) return undefined
  return {
    epoch: set.epoch,
    view: head.view + 1,
    leader: leader.institution,
    height: head.height,
    finalTimeMs: head.timeMs,
    validates: false,
    pendingBlocks: 0,
    waitsFor: behind > 0 ? 'catching-up' : 'nothing',
    missing: [],
    stalledSinceMs: null,
    quorum: quorumOf(set.validators.length),
    halted,
  }
}
