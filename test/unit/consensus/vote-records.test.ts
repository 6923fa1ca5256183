/** What stays in the log of votes while nothing becomes final. */
import { describe, expect, test } from 'vitest'
import type { LoggedRecord, VoteLogPort } from '../../../src/consensus/replica-ports.ts'
import type { Block } from '../../../src/consensus/simplex-state.ts'
import { VoteRecords } from '../../../src/consensus/vote-records.ts'
import { CONSENSUS_FULL_VIEWS_MAX, VOTE_LOG_BYTES_MAX } from '../../../src/core/limits.ts'
import { bodyCid, encodeBody } from '../../../src/ledger/block-body.ts'
import { encodeHeader, headerId } from '../../../src/ledger/header.ts'
import { Bench } from './bench.ts'

const KIB = 1024
/** More than fit into a log, a megabyte each. */
const VIEWS = 160
const TXS = Array.from({ length: 16 }, () => new Uint8Array(64 * KIB))

/** In memory, bounded as the one on the disk. */
class BoundedLog implements VoteLogPort {
  records: readonly LoggedRecord[] = []
  replaced = 0
  largest = 0

  get bytes(): number {
    return bytesOf(this.records)
  }

  async append(records: readonly LoggedRecord[]): Promise<void> {
    this.#take([...this.records, ...records])
  }

  async replace(records: readonly LoggedRecord[]): Promise<void> {
    this.replaced++
    this.#take(records)
  }

  #take(records: readonly LoggedRecord[]): void {
    const bytes = bytesOf(records)
    if (bytes > VOTE_LOG_BYTES_MAX) throw new Error('full')
    this.largest = Math.max(this.largest, bytes)
    this.records = records
  }
}

/** As of a version that let nothing go. */
class OldLog extends BoundedLog {
  override get bytes(): number {
    return 0
  }
}

const bytesOf = (records: readonly LoggedRecord[]): number =>
  records.reduce((sum, { payload }) => sum + payload.length, 0)

const bench = new Bench()

const justify = { parentCert: null, nullifyCerts: [] }
/** One for all blocks: what differs is the header. */
const body = encodeBody({ txs: TXS, justify })
const template = { ...bench.block(1).header, body: bodyCid(body) }

function largeBlock(view: number): Block {
  const header = { ...template, view }
  const headerBytes = encodeHeader(header)
  return { id: headerId(headerBytes), header, headerBytes, body, justify }
}

/** Votes for a block in each view, and gives the view up; with `notarized`, that view's block was notarized first. */
async function pass(records: VoteRecords, options: { notarized?: number; isGivenUp?: boolean } = {}): Promise<Block[]> {
  const blocks: Block[] = []
  for (let view = 1; view <= VIEWS; view++) {
    const block = largeBlock(view)
    blocks.push(block)
    await records.add([bench.vote(bench.me, 'notarize', view, block.id)], block, [])
    const certificates = view === options.notarized ? [bench.certificate('notarize', view, block.id)] : []
    if (options.isGivenUp !== false) certificates.push(bench.certificate('nullify', view))
    await records.add([bench.vote(bench.me, 'nullify', view)], undefined, certificates)
  }
  return blocks
}

function reloaded(log: VoteLogPort): VoteRecords {
  const records = new VoteRecords(log)
  records.load()
  return records
}

test('a block is logged with those below it that were not voted for, each once', async () => {
  const log = new BoundedLog()
  const records = new VoteRecords(log)
  const [first, second, third] = [1, 2, 3].map((view) => bench.block(view)) as [Block, Block, Block]
  await records.add([bench.vote(bench.me, 'notarize', 1, first.id)], first, [])
  const certificates = [bench.certificate('notarize', 2, second.id)]
  await records.add([bench.vote(bench.me, 'notarize', 3, third.id)], third, certificates, [second, first])
  await records.add([bench.vote(bench.me, 'finalize', 3, third.id)], undefined, [], [second, first])
  const views = reloaded(log)
    .said(0)
    ?.blocks.map(({ header }) => header.view)
  expect(views).toEqual([1, 2, 3])
})

describe('while view after view is given up', () => {
  test('the log has room for ever: blocks of old views go, and no vote and no certificate does', async () => {
    const log = new BoundedLog()
    const blocks = await pass(new VoteRecords(log), { notarized: 5 })
    const said = reloaded(log).said(0)
    const views = said?.votes.map(({ kind, view }) => `${kind} ${view}`)
    expect(views).toEqual(
      Array.from({ length: VIEWS }, (_, index) => [`notarize ${index + 1}`, `nullify ${index + 1}`]).flat(),
    )
    expect(said?.certificates.filter(({ kind }) => kind === 'nullify')).toHaveLength(VIEWS)
    const kept = new Set(said?.blocks.map(({ header }) => header.view))
    // What may be built on, and what may be notarized still.
    for (const view of [5, ...Array.from({ length: CONSENSUS_FULL_VIEWS_MAX + 1 }, (_, index) => VIEWS - index)])
      expect(kept).toContain(view)
    expect([kept.has(4), kept.has(6), blocks.length]).toEqual([false, false, VIEWS])
    // Half of it at least each time: writing it anew costs no more than what was written.
    expect(log.largest).toBeLessThan(80 * KIB * KIB)
    expect(log.replaced).toBeLessThan(6)
  })

  test('what a full log of before a restart holds makes room for the next vote', async () => {
    const old = new OldLog()
    await expect(pass(new VoteRecords(old))).rejects.toThrow('full')
    const log = new BoundedLog()
    log.records = old.records
    const votes = reloaded(log).said(0)?.votes.length ?? 0
    const block = largeBlock(VIEWS)
    await reloaded(log).add([bench.vote(bench.me, 'notarize', VIEWS, block.id)], block, [])
    expect(log.bytes).toBeLessThan(VOTE_LOG_BYTES_MAX / 2)
    expect(reloaded(log).said(0)?.votes).toHaveLength(votes + 1)
  })

  test('blocks of views that were not given up all stay', async () => {
    await expect(pass(new VoteRecords(new BoundedLog()), { isGivenUp: false })).rejects.toThrow('full')
  })
})
