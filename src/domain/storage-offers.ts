/**
 * Offers of room: which peers of which institutions hold shards.
 *
 *   storage.offer ──► active ──► storage.drain ──► draining ──► storage.remove ──► removed
 *                       ▲                             │                               │
 *                       └──────── storage.offer ──────┴───────────────────────────────┘
 *
 * The set of active peers has a version: a placement table is made for one version of it (storage-layout.ts), so that no table
 * comes into force that was made for other peers. An institution lies in one zone: an offer that names another one moves all its
 * peers there, since a zone is what fails together.
 *
 * @see docs/spec/storage-state.md
 */
import type { InstitutionId } from '../core/ids.ts'
import { PLACEMENT_PEERS_MAX, STORAGE_INSTITUTION_PEERS_MAX, STORAGE_PEERS_MAX } from '../core/limits.ts'
import { type Decoded, byteString, integer, list, object } from '../core/schema.ts'
import { type PeerIdText, peerIdText } from '../ledger/fields.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import type { StateChange, StateView } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { getInstitution, getPeerInstitution } from './accounts.ts'
import { getStanding } from './audit-standing.ts'
import { getHeld } from './storage-held.ts'
import {
  type StoragePeerEntry,
  getStorageNumber,
  getStoragePeer,
  readUint16,
  storageNumber,
  storagePeerChanges,
  uint16Bytes,
  zone,
} from './storage-state.ts'

/** One entry, under `set`: which peers are active, and the next free number. */
export const PEER_SET_NAMESPACE = 'storage-set'
/** Key = institution; value = numbers of its peers that aren't removed. */
export const PEERS_OF_NAMESPACE = 'storage-by-institution'
const OFFER = 'storage.offer'
const DRAIN = 'storage.drain'
const REMOVE = 'storage.remove'
export const STORAGE_LANE = 3

export type StorageOfferFault =
  | { code: 'STORAGE_NOT_INSTITUTION'; account: string; org: string }
  | { code: 'STORAGE_PEER_NOT_MEMBER'; peer: string; org: string }
  | { code: 'STORAGE_PEER_UNKNOWN'; peer: string }
  | { code: 'STORAGE_PEER_NOT_DRAINING'; peer: string; state: string }
  | { code: 'STORAGE_PEER_HOLDS'; peer: string; columns: number }
  | { code: 'STORAGE_PEER_FAILED'; peer: string; columns: number }
  | { code: 'STORAGE_PEERS_FULL'; peersMax: number }

const offer = object({ peer: peerIdText, bytes: integer(1), zone })
export type StorageOffer = Decoded<typeof offer>
const onePeer = object({ peer: peerIdText })

const SET_KEY = new TextEncoder().encode('set')
const peerSet = object({
  /** Counts the changes of the active peers. */
  version: integer(0),
  next: integer(0, STORAGE_PEERS_MAX),
  active: byteString(0, 2 * PLACEMENT_PEERS_MAX),
})
const numbersOf = list(storageNumber, 0, STORAGE_INSTITUTION_PEERS_MAX)
const utf8 = new TextEncoder()

export interface PeerSet {
  readonly version: number
  /** The number that the next new peer gets. */
  readonly next: number
  /** Ascending. */
  readonly active: readonly number[]
}

export const offerTypes: Readonly<Record<string, TxType>> = {
  [OFFER]: txType({ lane: STORAGE_LANE, payload: offer, apply: applyOffer }),
  [DRAIN]: txType({ lane: STORAGE_LANE, payload: onePeer, apply: applyDrain }),
  [REMOVE]: txType({ lane: STORAGE_LANE, payload: onePeer, apply: applyRemove }),
}

/** Signed by the institution's own account, for one of its peers. */
export function draftStorageOffer(payload: StorageOffer): DraftTx {
  return { lane: STORAGE_LANE, type: OFFER, payload }
}

/** Signed as the offer is. */
export function draftStorageDrain(peer: PeerIdText): DraftTx {
  return { lane: STORAGE_LANE, type: DRAIN, payload: { peer } }
}

/** Signed by the institution's own account once its peer holds nothing; by anyone once the peer is no member's any more. */
export function draftStorageRemove(peer: PeerIdText): DraftTx {
  return { lane: STORAGE_LANE, type: REMOVE, payload: { peer } }
}

