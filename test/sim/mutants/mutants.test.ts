import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import type { Outcome } from '../simulate.ts'
import { MUTANTS } from './mutants.ts'

const WORKER = fileURLToPath(new URL('../worker.ts', import.meta.url))
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024

// Each in a process of its own, in which Node loads the broken rule in place of the right one.
test.each(MUTANTS)('a validator that $name is noticed', async ({ from, name, noticed, seedsMax, step }) => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [WORKER, String(from), String(step * seedsMax), String(step), 'stop'],
    { env: { ...process.env, SIM_MUTANT: name }, maxBuffer: OUTPUT_BYTES_MAX },
  )
  const outcomes = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Outcome)
  const violations = outcomes.at(-1)?.violations ?? []
  expect(violations, `${outcomes.length} seeds say nothing`).not.toEqual([])
  expect(violations.join('\n')).toMatch(noticed)
})
