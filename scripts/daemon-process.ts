/** Daemons and CLI commands as real processes: what the demo, the benches and the integration tests drive. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { createWriteStream, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)))

/** How the CLI is started: built for the demo and the benches, from the sources for tests. */
export type CliEntry = 'dist' | 'src'
const ENTRY: Readonly<Record<CliEntry, string>> = { dist: 'dist/cli/main.js', src: 'src/cli/main.ts' }

export interface CliResult {
  readonly status: number
  readonly stdout: string
  readonly stderr: string
  readonly tookMs: number
}

/** What the first line of the CLI asks of malloc and of Node; it can't be set once they run (docs/decisions/0042-garbage-collection.md). */
const [malloc = '', nodeFlags = ''] = (readFileSync(join(ROOT, ENTRY.src), 'utf8').split('\n', 1)[0] ?? '')
  .replace('#!/usr/bin/env -S ', '')
  .split(' node ')
const MALLOC: Readonly<Record<string, string>> = Object.fromEntries(
  malloc.split(' ').map((word): [string, string] => [word.split('=')[0] ?? '', word.split('=')[1] ?? '']),
)
const NODE_FLAGS = nodeFlags.split(' ')

/** What a fault looks like with `--json`. */
export interface CliFaultOutput {
  readonly fault: string
  readonly sentence: string
  readonly todo: string
  readonly fields: Readonly<Record<string, unknown>>
}

/**
 * Starts a CLI command and leaves it running.
 *
 * @param within - a command that starts it elsewhere, such as `ip netns exec NAME`.
 */
export function spawnCli(entry: CliEntry, args: readonly string[], within: readonly string[] = []): ChildProcess {
  const [command = process.execPath, ...rest] = [
    ...within,
    process.execPath,
    ...NODE_FLAGS,
    join(ROOT, ENTRY[entry]),
    ...args,
  ]
  return spawn(command, rest, { cwd: ROOT, env: { ...process.env, ...MALLOC }, stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Runs a CLI command to its end. */
export async function runCli(entry: CliEntry, args: readonly string[]): Promise<CliResult> {
  const started = performance.now()
  const child = spawnCli(entry, args)
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const status = await new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(code ?? (signal === null ? 1 : 128)))
  })
  return { status, stdout, stderr, tookMs: performance.now() - started }
}

/** A command that must succeed, with `--json`. @returns its document. */
export async function cliJson<T>(entry: CliEntry, args: readonly string[]): Promise<T & { readonly tookMs: number }> {
  const { status, stderr, stdout, tookMs } = await runCli(entry, [...args, '--json'])
  if (status !== 0) throw new Error(`apotheca ${args.join(' ')}: exit ${status}: ${stderr}`)
  return { tookMs, ...(JSON.parse(stdout) as T) }
}

/** A command that must be refused, with `--json`. @returns its fault. */
export async function cliFault(
  entry: CliEntry,
  args: readonly string[],
): Promise<CliFaultOutput & { readonly status: number }> {
  const { status, stderr, stdout } = await runCli(entry, [...args, '--json'])
  if (status === 0) throw new Error(`apotheca ${args.join(' ')} was not refused: ${stdout}`)
  const line = stderr.trim().split('\n').at(-1) ?? ''
  return { ...(JSON.parse(line) as CliFaultOutput), status }
}

/** Text of a DAG-JSON link. */
export interface Link {
  readonly '/': string
}

/** One running daemon. */
export interface Daemon {
  readonly institution: string
  readonly peer: string
  readonly api: string
  readonly addresses: readonly string[]
  readonly pid: number
  /** From the start of the process to its line "listens". */
  readonly startedMs: number
  /** Settles with the exit status, or `128` after a signal. */
  readonly ended: Promise<number>
  stop(signal?: NodeJS.Signals): Promise<number>
}

/**
 * Starts a daemon and waits until it listens.
 *
 * @param options.log - file that takes its log.
 * @param options.within - see `spawnCli`; it must become the daemon (`exec`), for the daemon's pid to be right.
 */
export async function startDaemon(
  entry: CliEntry,
  config: string,
  options: { readonly log: string; readonly within?: readonly string[] },
): Promise<Daemon> {
  const started = performance.now()
  const child = spawnCli(entry, ['peer', 'start', '--config', config, '--json'], options.within)
  await mkdir(dirname(options.log), { recursive: true })
  const log = createWriteStream(options.log, { flags: 'a' })
  let lastWords = ''
  child.stderr?.on('data', (chunk: Buffer) => {
    lastWords = (lastWords + chunk.toString('utf8')).slice(-4_096)
    log.write(chunk)
  })
  const ended = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 128)))
  const line = await new Promise<string>((resolve, reject) => {
    if (child.stdout === null) throw new Error('the daemon has no output')
    createInterface(child.stdout).once('line', resolve)
    void ended.then((code) => reject(new Error(`the daemon of ${config} ended with ${code}: ${lastWords}`)))
  })
  const startedMs = performance.now() - started
  const listening = JSON.parse(line) as Pick<Daemon, 'institution' | 'peer' | 'api' | 'addresses'>
  return {
    ...listening,
    pid: child.pid ?? 0,
    startedMs,
    ended,
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal)
      return ended
    },
  }
}

/** A config for a test or bench peer, on free ports. */
export interface PeerSetup {
  readonly institution: string
  readonly folder: string
  readonly members?: readonly { institution: string; address: string }[]
  readonly options?: Readonly<Record<string, unknown>>
}

/** Writes a config file into the peer's folder. @returns its path. */
export async function writePeerConfig(setup: PeerSetup, genesis: string): Promise<string> {
  const file = join(setup.folder, 'peer.json')
  await mkdir(setup.folder, { recursive: true })
  const config = {
    institution: setup.institution,
    dataDir: './data',
    genesis,
    listen: ['/ip4/127.0.0.1/tcp/0'],
    members: setup.members ?? [],
    api: { host: '127.0.0.1', port: 0 },
    store: { capacity: '40 GiB', reserveFree: '64 MiB' },
    log: { level: 'info' },
    ...setup.options,
  }
  await writeFile(file, JSON.stringify(config, null, 2))
  return file
}
