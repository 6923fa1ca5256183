/**
 * A simulated machine: a disk, clocks, and a process on it that runs the production `Replica`, `Chain` and `Mempool`. It crashes and
 * starts again, pauses, and goes back to older backups.
 */
import { createHash } from 'node:crypto'
import type { InstitutionId } from '../../src/core/ids.ts'
import type { Clock, Log, Signer } from '../../src/core/ports.ts'
import { faultOf } from '../../src/core/coded-error.ts'
import { MemoryStore } from '../../src/store/memory-store.ts'
import type { Traitor } from './byzantine/attack.ts'
import { type Consortium, START_MS } from './consortium.ts'
import { SimStore, SimVoteLog, VoteDisk, copyOf } from './disks.ts'
import type { DiskHost } from './disks.ts'
import type { Watch } from './invariants.ts'
import type { Network } from './network.ts'
import { Process, type ProcessHost } from './process.ts'
import type { Random } from './random.ts'
import type { Scheduler } from './scheduler.ts'
import type { Trace } from './trace.ts'

export interface MachineDeps {
  readonly scheduler: Scheduler
  readonly random: Random
  readonly trace: Trace
  readonly watch: Watch
  readonly network: Network
  readonly consortium: Consortium
  readonly signer: Signer
  /** Processes that answer when this one asks for final blocks. */
  readonly others: () => readonly Machine[]
}

export interface MachineOptions {
  readonly name: string
  readonly institution: InstitutionId
  readonly traitor?: Traitor
}

const RESTART_MS = { low: 50, high: 3_000 } as const

export class Machine {
  readonly name: string
  readonly institution: InstitutionId
  readonly #deps: MachineDeps
  readonly traitor: Traitor | undefined
  /** Whether its key may have signed what it doesn't know of any more, or signs elsewhere too: it counts as byzantine. */
  compromised = false
  /** Chance of a crash at each step of a disk. */
  crashRatio = 0
  syncErrorRatio = 0
  voteLogBytesFactor = 1
  restartsBy = true
  pausedUntilMs = 0
  store = new MemoryStore()
  votes = new VoteDisk()
  process: Process | undefined
  #latestWallMs = 0
  #clock = { sinceMs: 0, monotonicMs: 5_000, rate: 1, wallAheadMs: START_MS - 4_000 }

  constructor(deps: MachineDeps, options: MachineOptions) {
    this.#deps = deps
    this.name = options.name
    this.institution = options.institution
    this.traitor = options.traitor
  }

  get isByzantine(): boolean {
    return this.compromised || this.traitor !== undefined
  }

  get isUp(): boolean {
    return this.process !== undefined
  }

