// Holders are real hosts on real TCP, some in processes of their own; the ledger's part (who holds what) is given.
import { multiaddr } from '@multiformats/multiaddr'
import { expect, test } from 'vitest'
import type { FetchedBlock } from '../../../src/p2p/block-provider.ts'
import { type TestPeer, faultOf, membersOf, startPeer } from '../p2p/test-peer.ts'
import {
  type ExtentShape,
  type TestExtent,
  type TestHolder,
  type TestReader,
  columnSource,
  forkHolder,
  makeExtent,
  readerOf,
  startHolder,
} from './test-extent.ts'

const CODE = { data: 4, parity: 3 }
const KIB = 1024
const signal = new AbortController().signal
const words = ['reader', ...Array.from({ length: 7 }, (_, column) => `h${column}`)]

class Holders implements AsyncDisposable {
  readonly all: TestHolder[] = []
  get addresses(): string[] {
    return this.all.map(({ address }) => address)
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.all.map((one) => one[Symbol.asyncDispose]()))
  }
}

/** One holder for each column. @param forked - columns whose holders are processes of their own */
async function startHolders(extent: TestExtent, shape: ExtentShape, forked: readonly number[] = []): Promise<Holders> {
  const members = await membersOf(...words)
  const holders = new Holders()
  for (let column = 0; column < extent.map.columns; column++) {
    const word = `h${column}`
    holders.all.push(
      forked.includes(column)
        ? await forkHolder({ word, members: words, shape, column })
        : await startHolder(word, members, columnSource(extent, column)),
    )
  }
  return holders
}

const startReader = async (): Promise<TestPeer> => startPeer('reader', await membersOf(...words))

interface ReadThrough {
  readonly bytes: Buffer
  /** The longest that nothing came, without what this process itself was held up. */
  readonly stallMs: number
}

/** Reads everything; `at` is called before the block of that number is asked for. */
async function readAll(
  { placed, places, reader }: TestReader,
  at: { readonly block: number; readonly act: () => void } = { block: -1, act: () => undefined },
): Promise<ReadThrough> {
  const parts: Uint8Array[] = []
  let stallMs = 0
  let heldUpMs = 0
  let tickMs = performance.now()
  const timer = setInterval(() => {
    const nowMs = performance.now()
    heldUpMs += Math.max(0, nowMs - tickMs - 50)
    tickMs = nowMs
  }, 20)
  try {
    let sinceMs = performance.now()
    let number = 0
    for await (const block of reader.read(placed, places, { signal })) {
      stallMs = Math.max(stallMs, performance.now() - sinceMs - heldUpMs)
      parts.push(copyOf(block))
      block.release()
      if (++number === at.block) at.act()
      sinceMs = performance.now()
      heldUpMs = 0
    }
  } finally {
    clearInterval(timer)
  }
  return { bytes: Buffer.concat(parts), stallMs }
}

/** Before its memory is used again. */
const copyOf = (block: FetchedBlock): Uint8Array => Buffer.concat(block.parts)

/** However busy the machine is, nobody is late. */
const PATIENT = { bounds: { minMs: 60_000, firstMs: 60_000, maxMs: 60_000 } }

const long: ExtentShape = { code: CODE, segments: 160, segmentBytes: 1024 * KIB }
const small: ExtentShape = { code: CODE, segments: 4 * 6 + 3, segmentBytes: 100 * KIB }

test('every segment comes in order from the holder of its column, and nobody else is asked', async () => {
  const extent = makeExtent(small)
  await using holders = await startHolders(extent, small)
  await using peer = await startReader()
  const reader = await readerOf(peer, extent, holders.addresses, PATIENT)
  expect((await readAll(reader)).bytes.equals(Buffer.concat(extent.segments))).toBe(true)
  const asked = reader.placed.holders.map((holder) => reader.history.reads(String(holder?.peer))?.blocks ?? 0)
  // The last stripe has three data shards.
  expect(asked).toEqual([7, 7, 7, 6, 0, 0, 0])
}, 60_000)

test('whatever m columns nobody holds, every segment is rebuilt; one alone is rebuilt from k', async () => {
  const extent = makeExtent(small)
  await using holders = await startHolders(extent, small)
  await using peer = await startReader()
  for (const gone of [
    [0, 1, 2],
    [0, 4, 6],
    [3, 1, 5],
  ]) {
    const addresses = holders.addresses.map((address, column) => (gone.includes(column) ? undefined : address))
    const reader = await readerOf(peer, extent, addresses, PATIENT)
    expect((await readAll(reader)).bytes.equals(Buffer.concat(extent.segments))).toBe(true)
    const before = reader.placed.holders.map((holder) => reader.history.reads(String(holder?.peer))?.blocks ?? 0)
    const column = gone[0] ?? 0
    const seek = { ...reader, places: [{ stripe: 2, shard: column }] }
    expect((await readAll(seek)).bytes.equals(Buffer.from(extent.segments[8 + column] ?? []))).toBe(true)
    const after = reader.placed.holders.map((holder) => reader.history.reads(String(holder?.peer))?.blocks ?? 0)
    expect(after.reduce((sum, count, at) => sum + count - (before[at] ?? 0), 0)).toBe(CODE.data)
  }
}, 60_000)

