/**
 * A real process stores and removes blocks in a bucket behind a real S3 server and is killed with SIGKILL at a random moment; then
 * the store is opened and compared with what it had acknowledged. KILL_ROUNDS sets the number of rounds.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { S3BlockStore } from '../../src/store/s3-block-store.ts'
import { TestS3 } from '../unit/store/s3-server.ts'
import { silent } from '../unit/store/setup.ts'
import { runUntilKilled } from './killed-process.ts'

const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 20)
const LIFE_MS_MAX = 1_500

test(`kill -9 loses no acknowledged block of a bucket, and brings none back (${ROUNDS} rounds)`, async () => {
  const server = await TestS3.start()
  onTestFinished(async () => server[Symbol.asyncDispose]())
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-kill-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  /** What is known of each block: stored, removed, or (undefined) neither, since the kill came between. */
  const known = new Map<string, 'stored' | 'removed' | undefined>()
  let [acknowledged, removed, checked] = [0, 0, 0]
  const check = async (store: S3BlockStore, hexes: Iterator<string>): Promise<void> => {
    for (let next = hexes.next(); next.done !== true; next = hexes.next()) {
      const state = known.get(next.value)
      if (state === undefined) continue
      const digest = new Uint8Array(Buffer.from(next.value, 'hex'))
      expect(store.has(digest), next.value).toBe(state === 'stored')
      if (state !== 'stored') continue
      // A read checks the hash.
      expect(await store.read(digest)).toBeDefined()
      checked++
    }
  }
  const startMs = performance.now()
  for (let round = 0; round < ROUNDS; round++) {
    const lines = await runUntilKilled(
      's3-writer.ts',
      [dir, server.endpoint, String(round)],
      Math.random() * LIFE_MS_MAX,
    )
    const fresh = new Set<string>()
    for (const line of lines) {
      const [word = '', hex = ''] = line.split(' ')
      if (word === 'o') continue
      fresh.add(hex)
      known.set(hex, ({ w: 'stored', r: 'removed' } as const)[word])
      if (word === 'w') acknowledged++
      if (word === 'r') removed++
    }
    await server.idle()
    const store = await S3BlockStore.open(
      { log: silent },
      { s3: server.options(), dir, owner: 'a peer', capacityBytes: 2 ** 40, ballastBytes: 0 },
    )
    // All of this round, and in the end all of all rounds.
    const hexes = (round === ROUNDS - 1 ? known.keys() : fresh.values()) as Iterator<string>
    await Promise.all(Array.from({ length: 8 }, async () => check(store, hexes)))
    expect(store.stats()).toMatchObject({ damagedBlocks: 0 })
    await store.close()
    // Half of the rounds begin as after a clean stop, half as after a crash.
    if (round % 2 === 0) await rm(join(dir, 'bucket.index'))
  }
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(1)
  console.log(
    `bucket: ${ROUNDS} kills in ${seconds} s; ${acknowledged} acknowledged, ${removed} removed, ${checked} read back`,
  )
  expect(acknowledged).toBeGreaterThan(ROUNDS)
})
