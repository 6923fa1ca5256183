/**
 * Builds the kernel of the erasure code: `node scripts/build-erasure.ts` compiles src/shards/erasure/kernel.c with clang and lld and
 * writes src/shards/erasure/kernel-module.ts, which is checked in, so that nobody needs a compiler to run the project.
 *
 * The same tools make the same bytes every time; a test rebuilds them where they are there.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ERASURE_CHUNK_BYTES, ERASURE_DATA_MAX, ERASURE_PARITY_MAX } from '../src/core/limits.ts'

const FOLDER = new URL('../src/shards/erasure/', import.meta.url)
const MODULE = new URL('kernel-module.ts', FOLDER)
const BASE64_LINE = 108
const FLAGS = [
  '--target=wasm32',
  '-std=c11',
  '-O3',
  '-msimd128',
  ...['-Wall', '-Wextra', '-Werror'],
  `-DDATA_MAX=${ERASURE_DATA_MAX}`,
  // The first parity shard is a plain sum.
  `-DPRODUCTS_MAX=${ERASURE_PARITY_MAX - 1}`,
  `-DCHUNK_BYTES=${ERASURE_CHUNK_BYTES}`,
  ...['-ffreestanding', '-nostdlib'],
  ...['-Wl,--no-entry', '-Wl,--strip-all', '-Wl,--export=shards', '-Wl,--export=tables'],
]

const run = promisify(execFile)

/** What clang and its linker for WebAssembly say of themselves; undefined where one of them is not on the path. */
export async function kernelTools(): Promise<string | undefined> {
  try {
    const told = await Promise.all(['clang', 'wasm-ld'].map((tool) => run(tool, ['--version'])))
    return told.map(({ stdout }) => stdout.split('\n')[0]).join(', ')
  } catch {
    return undefined
  }
}

/** Compiles the kernel. @returns the bytes of the WebAssembly module. */
export async function compileKernel(): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'apotheca-erasure-'))
  try {
    const target = join(folder, 'kernel.wasm')
    await run('clang', [...FLAGS, '-o', target, 'kernel.c'], { cwd: fileURLToPath(FOLDER) })
    return new Uint8Array(await readFile(target))
  } finally {
    await rm(folder, { recursive: true })
  }
}

function moduleSource(wasm: Uint8Array, tools: string): string {
  const base64 = Buffer.from(wasm).toString('base64')
  const lines = base64.match(new RegExp(`.{1,${BASE64_LINE}}`, 'g')) ?? []
  return `/** Made by scripts/build-erasure.ts from kernel.c; a test compares the two. */

/** What compiled and linked it. */
export const KERNEL_TOOLS = '${tools}'
/** SHA-256 of the module, in hex. */
export const KERNEL_SHA256 = '${createHash('sha256').update(wasm).digest('hex')}'
/** The WebAssembly module, in base64 with padding. */
export const KERNEL_BASE64 = [
${lines.map((line) => `  '${line}',\n`).join('')}].join('')
`
}

if (import.meta.main) {
  const tools = await kernelTools()
  if (tools === undefined) {
    process.stderr.write('needs clang and lld: apt-get install clang lld\n')
    process.exitCode = 1
  } else {
    const wasm = await compileKernel()
    await writeFile(MODULE, moduleSource(wasm, tools))
    process.stdout.write(`src/shards/erasure/kernel-module.ts: ${wasm.length} bytes, by ${tools}\n`)
  }
}
