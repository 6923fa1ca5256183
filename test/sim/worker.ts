/**
 * Simulates seeds, one after the other, and writes an outcome a line: `node test/sim/worker.ts FROM COUNT STEP [stop]`.
 *
 * With `stop` it ends at the first violation. `SIM_MUTANT` names a rule that is broken.
 */
import './modules.ts'

const { simulateTwice } = await import('./simulate.ts')

const [from = 0, count = 1, step = 1] = process.argv.slice(2, 5).map(Number)
const isStopping = process.argv[5] === 'stop'

for (let seed = from; seed < from + count; seed += step) {
  const outcome = await simulateTwice(seed)
  process.stdout.write(`${JSON.stringify(outcome)}\n`)
  if (isStopping && outcome.violations.length > 0) break
}
