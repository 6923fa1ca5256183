/** The rules of Simplex within one epoch: simplex.pml. */
import { expect, test } from 'vitest'
import { FULL, needSpin, search } from './spin.ts'

const MODEL = 'simplex.pml'
/** What the complete searches visit; less means that the model lost transitions. */
const STATES_SHORT = 382_000
const STATES_FULL = 62_000_000

test('with one byzantine node of four no two conflicting blocks become final, in two views', async (context) => {
  needSpin(context)
  const found = await search(MODEL, ['-DSHORT'], 20)
  expect(found, found.trail).toMatchObject({ errors: 0, complete: true })
  expect(found.states).toBeGreaterThan(STATES_SHORT)
})

test.runIf(FULL)('the same in three views', async (context) => {
  needSpin(context)
  const found = await search(MODEL, [], 26)
  expect(found, found.trail).toMatchObject({ errors: 0, complete: true })
  expect(found.states).toBeGreaterThan(STATES_FULL)
})

const MUTANTS: readonly (readonly [title: string, flag: string])[] = [
  ['nullify certificates for the views between were not asked for', '-DNOGAP'],
  ['a view that was nullified could be finalized', '-DNOEXCL'],
  ['a crash made a node forget its votes', '-DAMNESIA'],
  ['two of four were byzantine', '-DNB=2'],
]

test.for(MUTANTS)('there would be a fork if %s', async ([, flag], context) => {
  needSpin(context)
  for (const flags of FULL ? [[flag], ['-DSHORT', flag]] : [['-DSHORT', flag]]) {
    expect(await search(MODEL, flags, 22, '-O0')).toMatchObject({ errors: 1, hasTrail: true })
  }
})
