/**
 * What must hold in every world, checked from outside: from the bytes that machines send and store, read with a plain CBOR decoder,
 * and not by the code under test.
 *
 * - One chain: at each height honest machines have one block, which follows the one below; after it, one state root.
 * - No final block is from the future, by the clocks of the honest validators.
 * - Quota is conserved: what is taken out of an institution's bucket is what it had in blocks, what comes in is block time.
 * - A transaction that a client was told is final stays where it is.
 * - No honest validator sends two votes that exclude each other, nor a vote that isn't durable in its log.
 * - No honest validator fails, stops signing, or takes another honest one for faulty.
 * - Where two blocks are final at one height, votes that exclude each other are known of more than f validators.
 */
import { decode } from '@ipld/dag-cbor'
import type { CID } from 'multiformats/cid'
import type { InstitutionId } from '../../src/core/ids.ts'
import type { FinalHeader } from '../../src/ledger/header.ts'
import type { SignedTx } from '../../src/ledger/transaction.ts'
import type { Evidence } from '../../src/ledger/vote.ts'
import type { Machine } from './machine.ts'

/** Thousandths of a transaction: 10,000 saved, 1,000 a second. */
const QUOTA_FULL = 10_000_000
const QUOTA_PER_MS = 1_000
const QUOTA_PER_TX = 1_000

interface SeenVote {
  readonly epoch: number
  readonly view: number
  readonly kind: string
  readonly block?: CID
  readonly signer: number
  readonly sig: Uint8Array
}

interface SeenBlock {
  readonly id: string
  readonly parent: string
  readonly stateRoot: string
  readonly by: string
}

/** What a message says, as far as the watch looks at it. */
interface SeenMessage {
  readonly type: string
  readonly header?: Uint8Array
  readonly vote?: SeenVote
  readonly certificate?: {
    readonly epoch: number
    readonly view: number
    readonly kind: string
    readonly block?: CID
  }
  readonly epoch?: number
  readonly view?: number
  readonly block?: CID
}

export interface WatchOptions {
  /** More validators are byzantine than may be: forks are allowed, and must leave evidence. */
  readonly isOverwhelmed: boolean
  readonly faultyMax: number
  readonly trace: (what: string) => void
  readonly nowMs: () => number
  /** Milliseconds since the Unix epoch: what no final block's time may be beyond. */
  readonly latestMs: () => number
  readonly indexOf: (epoch: number, institution: InstitutionId) => number | undefined
}

export class Watch {
  readonly violations: string[] = []
  readonly #options: WatchOptions
  readonly #messages = new WeakMap<Uint8Array, SeenMessage | undefined>()
  /** By institution: votes and headers that are durable, and votes that it sent. */
  readonly #durable = new Map<InstitutionId, Set<string>>()
  readonly #sentBy = new Map<string, SeenVote[]>()
  readonly #known = new Set<string>()
  readonly #byHeight = new Map<number, SeenBlock>()
  readonly #placed = new Map<string, number>()
  /** By transaction: the honest machines on which it is final. */
  readonly #holders = new Map<string, Set<string>>()
  /** By height: who pays for the block's transactions, and when. */
  readonly #charges = new Map<number, { readonly orgs: readonly string[]; readonly timeMs: number }>()
  readonly #forks: string[] = []
  #reports = 0
  finalHeight = 0

  constructor(options: WatchOptions) {
    this.#options = options
  }

  /** Two blocks at one height, as text. */
  get forks(): readonly string[] {
    return this.#forks
  }

  get reports(): number {
    return this.#reports
  }

  /** The height where a transaction became final first. */
  heightOf(tx: SignedTx): number | undefined {
    return this.#placed.get(tx.id)
  }

  isFinalOn(tx: SignedTx, machines: readonly Machine[]): boolean {
    const holders = this.#holders.get(tx.id)
    return holders !== undefined && machines.every(({ name }) => holders.has(name))
  }

  durable(institution: InstitutionId, record: { readonly type: number; readonly payload: Uint8Array }): void {
    const known = this.#durable.get(institution) ?? new Set<string>()
    this.#durable.set(institution, known)
    // Votes and blocks; what else the log holds binds nobody.
    if (record.type > 2) return
    const value: unknown = decode(record.payload)
    if (isVote(value)) known.add(voteText(value))
    else if (hasHeader(value)) known.add(textOf(value.header))
  }

