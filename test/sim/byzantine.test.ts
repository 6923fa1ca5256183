import { expect, test } from 'vitest'
import { conspiracy } from './byzantine/conspiracy.ts'
import { testSeeds } from './suite.ts'
import { World } from './world.ts'

// Method: as in ledger.test.ts, with one to f byzantine validators, each with its attack, which go on after the faults have ended.
testSeeds(1, 'one chain and progress with byzantine validators')

// Two traitors of four are one too many: they tell the two honest ones, who don't hear each other, what each of them wants to hear.
test('where more than f validators are byzantine, a fork leaves evidence against more than f of them', async () => {
  const traitors = new Map([
    [0, conspiracy],
    [1, conspiracy],
  ])
  let forks = 0
  for (let seed = 1; seed <= 6; seed++) {
    const world = new World({ seed, validators: 4, traitors })
    world.cutBetween(2, 3)
    world.start()
    for (let count = 0; count < 6; count++) {
      await world.run(600)
      await world.submitSomething()
    }
    await world.run(2_000)
    world.network.heal()
    await world.run(10_000)
    expect(world.watch.violations).toEqual([])
    if (world.watch.forks.length > 0) {
      forks++
      expect(world.watch.guilty(0).length).toBeGreaterThanOrEqual(2)
      expect(world.watch.reports).toBeGreaterThan(0)
    }
  }
  expect(forks).toBeGreaterThan(0)
})
