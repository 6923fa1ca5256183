import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseInstitutionId } from '../../../src/core/ids.ts'
import {
  type NextValidators,
  type ValidatorChange,
  changesMax,
  planValidators,
} from '../../../src/domain/validator-plan.ts'
import { type Validator, faultyMax } from '../../../src/ledger/validators.ts'
import { seedOf } from '../ledger/network.ts'

const validator = (name: string, key = name): Validator => ({ institution: parseInstitutionId(name), key: seedOf(key) })
const rosterOf = (count: number): Validator[] => Array.from({ length: count }, (_one, index) => validator(`v${index}`))
const add = (name: string): ValidatorChange => ({ kind: 'add', ...validator(name) })
const rotate = (name: string, key: string): ValidatorChange => ({ kind: 'rotate', ...validator(name, key) })
const remove = (name: string): ValidatorChange => ({ kind: 'remove', institution: parseInstitutionId(name) })

/** Suspended keys, in the order of their suspension. */
const suspendedIn = (...keys: string[]): ((key: Uint8Array) => number | undefined) => {
  const order = new Map(keys.map((key, index) => [seedOf(key).join(), index + 1]))
  return (key) => order.get(key.join())
}
const nobody = suspendedIn()

function plan(
  roster: readonly Validator[],
  queue: readonly ValidatorChange[],
  suspended = nobody,
  validators: readonly Validator[] = roster,
): NextValidators {
  return planValidators({ validators, roster, queue }, suspended)
}
const namesOf = (validators: readonly Validator[]): string => validators.map(({ institution }) => institution).join(' ')

/** Counted otherwise than the plan does. */
function differing(before: readonly Validator[], after: readonly Validator[]): number {
  const keys = (list: readonly Validator[]): Map<string, string> =>
    new Map(list.map(({ institution, key }) => [institution, key.join()]))
  const [a, b] = [keys(before), keys(after)]
  return [...new Set([...a.keys(), ...b.keys()])].filter((name) => a.get(name) !== b.get(name)).length
}

describe('the next validators', () => {
  test('are those of now, where nothing was approved', () => {
    expect(plan(rosterOf(4), [])).toEqual({ validators: rosterOf(4), roster: rosterOf(4), waiting: [] })
  })

  test('have new ones behind the old ones, rotated ones in their place', () => {
    expect(namesOf(plan(rosterOf(4), [add('late')]).validators)).toBe('v0 v1 v2 v3 late')
    expect(plan(rosterOf(4), [rotate('v2', 'other')]).validators[2]).toEqual(validator('v2', 'other'))
    expect(namesOf(plan(rosterOf(4), [remove('v1')]).validators)).toBe('v0 v2 v3')
  })

  test('differ in at most f, or one; what is too much waits in its order', () => {
    const queue = [add('a'), add('b'), remove('v0')]
    expect([1, 3, 4, 7, 10].map((n) => plan(rosterOf(n), queue).waiting.length)).toEqual([2, 2, 2, 1, 0])
    const { roster, waiting } = plan(rosterOf(4), queue)
    expect(namesOf(roster)).toBe('v0 v1 v2 v3 a')
    expect(waiting).toEqual(queue.slice(1))
  })

  test('see the changes of one institution in their order', () => {
    const queue = [remove('v0'), rotate('v1', 'second'), rotate('v1', 'third')]
    const { waiting } = plan(rosterOf(4), queue)
    expect(waiting).toEqual(queue.slice(1))
    expect(plan(rosterOf(7), queue)).toMatchObject({ waiting: [] })
  })

  test('are never none: the last one is not removed, and what makes no sense any more is passed over', () => {
    const queue = [remove('v0'), add('v0'), rotate('other', 'k'), remove('other')]
    expect(plan(rosterOf(1), queue)).toEqual({ validators: rosterOf(1), roster: rosterOf(1), waiting: [] })
    expect(plan(rosterOf(2), [rotate('v0', 'v1')]).roster).toEqual(rosterOf(2))
  })

  test('do not hold who is suspended, as far as the protocol tolerates: at most f of those approved', () => {
    const left = (n: number, ...keys: string[]): string =>
      namesOf(plan(rosterOf(n), [], suspendedIn(...keys)).validators)
    expect(left(4, 'v1')).toBe('v0 v2 v3')
    expect(left(4, 'v3', 'v1')).toBe('v0 v1 v2')
    expect(left(3, 'v1')).toBe('v0 v1 v2')
    expect(left(1, 'v0')).toBe('v0')
    expect(left(7, 'v0', 'v1', 'v2')).toBe('v2 v3 v4 v5 v6')
  })

  test('hold a suspended institution again once it has another key that was approved', () => {
    const out = suspendedIn('v1')
    const { validators } = plan(rosterOf(4), [], out)
    const back = plan(rosterOf(4), [rotate('v1', 'fresh')], out, validators)
    expect(namesOf(back.validators)).toBe('v0 v1 v2 v3')
  })

  test('keep every bound through any history of approvals and evidence', () => {
    const name = fc.constantFrom('v0', 'v1', 'v2', 'v3', 'v4', 'a', 'b', 'c')
    const change = fc.oneof(
      name.map(add),
      name.map(remove),
      fc.tuple(name, fc.string()).map(([of, key]) => rotate(of, key)),
    )
    const epoch = fc.record({
      approved: fc.array(change, { maxLength: 4 }),
      guilty: fc.option(name, { nil: undefined }),
    })
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 8 }), fc.array(epoch, { maxLength: 12 }), (n, epochs) => {
        let now: NextValidators = { validators: rosterOf(n), roster: rosterOf(n), waiting: [] }
        const guilty: string[] = []
        for (const step of epochs) {
          if (step.guilty !== undefined && !guilty.includes(step.guilty)) guilty.push(step.guilty)
          const queue = [...now.waiting, ...step.approved]
          const next = plan(now.roster, queue, suspendedIn(...guilty), now.validators)
          expect(differing(now.validators, next.validators)).toBeLessThanOrEqual(changesMax(now.validators.length))
          expect(next.validators.length).toBeGreaterThanOrEqual(next.roster.length - faultyMax(next.roster.length))
          expect(next.roster.length).toBeGreaterThanOrEqual(1)
          expect(new Set(next.roster.map(({ institution }) => institution)).size).toBe(next.roster.length)
          expect(new Set(next.roster.map(({ key }) => key.join())).size).toBe(next.roster.length)
          expect(next.validators.every((one) => next.roster.includes(one))).toBe(true)
          expect(next.waiting.every((one) => queue.includes(one))).toBe(true)
          now = next
        }
      }),
      { numRuns: 300 },
    )
  })

  test('take over everything that was approved, one boundary after the other', () => {
    const queue = 'abcdefgh'.split('').map((letter) => add(letter))
    let now: NextValidators = { validators: rosterOf(4), roster: rosterOf(4), waiting: queue }
    let boundaries = 0
    for (; now.waiting.length > 0; boundaries++) now = plan(now.roster, now.waiting, nobody, now.validators)
    expect(now.validators).toHaveLength(12)
    expect(boundaries).toBeLessThanOrEqual(queue.length)
  })
})
