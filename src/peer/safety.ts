/**
 * How safe what is stored is: of one object, or of all. Computed from the ledger whenever someone asks, never remembered: who has
 * confirmed which column, which peers were removed, failed or fell silent, and when each last proved what it holds.
 *
 * @see docs/spec/health.md
 */
import type { CID } from 'multiformats/cid'
import type { InstitutionId } from '../core/ids.ts'
import { type Standing, getStanding } from '../domain/audit-standing.ts'
import {
  type Extent,
  type StoragePeerEntry,
  type StoredObject,
  getExtent,
  getStoredObject,
  isWhole,
  listExtents,
  listStoragePeers,
} from '../domain/storage-state.ts'
import type { StateReader } from '../ledger/state.ts'
import { type ColumnHolder, type Health, extentHealth, worstHealth } from '../shards/health.ts'
import { PeerError } from './faults.ts'

/** A storage peer that isn't counted on, and why. */
export interface AwayPeer {
  readonly institution: InstitutionId
  readonly why: 'removed' | 'failed' | 'silent'
  /** Block time. */
  readonly sinceMs: number
}

export interface Safety {
  readonly objects: number
  /** Ciphertext bytes, without what the code adds. */
  readonly bytes: number
  readonly extents: number
  /** Institutions that hold a part of it and are counted on. */
  readonly institutions: number
  /** Whichever so many of them fail, nothing is lost; -1: something can't be read now; absent: nothing is stored. */
  readonly survives?: number
  /** Extents with a column that nobody counted on holds: each is being repaired, or waits for it. */
  readonly repairingExtents: number
  readonly repairingBytes: number
  /** Block time at which the holder that proved itself longest ago did so; 0: one of them never has yet; absent: nobody holds anything. */
  readonly provenMs?: number
  /** Holders that aren't counted on. */
  readonly away: readonly AwayPeer[]
}

/** A storage peer, and whether it is counted on. */
export interface KnownPeer extends ColumnHolder {
  readonly entry: StoragePeerEntry
  readonly standing: Standing
}

/** Of all that the ledger lists. */
export async function safetyOfAll(reader: StateReader): Promise<Safety> {
  const peers = await knownPeers(reader)
  const sum = new SafetySum(peers)
  const objects = new Map<string, StoredObject | undefined>()
  for await (const { index, manifest } of listExtents(reader)) {
    const name = manifest.toString()
    if (!objects.has(name)) objects.set(name, await getStoredObject(reader, manifest))
    const object = objects.get(name)
    const extent = await getExtent(reader, manifest, index)
    // What is erased, or was never stored whole, is nothing that anyone relies on.
    if (extent === undefined || object === undefined || object.erasedMs > 0 || !isWhole(object)) continue
    sum.add(extent)
    if (index === 0) sum.count(object)
  }
  return sum.result()
}

/** Of one object. @throws {PeerError} `OBJECT_NOT_PLACED` */
export async function safetyOfObject(reader: StateReader, manifest: CID): Promise<Safety> {
  const object = await getStoredObject(reader, manifest)
  if (object === undefined || !isWhole(object)) {
    throw new PeerError({ code: 'OBJECT_NOT_PLACED', cid: manifest.toString() })
  }
  const sum = new SafetySum(await knownPeers(reader))
  sum.count(object)
  for (let index = 0; index < object.extents; index++) {
    const extent = await getExtent(reader, manifest, index)
    if (extent !== undefined) sum.add(extent)
  }
  return sum.result()
}

/** All that the ledger knows, by number. */
export async function knownPeers(reader: StateReader): Promise<ReadonlyMap<number, KnownPeer>> {
  const peers = new Map<number, KnownPeer>()
  for await (const entry of listStoragePeers(reader)) {
    const standing = await getStanding(reader, entry.number)
    const isCounted = entry.state !== 'removed' && standing.failedMs === 0 && standing.silentMs === 0
    peers.set(entry.number, { entry, standing, institution: entry.institution, isCounted })
  }
  return peers
}

class SafetySum {
  readonly #peers: ReadonlyMap<number, KnownPeer>
  readonly #holders = new Set<number>()
  #worst: Health | undefined
  #objects = 0
  #bytes = 0
  #extents = 0
  #repairing = 0

  constructor(peers: ReadonlyMap<number, KnownPeer>) {
    this.#peers = peers
  }

  count({ bytes }: StoredObject): void {
    this.#objects++
    this.#bytes += bytes
  }

  add(extent: Extent): void {
    this.#extents++
    for (const holder of extent.holders) if (holder !== undefined) this.#holders.add(holder)
    const health = extentHealth(extent, (number) => this.#peers.get(number))
    if (health.missingColumns > 0) this.#repairing++
    this.#worst = worstHealth(this.#worst === undefined ? [health] : [this.#worst, health])
  }

  result(): Safety {
    const holders = [...this.#holders].flatMap((number) => this.#peers.get(number) ?? [])
    const counted = holders.filter(({ isCounted }) => isCounted)
    const worst = this.#worst
    return {
      objects: this.#objects,
      bytes: this.#bytes,
      extents: this.#extents,
      institutions: new Set(counted.map(({ institution }) => institution)).size,
      ...(worst === undefined ? {} : { survives: worst.survives }),
      repairingExtents: this.#repairing,
      repairingBytes: worst?.missingBytes ?? 0,
      ...(counted.length === 0 ? {} : { provenMs: Math.min(...counted.map(({ standing }) => standing.provenMs)) }),
      away: holders.flatMap((peer) => (peer.isCounted ? [] : [awayPeer(peer)])),
    }
  }
}

function awayPeer({ entry, standing }: KnownPeer): AwayPeer {
  const { institution, sinceMs, state } = entry
  if (standing.failedMs > 0) return { institution, why: 'failed', sinceMs: standing.failedMs }
  return state === 'removed'
    ? { institution, why: 'removed', sinceMs }
    : { institution, why: 'silent', sinceMs: standing.silentMs }
}
