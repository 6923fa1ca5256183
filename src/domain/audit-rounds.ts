/**
 * Audits: do peers still have what they confirmed? One round in each audit epoch of block time.
 *
 *   audit.open ──► beacon ──► committees, leaves to show ──► (off-chain: questions, answers) ──► audit.verdicts ──► majority
 *      proven ──► as of now           silent ──► for long, or where it hurts: failed
 *      false  ──► accused ──► audit.appeal with the leaves themselves, within an epoch ──► cleared; else failed
 *
 * The beacon is a hash that nobody knows before the round: of the block before the one that opens it. It picks, for each peer, a
 * committee of other institutions, and which leaves the peer must show (shards/audit-sample.ts). A committee can be wrong or lie: what
 * it says is false, the accused shows to the ledger itself. A peer that failed is removed from the storage peers, so the next
 * placement table is made without it, and its columns are rebuilt by others.
 *
 * @see docs/spec/audits.md; docs/decisions/0098-audits.md
 */
import type { CID } from 'multiformats/cid'
import { concat } from 'uint8arrays/concat'
import { toString } from 'uint8arrays/to-string'
import type { InstitutionId } from '../core/ids.ts'
import {
  AUDIT_APPEAL_LEAVES_MAX,
  AUDIT_COMMITTEE,
  AUDIT_VERDICTS_MAX,
  EXTENTS_MAX,
  STORAGE_PEERS_MAX,
  TX_LARGE_BYTES_MAX,
} from '../core/limits.ts'
import { type Decoded, byteString, integer, list, literal, object, optional, shapeFault } from '../core/schema.ts'
import { sha256 } from '../crypto/hash.ts'
import { cborLink, institutionId, peerIdText, timeMs } from '../ledger/fields.ts'
import { type BlockContext, type Step, type Tx, type TxType, accept, refuse, txType } from '../ledger/machine.ts'
import { type StateChange, type StateView, uint64Bytes } from '../ledger/state.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import { type LeafProof, isProven, leafProof } from './audit-proof.ts'
import { type NamedLeaf, type Standing, getStanding, namedLeaf, standingChange } from './audit-standing.ts'
import { STORAGE_LANE, type StorageOfferFault, getPeerSet, institutionFault, removalChanges } from './storage-offers.ts'
import { getStorageParams } from './storage-params.ts'
import {
  type StoragePeerEntry,
  getExtent,
  getStorageNumber,
  getStoragePeer,
  getStoredObject,
  storageNumber,
  uint16Bytes,
} from './storage-state.ts'
import { getLayout, getRows } from './storage-table.ts'
import { memberIds } from './validator-sets.ts'

/** Key `current`: the newest round. */
export const AUDIT_ROUND_NAMESPACE = 'audit-round'
/** Key = number of a storage peer; value = what its committee has said in the newest round that it was judged in. */
export const AUDIT_TALLY_NAMESPACE = 'audit-tally'
const OPEN = 'audit.open'
const VERDICTS = 'audit.verdicts'
const APPEAL = 'audit.appeal'

export type AuditFault =
  | { code: 'AUDIT_EPOCH_WRONG'; epoch: number; current: number }
  | { code: 'AUDIT_OPEN_ALREADY'; epoch: number }
  | { code: 'AUDIT_NOT_OPEN'; epoch: number }
  | { code: 'AUDIT_PEER_UNKNOWN'; number: number }
  | { code: 'AUDIT_NOT_COMMITTEE'; org: string; number: number }
  | { code: 'AUDIT_NOT_ACCUSED'; peer: string }
  | { code: 'AUDIT_LEAF_NOT_NAMED'; index: number }
  | { code: 'AUDIT_LEAF_WRONG'; index: number }

const epochNumber = integer(0)
export const AUDIT_RESULTS = ['proven', 'silent', 'false'] as const
export type AuditResult = (typeof AUDIT_RESULTS)[number]

const storedRound = object({
  epoch: epochNumber,
  beacon: byteString(32),
  openedMs: timeMs,
  /** Numbers of the peers whose time to appeal runs. */
  accused: list(storageNumber, 0, STORAGE_PEERS_MAX),
})
export type AuditRound = Decoded<typeof storedRound>

const storedTally = object({
  epoch: epochNumber,
  verdicts: list(
    object({ institution: institutionId, result: literal(...AUDIT_RESULTS), leaf: optional(namedLeaf) }),
    1,
    AUDIT_COMMITTEE,
  ),
})
type Tally = Decoded<typeof storedTally>

