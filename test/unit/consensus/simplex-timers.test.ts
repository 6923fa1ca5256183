import { expect, test } from 'vitest'
import { deltaMs, growthAfterFinal, growthInView } from '../../../src/consensus/simplex-timers.ts'
import {
  CONSENSUS_DELTA_MS_MAX,
  CONSENSUS_FULL_VIEWS_MAX,
  CONSENSUS_GROWTH_KEPT_MAX,
} from '../../../src/core/limits.ts'
import { Bench } from './bench.ts'

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

test('where view after view is given up, a leader proposes at once up to some views above the final block, and then after Δ', () => {
  const bench = new Bench({ leads: 2 })
  const built: number[] = []
  for (let view = 1; view <= 41; view++) {
    bench.learn('nullify', view)
    built.push(...bench.wanted('build').map((one) => one.view))
  }
  expect([bench.state.view, built]).toEqual([42, [2, 6, 10, 14, 18, 22, 26, 30]])
  expect(deltaMs(bench.state)).toBe(CONSENSUS_DELTA_MS_MAX)
  // As its own timers wake it.
  let proposed: number[] = []
  for (let timer = bench.wanted('timer').at(-1); timer !== undefined && proposed.length === 0; ) {
    bench.wait(timer.atMs - bench.nowMs)
    proposed = bench.wanted('build').map((one) => one.view)
    timer = bench.wanted('timer').at(-1)
  }
  expect([proposed, bench.nowMs, bench.ballots()]).toEqual([[42], CONSENSUS_DELTA_MS_MAX, []])
})

test('what was proposed in views that were given up takes no more room than a certificate for each', () => {
  const bench = new Bench({ leads: 2 })
  const last = 2 * CONSENSUS_FULL_VIEWS_MAX
  for (let view = 1; view <= last; view++) {
    const block = bench.block(view)
    if (bench.leader(view) !== bench.me) bench.propose(block)
    bench.answer()
    bench.makeDurable()
    expect(bench.state.views.get(view)?.proposal?.justify.nullifyCerts.length ?? view - 1).toBe(view - 1)
    bench.learn('nullify', view)
  }
  const proposals = [...bench.state.views.values()].flatMap(({ proposal }) => proposal ?? [])
  expect(proposals.length).toBeGreaterThan(last / 2)
  expect(proposals.flatMap(({ justify }) => justify.nullifyCerts)).toEqual([])
  const views = [...bench.state.blocks.values()].map(({ block }) => block.header.view)
  // A little while they may be asked for.
  expect([Math.min(...views) > last - CONSENSUS_FULL_VIEWS_MAX, views.length > CONSENSUS_FULL_VIEWS_MAX / 2]).toEqual([
    true,
    true,
  ])
})