test('what lies here is read here, also to rebuild', async () => {
  const extent = makeExtent(small)
  await using holders = await startHolders(extent, small)
  await using peer = await startReader()
  const addresses = holders.addresses.map((address, column) => (column === 1 ? undefined : address))
  const reader = await readerOf(peer, extent, addresses, { own: extent.shards })
  expect((await readAll(reader)).bytes.equals(Buffer.concat(extent.segments))).toBe(true)
  expect(reader.placed.holders.map((holder) => reader.history.reads(String(holder?.peer)))).toEqual(
    reader.placed.holders.map(() => undefined),
  )
}, 60_000)

test('altered bytes are never handed out: their holder is counted, and its segments are rebuilt', async () => {
  const extent = makeExtent(small)
  const members = await membersOf(...words)
  await using holders = await startHolders(extent, small)
  const honest = columnSource(extent, 2)
  await holders.all[2]?.[Symbol.asyncDispose]()
  holders.all[2] = await startHolder('h2', members, {
    ...honest,
    readUnverified: async (digest) => {
      const block = await honest.readUnverified(digest)
      if (block !== undefined) block[block.length - 1] = (block.at(-1) ?? 0) ^ 0x80
      return block
    },
  })
  await using peer = await startReader()
  const reader = await readerOf(peer, extent, holders.addresses)
  expect((await readAll(reader)).bytes.equals(Buffer.concat(extent.segments))).toBe(true)
  expect(reader.history.reads(String(reader.placed.holders[2]?.peer))).toMatchObject({ altered: 1, blocks: 0 })
}, 60_000)

test('parity that was never made of the data rebuilds nothing that is handed out', async () => {
  const extent = makeExtent(small, true)
  await using holders = await startHolders(extent, small)
  await using peer = await startReader()
  const addresses = holders.addresses.map((address, column) => (column === 1 ? undefined : address))
  const reader = await readerOf(peer, extent, addresses)
  expect(await faultOf(readAll(reader))).toMatchObject({
    code: 'EXTENT_UNAVAILABLE',
    missing: expect.stringContaining('parity that does not fit') as string,
  })
}, 60_000)

test('with fewer than k holders the fault says how many are needed, whose are missing, and since when', async () => {
  const extent = makeExtent(small)
  await using holders = await startHolders(extent, small)
  await using peer = await startReader()
  const reader = await readerOf(peer, extent, holders.addresses)
  for (const column of [0, 2, 4, 6]) await holders.all[column]?.[Symbol.asyncDispose]()
  const fault = await faultOf(readAll(reader))
  expect(fault).toMatchObject({
    code: 'EXTENT_UNAVAILABLE',
    extent: 0,
    needed: 4,
    institutions: ['h0', 'h2', 'h4', 'h6'],
  })
  const { missing } = fault as { missing: string }
  expect(missing).toMatch(/^h0, (not connected since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ|went away)/)
}, 60_000)

test('holders that all went away at once and come back are asked again: the read goes on', async () => {
  const extent = makeExtent(long)
  await using holders = await startHolders(extent, long)
  await using peer = await startReader()
  const reader = await readerOf(peer, extent, holders.addresses)
  const cut = (): void => {
    for (const connection of peer.host.getConnections()) connection.abort(new Error('the network blinked'))
    for (const address of holders.addresses) peer.host.dial(multiaddr(address)).catch(() => undefined)
  }
  const { bytes } = await readAll(reader, { block: 40, act: cut })
  expect(bytes.equals(Buffer.concat(extent.segments))).toBe(true)
}, 120_000)

const STALL_MS_MAX = 2_000

test('when m holders are killed at once, every byte comes, and nothing stands still for two seconds', async () => {
  const extent = makeExtent(long)
  await using holders = await startHolders(extent, long, [0, 1, 2])
  await using peer = await startReader()
  const reader = await readerOf(peer, extent, holders.addresses)
  const kill = (): void => holders.all.slice(0, 3).forEach((one) => one.process?.kill('SIGKILL'))
  const { bytes, stallMs } = await readAll(reader, { block: 40, act: kill })
  expect(bytes.equals(Buffer.concat(extent.segments))).toBe(true)
  expect(stallMs).toBeLessThan(STALL_MS_MAX)
}, 120_000)

test('when m holders fall silent at once, data and parity, every byte comes, and nothing stands still for two seconds', async () => {
  const extent = makeExtent(long)
  await using holders = await startHolders(extent, long, [0, 3, 5])
  await using peer = await startReader()
  const reader = await readerOf(peer, extent, holders.addresses)
  const silent = [0, 3, 5].map((column) => holders.all[column])
  try {
    const stop = (): void => silent.forEach((one) => one?.process?.kill('SIGSTOP'))
    const { bytes, stallMs } = await readAll(reader, { block: 40, act: stop })
    expect(bytes.equals(Buffer.concat(extent.segments))).toBe(true)
    expect(stallMs).toBeLessThan(STALL_MS_MAX)
    expect(reader.history.reads(String(reader.placed.holders[0]?.peer))?.late).toBeGreaterThan(0)
  } finally {
    silent.forEach((one) => one?.process?.kill('SIGCONT'))
  }
}, 120_000)
