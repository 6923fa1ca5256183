/**
 * This institution's part in audits: opens the round when its turn comes, asks the peers that the beacon drew it for, and says what it
 * found; and where this peer itself is accused, shows the ledger what it is said not to have.
 *
 *   final block ──► new epoch? ──► (in turn) audit.open ──► this institution in a committee? ──► questions ──► audit.verdicts
 *               └─► accused?   ──► leaves from the store ──► audit.appeal
 *
 * Everything is decided by the ledger's state, so that a restart in the middle begins again at the same place.
 *
 * @see docs/spec/audits.md, docs/spec/audit-request.md
 */
import { equals } from 'uint8arrays/equals'
import { CodecError } from '../core/codec.ts'
import { CodedError, faultOf } from '../core/coded-error.ts'
import type { InstitutionId } from '../core/ids.ts'
import {
  AUDIT_APPEAL_LEAVES_MAX,
  AUDIT_ASKED_MAX,
  AUDIT_ASK_TRIES,
  AUDIT_OPEN_STEP_MS_MAX,
  AUDIT_SPREAD_DIVISOR,
  AUDIT_SPREAD_MS_MAX,
} from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { sha256 } from '../crypto/hash.ts'
import { leafHash, verifyInclusion } from '../crypto/merkle.ts'
import { auditLeaves, leafBytes } from '../domain/audit-proof.ts'
import {
  type AuditRound,
  type AuditVerdict,
  auditCommittee,
  auditEpoch,
  draftAuditAppeal,
  draftAuditOpen,
  draftAuditVerdicts,
  getAuditRound,
} from '../domain/audit-rounds.ts'
import { type NamedLeaf, getStanding } from '../domain/audit-standing.ts'
import { getHeld } from '../domain/storage-held.ts'
import { getStorageParams } from '../domain/storage-params.ts'
import {
  type StoragePeerEntry,
  getExtent,
  getStorageNumber,
  getStoredObject,
  listExtents,
  listStoragePeers,
} from '../domain/storage-state.ts'
import { memberIds } from '../domain/validator-sets.ts'
import type { Chain } from '../ledger/chain.ts'
import type { PeerIdText } from '../ledger/fields.ts'
import type { DraftTx } from '../ledger/transaction.ts'
import type { P2pHost } from '../p2p/host.ts'
import { parsePeerId } from '../p2p/peer-ids.ts'
import { AUDIT_PROTOCOL } from '../p2p/protocols.ts'
import { RequestError, request } from '../p2p/request.ts'
import { type HeldColumn, leafAt, sampledBytes } from '../shards/audit-sample.ts'
import { type ExtentMap, type Shard, checkExtentMap, decodeExtentMap } from '../shards/extent-map.ts'
import { AUDIT_LIMITS, type AuditAnswers } from './audit-answers.ts'
import { type ShownLeaf, decodeAuditAnswer, encodeAuditQuestion } from './audit-messages.ts'
import type { ContentService } from './content.ts'
import type { InstitutionAccount } from './institution-account.ts'

export interface AuditorDeps {
  readonly chain: Pick<Chain, 'head' | 'onBlock' | 'reader'>
  readonly host: Pick<P2pHost, 'dialProtocol'>
  readonly content: Pick<ContentService, 'block'>
  readonly answers: AuditAnswers
  readonly account: Pick<InstitutionAccount, 'submit'>
  readonly institution: InstitutionId
  /** This peer. */
  readonly peer: PeerIdText
  readonly log: Log
}

/** A leaf to ask for, with what its answer is held against. */
interface Asked {
  readonly named: NamedLeaf
  readonly shard: Shard
}

/** What a peer answered to one leaf. */
type Outcome = 'shown' | 'wrong' | 'unanswered'

export class Auditor {
  readonly #deps: AuditorDeps
  readonly #stopping = new AbortController()
  #stopListening: (() => void) | undefined
  #working: Promise<void> | undefined
  /** Epochs that this peer has tried to open, and judged. */
  #opened = -1
  #judged = -1
  /** What this peer has shown already: a leaf is named for one epoch. */
  #appealedMs = 0
  #timers = new Set<NodeJS.Timeout>()

