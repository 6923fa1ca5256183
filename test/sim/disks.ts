/** Disks of simulated machines: what is written takes a while, and a crash meanwhile leaves it there, not there, or in part. */
import type { LoggedRecord, VoteLogPort } from '../../src/consensus/replica-ports.ts'
import type { KeyChange, KeyValueStore } from '../../src/core/ports.ts'
import { MemoryStore } from '../../src/store/memory-store.ts'
import type { Random } from './random.ts'

/** Where in a write the machine may fail. */
export type DiskStep = 'before the write' | 'while it syncs' | 'synced, not answered' | 'answered'

/** What a disk asks of the machine it is in. */
export interface DiskHost {
  readonly random: Random
  /** Runs it then, unless the process has ended. */
  after(delayMs: number, run: () => void): void
  /** The machine may crash here. @returns whether it did. */
  mayCrash(where: string): boolean
  /** Whether this sync fails. */
  syncFails(): boolean
  /** Told of each record once it is durable. */
  onDurable(record: LoggedRecord): void
  trace(what: string): void
}

const SYNC_MS = { low: 0.2, high: 4 } as const
const NEVER: Promise<never> = new Promise(() => undefined)

/** What of the vote log survives. */
export class VoteDisk {
  durable: LoggedRecord[] = []
  /** Written and not synced: the next crash decides. */
  unsynced: { readonly records: readonly LoggedRecord[]; readonly how: 'append' | 'replace' } | undefined

  copy(): VoteDisk {
    const copy = new VoteDisk()
    copy.durable = [...this.durable]
    return copy
  }

  settle(how: 'append' | 'replace', records: readonly LoggedRecord[]): void {
    this.durable = how === 'append' ? [...this.durable, ...records] : [...records]
    this.unsynced = undefined
  }

  /** What a crash leaves: a torn append keeps its first records, a replacement is atomic. */
  afterCrash(random: Random, onDurable: (record: LoggedRecord) => void): string {
    const { unsynced } = this
    if (unsynced === undefined) return 'nothing was unsynced'
    this.unsynced = undefined
    const { how, records } = unsynced
    const kept = random.chance(0.4) ? records.length : how === 'append' ? random.between(0, records.length - 1) : 0
    if (how === 'append') this.durable.push(...records.slice(0, kept))
    else if (kept === records.length) this.durable = [...records]
    for (const record of records.slice(0, kept)) onDurable(record)
    return `${kept} of ${records.length} unsynced records stayed`
  }
}

export class SimVoteLog implements VoteLogPort {
  readonly records: readonly LoggedRecord[]
  readonly #host: DiskHost
  readonly #disk: VoteDisk
  readonly #bytesFactor: number

  /** @param bytesFactor - what a byte counts: makes the log grow long within a short time. */
  constructor(host: DiskHost, disk: VoteDisk, bytesFactor: number) {
    this.#host = host
    this.#disk = disk
    this.#bytesFactor = bytesFactor
    this.records = [...disk.durable]
  }

  get bytes(): number {
    return this.#disk.durable.reduce((sum, { payload }) => sum + payload.length, 0) * this.#bytesFactor
  }

  append(records: readonly LoggedRecord[]): Promise<void> {
    return this.#write('append', records)
  }

  replace(records: readonly LoggedRecord[]): Promise<void> {
    return this.#write('replace', records)
  }

  #write(how: 'append' | 'replace', records: readonly LoggedRecord[]): Promise<void> {
    const host = this.#host
    if (this.#disk.unsynced !== undefined) throw new Error('two writes of the vote log overlap')
    const crash = (step: DiskStep): boolean => host.mayCrash(`${how} to the vote log: ${step}`)
    if (crash('before the write')) return NEVER
    this.#disk.unsynced = { how, records }
    if (crash('while it syncs')) return NEVER
    return new Promise((resolve, reject) => {
      host.after(syncMs(host.random), () => {
        if (host.syncFails()) {
          host.trace('the sync of the vote log failed')
          reject(new Error('simulated: fdatasync failed'))
          return
        }
        this.#disk.settle(how, records)
        for (const record of records) host.onDurable(record)
        if (crash('synced, not answered')) return
        resolve()
        host.after(0, () => crash('answered'))
      })
    })
  }
}

/** The chain's database: a batch is there whole or not at all. */
export class SimStore implements KeyValueStore {
  readonly #host: DiskHost
  readonly #backing: MemoryStore

  constructor(host: DiskHost, backing: MemoryStore) {
    this.#host = host
    this.#backing = backing
  }

  get(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#backing.get(key)
  }

  range(options: Parameters<KeyValueStore['range']>[0]): ReturnType<KeyValueStore['range']> {
    return this.#backing.range(options)
  }

  batch(changes: readonly KeyChange[]): Promise<void> {
    const host = this.#host
    if (host.mayCrash('batch of the store: before the write')) return NEVER
    return new Promise((resolve, reject) => {
      host.after(syncMs(host.random), () => {
        this.#backing.batch(changes).then(() => {
          if (!host.mayCrash('batch of the store: synced, not answered')) resolve()
        }, reject)
      })
    })
  }

  async close(): Promise<void> {}
}

/** A copy of all that a store holds. */
export async function copyOf(store: MemoryStore): Promise<MemoryStore> {
  const copy = new MemoryStore()
  const changes: KeyChange[] = []
  for await (const entry of store.range({ from: new Uint8Array(0), to: new Uint8Array([0xff]) })) changes.push(entry)
  await copy.batch(changes)
  return copy
}

function syncMs(random: Random): number {
  return SYNC_MS.low + random.unit() * (SYNC_MS.high - SYNC_MS.low)
}