  /** A message leaves a machine. */
  sent(machine: Machine, to: InstitutionId, bytes: Uint8Array): void {
    const message = this.#read(bytes)
    const { epoch = message?.certificate?.epoch, view = message?.certificate?.view } = message?.vote ?? message ?? {}
    const kind = message?.vote?.kind ?? message?.certificate?.kind ?? ''
    const block = message?.vote?.block ?? message?.certificate?.block ?? message?.block
    const what =
      message === undefined ? `${bytes.length} bytes` : `${message.type} ${kind} ${epoch}.${view} ${short(block)}`
    this.#options.trace(`${machine.name} → ${to}: ${what}`)
    const vote = message?.vote
    if (vote === undefined || message === undefined) return
    const isNew = !this.#known.has(voteText(vote))
    this.#known.add(voteText(vote))
    const index = this.#options.indexOf(vote.epoch, machine.institution)
    if (index !== vote.signer) {
      if (!machine.isByzantine) this.violate(`${machine.name} sent a vote of validator ${vote.signer}`)
      return
    }
    if (!machine.isByzantine) this.#checkDurable(machine, message, vote)
    if (isNew) this.#checkConflict(machine, vote)
  }

  /** A machine holds a block to be final. */
  final(
    machine: Machine,
    { header, headerBytes, id }: FinalHeader,
    stateRoot: Uint8Array,
    txs: readonly SignedTx[],
  ): void {
    const { height } = header
    this.#options.trace(
      `${machine.name} final ${height} ${short(id)} view ${header.epoch}.${header.view} with ${txs.length}`,
    )
    if (machine.isByzantine) return
    const said = decode<{ parent: CID; stateRoot: Uint8Array; timeMs: number }>(headerBytes)
    const block = { id: String(id), parent: String(said.parent), stateRoot: textOf(stateRoot), by: machine.name }
    const known = this.#byHeight.get(height)
    if (known === undefined) {
      this.#byHeight.set(height, block)
      this.finalHeight = Math.max(this.finalHeight, height)
      this.#charges.set(height, { orgs: txs.map(({ body }) => body.org), timeMs: header.timeMs })
    }
    const below = this.#byHeight.get(height - 1)
    if (known !== undefined && known.id !== block.id) {
      this.#fork(`height ${height}: ${known.by} has ${known.id.slice(-6)}, ${machine.name} has ${short(id)}`)
    } else if (known !== undefined && known.stateRoot !== block.stateRoot) {
      this.violate(`state roots differ at height ${height}: ${known.by}, ${machine.name}`)
    } else if (below !== undefined && below.id !== block.parent) {
      this.#fork(`height ${height} of ${machine.name} does not follow ${below.id.slice(-6)} of ${below.by}`)
    }
    if (said.timeMs > this.#options.latestMs()) this.violate(`${machine.name} has a block from the future at ${height}`)
    if (textOf(said.stateRoot) !== block.stateRoot) this.violate(`${machine.name} has another state than its header`)
    for (const tx of txs) {
      const at = this.#placed.get(tx.id)
      if (at !== undefined && at !== height) this.#fork(`${tx.id} is at ${at} and, on ${machine.name}, at ${height}`)
      this.#placed.set(tx.id, at ?? height)
      const holders = this.#holders.get(tx.id) ?? new Set<string>()
      this.#holders.set(tx.id, holders.add(machine.name))
    }
  }

  reported(machine: Machine, { first, second }: Evidence): void {
    this.#reports++
    this.#options.trace(
      `${machine.name} reports validator ${first.signer}: ${first.kind} and ${second.kind} in ${first.view}`,
    )
    if (!this.#isConflict(first, second)) this.violate(`${machine.name} reports what is no conflict`)
  }

  failed(machine: Machine, error: unknown): void {
    const text =
      error instanceof Error ? `${error.message} ${error.stack?.split('\n')[1]?.trim() ?? ''}` : String(error)
    if (text.startsWith('simulated:')) return
    this.violate(`${machine.name} failed: ${text}`)
  }

