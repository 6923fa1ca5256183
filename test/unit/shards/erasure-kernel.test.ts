import { createHash } from 'node:crypto'
import { type TestContext, expect, test } from 'vitest'
import { kernelTools, compileKernel } from '../../../scripts/build-erasure.ts'
import { ERASURE_CHUNK_BYTES, ERASURE_DATA_MAX, ERASURE_PARITY_MAX } from '../../../src/core/limits.ts'
import { KERNEL_BASE64, KERNEL_TOOLS, KERNEL_SHA256 } from '../../../src/shards/erasure/kernel-module.ts'
import { seededBytes } from '../../vectors/seeded.ts'

const checkedIn = Buffer.from(KERNEL_BASE64, 'base64')

test('the checked-in module has the digest that stands beside it, and asks nothing of its host', () => {
  expect(createHash('sha256').update(checkedIn).digest('hex')).toBe(KERNEL_SHA256)
  const module = new WebAssembly.Module(checkedIn)
  expect(WebAssembly.Module.imports(module)).toEqual([])
  expect(WebAssembly.Module.exports(module).map(({ name }) => name)).toEqual(['memory', 'combine', 'shards', 'tables'])
})

test('the source compiles to the checked-in module: the same bytes by the same tools, the same results by any', async (context) => {
  const tools = await neededTools(context)
  const rebuilt = await compileKernel()
  if (tools === KERNEL_TOOLS) expect(createHash('sha256').update(rebuilt).digest('hex')).toBe(KERNEL_SHA256)
  expect(resultsOf(rebuilt)).toEqual(resultsOf(checkedIn))
})

/** Skips the test where clang or lld is missing; under `CI=true` that is a failure. */
async function neededTools(context: TestContext): Promise<string> {
  const tools = await kernelTools()
  if (tools !== undefined) return tools
  const message = 'needs clang and lld: apt-get install clang lld'
  if (process.env['CI'] === 'true') throw new Error(message)
  return context.skip(message)
}

/** Digests of what a module writes, for every number of products; tables and shards are whatever bytes. */
function resultsOf(wasm: Uint8Array): string[] {
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(wasm)))
  const { memory, shards, tables, combine } = exports as unknown as {
    memory: WebAssembly.Memory
    shards: WebAssembly.Global<'i32'>
    tables: WebAssembly.Global<'i32'>
    combine: (columns: number, products: number, plain: number, mixed: number, bytes: number) => void
  }
  const bytesAt = (start: number, length: number): Uint8Array => new Uint8Array(memory.buffer, start, length)
  const inputBytes = ERASURE_DATA_MAX * ERASURE_CHUNK_BYTES
  const outputs = bytesAt(shards.value + inputBytes, ERASURE_PARITY_MAX * ERASURE_CHUNK_BYTES)
  return Array.from({ length: ERASURE_PARITY_MAX }, (_, products) => {
    bytesAt(shards.value, inputBytes).set(seededBytes('shards', inputBytes))
    const tableBytes = ERASURE_DATA_MAX * (ERASURE_PARITY_MAX - 1) * 32
    bytesAt(tables.value, tableBytes).set(seededBytes('tables', tableBytes))
    outputs.fill(0)
    combine(ERASURE_DATA_MAX - products, products, products + 1, Math.max(0, products - 1), ERASURE_CHUNK_BYTES)
    return createHash('sha256').update(outputs).digest('hex')
  })
}
