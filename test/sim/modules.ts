/**
 * Makes Node load the simulation's form of `#native`, and one rule of the production code broken where a mutant is asked for.
 * Imported for its effect before anything of src/ is.
 */
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { fileURLToPath } from 'node:url'
import { MUTANTS, mutate } from './mutants/mutants.ts'

const NATIVE = new URL('native.ts', import.meta.url).href
const ROOT = new URL('../../', import.meta.url)

const mutant = MUTANTS.find(({ name }) => name === process.env['SIM_MUTANT'])
if (mutant === undefined && process.env['SIM_MUTANT'] !== undefined) {
  throw new Error(`no mutant is called "${process.env['SIM_MUTANT']}"`)
}

registerHooks({
  resolve: (specifier, context, next) => (specifier === '#native' ? next(NATIVE, context) : next(specifier, context)),
  load: (url, context, next) => {
    const edits = mutant?.edits.filter(({ file }) => url === new URL(file, ROOT).href) ?? []
    if (mutant === undefined || edits.length === 0) return next(url, context)
    const source = edits.reduce(
      (text, edit) => mutate(mutant.name, edit, text),
      readFileSync(fileURLToPath(url), 'utf8'),
    )
    return { format: 'module-typescript', source, shortCircuit: true }
  },
})
