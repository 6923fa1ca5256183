// Two real hosts over TCP and a real block store; the ledger's part (who is assigned, what time it is) is given by the test.
import type { Stream } from '@libp2p/interface'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { describe, expect, test, vi } from 'vitest'
import type { ChainId } from '../../../src/core/ids.ts'
import {
  BLOCK_BYTES_MAX,
  EXTENT_COPIES_MAX,
  EXTENT_MAP_BYTES_MAX,
  SEGMENT_BYTES,
  SHARD_EXPIRY_MS_MAX,
  SHARD_PEER_BYTES_HELD_MAX,
  SHARD_PEER_STREAMS_MAX,
  STAGED_BYTES_OF_ONE_MIN,
  STAGED_GRACE_MS,
} from '../../../src/core/limits.ts'
import { DAG_CBOR, DAG_PB, digestCid, sha256 } from '../../../src/crypto/hash.ts'
import { softwareSigner } from '../../../src/crypto/signatures.ts'
import { verifyReceipt } from '../../../src/domain/shard-receipt.ts'
import type { PeerIdText } from '../../../src/ledger/fields.ts'
import { SHARDS_PROTOCOL } from '../../../src/p2p/protocols.ts'
import { type ReplyKind, ReplyReader, encodeCopyHead, encodePushHead } from '../../../src/p2p/shard-frames.ts'
import { decodeRefused, encodeReserve, hasBit, type Reserve } from '../../../src/p2p/shard-messages.ts'
import { ShardPush, ShardPushError } from '../../../src/p2p/shard-push.ts'
import { type ColumnTaker, type ReservedColumn, ShardServer } from '../../../src/p2p/shard-server.ts'
import { piecesOf } from '../../../src/p2p/stream-flow.ts'
import { ShardHolder } from '../../../src/peer/shard-holder.ts'
import { StagedColumns } from '../../../src/peer/staged-columns.ts'
import { auditRoot } from '../../../src/shards/audit-tree.ts'
import { encodeParity } from '../../../src/shards/erasure.ts'
import { ExtentMap, encodeExtentMap, extentFacts } from '../../../src/shards/extent-map.ts'
import { BlockStore } from '../../../src/store/block-store.ts'
import { MemoryStore } from '../../../src/store/memory-store.ts'
import { membersOf, seedOf, startPeer, type TestPeer } from '../p2p/test-peer.ts'

const CHAIN = digestCid(DAG_CBOR, sha256(new Uint8Array([1]))).toString() as ChainId
const NOW_MS = 1_800_000_000_000
const signal = AbortSignal.timeout(120_000)

interface Extent {
  readonly map: ExtentMap
  readonly blocks: ReadonlyMap<string, Uint8Array>
  readonly copies: readonly Uint8Array[]
}

/** An extent of `segments` segments under 2+1, with bytes that depend on the seed. */
function extentOf(seed: number, segments: number): Extent {
  const code = { data: 2, parity: 1 }
  const blocks = new Map<string, Uint8Array>()
  const digests: Uint8Array[] = []
  const audits: Uint8Array[] = []
  const sizes = new Uint8Array(4 * segments)
  const add = (bytes: Uint8Array): void => {
    const digest = sha256(bytes)
    blocks.set(String(digest), bytes)
    digests.push(digest)
    audits.push(auditRoot(bytes))
  }
  for (let first = 0; first < segments; first += 2) {
    const data = Array.from({ length: Math.min(2, segments - first) }, (_, at) => {
      const bytes = SEGMENT_BYTES - (first + at === segments - 1 ? 1_234 : 0)
      new DataView(sizes.buffer).setUint32(4 * (first + at), bytes)
      return new Uint8Array(bytes).fill(seed + first + at)
    })
    // A shortened stripe of one has as many parity shards as columns are left.
    for (const shard of [...data, ...encodeParity(data, data.length === 2 ? 1 : 2)]) add(shard)
  }
  const copies = [new Uint8Array([seed, 1]), new Uint8Array([seed, 2])]
  const manifest = digestCid(DAG_CBOR, sha256(new Uint8Array([seed])))
  const map = ExtentMap.of({
    version: 1,
    manifest,
    index: 0,
    code,
    sizes,
    digests: new Uint8Array(Buffer.concat(digests)),
    audits: new Uint8Array(Buffer.concat(audits)),
    copies: copies.map((bytes) => ({ cid: digestCid(DAG_PB, sha256(bytes)), bytes: bytes.length })),
  })
  return { map, blocks, copies }
}