  /** Looks into the validators' own state. */
  checkOpinions(machines: readonly Machine[]): void {
    if (this.#options.isOverwhelmed) return
    for (const machine of machines) {
      const state = machine.process?.replica?.state
      if (machine.isByzantine || state === undefined) continue
      if (state.halted !== undefined) this.violate(`${machine.name} signs nothing any more: ${state.halted}`)
      for (const index of state.banned) {
        const name = state.set.validators[index]?.institution
        const isHonest = machines.every((one) => one.institution !== name || !one.isByzantine)
        if (isHonest) this.violate(`${machine.name} holds ${name} to be faulty`)
      }
    }
  }

  /** Validators of which votes are known that exclude each other. */
  guilty(epoch: number): number[] {
    const guilty: number[] = []
    for (const [key, votes] of this.#sentBy) {
      const [ofEpoch, signer] = key.split(' ').map(Number)
      const excludes = votes.some((one, index) => votes.slice(index + 1).some((other) => this.#isConflict(one, other)))
      if (ofEpoch === epoch && signer !== undefined && excludes && !guilty.includes(signer)) guilty.push(signer)
    }
    return guilty
  }

  /** What an institution's bucket must hold after the newest final block; `undefined` where it paid for nothing yet. */
  quotaOf(org: string): number | undefined {
    let held: { readonly milliTokens: number; readonly timeMs: number } | undefined
    // By height, and not as they were seen: a machine that is killed between a block's sync and its word of it leaves that to others.
    for (const [, { orgs, timeMs }] of [...this.#charges].sort(([one], [other]) => one - other)) {
      for (const payer of orgs) {
        if (payer !== org) continue
        const before = held ?? { milliTokens: QUOTA_FULL, timeMs }
        const refilled = Math.min(QUOTA_FULL, before.milliTokens + (timeMs - before.timeMs) * QUOTA_PER_MS)
        held = { milliTokens: refilled - QUOTA_PER_TX, timeMs }
      }
    }
    return held?.milliTokens
  }

  #fork(what: string): void {
    this.#forks.push(what)
    this.#options.trace(`FORK ${what}`)
    if (!this.#options.isOverwhelmed) this.violate(`fork: ${what}`)
    const guilty = this.guilty(0)
    if (guilty.length <= this.#options.faultyMax) {
      this.violate(`a fork leaves evidence against ${guilty.length} validators only: ${what}`)
    }
  }

  #checkDurable(machine: Machine, message: SeenMessage, vote: SeenVote): void {
    const durable = this.#durable.get(machine.institution)
    if (durable?.has(voteText(vote)) !== true) this.violate(`${machine.name} sent a vote that is not durable`)
    if (message.type === 'proposal' && durable?.has(textOf(message.header ?? new Uint8Array(0))) !== true) {
      this.violate(`${machine.name} sent a proposal that is not durable`)
    }
  }

  #checkConflict(machine: Machine, vote: SeenVote): void {
    const key = `${vote.epoch} ${vote.signer} ${vote.view}`
    const before = this.#sentBy.get(key) ?? []
    const other = before.find((one) => this.#isConflict(one, vote))
    before.push(vote)
    this.#sentBy.set(key, before)
    if (other === undefined || machine.isByzantine) return
    this.violate(
      `${machine.name} sent ${vote.kind} ${short(vote.block)} and ${other.kind} ${short(other.block)} in ${key}`,
    )
  }

  /** Two blocks in one view, or a view both finalized and given up. */
  #isConflict(a: Omit<SeenVote, 'sig'>, b: Omit<SeenVote, 'sig'>): boolean {
    if (a.epoch !== b.epoch || a.view !== b.view || a.signer !== b.signer) return false
    const kinds = new Set([a.kind, b.kind])
    if (kinds.has('nullify')) return kinds.has('finalize')
    return String(a.block) !== String(b.block)
  }

  violate(what: string): void {
    this.#options.trace(`VIOLATION ${what}`)
    this.violations.push(`at ${this.#options.nowMs().toFixed(1)} ms: ${what}`)
  }

  #read(bytes: Uint8Array): SeenMessage | undefined {
    if (this.#messages.has(bytes)) return this.#messages.get(bytes)
    let message: SeenMessage | undefined
    try {
      message = decode<SeenMessage>(bytes)
    } catch {
      // Rubbish that a byzantine validator sends.
      message = undefined
    }
    if (typeof message !== 'object' || message === null || typeof message.type !== 'string') message = undefined
    if (message?.vote !== undefined && !isVote(message.vote)) message = undefined
    this.#messages.set(bytes, message)
    return message
  }
}

function isVote(value: unknown): value is SeenVote {
  return typeof value === 'object' && value !== null && 'sig' in value && 'signer' in value && 'view' in value
}

function hasHeader(value: unknown): value is { readonly header: Uint8Array } {
  return typeof value === 'object' && value !== null && 'header' in value
}

function voteText({ block, epoch, kind, sig, signer, view }: SeenVote): string {
  return `${epoch} ${view} ${kind} ${block} ${signer} ${textOf(sig)}`
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1')
}

/** The end of a CID: its beginning is the same in all. */
function short(block: CID | undefined): string {
  return block === undefined ? '' : `${block}`.slice(-6)
}
