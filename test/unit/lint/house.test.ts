import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const ROOT = fileURLToPath(new URL('../../../', import.meta.url))

interface Planted {
  readonly name: string
  readonly path: string
  readonly text: string
  readonly rule: string
}

const direction = (path: string, text: string): Planted => ({
  name: `${path}: ${text}`,
  path,
  text,
  rule: 'house(import-direction)',
})
const impure = (text: string, folder = 'core'): Planted => ({
  name: `src/${folder}: ${text}`,
  path: `src/${folder}/planted.ts`,
  text,
  rule: 'house(pure)',
})
const general = (rule: string, text: string): Planted => ({
  name: `${rule}: ${text}`,
  path: 'src/peer/p.ts',
  text,
  rule,
})

const PLANTED: readonly Planted[] = [
  direction('src/core/a.ts', `import { x } from '../crypto/hash.ts'\nexport const y = x`),
  direction('src/crypto/a.ts', `export { x } from '../ledger/header.ts'`),
  direction('src/ledger/a.ts', `export * from '../domain/records.ts'`),
  direction('src/domain/a.ts', `export const x = await import('../consensus/step.ts')`),
  direction('src/consensus/a.ts', `import type { X } from '../shards/manifest.ts'\nexport type Y = X`),
  direction('src/shards/a.ts', `export type Y = import('../store/block-store.ts').BlockStore`),
  direction('src/store/a.ts', `import { x } from '../p2p/host.ts'\nexport const y = x`),
  direction('src/p2p/deep/a.ts', `import { x } from '../../peer/compose.ts'\nexport const y = x`),
  direction('src/peer/a.ts', `import { x } from '.././gateway/server.ts'\nexport const y = x`),
  direction('src/gateway/a.ts', `import { x } from '../cli/main.ts'\nexport const y = x`),
  direction('src/web/a.ts', `import { x } from '../peer/compose.ts'\nexport const y = x`),
  direction('src/cli/a.ts', `import { x } from '../web/app.ts'\nexport const y = x`),
  direction('src/cli/b.ts', `import { x } from '../../bench/main.ts'\nexport const y = x`),
  direction('src/cli/c.ts', `const name: string = 'x'\nexport const y = await import('../peer/' + name)`),
  direction('src/utils/a.ts', `import { x } from '../core/ids.ts'\nexport const y = x`),
  direction('src/ledger/b.ts', `import { x } from '#native'\nexport const y = x`),
  direction('src/crypto/b.ts', `import { x } from './native/node.ts'\nexport const y = x`),

  impure(`import { readFile } from 'node:fs/promises'\nexport const x = readFile`),
  impure(`import { readFile } from 'fs'\nexport const x = readFile`, 'crypto'),
  impure(`export const x = await import('node:crypto')`, 'ledger'),
  impure(`export type X = import('node:stream').Readable`, 'domain'),
  impure(`import { ClassicLevel } from 'classic-level'\nexport const x = ClassicLevel`, 'consensus'),
  impure(`import fastify from 'fastify'\nexport const x = fastify`, 'shards'),
  impure(`import { pino } from 'pino'\nexport const x = pino`),
  impure(`export const x = Date.now()`),
  impure(`export const x = new Date()`, 'ledger'),
  impure(`export const x = Date()`),
  impure(`const D = Date\nexport const x = D.now()`),
  impure(`export const x = Math.random()`, 'shards'),
  impure(`const { random } = Math\nexport const x = random()`),
  impure(`setTimeout(() => 0, 1)`, 'consensus'),
  impure(`setInterval(() => 0, 1)`),
  impure(`setImmediate(() => 0)`),
  impure(`queueMicrotask(() => 0)`),
  impure(`export const x = AbortSignal.timeout(5)`),
  impure(`export const x = process.env`),
  impure(`export const x = Buffer.alloc(1)`),
  impure(`export const x = fetch('http://localhost')`),
  impure(`export const x = crypto.getRandomValues(new Uint8Array(1))`, 'crypto'),
  impure(`export const x = performance.now()`),
  impure(`export const x = globalThis.setTimeout`),
  impure(`export const x = new WebSocket('ws://localhost')`),
  impure(`export const x = import.meta.url`),
  impure(`console.log('x')`, 'domain'),

  general('typescript(no-floating-promises)', `const f = async () => 1\nf()`),
  general('typescript(no-explicit-any)', `export const x: any = 1`),
  general('eslint(no-unused-vars)', `const x = 1`),
  general('eslint(no-console)', `console.log(1)`),
  general('eslint(eqeqeq)', `export const f = (x: unknown) => x == 1`),
  general('eslint(no-empty)', `try {\n  await Promise.resolve()\n} catch {}`),
  general('import(no-default-export)', `export default 1`),
  general('typescript(consistent-type-imports)', `import { CID } from 'multiformats/cid'\nexport type X = CID`),
]

