/** Seeds as tests: those that share what is slow to set up run in one file, so that two files run side by side. */
import { expect, test } from 'vitest'
import { simulateTwice } from './simulate.ts'

/** Of each `npm test`; `npm run test:sim` runs any number. */
const SEEDS = 300
const SEEDS_PER_TEST = 10

/** @param parity - 0: seeds of faults around the validators; 1: of byzantine validators. */
export function testSeeds(parity: 0 | 1, title: string): void {
  const seeds = Array.from({ length: SEEDS / 2 }, (_one, index) => 2 * index + parity)
  const groups = Array.from({ length: seeds.length / SEEDS_PER_TEST }, (_one, index) =>
    seeds.slice(index * SEEDS_PER_TEST, (index + 1) * SEEDS_PER_TEST),
  )
  test.each(groups.map((group) => ({ group, from: group[0], to: group.at(-1) })))(
    `seeds $from to $to: ${title}`,
    async ({ group }) => {
      for (const seed of group) {
        const { lastLines, scenario, violations } = await simulateTwice(seed)
        const again = `seed ${seed}: ${scenario}\nagain: SIM_SEED=${seed} npm run test:sim\n${lastLines.join('\n')}`
        expect(violations, again).toEqual([])
      }
    },
  )
}
