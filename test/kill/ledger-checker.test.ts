/** The judge is judged: it finds nothing in a good chain that is made by hand, and each thing that is wrong in a bad one. */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import * as dagCbor from '@ipld/dag-cbor'
import * as dagJson from '@ipld/dag-json'
import { base32 } from 'multiformats/bases/base32'
import { CID } from 'multiformats/cid'
import { expect, onTestFinished, test } from 'vitest'
import {
  type Acknowledged,
  checkLedger,
  type CheckedValidator,
  type SeenBlock,
  type SeenCertificate,
  type SeenPeer,
  seePeer,
} from './ledger-checker.ts'
import { person, TestChain } from '../unit/ledger/network.ts'
import { crc32c, readVoteLog, type ReadVoteLog, type SignedVote } from './vote-log-reader.ts'

interface Member extends CheckedValidator {
  readonly privateKey: KeyObject
}

const sha256 = (...parts: Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(parts)).digest()
const cidOf = (value: unknown): CID =>
  CID.decode(Buffer.concat([Buffer.from([1, 0x71, 0x12, 0x20]), sha256(dagCbor.encode(value))]))
const GENESIS = cidOf({ name: 'a chain by hand' })
const CHAIN = GENESIS.toString()

function member(institution: string): Member {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return {
    institution,
    privateKey,
    key: new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),
  }
}

const OLD = ['a', 'b', 'c', 'd'].map(member)
const NEW = [...OLD.slice(0, 3), member('e')]
const publicPart = (members: readonly Member[]): CheckedValidator[] =>
  members.map(({ institution, key }) => ({ institution, key }))

type Ballot = Omit<SignedVote, 'signer' | 'sig'>

function voteOf(members: readonly Member[], signer: number, ballot: Ballot): SignedVote {
  const { block, epoch, kind, view } = ballot
  const key = members[signer]?.privateKey
  if (key === undefined) throw new Error('no such member')
  const message = dagCbor.encode(block === undefined ? { epoch, view } : { epoch, view, block })
  const sig = sign(null, Buffer.concat([Buffer.from(`apotheca/${kind}/1${CHAIN}`), message]), key)
  return { ...ballot, signer, sig: new Uint8Array(sig) }
}

function certify(members: readonly Member[], ballot: Ballot, signers: readonly number[] = [0, 1, 2]): SeenCertificate {
  const bitmap = signers.reduce((bits, signer) => bits | (1 << signer), 0)
  const sigs = signers.map((signer) => voteOf(members, signer, ballot).sig)
  return { ...ballot, signers: new Uint8Array([bitmap]), sigs }
}

const envelope = (text: string): Uint8Array => dagCbor.encode({ body: new TextEncoder().encode(text), sigs: [] })
const txId = (text: string): string => `tx1${base32.baseEncode(sha256(Buffer.from(text)))}`

interface Plan {
  readonly txs: readonly string[]
  /** The block's view. @default the one after the parent's */
  readonly view?: number
  readonly certView?: number
  readonly members?: readonly Member[]
  readonly epoch?: number
  readonly next?: readonly Member[]
  readonly kind?: 'notarize' | 'finalize'
  readonly signers?: readonly number[]
  readonly skip?: 'honestly' | 'without-certificates'
}

function append(chain: readonly SeenBlock[], plan: Plan): SeenBlock[] {
  const { certView, epoch = 0, kind = 'finalize', members = OLD, next, signers, skip = 'honestly', txs } = plan
  const parent = chain.at(-1)
  const parentView = parent?.header.view ?? 0
  const view = plan.view ?? parentView + 1
  const skipped = Array.from({ length: skip === 'honestly' ? view - parentView - 1 : 0 }, (_, index) =>
    certify(members, { epoch, view: parentView + 1 + index, kind: 'nullify' }),
  )
  const receipts = txs.map((text) => ({ tx: txId(text), ok: true }))
  const body = {
    txs: txs.map(envelope),
    evidence: [],
    justify: { parentCert: parent?.certificate ?? null, nullifyCerts: skipped },
  }
  const leaves = receipts.map((receipt) => sha256(Buffer.from([0]), dagCbor.encode(receipt)))
  const [left, right] = leaves
  const root = left === undefined ? sha256() : right === undefined ? left : sha256(Buffer.from([1]), left, right)
  const header = {
    version: 1,
    chain: GENESIS,
    epoch,
    view,
    height: chain.length + 1,
    parent: parent?.id ?? GENESIS,
    parentView,
    timeMs: 1_000 * (chain.length + 1),
    proposer: 'a',
    body: cidOf(body),
    stateRoot: new Uint8Array(sha256(Buffer.from(txs.join()))),
    receiptsRoot: new Uint8Array(root),
    ...(next === undefined ? {} : { nextValidators: publicPart(next) }),
  }
  const id = cidOf(header)
  const certificate = certify(members, { epoch, view: certView ?? view, kind, block: id }, signers)
  return [...chain, { id, header, certificate, body, receipts }]
}

