/**
 * Other people's erasure codes, beside ours: `@ronomon/reed-solomon`, a native addon, and `@digitaldefiance/reed-solomon-erasure.wasm`,
 * Rust compiled to WebAssembly. They are no dependencies: the bench installs them into a temporary folder, where npm reaches a
 * registry, and the addon where there is a compiler. See docs/decisions/0082-how-the-erasure-code-is-measured.md.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'

const NATIVE = '@ronomon/reed-solomon'
const WASM = '@digitaldefiance/reed-solomon-erasure.wasm'
const VERSIONS: Readonly<Record<string, string>> = { [NATIVE]: '6.0.0', [WASM]: '1.0.2' }
const INSTALL_TIMEOUT_MS = 120_000

const exec = promisify(execFile)

/** Encodes one stripe of `data` shards; the memory it works on is its own. */
export type StripeEncoder = () => void | Promise<void>

export interface OtherCode {
  readonly name: string
  /** @param shards - the data shards, copied into whatever layout the package wants, before anything is measured. */
  encoder(shards: readonly Uint8Array[], parity: number): StripeEncoder
}

/** What of the two packages installs and loads here; the others are named on standard error. */
export async function installOthers(): Promise<{ codes: OtherCode[]; [Symbol.asyncDispose](): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'apotheca-erasure-'))
  const codes: OtherCode[] = []
  for (const [name, load] of [
    [NATIVE, loadNative],
    [WASM, loadWasm],
  ] as const) {
    try {
      const target = `${name}@${VERSIONS[name]}`
      await exec('npm', ['install', '--no-audit', '--no-fund', '--prefix', folder, target], {
        timeout: INSTALL_TIMEOUT_MS,
      })
      codes.push(await load(join(folder, 'node_modules')))
    } catch (error) {
      process.stderr.write(`not measured: ${name} (${String(error).split('\n')[0]})\n`)
    }
  }
  return { codes, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) }
}

interface Addon {
  create(data: number, parity: number): unknown
  encode(
    context: unknown,
    sources: number,
    targets: number,
    ...buffers: [Buffer, number, number, Buffer, number, number, (error?: Error) => void]
  ): void
}

/** Works in the thread pool, one stripe at a time here. */
async function loadNative(modules: string): Promise<OtherCode> {
  const addon = createRequire(join(modules, 'any.js'))(NATIVE) as Addon
  return {
    name: NATIVE,
    encoder(shards, parity) {
      const data = Buffer.concat(shards)
      const result = Buffer.alloc((data.length / shards.length) * parity)
      const context = addon.create(shards.length, parity)
      const sources = 2 ** shards.length - 1
      const targets = 2 ** (shards.length + parity) - 1 - sources
      return () =>
        new Promise((resolve, reject) => {
          addon.encode(context, sources, targets, data, 0, data.length, result, 0, result.length, (error) =>
            error === undefined ? resolve() : reject(error),
          )
        })
    },
  }
}

interface WasmPackage {
  readonly ReedSolomonErasure: {
    readonly RESULT_OK: number
    fromBytes(bytes: Uint8Array): { encode(shards: Uint8Array, data: number, parity: number): number }
  }
}

/** All shards of a stripe lie in one array, which it copies into its memory and back. */
async function loadWasm(modules: string): Promise<OtherCode> {
  const folder = join(modules, WASM, 'dist')
  const { ReedSolomonErasure } = (await import(pathToFileURL(join(folder, 'index.mjs')).href)) as WasmPackage
  const code = ReedSolomonErasure.fromBytes(await readFile(join(folder, 'reed_solomon_erasure_bg.wasm')))
  return {
    name: WASM,
    encoder(shards, parity) {
      const stripe = Buffer.concat([...shards, ...shards.slice(0, parity)])
      return () => {
        if (code.encode(stripe, shards.length, parity) !== ReedSolomonErasure.RESULT_OK) throw new Error('refused')
      }
    },
  }
}
