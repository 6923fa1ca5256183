/** The end of an epoch and the begin of the next, with one validator replaced: epoch.pml. */
import { expect, test } from 'vitest'
import { FULL, needSpin, search } from './spin.ts'

const MODEL = 'epoch.pml'

/** A title, how many states the complete search visits at least (fewer mean that the model lost transitions), and flags. */
type SafeSearch = readonly [title: string, statesMin: number, ...flags: string[]]

const SAFE: readonly SafeSearch[] = [
  ['no fork over both epochs, and none begins before the last is final', 10_776_000],
  ['honest votes can end each view of the old epoch, and the next leader has something to propose', 721_000, '-DLIVE'],
]

/** Without the argument by which the others go through views in order. */
const SAFE_LONG: readonly SafeSearch[] = [
  ['no fork, votes of all views in any order', 13_713_000, '-DFREE', '-DSMALL'],
  ['no fork by the key of one replaced, with nobody else faulty', 9_197_000, '-DNB=0', '-DREMOVED=1', '-DSMALL'],
]

test.for(FULL ? [...SAFE, ...SAFE_LONG] : SAFE)('%s', async ([, statesMin, ...flags], context) => {
  needSpin(context)
  const found = await search(MODEL, flags, FULL ? 25 : 23)
  expect(found, found.trail).toMatchObject({ errors: 0, complete: true })
  expect(found.states).toBeGreaterThanOrEqual(statesMin)
})

const MUTANTS: readonly (readonly [title: string, ...flags: string[]])[] = [
  ['the next epoch started from a block that is not final', '-DSTART'],
  ['the next epoch started from a block that is not final: it ends in a fork', '-DSTART', '-DFORKONLY'],
  ['a block in place of the re-proposal needed no nullify certificates', '-DNOGAP'],
  ['the last block of an epoch had a child in it', '-DCHILD'],
  ['a re-proposal needed no nullify certificates', '-DREGAP'],
  ['finalize votes of different views counted together', '-DMERGE'],
  ['votes did not carry the epoch', '-DNOEPOCH'],
  ['two of four were byzantine', '-DNB=2'],
  ['more than f were replaced at once and their keys turned byzantine', '-DNB=0', '-DREMOVED=2', '-DSMALL'],
  ['a replaced key turned byzantine beside a byzantine validator', '-DNB=1', '-DREMOVED=1', '-DSMALL'],
  ['the last block of an epoch was not proposed again', '-DLIVE', '-DNOREPROPOSE'],
  ['finalize was voted before the notarize certificate', '-DLIVE', '-DEAGER'],
]

test.for(MUTANTS)('the search finds what goes wrong if %s', async ([, ...flags], context) => {
  needSpin(context)
  expect(await search(MODEL, flags, 22, '-O0')).toMatchObject({ errors: 1, hasTrail: true })
})
