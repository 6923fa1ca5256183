import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import type { ChainId } from '../../src/core/ids.ts'
import { VoteLog } from '../../src/store/vote-log.ts'
import { runUntilKilled } from './killed-process.ts'

const ROUNDS = Number(process.env['KILL_ROUNDS'] ?? 20)
const LIFE_MS_MAX = 500
const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const chain = 'bafyreigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi' as ChainId

function numbersOf(log: VoteLog): number[] {
  return log.records.map(({ type, payload }) => {
    const number = new DataView(payload.buffer, payload.byteOffset).getFloat64(0)
    expect(type).toBe(number % 3)
    for (const byte of payload.subarray(8)) if (byte !== number % 256) throw new Error(`record ${number} is not whole`)
    return number
  })
}

test(`kill -9 loses no acknowledged record of a vote log, leaves no gap, and is never taken for damage (${ROUNDS} rounds)`, async () => {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-kill-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  let acknowledged = -1
  let keptFrom = 0
  let replaced = 0
  let openMsMax = 0
  const startMs = performance.now()
  for (let round = 0; round < ROUNDS; round++) {
    for (const line of await runUntilKilled('vote-writer.ts', [dir, String(round)], Math.random() * LIFE_MS_MAX)) {
      const [word, number] = line.split(' ')
      if (word === 'a') acknowledged = Number(number)
      if (word === 'k') {
        keptFrom = Number(number)
        replaced++
      }
    }
    const openMs = performance.now()
    const publicKey = new Uint8Array(32).fill(1)
    const log = await VoteLog.open({ log: silent }, { dir, chain, publicKey, mustExist: true })
    openMsMax = Math.max(openMsMax, performance.now() - openMs)
    const numbers = numbersOf(log)
    if (acknowledged >= 0) expect(numbers[0], `round ${round}`).toBeLessThanOrEqual(keptFrom)
    for (const [i, number] of numbers.entries()) expect(number, `round ${round}`).toBe((numbers[0] ?? 0) + i)
    expect(numbers.at(-1) ?? -1, `round ${round}`).toBeGreaterThanOrEqual(acknowledged)
    acknowledged = numbers.at(-1) ?? -1
    await log.close()
  }
  const seconds = ((performance.now() - startMs) / 1_000).toFixed(1)
  console.log(
    `vote log: ${ROUNDS} kills in ${seconds} s; ${acknowledged + 1} records, ${replaced} replacements; slowest start ${openMsMax.toFixed(0)} ms`,
  )
  expect(acknowledged).toBeGreaterThan(ROUNDS)
})