  constructor(deps: AuditorDeps) {
    this.#deps = deps
  }

  start(): void {
    this.#stopListening = this.#deps.chain.onBlock(() => this.#look())
    this.#look()
  }

  async stop(): Promise<void> {
    this.#stopListening?.()
    this.#stopping.abort()
    for (const timer of this.#timers) clearTimeout(timer)
    await this.#working
  }

  /** One look at a time; what comes meanwhile is seen with the next block. */
  #look(): void {
    if (this.#working !== undefined || this.#stopping.signal.aborted) return
    const working: Promise<void> = this.#act()
      .catch((error: unknown) => {
        if (this.#stopping.signal.aborted) return
        // Another round comes; who can't be reached now may be then.
        this.#deps.log.warn(
          { fault: faultOf(error), ...(faultOf(error) === undefined ? { err: error } : {}) },
          'an audit step failed',
        )
      })
      .finally(() => this.#done(working))
    this.#working = working
  }

  async #act(): Promise<void> {
    const { chain } = this.#deps
    const { auditMs } = await getStorageParams(chain.reader)
    const epoch = auditEpoch(chain.head.timeMs, auditMs)
    const round = await getAuditRound(chain.reader)
    await this.#appeal()
    if (round?.epoch !== epoch) {
      await this.#open(epoch, auditMs)
      return
    }
    if (this.#judged >= epoch) return
    this.#judged = epoch
    this.#after(spreadMs(round.beacon, this.#deps.institution, auditMs), async () => this.#judge(round))
  }

  /** In turn, so that not all of them send the same transaction: who is first in this epoch at once, the next a little later. */
  async #open(epoch: number, auditMs: number): Promise<void> {
    if (this.#opened >= epoch || !(await this.#hasHolders())) return
    this.#opened = epoch
    const { chain, institution } = this.#deps
    const order = (await memberIds(chain.reader))
      .map((one) => ({ one, rank: sha256(new TextEncoder().encode(`${epoch} ${one}`)) }))
      .toSorted((a, b) => compareBytes(a.rank, b.rank))
    const turn = order.findIndex(({ one }) => one === institution)
    const stepMs = Math.min(AUDIT_OPEN_STEP_MS_MAX, auditMs / (4 * order.length))
    this.#after(turn * stepMs, async () => {
      if ((await getAuditRound(chain.reader))?.epoch === epoch) return
      await this.#submit(draftAuditOpen(epoch))
    })
  }

