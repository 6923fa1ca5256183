/** Extents that two processes make alike, holders that serve one column each, and readers of them. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { multiaddr } from '@multiformats/multiaddr'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import { cborCid, sha256 } from '../../../src/crypto/hash.ts'
import type { Extent } from '../../../src/domain/storage-state.ts'
import { BlockFetcher } from '../../../src/p2p/block-fetcher.ts'
import { BlockServer, type BlockSource } from '../../../src/p2p/block-server.ts'
import { parsePeerId } from '../../../src/p2p/peer-ids.ts'
import { ExtentReader } from '../../../src/peer/extent-reader.ts'
import { type HedgeBounds, PeerHistory } from '../../../src/peer/peer-history.ts'
import { IndexedMap, type PlacedExtent, type ShardPlace } from '../../../src/peer/placed-extent.ts'
import { encodeParity } from '../../../src/shards/erasure.ts'
import { ExtentMap, encodeExtentMap } from '../../../src/shards/extent-map.ts'
import { type Code, stripesOf } from '../../../src/shards/stripes.ts'
import { blockOf } from '../p2p/test-blocks.ts'
import { type TestPeer, startPeer } from '../p2p/test-peer.ts'

export interface ExtentShape {
  readonly code: Code
  readonly segments: number
  /** Of each segment but the last, which is one byte. */
  readonly segmentBytes: number
}

export interface TestExtent {
  readonly map: ExtentMap
  /** The file. */
  readonly segments: readonly Uint8Array[]
  /** By digest, in hexadecimal. */
  readonly shards: ReadonlyMap<string, Uint8Array>
}

export const hexOf = (digest: Uint8Array): string => Buffer.from(digest).toString('hex')

/** @param lie - spoils parity before it is named, as whoever committed the map might. */
export function makeExtent({ code, segmentBytes, segments: count }: ExtentShape, lie = false): TestExtent {
  const segments = Array.from({ length: count }, (_, at) => blockOf(at, at === count - 1 ? 5 : segmentBytes))
  const sizes = new Uint8Array(4 * count)
  for (const [at, { length }] of segments.entries()) new DataView(sizes.buffer).setUint32(4 * at, length)
  const all = stripesOf(count, code).flatMap(({ data, first, parity }) => {
    const pieces = segments.slice(first, first + data)
    const made = encodeParity(pieces, parity)
    if (lie) for (const shard of made) shard[0] = (shard[0] ?? 0) ^ 1
    return [...pieces, ...made]
  })
  const digests = Buffer.concat(all.map(sha256))
  const manifest = cborCid(new Uint8Array([1]))
  const rest = { digests, audits: new Uint8Array(digests.length), copies: [] }
  const map = ExtentMap.of({ version: 1, manifest, index: 0, code, sizes, ...rest })
  return { map, segments, shards: new Map(all.map((shard) => [hexOf(sha256(shard)), shard])) }
}

export function columnSource({ map, shards }: TestExtent, column: number): BlockSource {
  const held = new Set(map.shardsOfColumn(column).map(({ digest }) => hexOf(digest)))
  const read = (digest: Uint8Array): Uint8Array | undefined =>
    held.has(hexOf(digest)) ? shards.get(hexOf(digest))?.slice() : undefined
  return { has: (digest) => held.has(hexOf(digest)), readUnverified: async (digest) => read(digest) }
}

export interface TestHolder extends AsyncDisposable {
  readonly address: string
  /** Absent: it is a part of this process. */
  readonly process?: ChildProcess
}

export async function startHolder(
  word: string,
  members: ReadonlySet<string>,
  source: BlockSource,
): Promise<TestHolder> {
  const { address, host, log } = await startPeer(word, members)
  await new BlockServer({ host, source, log }).start()
  return { address, [Symbol.asyncDispose]: async () => host.stop() }
}

export interface HolderTask {
  readonly word: string
  readonly members: readonly string[]
  readonly shape: ExtentShape
  readonly column: number
}

/** A holder in a process of its own, to be killed or stopped. */
export async function forkHolder(task: HolderTask): Promise<TestHolder> {
  const child = fork(fileURLToPath(new URL('./holder-process.ts', import.meta.url)), { execArgv: [] })
  child.send(task)
  const [address] = (await once(child, 'message')) as [string]
  return {
    address,
    process: child,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
  }
}

export interface TestReader {
  readonly reader: ExtentReader
  readonly history: PeerHistory
  readonly placed: PlacedExtent
  /** Of the data segments, in their order. */
  readonly places: readonly ShardPlace[]
}

/** A reader that holds nothing, connected to all that are given. @param holders - by column; `undefined`: nobody */
export async function readerOf(
  peer: TestPeer,
  { map }: TestExtent,
  holders: readonly (string | undefined)[],
  options: { readonly own?: ReadonlyMap<string, Uint8Array>; readonly bounds?: HedgeBounds } = {},
): Promise<TestReader> {
  const { host, id: self, log } = peer
  const ids = await Promise.all(
    holders.map(async (address, column) => {
      if (address === undefined) return undefined
      await host.dial(multiaddr(address))
      return { peer: parsePeerId(address.split('/p2p/')[1] ?? ''), institution: parseInstitutionId(`h${column}`) }
    }),
  )
  const { code, index, manifest } = map.fields
  const numbers = ids.map((id, column) => (id === undefined ? undefined : column))
  const extent: Extent = {
    manifest,
    index,
    map: encodeExtentMap(map).cid,
    root: map.root(),
    group: 0,
    ...code,
    segments: map.segments,
    columns: map.columnBytes(),
    copies: map.copiesBytes(),
    holders: numbers,
  }
  const { bounds, own = new Map<string, Uint8Array>() } = options
  const history = new PeerHistory({ host, clock: { nowMs: () => Date.now() } }, bounds)
  history.start()
  const store = {
    has: (digest: Uint8Array) => own.has(hexOf(digest)),
    read: async (digest: Uint8Array) => own.get(hexOf(digest)),
  }
  const reader = new ExtentReader({ store, fetcher: new BlockFetcher({ host, log }), history, log, self })
  const places = map.stripes.flatMap(({ data }, stripe) =>
    Array.from({ length: data }, (_, shard) => ({ stripe, shard })),
  )
  return { reader, history, placed: { extent, map: new IndexedMap(map, 0), holders: ids }, places }
}
