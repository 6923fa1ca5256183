/**
 * What a validator must not forget: its votes above the final block, and the blocks it voted for. Written to the vote log before
 * anything is sent, read at the next start, and left out once the chain is final past it.
 *
 * While nothing becomes final, blocks of views that were given up are left out too: each carries the certificates of all such views
 * below it. A vote never is.
 *
 * @see docs/spec/vote-log.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import {
  BLOCK_BYTES_MAX,
  CONSENSUS_FULL_VIEWS_MAX,
  HEADER_BYTES_MAX,
  VOTE_LOG_BYTES_MAX,
  VOTE_LOG_RECORD_BYTES_MAX,
  VOTE_LOG_REPLACE_BYTES,
  VOTE_LOG_SLACK_BYTES,
} from '../core/limits.ts'
import { byteString, integer, object } from '../core/schema.ts'
import { type Certificate, decodeCertificate, encodeCertificate } from '../ledger/certificate.ts'
import { type Vote, decodeVote, encodeVote } from '../ledger/vote.ts'
import type { LoggedRecord, VoteLogPort } from './replica-ports.ts'
import { type Block, readBlock } from './simplex-state.ts'

interface Live extends EpochView {
  readonly record: LoggedRecord
  readonly vote?: Vote
  readonly block?: Block
  readonly certificate?: Certificate
}

/** What was said in an epoch before a restart. */
export interface Said {
  readonly votes: readonly Vote[]
  /** That were voted for. */
  readonly blocks: readonly Block[]
  /** That votes rested on. */
  readonly certificates: readonly Certificate[]
  /** Nothing is voted in this view, or an earlier one: what was said there is not known any more. */
  readonly floorView: number
}

const RECORD = { vote: 1, block: 2, floor: 3, certificate: 4, halt: 5 } as const
const HALT: LoggedRecord = { type: RECORD.halt, payload: new Uint8Array(0) }
const floorRecord = object({ epoch: integer(0), view: integer(0) })
const blockRecord = object({ header: byteString(1, HEADER_BYTES_MAX), body: byteString(1, BLOCK_BYTES_MAX) })

/** Names a view. */
export interface EpochView {
  readonly epoch: number
  /** Of the vote: a block that is proposed again is kept as long as the newest vote for it. */
  readonly view: number
}