const CLEAN: readonly (readonly [path: string, text: string])[] = [
  ['src/core/clean.ts', `export const y = new Date(1_000).getTime() + Date.UTC(2026, 1) + Math.max(1, 2)\n`],
  ['src/core/shadow.ts', `export const f = (process: number, Buffer: number): number => process + Buffer\n`],
  ['src/core/words.ts', `/** process.env and Date.now() */\nexport const x = { fetch: 'node:fs', performance: 1 }\n`],
  [
    'src/crypto/clean.ts',
    `import { randomBytes } from '#native'\nimport { y } from '../core/clean.ts'\nexport const x = [randomBytes, y]\n`,
  ],
  [
    'src/crypto/native/node.ts',
    `import * as node from 'node:crypto'\nexport const randomBytes = [node.randomBytes, Buffer.alloc(1)]\n`,
  ],
  [
    'src/consensus/clean.ts',
    `import { CID } from 'multiformats/cid'\nimport { x } from '../ledger/clean.ts'\nexport const y = [CID, x]\n`,
  ],
  ['src/ledger/clean.ts', `import { y } from '../core/clean.ts'\nexport const x = y\n`],
  [
    'src/store/clean.ts',
    `import { open } from 'node:fs/promises'\nimport { y } from '../core/clean.ts'\nexport const x = [open, y, Date.now()]\n`,
  ],
  ['src/cli/clean.ts', `import { x } from '../store/clean.ts'\nconsole.log(x)\nexport { x }\n`],
  ['src/web/clean.ts', `import { y } from '../core/clean.ts'\nexport const x = y\n`],
  ['test/clean.ts', `import { x } from '../src/cli/clean.ts'\nexport const y = x\n`],
]

interface Report {
  readonly diagnostics: readonly { readonly code: string; readonly filename: string; readonly message: string }[]
}

let dir: string
const found = new Map<string, string[]>()

/** oxlint exits with 1 when it finds something: its report is on stdout all the same. */
async function lint(): Promise<Report> {
  const bin = join(ROOT, 'node_modules/oxlint/bin/oxlint')
  const args = [bin, '--type-aware', '--no-ignore', '-f', 'json', '.']
  const run = promisify(execFile)(process.execPath, args, { cwd: dir, maxBuffer: 16 * 1024 * 1024 })
  const output = await run.then(
    ({ stdout }) => stdout,
    (error: { stdout: string }) => error.stdout,
  )
  return JSON.parse(output) as Report
}

// One run over all files: what is planted lies in a folder of its own, so that each file stands for itself.
beforeAll(async () => {
  dir = await realpath(await mkdtemp(join(tmpdir(), 'apotheca-lint-')))
  const files = [...CLEAN, ...PLANTED.map(({ path, text }, index) => [plantedPath(path, index), `${text}\n`] as const)]
  for (const [path, text] of files) {
    await mkdir(dirname(join(dir, path)), { recursive: true })
    await writeFile(join(dir, path), text)
  }
  await layProject()
  for (const { code, filename } of (await lint()).diagnostics) {
    found.set(filename, [...(found.get(filename) ?? []), code])
  }
}, 30_000)

afterAll(async () => {
  await rm(dir, { recursive: true, force: true })
})

/** The project's own configuration and packages, around files that aren't the project's. */
async function layProject(): Promise<void> {
  const config = JSON.parse(await readFile(join(ROOT, '.oxlintrc.json'), 'utf8')) as { jsPlugins: string[] }
  const jsPlugins = config.jsPlugins.map((path) => join(ROOT, path))
  await writeFile(join(dir, '.oxlintrc.json'), JSON.stringify({ ...config, jsPlugins }))
  const imports = { '#native': './src/crypto/native/node.ts' }
  await writeFile(join(dir, 'package.json'), JSON.stringify({ type: 'module', imports }))
  const tsconfig = JSON.parse(await readFile(join(ROOT, 'tsconfig.json'), 'utf8')) as object
  await writeFile(join(dir, 'tsconfig.json'), JSON.stringify({ ...tsconfig, include: ['src', 'test'] }))
  await symlink(join(ROOT, 'node_modules'), join(dir, 'node_modules'), 'junction')
}

/** The same folder, a name per case. */
function plantedPath(path: string, index: number): string {
  return join(dirname(path), `planted-${index}.ts`)
}

describe('a planted violation is caught', () => {
  test.each(PLANTED.map((planted, index) => ({ ...planted, index })))('$name', ({ path, index, rule }) => {
    expect(found.get(plantedPath(path, index))).toContain(rule)
  })
})

test.each(CLEAN)('a clean file passes: %s', (path) => {
  expect(found.get(path)).toBeUndefined()
})