  get monotonicMs(): number {
    const { monotonicMs, rate, sinceMs } = this.#clock
    return monotonicMs + (this.#deps.scheduler.nowMs - sinceMs) * rate
  }

  get wallMs(): number {
    return Math.floor(this.monotonicMs + this.#clock.wallAheadMs)
  }

  /** The latest that its wall clock ever showed. */
  get latestWallMs(): number {
    this.#latestWallMs = Math.max(this.#latestWallMs, this.wallMs)
    return this.#latestWallMs
  }

  /** @param rate - of this machine's seconds; 1 is right. @param wallOffMs - how far the wall clock is ahead. */
  setClock(rate: number, wallOffMs: number): void {
    const { nowMs } = this.#deps.scheduler
    const { latestWallMs: _latest, monotonicMs } = this
    this.#clock = { sinceMs: nowMs, monotonicMs, rate, wallAheadMs: START_MS + 1_000 + nowMs + wallOffMs - monotonicMs }
  }

  trace(what: string): void {
    this.#deps.trace.add(this.#deps.scheduler.nowMs, `${this.name}: ${what}`)
  }

  start(): void {
    if (this.process !== undefined) return
    this.trace('starts')
    const started: Process = new Process(
      this.#host(() => this.process === started),
      this.#processOptions(),
    )
    this.process = started
    started.start()
  }

  /** Ends at once, as by a power loss. Whoever runs it starts it again after a while. */
  crash(why: string): void {
    if (this.process === undefined) return
    this.process = undefined
    const { random, scheduler, watch } = this.#deps
    const left = this.votes.afterCrash(random, (record) => watch.durable(this.institution, record))
    this.trace(`crashes (${why}); ${left}`)
    if (this.restartsBy) scheduler.after(random.between(RESTART_MS.low, RESTART_MS.high), () => this.start())
  }

  pause(forMs: number): void {
    this.trace(`pauses for ${forMs} ms`)
    this.pausedUntilMs = this.#deps.scheduler.nowMs + forMs
  }

  deliver(from: InstitutionId, bytes: Uint8Array): void {
    const { process } = this
    if (process === undefined) return
    this.#whenAwake(process, () => process.receive(from, bytes))
  }

  /** What a backup would hold now. */
  async backup(): Promise<{ readonly store: MemoryStore; readonly votes: VoteDisk }> {
    return { store: await copyOf(this.store), votes: this.votes.copy() }
  }

  /** No fault of its own any more. */
  heal(): void {
    this.crashRatio = 0
    this.syncErrorRatio = 0
    this.pausedUntilMs = 0
    this.setClock(1, 0)
    this.start()
  }

  /** Of all state that is stored. */
  async stateDigest(): Promise<string> {
    const hash = createHash('sha256')
    const state = { from: new TextEncoder().encode('s'), to: new TextEncoder().encode('t') }
    for await (const { key, value } of this.store.range(state)) hash.update(key).update(value)
    return hash.digest('hex')
  }

  #whenAwake(process: Process, run: () => void): void {
    if (this.process !== process) return
    const { scheduler } = this.#deps
    if (scheduler.nowMs >= this.pausedUntilMs) run()
    else scheduler.at(this.pausedUntilMs, () => this.#whenAwake(process, run))
  }

  #after(isRunning: () => boolean, delayMs: number, run: () => void): void {
    const process = this.process
    this.#deps.scheduler.after(delayMs, () => {
      if (process !== undefined && isRunning()) this.#whenAwake(process, run)
    })
  }

  #host(isRunning: () => boolean): ProcessHost {
    const { consortium, network, random, signer, watch } = this.#deps
    const after = (delayMs: number, run: () => void): void => this.#after(isRunning, delayMs, run)
    const disk: DiskHost = {
      random,
      after,
      mayCrash: (where) => {
        if (!isRunning() || !random.chance(this.crashRatio)) return !isRunning()
        this.crash(where)
        return true
      },
      syncFails: () => random.chance(this.syncErrorRatio),
      onDurable: (record) => watch.durable(this.institution, record),
      trace: (what) => this.trace(what),
    }
    const clock: Clock = { nowMs: () => this.wallMs }
    return {
      machine: this,
      consortium,
      random,
      signer,
      clock,
      watch,
      log: this.#log(),
      isRunning,
      after,
      store: new SimStore(disk, this.store),
      voteLog: () => new SimVoteLog(disk, this.votes, this.voteLogBytesFactor),
      monotonicMs: () => this.monotonicMs,
      afterOwn: (ownMs, run) => after(ownMs / this.#clock.rate, run),
      send: (to, bytes, delayMs = 0) => {
        if (!isRunning()) return
        watch.sent(this, to, bytes)
        if (delayMs === 0) network.send(this.institution, to, bytes)
        else after(delayMs, () => network.send(this.institution, to, bytes))
      },
      others: () =>
        this.#deps
          .others()
          .filter(
            (one) =>
              one !== this &&
              network.isUp(this.institution, one.institution) &&
              network.isUp(one.institution, this.institution),
          ),
    }
  }

  #processOptions(): { readonly institution: InstitutionId; readonly traitor: Traitor | undefined } {
    return { institution: this.institution, traitor: this.traitor }
  }

  #log(): Log {
    const line =
      (level: string) =>
      (fields: object, message: string): void => {
        const { err, fault } = fields as { readonly err?: unknown; readonly fault?: { readonly code: string } | string }
        const code = typeof fault === 'string' ? fault : (fault?.code ?? faultOf(err)?.code ?? (err as Error)?.message)
        this.trace(`${level}: ${message}${code === undefined ? '' : ` (${code})`}`)
      }
    return { debug: () => undefined, info: line('info'), warn: line('warn'), error: line('error') }
  }
}
