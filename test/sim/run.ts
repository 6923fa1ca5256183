/**
 * `npm run test:sim -- --seeds N [--from S] [--jobs J]`: simulates seeds S to S+N-1 in J processes, and says how they went.
 * `SIM_SEED=n npm run test:sim` simulates one and prints all that happens in it.
 */
import './modules.ts'
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import type { Outcome } from './simulate.ts'

const WORKER = fileURLToPath(new URL('worker.ts', import.meta.url))
const PROGRESS_SEEDS = 100
const DEFAULT_SEEDS = '300'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: DEFAULT_SEEDS },
    from: { type: 'string', default: '0' },
    jobs: { type: 'string', default: '2' },
  },
})

/** What went wrong, with all that it takes to see it again. */
function report({ lastLines, scenario, seed, violations }: Outcome): void {
  console.log(`seed ${seed} FAILED: ${scenario}`)
  for (const violation of violations.slice(0, 5)) console.log(`  ${violation}`)
  for (const line of lastLines) console.log(`    ${line}`)
  console.log(`  again, with all lines: SIM_SEED=${seed} npm run test:sim`)
}

async function replay(seed: number): Promise<number> {
  const { simulate } = await import('./simulate.ts')
  const { scenarioOf } = await import('./scenario.ts')
  const outcome = await simulate(scenarioOf(seed), (line) => console.log(line))
  console.log(`seed ${seed}: ${outcome.scenario}; height ${outcome.height}; ${outcome.violations.length} violations`)
  for (const violation of outcome.violations) console.log(`  ${violation}`)
  return outcome.violations.length === 0 ? 0 : 1
}

async function simulateMany(from: number, count: number, jobs: number): Promise<number> {
  const startedMs = performance.now()
  const failed: number[] = []
  let [done, blocks, events] = [0, 0, 0]
  const take = (outcome: Outcome): void => {
    done++
    blocks += outcome.height
    events += outcome.events
    if (outcome.violations.length > 0) {
      failed.push(outcome.seed)
      report(outcome)
    }
    if (done % PROGRESS_SEEDS === 0) console.log(`${done} of ${count} seeds, ${failed.length} failed`)
  }
  // Side by side, each takes every J-th seed.
  const exits = await Promise.all(
    Array.from({ length: jobs }, (_one, job) => follow(spawnWorker([from + job, count - job, jobs]), take)),
  )
  const seconds = (performance.now() - startedMs) / 1_000
  const what = `${blocks} blocks, ${events} events in one of the two runs of each`
  console.log(`${done} seeds from ${from}, each twice: ${failed.length} failed; ${what}; ${seconds.toFixed(1)} s`)
  if (failed.length > 0) console.log(`failed: ${failed.join(' ')}`)
  return failed.length === 0 && exits.every((code) => code === 0) && done === count ? 0 : 1
}

function spawnWorker(args: readonly number[]): ChildProcess {
  return spawn(process.execPath, [WORKER, ...args.map(String)], { stdio: ['ignore', 'pipe', 'inherit'] })
}

async function follow(worker: ChildProcess, take: (outcome: Outcome) => void): Promise<number> {
  const ended = new Promise<number>((resolve) => worker.on('close', (code) => resolve(code ?? 1)))
  if (worker.stdout !== null) {
    for await (const line of createInterface(worker.stdout)) take(JSON.parse(line) as Outcome)
  }
  return ended
}

const replayed = process.env['SIM_SEED']
process.exitCode =
  replayed === undefined
    ? await simulateMany(Number(values.from), Number(values.seeds), Number(values.jobs))
    : await replay(Number(replayed))