export async function getPeerSet(view: StateView): Promise<PeerSet> {
  const value = await view.get(PEER_SET_NAMESPACE, SET_KEY)
  if (value === undefined) return { version: 0, next: 0, active: [] }
  const { active, next, version } = peerSet(value, 'storage-set')
  return {
    version,
    next,
    active: Array.from({ length: active.length / 2 }, (_, index) => readUint16(active, 2 * index)),
  }
}

/** Entries of the active peers, by number. */
export async function activePeers(view: StateView): Promise<StoragePeerEntry[]> {
  const { active } = await getPeerSet(view)
  const entries = await Promise.all(active.map((number) => getStoragePeer(view, number)))
  return entries.filter((entry) => entry !== undefined)
}

/** Numbers of an institution's peers that aren't removed. */
export async function peersOfInstitution(view: StateView, institution: InstitutionId): Promise<readonly number[]> {
  return numbersOf((await view.get(PEERS_OF_NAMESPACE, utf8.encode(institution))) ?? [], 'storage-by-institution')
}

/** Whether the transaction is in the name of its institution's own account. */
export async function institutionFault(
  view: StateView,
  { account, org }: { readonly account: string; readonly org: InstitutionId },
): Promise<StorageOfferFault | undefined> {
  const institution = await getInstitution(view, org)
  return institution?.account === account ? undefined : { code: 'STORAGE_NOT_INSTITUTION', account, org }
}

/**
 * What makes peers removed: they left, were thrown out, or failed. Columns that name one count as held by nobody from then on.
 *
 * @param entries - not removed yet.
 */
export async function removalChanges(
  view: StateView,
  entries: readonly StoragePeerEntry[],
  blockTimeMs: number,
): Promise<StateChange[]> {
  const gone = new Set(entries.map(({ number }) => number))
  const changes = entries.flatMap((entry) => storagePeerChanges({ ...entry, state: 'removed', sinceMs: blockTimeMs }))
  for (const institution of new Set(entries.map((entry) => entry.institution))) {
    const left = (await peersOfInstitution(view, institution)).filter((number) => !gone.has(number))
    changes.push(peersOfChange(institution, left))
  }
  const set = await getPeerSet(view)
  const active = set.active.filter((number) => !gone.has(number))
  if (active.length !== set.active.length) changes.push(setChange({ ...set, active }))
  return changes
}

async function applyOffer(
  view: StateView,
  tx: Tx<StorageOffer>,
  block: BlockContext,
): Promise<Step<StorageOfferFault>> {
  const { org, payload } = tx
  const { bytes, peer } = payload
  const fault = (await institutionFault(view, tx)) ?? (await memberFault(view, org, peer))
  if (fault !== undefined) return refuse(fault)
  const set = await getPeerSet(view)
  const known = await getStorageNumber(view, peer)
  const number = known ?? set.next
  const before = known === undefined ? undefined : await getStoragePeer(view, known)
  // A number stays with its institution: columns that name it are that institution's word.
  if (before !== undefined && before.institution !== org) return refuse({ code: 'STORAGE_PEER_NOT_MEMBER', peer, org })
  const { columns } = await getHeld(view, number)
  if (columns > 0 && (await getStanding(view, number)).failedMs !== 0) {
    return refuse({ code: 'STORAGE_PEER_FAILED', peer, columns })
  }
  const isActive = before?.state === 'active'
  if (isActive && before.bytes === bytes && before.zone === payload.zone) return accept([])
  const own = await peersOfInstitution(view, org)
  const ownNow = own.includes(number) ? own : [...own, number]
  const active = isActive ? set.active : [...set.active, number].toSorted((a, b) => a - b)
  if (number >= STORAGE_PEERS_MAX) return refuse({ code: 'STORAGE_PEERS_FULL', peersMax: STORAGE_PEERS_MAX })
  if (active.length > PLACEMENT_PEERS_MAX) return refuse({ code: 'STORAGE_PEERS_FULL', peersMax: PLACEMENT_PEERS_MAX })
  if (ownNow.length > STORAGE_INSTITUTION_PEERS_MAX) {
    return refuse({ code: 'STORAGE_PEERS_FULL', peersMax: STORAGE_INSTITUTION_PEERS_MAX })
  }
  const sinceMs = isActive ? before.sinceMs : block.timeMs
  return accept([
    ...storagePeerChanges({ number, peer, institution: org, zone: payload.zone, bytes, state: 'active', sinceMs }),
    ...(await movedPeers(view, own, number, payload.zone)),
    peersOfChange(org, ownNow),
    setChange({ ...set, active, next: known === undefined ? number + 1 : set.next }),
  ])
}

