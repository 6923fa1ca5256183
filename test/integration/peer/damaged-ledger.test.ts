/** A ledger that a disk has damaged: the peer rebuilds it from the others, and what else it keeps stays. */
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { concat } from 'uint8arrays/concat'
import { fromString } from 'uint8arrays/from-string'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { EPOCH_BLOCKS } from '../../../src/core/limits.ts'
import { cborCid } from '../../../src/crypto/hash.ts'
import { LevelStore } from '../../../src/store/level-store.ts'
import { PrefixStore } from '../../../src/store/prefix-store.ts'
import { MemoryLog } from '../p2p/test-peer.ts'
import { LongChain, putLedger } from './long-chain.ts'
import { TestNetwork, newAccount, type TestPeer } from './network.ts'

const WAIT = { timeout: 30_000, interval: 25 }
const SHORT = 60
const LONG = EPOCH_BLOCKS + 5
const catchUp = { snapshotBlocks: 500, chunkBytes: 4_096 }

async function damagedNetwork(blocks: number, log: MemoryLog, validators = 1): Promise<TestNetwork> {
  return TestNetwork.start({
    peers: Math.max(2, validators),
    validators,
    ageMs: 3_600_000,
    catchUp,
    log,
    prepare: async (it) => {
      const chain = await LongChain.begin(it, validators)
      await chain.grow(blocks, (height) => (height < 100 ? 2 : 0))
      const entries = await chain.entries()
      for (let index = 0; index < Math.max(2, validators); index++) await putLedger(it, index, entries)
    },
  })
}

/** The folder that is in use. */
async function ledgerOf(peer: TestPeer): Promise<string> {
  const dir = join(peer.config.dataDir, 'ledger')
  const number = (await readFile(join(dir, 'CURRENT'), 'utf8')).trim()
  return join(dir, number.padStart(6, '0'))
}

async function filesOf(folder: string, pattern: RegExp): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => pattern.test(name))
  return names.map((name) => join(folder, name))
}

/** Flips a byte in each stretch of 512 from a third of the file on. */
async function corrupt(file: string): Promise<void> {
  const bytes = await readFile(file)
  for (let at = Math.floor(bytes.length / 3); at < bytes.length; at += 512) bytes[at] = (bytes[at] ?? 0) ^ 0xff
  await writeFile(file, bytes)
}

async function cut(file: string): Promise<void> {
  const bytes = await readFile(file)
  await writeFile(file, bytes.subarray(0, Math.floor(bytes.length / 2)))
}

async function expectRebuilt(peer: TestPeer, other: TestPeer): Promise<void> {
  const height = other.peer.chain.head.height
  const idAt = async (one: TestPeer): Promise<string | undefined> =>
    (await one.peer.chain.reader.plainHeaderAt(height))?.id.toString()
  // More damage may show between two looks: the chain begins anew then.
  await vi.waitFor(async () => {
    expect(peer.peer.chain.head.height).toBeGreaterThanOrEqual(height)
    expect(await idAt(peer)).toBe(await idAt(other))
  }, WAIT)
  await vi.waitFor(() => expect(peer.peer.ledger.catchingUp).toBeUndefined(), WAIT)
}

/** @throws {StoreError} `STORE_DATABASE_DAMAGED` */
async function readAll(at: TestPeer, blocks: number): Promise<void> {
  const { reader } = at.peer.chain
  for await (const _entry of reader.list('account', new Uint8Array(0))) continue
  for (let height = 1; height <= blocks; height++) await reader.bodyAt(height)
}

const DAMAGE: readonly (readonly [string, RegExp, (file: string) => Promise<void>])[] = [
  ['a manifest with flipped bytes', /^MANIFEST/, corrupt],
  ['a manifest that is cut', /^MANIFEST/, cut],
  ['a log with flipped bytes', /\.log$/, corrupt],
  ['a log that is cut', /\.log$/, cut],
  ['tables with flipped bytes', /\.ldb$/, corrupt],
  ['tables that are cut', /\.ldb$/, cut],
  ['an empty file of the current state', /^CURRENT$/, async (file) => writeFile(file, '')],
  ['a lost file of the current state', /^CURRENT$/, async (file) => rm(file)],
  ['a current state with a flipped bit', /^CURRENT$/, async (file) => writeFile(file, 'MANIFESt-000004\n')],
]

