/** `npm run check`: format, lint, types, unused code; each with its time, and its output only when it fails. */
import { join } from 'node:path'
import { run } from './build.mjs'

const CHECKS = [
  { name: 'format', tool: 'biome', command: ['@biomejs/biome/bin/biome', 'format', '.'] },
  { name: 'lint', tool: 'oxlint', command: ['oxlint/bin/oxlint', '--type-aware'] },
  { name: 'types', tool: 'tsc', command: ['typescript/bin/tsc', '-p', 'tsconfig.json'] },
  { name: 'unused', tool: 'knip', command: ['knip/bin/knip.js', '--no-progress'] },
]

/**
 * @param {{ root: string, node: string, env: NodeJS.ProcessEnv }} context
 * @param {readonly string[]} names - only these checks, when any are named.
 * @returns {Promise<number>} exit status: 0 when all passed.
 */
export async function check({ root, node, env }, names) {
  const chosen = CHECKS.filter(({ name }) => names.length === 0 || names.includes(name))
  if (chosen.length === 0) {
    console.error(`apotheca: no such check; there are: ${CHECKS.map(({ name }) => name).join(', ')}`)
    return 2
  }
  let failed = 0
  for (const { name, tool, command } of chosen) {
    const startedMs = performance.now()
    const [script, ...args] = command
    const { status, output } = await run(node, [join(root, 'node_modules', script), ...args], root, env)
    const seconds = ((performance.now() - startedMs) / 1000).toFixed(1)
    if (status !== 0) {
      failed++
      console.log(output.trimEnd())
    }
    console.log(`${status === 0 ? 'ok  ' : 'FAIL'}  ${name.padEnd(7)} ${tool.padEnd(7)} ${seconds.padStart(5)} s`)
  }
  return failed === 0 ? 0 : 1
}
