/**
 * Runs a task of package.json: `node scripts/run.mjs NAME [arguments]`.
 *
 * Works in a fresh clone under any Node from 18 on: what is missing is installed first, then the task runs under the
 * project's own Node 24. Where nothing is missing this costs one stat and one hash.
 */
import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildWhenStale, build } from './build.mjs'
import { check } from './check.mjs'
import { ensureInstalled, projectNode, TaskFailure } from './install.mjs'

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))
/** npm forwards a signal that the terminal has already sent: two within this time are one. */
const SIGNAL_REPEAT_MS = 500
const PARENT_POLL_MS = 1_000

const vitest = (...projects) => [
  'node_modules/vitest/vitest.mjs',
  'run',
  ...projects.flatMap((name) => ['--project', name]),
]

/**
 * Each task: a command line for the project's Node, or a function. With `built`, dist/ is brought up to date before,
 * since daemons run from there: they start faster and take less memory than under type stripping.
 */
const TASKS = {
  demo: { built: true, command: ['scripts/demo.ts'] },
  test: { command: vitest('unit', 'contract', 'integration', 'sim') },
  'test:sim': { command: ['test/sim/run.ts'] },
  'test:fuzz': { command: ['scripts/fuzz.ts'] },
  'test:kill': { built: true, command: vitest('kill') },
  'test:browser': { command: vitest('browser') },
  'test:interop': { built: true, command: vitest('interop') },
  'interop:setup': { command: ['scripts/interop-setup.ts'] },
  'test:model': { run: testModel },
  bench: { built: true, command: ['bench/main.ts'] },
  check: { run: check },
  build: { run: build },
  docs: { command: ['scripts/docs.ts'] },
  format: { command: ['node_modules/@biomejs/biome/bin/biome', 'format', '--write', '.'] },
}

/** Runs a command under the project's Node, as if it were this process. @returns {Promise<number>} its exit status. */
function execute(node, args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(node, args, { cwd: ROOT, env, stdio: 'inherit' })
    let lastMs = 0
    const forward = (signal) => {
      // At a terminal, Ctrl-C has reached the child by itself: it is in the same group.
      if (signal === 'SIGINT' && process.stdin.isTTY) return
      const nowMs = Date.now()
      if (nowMs - lastMs < SIGNAL_REPEAT_MS) return
      lastMs = nowMs
      child.kill(signal)
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, forward)
    // npm passes a SIGTERM to a shell between it and us, which ends without passing it on.
    const parent = process.ppid
    const watchParent = () => {
      if (process.ppid !== parent) forward('SIGTERM')
    }
    if (process.env['npm_execpath'] !== undefined) setInterval(watchParent, PARENT_POLL_MS).unref()
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)))
  })
}

/** With `--full` every search of the models is complete; without it, those that end within a minute. */
function testModel({ env, node }, args) {
  const full = args.includes('--full')
  const rest = args.filter((arg) => arg !== '--full')
  return execute(node, [...vitest('model'), ...rest], { ...env, MODEL_SEARCH: full ? 'full' : 'short' })
}

async function main([name, ...args]) {
  const task = Object.hasOwn(TASKS, name ?? '') ? TASKS[name] : undefined
  if (task === undefined)
    throw new TaskFailure(`apotheca: no task "${name ?? ''}"; there are: ${Object.keys(TASKS).join(', ')}`)
  await ensureInstalled(ROOT)
  const node = projectNode(ROOT)
  // What a task starts by the name of "node", or through a script's first line, is the same Node.
  const env = {
    ...process.env,
    PATH: [dirname(node), join(ROOT, 'node_modules', '.bin'), process.env['PATH']].join(delimiter),
  }
  const context = { root: ROOT, node, env }
  if (task.built === true) await buildWhenStale(context)
  return task.run === undefined ? execute(node, [...task.command, ...args], env) : task.run(context, args)
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof TaskFailure)) throw error
  console.error(error.message)
  process.exitCode = 1
}