const openPayload = object({ epoch: epochNumber })
const verdictFields = object({ number: storageNumber, result: literal(...AUDIT_RESULTS), leaf: optional(namedLeaf) })
export type AuditVerdict = Decoded<typeof verdictFields>
const verdictsPayload = object({
  epoch: epochNumber,
  verdicts: list(
    (value, path) => {
      const given = verdictFields(value, path)
      // What is false can be shown; nothing else needs a leaf.
      if ((given.result === 'false') !== (given.leaf !== undefined)) throw shapeFault(`${path}.leaf`, 'a leaf if false')
      return given
    },
    1,
    AUDIT_VERDICTS_MAX,
  ),
})
export type AuditVerdicts = Decoded<typeof verdictsPayload>
const appealPayload = object({
  peer: peerIdText,
  leaves: list(
    object({ manifest: cborLink, index: integer(0, EXTENTS_MAX - 1), proof: leafProof }),
    0,
    AUDIT_APPEAL_LEAVES_MAX,
  ),
})
export type AuditAppeal = Decoded<typeof appealPayload>

const CURRENT_KEY = new TextEncoder().encode('current')
const BEACON_LABEL = new TextEncoder().encode('apotheca/beacon/1')
const utf8 = new TextEncoder()

export const auditTypes: Readonly<Record<string, TxType>> = {
  [OPEN]: txType({ lane: STORAGE_LANE, payload: openPayload, apply: applyOpen }),
  [VERDICTS]: txType({
    lane: STORAGE_LANE,
    payload: verdictsPayload,
    bytesMax: TX_LARGE_BYTES_MAX,
    apply: applyVerdicts,
  }),
  [APPEAL]: txType({ lane: STORAGE_LANE, payload: appealPayload, bytesMax: TX_LARGE_BYTES_MAX, apply: applyAppeal }),
}

/** Opens the round of an epoch; signed by any institution's own account. */
export function draftAuditOpen(epoch: number): DraftTx {
  return { lane: STORAGE_LANE, type: OPEN, payload: { epoch } }
}

/** What an institution found as a member of committees; signed by its own account. */
export function draftAuditVerdicts(payload: AuditVerdicts): DraftTx {
  return { lane: STORAGE_LANE, type: VERDICTS, payload }
}

/** The accused shows what it was said not to have; signed by its institution's own account. */
export function draftAuditAppeal(payload: AuditAppeal): DraftTx {
  return { lane: STORAGE_LANE, type: APPEAL, payload }
}

/** The newest round; `undefined` before the first. */
export async function getAuditRound(view: StateView): Promise<AuditRound | undefined> {
  const value = await view.get(AUDIT_ROUND_NAMESPACE, CURRENT_KEY)
  return value === undefined ? undefined : storedRound(value, 'audit-round')
}

export const auditEpoch = (blockTimeMs: number, auditMs: number): number => Math.floor(blockTimeMs / auditMs)

/**
 * Who judges a peer in a round: those of the other institutions whose hash with the beacon is lowest.
 *
 * @param institutions - members of the chain.
 */
export function auditCommittee(
  beacon: Uint8Array,
  audited: Pick<StoragePeerEntry, 'institution' | 'number'>,
  institutions: readonly InstitutionId[],
): InstitutionId[] {
  return institutions
    .filter((one) => one !== audited.institution)
    .map((one) => ({
      one,
      rank: toString(sha256(concat([beacon, uint16Bytes(audited.number), utf8.encode(one)])), 'hex'),
    }))
    .toSorted((a, b) => (a.rank < b.rank ? -1 : 1))
    .slice(0, AUDIT_COMMITTEE)
    .map(({ one }) => one)
}

async function applyOpen(
  view: StateView,
  tx: Tx<{ readonly epoch: number }>,
  block: BlockContext,
): Promise<Step<AuditFault | StorageOfferFault>> {
  const { epoch } = tx.payload
  const current = auditEpoch(block.timeMs, (await getStorageParams(view)).auditMs)
  const before = await getAuditRound(view)
  const fault = await institutionFault(view, tx)
  if (fault !== undefined) return refuse(fault)
  if (epoch !== current) return refuse({ code: 'AUDIT_EPOCH_WRONG', epoch, current })
  if (before !== undefined && before.epoch >= epoch) return refuse({ code: 'AUDIT_OPEN_ALREADY', epoch })
  const failing = new Failing(view, block.timeMs)
  const accused: number[] = []
  for (const number of before?.accused ?? []) {
    const standing = await getStanding(view, number)
    if (standing.accusedMs === 0) continue
    if (standing.accusedMs > block.timeMs) accused.push(number)
    else failing.add(number, { ...standing, accusedMs: 0, leaves: [] })
  }
  const beacon = sha256(concat([BEACON_LABEL, block.parent, uint64Bytes(epoch)]))
  return accept([roundChange({ epoch, beacon, openedMs: block.timeMs, accused }), ...(await failing.changes())])
}

