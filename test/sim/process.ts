/** What runs on a machine between a start and a crash: the production code over this machine's ports. */
import { Replica } from '../../src/consensus/replica.ts'
import { SIMPLEX_DEFAULTS } from '../../src/consensus/simplex-state.ts'
import { CodecError } from '../../src/core/codec.ts'
import { CodedError, faultOf } from '../../src/core/coded-error.ts'
import type { InstitutionId } from '../../src/core/ids.ts'
import { SYNC_INTERVAL_MS } from '../../src/core/limits.ts'
import type { Clock, Log, Signer } from '../../src/core/ports.ts'
import { verifyMessage } from '../../src/crypto/signatures.ts'
import { accountDirectory } from '../../src/domain/accounts.ts'
import { machines } from '../../src/domain/machines.ts'
import type { BlockBytes } from '../../src/ledger/block-bytes.ts'
import { Chain } from '../../src/ledger/chain.ts'
import { Mempool } from '../../src/ledger/mempool.ts'
import { type SignedTx, decodeEnvelope } from '../../src/ledger/transaction.ts'
import { HandOver } from '../../src/peer/hand-over.ts'
import type { Treason, Traitor } from './byzantine/attack.ts'
import type { Consortium } from './consortium.ts'
import type { SimStore, SimVoteLog } from './disks.ts'
import type { Watch } from './invariants.ts'
import type { Machine } from './machine.ts'
import type { Random } from './random.ts'

export interface ProcessHost {
  readonly machine: Machine
  readonly consortium: Consortium
  readonly random: Random
  readonly signer: Signer
  readonly clock: Clock
  readonly watch: Watch
  readonly log: Log
  readonly store: SimStore
  readonly voteLog: () => SimVoteLog
  readonly isRunning: () => boolean
  readonly monotonicMs: () => number
  /** While the process runs. */
  readonly after: (delayMs: number, run: () => void) => void
  /** The same, in milliseconds of this machine's clock. */
  readonly afterOwn: (ownMs: number, run: () => void) => void
  readonly send: (to: InstitutionId, bytes: Uint8Array, delayMs?: number) => void
  /** Machines that can be reached. */
  readonly others: () => readonly Machine[]
}

/** Round trip and transfer of an answer with final blocks. */
const SYNC_MS = { low: 5, high: 60 } as const
const SYNC_BLOCKS = 64

export class Process {
  readonly #host: ProcessHost
  readonly #institution: InstitutionId
  readonly #traitor: Traitor | undefined
  #treason: Treason | undefined
  #chain: Chain | undefined
  #replica: Replica | undefined
  readonly #mempool = new Mempool()
  readonly #handOver: HandOver
  #timer = 0
  #catchingUp = false

