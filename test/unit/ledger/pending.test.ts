import { describe, expect, test } from 'vitest'
import { CodedError } from '../../../src/core/coded-error.ts'
import { EPOCH_BLOCKS, PENDING_BLOCKS_MAX, PENDING_FULL_BLOCKS_MAX } from '../../../src/core/limits.ts'
import { decodeBody, encodeBody, bodyCid } from '../../../src/ledger/block-body.ts'
import type { BlockBytes } from '../../../src/ledger/block-bytes.ts'
import { type Certificate, encodeCertificate } from '../../../src/ledger/certificate.ts'
import { encodeHeader, headerId } from '../../../src/ledger/header.ts'
import type { Proposal } from '../../../src/ledger/proposal.ts'
import { leaderOf } from '../../../src/ledger/validators.ts'
import type { SignedTx } from '../../../src/ledger/transaction.ts'
import { draftRecordAdd } from '../../../src/domain/records.ts'
import { TestChain, makeGenesis, person } from './network.ts'
import { manifestOf, wrapped } from './samples.ts'

const names = ['city', 'north', 'south', 'east']
const FOUR = makeGenesis(Object.fromEntries(names.map((name) => [name, 'hospital' as const])), names)
const ada = person('ada', 'city')
const ben = person('ben', 'north')

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'ok'
  } catch (error) {
    if (error instanceof CodedError) return error.fault.code
    throw error
  }
}

/** Four validators who agree; blocks are proposed on `source`, and taken by followers. */
class Net {
  readonly source: TestChain
  private constructor(source: TestChain) {
    this.source = source
  }

  static async open(): Promise<Net> {
    return new Net(await TestChain.open(FOUR))
  }

  certificate(of: Proposal, kind: 'notarize' | 'finalize', view = of.fields.view): Promise<Certificate> {
    return this.source.certify({ epoch: of.fields.epoch, view, kind, block: of.id })
  }

  nullify(view: number, epoch = 0): Promise<Certificate> {
    return this.source.certify({ epoch, view, kind: 'nullify' })
  }

  /** A block on a block that is notarized, in the next view or a later one. */
  async on(parent: Proposal | undefined, txs: readonly SignedTx[] = [], view?: number): Promise<Proposal> {
    const { chain } = this.source
    const epoch = chain.head.nextEpoch
    const parentView = parent?.fields.view ?? chain.head.view
    const at = view ?? parentView + 1
    const set = chain.validators(epoch)
    const leader = set?.validators[leaderOf(set, at)]?.institution
    if (leader === undefined) throw new Error('every view has a leader')
    const nullifyCerts: Certificate[] = []
    for (let missing = parentView + 1; missing < at; missing++) nullifyCerts.push(await this.nullify(missing, epoch))
    const head = (await chain.reader.certificateAt(chain.head.height)) ?? null
    const parentCert = parent === undefined ? head : await this.certificate(parent, 'notarize')
    return this.source.propose(txs, {
      parent: parent?.id ?? chain.head.id,
      view: at,
      timeMs: (this.source.nowMs += 200),
      proposer: leader,
      justify: { parentCert, nullifyCerts },
    })
  }

  async bytes(of: Proposal, kind: 'notarize' | 'finalize'): Promise<BlockBytes> {
    return { header: of.header, body: of.body, certificate: encodeCertificate(await this.certificate(of, kind)) }
  }

  /** Blocks one on the other; none is final. */
  async row(count: number, from?: Proposal): Promise<Proposal[]> {
    const row: Proposal[] = []
    for (let index = 0; index < count; index++) row.push(await this.on(row.at(-1) ?? from))
    return row
  }
}

