/**
 * One peer's collector in virtual block time: the production collector, live walk, marks and staged columns, over a store and a ledger in memory.
 * While a round reads, the world goes on: columns are staged, committed, taken over, lost; objects are put, released, renewed, held, named
 * by records, forgotten, erased. Any write of the collector's may be the last before a crash; what was durable is opened again.
 *
 * What must stay is written down here a second time, from the world's own notes and not from the ledger's state: `#mustStay`.
 */
import type { CID } from 'multiformats/cid'
import { encodeCanonical, decodeCanonical } from '../../src/core/codec.ts'
import type { InstitutionId } from '../../src/core/ids.ts'
import { STAGED_GRACE_MS } from '../../src/core/limits.ts'
import type { KeyValueStore, Log } from '../../src/core/ports.ts'
import { RAW, cborCid, digestCid, rawCid } from '../../src/crypto/hash.ts'
import type { StorageErased } from '../../src/domain/storage-erasure.ts'
import { storageParamsChange } from '../../src/domain/storage-params.ts'
import {
  OBJECT_NAMESPACE,
  extentChanges,
  extentRemovals,
  objectChange,
  storagePeerChanges,
} from '../../src/domain/storage-state.ts'
import type { ListOptions, StateChange, StateEntry, StateReader } from '../../src/ledger/state.ts'
import type { DraftTx } from '../../src/ledger/transaction.ts'
import { Collector } from '../../src/peer/collector.ts'
import { LedgerBlocks } from '../../src/peer/ledger-blocks.ts'
import { MEMBERSHIP_NAMESPACE, MEMBERS_KEY } from '../../src/domain/validator-sets.ts'
import { OrphanMarks } from '../../src/peer/orphan-marks.ts'
import { Pins } from '../../src/peer/pins.ts'
import { RecentBlocks } from '../../src/peer/recent-blocks.ts'
import { StagedColumns } from '../../src/peer/staged-columns.ts'
import { ExtentMap, encodeExtentMap } from '../../src/shards/extent-map.ts'
import { stripesOf } from '../../src/shards/stripes.ts'
import { type Blocks, RemoveCapability } from '../../src/store/blocks.ts'
import { MemoryStore } from '../../src/store/memory-store.ts'
import { PrefixStore } from '../../src/store/prefix-store.ts'
import { peerIdOf, seedOf, signerOf } from '../unit/ledger/network.ts'
import {
  COLUMNS,
  type SimExtent,
  type SimObject,
  allDigests,
  bytesOf,
  columnDigests,
  columnNames,
  isErased,
  nameOf,
} from './collection-objects.ts'
import { Random } from './random.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const ORPHAN_MS = 7 * DAY_MS
const OWN = 0
const CODE = { data: 2, parity: 1 }
const quiet: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }

const ACCOUNT = `acc1${'a'.repeat(52)}`

class Crash extends Error {}

/** A column whose receipt this peer has given out. */
interface Promised {
  readonly object: SimObject
  readonly extent: SimExtent
  readonly column: number
  readonly expiresMs: number
}

export class CollectionWorld {
  readonly #random: Random
  /** Of the disk: survives a crash. */
  readonly #state = new MemoryStore()
  readonly #blocks = new Map<string, { readonly digest: Uint8Array; readonly bytes: Uint8Array }>()
  readonly #ledger = new Map<string, { readonly key: Uint8Array; readonly value: Uint8Array }>()
  readonly #jobs = new Map<string, SimObject>()
  readonly #objects: SimObject[] = []
  readonly #promised: Promised[] = []
  readonly #pool: Uint8Array[] = []
  #capability = new RemoveCapability()
  #recent = new RecentBlocks(0)
  #staged: StagedColumns | undefined
  #collector: Collector | undefined
  #nowMs = 1_800_000_000_000
  /** Chance of a crash at each durable step of a round. */
  #crashRatio = 0
  /** Lives of the process: what an earlier one still had under way does nothing any more. */
  #life = 0
  #isBusy = false
  #names = 0
  readonly violations: string[] = []
  readonly trace: string[] = []
  crashes = 0
  removed = 0
  erased = 0