describe.each([
  ['short', SHORT],
  ['long', LONG],
])('the ledger of a %s chain', (_name, blocks) => {
  let network: TestNetwork
  beforeAll(async () => {
    network = await damagedNetwork(blocks, new MemoryLog())
  })
  afterAll(async () => network[Symbol.asyncDispose]())

  test.each(DAMAGE)('with %s is rebuilt, and the peer goes on', async (what, pattern, damage) => {
    const [whole, hurt] = [network.peer(0), network.peer(1)]
    await hurt.close()
    // A short chain lies in the log as a whole, and has no table yet.
    for (const file of await filesOf(await ledgerOf(hurt), pattern)) await damage(file)
    const back = await network.startPeer(1)
    // Damage of what a start doesn't read shows here.
    await vi.waitFor(async () => readAll(back, blocks), WAIT)
    await expectRebuilt(back, whole)
    await newAccount(back, what)
    await expectRebuilt(back, whole)
  })
})

test('damage found while reading is said, and mended while the peer runs; the damaged ledger is set aside', async () => {
  const log = new MemoryLog()
  await using network = await damagedNetwork(LONG, log)
  const [whole, hurt] = [network.peer(0), network.peer(1)]
  await hurt.close()
  const alone = await network.startPeer(1, [])
  for (const file of await filesOf(await ledgerOf(hurt), /\.ldb$/)) await corrupt(file)
  await expect(readAll(alone, LONG)).rejects.toThrow('STORE_DATABASE_DAMAGED')
  await vi.waitFor(
    () => expect(alone.peer.ledger.catchingUp).toMatchObject({ fault: { code: 'LEDGER_NOT_FOUND' } }),
    WAIT,
  )
  // With another member there, it is mended.
  await alone.peer.host.dial(whole.peer.host.getMultiaddrs())
  await vi.waitFor(() => expect(alone.peer.ledger.catchingUp).toBeUndefined(), WAIT)
  await expectRebuilt(alone, whole)
  await readAll(alone, LONG)
  expect((await stat(join(hurt.config.dataDir, 'ledger', 'damaged'))).isDirectory()).toBe(true)
  await newAccount(alone, 'after')
})

/** Flips a bit of each value whose key begins so, as a sector does that rots: LevelDB itself doesn't see it. */
async function rot(dir: string, prefix: Uint8Array): Promise<number> {
  const encoding = { keyEncoding: 'view', valueEncoding: 'view' }
  const database = new ClassicLevel<Uint8Array, Uint8Array>(dir, encoding)
  let count = 0
  for await (const [key, value] of database.iterator({ gte: prefix, lt: concat([prefix, new Uint8Array([0xff])]) })) {
    const altered = Uint8Array.from(value)
    altered[0] = (altered[0] ?? 0) ^ 1
    await database.put(key, altered)
    count++
  }
  await database.close()
  return count
}

test('damage that a start comes upon once the ledger is open: the ledger is set aside, and fetched from the others', async () => {
  await using network = await damagedNetwork(SHORT, new MemoryLog())
  const [whole, hurt] = [network.peer(0), network.peer(1)]
  await hurt.close()
  expect(await rot(await ledgerOf(hurt), fromString('s\u000bmember-peer'))).toBeGreaterThan(0)
  const back = await network.startPeer(1)
  await expectRebuilt(back, whole)
  expect((await stat(join(hurt.config.dataDir, 'ledger', 'damaged'))).isDirectory()).toBe(true)
  await newAccount(back, 'after')
})

test('notes without the file that names their manifest are saved, not begun anew', async () => {
  await using network = await damagedNetwork(SHORT, new MemoryLog())
  const hurt = network.peer(1)
  await hurt.peer.pins.add(cborCid(new Uint8Array([1])))
  await hurt.close()
  await rm(join(hurt.config.dataDir, 'state', 'CURRENT'))
  const back = await network.startPeer(1)
  expect(back.peer.pins.list()).toHaveLength(1)
})

test('damage that a start comes upon in the notes: what is whole of them is saved', async () => {
  await using network = await damagedNetwork(SHORT, new MemoryLog())
  const hurt = network.peer(1)
  const notes = join(hurt.config.dataDir, 'state')
  const pin = async (peer: TestPeer, byte: number): Promise<boolean> =>
    peer.peer.pins.add(cborCid(new Uint8Array([byte])))
  await pin(hurt, 1)
  await hurt.close()
  expect(await rot(notes, fromString('pins/'))).toBe(1)
  const store = await LevelStore.open(notes)
  await store.batch([{ key: fromString('objects/whole'), value: new Uint8Array([1]) }])
  await store.close()
  const back = await network.startPeer(1)
  expect(back.peer.pins.list()).toEqual([])
  await back.close()
  const saved = await LevelStore.open(notes)
  expect(await saved.get(fromString('objects/whole'))).toEqual(new Uint8Array([1]))
  await saved.close()
  expect(await readdir(hurt.config.dataDir)).toContain('state-damaged')
})

