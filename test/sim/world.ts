/**
 * A world: machines, a network, virtual time. What happens in it depends on its seed alone.
 *
 * Nothing of the ledger is imitated: each machine runs the production replica, chain and mempool; only what they stand on is simulated.
 */
import type { InstitutionId } from '../../src/core/ids.ts'
import { BLOCK_TIME_AHEAD_MS_MAX } from '../../src/core/limits.ts'
import { faultyMax, quorumOf } from '../../src/ledger/validators.ts'
import type { StateView } from '../../src/ledger/state.ts'
import type { Lane, SignedTx } from '../../src/ledger/transaction.ts'
import type { Traitor } from './byzantine/attack.ts'
import { type Consortium, accountTx, consensusSigner, consortiumOf, recordTx } from './consortium.ts'
import { Watch } from './invariants.ts'
import { Machine } from './machine.ts'
import { Network } from './network.ts'
import { Random } from './random.ts'
import { Scheduler } from './scheduler.ts'
import { Trace } from './trace.ts'
import { staff } from '../unit/ledger/network.ts'

const RECORD_LANE: Lane = 1

export interface WorldOptions {
  readonly seed: number
  readonly validators: number
  /** By the validator's index. */
  readonly traitors?: ReadonlyMap<number, Traitor>
  /** Gets each line of the trace. */
  readonly print?: (line: string) => void
}

export class World {
  readonly scheduler = new Scheduler()
  readonly random: Random
  readonly trace: Trace
  readonly watch: Watch
  readonly network: Network
  readonly consortium: Consortium
  readonly machines: Machine[] = []
  /** What clients submitted and a machine took, with the machine. */
  readonly submitted: { readonly tx: SignedTx; readonly machine: Machine }[] = []
  #serial = 0

  constructor(options: WorldOptions) {
    const { seed, traitors = new Map<number, Traitor>(), validators } = options
    this.random = new Random(seed)
    this.trace = new Trace(options.print)
    this.consortium = consortiumOf(validators)
    this.watch = new Watch({
      isOverwhelmed: traitors.size > faultyMax(validators),
      faultyMax: faultyMax(validators),
      trace: (what) => this.trace.add(this.scheduler.nowMs, what),
      nowMs: () => this.scheduler.nowMs,
      latestMs: () => this.#latestMs(),
      indexOf: (epoch, institution) => this.#indexOf(epoch, institution),
    })
    const { random, scheduler } = this
    this.network = new Network({
      scheduler,
      random,
      deliver: (from, to, bytes) => {
        for (const machine of this.machines) if (machine.institution === to) machine.deliver(from, bytes)
      },
    })
    for (const [index, institution] of this.consortium.institutions.entries()) {
      const traitor = traitors.get(index)
      this.addMachine(institution, institution, traitor)
    }
  }

  get honest(): Machine[] {
    return this.machines.filter((machine) => !machine.isByzantine)
  }

  /** Of the validators. */
  get byzantineCount(): number {
    return new Set(this.machines.filter(({ isByzantine }) => isByzantine).map(({ institution }) => institution)).size
  }

  addMachine(name: string, institution: InstitutionId, traitor?: Traitor): Machine {
    const { consortium, network, random, scheduler, trace, watch } = this
    const signer = consensusSigner(institution)
    const others = (): readonly Machine[] => this.machines
    const deps = { scheduler, random, trace, watch, network, consortium, signer, others }
    const machine = new Machine(deps, { name, institution, ...(traitor === undefined ? {} : { traitor }) })
    this.machines.push(machine)
    return machine
  }

  start(): void {
    for (const machine of this.machines) machine.start()
  }

  /** @param forMs - of virtual time. @returns whether it ended since it was done. */
  run(forMs: number, isDone?: () => boolean): Promise<boolean> {
    return this.scheduler.run(this.scheduler.nowMs + forMs, isDone)
  }

  /** Two validators don't hear each other. */
  cutBetween(one: number, other: number): void {
    const [a, b] = [this.consortium.institutions[one], this.consortium.institutions[other]]
    if (a === undefined || b === undefined) throw new Error('no such validator')
    this.network.cut(a, b)
    this.network.cut(b, a)
  }

  note(what: string): void {
    this.trace.add(this.scheduler.nowMs, `world: ${what}`)
  }

  /** Everything works again; traitors stay what they are. */
  heal(): void {
    this.note('all faults end')
    this.network.heal()
    for (const machine of this.machines) machine.heal()
  }

  /** Work that a fault or a client does beside: its errors are bugs of the simulation. */
  whenDone(work: Promise<unknown>): void {
    work.catch((error: unknown) => this.watch.violate(`the simulation failed: ${String((error as Error).stack)}`))
  }

  whenCopied<T>(copying: Promise<T>, then: (copy: T) => void): void {
    this.whenDone(copying.then(then))
  }

  async submitSomething(): Promise<void> {
    const voting = this.machines.filter(({ process }) => process?.replica?.state !== undefined)
    if (voting.length === 0) return
    const machine = this.random.pick(voting)
    await (this.random.chance(0.5) ? this.submitAccount(machine) : this.submitRecord(machine))
  }

