/** One side of a measurement of p2p-baseline.ts, in a process of its own. */
import { createHash } from 'node:crypto'
import { createHeliaLight } from 'helia'
import { withBitswap } from '@helia/bitswap'
import { identify } from '@libp2p/identify'
import type { Libp2p, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { digestCid, RAW } from '../src/crypto/hash.ts'
import { BlockFetcher } from '../src/p2p/block-fetcher.ts'
import { BlockServer } from '../src/p2p/block-server.ts'
import { type P2pHost, startHost } from '../src/p2p/host.ts'
import { peerIdOfSeed } from '../src/p2p/peer-ids.ts'
import { socketTls } from '../src/p2p/socket-tls.ts'
import type { ChildReport, ChildTask, Encrypter, Usage } from './p2p-baseline.ts'

const MIB = 1024 * 1024
const RAW_PROTOCOL = '/bench/raw/1'
const BITSWAP_WINDOW_BLOCKS = 16
/** Faults belong in a bench's output, the rest doesn't. */
const quiet = { debug() {}, info() {}, warn: console.warn, error: console.error }

process.once('message', (task: ChildTask) => {
  const run = task.role === 'provider' ? provide(task) : read(task)
  run.catch((error: unknown) => {
    console.error(error)
    process.exit(1)
  })
})

// A bench that was interrupted leaves no process behind.
process.once('disconnect', () => process.exit())

function tell(report: ChildReport): void {
  process.send?.(report)
}

async function provide(task: ChildTask): Promise<void> {
  const address = await PROVIDERS[task.way](task)
  const before = process.cpuUsage()
  process.on('message', (message) => {
    if (message === 'usage') tell({ kind: 'usage', usage: usageSince(before) })
  })
  tell({ kind: 'listening', address })
}

async function read(task: ChildTask): Promise<void> {
  const fetch = await READERS[task.way](task)
  const before = process.cpuUsage()
  await fetch(0, task.warmupBytes)
  const sinceMs = performance.now()
  await fetch(task.warmupBytes, task.bytes)
  const seconds = (performance.now() - sinceMs) / 1_000
  tell({ kind: 'done', seconds, usage: usageSince(before) })
}

/** Fetches `bytes` bytes of content from an offset; blocks are numbered by offset. */
type Fetch = (offset: number, bytes: number) => Promise<void>

const PROVIDERS = { raw: provideRaw, bitswap: provideBitswap, blocks: provideBlocks }
const READERS = { raw: readRaw, bitswap: readBitswap, blocks: readBlocks }

const ENCRYPTERS = { tls, 'socket-tls': socketTls, noise }

async function plainLibp2p(encrypter: Encrypter, listen: string[]): Promise<Libp2p> {
  return createLibp2p({
    addresses: { listen },
    transports: [tcp()],
    connectionEncrypters: [ENCRYPTERS[encrypter]()],
    streamMuxers: [yamux()],
    services: { identify: identify() },
  })
}

async function provideRaw(task: ChildTask): Promise<string> {
  const libp2p = await plainLibp2p(task.encrypter, ['/ip4/127.0.0.1/tcp/0'])
  const buffer = new Uint8Array(MIB).fill(7)
  await libp2p.handle(RAW_PROTOCOL, async (stream) => {
    for (let left = await firstNumber(stream); left > 0; left -= MIB) {
      const hasRoom = stream.send(left < MIB ? buffer.subarray(0, left) : buffer)
      if (!hasRoom) await once(stream, 'drain')
    }
    await stream.close()
  })
  return addressOf(libp2p)
}

async function readRaw(task: ChildTask): Promise<Fetch> {
  const libp2p = await plainLibp2p(task.encrypter, [])
  const connection = await libp2p.dial(multiaddr(task.address))
  return async (_offset, bytes) => {
    const stream = await connection.newStream(RAW_PROTOCOL)
    let left = bytes
    await new Promise<void>((resolve) => {
      stream.addEventListener('message', (event) => {
        left -= event.data.byteLength
        if (left === 0) resolve()
      })
      stream.send(new TextEncoder().encode(String(bytes)))
    })
    await stream.close()
  }
}

function once(stream: Stream, event: 'drain'): Promise<void> {
  return new Promise((resolve) => {
    stream.addEventListener(event, () => resolve(), { once: true })
  })
}

/** The first message of a stream: how much is wanted, in digits. */
async function firstNumber(stream: Stream): Promise<number> {
  return new Promise((resolve) => {
    stream.addEventListener('message', (event) => {
      resolve(Number(new TextDecoder().decode(event.data.subarray())))
    })
  })
}

async function provideBitswap(task: ChildTask): Promise<string> {
  const libp2p = await plainLibp2p(task.encrypter, ['/ip4/127.0.0.1/tcp/0'])
  const helia = await withBitswap(Object.assign(createHeliaLight(), { libp2p })).start()
  for (let index = 0; index * MIB < task.warmupBytes + task.bytes; index++) {
    const block = blockOf(index)
    await helia.blockstore.put(digestCid(RAW, digestOf(block)), block)
  }
  return addressOf(libp2p)
}

async function readBitswap(task: ChildTask): Promise<Fetch> {
  const libp2p = await plainLibp2p(task.encrypter, [])
  const helia = await withBitswap(Object.assign(createHeliaLight(), { libp2p })).start()
  await libp2p.dial(multiaddr(task.address))
  const all = digests(0, task.warmupBytes + task.bytes).map((digest) => digestCid(RAW, digest))
  return async (offset, bytes) => {
    const cids = all.slice(offset / MIB, (offset + bytes) / MIB)
    const fetchNext = async (): Promise<void> => {
      for (let cid = cids.shift(); cid !== undefined; cid = cids.shift()) {
        for await (const piece of helia.blockstore.get(cid)) void piece
      }
    }
    await Promise.all(Array.from({ length: BITSWAP_WINDOW_BLOCKS }, fetchNext))
  }
}

async function provideBlocks(task: ChildTask): Promise<string> {
  const host = await memberHost('provider', 'reader', task, ['/ip4/127.0.0.1/tcp/0'])
  const held = new Map<string, number>()
  digests(0, task.warmupBytes + task.bytes).forEach((digest, index) => {
    held.set(Buffer.from(digest).toString('hex'), index)
  })
  const indexOf = (digest: Uint8Array): number | undefined => held.get(Buffer.from(digest).toString('hex'))
  const source = {
    has: (digest: Uint8Array) => indexOf(digest) !== undefined,
    readUnverified: async (digest: Uint8Array) => {
      const index = indexOf(digest)
      return index === undefined ? undefined : writeBlock(index, new Uint8Array(MIB))
    },
    // As a disk whose cache is warm: one copy.
    readInto: async (digest: Uint8Array, into: Uint8Array) => {
      const index = indexOf(digest)
      return index === undefined ? undefined : writeBlock(index, into).length
    },
  }
  await new BlockServer({ host, source, log: quiet }).start()
  return addressOf(host)
}

async function readBlocks(task: ChildTask): Promise<Fetch> {
  const host = await memberHost('reader', 'provider', task, [])
  const { remotePeer } = await host.dial(multiaddr(task.address))
  const fetcher = new BlockFetcher({ host, log: quiet })
  const all = digests(0, task.warmupBytes + task.bytes)
  return async (offset, bytes) => {
    let received = 0
    const wanted = all.slice(offset / MIB, (offset + bytes) / MIB)
    for await (const block of fetcher.fetch(wanted, [remotePeer], { pooled: true })) {
      received += block.bytes
      block.release()
    }
    if (received !== bytes) throw new Error(`received ${received} of ${bytes} bytes`)
  }
}

/** Keys are made from a word, so that two processes agree on them without talking. */
async function memberHost(own: string, other: string, task: ChildTask, listen: string[]): Promise<P2pHost> {
  const seedOf = (word: string): Uint8Array => createHash('sha256').update(word).digest()
  const members = new Set([await peerIdOfSeed(seedOf(own)), await peerIdOfSeed(seedOf(other))])
  const encrypters = [task.encrypter === 'noise' ? ('noise' as const) : ('tls' as const)]
  return startHost({ privateKey: seedOf(own), listen, members: () => members, encrypters, log: quiet })
}

const template = new Uint8Array(MIB).fill(7)

/** Writes 1 MiB that differs from block to block in its first bytes. */
function writeBlock(index: number, into: Uint8Array): Uint8Array {
  into.set(template)
  new DataView(into.buffer, into.byteOffset).setUint32(0, index)
  return into
}

function blockOf(index: number): Uint8Array {
  return writeBlock(index, new Uint8Array(MIB))
}

function digestOf(block: Uint8Array): Uint8Array {
  return createHash('sha256').update(block).digest()
}

function digests(offset: number, bytes: number): Uint8Array[] {
  return Array.from({ length: bytes / MIB }, (_, index) => digestOf(blockOf(offset / MIB + index)))
}

function addressOf(libp2p: Pick<Libp2p, 'getMultiaddrs'>): string {
  const [address] = libp2p.getMultiaddrs()
  if (address === undefined) throw new Error('the bench process does not listen')
  return address.toString()
}

function usageSince(before: NodeJS.CpuUsage): Usage {
  const { user, system } = process.cpuUsage(before)
  return { rssBytes: process.resourceUsage().maxRSS * 1024, cpuSeconds: (user + system) / 1e6 }
}
