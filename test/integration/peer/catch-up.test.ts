/** Peers that are behind, or whose ledger is damaged: real TCP, real disks, the production daemon; only thresholds are lower. */
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { EPOCH_BLOCKS } from '../../../src/core/limits.ts'
import type { KeyChange } from '../../../src/core/ports.ts'
import { checkProof } from '../../../src/ledger/proof.ts'
import { proveBlock } from '../../../src/ledger/proof-maker.ts'
import { SnapshotMaker } from '../../../src/ledger/snapshot-maker.ts'
import { LevelStore } from '../../../src/store/level-store.ts'
import { MemoryLog } from '../p2p/test-peer.ts'
import { LongChain, putLedger } from './long-chain.ts'
import { TestNetwork, newAccount, type TestPeer } from './network.ts'

const WAIT = { timeout: 30_000, interval: 25 }
const SHORT = 80
const HEAD = EPOCH_BLOCKS + 10
/** A gap from which a snapshot is taken here, and the size of its chunks. */
const catchUp = { snapshotBlocks: 500, chunkBytes: 4_096 }

/** A network whose first peers have a chain with an ended epoch; the one validator is the first. */
async function longNetwork(
  options: { readonly withChain: number; readonly peers: number; readonly log?: MemoryLog },
  more: (network: TestNetwork, chain: LongChain) => Promise<void> = async () => undefined,
): Promise<TestNetwork> {
  return TestNetwork.start({
    ...options,
    started: options.withChain,
    ageMs: 3_600_000,
    catchUp,
    prepare: async (network) => {
      const chain = await LongChain.begin(network)
      await more(network, chain)
      await chain.grow(HEAD, (height) => (height < 100 ? 2 : 0))
      const entries: KeyChange[] = await chain.entries()
      for (let index = 0; index < options.withChain; index++) await putLedger(network, index, entries)
    },
  })
}

async function atHead(peer: TestPeer, height: number): Promise<void> {
  await vi.waitFor(() => expect(peer.peer.chain.head.height).toBeGreaterThanOrEqual(height), WAIT)
}

async function idAt(peer: TestPeer, height: number): Promise<string | undefined> {
  return (await peer.peer.chain.reader.plainHeaderAt(height))?.id.toString()
}

test('a peer started from nothing executes the blocks of a short chain', async () => {
  const log = new MemoryLog()
  await using network = await TestNetwork.start({
    peers: 2,
    started: 1,
    ageMs: 3_600_000,
    log,
    prepare: async (it) => {
      const chain = await LongChain.begin(it)
      await chain.grow(SHORT, (height) => height % 3)
      await putLedger(it, 0, await chain.entries())
    },
  })
  const fresh = await network.startPeer(1)
  await atHead(fresh, SHORT)
  expect(await idAt(fresh, SHORT)).toBe(await idAt(network.peer(0), SHORT))
  expect(await fresh.peer.chain.reader.bodyAt(1)).toBeDefined()
  expect(log.lines.map(({ message }) => message)).not.toContain('taking a snapshot from other members')
})

test('a peer started from nothing takes a snapshot of a long chain, then follows, proves and serves like the others', async () => {
  const log = new MemoryLog()
  await using network = await longNetwork({ withChain: 2, peers: 4, log })
  const fresh = await network.startPeer(2)
  await atHead(fresh, HEAD)
  expect(log.lines.map(({ message }) => message)).toContain('taking a snapshot from other members')
  expect(await idAt(fresh, HEAD)).toBe(await idAt(network.peer(0), HEAD))
  // Headers are all there, bodies from the snapshot on.
  expect(await idAt(fresh, 5)).toBe(await idAt(network.peer(0), 5))
  expect(await fresh.peer.chain.reader.bodyAt(5)).toBeUndefined()
  const { chain } = fresh.peer
  const proved = checkProof(await proveBlock(chain, 5), { chainId: chain.id })
  expect(proved.block.id).toBe(await idAt(network.peer(0), 5))
  await newAccount(fresh, 'someone')
  await atHead(network.peer(0), HEAD + 1)
  // The next one gets it all from the one that took it over itself.
  await network.peer(1).close()
  const next = await network.startPeer(3)
  await atHead(next, HEAD + 1)
  // Peers offer room, and the chain goes on by itself meanwhile.
  await vi.waitFor(() => expect(next.peer.ledger.catchingUp).toBeUndefined(), WAIT)
})

test('a peer that was stopped for long takes a snapshot, and opens with it again', async () => {
  const log = new MemoryLog()
  await using network = await longNetwork({ withChain: 1, peers: 2, log }, async (it, chain) => {
    await chain.grow(200, () => 1)
    await putLedger(it, 1, await chain.entries())
  })
  const back = await network.startPeer(1)
  await atHead(back, HEAD)
  expect(log.lines.map(({ message }) => message)).toContain('taking a snapshot from other members')
  expect(await idAt(back, HEAD)).toBe(await idAt(network.peer(0), HEAD))
  expect(await idAt(back, 150)).toBe(await idAt(network.peer(0), 150))
  await back.close()
  await atHead(await network.startPeer(1), HEAD)
})

test('a validator that was stopped for long votes again behind a snapshot', async () => {
  const log = new MemoryLog()
  await using network = await TestNetwork.start({
    peers: 4,
    validators: 4,
    started: 3,
    ageMs: 3_600_000,
    catchUp,
    log,
    prepare: async (it) => {
      const chain = await LongChain.begin(it, 4)
      await chain.grow(20)
      await putLedger(it, 3, await chain.entries())
      await chain.grow(HEAD, (height) => (height < 100 ? 2 : 0))
      for (const index of [0, 1, 2]) await putLedger(it, index, await chain.entries())
    },
  })
  const back = await network.startPeer(3)
  await atHead(back, HEAD)
  expect(log.lines.map(({ message }) => message)).toContain('the ledger was rebuilt from other members')
  // Without one of the others, its votes are needed.
  await network.peer(0).close()
  await newAccount(back, 'after')
  expect(back.peer.consensus?.()?.validates).toBe(true)
})

test('at the end of an epoch a snapshot is taken, and older states go; others take it from then on', async () => {
  const log = new MemoryLog()
  await using network = await TestNetwork.start({
    peers: 2,
    started: 1,
    ageMs: 3_600_000,
    catchUp,
    log,
    prepare: async (it) => {
      const chain = await LongChain.begin(it)
      await chain.grow(EPOCH_BLOCKS - 1, (height) => (height < 100 ? 2 : 0))
      await putLedger(it, 0, await chain.entries())
    },
  })
  const first = network.peer(0)
  for (const name of ['a', 'b', 'c']) await newAccount(first, name)
  const messages = (): string[] => log.lines.map(({ message }) => message)
  await vi.waitFor(() => expect(messages()).toContain('snapshot taken'), WAIT)
  const fresh = await network.startPeer(1)
  await atHead(fresh, first.peer.chain.head.height)
  expect(messages()).toContain('taking a snapshot from other members')
  // Of what the snapshot replaced nothing is left.
  await Promise.all([first.close(), fresh.close()])
  const store = await LevelStore.open(join(first.config.dataDir, 'ledger', '000001'))
  await expect(SnapshotMaker.open(store, EPOCH_BLOCKS - 1)).rejects.toThrow('SNAPSHOT_VERSION_GONE')
  await expect(SnapshotMaker.open(store, EPOCH_BLOCKS)).resolves.toBeDefined()
  await store.close()
})