  /** One transaction at each honest validator. */
  async submitEverywhere(): Promise<SignedTx[]> {
    const taken: SignedTx[] = []
    for (const machine of this.honest.filter(({ process }) => process?.replica?.state !== undefined)) {
      const tx = await this.submitAccount(machine)
      if (tx === undefined) this.watch.violate(`${machine.name} takes no transaction`)
      else taken.push(tx)
    }
    return taken
  }

  /** The `seq` of the next transaction of an institution's account, those included that wait on its machine. */
  async nextSeq(machine: Machine, lane: Lane): Promise<number> {
    const { chain, mempool } = machine.process ?? {}
    if (chain === undefined || mempool === undefined) return 1
    const account = staff(machine.institution).id
    const waiting = this.submitted.filter(
      ({ tx }) => tx.body.account === account && tx.body.lane === lane && mempool.has(tx.id),
    )
    return (await chain.nextSeq(account, lane)) + waiting.length
  }

  /** Looks into the stores: what was told to clients is there, and equal heights have equal states. */
  async audit(): Promise<void> {
    const states = new Map<number, { readonly digest: string; readonly name: string }>()
    for (const machine of this.honest) {
      const { chain } = machine.process ?? {}
      if (chain === undefined) continue
      for (const { tx } of this.submitted) {
        const height = this.watch.heightOf(tx)
        const found = await chain.reader.receipt(tx.id)
        if (height === undefined || height > chain.head.height || found?.height === height) continue
        this.watch.violate(`${machine.name} does not have ${tx.id} at ${height}, where it was final`)
      }
      const digest = await machine.stateDigest()
      const { height } = chain.head
      if (height === this.watch.finalHeight) await this.#auditQuotas(machine, chain.reader)
      const same = states.get(height)
      if (same !== undefined && same.digest !== digest) {
        this.watch.violate(`${machine.name} and ${same.name} store other states at height ${height}`)
      }
      states.set(height, { digest, name: machine.name })
    }
  }

  async #auditQuotas({ name }: Machine, state: StateView): Promise<void> {
    for (const org of this.consortium.institutions) {
      const held = (await state.get('quota', new TextEncoder().encode(org))) as { milliTokens: number } | undefined
      const due = this.watch.quotaOf(org)
      if (held?.milliTokens !== due)
        this.watch.violate(`${name} holds ${held?.milliTokens} of ${org}'s quota, not ${due}`)
    }
  }

  /** For whoever looks for the reason of a stall. */
  states(machines: readonly Machine[]): string {
    return machines
      .map(({ name, process }) => {
        const state = process?.replica?.state
        const height = process?.chain?.head.height
        if (state === undefined) return `${name}: height ${height}, follows`
        const blocks = [...state.blocks.values()].map(({ block, status }) => `${block.header.view} ${status}`)
        return `${name}: height ${height}, view ${state.set.epoch}.${state.view}, blocks [${blocks.join()}]`
      })
      .join('; ')
  }

  /** A client of an institution submits a transaction to that institution's machine. */
  async submitAccount(machine: Machine): Promise<SignedTx | undefined> {
    const tx = await accountTx(this.consortium, machine.institution, this.#serial++)
    return (await this.submit(machine, tx)) ? tx : undefined
  }

  /** The same, with a transaction that has its place in a row. */
  async submitRecord(machine: Machine): Promise<SignedTx | undefined> {
    if (machine.process?.chain === undefined) return undefined
    const next = await this.nextSeq(machine, RECORD_LANE)
    const tx = await recordTx(this.consortium, machine.institution, next, this.#serial++)
    return (await this.submit(machine, tx)) ? tx : undefined
  }

  async submit(machine: Machine, tx: SignedTx): Promise<boolean> {
    const { process } = machine
    if (process?.chain === undefined) return false
    const refusal = await process.submit(tx)
    this.trace.add(this.scheduler.nowMs, `client of ${machine.name}: ${tx.id.slice(-6)} ${refusal ?? 'waits'}`)
    if (refusal === undefined) this.submitted.push({ tx, machine })
    return refusal === undefined
  }

  /** What f + 1 honest validators' clocks are beyond already, and two seconds: a quorum with fewer of them there is none. */
  #latestMs(): number {
    const walls = this.honest.map((machine) => machine.latestWallMs).sort((a, b) => b - a)
    const needed = Math.max(1, quorumOf(this.consortium.validators) - faultyMax(this.consortium.validators))
    return (walls[Math.min(needed, walls.length) - 1] ?? 0) + BLOCK_TIME_AHEAD_MS_MAX
  }

  #indexOf(epoch: number, institution: InstitutionId): number | undefined {
    for (const { process } of this.machines) {
      const set = process?.chain?.validators(epoch)
      if (set === undefined) continue
      const index = set.validators.findIndex((one) => one.institution === institution)
      return index === -1 ? undefined : index
    }
    return undefined
  }
}