describe('blocks that are not final', () => {
  test('are built on one another, each on the state that its parent leads to', async () => {
    const net = await Net.open()
    const follower = await TestChain.open(FOUR)
    const first = await net.on(undefined, [await net.source.createTx(ada)])
    const record = draftRecordAdd({
      patient: ada.id,
      category: 'imaging',
      manifest: manifestOf('m'),
      key: wrapped('a'),
    })
    const second = await net.on(first, [await net.source.tx(ada, record, { seq: 2 })])
    const third = await net.on(second, [await net.source.tx(ada, record, { seq: 3 })])
    expect([second.txs.length, third.txs.length]).toEqual([1, 1])
    const stored = follower.store.batches
    for (const { body, header, id } of [first, second, third]) {
      expect((await follower.chain.addPending({ header, body })).id).toEqual(id)
      expect(follower.chain.isPending(id)).toBe(true)
    }
    expect(follower.store.batches).toBe(stored)
    expect(follower.chain.head.height).toBe(0)
    expect([...follower.chain.pendingTxs(third.id)].toSorted()).toEqual(
      [first, second, third].flatMap(({ txs }) => txs.map(({ id }) => id)).toSorted(),
    )
    await follower.chain.finalize(third.id, await net.certificate(third, 'finalize'))
    expect(follower.chain.head.id).toEqual(third.id)
    expect(follower.store.batches).toBe(stored + 3)
    expect(await follower.chain.nextSeq(ada.id, 1)).toBe(4)
    await follower.reopen()
    expect(follower.chain.head.id).toEqual(third.id)
  })

  test('become final with a descendant, in order, each stored with the certificate that its child carries', async () => {
    const net = await Net.open()
    const [first, second, third] = await net.row(3)
    if (first === undefined || second === undefined || third === undefined) throw new Error('three were made')
    const { chain } = net.source
    const told: number[] = []
    chain.onBlock(({ final }) => told.push(final.header.height))
    await chain.finalize(third.id, await net.certificate(third, 'finalize'))
    expect(told).toEqual([1, 2, 3])
    const kinds = await Promise.all([1, 2, 3].map(async (height) => (await chain.reader.certificateAt(height))?.kind))
    expect(kinds).toEqual(['notarize', 'notarize', 'finalize'])
    // Again, and for one below the head: nothing to do.
    await chain.finalize(third.id, await net.certificate(third, 'finalize'))
    await chain.finalize(first.id, await net.certificate(first, 'finalize'))
    expect(chain.head.height).toBe(3)
  })

  test('are let go when another became final at their height, with all that was built on them', async () => {
    const net = await Net.open()
    const { chain } = net.source
    const [first, second] = await net.row(2)
    const rival = await net.on(undefined, [await net.source.createTx(ben)], 3)
    const child = await net.on(rival)
    expect([first, second, rival, child].every((one) => one !== undefined && chain.isPending(one.id))).toBe(true)
    await chain.finalize(rival.id, await net.certificate(rival, 'finalize'))
    expect([first, second, rival].some((one) => one !== undefined && chain.isPending(one.id))).toBe(false)
    expect(chain.isPending(child.id)).toBe(true)
    await chain.finalize(child.id, await net.certificate(child, 'finalize'))
    expect(chain.head.id).toEqual(child.id)
  })

  test('see neither what a sibling wrote nor what the store holds below their own branch', async () => {
    const net = await Net.open()
    const tx = await net.source.createTx(ada)
    const first = await net.on(undefined, [tx])
    const rival = await net.on(undefined, [], 2)
    // The account is not there on the other branch, so the same transaction has a place there.
    expect((await net.on(rival, [tx])).txs).toHaveLength(1)
    expect((await net.on(first, [tx])).txs).toHaveLength(0)
  })

  test('do not cost a waiting transaction its place: only what can never enter is said to be dropped', async () => {
    const net = await Net.open()
    const tx = await net.source.createTx(ada)
    const first = await net.on(undefined, [tx])
    const late = await net.source.tx(ada, { lane: 1, type: 'record.add', payload: null }, { seq: 9 })
    const expired = await net.source.tx(
      person('city account', 'city'),
      { lane: 1, type: 'record.add', payload: null },
      { expiresMs: 5 },
    )
    const second = await net.on(first, [tx, late, expired])
    expect(second.txs).toEqual([])
    expect(second.dropped.map(({ fault, tx: { id } }) => [id, fault.code])).toEqual([
      [late.id, 'TX_ACCOUNT_UNKNOWN'],
      [expired.id, 'TX_EXPIRED'],
    ])
  })

  test('need a parent that is final or pending, and are not taken twice', async () => {
    const net = await Net.open()
    const follower = await TestChain.open(FOUR)
    const [first, second] = await net.row(2)
    if (first === undefined || second === undefined) throw new Error('two were made')
    expect(await codeOf(follower.chain.addPending(second))).toBe('HEADER_PARENT_UNKNOWN')
    expect(await codeOf(follower.chain.addPending(first))).toBe('ok')
    expect(await codeOf(follower.chain.addPending(first))).toBe('ok')
    expect(await codeOf(follower.chain.finalize(second.id, await net.certificate(second, 'finalize')))).toBe(
      'CHAIN_NOT_PENDING',
    )
    const notarize = await net.certificate(first, 'notarize')
    expect(await codeOf(follower.chain.finalize(first.id, notarize))).toBe('HEADER_CERTIFICATE_INVALID')
    const other = await net.certificate(second, 'finalize')
    expect(await codeOf(follower.chain.finalize(first.id, other))).toBe('HEADER_CERTIFICATE_INVALID')
    await follower.chain.finalize(first.id, await net.certificate(first, 'finalize'))
    expect(await codeOf(follower.chain.addPending(first))).toBe('HEADER_KNOWN')
    expect(await codeOf(follower.chain.addPending(second))).toBe('ok')
  })

  test('are refused for a wrong state, a wrong leader, a gap of views, or a parent certificate of another view', async () => {
    const net = await Net.open()
    const follower = await TestChain.open(FOUR)
    const [first] = await net.row(1)
    if (first === undefined) throw new Error('one was made')
    await follower.chain.addPending(first)
    const good = await net.on(first)
    const refused = (change: object, body: Uint8Array = good.body): Promise<string> => {
      const header = encodeHeader({ ...good.fields, body: bodyCid(body), ...change })
      return codeOf(follower.chain.addPending({ header, body }))
    }
    expect(await refused({ stateRoot: good.fields.historyRoot })).toBe('BLOCK_STATE_ROOT_WRONG')
    expect(await refused({ proposer: first.fields.proposer })).toBe('HEADER_PROPOSER_WRONG')
    expect(await refused({ historyRoot: good.fields.stateRoot })).toBe('HEADER_HISTORY_ROOT_WRONG')
    expect(await refused({ view: good.fields.view + 4 })).toBe('BODY_JUSTIFICATION_INVALID')
    const { justify, txs } = decodeBody(good.body)
    const withCert = (change: Partial<Certificate>): Uint8Array => {
      if (justify.parentCert === null) throw new Error('it has a parent')
      return encodeBody({ txs, justify: { ...justify, parentCert: { ...justify.parentCert, ...change } } })
    }
    for (const change of [{ view: 9 }, { epoch: 1 }, { block: good.id }]) {
      expect(await refused({}, withCert(change))).toBe('BODY_JUSTIFICATION_INVALID')
    }
    expect(await codeOf(follower.chain.addPending(good))).toBe('ok')
  })

  test('stay as they are where the disk fails while they become final, and go on from there', async () => {
    const net = await Net.open()
    const [first, second] = await net.row(2, await net.on(undefined, [await net.source.createTx(ada)]))
    if (first === undefined || second === undefined) throw new Error('two were made')
    const { chain, store } = net.source
    const certificate = await net.certificate(second, 'finalize')
    store.failNext = true
    await expect(chain.finalize(second.id, certificate)).rejects.toThrow('the disk failed')
    expect([chain.head.height, chain.isPending(first.id), chain.isPending(second.id)]).toEqual([0, true, true])
    chain.onBlock(({ final }) => {
      store.failNext = final.header.height === 1
    })
    await expect(chain.finalize(second.id, certificate)).rejects.toThrow('the disk failed')
    expect([chain.head.height, chain.isPending(first.id), chain.isPending(second.id)]).toEqual([1, true, true])
    await chain.finalize(second.id, certificate)
    expect([chain.head.height, await chain.nextSeq(ada.id, 1)]).toEqual([3, 2])
  })

  test('of a long partition, whose proposals all failed, do not keep out the one that ends it', async () => {
    const net = await Net.open()
    const { chain } = net.source
    const parent = await net.on(undefined)
    const failed: Proposal[] = []
    for (let view = 2; view < PENDING_BLOCKS_MAX + 12; view++) {
      failed.push(
        await net.source.propose([], {
          parent: parent.id,
          view,
          timeMs: (net.source.nowMs += 200),
          justify: { parentCert: await net.certificate(parent, 'notarize'), nullifyCerts: [] },
        }),
      )
    }
    expect(failed.filter(({ id }) => chain.isPending(id))).toHaveLength(PENDING_BLOCKS_MAX - 1)
    expect([failed.at(0), failed.at(-1)].map((one) => one !== undefined && chain.isPending(one.id))).toEqual([
      false,
      true,
    ])
    const last = failed.at(-1)
    if (last === undefined) throw new Error('they were made')
    const child = await net.on(last)
    await chain.finalize(child.id, await net.certificate(child, 'finalize'))
    expect(chain.head.height).toBe(3)
  })

  test('can be forgotten before anyone was told of them', async () => {
    const net = await Net.open()
    const [first, second] = await net.row(2)
    if (first === undefined || second === undefined) throw new Error('two were made')
    await net.source.chain.forget(first.id)
    expect([first, second].some(({ id }) => net.source.chain.isPending(id))).toBe(false)
  })

  test('hold no transactions far from the last final block, and are bounded in number', async () => {
    const net = await Net.open()
    const row = await net.row(PENDING_FULL_BLOCKS_MAX)
    const tx = await net.source.createTx(ada)
    expect((await net.on(row.at(-2), [tx], 40)).txs).toHaveLength(1)
    const far = await net.on(row.at(-1), [tx])
    expect([far.txs, far.dropped]).toEqual([[], []])
    // The side branch makes room for the last of them.
    const more = await net.row(PENDING_BLOCKS_MAX - PENDING_FULL_BLOCKS_MAX - 1, far)
    expect(await codeOf(net.on(more.at(-1)))).toBe('CHAIN_PENDING_FULL')
    const last = more.at(-1)
    if (last === undefined) throw new Error('they were made')
    await net.source.chain.finalize(last.id, await net.certificate(last, 'finalize'))
    expect(net.source.chain.head.height).toBe(PENDING_BLOCKS_MAX)
    expect((await net.on(undefined, [tx])).txs).toHaveLength(1)
  })
})