/** The institution's other peers, in the zone that its newest offer names. */
async function movedPeers(
  view: StateView,
  own: readonly number[],
  offered: number,
  zoneNow: string,
): Promise<StateChange[]> {
  const changes: StateChange[] = []
  for (const number of own) {
    const entry = number === offered ? undefined : await getStoragePeer(view, number)
    if (entry !== undefined && entry.zone !== zoneNow) changes.push(...storagePeerChanges({ ...entry, zone: zoneNow }))
  }
  return changes
}

async function applyDrain(
  view: StateView,
  tx: Tx<{ readonly peer: PeerIdText }>,
  block: BlockContext,
): Promise<Step<StorageOfferFault>> {
  const { peer } = tx.payload
  const entry = await entryOf(view, peer)
  if (entry === undefined) return refuse({ code: 'STORAGE_PEER_UNKNOWN', peer })
  const fault = (await institutionFault(view, tx)) ?? ownFault(entry, tx.org)
  if (fault !== undefined) return refuse(fault)
  if (entry.state !== 'active') return accept([])
  const set = await getPeerSet(view)
  return accept([
    ...storagePeerChanges({ ...entry, state: 'draining', sinceMs: block.timeMs }),
    setChange({ ...set, active: set.active.filter((number) => number !== entry.number) }),
  ])
}

async function applyRemove(
  view: StateView,
  tx: Tx<{ readonly peer: PeerIdText }>,
  block: BlockContext,
): Promise<Step<StorageOfferFault>> {
  const { peer } = tx.payload
  const entry = await entryOf(view, peer)
  if (entry === undefined) return refuse({ code: 'STORAGE_PEER_UNKNOWN', peer })
  if (entry.state === 'removed') return accept([])
  if ((await getPeerInstitution(view, peer)) === entry.institution) {
    const fault = (await institutionFault(view, tx)) ?? ownFault(entry, tx.org)
    if (fault !== undefined) return refuse(fault)
    if (entry.state !== 'draining') return refuse({ code: 'STORAGE_PEER_NOT_DRAINING', peer, state: entry.state })
    const { columns } = await getHeld(view, entry.number)
    if (columns > 0) return refuse({ code: 'STORAGE_PEER_HOLDS', peer, columns })
  }
  return accept(await removalChanges(view, [entry], block.timeMs))
}

async function entryOf(view: StateView, peer: PeerIdText): Promise<StoragePeerEntry | undefined> {
  const number = await getStorageNumber(view, peer)
  return number === undefined ? undefined : getStoragePeer(view, number)
}

async function memberFault(
  view: StateView,
  org: InstitutionId,
  peer: PeerIdText,
): Promise<StorageOfferFault | undefined> {
  const owner = await getPeerInstitution(view, peer)
  return owner === org ? undefined : { code: 'STORAGE_PEER_NOT_MEMBER', peer, org }
}

function ownFault({ institution, peer }: StoragePeerEntry, org: InstitutionId): StorageOfferFault | undefined {
  return institution === org ? undefined : { code: 'STORAGE_PEER_NOT_MEMBER', peer, org }
}

/** The set after a change: its version grows by one. */
function setChange({ active, next, version }: PeerSet): StateChange {
  const bytes = new Uint8Array(2 * active.length)
  for (const [index, number] of active.entries()) bytes.set(uint16Bytes(number), 2 * index)
  return { namespace: PEER_SET_NAMESPACE, key: SET_KEY, value: { version: version + 1, next, active: bytes } }
}

function peersOfChange(institution: InstitutionId, numbers: readonly number[]): StateChange {
  const value = numbers.length === 0 ? undefined : numbers
  return { namespace: PEERS_OF_NAMESPACE, key: utf8.encode(institution), value }
}