  constructor(
    host: ProcessHost,
    options: { readonly institution: InstitutionId; readonly traitor: Traitor | undefined },
  ) {
    this.#host = host
    this.#institution = options.institution
    this.#traitor = options.traitor
    this.#handOver = new HandOver({
      mempool: this.#mempool,
      votes: () => this.#replica?.state !== undefined,
      forward: async (envelope) => this.#forward(envelope),
      log: host.log,
    })
  }

  get chain(): Chain | undefined {
    return this.#chain
  }

  get replica(): Replica | undefined {
    return this.#replica
  }

  get mempool(): Mempool {
    return this.#mempool
  }

  start(): void {
    this.#begin().catch((error: unknown) => this.#fail(error))
  }

  receive(from: InstitutionId, bytes: Uint8Array): void {
    this.#treason?.hears(from, bytes)
    this.#replica?.receive(from, bytes)
  }

  /** A client's transaction. @returns the code of its refusal, or `undefined` once it waits. */
  async submit(tx: SignedTx): Promise<string | undefined> {
    try {
      if (!(await this.#admit(tx))) return 'known'
    } catch (error) {
      const fault = faultOf(error)
      if (fault === undefined) throw error
      return fault.code
    }
    this.#replica?.share([tx.bytes])
    return undefined
  }

  /** To the first validator that answers. */
  async #forward(envelope: Uint8Array): Promise<void> {
    const { after, others } = this.#host
    const validators = this.#chain?.validators()?.validators ?? []
    const other = others().find(
      ({ institution, isUp }) => isUp && validators.some((one) => one.institution === institution),
    )
    if (other === undefined) return
    const { promise, resolve } = Promise.withResolvers<void>()
    after(SYNC_MS.low, resolve)
    await promise
    await other.process?.submit(decodeEnvelope(envelope))
  }

  /** Asks another machine for final blocks. */
  catchUp(): void {
    if (this.#catchingUp) return
    const { after, random } = this.#host
    const others = this.#host.others().filter(({ isUp }) => isUp)
    if (others.length === 0) return
    const other = random.pick(others)
    this.#catchingUp = true
    const takes = (): number => random.between(SYNC_MS.low, SYNC_MS.high)
    after(takes(), () => {
      const from = (this.#chain?.head.height ?? 0) + 1
      const answered = other.process?.finalBlocks(from) ?? Promise.resolve([])
      answered.then(
        (blocks) => after(takes(), () => this.#takeFinal(blocks)),
        () => {
          this.#catchingUp = false
        },
      )
    })
  }

  /** As `/apotheca/sync/1` answers: up to the last finalize certificate, if there is one. */
  async finalBlocks(from: number): Promise<BlockBytes[]> {
    const blocks: BlockBytes[] = []
    const reader = this.#chain?.reader
    if (reader === undefined) return blocks
    let endOfFinal = 0
    for await (const { certificate, certificateBytes, header, headerBytes } of reader.headers(
      from,
      from + SYNC_BLOCKS - 1,
    )) {
      const body = await reader.bodyAt(header.height)
      if (body === undefined) break
      blocks.push({ header: headerBytes, certificate: certificateBytes, body: body.bytes })
      if (certificate.kind === 'finalize') endOfFinal = blocks.length
    }
    return endOfFinal === 0 ? blocks : blocks.slice(0, endOfFinal)
  }

  #takeFinal(blocks: readonly BlockBytes[]): void {
    this.#accept(blocks).catch((error: unknown) => this.#fail(error))
  }

  async #accept(blocks: readonly BlockBytes[]): Promise<void> {
    try {
      const count = (await this.#chain?.acceptBlocks(blocks)) ?? 0
      this.#catchingUp = false
      if (count > 0 && blocks.length === SYNC_BLOCKS) this.catchUp()
    } catch (error) {
      this.#catchingUp = false
      const fault = faultOf(error)
      if (fault === undefined) throw error
      // Another machine's blocks hold, unless blocks became final here meanwhile, or the world is forked.
      this.#host.machine.trace(`final blocks were not taken (${fault.code})`)
    }
  }

  async #begin(): Promise<void> {
    const { clock, consortium, log, store } = this.#host
    const { genesisBytes } = consortium
    const chain = await Chain.open({ store, clock, log, machines, directory: accountDirectory }, { genesisBytes })
    if (!this.#host.isRunning()) return
    this.#chain = chain
    chain.onBlock(({ final, txs }) => {
      if (!this.#host.isRunning()) return
      this.#mempool.committed(txs, final.header.timeMs)
      this.#host.watch.final(this.#host.machine, final, chain.head.stateRoot, txs)
      if (final.header.nextValidators !== undefined) this.#handOver.now()
    })
    const replica = new Replica(this.#replicaDeps(chain), { ...SIMPLEX_DEFAULTS, institution: this.#institution })
    this.#treason = this.#traitor?.({
      institution: this.#institution,
      chain,
      signer: this.#host.signer,
      random: this.#host.random,
      replica,
      wallMs: () => clock.nowMs(),
      after: this.#host.after,
      send: this.#host.send,
    })
    this.#replica = replica
    await replica.start()
    this.#sync()
  }

  #sync(): void {
    this.catchUp()
    this.#handOver.now()
    this.#host.afterOwn(SYNC_INTERVAL_MS, () => this.#sync())
  }

  #replicaDeps(chain: Chain): ConstructorParameters<typeof Replica>[0] {
    const { afterOwn, clock, isRunning, log, machine, monotonicMs, send, signer, voteLog, watch } = this.#host
    return {
      chain,
      mempool: this.#mempool,
      signer,
      voteLog: voteLog(),
      clock,
      log,
      monotonicMs,
      setTimer: (atMs, wake) => {
        const timer = ++this.#timer
        const ms = Math.max(0, Math.ceil(atMs - monotonicMs()))
        // Every third one runs out early, as those do that a busy event loop sets by a time that is over.
        afterOwn(timer % 3 === 0 && ms > 1 ? ms - 1 : ms, () => {
          if (timer === this.#timer) wake()
        })
      },
      send: (to, message) => {
        if (!isRunning()) return
        if (this.#treason === undefined) send(to, message)
        else for (const { bytes, delayMs } of this.#treason.says(to, message)) send(to, bytes, delayMs)
      },
      verify: async (items) =>
        items.map(({ chain: id, message, publicKey, signature, type }) =>
          verifyMessage(publicKey, signature, type, id, message),
        ),
      catchUp: () => this.catchUp(),
      onTransactions: (envelopes) => this.#takeShared(envelopes),
      onEvidence: (evidence) => watch.reported(machine, evidence),
      onFailure: (error) => this.#fail(error),
    }
  }

  #takeShared(envelopes: readonly Uint8Array[]): void {
    for (const bytes of envelopes) {
      this.#admitBytes(bytes).catch((error: unknown) => {
        if (!(error instanceof CodedError)) this.#fail(error)
      })
    }
  }

  async #admitBytes(bytes: Uint8Array): Promise<void> {
    let tx: SignedTx
    try {
      tx = decodeEnvelope(bytes)
    } catch (error) {
      if (error instanceof CodecError) return
      throw error
    }
    await this.#admit(tx)
  }

  /** @returns whether it is new here. */
  async #admit(tx: SignedTx): Promise<boolean> {
    const chain = this.#chain
    if (chain === undefined) return false
    if (this.#treason?.takes(tx) === false) return false
    if (this.#mempool.has(tx.id) || (await chain.reader.receipt(tx.id)) !== undefined) return false
    const nowMs = this.#host.clock.nowMs()
    const fault = await chain.admissionFault(tx, nowMs)
    if (fault !== undefined) throw new CodedError(fault)
    const next = await chain.nextSeq(tx.body.account, tx.body.lane)
    if (this.#mempool.has(tx.id)) return false
    this.#mempool.add(tx, next, Math.max(nowMs, chain.head.timeMs))
    this.#replica?.transactionsChanged()
    return true
  }

  #fail(error: unknown): void {
    const { isRunning, machine, watch } = this.#host
    if (!isRunning()) return
    watch.failed(machine, error)
    machine.crash('consensus failed')
  }
}
