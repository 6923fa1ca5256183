/**
 * Installs what package-lock.json names and finds the project's own Node, for scripts/run.mjs. Plain JavaScript without dependencies: this runs under
 * any Node from 18 on, before anything is installed.
 */
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const NODE_MAJOR_MIN = 24
/** What a waiting task looks at the lock with; an install takes tens of seconds. */
const LOCK_POLL_MS = 200
/** A lock whose holder wrote no process id within this time belongs to a process that died while taking it. */
const LOCK_ANONYMOUS_MS = 5_000
const NPM_OUTPUT_LINES_SHOWN = 30

/** A failure whose message is all that the reader needs: no stack. */
export class TaskFailure extends Error {}

/**
 * Runs `work` while no other process on this machine runs it for the same folder and name.
 *
 * @param {string} root
 * @param {string} name
 * @param {() => void | Promise<void>} work - must look again whether there is still anything to do.
 */
export async function exclusively(root, name, work) {
  // Not inside node_modules or dist: both are replaced as a whole while the lock is held.
  const lock = join(tmpdir(), `apotheca-${name}-${createHash('sha256').update(root).digest('hex').slice(0, 16)}.lock`)
  const holderFile = join(lock, 'pid')
  let told = false
  while (!take(lock)) {
    if (isAbandoned(lock, holderFile)) {
      rmSync(lock, { recursive: true, force: true })
      continue
    }
    if (!told) console.error(`apotheca: waiting for another ${name} of this folder`)
    told = true
    await sleep(LOCK_POLL_MS)
  }
  try {
    writeFileSync(holderFile, String(process.pid))
    await work()
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}

function take(lock) {
  try {
    mkdirSync(lock)
    return true
  } catch (error) {
    if (error.code === 'EEXIST') return false
    throw error
  }
}

function isAbandoned(lock, holderFile) {
  try {
    const pid = Number(readFileSync(holderFile, 'utf8'))
    if (pid > 0) return !isAlive(pid)
    return Date.now() - statSync(lock).mtimeMs > LOCK_ANONYMOUS_MS
  } catch {
    // No process id yet, or the lock has just gone: the next round sees which.
    return existsSync(lock) && Date.now() - statSync(lock).mtimeMs > LOCK_ANONYMOUS_MS
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/**
 * Installs what package-lock.json names, unless that is what node_modules holds.
 *
 * @param {string} root - the project's folder.
 * @throws {TaskFailure} with what npm said.
 */
export async function ensureInstalled(root) {
  if (isInstalled(root)) return
  await exclusively(root, 'install', async () => {
    if (isInstalled(root)) return
    console.error('apotheca: installing what package-lock.json names, once; this takes about a minute')
    const startedMs = Date.now()
    const { status, output } = await npmInstall(root)
    if (status !== 0) {
      const shown = output.trim().split('\n').slice(-NPM_OUTPUT_LINES_SHOWN).join('\n')
      throw new TaskFailure(
        `${shown}\napotheca: npm install failed (${status}). Is the npm registry reachable? To see all: npm install --no-save`,
      )
    }
    rememberInstalled(root)
    console.error(`apotheca: installed in ${Math.round((Date.now() - startedMs) / 1000)} s`)
  })
}

const lockHash = (root) =>
  createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
const stampFile = (root) => join(root, 'node_modules', '.apotheca-lock')

function rememberInstalled(root) {
  writeFileSync(stampFile(root), lockHash(root))
}

function isInstalled(root) {
  const hidden = join(root, 'node_modules', '.package-lock.json')
  if (!existsSync(hidden)) return false
  if (existsSync(stampFile(root)) && readFileSync(stampFile(root), 'utf8') === lockHash(root)) return true
  // Someone ran npm by hand: as good as ours when it installed the same.
  if (!isSameTree(packagesOf(join(root, 'package-lock.json')), packagesOf(hidden))) return false
  rememberInstalled(root)
  return true
}

const packagesOf = (file) => JSON.parse(readFileSync(file, 'utf8')).packages

/** Whether all that the lock file asks for on every platform is installed, and nothing in another version. */
function isSameTree(wanted, installed) {
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true
    const found = installed[path]
    if (found === undefined) return entry.optional === true || entry.devOptional === true || entry.peer === true
    return found.version === entry.version
  })
}

function npmInstall(root) {
  // Not `npm ci`: it refuses a lock file made where the registry had no binaries for other platforms. With --no-save, what the
  // lock names is installed in exactly its version and checked by its hash all the same.
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--no-progress', '--loglevel=error']
  // Under `npm run`, the npm that runs us; else the one on the path.
  const own = process.env['npm_execpath']
  const byNode = own !== undefined && /npm-cli\.c?js$/.test(own) && existsSync(own)
  const command = byNode ? process.execPath : process.platform === 'win32' ? 'npm.cmd' : 'npm'
  return new Promise((resolve, reject) => {
    const child = spawn(command, byNode ? [own, ...args] : args, {
      cwd: root,
      // npm hands its own options down as variables: `--json` for a task must not change how npm installs.
      env: withoutNpmOptions(process.env),
      stdio: ['ignore', 'pipe', 'pipe'],
      shell: process.platform === 'win32' && !byNode,
    })
    let output = ''
    const keep = (chunk) => {
      output = (output + chunk).slice(-64 * 1024)
    }
    child.stdout.on('data', keep)
    child.stderr.on('data', keep)
    child.on('error', (error) => {
      const message =
        error.code === 'ENOENT' ? 'npm is not on the path: install Node 20 or later with npm.' : error.message
      reject(new TaskFailure(`apotheca: ${message}`))
    })
    child.on('close', (code, signal) => resolve({ status: code ?? signal, output }))
  })
}

/** Keeps what says where the registry is and how to reach it. */
function withoutNpmOptions(env) {
  return Object.fromEntries(
    Object.entries(env).filter(([name]) => !/^npm_config_(json|silent|loglevel|dry_run)$/i.test(name)),
  )
}

/**
 * The Node that the project runs under.
 *
 * @param {string} root
 * @returns {string} path of an executable.
 * @throws {TaskFailure} where there is none, with what to do.
 */
export function projectNode(root) {
  const folder = join(root, 'node_modules', 'node')
  const own = join(folder, 'bin', process.platform === 'win32' ? 'node.exe' : 'node')
  if (existsSync(own)) return own
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR_MIN) return process.execPath
  const installer = join(folder, 'installArchSpecificPackage.js')
  if (existsSync(installer)) {
    // npm was told to run no install scripts; this one only fetches the package that holds the binary.
    console.error('apotheca: fetching Node 24 (its install script has not run)')
    const env = { ...withoutNpmOptions(process.env), npm_config_ignore_scripts: 'false' }
    spawnSync(process.execPath, [installer], { cwd: folder, env, stdio: 'ignore' })
  }
  if (existsSync(own)) return own
  throw new TaskFailure(
    `apotheca: Node ${NODE_MAJOR_MIN} is needed; this is ${process.version}, and the one of the "node" package is missing.\n` +
      'Either run "npm rebuild node --ignore-scripts=false", or put Node 24 first on the path.',
  )
}
