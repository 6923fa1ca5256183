/** Builds dist/ from src/: compiled once, run often. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { exclusively, TaskFailure } from './install.mjs'

const CLI = 'cli/main.js'
/** What decides about the output besides the sources. */
const SETTINGS = ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts/build.mjs']

/**
 * @param {{ root: string, node: string, env: NodeJS.ProcessEnv }} context
 * @returns {Promise<number>} exit status.
 */
export async function build(context) {
  await exclusively(context.root, 'build', () => compile(context))
  return 0
}

/** Builds when a source, or a setting of the build, is not what the last build saw. */
export async function buildWhenStale(context) {
  if (isFresh(context.root)) return
  await exclusively(context.root, 'build', async () => {
    if (!isFresh(context.root)) await compile(context)
  })
}

const stampFile = (root) => join(root, 'dist', '.built')
const isFresh = (root) => existsSync(stampFile(root)) && readFileSync(stampFile(root), 'utf8') === fingerprint(root)

/** Names, sizes and times of all that goes in: as sure as hashing the contents for a tree that editors and git write. */
function fingerprint(root) {
  const hash = createHash('sha256')
  const files = [...filesBelow(join(root, 'src')), ...SETTINGS.map((name) => join(root, name))]
  for (const file of files.sort()) {
    const { size, mtimeMs } = statSync(file)
    hash.update(`${file}\0${size}\0${mtimeMs}\n`)
  }
  return hash.digest('hex')
}

function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    return entry.isDirectory() ? filesBelow(path) : [path]
  })
}

async function compile({ root, node, env }) {
  const seen = fingerprint(root)
  const dist = join(root, 'dist')
  const { status, output } = await run(
    node,
    [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'],
    root,
    env,
  )
  if (status !== 0) throw new TaskFailure(`${output.trim()}\napotheca: the build failed; "npm run check" shows all.`)
  mkdirSync(dist, { recursive: true })
  removeOrphans(root, dist)
  writeFileSync(join(dist, 'package.json'), `${JSON.stringify(distPackage(root), null, 2)}\n`)
  const cli = join(dist, CLI)
  if (existsSync(cli)) chmodSync(cli, 0o755)
  writeFileSync(stampFile(root), seen)
}

/** dist/ is a package of its own, so that `#native` means the compiled form there and the source in src/. */
function distPackage(root) {
  const { version, imports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const compiled = (path) => path.replace(/^\.\/src\//, './').replace(/\.ts$/, '.js')
  const mapped = Object.entries(imports).map(([name, conditions]) => [
    name,
    Object.fromEntries(Object.entries(conditions).map(([condition, path]) => [condition, compiled(path)])),
  ])
  return { type: 'module', version, imports: Object.fromEntries(mapped) }
}

/** What was compiled from a source that is no longer there would still be found by an import. */
function removeOrphans(root, dist) {
  for (const file of filesBelow(dist)) {
    if (!file.endsWith('.js')) continue
    const source = join(root, 'src', `${file.slice(dist.length + 1, -'.js'.length)}.ts`)
    if (!existsSync(source)) rmSync(file)
  }
}

/** @returns {Promise<{ status: number, output: string }>} with stdout and stderr in the order they came. */
export function run(command, args, cwd, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
    })
    child.stderr.on('data', (chunk) => {
      output += chunk
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ status: code ?? 1, output }))
  })
}
