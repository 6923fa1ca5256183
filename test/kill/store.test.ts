/**
 * A real process stores and removes blocks and is killed with SIGKILL at a random moment; then its folder is opened and compared
 * with what it had acknowledged. The same folder goes through all rounds. KILL_ROUNDS sets their number.
 */
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BlockStore } from '../../src/store/block-store.ts'
import { UploadJournal } from '../../src/store/upload-journal.ts'
import { runUntilKilled } from './killed-process.ts'

const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 20)
const LIFE_MS_MAX = 500
const PACK_BYTES = 4 * 1024 * 1024
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const clock = { nowMs: (): number => Date.now() }

interface Tally {
  rounds: number
  acknowledged: number
  removed: number
  checked: number
  refused: number
  openMsMax: number
}

async function tempFolder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-kill-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

function open(dir: string, ballastBytes = 0): Promise<BlockStore> {
  return BlockStore.open(
    { clock, log: silent },
    { dir, capacityBytes: 2 ** 40, reserveFreeBytes: 0, packBytes: PACK_BYTES, ballastBytes },
  )
}

/** What is known of each block: stored, removed, or (undefined) neither, since the kill came between. */
type Known = Map<string, 'stored' | 'removed' | undefined>

function learn(known: Known, lines: readonly string[], tally: Tally): void {
  for (const line of lines) {
    const [word, hex = ''] = line.split(' ')
    if (word === 'w') {
      known.set(hex, 'stored')
      tally.acknowledged++
    } else if (word === 'd') known.set(hex, undefined)
    else if (word === 'r') {
      known.set(hex, 'removed')
      tally.removed++
    } else if (word === 'f') tally.refused++
  }
}

async function checkStore(dir: string, known: Known, tally: Tally, ballastBytes = 0): Promise<void> {
  const startMs = performance.now()
  const store = await open(dir, ballastBytes)
  tally.openMsMax = Math.max(tally.openMsMax, performance.now() - startMs)
  for (const [hex, state] of known) {
    if (state !== undefined) expect(store.has(Buffer.from(hex, 'hex')), hex).toBe(state === 'stored')
  }
  // Everything that is visible is whole, acknowledged or not; a read checks the hash, and fails where it is wrong.
  for (const digest of store.digests()) {
    expect(await store.read(digest)).toBeDefined()
    tally.checked++
  }
  expect(store.stats()).toMatchObject({ damagedBlocks: 0, lostBytes: 0 })
  await store.close()
}

function report(name: string, tally: Tally, startMs: number): void {
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(1)
  console.log(
    `${name}: ${tally.rounds} kills in ${seconds} s; ${tally.acknowledged} acknowledged, ${tally.removed} removed, ` +
      `${tally.refused} refused for room, ${tally.checked} read back; slowest start ${tally.openMsMax.toFixed(0)} ms`,
  )
}

const newTally = (): Tally => ({ rounds: 0, acknowledged: 0, removed: 0, checked: 0, refused: 0, openMsMax: 0 })

test(`kill -9 loses no acknowledged block, brings none back, and shows nothing half-written (${ROUNDS} rounds)`, async () => {
  const dir = await tempFolder()
  const known: Known = new Map()
  const tally = newTally()
  const startMs = performance.now()
  for (let round = 0; round < ROUNDS; round++) {
    const args = [dir, String(round), String(PACK_BYTES), '0']
    learn(known, await runUntilKilled('store-writer.ts', args, Math.random() * LIFE_MS_MAX), tally)
    await checkStore(dir, known, tally)
    tally.rounds++
  }
  report('blocks', tally, startMs)
  expect(tally.acknowledged).toBeGreaterThan(ROUNDS)
})

test(`kill -9 loses no acknowledged segment of an upload, and no journal names a block that is not stored (${ROUNDS} rounds)`, async () => {
  const dir = await tempFolder()
  const acknowledged = new Map<string, number>()
  const tally = newTally()
  const startMs = performance.now()
  for (let round = 0; round < ROUNDS; round++) {
    const lines = await runUntilKilled('upload-writer.ts', [dir, String(round)], Math.random() * LIFE_MS_MAX)
    for (const line of lines) {
      const [, id = '', count = '0'] = line.split(' ')
      acknowledged.set(id, Number(count))
    }
    tally.acknowledged += lines.length
    const openMs = performance.now()
    const store = await open(join(dir, 'blocks'))
    const journal = await UploadJournal.open({ clock, log: silent }, { dir: join(dir, 'uploads') })
    tally.openMsMax = Math.max(tally.openMsMax, performance.now() - openMs)
    for (const [id, count] of acknowledged) {
      const session = await journal.load(id)
      expect(session?.digests.length, id).toBeGreaterThanOrEqual(count)
      for (const digest of session?.digests ?? []) expect(store.has(digest)).toBe(true)
      for (const digest of session?.digests.slice(-20) ?? []) {
        expect(await store.read(digest)).toBeDefined()
        tally.checked++
      }
    }
    await journal.close()
    await store.close()
    tally.rounds++
  }
  report('uploads', tally, startMs)
  expect(tally.acknowledged).toBeGreaterThan(ROUNDS)
})

test(`the same on a disk that is full (${ROUNDS} rounds)`, async (context) => {
  const dir = await tempFolder()
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m', 'tmpfs', dir], { stdio: 'pipe' })
  } catch (error) {
    // Where tests must not be skipped, the machine has to allow it.
    if (process.env['CI'] === 'true') throw error
    context.skip('needs root, to mount a tmpfs of 32 MiB: run `sudo npm run test:kill`')
  }
  onTestFinished(() => void execFileSync('umount', [dir]))
  const ballastBytes = 2 * 1024 * 1024
  const known: Known = new Map()
  const tally = newTally()
  const startMs = performance.now()
  for (let round = 0; round < ROUNDS; round++) {
    const args = [dir, String(round), String(PACK_BYTES), String(ballastBytes)]
    learn(known, await runUntilKilled('store-writer.ts', args, Math.random() * LIFE_MS_MAX), tally)
    await checkStore(dir, known, tally, ballastBytes)
    tally.rounds++
  }
  report('full disk', tally, startMs)
  expect(tally.refused).toBeGreaterThan(0)
})
