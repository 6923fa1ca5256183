/** Runs Spin over the models of this folder: model to C, C to a program, and the program searches. */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TestContext } from 'vitest'

/** `npm run test:model -- --full` sets it. */
export const FULL = process.env['MODEL_SEARCH'] === 'full'

const PROGRAMS = ['spin', 'gcc']
const DEPTH_MAX = 1_000
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024
/** Steps of a trail that a failure shows. */
const TRAIL_LINES = 200

export interface SearchResult {
  /** Violated assertions; the search ends at the first. */
  readonly errors: number
  readonly hasTrail: boolean
  /** Whether every reachable state was visited. */
  readonly complete: boolean
  readonly states: number
  readonly tookMs: number
  /** Where there is a trail: its steps, and the state that it ends in. */
  readonly trail: string
}

/** Skips the test where a program is missing; under `CI=true` that is a failure. */
export function needSpin(context: TestContext): void {
  const missing = PROGRAMS.filter((program) => spawnSync(program, ['--version']).error !== undefined)
  if (missing.length === 0) return
  const message = `needs ${missing.join(' and ')}: apt-get install spin gcc`
  if (process.env['CI'] === 'true') throw new Error(message)
  console.warn(`skipped: ${message}`)
  context.skip(message)
}

/**
 * Searches a model's states.
 *
 * @param model - file of this folder.
 * @param flags - such as `-DNOGAP`; what they mean stands at the top of the model.
 * @param tableLog2 - slots of the hash table, as a power of two: about as many as there are states; 8 bytes each.
 * @param optimize - `-O0` compiles in a tenth of the time; for searches that end soon.
 */
export async function search(
  model: string,
  flags: readonly string[],
  tableLog2: number,
  optimize: '-O0' | '-O2' = '-O2',
): Promise<SearchResult> {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-model-'))
  try {
    const source = fileURLToPath(new URL(model, import.meta.url))
    await run('spin', [...flags, '-a', source], dir)
    // SAFETY: assertions only, no cycles. States are kept whole: hash compaction (-DHC4) passed over one in 180 of them.
    await run('gcc', [optimize, '-DSAFETY', '-DNOFAIR', '-o', 'pan', 'pan.c'], dir)
    const startMs = performance.now()
    const report = await run(join(dir, 'pan'), [`-m${DEPTH_MAX}`, `-w${tableLog2}`], dir)
    const tookMs = performance.now() - startMs
    const trailFile = join(dir, `${model}.trail`)
    const hasTrail = existsSync(trailFile)
    const replay = hasTrail ? await run('spin', [...flags, '-k', trailFile, '-t', '-p', '-g', source], dir) : ''
    const states = Number(/(\d+(?:\.\d+)?(?:e\+\d+)?) states, stored/.exec(report)?.[1] ?? 0)
    const complete = !/Search not completed|max search depth too small|out of memory|reached -DMEMLIM/i.test(report)
    const errors = /errors: (\d+)/.exec(report)?.[1]
    if (errors === undefined) throw new Error(`the search of ${model} ended without a result: ${report.slice(-2_000)}`)
    const trail = replay.split('\n').slice(-TRAIL_LINES).join('\n')
    console.log(`${[model, ...flags].join(' ')}: ${errors} errors, ${states} states, ${(tookMs / 1_000).toFixed(1)} s`)
    return { errors: Number(errors), hasTrail, complete, states, tookMs, trail }
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, maxBuffer: OUTPUT_BYTES_MAX }, (error, stdout, stderr) => {
      // Spin and pan say by their output what they found; a status other than 0 is a crash or a model that doesn't parse.
      if (error === null) resolve(stdout)
      else
        reject(new Error(`${program} failed (${String(error.code)}): ${stderr.slice(-2_000)}${stdout.slice(-2_000)}`))
    })
  })
}
