import { beforeEach, describe, expect, test } from 'vitest'
import { signVote } from '../../../src/consensus/votes.ts'
import { decodeCanonical, encodeCanonical } from '../../../src/core/codec.ts'
import { CodedError } from '../../../src/core/coded-error.ts'
import { idHash, parseInstitutionId } from '../../../src/core/ids.ts'
import { EPOCH_BLOCKS } from '../../../src/core/limits.ts'
import { leafHash, merkleRoot, verifyInclusion } from '../../../src/crypto/merkle.ts'
import { sha256 } from '../../../src/crypto/hash.ts'
import { bodyCid, decodeBody, encodeBody, txRootOf } from '../../../src/ledger/block-body.ts'
import type { BlockBytes } from '../../../src/ledger/block-bytes.ts'
import {
  type Certificate,
  certificateOfVotes,
  decodeCertificate,
  encodeCertificate,
} from '../../../src/ledger/certificate.ts'
import type { AcceptedBlock } from '../../../src/ledger/block-tree.ts'
import type { Chain } from '../../../src/ledger/chain.ts'
import { type Header, encodeFinalHeader, encodeHeader, headerId } from '../../../src/ledger/header.ts'
import type { Proposal } from '../../../src/ledger/proposal.ts'
import { treeKey, verifyStateProof, verifyStateValue } from '../../../src/ledger/state-proof.ts'
import { leaderOf } from '../../../src/ledger/validators.ts'
import { hexOf } from '../../vectors/load.ts'
import { MapStore } from './map-store.ts'
import { GENESIS, TestChain, makeGenesis, person, signerOf } from './network.ts'
import { sampleChain } from './samples.ts'

const ada = person('ada', 'city')
const ben = person('ben', 'city')

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    return String(await work)
  } catch (error) {
    if (error instanceof CodedError) return error.fault.code
    throw error
  }
}

/** A proposal whose header says something else; its certificate will be a good one. */
function withHeader(proposal: Proposal, change: Partial<Header>): Proposal {
  const fields = { ...proposal.fields, ...change }
  const header = encodeHeader(fields)
  return { ...proposal, fields, header, id: headerId(header) }
}

/** A proposal with another body, which its header names correctly. */
function withBody(proposal: Proposal, body: Parameters<typeof encodeBody>[0]): Proposal {
  const bytes = encodeBody(body)
  return { ...withHeader(proposal, { body: bodyCid(bytes), txRoot: txRootOf(body.txs.map(leafHash)) }), body: bytes }
}

const gossip = (block: BlockBytes): Uint8Array =>
  encodeFinalHeader({ headerBytes: block.header, certificateBytes: block.certificate })