async function applyVerdicts(
  view: StateView,
  tx: Tx<AuditVerdicts>,
  block: BlockContext,
): Promise<Step<AuditFault | StorageOfferFault>> {
  const { epoch, verdicts } = tx.payload
  const fault = await institutionFault(view, tx)
  if (fault !== undefined) return refuse(fault)
  const { auditMs, silentMs } = await getStorageParams(view)
  const current = auditEpoch(block.timeMs, auditMs)
  if (epoch !== current) return refuse({ code: 'AUDIT_EPOCH_WRONG', epoch, current })
  const round = await getAuditRound(view)
  if (round?.epoch !== epoch) return refuse({ code: 'AUDIT_NOT_OPEN', epoch })
  const institutions = await memberIds(view)
  const settling = new Settling(view, block, { round, auditMs, silentMs })
  for (const verdict of verdicts) {
    const peer = await getStoragePeer(view, verdict.number)
    if (peer === undefined) return refuse({ code: 'AUDIT_PEER_UNKNOWN', number: verdict.number })
    const committee = auditCommittee(round.beacon, peer, institutions)
    if (!committee.includes(tx.org)) return refuse({ code: 'AUDIT_NOT_COMMITTEE', org: tx.org, number: verdict.number })
    await settling.take(tx.org, verdict, committee.length)
  }
  return accept(await settling.changes())
}

/** What verdicts of one transaction lead to. */
class Settling {
  readonly #view: StateView
  readonly #block: BlockContext
  readonly #rules: { readonly round: AuditRound; readonly auditMs: number; readonly silentMs: number }
  readonly #tallies = new Map<number, Tally>()
  readonly #standings = new Map<number, Standing>()
  readonly #accused: Set<number>
  readonly #failing: Failing

  constructor(
    view: StateView,
    block: BlockContext,
    rules: { readonly round: AuditRound; readonly auditMs: number; readonly silentMs: number },
  ) {
    this.#view = view
    this.#block = block
    this.#rules = rules
    this.#accused = new Set(rules.round.accused)
    this.#failing = new Failing(view, block.timeMs)
  }

