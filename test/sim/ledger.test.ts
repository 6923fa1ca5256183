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

test('clocks of which no two agree stop the chain, slowly and without filling anything; set right, it goes on', async () => {
  const world = new World({ seed: 2, validators: 4 })
  world.start()
  const before = await world.submitEverywhere()
  expect(await world.run(5_000, () => before.every((tx) => world.watch.isFinalOn(tx, world.honest)))).toBe(true)
  for (const [index, machine] of world.machines.entries()) machine.setClock(1, index * 5_000)
  await world.submitEverywhere()
  const { finalHeight } = world.watch
  await world.run(1_800_000)
  expect(world.watch.finalHeight).toBe(finalHeight)
  const views = world.honest.flatMap(({ process }) => {
    const state = process?.replica?.state
    return state === undefined ? [] : [state.view - state.final.view]
  })
  expect(views).toHaveLength(4)
  // Some thirty at the speed of messages, then one in a minute.
  expect(Math.max(...views)).toBeGreaterThan(40)
  expect(Math.max(...views)).toBeLessThan(120)
  // A restart forgets how slow it was; a minute later it is as slow again.
  world.machines[1]?.crash('power')
  await world.run(60_000)
  world.heal()
  await world.run(200)
  const waiting = await world.submitEverywhere()
  expect(await world.run(200_000, () => waiting.every((tx) => world.watch.isFinalOn(tx, world.honest)))).toBe(true)
  expect(world.watch.violations).toEqual([])
})
