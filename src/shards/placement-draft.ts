/** A placement table in the making: rows with holes, loads, and what each row still has room for. */
import type { Quotas } from '../domain/placement-quotas.ts'
import { type StoragePeer, loadMax } from '../domain/placement-table.ts'
import { sha256 } from '../crypto/hash.ts'

/** In a row: nobody yet. */
export const NOBODY = 0xffff

export interface Place {
  readonly group: number
  readonly column: number
}

const utf8 = new TextEncoder()

export class PlacementDraft {
  readonly peers: readonly StoragePeer[]
  readonly groups: number
  readonly columns: number
  readonly institutions: number
  readonly zones: number
  /** As `PlacementTable.rows`, with holes. */
  readonly rows: Uint16Array
  readonly #quotas: readonly number[]
  readonly #zoneColumnsMax: number
  readonly #institutionOf: readonly number[]
  readonly #zoneOf: readonly number[]
  readonly #seeds: Uint32Array
  readonly #loads: Int32Array
  /** Whether an institution is in a row: group x institution. */
  readonly #isIn: Uint8Array
  /** Columns of a zone in a row: group x zone. */
  readonly #inZone: Uint8Array

  constructor(peers: readonly StoragePeer[], groups: number, columns: number, quotas: Quotas) {
    this.peers = peers
    this.groups = groups
    this.columns = columns
    this.#quotas = quotas.columns
    this.#zoneColumnsMax = quotas.zoneColumnsMax
    const institutions = [...new Set(peers.map(({ institution }) => institution))]
    const zones = [...new Set(peers.map(({ zone }) => zone))]
    this.institutions = institutions.length
    this.zones = zones.length
    this.#institutionOf = peers.map(({ institution }) => institutions.indexOf(institution))
    this.#zoneOf = peers.map(({ zone }) => zones.indexOf(zone))
    this.#seeds = new Uint32Array(peers.length * 2)
    for (const [index, { peer }] of peers.entries()) {
      const view = new DataView(sha256(utf8.encode(peer)).buffer)
      this.#seeds[index * 2] = view.getUint32(0)
      this.#seeds[index * 2 + 1] = view.getUint32(4)
    }
    this.rows = new Uint16Array(groups * columns).fill(NOBODY)
    this.#loads = new Int32Array(peers.length)
    this.#isIn = new Uint8Array(groups * institutions.length)
    this.#inZone = new Uint8Array(groups * zones.length)
  }

  institutionOf(peer: number): number {
    return this.#institutionOf[peer] ?? 0
  }

  zoneOf(peer: number): number {
    return this.#zoneOf[peer] ?? 0
  }

  quota(peer: number): number {
    return this.#quotas[peer] ?? 0
  }

  /** Columns up to the quota; negative above it. */
  lacks(peer: number): number {
    return this.quota(peer) - (this.#loads[peer] ?? 0)
  }

  /** Columns up to the largest load that the chain accepts; negative above it. */
  room(peer: number): number {
    return loadMax(this.quota(peer)) - (this.#loads[peer] ?? 0)
  }

  has(group: number, institution: number): boolean {
    return this.#isIn[group * this.institutions + institution] === 1
  }

  zoneRoom(group: number, zone: number): number {
    return this.#zoneColumnsMax - (this.#inZone[group * this.zones + zone] ?? 0)
  }

  /** Whether the row can take the peer, in the place of another where one is named. */
  fits(group: number, peer: number, instead = NOBODY): boolean {
    const institution = this.institutionOf(peer)
    const isOther = instead === NOBODY || institution !== this.institutionOf(instead)
    if (isOther && this.has(group, institution)) return false
    const zone = this.zoneOf(peer)
    return (instead !== NOBODY && zone === this.zoneOf(instead)) || this.zoneRoom(group, zone) > 0
  }

  put(group: number, column: number, peer: number): void {
    this.rows[group * this.columns + column] = peer
    this.#count(group, peer, 1)
  }

  clear(group: number, column: number): void {
    const peer = this.rows[group * this.columns + column] ?? NOBODY
    if (peer === NOBODY) return
    this.rows[group * this.columns + column] = NOBODY
    this.#count(group, peer, -1)
  }

  /** Columns of a row that nobody has. */
  holes(group: number): number[] {
    const found: number[] = []
    for (let column = 0; column < this.columns; column++) {
      if (this.rows[group * this.columns + column] === NOBODY) found.push(column)
    }
    return found
  }

  placesOf(peer: number): Place[] {
    const places: Place[] = []
    for (let at = this.rows.indexOf(peer); at !== -1; at = this.rows.indexOf(peer, at + 1)) {
      places.push({ group: Math.floor(at / this.columns), column: at % this.columns })
    }
    return places
  }

  /**
   * Above 0, to 1: the rendezvous hash of a peer and a group, by the finalizer of MurmurHash3 (32 bits).
   *
   * @param purpose - 0 or 1: which half of the peer's hash it starts from.
   */
  chance(peer: number, group: number, purpose: 0 | 1): number {
    let word = (this.#seeds[peer * 2 + purpose] ?? 0) ^ Math.imul(group + 1, 0x9e3779b1)
    word = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
    word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35)
    return (((word ^ (word >>> 16)) >>> 0) + 1) / 2 ** 32
  }

  #count(group: number, peer: number, by: 1 | -1): void {
    this.#loads[peer] = (this.#loads[peer] ?? 0) + by
    this.#isIn[group * this.institutions + this.institutionOf(peer)] = by === 1 ? 1 : 0
    const zone = group * this.zones + this.zoneOf(peer)
    this.#inZone[zone] = (this.#inZone[zone] ?? 0) + by
  }
}