test("a state that is another than the validators' is noticed with the next block, and rebuilt", async () => {
  const log = new MemoryLog()
  await using network = await damagedNetwork(LONG, log)
  const [whole, hurt] = [network.peer(0), network.peer(1)]
  await hurt.close()
  // As a lost batch would leave it: the values are gone, and nothing else is wrong.
  const store = await LevelStore.open(await ledgerOf(hurt))
  const institutions = fromString('s\u000binstitution')
  for await (const { key } of store.range({ from: institutions, to: concat([institutions, new Uint8Array([0xff])]) })) {
    await store.batch([{ key, value: undefined }])
  }
  await store.close()
  const back = await network.startPeer(1)
  expect(back.peer.chain.head.height).toBe(LONG)
  await newAccount(whole, 'someone')
  await vi.waitFor(
    () => expect(log.lines.map(({ fields }) => JSON.stringify(fields)).join()).toContain('LEDGER_DIFFERS'),
    WAIT,
  )
  await expectRebuilt(back, whole)
  await newAccount(back, 'after')
  await expectRebuilt(back, whole)
})

test('a validator whose ledger is rebuilt votes on from its vote log, and against nothing that it said', async () => {
  const log = new MemoryLog()
  await using network = await damagedNetwork(SHORT, log, 4)
  await newAccount(network.peer(3), 'before')
  await network.peer(3).close()
  await newAccount(network.peer(0), 'meanwhile')
  for (const file of await filesOf(await ledgerOf(network.peer(3)), /^(MANIFEST.*|CURRENT)$/))
    await writeFile(file, 'x')
  const back = await network.startPeer(3)
  await expectRebuilt(back, network.peer(0))
  // Without one of the others, its votes are needed.
  await network.peer(1).close()
  await newAccount(back, 'after')
  const said = log.lines.map(({ message }) => message)
  expect(said).toContain('the ledger is damaged: set aside, and fetched from the others')
  expect(said).not.toContain('a validator made two votes that exclude each other')
})

test('a peer whose own notes are damaged starts with what could be saved, and its validator only with its vote log', async () => {
  await using network = await damagedNetwork(SHORT, new MemoryLog())
  const hurt = network.peer(0)
  const notes = join(hurt.config.dataDir, 'state')
  await newAccount(hurt, 'before')
  await hurt.close()
  for (const file of await filesOf(notes, /^MANIFEST/)) await cut(file)
  const back = await network.startPeer(0)
  await newAccount(back, 'after')
  expect(back.peer.consensus?.()?.halted).toBeUndefined()
  await back.close()
  for (const file of await filesOf(notes, /^(MANIFEST|.*\.log|.*\.ldb)/)) await corrupt(file)
  await rm(join(hurt.config.dataDir, 'votes'), { recursive: true })
  const again = await network.startPeer(0)
  await vi.waitFor(() => expect(again.peer.consensus?.()?.halted?.code).toBe('VOTE_LOG_MISSING'), WAIT)
})

test('a ledger that an earlier version kept among the notes is moved, and is the same', async () => {
  await using network = await TestNetwork.start({
    peers: 1,
    ageMs: 3_600_000,
    prepare: async (it) => {
      const chain = await LongChain.begin(it)
      await chain.grow(SHORT, () => 1)
      const notes = await LevelStore.open(join(it.configs[0]?.dataDir ?? '', 'state'))
      await new PrefixStore(notes, 'chain/').batch(await chain.entries())
      await notes.close()
    },
  })
  const [only] = network.peers
  if (only === undefined) throw new Error('a peer was started')
  expect(only.peer.chain.head.height).toBe(SHORT)
  await newAccount(only, 'after')
  await only.close()
  const notes = await LevelStore.open(join(only.config.dataDir, 'state'))
  const left: Uint8Array[] = []
  const everything = { from: new Uint8Array(0), to: new Uint8Array([0xff]) }
  for await (const { key } of new PrefixStore(notes, 'chain/').range(everything)) left.push(key)
  await notes.close()
  expect(left).toEqual([])
  expect((await network.startPeer(0)).peer.chain.head.height).toBeGreaterThan(SHORT)
})