/** A notarized ancestor, a skipped view, an epoch's last block that was proposed again, the next epoch. */
function goodChain(): SeenBlock[] {
  let chain = append([], { txs: ['one', 'two'] })
  chain = append(chain, { txs: [], kind: 'notarize' })
  chain = append(chain, { txs: ['three'], view: 4 })
  chain = append(chain, { txs: ['four'], certView: 7, next: NEW })
  return append(chain, { txs: ['five'], members: NEW, epoch: 1, signers: [0, 1, 3] })
}

function peerOf(name: string, blocks: readonly SeenBlock[]): SeenPeer {
  const last = blocks.at(-1)
  if (last === undefined) throw new Error('a peer has blocks')
  return { name, blocks, head: { height: blocks.length, block: last.id, stateRoot: last.header.stateRoot } }
}

const ACKNOWLEDGED: readonly Acknowledged[] = [
  { tx: txId('one'), height: 1, ok: true },
  { tx: txId('five'), height: 5, ok: true },
]

const GOOD = goodChain()

function verdict(
  peers: readonly SeenPeer[],
  given: { acknowledged?: readonly Acknowledged[]; voteLogs?: readonly ReadVoteLog[] } = {},
): string {
  const { acknowledged = ACKNOWLEDGED, voteLogs = [] } = given
  return checkLedger({ chain: CHAIN, validators: publicPart(OLD), peers, acknowledged, voteLogs }).join('\n')
}

function changed(height: number, change: (block: SeenBlock) => Partial<SeenBlock>): SeenPeer {
  return peerOf(
    'p',
    GOOD.map((block, index) => (index === height - 1 ? { ...block, ...change(block) } : block)),
  )
}

test('nothing is wrong with a good chain, on peers of which one is behind', () => {
  expect(verdict([peerOf('p', GOOD), peerOf('q', GOOD.slice(0, 3))])).toBe('')
})

const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte, index) => (index === 0 ? byte ^ 1 : byte))
const short = append(GOOD.slice(0, 2), { txs: ['x'], view: 4, skip: 'without-certificates' })
const BAD: readonly (readonly [title: string, peers: readonly SeenPeer[], sentence: RegExp])[] = [
  [
    'two blocks at one height',
    [peerOf('p', GOOD), peerOf('q', append(GOOD.slice(0, 3), { txs: ['x'] }))],
    /different blocks/,
  ],
  ['a block that is missing', [peerOf('p', GOOD.toSpliced(1, 1))], /has height 3/],
  [
    'a parent that is another block',
    [peerOf('p', [...append([], { txs: ['x'] }), ...GOOD.slice(1)])],
    /does not follow/,
  ],
  [
    'a header that was altered',
    [changed(3, ({ header }) => ({ header: { ...header, timeMs: 9 } }))],
    /hash of the header/,
  ],
  ['a body that was altered', [changed(3, ({ body }) => ({ body: { ...body, txs: [] } }))], /body is not the one/],
  ['receipts that were altered', [changed(1, () => ({ receipts: [] }))], /receipts are not those/],
  [
    'too few signers',
    [peerOf('p', append(GOOD, { txs: [], members: NEW, epoch: 1, signers: [0, 1] }))],
    /has 2 signers/,
  ],
  [
    'a signature that was altered',
    [changed(1, ({ certificate: c }) => ({ certificate: { ...c, sigs: c.sigs.map(flipped) } }))],
    /holds a signature that validator 0 didn't make/,
  ],
  [
    'signers of the epoch before',
    [peerOf('p', append(GOOD, { txs: [], epoch: 1, signers: [1, 2, 3] }))],
    /validator 3 didn't/,
  ],
  [
    'a certificate of another block',
    [changed(2, () => ({ certificate: GOOD[0]?.certificate }) as Partial<SeenBlock>)],
    /something else/,
  ],
  [
    "a later view for a block that is not an epoch's last",
    [peerOf('p', append([], { txs: [], certView: 2 }))],
    /something else/,
  ],
  ['a newest block that is only notarized', [peerOf('p', append([], { txs: [], kind: 'notarize' }))], /is not final/],
  ['a skipped view without certificate', [peerOf('p', short)], /lacks nullify/],
  [
    'an epoch that begins on a notarized block',
    [peerOf('p', epochOnNotarized())],
    /begins an epoch on a block that is not final/,
  ],
  ["an epoch that doesn't change", [peerOf('p', append(GOOD.slice(0, 4), { txs: [] }))], /is of epoch 0, not 1/],
  ['a transaction twice', [peerOf('p', append(GOOD, { txs: ['one'], members: NEW, epoch: 1 }))], /in the chain twice/],
  [
    "a state that is not the header's",
    [{ ...peerOf('p', GOOD), head: { ...peerOf('p', GOOD).head, stateRoot: new Uint8Array(32) } }],
    /state is not that/,
  ],
]

function epochOnNotarized(): SeenBlock[] {
  const ending = append(GOOD.slice(0, 3), { txs: [], next: NEW, kind: 'notarize' })
  return append(ending, { txs: [], members: NEW, epoch: 1 })
}

test.for(BAD)('it finds %s', ([, peers, sentence]) => {
  expect(verdict(peers, { acknowledged: [] })).toMatch(sentence)
})