describe('catching up', () => {
  /** Seven blocks, of which the third and the sixth have a finalize certificate. */
  async function seven(): Promise<{ net: Net; blocks: BlockBytes[] }> {
    const net = await Net.open()
    const row = await net.row(7)
    const kind = (index: number): 'notarize' | 'finalize' => (index === 2 || index === 5 ? 'finalize' : 'notarize')
    return { net, blocks: await Promise.all(row.map((one, index) => net.bytes(one, kind(index)))) }
  }

  test('takes all that a finalize certificate covers, and keeps pending what is behind it', async () => {
    const { blocks, net } = await seven()
    const peer = await TestChain.open(FOUR)
    expect(await peer.chain.acceptBlocks(blocks)).toBe(6)
    const [last] = blocks.slice(-1)
    if (last === undefined) throw new Error('seven were made')
    expect(peer.chain.isPending(headerId(last.header))).toBe(true)
    expect(await peer.chain.acceptBlocks(blocks.slice(0, 6))).toBe(0)
    // What a peer took this way it can give on in the same way.
    const given: BlockBytes[] = []
    for await (const { certificateBytes: certificate, header, headerBytes } of peer.chain.reader.headers(1, 6)) {
      const body = await peer.chain.reader.bodyAt(header.height)
      given.push({ header: headerBytes, certificate, body: body?.bytes ?? new Uint8Array(0) })
    }
    const next = await TestChain.open(FOUR)
    expect(await next.chain.acceptBlocks(given)).toBe(6)
    expect(next.chain.head).toEqual(peer.chain.head)
    expect(net.source.chain.head.height).toBe(0)
  })

  test('goes on where an answer ended within a run that only a later certificate covers', async () => {
    const { blocks } = await seven()
    const peer = await TestChain.open(FOUR)
    expect(await peer.chain.acceptBlocks(blocks.slice(0, 2))).toBe(0)
    expect(await peer.chain.acceptBlocks(blocks.slice(2, 3))).toBe(3)
    expect(peer.chain.head.height).toBe(3)
  })

  test('executes nothing that no quorum stands behind', async () => {
    const { blocks, net } = await seven()
    const [first, second, third] = blocks
    if (first === undefined || second === undefined || third === undefined) throw new Error('seven were made')
    const peer = await TestChain.open(FOUR)
    const forged = encodeCertificate({ ...(await net.nullify(1)), kind: 'notarize', block: headerId(first.header) })
    const outcomes = [
      [{ ...first, certificate: forged }],
      [first, third],
      [second, third],
      [first, { ...second, certificate: first.certificate }],
      [first, second, { ...third, certificate: second.certificate }, blocks[5] ?? first],
      [first, { ...second, body: first.body }, third],
    ].map((list) => codeOf(peer.chain.acceptBlocks(list)))
    expect(await Promise.all(outcomes)).toEqual([
      'HEADER_CERTIFICATE_INVALID',
      'HEADER_PARENT_UNKNOWN',
      'HEADER_PARENT_UNKNOWN',
      'HEADER_CERTIFICATE_INVALID',
      'HEADER_PARENT_UNKNOWN',
      'BODY_CID_WRONG',
    ])
    expect(peer.chain.isPending(headerId(first.header))).toBe(false)
    expect(await peer.chain.acceptBlocks(blocks)).toBe(6)
  })

  test('keeps what was final before the bad block', async () => {
    const { blocks } = await seven()
    const peer = await TestChain.open(FOUR)
    const bad = blocks.map((block, index) => (index === 4 ? { ...block, body: blocks[0]?.body ?? block.body } : block))
    expect(await codeOf(peer.chain.acceptBlocks(bad))).toBe('BODY_CID_WRONG')
    expect(peer.chain.head.height).toBe(3)
  })

  test('does not mind a clock that is late: what a quorum made final is not ahead of time', async () => {
    const { blocks } = await seven()
    const peer = await TestChain.open(FOUR)
    peer.nowMs -= 3_600_000
    expect(await peer.chain.acceptBlocks(blocks)).toBe(6)
  })
})

