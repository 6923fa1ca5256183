/**
 * Makes Node load the simulation's form of `#native`, and one rule of the production code broken where a mutant is asked for.
 * Imported for its effect before anything of src/ is.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'
import { MUTANTS, type Mutant, mutate } from './mutants/mutants.ts'

const NATIVE = new URL('native.ts', import.meta.url).href
const ROOT = new URL('../../', import.meta.url)

const mutant = MUTANTS.find(({ name }) => name === process.env['SIM_MUTANT'])
if (mutant === undefined && process.env['SIM_MUTANT'] !== undefined) {
  throw new Error(`no mutant is called "${process.env['SIM_MUTANT']}"`)
}

registerHooks({
  resolve: (specifier, context, next) => (specifier === '#native' ? next(NATIVE, context) : next(specifier, context)),
  load: (url, context, next) =>
    mutant !== undefined && url === new URL(mutant.file, ROOT).href
      ? { format: 'module-typescript', source: sourceOf(mutant, url), shortCircuit: true }
      : next(url, context),
})

function sourceOf(one: Mutant, url: string): string {
  return mutate(one, readFileSync(fileURLToPath(url), 'utf8'))
}