describe('a chain', () => {
  let test1: TestChain
  let follower: TestChain
  beforeEach(async () => {
    test1 = await TestChain.open()
    follower = await TestChain.open()
  })

  /** Both take the same blocks; the follower executes each for itself. */
  async function both(block: BlockBytes): Promise<void> {
    follower.nowMs = test1.nowMs
    expect(await follower.chain.acceptBlock(block)).toBe('accepted')
  }

  test('begins at height 0, with the institutions of its genesis', async () => {
    const { head } = test1.chain
    expect([head.height, head.view, head.timeMs]).toEqual([0, 0, GENESIS.timeMs])
    expect(head.id.toString()).toBe(test1.id)
    expect(test1.chain.validators()?.validators).toHaveLength(1)
  })

  test('grows by final blocks, and a follower that executes them has the same head and state', async () => {
    await both(await test1.block(await test1.createTx(ada), await test1.createTx(ben)))
    await both(await test1.block())
    expect(follower.chain.head).toEqual(test1.chain.head)
    expect(test1.chain.head.height).toBe(2)
    expect(hexOf(follower.chain.head.stateRoot)).not.toBe(hexOf(new Uint8Array(32)))
  })

  test('answers what was final: headers by height and id, bodies, certificates, receipts', async () => {
    const tx = await test1.createTx(ada)
    const block = await test1.block(tx)
    const { reader } = test1.chain
    const found = await reader.headerAt(1)
    expect(hexOf(found?.headerBytes ?? new Uint8Array(0))).toBe(hexOf(block.header))
    expect((await reader.headerById(headerId(block.header)))?.header.height).toBe(1)
    expect(encodeCertificate((await reader.certificateAt(1)) ?? decodeCertificate(block.certificate))).toEqual(
      block.certificate,
    )
    expect((await reader.bodyAt(1))?.body.txs).toHaveLength(1)
    expect(await reader.receipt(tx.id)).toEqual({ receipt: { tx: tx.id, ok: true }, height: 1, index: 0 })
    expect(await reader.headerAt(2)).toBeUndefined()
    expect(await reader.headerById(test1.chain.head.id)).toBeDefined()
    expect(await reader.receipt((await test1.createTx(ben)).id)).toBeUndefined()
    await test1.block()
    const heights: number[] = []
    for await (const { header } of reader.headers(0, 99)) heights.push(header.height)
    expect(heights).toEqual([1, 2])
  })

  test('takes a block once: the same one again is known', async () => {
    const block = await test1.block()
    expect(await test1.chain.acceptBlock(block)).toBe('known')
    expect(test1.chain.head.height).toBe(1)
  })

  test('takes blocks that come at the same moment one after the other', async () => {
    const blocks = [await test1.block(), await test1.block(), await test1.block()]
    follower.nowMs = test1.nowMs
    const outcomes = await Promise.all([...blocks, ...blocks].map((block) => follower.chain.acceptBlock(block)))
    expect(outcomes).toEqual(['accepted', 'accepted', 'accepted', 'known', 'known', 'known'])
  })

  test('tells those who wait for a receipt, and those who listen, as soon as the block is stored', async () => {
    const tx = await test1.createTx(ada)
    const seen: AcceptedBlock[] = []
    const stop = test1.chain.onBlock((block) => seen.push(block))
    const waiting = test1.chain.waitForReceipt(tx.id)
    await test1.block(tx)
    expect((await waiting).receipt.ok).toBe(true)
    expect((await test1.chain.waitForReceipt(tx.id)).height).toBe(1)
    stop()
    await test1.block()
    expect(seen.map(({ txs }) => txs.map(({ id }) => id))).toEqual([[tx.id]])
  })

  test('lets those who wait for a receipt give up', async () => {
    const tx = await test1.createTx(ada)
    const stop = new AbortController()
    const waiting = test1.chain.waitForReceipt(tx.id, { signal: stop.signal })
    stop.abort(new Error('enough'))
    await expect(waiting).rejects.toThrow('enough')
    await test1.block(tx)
  })

  test('a listener that throws does not make a block fail', async () => {
    test1.chain.onBlock(() => {
      throw new Error('a bug elsewhere')
    })
    await test1.block()
    expect(test1.chain.head.height).toBe(1)
  })

  describe('refuses, and stays as it was', () => {
    const another = parseInstitutionId('north')
    const cases: [string, string, (proposal: Proposal) => Proposal][] = [
      ['a header of another chain', 'HEADER_WRONG_CHAIN', (p) => withHeader(p, { chain: p.fields.body })],
      ['an unknown parent', 'HEADER_PARENT_UNKNOWN', (p) => withHeader(p, { parent: p.fields.body })],
      ['a wrong height', 'HEADER_HEIGHT_WRONG', (p) => withHeader(p, { height: 9 })],
      ['a wrong epoch', 'HEADER_EPOCH_WRONG', (p) => withHeader(p, { epoch: 1 })],
      ['a wrong view of its parent', 'HEADER_VIEW_WRONG', (p) => withHeader(p, { parentView: 0 })],
      ['a view that is not later', 'HEADER_VIEW_WRONG', (p) => withHeader(p, { view: 1 })],
      ['a time that is not later', 'HEADER_TIME_NOT_LATER', (p) => withHeader(p, { timeMs: GENESIS.timeMs })],
      ['another proposer than the leader', 'HEADER_PROPOSER_WRONG', (p) => withHeader(p, { proposer: another })],
      ['another history', 'HEADER_HISTORY_ROOT_WRONG', (p) => withHeader(p, { historyRoot: p.fields.stateRoot })],
      ['another layout', 'HEADER_LAYOUT_WRONG', (p) => withHeader(p, { layoutVersion: 1 })],
      [
        'next validators in the middle of an epoch',
        'HEADER_NEXT_VALIDATORS_WRONG',
        (p) => withHeader(p, { nextValidators: GENESIS.validators }),
      ],
      ['another state', 'BLOCK_STATE_ROOT_WRONG', (p) => withHeader(p, { stateRoot: p.fields.historyRoot })],
      ['other receipts', 'BLOCK_RECEIPTS_ROOT_WRONG', (p) => withHeader(p, { receiptsRoot: p.fields.stateRoot })],
      ['other transactions', 'BODY_TX_ROOT_WRONG', (p) => withHeader(p, { txRoot: p.fields.stateRoot })],
      ['a body that the header does not name', 'BODY_CID_WRONG', (p) => withHeader(p, { body: p.fields.parent })],
      [
        'a view that was skipped without reason',
        'BODY_JUSTIFICATION_INVALID',
        (p) => withHeader(p, { view: p.fields.view + 1 }),
      ],
      [
        'no certificate of its parent',
        'BODY_JUSTIFICATION_INVALID',
        (p) => withBody(p, { ...decodeBody(p.body), justify: { parentCert: null, nullifyCerts: [] } }),
      ],
    ]

    test.each(cases)('%s', async (_what, code, alter) => {
      await both(await test1.block(await test1.createTx(ada)))
      const before = follower.chain.head
      const proposal = alter(await test1.propose([await test1.createTx(ben)]))
      const stored = follower.store.batches
      const block = await test1.finalize({ ...proposal, fields: { ...proposal.fields, epoch: 0 } })
      follower.nowMs = test1.nowMs
      expect(await codeOf(follower.chain.acceptBlock(block))).toBe(code)
      expect(follower.chain.head).toBe(before)
      expect(follower.store.batches).toBe(stored)
      // What it refused has not spoilt what comes next.
      await both(await test1.block(await test1.createTx(ben)))
    })

    test('a certificate with a bad signature, of another block, of another kind, or that is none', async () => {
      const proposal = await test1.propose([])
      const good = await test1.finalize(proposal)
      const certificate = decodeCertificate(good.certificate)
      const other = await test1.finalize(withHeader(proposal, { timeMs: proposal.fields.timeMs + 1 }))
      const bad = [
        encodeCertificate({ ...certificate, sigs: [new Uint8Array(64)] }),
        encodeCertificate({ ...certificate, kind: 'notarize' }),
        other.certificate,
        new Uint8Array([0xa0]),
      ]
      follower.nowMs = test1.nowMs
      for (const bytes of bad) {
        const outcome = await codeOf(follower.chain.acceptBlock({ ...good, certificate: bytes }))
        expect(outcome).toBe('HEADER_CERTIFICATE_INVALID')
      }
      expect(await follower.chain.acceptBlock(good)).toBe('accepted')
    })

    test('bytes that are no header or no body', async () => {
      const good = await test1.finalize(await test1.propose([]))
      follower.nowMs = test1.nowMs
      expect(await codeOf(follower.chain.acceptBlock({ ...good, header: good.body }))).toBe('HEADER_MALFORMED')
      expect(await codeOf(follower.chain.acceptBlock({ ...good, body: good.header }))).toBe('BODY_MALFORMED')
      expect(await codeOf(follower.chain.acceptBlock({ ...good, body: new Uint8Array(0) }))).toBe('BODY_MALFORMED')
    })

    test('transactions that have no place in a block, though the block is certified', async () => {
      const proposal = await test1.propose([await test1.createTx(ada)])
      const body = decodeBody(proposal.body)
      const [envelope] = body.txs
      if (envelope === undefined) throw new Error('the transaction was taken')
      follower.nowMs = test1.nowMs
      const spoilt = { ...(decodeCanonical(envelope) as { sigs: { sig: Uint8Array }[] }) }
      spoilt.sigs = spoilt.sigs.map((one) => ({ ...one, sig: new Uint8Array(64) }))
      for (const txs of [[encodeCanonical(spoilt)], [envelope, envelope], [new Uint8Array([0xa0])]]) {
        const block = await test1.finalize(withBody(proposal, { ...body, txs }))
        expect(await codeOf(follower.chain.acceptBlock(block))).toBe('BLOCK_TX_INADMISSIBLE')
      }
    })
  })

  test('two final blocks at one height are a fork: the first stands, and it is said', async () => {
    const first = await test1.finalize(await test1.propose([]))
    const second = await test1.finalize(await test1.propose([await test1.createTx(ada)]))
    await both(first)
    expect(await codeOf(follower.chain.acceptBlock(second))).toBe('HEADER_FORK')
    expect(await follower.chain.verifyFinalHeader(gossip(second))).toMatchObject({
      verdict: 'ignore',
      fault: { code: 'HEADER_FORK' },
    })
    expect(follower.chain.head.id.toString()).toBe(headerId(first.header).toString())
  })

  describe('judges gossiped headers', () => {
    test('accepts those that are final, the next one as well as one far ahead', async () => {
      const blocks = [await test1.block(), await test1.block(), await test1.block()]
      follower.nowMs = test1.nowMs
      for (const block of blocks) {
        expect((await follower.chain.verifyFinalHeader(gossip(block))).verdict).toBe('accept')
      }
    })

    test('ignores what is not the sender’s fault, rejects what is', async () => {
      const old = await test1.block()
      const newest = await test1.block()
      const of = async (bytes: Uint8Array): Promise<string[]> => {
        const found = await test1.chain.verifyFinalHeader(bytes)
        return found.verdict === 'accept' ? ['accept'] : [found.verdict, found.fault.code]
      }
      expect(await of(gossip(newest))).toEqual(['accept'])
      expect(await of(gossip(old))).toEqual(['ignore', 'HEADER_KNOWN'])
      expect(await of(new Uint8Array([0xff]))).toEqual(['reject', 'HEADER_MALFORMED'])
      const proposal = await test1.propose([])
      const next = await test1.finalize(proposal)
      expect(await of(gossip({ ...next, certificate: newest.certificate }))).toEqual([
        'reject',
        'HEADER_CERTIFICATE_INVALID',
      ])
      const foreign = await TestChain.open({ ...GENESIS, name: 'Another' })
      expect(await of(gossip(await foreign.block()))).toEqual(['reject', 'HEADER_WRONG_CHAIN'])
      const late = await test1.finalize(withHeader(proposal, { timeMs: test1.nowMs + 60_000 }))
      expect(await of(gossip(late))).toEqual(['ignore', 'HEADER_TIME_AHEAD'])
      const epoch = withHeader(proposal, { epoch: 5 })
      expect(await of(gossip({ ...next, header: epoch.header }))).toEqual(['ignore', 'HEADER_EPOCH_UNKNOWN'])
    })
  })
})