describe('the end of an epoch', () => {
  /** All blocks but the last of an epoch, final. */
  async function nearEnd(): Promise<Net> {
    const net = await Net.open()
    for (let height = 1; height < EPOCH_BLOCKS; height += 100) {
      const row = await net.row(Math.min(100, EPOCH_BLOCKS - height))
      const last = row.at(-1)
      if (last === undefined) throw new Error('blocks were made')
      await net.source.chain.finalize(last.id, await net.certificate(last, 'finalize'))
    }
    return net
  }

  test('is final before anything follows it, by a certificate of its own view or a later one', async () => {
    const net = await nearEnd()
    const { chain } = net.source
    const last = await net.on(undefined)
    expect(last.fields.nextValidators).toBeDefined()
    expect(await codeOf(net.on(last))).toBe('HEADER_EPOCH_NOT_FINAL')
    const early = await net.certificate(last, 'finalize', last.fields.view - 1)
    expect(await codeOf(chain.finalize(last.id, early))).toBe('HEADER_CERTIFICATE_INVALID')
    // Proposed again three views later, and final there.
    const late = await net.certificate(last, 'finalize', last.fields.view + 3)
    await chain.finalize(last.id, late)
    expect([chain.head.endsEpoch, chain.head.nextEpoch, chain.head.view]).toEqual([true, 1, last.fields.view])
    const first = await net.on(undefined)
    expect([first.fields.epoch, first.fields.parentView, first.fields.view]).toEqual([
      1,
      last.fields.view,
      last.fields.view + 1,
    ])
    const rows = await net.row(1, first)
    const [second] = rows
    if (second === undefined) throw new Error('one was made')
    await chain.finalize(second.id, await net.certificate(second, 'finalize'))
    expect(chain.head.height).toBe(EPOCH_BLOCKS + 2)

    const given: BlockBytes[] = []
    for await (const { certificateBytes: certificate, header, headerBytes } of chain.reader.headers(1, 9_999)) {
      const body = await chain.reader.bodyAt(header.height)
      given.push({ header: headerBytes, certificate, body: body?.bytes ?? new Uint8Array(0) })
    }
    const peer = await TestChain.open(FOUR)
    expect(await peer.chain.acceptBlocks(given)).toBe(EPOCH_BLOCKS + 2)
    expect(peer.chain.head).toEqual(chain.head)
  }, 60_000)

  test('is followed only by a block that carries a finalize certificate of it', async () => {
    const net = await nearEnd()
    const { chain } = net.source
    const last = await net.on(undefined)
    await chain.finalize(last.id, await net.certificate(last, 'finalize'))
    const good = await net.on(undefined)
    const notarize = await net.source.certify({ epoch: 0, view: last.fields.view, kind: 'notarize', block: last.id })
    const body = encodeBody({ txs: [], justify: { parentCert: notarize, nullifyCerts: [] } })
    const header = encodeHeader({ ...good.fields, body: bodyCid(body) })
    expect(await codeOf(chain.addPending({ header, body }))).toBe('BODY_JUSTIFICATION_INVALID')
  }, 60_000)
})
