import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { listRecordsOfPatient } from '../../../src/domain/records.ts'
import { Chain } from '../../../src/ledger/chain.ts'
import { LevelStore } from '../../../src/store/level-store.ts'
import { MemoryStore } from '../../../src/store/memory-store.ts'
import { TestChain } from './network.ts'
import { sampleChain } from './samples.ts'

let dir: string
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'apotheca-chain-'))
})
afterEach(() => rm(dir, { recursive: true, force: true }))

test('on a real disk, in memory and in a map a chain has the same head, and on disk it is there again', async () => {
  const { ada, first, second, test: source, third } = await sampleChain()
  const peer = new TestChain()
  peer.nowMs = source.nowMs
  const open = (store: LevelStore | MemoryStore): Promise<Chain> =>
    Chain.open({ ...peer.deps, store }, { genesisBytes: peer.genesisBytes })
  const memory = await open(new MemoryStore())
  let level = await LevelStore.open(dir)
  let disk = await open(level)
  for (const block of [first, second, third]) {
    expect(await memory.acceptBlock(block)).toBe('accepted')
    expect(await disk.acceptBlock(block)).toBe('accepted')
    await level.close()
    level = await LevelStore.open(dir)
    disk = await open(level)
    expect(disk.head).toEqual(memory.head)
  }
  expect(disk.head).toEqual(source.chain.head)
  const ids: string[] = []
  for await (const { record } of listRecordsOfPatient(disk.reader, ada.id)) ids.push(record.id)
  expect(ids).toHaveLength(1)
  await level.close()
})
