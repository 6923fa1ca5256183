/** A member that lies to one that is behind: refused with a code, named in the log, and nothing of it is kept; another one is asked. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { EPOCH_BLOCKS, SYNC_ANSWER_BYTES_MAX } from '../../../src/core/limits.ts'
import { SnapshotError, decodeSnapshotChunk, encodeSnapshotChunk } from '../../../src/ledger/snapshot.ts'
import { handleRequests, request } from '../../../src/p2p/request.ts'
import { peerIdOfSeed } from '../../../src/p2p/peer-ids.ts'
import { SNAPSHOT_PROTOCOL, SYNC_PROTOCOL } from '../../../src/p2p/protocols.ts'
import { decodeSyncAnswer, decodeSyncRequest, encodeSyncAnswer } from '../../../src/peer/ledger-messages.ts'
import {
  type EpochsAnswer,
  decodeEpochsAnswer,
  decodeHeadersAnswer,
  decodeSnapshotRequest,
  encodeEpochsAnswer,
  encodeHeadersAnswer,
} from '../../../src/peer/snapshot-messages.ts'
import { MemoryLog, type TestPeer as BareHost, seedOf, startPeer } from '../p2p/test-peer.ts'
import { LongChain, putLedger } from './long-chain.ts'
import { TestNetwork } from './network.ts'

const WAIT = { timeout: 30_000, interval: 25 }
const BOUNDS = { requestBytesMax: 128, answerBytesMax: SYNC_ANSWER_BYTES_MAX }
const catchUp = { snapshotBlocks: 500, chunkBytes: 4_096 }

/** With no snapshot it executes blocks; more than these in the time of a test are a snapshot's. */
const BLOCKS_MAX = EPOCH_BLOCKS - 1

type Alter = (answer: Uint8Array, asked: Uint8Array) => Uint8Array | Promise<Uint8Array>
interface Scene extends AsyncDisposable {
  readonly network: TestNetwork
  readonly liar: BareHost
  readonly log: MemoryLog
  /** How the liar alters the answers of a protocol. */
  alter: { readonly protocol: string; readonly how: Alter } | undefined
}

/** An honest member with a chain, a liar that passes on what it says, altered, and members that have nothing yet. */
async function makeScene(blocks: number, fresh: number): Promise<Scene> {
  const log = new MemoryLog()
  const network = await TestNetwork.start({
    peers: 1 + fresh,
    started: 1,
    ageMs: 3_600_000,
    extraPeers: [await peerIdOfSeed(seedOf('liar'))],
    catchUp,
    log,
    prepare: async (it) => {
      const chain = await LongChain.begin(it)
      await chain.grow(blocks, (height) => (height < 100 ? 2 : 0))
      await putLedger(it, 0, await chain.entries())
    },
  })
  const { genesis } = network.peer(0).peer.chain
  const members = new Set(genesis.institutions.flatMap((one) => one.peers.map(String)))
  const liar = await startPeer('liar', members)
  await liar.host.dial(network.peer(0).peer.host.getMultiaddrs())
  const honest = network.peer(0).peer.host.peerId
  const close = async (): Promise<void> => {
    await liar[Symbol.asyncDispose]()
    await network[Symbol.asyncDispose]()
  }
  const scene: Scene = { network, liar, log, alter: undefined, [Symbol.asyncDispose]: close }
  for (const protocol of [SYNC_PROTOCOL, SNAPSHOT_PROTOCOL]) {
    await handleRequests({ host: liar.host, log: liar.log }, protocol, BOUNDS, async (asked) => {
      const answer = await request(liar.host, honest, protocol, asked, BOUNDS)
      return scene.alter?.protocol === protocol ? scene.alter.how(answer, asked) : answer
    })
  }
  return scene
}

function flipped(bytes: Uint8Array, at = bytes.length - 1): Uint8Array {
  const other = Uint8Array.from(bytes)
  other[at] = (other[at] ?? 0) ^ 1
  return other
}