describe('on disk', () => {
  test('a chain that is opened again goes on where it was', async () => {
    const { test: chain, add } = await sampleChain()
    const { head } = chain.chain
    await chain.reopen()
    expect(chain.chain.head).toEqual(head)
    expect((await chain.chain.reader.receipt(add.id))?.height).toBe(2)
    await chain.block(await chain.createTx(person('cleo', 'north')))
    expect(chain.chain.head.height).toBe(4)
  })

  test('after a crash at any write, the last whole block stands and the next is taken', async () => {
    const source = await TestChain.open()
    const crashing = await TestChain.open()
    for (const name of ['p', 'q', 'r']) {
      const block = await source.block(await source.createTx(person(name, 'city')))
      crashing.nowMs = source.nowMs
      crashing.store.failNext = true
      const before = crashing.chain.head
      await expect(crashing.chain.acceptBlock(block)).rejects.toThrow('the disk failed')
      expect(crashing.chain.head).toBe(before)
      await crashing.reopen(crashing.store.copy())
      expect(await crashing.chain.acceptBlock(block)).toBe('accepted')
    }
    expect(crashing.chain.head).toEqual(source.chain.head)
  })

  test('the data folder of another chain is refused', async () => {
    const { test: chain } = await sampleChain()
    const other = new TestChain({ ...GENESIS, name: 'Another' })
    expect(await codeOf(other.reopen(chain.store))).toBe('CHAIN_OTHER_GENESIS')
  })

  const letterOf = (key: Uint8Array): string => String.fromCharCode(key[0] ?? 0)

  test.each(['h', 'm', 'H', 'e'])('a store without its newest entry of %s is said to be damaged', async (letter) => {
    const { test: chain } = await sampleChain()
    const store = chain.store.copy()
    const [newest] = [...store.entries].filter(([, { key }]) => letterOf(key) === letter).at(-1) ?? ['']
    store.entries.delete(newest)
    expect(await codeOf(new TestChain().reopen(store))).toBe('CHAIN_DAMAGED')
  })

  test('a state that is not the head’s is said to be damaged, where the tree must be made of it', async () => {
    const { test: chain } = await sampleChain()
    const store = chain.store.copy()
    const tree = [...store.entries].filter(([, { key }]) => ['n', 'o'].includes(letterOf(key)))
    for (const [name] of tree) store.entries.delete(name)
    const whole = new TestChain()
    await whole.reopen(store.copy())
    expect(whole.chain.head).toEqual(chain.chain.head)
    const [value] = [...store.entries].filter(([, { key }]) => letterOf(key) === 's').at(-1) ?? ['']
    store.entries.delete(value)
    expect(await codeOf(new TestChain().reopen(store))).toBe('CHAIN_DAMAGED')
  })

  test('a format of the future is refused', async () => {
    const store = new MapStore()
    await store.batch([{ key: new TextEncoder().encode('F'), value: encodeCanonical(2) }])
    expect(await codeOf(new TestChain().reopen(store))).toBe('CHAIN_FORMAT_UNKNOWN')
  })
})

