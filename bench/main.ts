/**
 * `npm run bench -- [NAME...] [--json] [--quick]`: every speed and memory that the README states, each beside a limit measured
 * in the same run. Exit status 1 when one is missed; with `--quick` small sizes, to see that the benches run.
 */
import { benchBucket } from './bucket.ts'
import { benchDegradedGet } from './degraded-get.ts'
import { benchErasure } from './erasure.ts'
import { benchFailover } from './failover.ts'
import { type Figure, printFigures } from './figure.ts'
import { benchGet } from './get.ts'
import { benchLedger } from './ledger.ts'
import { benchExecution } from './ledger-execution.ts'
import { benchMemory } from './memory.ts'
import { benchNetworkPut } from './network-put.ts'
import { benchPut } from './put.ts'
import { benchRepair } from './repair.ts'
import { benchScale } from './scale.ts'
import { benchSeal } from './seal.ts'
import { benchState } from './state.ts'

const BENCHES: Readonly<Record<string, (options: { quick: boolean }) => Promise<Figure[]>>> = {
  seal: benchSeal,
  put: benchPut,
  get: benchGet,
  memory: benchMemory,
  'network-put': benchNetworkPut,
  repair: benchRepair,
  failover: benchFailover,
  'degraded-get': benchDegradedGet,
  erasure: benchErasure,
  bucket: benchBucket,
  state: benchState,
  execution: benchExecution,
  ledger: benchLedger,
  scale: benchScale,
}

const flags = process.argv.slice(2).filter((argument) => argument.startsWith('--'))
const named = process.argv.slice(2).filter((argument) => !argument.startsWith('--'))
const unknown = [
  ...named.filter((name) => !(name in BENCHES)),
  ...flags.filter((flag) => !['--json', '--quick'].includes(flag)),
]
if (unknown.length > 0) {
  process.stderr.write(
    `no bench or option ${unknown.join(', ')}; benches: ${Object.keys(BENCHES).join(', ')}; options: --json, --quick\n`,
  )
  process.exit(2)
}
const quick = flags.includes('--quick')
const figures: Figure[] = []
for (const name of named.length > 0 ? named : Object.keys(BENCHES)) {
  const bench = BENCHES[name]
  if (bench === undefined) continue
  if (!flags.includes('--json')) process.stderr.write(`${name} …\n`)
  const found = await bench({ quick })
  figures.push(...found)
  if (flags.includes('--json')) printFigures(found, true)
}
if (!flags.includes('--json')) printFigures(figures, false)
// Small sizes measure the start of processes, not the speed: there only running counts.
if (!quick && figures.some((figure) => !figure.ok)) process.exitCode = 1
