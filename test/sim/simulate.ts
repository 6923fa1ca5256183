/** One seed: things go wrong for a while, then no more; safety holds throughout, and afterwards what waits becomes final. */
import { ATTACKS } from './byzantine/attacks.ts'
import { FAULTS } from './faults.ts'
import { type Scenario, describeScenario, scenarioOf } from './scenario.ts'
import { World } from './world.ts'

/** Virtual time from the end of the faults until every honest validator must have made the new transactions final. */
const LIVENESS_MS = 120_000

export interface Outcome {
  readonly seed: number
  readonly scenario: string
  readonly violations: readonly string[]
  /** Of the trace. */
  readonly digest: string
  readonly lastLines: readonly string[]
  readonly height: number
  readonly events: number
  /** Virtual milliseconds from the end of the faults until all was final. */
  readonly recoveredMs: number
}

export async function simulate(scenario: Scenario, print?: (line: string) => void): Promise<Outcome> {
  const traitors = new Map(
    [...scenario.attacks].flatMap(([index, name]) => {
      const traitor = ATTACKS[name]
      return traitor === undefined ? [] : [[index, traitor] as const]
    }),
  )
  const { faultyMs, seed, validators } = scenario
  const world = new World({ seed, validators, traitors, ...(print === undefined ? {} : { print }) })
  world.note(describeScenario(scenario))
  world.start()
  for (const name of scenario.faults) FAULTS[name]?.begin(world, faultyMs)
  for (let count = 0; count < scenario.transactions; count++) {
    world.scheduler.after(world.random.unit() * faultyMs, () => world.whenDone(world.submitSomething()))
  }
  await world.run(faultyMs)
  world.watch.checkOpinions(world.machines)
  const recoveredMs = await recover(world)
  world.watch.checkOpinions(world.machines)
  await world.audit()
  return {
    seed,
    scenario: describeScenario(scenario),
    violations: world.watch.violations,
    digest: world.trace.digest,
    lastLines: world.trace.last(30),
    height: world.watch.finalHeight,
    events: world.scheduler.events,
    recoveredMs,
  }
}

async function recover(world: World): Promise<number> {
  const { scheduler, watch } = world
  world.heal()
  const healedMs = scheduler.nowMs
  // All that crashed is up again by then.
  await world.run(200)
  const waiting = await world.submitEverywhere()
  const isDone = (): boolean => waiting.every((tx) => watch.isFinalOn(tx, world.honest))
  if (!(await world.run(LIVENESS_MS, isDone))) {
    const lacking = world.honest.filter((one) => !waiting.every((tx) => watch.isFinalOn(tx, [one])))
    watch.violate(`no progress within ${LIVENESS_MS} ms: ${world.states(lacking)}`)
  }
  return scheduler.nowMs - healedMs
}

/** Twice, since the same seed must do the same. */
export async function simulateTwice(seed: number): Promise<Outcome> {
  const scenario = scenarioOf(seed)
  const first = await simulate(scenario)
  if (first.violations.length > 0) return first
  const second = await simulate(scenario)
  if (first.digest === second.digest) return first
  return { ...second, violations: [`two runs of the seed differ: ${first.digest}, ${second.digest}`] }
}