describe('proofs', () => {
  test('an account is proved under the state root, with its bytes; one that is not there is proved to be absent', async () => {
    const { test: chain, ada: who } = await sampleChain()
    const { head, proof, value } = await chain.chain.proveState('account', idHash(who.id))
    const key = treeKey('account', idHash(who.id))
    expect(head.height).toBe(3)
    expect(() => verifyStateValue(head.stateRoot, key, value ?? new Uint8Array(0), proof)).not.toThrow()
    const nobody = idHash(person('nobody', 'city').id)
    const absent = await chain.chain.proveState('account', nobody)
    expect(absent.value).toBeUndefined()
    expect(verifyStateProof(head.stateRoot, treeKey('account', nobody), absent.proof)).toBeUndefined()
  })

  test('every earlier block, and the genesis, is proved under the history root of a later header', async () => {
    const { test: chain } = await sampleChain()
    const digests: Uint8Array[] = [sha256(chain.genesisBytes)]
    for (const height of [1, 2, 3]) {
      const found = await chain.chain.reader.headerAt(height)
      digests[height] = found?.id.multihash.digest ?? new Uint8Array(0)
    }
    for (const under of [1, 2, 3]) {
      const root = (await chain.chain.reader.headerAt(under))?.header.historyRoot ?? new Uint8Array(0)
      expect(hexOf(root)).toBe(hexOf(merkleRoot(digests.slice(0, under))))
      for (let height = 0; height < under; height++) {
        const proof = await chain.chain.proveHistory(height, under)
        const leaf = leafHash(digests[height] ?? new Uint8Array(0))
        expect(verifyInclusion(root, under, height, leaf, proof), `${height} under ${under}`).toBe(true)
      }
    }
  })
})

