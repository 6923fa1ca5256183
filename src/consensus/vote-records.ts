/**
 * What a validator must not forget: its votes above the final block, and the blocks it voted for. Written to the vote log before
 * anything is sent, read at the next start, and left out once the chain is final past it.
 *
 * @see docs/spec/vote-log.md
 */
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { BLOCK_BYTES_MAX, HEADER_BYTES_MAX, VOTE_LOG_RECORD_BYTES_MAX, VOTE_LOG_REPLACE_BYTES } from '../core/limits.ts'
import { byteString, object } from '../core/schema.ts'
import { type Vote, decodeVote, encodeVote } from '../ledger/vote.ts'
import type { LoggedRecord, VoteLogPort } from './replica-ports.ts'
import { type Block, readBlock } from './simplex-state.ts'

interface Live {
  readonly epoch: number
  /** Of the vote: a block that is proposed again is kept as long as the newest vote for it. */
  readonly view: number
  readonly record: LoggedRecord
}

const RECORD = { vote: 1, block: 2 } as const
const blockRecord = object({ header: byteString(1, HEADER_BYTES_MAX), body: byteString(1, BLOCK_BYTES_MAX) })

export class VoteRecords {
  readonly #log: VoteLogPort
  #live: Live[] = []
  /** One after the other: a replacement of the log must not pass an append. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(log: VoteLogPort) {
    this.#log = log
  }

  /** What the log holds; once, at the start. @throws {CodecError} where another version wrote it */
  load(): { readonly votes: readonly Vote[]; readonly blocks: readonly Block[] } {
    const votes: Vote[] = []
    const blocks: Block[] = []
    for (const record of this.#log.records) {
      if (record.type === RECORD.vote) {
        const vote = decodeVote(record.payload)
        votes.push(vote)
        this.#live.push({ epoch: vote.epoch, view: vote.view, record })
        continue
      }
      const block = decodeBlockRecord(record.payload)
      if (block === undefined) continue
      blocks.push(block)
      this.#live.push({ epoch: block.header.epoch, view: block.header.view, record })
    }
    return { votes, blocks }
  }

  /** Makes votes durable, and the block that they are for. */
  async add(votes: readonly Vote[], block: Block | undefined): Promise<void> {
    const live: Live[] = votes.map((vote) => ({
      epoch: vote.epoch,
      view: vote.view,
      record: { type: RECORD.vote, payload: encodeVote(vote) },
    }))
    const [first] = votes
    if (block !== undefined && first !== undefined) {
      const record = { type: RECORD.block, payload: encodeBlockRecord(block) }
      live.unshift({ epoch: first.epoch, view: first.view, record })
    }
    this.#live.push(...live)
    await this.#inTurn(() => this.#log.append(live.map(({ record }) => record)))
  }

  /** Forgets what is not above this view of this epoch: nothing there can be voted on any more. */
  async forgetBelow(epoch: number, view: number): Promise<void> {
    this.#live = this.#live.filter((one) => one.epoch > epoch || (one.epoch === epoch && one.view > view))
    if (this.#log.bytes < VOTE_LOG_REPLACE_BYTES) return
    await this.#inTurn(async () => {
      if (this.#log.bytes >= VOTE_LOG_REPLACE_BYTES) await this.#log.replace(this.#live.map(({ record }) => record))
    })
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const result = this.#turn.then(work)
    this.#turn = result.catch(() => undefined)
    return result
  }
}

export function encodeBlockRecord({ body, headerBytes: header }: Pick<Block, 'body' | 'headerBytes'>): Uint8Array {
  return encodeCanonical({ header, body })
}

/** @returns `undefined` where header and body are not those of one block. @throws {CodecError} */
export function decodeBlockRecord(bytes: Uint8Array): Block | undefined {
  const { body, header } = blockRecord(decodeCanonical(bytes, VOTE_LOG_RECORD_BYTES_MAX), 'vote-log')
  return readBlock(header, body)
}