export class VoteRecords {
  readonly #log: VoteLogPort
  #live: Live[] = []
  /** Up to here nothing is voted on any more. */
  #floor: EpochView = { epoch: 0, view: 0 }
  #isHalted = false
  /** One after the other: a replacement of the log must not pass an append. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(log: VoteLogPort) {
    this.#log = log
  }

  /** Reads the log; once, at the start. @throws {CodecError} where another version wrote it */
  load(): void {
    for (const record of this.#log.records) {
      if (record.type === RECORD.vote) {
        const vote = decodeVote(record.payload)
        this.#live.push({ epoch: vote.epoch, view: vote.view, record, vote })
      } else if (record.type === RECORD.block) {
        const block = decodeBlockRecord(record.payload)
        if (block !== undefined) this.#live.push({ epoch: block.header.epoch, view: block.header.view, record, block })
      } else if (record.type === RECORD.certificate) {
        const certificate = decodeCertificate(record.payload)
        this.#live.push({ epoch: certificate.epoch, view: certificate.view, record, certificate })
      } else if (record.type === RECORD.halt) {
        this.#isHalted = true
      } else {
        const floor = floorRecord(decodeCanonical(record.payload), 'vote-log')
        if (floor.epoch >= this.#floor.epoch) this.#floor = floor
      }
    }
    for (const { epoch, vote } of this.#live)
      if (vote !== undefined && epoch > this.#floor.epoch) this.#floor = { epoch, view: 0 }
  }

  /**
   * What was said in an epoch.
   *
   * @returns `undefined` for one before the newest that anything was said in: that one was over, and its votes are forgotten. A chain
   *   that stands there was restored from an old copy, and must catch up first.
   */
  said(epoch: number): Said | undefined {
    if (epoch < this.#floor.epoch) return undefined
    const live = this.#live.filter((one) => one.epoch === epoch)
    return {
      votes: live.flatMap(({ vote }) => vote ?? []),
      blocks: live.flatMap(({ block }) => block ?? []),
      certificates: live.flatMap(({ certificate }) => certificate ?? []),
      floorView: epoch === this.#floor.epoch ? this.#floor.view : 0,
    }
  }

  /** Whether this key must not sign any more: it is in use elsewhere. */
  get isHalted(): boolean {
    return this.#isHalted
  }

  /** This key never signs again with this log. */
  async halt(): Promise<void> {
    this.#isHalted = true
    await this.#inTurn(() => this.#log.append([HALT]))
  }

  /**
   * Makes votes durable, with the block that they are for and the certificates that they rest on.
   *
   * @param below - blocks between that one and the final one. Those that this validator didn't vote for are made durable first: who
   *   did may have let them go, and with a loss of power everywhere they would be nowhere.
   */
  async add(
    votes: readonly Vote[],
    block: Block | undefined,
    certificates: readonly Certificate[],
    below: readonly Block[] = [],
  ): Promise<void> {
    const lacking = this.#lacking(below)
    const live: Live[] = [
      ...certificates.map((certificate) => ({
        epoch: certificate.epoch,
        view: certificate.view,
        record: { type: RECORD.certificate, payload: encodeCertificate(certificate) },
        certificate,
      })),
      ...votes.map((vote) => ({
        epoch: vote.epoch,
        view: vote.view,
        record: { type: RECORD.vote, payload: encodeVote(vote) },
        vote,
      })),
    ]
    const [first] = votes
    if (block !== undefined && first !== undefined) {
      live.unshift({ ...liveBlock(block), epoch: first.epoch, view: first.view })
    }
    this.#live.push(...lacking, ...live)
    await this.#inTurn(() => this.#writeAll([...lacking.map((one) => [one]), live]))
  }

  #lacking(below: readonly Block[]): Live[] {
    if (below.length === 0) return []
    const known = new Set(this.#live.map(({ block }) => block?.id.toString()))
    return below.filter(({ id }) => !known.has(id.toString())).map(liveBlock)
  }

  /** One by one: together they may be more than is written at once. */
  async #writeAll(parts: readonly (readonly Live[])[]): Promise<void> {
    for (const part of parts) await this.#write(part)
  }

  /** Forgets what is not above this view of this epoch, once the log is long: nothing there can be voted on any more. */
  async forgetBelow(epoch: number, view: number): Promise<void> {
    this.#live = this.#live.filter((one) => one.epoch > epoch || (one.epoch === epoch && one.view > view))
    const { epoch: before, view: beforeView } = this.#floor
    if (epoch > before || (epoch === before && view > beforeView)) this.#floor = { epoch, view }
    if (this.#log.bytes < VOTE_LOG_REPLACE_BYTES) return
    await this.#inTurn(async () => {
      if (this.#log.bytes >= VOTE_LOG_REPLACE_BYTES) await this.#replace()
    })
  }

  /** Adds records that are live already, or writes all that is live anew, with them. */
  #write(added: readonly Live[]): Promise<void> {
    return this.#letGo(added) ? this.#replace() : this.#log.append(added.map(({ record }) => record))
  }

  #replace(): Promise<void> {
    const floor = { type: RECORD.floor, payload: encodeCanonical(this.#floor) }
    const halt = this.#isHalted ? [HALT] : []
    return this.#log.replace([floor, ...halt, ...this.#live.map(({ record }) => record)])
  }

  /**
   * Where the log is long: lets go of blocks that nothing came of, if they are the half of it, or if there is no room without. Those of
   * views that were given up some views ago, and that no certificate names: nobody needs them to go on (see simplex.ts, Liveness).
   *
   * @returns whether any went.
   */
  #letGo(added: readonly Live[]): boolean {
    const { bytes } = this.#log
    const addedBytes = bytesOf(added) + VOTE_LOG_SLACK_BYTES
    if (bytes + addedBytes < VOTE_LOG_REPLACE_BYTES) return false
    const given = new Set<string>()
    const named = new Set<string>()
    let newest = 0
    for (const { certificate, epoch, view } of this.#live) {
      newest = Math.max(newest, view)
      if (certificate?.kind === 'nullify') given.add(`${epoch} ${view}`)
      else if (certificate?.block !== undefined) named.add(certificate.block.toString())
    }
    const isGone = ({ block, epoch, view }: Live): boolean =>
      block !== undefined &&
      view + CONSENSUS_FULL_VIEWS_MAX < newest &&
      given.has(`${epoch} ${view}`) &&
      !named.has(block.id.toString())
    const gone = new Set(this.#live.filter(isGone))
    const isWorth = 2 * bytesOf([...gone]) >= bytes || bytes + addedBytes > VOTE_LOG_BYTES_MAX
    if (gone.size === 0 || !isWorth) return false
    this.#live = this.#live.filter((one) => !gone.has(one))
    return true
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return result
  }
}

function liveBlock(block: Block): Live {
  const record = { type: RECORD.block, payload: encodeBlockRecord(block) }
  return { epoch: block.header.epoch, view: block.header.view, record, block }
}

/** Without the frames around them. */
const bytesOf = (records: readonly Live[]): number =>
  records.reduce((sum, { record }) => sum + record.payload.length, 0)

export function encodeBlockRecord({ body, headerBytes: header }: Pick<Block, 'body' | 'headerBytes'>): Uint8Array {
  return encodeCanonical({ header, body })
}

/** @returns `undefined` where header and body are not those of one block. @throws {CodecError} */
export function decodeBlockRecord(bytes: Uint8Array): Block | undefined {
  const { body, header } = blockRecord(decodeCanonical(bytes, VOTE_LOG_RECORD_BYTES_MAX), 'vote-log')
  return readBlock(header, body)
}
