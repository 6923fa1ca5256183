/** What a seed stands for: how many validators, what goes wrong, who is a traitor. The faults are spread evenly over the seeds. */
import { faultyMax } from '../../src/ledger/validators.ts'
import { ATTACKS } from './byzantine/attacks.ts'
import { FAULTS } from './faults.ts'
import { Random } from './random.ts'

export interface Scenario {
  readonly seed: number
  readonly validators: number
  readonly faults: readonly string[]
  /** By the validator's index: the name of its attack. */
  readonly attacks: ReadonlyMap<number, string>
  readonly faultyMs: number
  readonly transactions: number
}

const SIZES = [4, 4, 4, 4, 5, 4, 7, 4, 3, 4, 1, 4]

/** Even seeds are faults of the surroundings, odd ones byzantine validators with at most two such faults. */
export function scenarioOf(seed: number): Scenario {
  const random = new Random(seed ^ 0x5eed)
  const turn = Math.floor(seed / 2)
  const faultNames = Object.keys(FAULTS)
  const attackNames = Object.keys(ATTACKS)
  const isByzantine = seed % 2 === 1
  const size = SIZES[turn % SIZES.length] ?? 4
  const main = faultNames[turn % faultNames.length] ?? ''
  const needed = isByzantine ? 1 : (FAULTS[main]?.compromises ?? 0)
  const validators = faultyMax(size) >= needed ? size : 4
  const attacks = new Map<number, string>()
  if (isByzantine) {
    const first = attackNames[turn % attackNames.length] ?? ''
    const indexes = random.some([...Array(validators).keys()], random.between(1, faultyMax(validators)))
    for (const [at, index] of indexes.entries()) attacks.set(index, at === 0 ? first : random.pick(attackNames))
  }
  const budget = faultyMax(validators) - attacks.size
  const faults: string[] = isByzantine ? [] : [main]
  for (const extra of random.some(faultNames, isByzantine ? random.between(0, 2) : random.between(0, 3))) {
    const used = faults.reduce((sum, name) => sum + (FAULTS[name]?.compromises ?? 0), 0)
    if (!faults.includes(extra) && used + (FAULTS[extra]?.compromises ?? 0) <= budget) faults.push(extra)
  }
  return {
    seed,
    validators,
    faults,
    attacks,
    faultyMs: random.between(3_000, 7_000),
    transactions: random.between(4, 10),
  }
}

export function describeScenario({ attacks, faults, validators }: Scenario): string {
  const traitors = [...attacks].map(([index, name]) => `validator ${index}: ${name}`)
  const all = [...faults, ...traitors]
  return `${validators} validators; ${all.length === 0 ? 'nothing goes wrong' : all.join('; ')}`
}