test('it finds an acknowledged transaction that is lost, elsewhere, or refused', () => {
  const peers = [peerOf('p', GOOD)]
  const told = (tx: string, height: number, ok: boolean): string =>
    verdict(peers, { acknowledged: [{ tx: txId(tx), height, ok }] })
  expect(told('one', 1, true)).toBe('')
  expect(told('never', 2, true)).toMatch(/acknowledged and is lost/)
  expect(told('never', 9, true)).toMatch(/which no peer has/)
  expect(told('one', 2, true)).toMatch(/another outcome/)
  expect(told('one', 1, false)).toMatch(/another outcome/)
})

/** A vote log as docs/spec/vote-log.md has it: one frame for each vote. */
function logBytes(owner: Member, votes: readonly SignedVote[]): Uint8Array {
  const word = (value: number): Buffer => {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32BE(value)
    return bytes
  }
  const length = Buffer.alloc(2)
  length.writeUInt16BE(CHAIN.length)
  const head = Buffer.concat([
    Buffer.from('apovotes'),
    word(1),
    Buffer.alloc(8, 7),
    owner.key,
    length,
    Buffer.from(CHAIN),
  ])
  let file = Buffer.concat([head, word(crc32c(head))])
  for (const vote of votes) {
    const payload = dagCbor.encode(vote)
    const record = Buffer.concat([Buffer.from([1]), word(payload.length), payload])
    const offset = Buffer.alloc(8)
    offset.writeBigUInt64BE(BigInt(file.length))
    const begin = Buffer.concat([word(0x41705674), word(record.length)])
    const headCrc = crc32c(Buffer.concat([Buffer.alloc(8, 7), offset, begin]))
    const frame = Buffer.concat([begin, word(headCrc), record])
    file = Buffer.concat([file, frame, word(crc32c(frame))])
  }
  return file
}

test('it finds double votes in a log, across logs and against the chain, and no others', () => {
  const owner = OLD[1] as Member
  const at = { epoch: 0, view: 1 }
  const block = (GOOD[0] as SeenBlock).id
  const other = cidOf('another block')
  const judge = (...ballots: Ballot[]): string => {
    const logs = ballots.map((ballot) => readVoteLog(logBytes(owner, [voteOf(OLD, 1, ballot)])))
    return verdict([peerOf('p', GOOD)], { voteLogs: logs })
  }
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  expect(judge({ ...at, kind: 'notarize', block }, { ...at, kind: 'finalize', block })).toBe('')
  // Against the finalize certificate of height 1, which holds this validator's signature.
  expect(judge({ ...at, kind: 'nullify' })).toMatch(/double vote/)
  expect(judge({ ...at, kind: 'notarize', block: other })).toMatch(/double vote/)
  const later = { epoch: 0, view: 9 }
  expect(judge({ ...later, kind: 'notarize', block }, { ...later, kind: 'nullify' })).toBe('')
  expect(judge({ ...later, kind: 'notarize', block }, { ...later, kind: 'notarize', block: other })).toMatch(
    /double vote/,
  )
  expect(judge({ ...later, kind: 'nullify' }, { ...later, kind: 'finalize', block })).toMatch(/double vote/)
  const forged = { ...voteOf(OLD, 0, { ...later, kind: 'nullify' }), signer: 1 }
  const log = readVoteLog(logBytes(owner, [forged]))
  expect(verdict([peerOf('p', GOOD)], { voteLogs: [log] })).toMatch(/isn't its owner's/)
})

test('a chain read over HTTP is judged as it is', async () => {
  const { head } = peerOf('p', GOOD)
  const server = createServer((request, response) => {
    const height = /^\/ledger\/blocks\/(\d+)$/.exec(request.url ?? '')?.[1]
    response.end(dagJson.encode(height === undefined ? head : GOOD[Number(height) - 1]))
  })
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const seen = await seePeer('p', `http://127.0.0.1:${address.port}`, 'token')
  expect(seen.blocks).toHaveLength(5)
  expect(verdict([seen])).toBe('')
})

test('blocks of the real ledger, as its API gives them, are found good', async () => {
  const real = await TestChain.open()
  const tx = await real.createTx(person('nurse', 'city'))
  await real.block(tx)
  await real.block()
  const { chain } = real
  const seen: SeenBlock[] = []
  for (let height = 1; height <= chain.head.height; height++) {
    const final = await chain.reader.headerAt(height)
    const body = await chain.reader.bodyAt(height)
    const receipts = await chain.reader.receiptsAt(height)
    if (final === undefined || body === undefined || receipts === undefined) throw new Error(`no block at ${height}`)
    const { certificate, header, id } = final
    seen.push(dagJson.decode(dagJson.encode({ id, header, certificate, body: body.body, receipts })))
  }
  const peer = peerOf('p', seen)
  const acknowledged = [{ tx: tx.id, height: 1, ok: true }]
  const given = { chain: real.id, validators: real.genesis.validators, acknowledged, voteLogs: [] }
  expect(checkLedger({ ...given, peers: [peer] })).toEqual([])
  expect(seen).toHaveLength(2)
})