const inSync =
  (alter: (answer: ReturnType<typeof decodeSyncAnswer>) => ReturnType<typeof decodeSyncAnswer>): Alter =>
  (answer) =>
    encodeSyncAnswer(alter(decodeSyncAnswer(answer)))

const inEpochs =
  (alter: (answer: EpochsAnswer) => EpochsAnswer): Alter =>
  (answer, asked) =>
    decodeSnapshotRequest(asked).kind === 'epochs' ? encodeEpochsAnswer(alter(decodeEpochsAnswer(answer))) : answer

const inChunk =
  (alter: (answer: ReturnType<typeof decodeSnapshotChunk>) => ReturnType<typeof decodeSnapshotChunk>): Alter =>
  (answer, asked) =>
    decodeSnapshotRequest(asked).kind === 'chunk' ? encodeSnapshotChunk(alter(decodeSnapshotChunk(answer))) : answer

const SYNC_LIES: readonly (readonly [string, Alter, string])[] = [
  [
    'a body of another block',
    inSync(({ blocks, head }) => ({
      head,
      blocks: blocks.map((one, index) => ({ ...one, body: blocks[(index + 1) % blocks.length]?.body ?? one.body })),
    })),
    'BODY_CID_WRONG',
  ],
  [
    'an altered header',
    inSync(({ blocks, head }) => ({ head, blocks: blocks.map((one) => ({ ...one, header: flipped(one.header) })) })),
    'HEADER_',
  ],
  [
    'a certificate with a wrong signature',
    inSync(({ blocks, head }) => ({
      head,
      blocks: blocks.map((one) => ({ ...one, certificate: flipped(one.certificate, one.certificate.length - 90) })),
    })),
    'HEADER_CERTIFICATE_INVALID',
  ],
  ['what is no answer', () => new Uint8Array(100).fill(7), 'CODEC_'],
  [
    'the next height after ours, and no block, forever',
    (_answer, asked) => encodeSyncAnswer({ head: decodeSyncRequest(asked).from, blocks: [] }),
    'SYNC_HEAD_UNPROVED',
  ],
  [
    'a head that nobody has, and no blocks, forever',
    inSync(() => ({ head: Number.MAX_SAFE_INTEGER, blocks: [] })),
    'SYNC_HEAD_UNPROVED',
  ],
]

const SNAPSHOT_LIES: readonly (readonly [string, Alter, string])[] = [
  [
    'a chunk with an altered value',
    inChunk((chunk) => ({
      ...chunk,
      entries: chunk.entries.map((one, index) => (index === 0 ? { ...one, bytes: flipped(one.bytes) } : one)),
    })),
    'RANGE_PROOF_',
  ],
  [
    'a chunk that leaves an entry out',
    inChunk((chunk) => ({ ...chunk, entries: chunk.entries.slice(1) })),
    'RANGE_PROOF_',
  ],
  ['chunks without entries', inChunk((chunk) => ({ ...chunk, isLast: false, entries: [] })), 'SNAPSHOT_CHUNK_EMPTY'],
  ['a chunk that says it is the last', inChunk((chunk) => ({ ...chunk, isLast: !chunk.isLast })), 'RANGE_PROOF_'],
  [
    'an end of an epoch that is not certified',
    inEpochs(({ ends, newest }) => ({
      newest,
      ends: ends.map((one) => ({ ...one, certificate: flipped(one.certificate, one.certificate.length - 90) })),
    })),
    'HEADER_CERTIFICATE_INVALID',
  ],
  [
    'the same epochs again and again',
    inEpochs(({ ends, newest }) => ({ newest, ends: ends.flatMap((one) => [one, one]) })),
    'HEADER_',
  ],
  [
    'headers of other blocks',
    (answer, asked) =>
      decodeSnapshotRequest(asked).kind === 'headers'
        ? encodeHeadersAnswer({ headers: decodeHeadersAnswer(answer).headers.slice(1) })
        : answer,
    'HEADER_PARENT_UNKNOWN',
  ],
  [
    'no headers at all',
    (answer, asked) =>
      decodeSnapshotRequest(asked).kind === 'headers' ? encodeHeadersAnswer({ headers: [] }) : answer,
    'HEADER_PARENT_UNKNOWN',
  ],
]