  constructor(seed: number) {
    this.#random = new Random(seed)
    this.#apply([storageParamsChange({ orphanMs: ORPHAN_MS })])
    this.#apply([{ namespace: MEMBERSHIP_NAMESPACE, key: MEMBERS_KEY, value: ['p0', 'p1'] }])
    for (let number = 0; number <= COLUMNS; number++) {
      const [institution, peer] = [`p${number}` as InstitutionId, peerIdOf(`p${number}`)]
      const entry = { number, peer, institution, zone: institution, bytes: 1e12, state: 'active', sinceMs: 1 } as const
      this.#apply(storagePeerChanges(entry))
    }
  }

  /** @param steps - of the world, with a round of collection every few. */
  async run(steps: number): Promise<void> {
    await this.#open()
    this.#crashRatio = 0.004
    for (let step = 0; step < steps; step++) {
      await this.#act()
      if (this.#random.unit() < 0.5) await this.#round()
    }
  }

  /** No more is stored, all time limits pass; rounds go on until nothing changes. @returns digests that nothing needs and that are here */
  async settle(): Promise<number> {
    this.#crashRatio = 0
    this.#isBusy = true
    this.#jobs.clear()
    for (let round = 0; round < 6; round++) {
      this.#nowMs += ORPHAN_MS + DAY_MS
      await this.#round()
      await this.#round()
    }
    return [...this.#blocks.values()].filter(
      ({ digest }) => this.#mustStay(digest) === undefined && !this.#isNamed(digest),
    ).length
  }

  get blocks(): number {
    return this.#blocks.size
  }

  /** Receipts that still count, and columns that the ledger says this peer has, of which a block is missing. */
  lost(): string[] {
    const lost: string[] = []
    const check = (what: string, extent: SimExtent, column: number): void => {
      for (const digest of columnDigests(extent, column)) if (!this.#blocks.has(nameOf(digest))) lost.push(what)
    }
    for (const { column, expiresMs, extent, object } of this.#promised) {
      if (this.#nowMs <= expiresMs && !isErased(object)) check(`promised ${extent.index}/${column}`, extent, column)
    }
    for (const object of this.#objects) {
      if (isErased(object)) continue
      for (const { holders, index } of object.committed) {
        const extent = object.extents[index]
        for (const [column, holder] of holders.entries()) {
          if (holder === OWN && extent !== undefined) check(`held ${index}/${column}`, extent, column)
        }
      }
    }
    for (const object of this.#jobs.values()) {
      for (const digest of allDigests(object)) if (!this.#blocks.has(nameOf(digest))) lost.push('of a job')
    }
    return lost
  }

  async #open(): Promise<void> {
    const life = this.#life
    const staged = await StagedColumns.open(new PrefixStore(this.#state, 'staged/'))
    this.#staged = staged
    this.#recent = new RecentBlocks(0)
    const pins = await Pins.open({ state: new PrefixStore(this.#state, 'pins/'), clock: { nowMs: () => this.#nowMs } })
    const head = () => ({ height: 0, timeMs: this.#nowMs })
    const chain = {
      id: cborCid(seedOf('chain')).toString() as never,
      get head() {
        return head() as never
      },
      reader: this.#reader as never,
      onBlock: () => () => undefined,
    }
    const store = this.#store(life) as Blocks
    this.#collector = new Collector({
      chain,
      store,
      capability: this.#capability,
      staged,
      placements: {
        list: () =>
          [...this.#jobs.values()].map(({ extents, manifest }) => ({
            manifest,
            maps: extents.map(({ link }) => link),
          })),
      },
      uploads: { digests: function* () {}, roots: () => [] },
      fresh: { digests: function* () {} },
      recent: this.#recent,
      objects: { all: async function* () {}, unlist: async () => undefined },
      pins,
      marks: new OrphanMarks(this.#crashing(new PrefixStore(this.#state, 'collector/'), life)),
      ledgerBlocks: new LedgerBlocks(chain),
      account: { submit: async (draft: DraftTx) => this.#submit(draft) } as never,
      signer: signerOf('p0 peer'),
      peer: peerIdOf('p0'),
      institution: 'p0' as InstitutionId,
      log: quiet,
    })
  }

  async #round(): Promise<void> {
    try {
      await this.#collector?.collect({ dry: false, signal: new AbortController().signal })
    } catch (error) {
      if (!(error instanceof Crash)) throw error
      this.crashes++
      this.trace.push('crash')
      await this.#open()
    }
  }

  /** What goes on in the world, also in the midst of a round. */
  async #act(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    try {
      const acts: (() => void | Promise<void>)[] = [
        () => this.#stage(),
        () => this.#stage(),
        () => this.#put(),
        () => this.#commit(),
        () => this.#commit(),
        () => this.#confirm(),
        () => this.#move(),
        () => this.#lose(),
        () => this.#keeping(),
        () => this.#erase(),
        () => this.#pass(),
        () => this.#pass(),
      ]
      await acts[this.#random.between(0, acts.length - 1)]?.()
    } finally {
      this.#isBusy = false
    }
  }

  async #step(): Promise<void> {
    if (this.#random.unit() < 0.02) await this.#act()
  }

  #pass(): void {
    this.#nowMs +=
      this.#random.unit() < 0.3 ? this.#random.between(1, 4) * DAY_MS : this.#random.between(1, 3) * HOUR_MS
  }

  #make(isOwn: boolean): SimObject {
    const name = `${this.#names++}`
    const make = (
      index: number,
    ): Omit<SimExtent, 'link' | 'bytes' | 'map'> & { readonly digests: Uint8Array[]; readonly sizes: number } => {
      const segments = this.#random.between(1, 4)
      const shards = stripesOf(segments, CODE).reduce((sum, { data, parity }) => sum + data + parity, 0)
      const digests = Array.from({ length: shards }, (_, at) => {
        const known = this.#pool[this.#random.between(0, Math.max(0, this.#pool.length - 1))]
        if (known !== undefined && this.#random.unit() < 0.15) return known
        const digest = seedOf(`shard ${name} ${index} ${at}`)
        this.#pool.push(digest)
        return digest
      })
      return { index, digests, sizes: segments }
    }
    const parts = Array.from({ length: this.#random.between(1, 2) }, (_, index) => make(index))
    const bytes = encodeCanonical({
      name,
      leaves: parts.flatMap(({ digests }) => digests.map((one) => digestCid(RAW, one))),
    })
    const manifest = cborCid(bytes)
    const extents = parts.map(({ digests, index, sizes }) => {
      const map = ExtentMap.of({
        version: 1,
        manifest,
        index,
        code: CODE,
        sizes: new Uint8Array(4 * sizes),
        digests: new Uint8Array(Buffer.concat(digests)),
        audits: new Uint8Array(32 * digests.length),
        copies: [{ cid: manifest, bytes: bytes.length }],
      })
      const { bytes: mapBytes, cid: link } = encodeExtentMap(map)
      return { index, map, link, bytes: mapBytes }
    })
    const object = { manifest, bytes, extents, isOwn, stored: undefined, committed: [], records: 0, isForgotten: false }
    this.#objects.push(object)
    return object
  }

  #pick(filter: (object: SimObject) => boolean): SimObject | undefined {
    const some = this.#objects.filter(filter)
    return some[this.#random.between(0, Math.max(0, some.length - 1))]
  }

  /** As `ShardHolder` does: noted, told, written, noted with its map, looked at again; only then it is promised. */
  async #stage(): Promise<void> {
    const staged = this.#staged
    if (staged === undefined) return
    const again = this.#random.unit() < 0.3 ? this.#pick((one) => !isErased(one)) : undefined
    const object = again ?? this.#make(false)
    for (const extent of object.extents) {
      const column = this.#random.between(0, COLUMNS - 1)
      const expiresMs = this.#nowMs + this.#random.between(1, 24) * HOUR_MS
      const of = { manifest: object.manifest, index: extent.index, column, bytes: 1, expiresMs }
      await staged.note(of)
      const digests = columnDigests(extent, column)
      for (const digest of digests) {
        this.#recent.note([digest])
        this.#write(digest, bytesOf(object, extent, digest))
        // It is abandoned in the middle, now and then.
        if (this.#random.unit() < 0.02) return
      }
      await staged.note({ ...of, map: extent.link })
      if (this.#staged !== staged || digests.some((digest) => !this.#blocks.has(nameOf(digest)))) return
      this.#promised.push({ object, extent, column, expiresMs })
    }
  }

  /** As `ObjectService.commit` does. */
  async #put(): Promise<void> {
    const object = this.#make(true)
    const digests = allDigests(object)
    this.#recent.note(digests)
    for (const digest of digests) this.#write(digest, bytesOf(object, undefined, digest))
    for (const { bytes, link } of object.extents) this.#write(link.multihash.digest, bytes)
    this.#jobs.set(object.manifest.toString(), object)
  }

  /** The next extent of an object that this peer has a part in, with receipts that still count. */
  #commit(): void {
    const object = this.#pick((one) => !one.isForgotten && !isErased(one) && one.committed.length < one.extents.length)
    const extent = object?.extents[object.committed.length]
    if (object === undefined || extent === undefined) return
    const own = this.#promised.findLast((one) => one.extent === extent && one.expiresMs > this.#nowMs)
    if (own === undefined && !this.#jobs.has(object.manifest.toString())) return
    const missing = this.#random.unit() < 0.4 ? this.#random.between(0, COLUMNS - 1) : undefined
    const holders = Array.from({ length: COLUMNS }, (_, column) => {
      if (column === own?.column) return OWN
      return column === missing ? undefined : column + 1
    })
    const { map } = extent
    object.committed.push({
      manifest: object.manifest,
      index: extent.index,
      map: extent.link,
      root: map.root(),
      group: extent.index,
      data: CODE.data,
      parity: CODE.parity,
      segments: map.segments,
      columns: map.columnBytes(),
      copies: map.copiesBytes(),
      holders,
    })
    object.stored = {
      manifest: object.manifest,
      org: (object.isOwn ? 'p0' : 'p1') as InstitutionId,
      account: ACCOUNT as never,
      content: rawCid(object.bytes),
      bytes: 1,
      extents: object.extents.length,
      committed: object.committed.length,
      stored: 1,
      startedMs: object.stored?.startedMs ?? this.#nowMs,
      leaseMs: object.stored?.leaseMs ?? this.#nowMs + this.#random.between(1, 30) * DAY_MS,
      holds: object.stored?.holds ?? 0,
      erasedMs: 0,
    }
    this.#save(object)
    if (object.committed.length === object.extents.length) this.#jobs.delete(object.manifest.toString())
  }

  /** Others confirm what nobody holds. */
  #confirm(): void {
    const object = this.#pick(
      (one) => one.committed.some(({ holders }) => holders.includes(undefined)) && !isErased(one),
    )
    if (object === undefined) return
    object.committed = object.committed.map((one) => ({
      ...one,
      holders: one.holders.map((holder, column) => holder ?? column + 1),
    }))
    this.#save(object)
  }

  /** Another peer takes a column over from this one. */
  #move(): void {
    const object = this.#pick((one) => one.committed.some(({ holders }) => holders.includes(OWN)) && !isErased(one))
    if (object === undefined) return
    object.committed = object.committed.map((one) => ({
      ...one,
      holders: one.holders.map((holder, column) => (holder === OWN ? column + 1 : holder)),
    }))
    this.#save(object)
  }

  #lose(): void {
    const object = this.#pick((one) => one.committed.length > 0 && !isErased(one))
    if (object === undefined) return
    const lost = this.#random.between(0, COLUMNS - 1)
    object.committed = object.committed.map((one) => ({
      ...one,
      holders: one.holders.map((holder, column) => (column === lost && holder !== OWN ? undefined : holder)),
    }))
    this.#save(object)
  }

  /** Released, renewed, held, let go, named by a record, forgotten. */
  #keeping(): void {
    const object = this.#pick(({ stored }) => stored !== undefined && stored.erasedMs === 0)
    const stored = object?.stored
    if (object === undefined || stored === undefined) return
    const acts = [
      () => (object.stored = { ...stored, leaseMs: Math.min(stored.leaseMs, this.#nowMs) }),
      () => (object.stored = { ...stored, leaseMs: Math.min(stored.leaseMs, this.#nowMs) }),
      () => (object.stored = { ...stored, leaseMs: Math.max(stored.leaseMs, this.#nowMs + 20 * DAY_MS) }),
      () => (object.stored = { ...stored, holds: stored.holds + 1 }),
      () => (object.stored = { ...stored, holds: Math.max(0, stored.holds - 1) }),
      () => void (this.#random.unit() < 0.3 ? object.records++ : this.#forget(object)),
    ]
    acts[this.#random.between(0, acts.length - 1)]?.()
    if (!object.isForgotten) this.#save(object)
  }

  /** As `storage.forget` does. */
  #forget(object: SimObject): boolean {
    const { records, stored } = object
    if (stored === undefined || stored.erasedMs > 0 || records > 0 || stored.holds > 0) return false
    const isWhole = stored.committed === stored.extents
    const endMs = isWhole ? stored.leaseMs : stored.startedMs + ORPHAN_MS
    if (endMs + ORPHAN_MS > this.#nowMs) return false
    this.#apply([
      ...object.committed.flatMap(extentRemovals),
      { namespace: OBJECT_NAMESPACE, key: object.manifest.multihash.digest, value: undefined },
    ])
    object.committed = []
    object.stored = undefined
    object.isForgotten = true
    this.trace.push(`forgotten ${object.manifest.toString()}`)
    return true
  }

  #erase(): void {
    if (this.#random.unit() < 0.7) return
    const object = this.#pick(({ stored }) => stored !== undefined && stored.holds === 0 && stored.erasedMs === 0)
    if (object?.stored === undefined) return
    object.stored = { ...object.stored, erasedMs: this.#nowMs }
    this.#save(object)
    this.#jobs.delete(object.manifest.toString())
  }

  async #submit({ payload, type }: DraftTx): Promise<object> {
    if (type === 'storage.forget') {
      const object = this.#objects.find((one) => one.manifest.equals((payload as { manifest: CID }).manifest))
      return { receipt: { ok: object !== undefined && this.#forget(object) } }
    }
    for (const { column, index, manifest } of (payload as StorageErased).columns) {
      const object = this.#objects.find((one) => one.manifest.equals(manifest))
      const extent = object?.committed[index]
      const sim = object?.extents[index]
      if (object === undefined || extent?.holders[column] !== OWN || sim === undefined) continue
      this.erased++
      // What was signed for is gone, or another object's.
      for (const digest of columnDigests(sim, column)) {
        if (this.#blocks.has(nameOf(digest)) && !this.#isNamed(digest)) this.violations.push('signed for what is here')
      }
      object.committed = object.committed.map((one) =>
        one.index === index ? { ...one, holders: one.holders.with(column, undefined) } : one,
      )
      this.#save(object)
    }
    return { receipt: { ok: true } }
  }

  /** Why a block must not go now, by the world's own notes; `undefined`: it may. */
  #mustStay(digest: Uint8Array): string | undefined {
    const name = nameOf(digest)
    for (const { column, expiresMs, extent, object } of this.#promised) {
      if (this.#nowMs > expiresMs + STAGED_GRACE_MS || isErased(object)) continue
      if (columnNames(extent, column).has(name)) return 'promised'
    }
    for (const object of this.#jobs.values())
      if (allDigests(object).some((one) => nameOf(one) === name)) return 'of a job'
    for (const object of this.#objects) {
      if (isErased(object)) continue
      for (const { holders, index } of object.committed) {
        const extent = object.extents[index]
        if (extent === undefined) continue
        // Whether anybody keeps it or not: until the ledger has forgotten it.
        if (holders.some((holder, column) => holder === OWN && columnNames(extent, column).has(name))) return 'held'
      }
    }
    return undefined
  }

  /** Part of an object that is on the ledger, whoever holds it. */
  #isNamed(digest: Uint8Array): boolean {
    const name = nameOf(digest)
    return this.#objects.some(
      (object) =>
        !isErased(object) &&
        object.committed.some(({ index }) => {
          const extent = object.extents[index]
          return extent !== undefined && [0, 1, 2].some((column) => columnNames(extent, column).has(name))
        }),
    )
  }

  #write(digest: Uint8Array, bytes: Uint8Array): void {
    this.#blocks.set(nameOf(digest), { digest, bytes })
  }

  #save({ committed, manifest, records, stored }: SimObject): void {
    if (stored === undefined) return
    this.#apply([
      objectChange(stored),
      ...committed.flatMap(extentChanges),
      { namespace: 'record-manifest', key: manifest.multihash.digest, value: records },
    ])
  }

  #apply(changes: readonly StateChange[]): void {
    for (const { key, namespace, value } of changes) {
      const name = `${namespace} ${nameOf(key)}`
      if (value === undefined) this.#ledger.delete(name)
      else this.#ledger.set(name, { key, value: encodeCanonical(value) })
    }
  }

  readonly #reader: StateReader = {
    get: async (namespace, key) => {
      await this.#step()
      const found = this.#ledger.get(`${namespace} ${nameOf(key)}`)
      return found === undefined ? undefined : decodeCanonical(found.value)
    },
    list: (namespace, prefix, options) => this.#list(namespace, prefix, options),
  }

  async *#list(namespace: string, prefix: Uint8Array, _options?: ListOptions): AsyncGenerator<StateEntry> {
    const start = `${namespace} ${nameOf(prefix)}`
    // As the database gives it: as it was when the list was begun.
    const found = [...this.#ledger].filter(([name]) => name.startsWith(start)).toSorted(([a], [b]) => (a < b ? -1 : 1))
    for (const [, { key, value }] of found) {
      await this.#step()
      yield { key, version: 0, value: decodeCanonical(value) }
    }
  }

  #store(life: number): Partial<Blocks> {
    const here = (digest: Uint8Array) => this.#blocks.get(nameOf(digest))
    return {
      has: (digest) => here(digest) !== undefined,
      size: (digest) => here(digest)?.bytes.length,
      damaged: () => [],
      digests: () => [...this.#blocks.values()].map(({ digest }) => digest)[Symbol.iterator]() as Generator<Uint8Array>,
      stats: () => ({ usedBytes: 0, capacityBytes: 1 }) as never,
      read: async (digest) => {
        await this.#step()
        return here(digest)?.bytes
      },
      remove: async (digest, capability, isWanted) => {
        if (capability !== this.#capability) throw new Error('no right to remove')
        await this.#step()
        this.#crashNow(life)
        if (isWanted?.(digest) === true) return false
        const why = this.#mustStay(digest)
        if (why !== undefined) this.violations.push(`removed a block that is ${why}`)
        if (!this.#blocks.delete(nameOf(digest))) return false
        this.removed++
        this.#crashNow(life)
        return true
      },
    }
  }

  #crashing(state: KeyValueStore, life: number): KeyValueStore {
    return {
      get: async (key) => state.get(key),
      range: (options) => state.range(options),
      close: async () => undefined,
      batch: async (changes) => {
        await this.#step()
        this.#crashNow(life)
        await state.batch(changes)
        this.#crashNow(life)
      },
    }
  }

  #crashNow(life: number): void {
    if (life !== this.#life) throw new Crash()
    if (this.#random.unit() >= this.#crashRatio) return
    this.#life++
    this.#staged = undefined
    throw new Crash()
  }
}
