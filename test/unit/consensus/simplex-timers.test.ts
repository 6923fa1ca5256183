import { expect, test } from 'vitest'
import { growthAfterFinal, growthInView } from '../../../src/consensus/simplex-timers.ts'
import { CONSENSUS_GROWTH_KEPT_MAX } from '../../../src/core/limits.ts'

/** Growth after views of which some are given up, in a pattern that repeats; each other one makes its block final. */
function growthAfter(pattern: readonly boolean[], views: number): number {
  let growth = 0
  for (let view = 1; view <= views; view++) {
    const isGivenUp = pattern[view % pattern.length] === true
    growth = growthInView({ final: { view: view - 1 }, growth, view: view + 1 }, isGivenUp)
    if (!isGivenUp) growth = growthAfterFinal(growth)
  }
  return growth
}

test('where no view is given up, Δ stays as it was configured', () => {
  expect(growthAfter([false], 100)).toBe(0)
})

test('where every other view is given up, Δ is too small for this machine, and grows', () => {
  expect(growthAfter([true, false], 8)).toBeGreaterThan(1)
  expect(growthAfter([true, false], 100)).toBeGreaterThanOrEqual(CONSENSUS_GROWTH_KEPT_MAX)
})

test('one leader of four that is gone does not make Δ grow', () => {
  expect(growthAfter([true, false, false, false], 100)).toBeLessThanOrEqual(1)
})

test('what an outage made of Δ is forgotten with the first final block', () => {
  expect(growthAfterFinal(20)).toBe(CONSENSUS_GROWTH_KEPT_MAX)
})