async function startNetwork(options: { capacityBytes?: number; senderSilentMs?: number } = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'apotheca-shards-'))
  const members = await membersOf('sender', 'holder', 'mallory')
  const sender = await startPeer('sender', members)
  const holder = await startPeer('holder', members)
  await sender.host.dial(holder.host.getMultiaddrs())
  const clock = { nowMs: () => Date.now() }
  const { log } = holder
  const { capacityBytes = 2 ** 32 } = options
  const store = await BlockStore.open({ clock, log }, { dir: folder, capacityBytes, reserveFreeBytes: 0, fullRatio: 1 })
  const state = new MemoryStore()
  const staged = await StagedColumns.open(state)
  const peer = holder.id as PeerIdText
  const assigned: (PeerIdText | undefined)[] = [peer, peer, peer]
  // A ledger that knows nobody: what is staged counts by the sender's peer id.
  const chain = { id: CHAIN, head: { timeMs: NOW_MS, height: 1 }, reader: { get: async () => undefined } }
  const taker = new ShardHolder({
    chain: chain as never,
    store,
    staged,
    signer: softwareSigner(seedOf('holder')),
    peer,
    assigned: async () => assigned as PeerIdText[],
    claim: () => undefined,
  })
  const server = new ShardServer({ host: holder.host, taker, log }, options)
  await server.start()
  return {
    members,
    sender,
    holder,
    store,
    state,
    staged,
    server,
    peer,
    assigned,
    chain,
    async [Symbol.asyncDispose]() {
      await server.stop()
      await sender[Symbol.asyncDispose]()
      await holder[Symbol.asyncDispose]()
      await store.close()
      await rm(folder, { recursive: true })
    },
  }
}
type Network = Awaited<ReturnType<typeof startNetwork>>

function reserveOf({ map }: Extent, column: number, more: Partial<Reserve> = {}): Reserve {
  const { code, index, manifest } = map.fields
  const bytes = map.columnBytes()[column] ?? 0
  const copyBytes = map.fields.copies.reduce((sum, copy) => sum + copy.bytes, 0)
  const expiresMs = NOW_MS + 3_600_000
  return { chain: CID.parse(CHAIN), manifest, index, code, column, bytes, copyBytes, expiresMs, ...more }
}

function open(network: Network, reserve: Reserve): Promise<ShardPush> {
  return ShardPush.open(network.sender.host, network.holder.host.peerId, reserve, signal)
}

async function pushColumn(push: ShardPush, extent: Extent, column: number, change?: (bytes: Uint8Array) => Uint8Array) {
  const stored: Promise<boolean>[] = []
  for (const { audit, digest, stripe } of extent.map.shardsOfColumn(column)) {
    const bytes = extent.blocks.get(String(digest)) ?? new Uint8Array()
    stored.push(push.push({ kind: 'shard', stripe, digest, audit, bytes: change?.(bytes) ?? bytes }))
  }
  for (const bytes of extent.copies) stored.push(push.push({ kind: 'copy', digest: sha256(bytes), bytes }))
  return Promise.all(stored)
}

async function refusalOf(run: Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    await run
  } catch (error) {
    if (error instanceof ShardPushError) return error.refusal ?? error.fault
    throw error
  }
  throw new Error('nothing was refused')
}

/** A stream on which a test says what it likes. */
interface RawPush {
  readonly stream: Stream
  /** By `kind`, in their order. */
  readonly replies: { readonly kind: ReplyKind; readonly body: Uint8Array }[]
}

