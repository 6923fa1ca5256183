// Method: one peer, a world of a few hundred steps in virtual block time that goes on within each round of collection, crashes at one durable
// step in 250. A failure prints its seed; SIM_SEED=<n> runs it alone.
import { expect, test } from 'vitest'
import { CollectionWorld } from './collection.ts'

const given = process.env['SIM_SEED']
const seeds =
  given === undefined ? Array.from({ length: Number(process.env['SIM_N'] ?? 200) }, (_, seed) => seed) : [Number(given)]

test('no block that is held, promised or waits for placement is removed, and no acknowledged column is lost', async () => {
  let [removed, crashes, erased] = [0, 0, 0]
  for (const seed of seeds) {
    const world = new CollectionWorld(seed)
    await world.run(120)
    expect([...world.violations, ...world.lost()], `seed ${seed}: ${world.trace.slice(-20).join('\n')}`).toEqual([])
    // Once nothing is stored any more and all limits have passed, what nothing needs is gone.
    expect(await world.settle(), `seed ${seed}`).toBe(0)
    expect([...world.violations, ...world.lost()], `seed ${seed}, at the end`).toEqual([])
    removed += world.removed
    crashes += world.crashes
    erased += world.erased
  }
  // The world was one in which there was something to lose.
  if (given === undefined) {
    expect(removed).toBeGreaterThan(1_000)
    expect(crashes).toBeGreaterThan(100)
    expect(erased).toBeGreaterThan(50)
  }
}, 600_000)
