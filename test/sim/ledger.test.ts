import { expect, test } from 'vitest'
import { testSeeds } from './suite.ts'
import { World } from './world.ts'

// Method: one to seven validators, the production replica, chain and mempool; some seconds of virtual time with one to four kinds of
// faults; then none, and what waits must become final. Each seed twice, with equal traces.
testSeeds(0, 'one chain under faults, and progress after them')

test('an idle network makes a block each ten seconds, says little between, and starts at once when something comes', async () => {
  const world = new World({ seed: 1, validators: 4 })
  world.start()
  await world.run(60_000)
  const idle = world.watch.finalHeight
  expect(idle).toBeGreaterThanOrEqual(4)
  expect(idle).toBeLessThanOrEqual(8)
  const eventsBefore = world.scheduler.events
  await world.run(9_000)
  // One block at most, and the timers of each machine.
  expect(world.scheduler.events - eventsBefore).toBeLessThan(300)
  const startMs = world.scheduler.nowMs
  const waiting = await world.submitEverywhere()
  const isDone = (): boolean => waiting.every((tx) => world.watch.isFinalOn(tx, world.honest.slice(0, 4)))
  expect(await world.run(2_000, isDone)).toBe(true)
  expect(world.scheduler.nowMs - startMs).toBeLessThan(1_000)
  expect(world.watch.violations).toEqual([])
})