/** @param count - opened over one new connection. */
async function rawPushes(from: TestPeer, network: Network, count: number): Promise<RawPush[]> {
  const [address] = network.holder.host.getMultiaddrs()
  if (address === undefined) throw new Error('it does not listen')
  const connection = await from.host.dial(address, { force: true })
  const streams = Array.from({ length: count }, async (): Promise<RawPush> => {
    const stream = await connection.newStream(SHARDS_PROTOCOL)
    const replies: RawPush['replies'] = []
    const reader = new ReplyReader((kind, body) => void replies.push({ kind, body }))
    stream.addEventListener('message', ({ data }) => {
      for (const piece of piecesOf(data)) reader.push(piece)
    })
    return { stream, replies }
  })
  return Promise.all(streams)
}

function sendReserve({ stream }: RawPush, reserve: Reserve): void {
  const body = encodeReserve(reserve)
  stream.send(Buffer.concat([encodePushHead('reserve', body.length), body]))
}

const faultsLogged = ({ holder }: Network): unknown[] =>
  holder.log.lines.map(({ fields }) => (fields as { fault?: unknown }).fault)

describe('/apotheca/shards/1', () => {
  test('a member that begins frames and does not end them, over several connections, takes a quarter, and loses it', async () => {
    const senderSilentMs = 1_500
    await using network = await startNetwork({ senderSilentMs })
    await using mallory = await startPeer('mallory', network.members)
    const hoarded = extentOf(8, 2)
    const pushes = [...(await rawPushes(mallory, network, 12)), ...(await rawPushes(mallory, network, 12))]
    for (const push of pushes) sendReserve(push, reserveOf(hoarded, 0, { bytes: 0 }))
    await vi.waitFor(() => expect(pushes.every(({ replies }) => replies.length === 1)).toBe(true), { timeout: 10_000 })
    const taken = pushes.filter(({ replies }) => replies[0]?.kind === 'accepted')
    expect(taken).toHaveLength(SHARD_PEER_STREAMS_MAX)
    const refused = pushes.find(({ replies }) => replies[0]?.kind === 'refused')?.replies[0]
    expect(decodeRefused(refused?.body ?? new Uint8Array())).toEqual({
      code: 'SHARD_STREAMS_TOO_MANY',
      streamsMax: SHARD_PEER_STREAMS_MAX,
    })
    const head = encodeCopyHead({ digest: new Uint8Array(32), bytes: BLOCK_BYTES_MAX })
    for (const { stream } of taken) stream.send(head.slice())
    await vi.waitFor(() => expect(network.server.stats().heldBytes).toBeGreaterThanOrEqual(SHARD_PEER_BYTES_HELD_MAX))
    // A byte now and then is no excuse.
    const trickle = setInterval(() => {
      for (const { stream } of taken) if (stream.writeStatus === 'writable') stream.send(new Uint8Array(1))
    }, 50)
    try {
      const extent = extentOf(9, 7)
      await Promise.all(
        [0, 1, 2].map(async (column) => {
          const push = await open(network, reserveOf(extent, column))
          expect(await pushColumn(push, extent, column)).not.toContain(false)
          expect((await push.finish(encodeExtentMap(extent.map).bytes, signal)).column).toBe(column)
        }),
      )
      expect(network.server.stats().heldBytes).toBeLessThan(SHARD_PEER_BYTES_HELD_MAX + 2 * BLOCK_BYTES_MAX)
      await vi.waitFor(() => expect(network.server.stats()).toEqual({ streams: 0, heldBytes: 0 }), { timeout: 20_000 })
    } finally {
      clearInterval(trickle)
    }
    expect(faultsLogged(network)).toContainEqual({ code: 'SHARD_SENDER_SILENT', silentMs: senderSilentMs })
  }, 60_000)

  test.each(['finish', 'reserve'] as const)(
    'a frame after the last one, or a second %s, ends the stream',
    async (kind) => {
      await using network = await startNetwork()
      await using mallory = await startPeer('mallory', network.members)
      const extent = extentOf(10, 2)
      const [push] = await rawPushes(mallory, network, 1)
      if (push === undefined) throw new Error('no stream')
      sendReserve(push, reserveOf(extent, 0))
      await vi.waitFor(() => expect(push.replies.map((one) => one.kind)).toEqual(['accepted']))
      const frame = Buffer.concat([encodePushHead(kind, EXTENT_MAP_BYTES_MAX), new Uint8Array(EXTENT_MAP_BYTES_MAX)])
      // The first finish is a frame that is due; its map is none, and is refused when it has been read.
      for (let times = 0; times < 8; times++) push.stream.send(frame)
      let heldBytes = 0
      await vi.waitFor(
        () => {
          heldBytes = Math.max(heldBytes, network.server.stats().heldBytes)
          expect(push.stream.status).not.toBe('open')
          expect(network.server.stats()).toEqual({ streams: 0, heldBytes: 0 })
        },
        { interval: 1, timeout: 10_000 },
      )
      expect(heldBytes).toBeLessThan(2 * EXTENT_MAP_BYTES_MAX)
    },
  )

  test('frames of every size come whole and in order from many streams of a sender whose holder has a slow disk', async () => {
    const members = await membersOf('sender', 'holder')
    await using holder = await startPeer('holder', members)
    await using sender = await startPeer('sender', members)
    await sender.host.dial(holder.host.getMultiaddrs())
    const came = new Map<number, Uint8Array[]>()
    let heldBytes = 0
    const taker: ColumnTaker = {
      reserve: async ({ column }) => ({
        held: new Uint8Array(),
        store: async (blocks) => {
          heldBytes = Math.max(heldBytes, server.stats().heldBytes)
          // Until nothing more comes in: everything that may begin has begun.
          const before = server.stats().heldBytes
          for (let turn = 0; turn < 3 || server.stats().heldBytes > before + turn * SEGMENT_BYTES; turn++) {
            await new Promise((resolve) => setImmediate(resolve))
          }
          for (const { bytes, digest } of blocks) expect(equals(sha256(bytes), digest)).toBe(true)
          came.set(column, [...(came.get(column) ?? []), ...blocks.map(({ digest }) => digest.slice())])
        },
        finish: async () => ({ column, expiresMs: 1, signature: new Uint8Array(64) }),
        end: () => undefined,
      }),
    }
    const server = new ShardServer({ host: holder.host, taker, log: holder.log })
    await server.start()
    const sizes = [0, 1, 37, 5_000, 70_000, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, BLOCK_BYTES_MAX]
    const extent = extentOf(12, 2)
    await Promise.all(
      [0, 1, 2, 3, 4, 5, 6, 7].map(async (column) => {
        const reserve = reserveOf(extent, 0, { column })
        const push = await ShardPush.open(sender.host, holder.host.peerId, reserve, signal)
        const blocks = Array.from({ length: 27 }, (_, at) => new Uint8Array(sizes[(at * 5) % 9] ?? 0).fill(at + column))
        const digests = blocks.map((bytes) => sha256(bytes))
        const stored = blocks.map((bytes, at) =>
          push.push({ kind: 'copy', digest: digests[at] ?? new Uint8Array(), bytes }),
        )
        expect(await Promise.all(stored)).not.toContain(false)
        expect((await push.finish(new Uint8Array(), signal)).column).toBe(column)
        expect(came.get(column)).toEqual(digests)
      }),
    )
    expect(heldBytes).toBeGreaterThan(3 * SEGMENT_BYTES)
    expect(heldBytes).toBeLessThan(SHARD_PEER_BYTES_HELD_MAX + BLOCK_BYTES_MAX + SEGMENT_BYTES)
    expect(holder.log.lines).toEqual([])
    await server.stop()
  }, 60_000)

  test('what a sender says before its column is accepted waits, and what follows a finish is not kept while that is worked on', async () => {
    const members = await membersOf('holder', 'mallory')
    await using holder = await startPeer('holder', members)
    await using mallory = await startPeer('mallory', members)
    const accept = Promise.withResolvers<void>()
    const finish = Promise.withResolvers<never>()
    const column: ReservedColumn = {
      held: new Uint8Array(),
      store: async () => undefined,
      finish: async () => finish.promise,
      end: () => undefined,
    }
    const taker = { reserve: async () => accept.promise.then(() => column) }
    const server = new ShardServer({ host: holder.host, taker, log: holder.log })
    await server.start()
    const network = { holder, server } as Network
    const [push] = await rawPushes(mallory, network, 1)
    if (push === undefined) throw new Error('no stream')
    sendReserve(push, reserveOf(extentOf(11, 2), 0))
    const bytes = new Uint8Array(BLOCK_BYTES_MAX / 8)
    const copy = Buffer.concat([encodeCopyHead({ digest: new Uint8Array(32), bytes: bytes.length }), bytes])
    push.stream.send(copy)
    await vi.waitFor(() => expect(server.stats().heldBytes).toBeGreaterThan(0))
    expect(server.stats().heldBytes).toBeLessThan(bytes.length)
    accept.resolve()
    await vi.waitFor(() => expect(push.replies.map(({ kind }) => kind)).toEqual(['accepted', 'stored']))
    const map = Buffer.concat([encodePushHead('finish', EXTENT_MAP_BYTES_MAX), new Uint8Array(EXTENT_MAP_BYTES_MAX)])
    for (let times = 0; times < 8; times++) push.stream.send(map)
    // At once, though the first finish is still worked on.
    await vi.waitFor(() => expect(push.stream.status).toBe('reset'), { timeout: 10_000 })
    expect(server.stats().heldBytes).toBeLessThan(EXTENT_MAP_BYTES_MAX + BLOCK_BYTES_MAX / 8)
    finish.reject(new Error('it is given up'))
    await vi.waitFor(() => expect(server.stats()).toEqual({ streams: 0, heldBytes: 0 }))
    expect(holder.log.lines.map(({ message }) => message)).toContain('a shard stream was ended')
    await server.stop()
  })

  test('a column that was pushed is on the disk, and its receipt verifies for what the map says', async () => {
    await using network = await startNetwork()
    const extent = extentOf(1, 7)
    for (const column of [0, 1, 2]) {
      const push = await open(network, reserveOf(extent, column))
      expect(push.held).toHaveLength(0)
      expect(await pushColumn(push, extent, column)).not.toContain(false)
      const map = encodeExtentMap(extent.map)
      const receipt = await push.finish(map.bytes, signal)
      const promise = { extent: extentFacts(extent.map, map.cid), column, expiresMs: receipt.expiresMs }
      expect(verifyReceipt(network.peer, CHAIN, promise, receipt.signature)).toBe(true)
      for (const { digest } of extent.map.shardsOfColumn(column)) {
        const stored = await network.store.read(digest)
        expect(equals(stored ?? new Uint8Array(), extent.blocks.get(String(digest)) ?? new Uint8Array())).toBe(true)
      }
      expect(network.store.has(map.cid.multihash.digest)).toBe(true)
    }
    expect(network.staged.list().map(({ column, map }) => [column, map?.code])).toEqual([
      [0, DAG_CBOR],
      [1, DAG_CBOR],
      [2, DAG_CBOR],
    ])
  })

  test('with the map known, only what is missing is asked for', async () => {
    await using network = await startNetwork()
    const extent = extentOf(2, 6)
    const first = await open(network, reserveOf(extent, 0))
    const shards = extent.map.shardsOfColumn(0)
    const [begun] = shards
    if (begun === undefined) throw new Error('no shard')
    const bytes = extent.blocks.get(String(begun.digest)) ?? new Uint8Array()
    expect(await first.push({ kind: 'shard', ...begun, bytes })).toBe(true)
    first.close('the sender dies')
    const map = encodeExtentMap(extent.map)
    const again = await open(network, reserveOf(extent, 0, { map: map.bytes }))
    expect(shards.map((_, at) => hasBit(again.held, at))).toEqual([true, false, false])
    expect(extent.copies.map((_, at) => hasBit(again.held, shards.length + at))).toEqual([false, false])
    for (const shard of shards.slice(1)) {
      await again.push({ kind: 'shard', ...shard, bytes: extent.blocks.get(String(shard.digest)) ?? new Uint8Array() })
    }
    for (const copy of extent.copies) await again.push({ kind: 'copy', digest: sha256(copy), bytes: copy })
    const receipt = await again.finish(new Uint8Array(0), signal)
    expect(receipt.column).toBe(0)
  })

  test('a record of the column is durable before its first block, and keeps the map once it is signed for', async () => {
    await using network = await startNetwork()
    const extent = extentOf(3, 2)
    const push = await open(network, reserveOf(extent, 1))
    const before = await StagedColumns.open(network.state)
    expect(before.list()).toEqual([{ ...network.staged.list()[0] }])
    expect(before.list()[0]?.map).toBeUndefined()
    await pushColumn(push, extent, 1)
    const map = encodeExtentMap(extent.map)
    const { expiresMs } = await push.finish(map.bytes, signal)
    const after = await StagedColumns.open(network.state)
    expect(after.list().map((one) => one.map?.toString())).toEqual([map.cid.toString()])
    expect(after.expired(expiresMs + STAGED_GRACE_MS)).toEqual([])
    expect(after.expired(expiresMs + STAGED_GRACE_MS + 1)).toHaveLength(1)
    await after.remove(after.list())
    expect((await StagedColumns.open(network.state)).list()).toEqual([])
  })

  test('altered bytes, a wrong audit root, shards out of order and too many bytes are refused, and not signed for', async () => {
    await using network = await startNetwork()
    const extent = extentOf(4, 4)
    const flip = (bytes: Uint8Array): Uint8Array => Uint8Array.from(bytes, (byte, at) => (at === 77 ? byte ^ 1 : byte))
    const altered = await open(network, reserveOf(extent, 0))
    expect(await pushColumn(altered, extent, 0, flip)).not.toContain(true)
    expect(altered.loss?.refusal).toMatchObject({ code: 'SHARD_ALTERED', column: 0, stripe: 0 })

    const [one, two] = extent.map.shardsOfColumn(0)
    if (one === undefined || two === undefined) throw new Error('two shards')
    const bytesOf = (digest: Uint8Array): Uint8Array => extent.blocks.get(String(digest)) ?? new Uint8Array()
    const lying = await open(network, reserveOf(extent, 0))
    expect(await lying.push({ kind: 'shard', ...one, audit: two.audit, bytes: bytesOf(one.digest) })).toBe(false)
    expect(lying.loss?.refusal).toMatchObject({ code: 'SHARD_ALTERED' })

    const backwards = await open(network, reserveOf(extent, 0))
    expect(await backwards.push({ kind: 'shard', ...two, bytes: bytesOf(two.digest) })).toBe(true)
    expect(await backwards.push({ kind: 'shard', ...one, bytes: bytesOf(one.digest) })).toBe(false)
    expect(backwards.loss?.refusal).toEqual({ code: 'SHARD_ORDER', stripe: 0, after: 1 })

    const more = await open(network, reserveOf(extent, 0, { bytes: 1_000 }))
    expect(await more.push({ kind: 'shard', ...one, bytes: bytesOf(one.digest) })).toBe(false)
    expect(more.loss?.refusal).toEqual({ code: 'SHARD_OVERRUN', bytes: SEGMENT_BYTES, reservedBytes: 1_000 })
    await vi.waitFor(() => expect(network.server.stats()).toEqual({ streams: 0, heldBytes: 0 }), { timeout: 10_000 })
  })

  test('copies beyond what was reserved, or that the map does not list, are refused', async () => {
    await using network = await startNetwork({ capacityBytes: 70 * SEGMENT_BYTES })
    const extent = extentOf(13, 4)
    const copyOf = (size: number, fill: number): { kind: 'copy'; digest: Uint8Array; bytes: Uint8Array } => {
      const bytes = new Uint8Array(size).fill(fill)
      return { kind: 'copy', digest: sha256(bytes), bytes }
    }
    const none = await open(network, reserveOf(extent, 0, { bytes: 0, copyBytes: 0 }))
    expect(await none.push(copyOf(1, 1))).toBe(false)
    expect(none.loss?.refusal).toEqual({ code: 'SHARD_OVERRUN', bytes: 1, reservedBytes: 0 })

    const some = await open(network, reserveOf(extent, 0, { bytes: 0, copyBytes: BLOCK_BYTES_MAX }))
    expect(await some.push(copyOf(BLOCK_BYTES_MAX, 2))).toBe(true)
    expect(await some.push(copyOf(BLOCK_BYTES_MAX, 3))).toBe(false)
    expect(some.loss?.refusal).toMatchObject({ code: 'SHARD_OVERRUN', reservedBytes: BLOCK_BYTES_MAX })
    expect(network.store.stats().bytes).toBeLessThan(BLOCK_BYTES_MAX + 1_000)
    // Room for copies is set apart as that for shards is.
    expect(
      await refusalOf(open(network, reserveOf(extent, 0, { bytes: 0, copyBytes: 100 * SEGMENT_BYTES }))),
    ).toMatchObject({ code: 'STORE_FULL', askedBytes: 100 * SEGMENT_BYTES })

    const many = await open(network, reserveOf(extent, 0, { copyBytes: 0 }))
    const pushed = Array.from({ length: EXTENT_COPIES_MAX + 1 }, async () => many.push(copyOf(0, 0)))
    expect((await Promise.all(pushed)).at(-1)).toBe(false)
    expect(many.loss?.refusal).toEqual({ code: 'SHARD_COPIES_TOO_MANY', copiesMax: EXTENT_COPIES_MAX })

    const unlisted = copyOf(1, 4)
    const field = `copy ${Buffer.from(unlisted.digest).toString('hex')}`
    const late = await open(network, reserveOf(extent, 0, { copyBytes: 1_000 }))
    await pushColumn(late, extent, 0)
    expect(await late.push(unlisted)).toBe(true)
    expect(await refusalOf(late.finish(encodeExtentMap(extent.map).bytes, signal))).toEqual({
      code: 'SHARD_MAP_DIFFERS',
      field,
    })
    const known = { map: encodeExtentMap(extent.map).bytes, copyBytes: 1_000 }
    const early = await open(network, reserveOf(extent, 0, known))
    expect(await early.push(unlisted)).toBe(false)
    expect(early.loss?.refusal).toEqual({ code: 'SHARD_MAP_DIFFERS', field })
  })

  test('what one institution has staged is bounded; what it left unfinished counts with what was written of it', async () => {
    await using network = await startNetwork({ capacityBytes: 4 * STAGED_BYTES_OF_ONE_MIN })
    const extent = extentOf(16, 4)
    const most = reserveOf(extent, 0, { bytes: 0, copyBytes: STAGED_BYTES_OF_ONE_MIN })
    const first = await open(network, most)
    expect(await refusalOf(open(network, reserveOf(extent, 1)))).toMatchObject({
      code: 'STAGED_BYTES_TOO_MANY',
      bytesMax: STAGED_BYTES_OF_ONE_MIN,
    })
    const bytes = new Uint8Array(SEGMENT_BYTES).fill(3)
    const copy = { kind: 'copy', digest: sha256(bytes), bytes } as const
    expect(await first.push(copy)).toBe(true)
    first.close('the sender dies')
    const unfinished = { columns: 1, bytes: SEGMENT_BYTES }
    await vi.waitFor(() => expect(network.staged.unnamed(network.sender.id)).toEqual(unfinished))
    expect(await refusalOf(open(network, most))).toMatchObject({ code: 'STAGED_BYTES_TOO_MANY' })

    // The same bytes again lie here once; those of a column that is finished count with it.
    const again = await open(network, reserveOf(extent, 0, { copyBytes: 2 * SEGMENT_BYTES }))
    expect(await again.push(copy)).toBe(true)
    again.close('the sender dies again')
    await vi.waitFor(() => expect(network.staged.unnamed(network.sender.id)).toEqual(unfinished))
    const push = await open(network, reserveOf(extent, 0))
    await pushColumn(push, extent, 0)
    await push.finish(encodeExtentMap(extent.map).bytes, signal)
    const columnBytes = (extent.map.columnBytes()[0] ?? 0) + 4
    expect(network.staged.unnamed(network.sender.id)).toEqual({ columns: 1, bytes: SEGMENT_BYTES + columnBytes })
    const [record] = network.staged.list()
    if (record === undefined) throw new Error('nothing is staged')
    expect((await StagedColumns.open(network.state)).list()).toEqual([record])
    network.staged.setNamed(record)
    expect(network.staged.unnamed(network.sender.id)).toEqual({ columns: 0, bytes: SEGMENT_BYTES })
  })

  test('a shard that a known map does not list is refused when it comes', async () => {
    await using network = await startNetwork()
    const extent = extentOf(14, 4)
    const other = extentOf(15, 4)
    const push = await open(network, reserveOf(extent, 0, { map: encodeExtentMap(extent.map).bytes }))
    const [shard] = other.map.shardsOfColumn(0)
    if (shard === undefined) throw new Error('no shard')
    const bytes = other.blocks.get(String(shard.digest)) ?? new Uint8Array()
    expect(await push.push({ kind: 'shard', ...shard, bytes })).toBe(false)
    expect(push.loss?.refusal).toEqual({ code: 'SHARD_MAP_DIFFERS', field: 'stripe 0' })
    expect(network.store.has(shard.digest)).toBe(false)
  })

  test('a map that names other shards than came, or lacks one, gets no receipt', async () => {
    await using network = await startNetwork()
    const extent = extentOf(5, 4)
    const other = extentOf(6, 4)
    const push = await open(network, reserveOf(extent, 0))
    await pushColumn(push, extent, 0)
    const forged = ExtentMap.of({ ...extent.map.fields, digests: other.map.fields.digests })
    expect(await refusalOf(push.finish(encodeExtentMap(forged).bytes, signal))).toEqual({
      code: 'SHARD_MAP_DIFFERS',
      field: 'stripe 0',
    })
    const short = await open(network, reserveOf(extent, 1))
    expect(await refusalOf(short.finish(encodeExtentMap(extent.map).bytes, signal))).toMatchObject({
      code: 'SHARD_COLUMN_INCOMPLETE',
      column: 1,
    })
    const wrongAudits = ExtentMap.of({ ...extent.map.fields, audits: other.map.fields.audits })
    const known = await open(network, reserveOf(extent, 0, { map: encodeExtentMap(wrongAudits).bytes }))
    expect(await refusalOf(known.finish(new Uint8Array(0), signal))).toMatchObject({ code: 'SHARD_MAP_DIFFERS' })
    expect(
      network.staged.list().every(({ map }) => map === undefined || !map.equals(encodeExtentMap(forged).cid)),
    ).toBe(true)
  })

  test('a reservation is refused for another chain, another peer, a bad expiry and a lack of room, with the numbers', async () => {
    await using network = await startNetwork({ capacityBytes: 70 * SEGMENT_BYTES })
    const extent = extentOf(7, 4)
    const wrong = digestCid(DAG_CBOR, sha256(new Uint8Array([9])))
    const tries: readonly [Partial<Reserve>, object][] = [
      [{ chain: wrong }, { code: 'SHARD_WRONG_CHAIN', chain: wrong.toString() }],
      [{ expiresMs: NOW_MS }, { code: 'SHARD_EXPIRY', expiresMs: NOW_MS }],
      [
        { expiresMs: NOW_MS + SHARD_EXPIRY_MS_MAX + 1 },
        { code: 'SHARD_EXPIRY', latestMs: NOW_MS + SHARD_EXPIRY_MS_MAX },
      ],
      [
        { bytes: 100 * SEGMENT_BYTES, copyBytes: 0 },
        { code: 'STORE_FULL', askedBytes: 100 * SEGMENT_BYTES, capacityBytes: 70 * SEGMENT_BYTES },
      ],
    ]
    for (const [more, fault] of tries) {
      expect(await refusalOf(open(network, reserveOf(extent, 0, more)))).toMatchObject(fault)
    }
    // Room that one reservation has is not given to the next.
    const large = await open(network, reserveOf(extent, 0, { bytes: 60 * SEGMENT_BYTES, copyBytes: 0 }))
    expect(
      await refusalOf(open(network, reserveOf(extent, 1, { bytes: 20 * SEGMENT_BYTES, copyBytes: 0 }))),
    ).toMatchObject({
      code: 'STORE_FULL',
      askedBytes: 80 * SEGMENT_BYTES,
    })
    large.close('not needed')
    await vi.waitFor(async () =>
      (await open(network, reserveOf(extent, 1, { bytes: 20 * SEGMENT_BYTES, copyBytes: 0 }))).close('done'),
    )
    network.assigned[0] = undefined
    expect(await refusalOf(open(network, reserveOf(extent, 0)))).toEqual({
      code: 'SHARD_NOT_ASSIGNED',
      column: 0,
      peer: 'nobody',
    })
  })
})