describe('several validators', () => {
  const names = ['city', 'north', 'south', 'east']
  const genesis = makeGenesis(Object.fromEntries(names.map((name) => [name, 'hospital' as const])), names)
  const leader = (chain: Chain, view: number): ReturnType<typeof parseInstitutionId> => {
    const set = chain.validators()
    const found = set?.validators[leaderOf(set, view)]
    if (found === undefined) throw new Error('every view has a leader')
    return found.institution
  }

  test('any three of four make a block final, led by whoever’s view it is', async () => {
    const four = await TestChain.open(genesis)
    for (let view = 1; view <= 8; view++) {
      const proposal = await four.propose([], { proposer: leader(four.chain, view) })
      const voters = names.filter((_name, index) => index !== view % 4)
      expect(await four.chain.acceptBlock(await four.finalize(proposal, voters))).toBe('accepted')
    }
    expect(four.chain.head.height).toBe(8)
  })

  test('a view without a block is skipped with a certificate that nullified it, and not without', async () => {
    const four = await TestChain.open(genesis)
    const follower = await TestChain.open(genesis)
    const first = await four.finalize(await four.propose([], { proposer: leader(four.chain, 1) }))
    for (const { chain } of [four, follower]) await chain.acceptBlock(first)
    const set = four.chain.validators()
    if (set === undefined) throw new Error('there is an epoch 0')
    const nullified = async (view: number, kind: 'nullify' | 'notarize' = 'nullify'): Promise<Certificate> => {
      const ballot = { epoch: 0, view, kind, ...(kind === 'nullify' ? {} : { block: four.chain.head.id }) }
      const votes = names.map((name) => signVote(signerOf(`${name} consensus`), four.id, set, ballot))
      const made = certificateOfVotes(ballot, await Promise.all(votes), set)
      if (made === undefined) throw new Error('all have voted')
      return made
    }
    const good = [await nullified(2), await nullified(3)]
    const forged = { ...(await nullified(3)), sigs: [1, 2, 3].map(() => new Uint8Array(64)) }
    const proposer = leader(four.chain, 4)
    for (const nullifyCerts of [[], good.slice(0, 1), good.toReversed(), [good[0] ?? forged, forged]]) {
      const block = await four.finalize(await four.propose([], { proposer, view: 4, nullifyCerts }))
      expect(await codeOf(follower.chain.acceptBlock(block))).toBe('BODY_JUSTIFICATION_INVALID')
    }
    const wrongKind = [good[0] ?? forged, await nullified(3, 'notarize')]
    const wrong = await four.finalize(await four.propose([], { proposer, view: 4, nullifyCerts: wrongKind }))
    expect(await codeOf(follower.chain.acceptBlock(wrong))).toBe('BODY_JUSTIFICATION_INVALID')
    const block = await four.finalize(await four.propose([], { proposer, view: 4, nullifyCerts: good }))
    expect(await follower.chain.acceptBlock(block)).toBe('accepted')
    expect([follower.chain.head.height, follower.chain.head.view]).toEqual([2, 4])
  })

  test('one who is not the leader can not propose', async () => {
    const four = await TestChain.open(genesis)
    const proposer = leader(four.chain, 2)
    expect(await codeOf(four.propose([], { proposer }))).toBe('HEADER_PROPOSER_WRONG')
  })
})

describe('epochs', () => {
  test('the last header of an epoch names the next validators, and the next block is of the next epoch', async () => {
    const long = await TestChain.open()
    for (let height = 1; height < EPOCH_BLOCKS; height++) await long.block()
    expect((await long.chain.reader.headerAt(EPOCH_BLOCKS - 1))?.header.nextValidators).toBeUndefined()
    const last = await long.block()
    expect((await long.chain.reader.headerAt(EPOCH_BLOCKS))?.header.nextValidators).toEqual(GENESIS.validators)
    expect(long.chain.head.nextEpoch).toBe(1)
    expect(long.chain.validators()?.seed).toEqual(headerId(last.header).multihash.digest)
    await long.block()
    await long.reopen()
    expect((await long.chain.reader.headerAt(EPOCH_BLOCKS + 1))?.header.epoch).toBe(1)
    await long.block()
    expect(long.chain.head.height).toBe(EPOCH_BLOCKS + 2)
  })
})