/** @param heightMax - what the fresh one may have from the liar all the same: it alters the answers of one protocol alone. */
async function expectRefused(scene: Scene, index: number, code: string, heightMax: number): Promise<void> {
  const { liar, log, network } = scene
  log.lines.length = 0
  // With nobody else to ask at first, the liar is asked for sure.
  const fresh = await network.startPeer(index, [liar.address])
  await vi.waitFor(() => {
    const named = log.lines.flatMap(({ fields, level }) =>
      level === 'warn' && 'peer' in fields && fields.peer === liar.id && 'fault' in fields ? [fields.fault] : [],
    )
    expect(named).toContainEqual(expect.objectContaining({ code: expect.stringContaining(code) as string }))
  }, WAIT)
  expect(fresh.peer.chain.head.height).toBeLessThanOrEqual(heightMax)
  const honest = network.peer(0)
  await fresh.peer.host.dial(honest.peer.host.getMultiaddrs())
  await vi.waitFor(() => expect(fresh.peer.chain.head.id).toEqual(honest.peer.chain.head.id), WAIT)
  await fresh.close()
}

describe('to a peer that wants blocks, a member that gives', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await makeScene(20, SYNC_LIES.length)
  })
  afterAll(async () => scene[Symbol.asyncDispose]())

  test.each(SYNC_LIES.map((lie, index) => [...lie, index + 1] as const))(
    '%s is passed over, and another is asked',
    async (_what, how, code, index) => {
      scene.alter = { protocol: SYNC_PROTOCOL, how }
      await expectRefused(scene, index, code, 0)
    },
  )
})

describe('to a peer that wants a snapshot, a member that gives', () => {
  let scene: Scene
  beforeAll(async () => {
    scene = await makeScene(EPOCH_BLOCKS + 5, SNAPSHOT_LIES.length + 2)
  })
  afterAll(async () => scene[Symbol.asyncDispose]())

  test.each(SNAPSHOT_LIES.map((lie, index) => [...lie, index + 1] as const))(
    '%s is passed over, and another is asked',
    async (_what, how, code, index) => {
      scene.alter = { protocol: SNAPSHOT_PROTOCOL, how }
      await expectRefused(scene, index, code, BLOCKS_MAX)
    },
  )

  test('no chunk of any state is done without: blocks are taken', async () => {
    const index = SNAPSHOT_LIES.length + 2
    scene.alter = {
      protocol: SNAPSHOT_PROTOCOL,
      how: (answer, asked) => {
        const wanted = decodeSnapshotRequest(asked)
        if (wanted.kind !== 'chunk') return answer
        throw new SnapshotError({ code: 'SNAPSHOT_VERSION_GONE', height: wanted.height })
      },
    }
    const { liar, network } = scene
    const fresh = await network.startPeer(index, [liar.address])
    await vi.waitFor(() => {
      expect(fresh.peer.chain.head.height).toBeGreaterThanOrEqual(EPOCH_BLOCKS + 5)
      // What was taken of the snapshot is of no use any more.
      expect(readdirSync(join(fresh.config.dataDir, 'ledger')).sort()).toEqual(['000001', 'CURRENT'])
    }, WAIT)
    await fresh.close()
  })

  test('the epochs of another chain is passed over at the first of them', async () => {
    await using other = await makeScene(EPOCH_BLOCKS, 0)
    const final = await other.network.peer(0).peer.chain.reader.headerAt(EPOCH_BLOCKS)
    if (final === undefined) throw new Error('the epoch has ended')
    const ends = [{ header: final.headerBytes, certificate: final.certificateBytes }]
    scene.alter = { protocol: SNAPSHOT_PROTOCOL, how: inEpochs(() => ({ ends, newest: null })) }
    await expectRefused(scene, SNAPSHOT_LIES.length + 1, 'HEADER_WRONG_CHAIN', BLOCKS_MAX)
  })
})