  /** Nothing to audit while nobody holds anything: an empty network stays quiet. */
  async #hasHolders(): Promise<boolean> {
    const { reader } = this.#deps.chain
    for await (const { number } of listStoragePeers(reader))
      if ((await getHeld(reader, number)).columns > 0) return true
    return false
  }

  async #judge(round: AuditRound): Promise<void> {
    const audited = await this.#audited(round)
    if (audited.length === 0) return
    const columns = await this.#columnsOf(audited)
    const verdicts: AuditVerdict[] = []
    for (const peer of audited) {
      const verdict = await this.#verdict(round, peer, columns.get(peer.number) ?? [])
      if (verdict !== undefined) verdicts.push(verdict)
    }
    if (verdicts.length > 0) await this.#submit(draftAuditVerdicts({ epoch: round.epoch, verdicts }))
  }

  /** Peers that this institution judges in the round. */
  async #audited(round: AuditRound): Promise<StoragePeerEntry[]> {
    const { institution } = this.#deps
    const { reader } = this.#deps.chain
    const institutions = await memberIds(reader)
    const audited: StoragePeerEntry[] = []
    for await (const peer of listStoragePeers(reader)) {
      if ((await getHeld(reader, peer.number)).columns === 0) continue
      if (auditCommittee(round.beacon, peer, institutions).includes(institution)) audited.push(peer)
    }
    return audited
  }

  /** What each of them has confirmed, in one pass over the extents. */
  async #columnsOf(peers: readonly StoragePeerEntry[]): Promise<Map<number, HeldColumn[]>> {
    const { reader } = this.#deps.chain
    const columns = new Map<number, HeldColumn[]>(peers.map(({ number }) => [number, []]))
    for await (const { index, manifest } of listExtents(reader)) {
      // Its holders are to delete it.
      if (((await getStoredObject(reader, manifest))?.erasedMs ?? 0) > 0) continue
      const extent = await getExtent(reader, manifest, index)
      for (const [column, holder] of (extent?.holders ?? []).entries()) {
        if (holder === undefined) continue
        columns.get(holder)?.push({ manifest, index, column, bytes: extent?.columns[column] ?? 0 })
      }
    }
    return columns
  }

  /** @returns nothing where nothing can be said: no map to hold answers against. */
  async #verdict(
    round: AuditRound,
    peer: StoragePeerEntry,
    columns: readonly HeldColumn[],
  ): Promise<AuditVerdict | undefined> {
    const { number } = peer
    const asked = await this.#questions(round, number, columns)
    if (asked.length === 0) return undefined
    const outcomes: Outcome[] = []
    for (let at = 0; at < asked.length; at += AUDIT_ASKED_MAX) {
      outcomes.push(...(await this.#ask(peer.peer, asked.slice(at, at + AUDIT_ASKED_MAX))))
      // Who doesn't answer at all isn't asked for the rest.
      if (outcomes.every((one) => one === 'unanswered')) return { number, result: 'silent' }
    }
    const failed = asked.find((_, at) => outcomes[at] !== 'shown')
    return failed === undefined ? { number, result: 'proven' } : { number, result: 'false', leaf: failed.named }
  }

  async #questions(round: AuditRound, number: number, columns: readonly HeldColumn[]): Promise<Asked[]> {
    const maps = new Map<string, ExtentMap | undefined>()
    const asked: Asked[] = []
    for (const { held, offset } of sampledBytes(round.beacon, number, columns)) {
      const name = `${held.manifest.toString()} ${held.index}`
      if (!maps.has(name)) maps.set(name, await this.#map(held))
      const map = maps.get(name)
      const at = map === undefined ? undefined : leafAt(map, held.column, offset)
      if (at === undefined) continue
      const { column, index, manifest } = held
      asked.push({ named: { manifest, index, stripe: at.shard.stripe, column, leaf: at.leaf }, shard: at.shard })
    }
    // Leaves of one shard together: it is read once for all of them.
    return [...new Map(asked.map((one) => [nameOf(one.named), one])).entries()]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([, one]) => one)
  }

  /** The extent's map, from here or from any holder, checked. */
  async #map({ index, manifest }: HeldColumn): Promise<ExtentMap | undefined> {
    const { chain, content, log } = this.#deps
    const extent = await getExtent(chain.reader, manifest, index)
    if (extent === undefined) return undefined
    try {
      const map = decodeExtentMap(await content.block(extent.map, { signal: this.#stopping.signal }))
      checkExtentMap(map, extent)
      return map
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
      log.info({ fault: faultOf(error) }, 'an extent map for an audit could not be had')
      return undefined
    }
  }

  async #ask(peer: PeerIdText, asked: readonly Asked[]): Promise<Outcome[]> {
    const bytes = encodeAuditQuestion({ leaves: asked.map(({ named }) => named) })
    const options = { ...AUDIT_LIMITS, signal: this.#stopping.signal }
    for (let tries = 1; ; tries++) {
      try {
        const reply = await request(this.#deps.host, parsePeerId(peer), AUDIT_PROTOCOL, bytes, options)
        const { leaves } = decodeAuditAnswer(reply)
        return asked.map(({ named, shard }, at) => (isShown(shard, named.leaf, leaves[at] ?? null) ? 'shown' : 'wrong'))
      } catch (error) {
        this.#stopping.signal.throwIfAborted()
        // An answer that isn't one is a wrong one; no answer may be the line's.
        if (error instanceof CodecError) return asked.map(() => 'wrong')
        if (!(error instanceof RequestError)) throw error
        if (tries === AUDIT_ASK_TRIES) return asked.map(() => 'unanswered')
      }
    }
  }

  /** Shows what this peer is said not to have, as far as it is here. */
  async #appeal(): Promise<void> {
    const { answers, chain, log, peer } = this.#deps
    const number = await getStorageNumber(chain.reader, peer)
    if (number === undefined) return
    const { accusedMs, leaves } = await getStanding(chain.reader, number)
    if (accusedMs === 0 || accusedMs === this.#appealedMs) return
    const shown = []
    for (const named of distinct(leaves)) {
      const proof = await answers.proof(named)
      if (proof !== undefined) shown.push({ manifest: named.manifest, index: named.index, proof })
    }
    log.warn({ named: leaves.length, shown: shown.length }, 'this peer is accused in an audit')
    // With none at all it still asks: what it doesn't hold any more is answered by the ledger.
    for (let at = 0; at === 0 || at < shown.length; at += AUDIT_APPEAL_LEAVES_MAX) {
      await this.#submit(draftAuditAppeal({ peer, leaves: shown.slice(at, at + AUDIT_APPEAL_LEAVES_MAX) }))
    }
    // Only now: what could not be submitted is tried again with the next block.
    this.#appealedMs = accusedMs
  }

  async #submit(draft: DraftTx): Promise<void> {
    const { receipt } = await this.#deps.account.submit(draft, this.#stopping.signal)
    if (!receipt.ok) this.#deps.log.info({ type: draft.type, fault: receipt.fault }, 'an audit transaction was refused')
  }

  /** Whoever was queued behind it goes on: `stop` waits for the last. */
  #done(working: Promise<void>): void {
    if (this.#working === working) this.#working = undefined
  }

  #after(ms: number, work: () => Promise<void>): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      const busy = this.#working ?? Promise.resolve()
      const working: Promise<void> = busy
        .then(work)
        .catch((error: unknown) => {
          if (!this.#stopping.signal.aborted)
            this.#deps.log.warn({ fault: faultOf(error), err: error }, 'an audit step failed')
        })
        .finally(() => this.#done(working))
      this.#working = working
    }, ms)
    this.#timers.add(timer)
  }
}

/** Whether the bytes are that leaf of the shard. */
export function isShown(shard: Shard, leaf: number, shown: ShownLeaf | null): boolean {
  if (shown === null || shown.bytes.length !== leafBytes(shard.bytes, leaf)) return false
  return verifyInclusion(shard.audit, auditLeaves(shard.bytes), leaf, leafHash(shown.bytes), shown.path)
}

/** Committees ask at different times of the epoch's first half. */
function spreadMs(beacon: Uint8Array, institution: InstitutionId, auditMs: number): number {
  const hash = sha256(new Uint8Array([...beacon, ...new TextEncoder().encode(institution)]))
  const drawn = new DataView(hash.buffer, hash.byteOffset).getUint32(0) / 2 ** 32
  return drawn * Math.min(AUDIT_SPREAD_MS_MAX, auditMs / AUDIT_SPREAD_DIVISOR)
}

const distinct = (leaves: readonly NamedLeaf[]): NamedLeaf[] => [
  ...new Map(leaves.map((one) => [nameOf(one), one])).values(),
]

const nameOf = ({ column, index, leaf, manifest, stripe }: NamedLeaf): string =>
  `${manifest.toString()} ${index} ${column} ${stripe} ${leaf}`

function compareBytes(a: Uint8Array, b: Uint8Array): number {
  if (equals(a, b)) return 0
  const at = a.findIndex((byte, index) => byte !== b[index])
  return (a[at] ?? 0) - (b[at] ?? 0)
}
