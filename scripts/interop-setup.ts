/**
 * Programs that nobody here wrote, for `npm run test:interop`: Kubo (IPFS in Go), and a small opener on Google's Tink. Built with Go
 * in the versions that test/interop/programs/go.mod and go.sum pin, once; kept in the user's cache folder, outside the project.
 *
 *   npm run interop:setup     builds what is missing and prints where it lies
 *
 * Any Go will do to begin with: one that is too old fetches the toolchain that the programs need as a module, checked against the
 * checksum database like any other.
 */
import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { access, chmod, mkdir, readFile, readdir, rename, rm } from 'node:fs/promises'
import { homedir, tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from './daemon-process.ts'

const exec = promisify(execFile)

const SOURCES = join(ROOT, 'test/interop/programs')
/** What decides about the result. */
const INPUTS = ['go.mod', 'go.sum', 'tink-open/main.go']
const PACKAGES = ['./tink-open', 'github.com/ipfs/kubo/cmd/ipfs']
/** The Go that the programs are built with where the installed one is older than their go.mod asks for. */
const TOOLCHAIN = 'go1.26.8'
/** Where Go's own installer puts it; not on everybody's path. */
const GO_FOLDERS = ['/usr/local/go/bin', '/usr/lib/go/bin']
/** go's output when a build fails. */
const OUTPUT_BYTES_MAX = 4 * 1024 * 1024

export interface InteropPrograms {
  /** Kubo. */
  readonly ipfs: string
  readonly tinkOpen: string
}

/** Nothing can be built here, for a reason that the reader can mend. */
export class ProgramsMissing extends Error {}

/**
 * The programs, built where they aren't yet: minutes the first time, a hash of three files from then on.
 *
 * @throws {ProgramsMissing} with what to install.
 */
export async function interopPrograms(say: (line: string) => void = () => undefined): Promise<InteropPrograms> {
  const folder = join(cacheFolder(), await fingerprint())
  const programs = { ipfs: join(folder, 'ipfs'), tinkOpen: join(folder, 'tink-open') }
  if (await exists(programs.ipfs)) return programs
  const go = await suitableGo(say)
  say('building Kubo and the Tink opener, once; with two cores and nothing cached this takes some minutes')
  // Beside, and then renamed: a build that is interrupted, or a second one at the same time, leaves no half folder.
  const part = `${folder}.${randomUUID()}`
  await mkdir(part, { recursive: true })
  try {
    await run(go, ['build', '-trimpath', '-o', `${part}/`, ...PACKAGES])
    await rename(part, folder).catch(async (error: unknown) => {
      if (!(await exists(programs.ipfs))) throw error
    })
  } finally {
    await rm(part, { recursive: true, force: true })
  }
  return programs
}

function cacheFolder(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'apotheca-interop')
}

async function fingerprint(): Promise<string> {
  const hash = createHash('sha256').update(`${process.platform} ${process.arch} ${TOOLCHAIN}\n`)
  for (const name of INPUTS) hash.update(await readFile(join(SOURCES, name)))
  return hash.digest('hex').slice(0, 16)
}

async function suitableGo(say: (line: string) => void): Promise<string> {
  const path = [process.env['PATH'] ?? '', ...GO_FOLDERS].join(delimiter)
  let found: string | undefined
  for (const folder of path.split(delimiter)) {
    const candidate = join(folder, 'go')
    if (found === undefined && (await exists(candidate))) found = candidate
  }
  if (found === undefined) {
    throw new ProgramsMissing(
      'Go is needed to build Kubo: install it (Debian: apt-get install golang-go), and try again.',
    )
  }
  const wanted = /^go (\S+)$/m.exec(await readFile(join(SOURCES, 'go.mod'), 'utf8'))?.[1] ?? ''
  const version = (await run(found, ['env', 'GOVERSION'], tmpdir())).trim()
  if (isAtLeast(version.replace(/^go/, ''), wanted)) return found
  say(`${version} is older than ${wanted}: fetching ${TOOLCHAIN}`)
  return fetchedToolchain(found)
}

/** Modules hold no executable files: the bits are set here, as a newer go does it itself. */
async function fetchedToolchain(go: string): Promise<string> {
  const [os, arch] = (await run(go, ['env', 'GOOS', 'GOARCH'], tmpdir())).trim().split('\n')
  const module = `golang.org/toolchain@v0.0.1-${TOOLCHAIN}.${os}-${arch}`
  // Elsewhere: an old go doesn't understand the programs' go.mod.
  const answer = await run(go, ['mod', 'download', '-json', module], tmpdir())
  const { Dir: folder } = JSON.parse(answer) as { Dir: string }
  for (const place of ['bin', `pkg/tool/${os}_${arch}`]) {
    for (const name of await readdir(join(folder, place))) await chmod(join(folder, place, name), 0o755)
  }
  return join(folder, 'bin', 'go')
}

function isAtLeast(version: string, wanted: string): boolean {
  const numbers = (text: string): number[] => text.split('.').map((part) => Number.parseInt(part, 10))
  const have = numbers(version)
  for (const [index, least] of numbers(wanted).entries()) {
    const own = have[index] ?? 0
    if (own !== least) return own > least
  }
  return true
}

async function run(go: string, args: readonly string[], cwd = SOURCES): Promise<string> {
  // Neither another toolchain than the one chosen, nor a go.mod that changes under way.
  const env = { ...process.env, GOTOOLCHAIN: 'local', GOFLAGS: '-mod=readonly', GOROOT: '' }
  try {
    const { stdout } = await exec(go, [...args], { cwd, env, maxBuffer: OUTPUT_BYTES_MAX })
    return stdout
  } catch (error) {
    const { message, stderr } = error as Error & { stderr?: string }
    throw new ProgramsMissing(`go ${args[0] ?? ''} failed: ${stderr ?? message}`, { cause: error })
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

if (import.meta.main) {
  const { ipfs, tinkOpen } = await interopPrograms((line) => process.stderr.write(`apotheca: ${line}\n`))
  process.stdout.write(`${ipfs}\n${tinkOpen}\n`)
}