  async take(institution: InstitutionId, verdict: AuditVerdict, committee: number): Promise<void> {
    const { leaf, number, result } = verdict
    const before = this.#tallies.get(number) ?? (await getTally(this.#view, number))
    const earlier = before?.epoch === this.#rules.round.epoch ? before.verdicts : []
    // The first word of an institution counts: what it sends again changes nothing.
    if (earlier.some((one) => one.institution === institution)) return
    const verdicts = [...earlier, { institution, result, ...(leaf === undefined ? {} : { leaf }) }]
    this.#tallies.set(number, { epoch: this.#rules.round.epoch, verdicts })
    const same = verdicts.filter((one) => one.result === result)
    // With the vote that makes the majority, and only then.
    if (same.length === Math.floor(committee / 2) + 1) {
      await this.#settle(
        number,
        result,
        same.flatMap((one) => (one.leaf === undefined ? [] : [one.leaf])),
      )
    }
  }

  async changes(): Promise<StateChange[]> {
    const tallies = [...this.#tallies].map(([number, value]) => ({
      namespace: AUDIT_TALLY_NAMESPACE,
      key: uint16Bytes(number),
      value,
    }))
    const accused = [...this.#accused].toSorted((a, b) => a - b)
    await this.#failEndangering()
    return [
      ...tallies,
      ...[...this.#standings].map(([number, standing]) => standingChange(number, standing)),
      roundChange({ ...this.#rules.round, accused }),
      ...(await this.#failing.changes()),
    ]
  }

  async #settle(number: number, result: AuditResult, leaves: readonly NamedLeaf[]): Promise<void> {
    const { timeMs: nowMs } = this.#block
    const before = await getStanding(this.#view, number)
    if (result === 'proven') {
      this.#standings.set(number, { ...before, provenMs: nowMs, silentMs: 0, failedMs: 0 })
      return
    }
    if (result === 'silent') {
      const silentMs = before.silentMs === 0 ? nowMs : before.silentMs
      const standing = { ...before, silentMs }
      if (nowMs - silentMs >= this.#rules.silentMs) this.#failing.add(number, standing)
      else this.#standings.set(number, standing)
      return
    }
    // An accusation that runs already goes on with its own leaves and its own time.
    if (before.accusedMs !== 0) return
    this.#accused.add(number)
    this.#standings.set(number, { ...before, silentMs: 0, accusedMs: nowMs + this.#rules.auditMs, leaves })
  }

  /**
   * Silent peers fail at once where a group has lost so many columns that no more than a third of its parity is left: that is
   * no time to wait for a day.
   */
  async #failEndangering(): Promise<void> {
    const layout = await getLayout(this.#view)
    if (layout === undefined || ![...this.#standings.values()].some(({ silentMs }) => silentMs !== 0)) return
    const { code } = layout
    const lostMax = code.parity - Math.ceil(code.parity / 3)
    const silent = await this.#silentPeers()
    if (lostMax === 0 || silent.size < lostMax) return
    const columns = code.data + code.parity
    const rows = await getRows(this.#view, layout)
    for (let first = 0; first < rows.length; first += columns) {
      const lost = [...rows.subarray(first, first + columns)].filter((number) => silent.has(number))
      if (lost.length < lostMax) continue
      for (const number of lost) this.#failing.add(number, silent.get(number) as Standing)
    }
  }

  /** Active peers that are silent, after this transaction. */
  async #silentPeers(): Promise<Map<number, Standing>> {
    const silent = new Map<number, Standing>()
    for (const number of (await getPeerSet(this.#view)).active) {
      const standing = this.#standings.get(number) ?? (await getStanding(this.#view, number))
      if (standing.silentMs !== 0) silent.set(number, standing)
    }
    return silent
  }
}

/** Peers that fail in one transaction. */
class Failing {
  readonly #view: StateView
  readonly #nowMs: number
  readonly #standings = new Map<number, Standing>()

  constructor(view: StateView, nowMs: number) {
    this.#view = view
    this.#nowMs = nowMs
  }

  add(number: number, standing: Standing): void {
    this.#standings.set(number, { ...standing, failedMs: this.#nowMs })
  }

  async changes(): Promise<StateChange[]> {
    if (this.#standings.size === 0) return []
    const entries = await Promise.all([...this.#standings.keys()].map((number) => getStoragePeer(this.#view, number)))
    const there = entries.flatMap((entry) => (entry === undefined || entry.state === 'removed' ? [] : [entry]))
    return [
      ...[...this.#standings].map(([number, value]) => standingChange(number, value)),
      ...(await removalChanges(this.#view, there, this.#nowMs)),
    ]
  }
}

async function applyAppeal(view: StateView, tx: Tx<AuditAppeal>): Promise<Step<AuditFault | StorageOfferFault>> {
  const { leaves, peer } = tx.payload
  const fault = await institutionFault(view, tx)
  if (fault !== undefined) return refuse(fault)
  const number = await getStorageNumber(view, peer)
  const entry = number === undefined ? undefined : await getStoragePeer(view, number)
  const standing = number === undefined ? undefined : await getStanding(view, number)
  if (number === undefined || standing === undefined || standing.accusedMs === 0) {
    return refuse({ code: 'AUDIT_NOT_ACCUSED', peer })
  }
  if (entry?.institution !== tx.org) return refuse({ code: 'STORAGE_PEER_NOT_MEMBER', peer, org: tx.org })
  // Several members may have named one leaf.
  let open = standing.leaves
  for (const [index, { proof, ...at }] of leaves.entries()) {
    const left = open.filter((one) => !isOf(one, at, proof))
    if (left.length === open.length) return refuse({ code: 'AUDIT_LEAF_NOT_NAMED', index })
    const extent = await getExtent(view, at.manifest, at.index)
    if (extent !== undefined && !isProven(extent.root, proof)) return refuse({ code: 'AUDIT_LEAF_WRONG', index })
    open = left
  }
  const moot = await Promise.all(open.map((named) => isMoot(view, named, number)))
  const left = open.filter((_, at) => moot[at] !== true)
  const accusedMs = left.length === 0 ? 0 : standing.accusedMs
  return accept([standingChange(number, { ...standing, accusedMs, leaves: left })])
}

function isOf(named: NamedLeaf, at: { readonly manifest: CID; readonly index: number }, proof: LeafProof): boolean {
  const { column, leaf, stripe } = proof
  const isExtent = named.manifest.equals(at.manifest) && named.index === at.index
  return isExtent && named.stripe === stripe && named.column === column && named.leaf === leaf
}

/** Nobody can be asked for what isn't its own any more, or what had to be deleted. */
async function isMoot(view: StateView, { column, index, manifest }: NamedLeaf, number: number): Promise<boolean> {
  if (((await getStoredObject(view, manifest))?.erasedMs ?? 0) > 0) return true
  return (await getExtent(view, manifest, index))?.holders[column] !== number
}

async function getTally(view: StateView, number: number): Promise<Tally | undefined> {
  const value = await view.get(AUDIT_TALLY_NAMESPACE, uint16Bytes(number))
  return value === undefined ? undefined : storedTally(value, 'audit-tally')
}

function roundChange(round: AuditRound): StateChange {
  return { namespace: AUDIT_ROUND_NAMESPACE, key: CURRENT_KEY, value: round }
}
