import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

/** Remembers verdicts and signatures: see there. */
const SIM_NATIVE = fileURLToPath(new URL('test/sim/native.ts', import.meta.url))

/** One project per suite, so that each has its own time limits and `npm test` runs those that need nothing but npm. */
const suite = (name: string, timeoutMs: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    environment: 'node' as const,
    // Processes, not threads: native modules, exit handlers and process-wide limits are as in production.
    pool: 'forks' as const,
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
  },
})

export default defineConfig({
  test: {
    projects: [
      suite('unit', 10_000),
      suite('contract', 30_000),
      suite('integration', 60_000),
      { ...suite('sim', 120_000), resolve: { alias: { '#native': SIM_NATIVE } } },
      suite('kill', 600_000),
      suite('model', 3_600_000),
      suite('interop', 300_000),
      suite('browser', 120_000),
    ],
  },
})
