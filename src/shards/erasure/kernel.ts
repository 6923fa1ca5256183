/**
 * The WebAssembly kernel: linear combinations of chunks over GF(2^8), a chunk of every shard at a time.
 *
 * One instance for each thread, made at its first use: `ERASURE_CHUNK_BYTES` of 15 shards and the tables, 320 KiB in all, however
 * large the shards are. Nothing is kept there from one call to the next, and a call does not yield.
 */
import { fromString } from 'uint8arrays/from-string'
import { ERASURE_CHUNK_BYTES, ERASURE_DATA_MAX, ERASURE_PARITY_MAX } from '../../core/limits.ts'
import { multiply } from './gf256.ts'
import { KERNEL_BASE64 } from './kernel-module.ts'
import type { ErasurePlan } from './plan.ts'

/** Entries of one table: the values of half a byte. */
const HALF_VALUES = 16

interface KernelExports {
  readonly memory: WebAssembly.Memory
  readonly shards: WebAssembly.Global
  readonly tables: WebAssembly.Global
  combine(columns: number, products: number, plain: number, mixed: number, bytes: number): void
}

export interface Kernel {
  /** A chunk of each input; to be filled before `combine`. */
  readonly inputs: readonly Uint8Array[]
  /** A chunk of each product of the plan, then of its sum; there after `combine`. */
  readonly outputs: readonly Uint8Array[]
  /** Makes the tables of a plan, which hold until the next. */
  load(plan: ErasurePlan): void
  /** @param bytes - of each chunk, up to `ERASURE_CHUNK_BYTES`. */
  combine(plan: ErasurePlan, bytes: number): void
}

let kernel: Kernel | undefined

export function erasureKernel(): Kernel {
  kernel ??= instantiate()
  return kernel
}

function instantiate(): Kernel {
  // Synchronously, which browsers allow for small modules: callers need not wait for a module of 4 KiB.
  const module = new WebAssembly.Module(new Uint8Array(fromString(KERNEL_BASE64, 'base64pad')))
  const exports = new WebAssembly.Instance(module).exports as unknown as KernelExports
  const { memory, shards, tables } = exports
  const chunk = (index: number): Uint8Array =>
    new Uint8Array(memory.buffer, Number(shards.value) + index * ERASURE_CHUNK_BYTES, ERASURE_CHUNK_BYTES)
  const table = new Uint8Array(memory.buffer, Number(tables.value))
  return {
    inputs: Array.from({ length: ERASURE_DATA_MAX }, (_, index) => chunk(index)),
    outputs: Array.from({ length: ERASURE_PARITY_MAX }, (_, index) => chunk(ERASURE_DATA_MAX + index)),
    load({ inputs, products }) {
      let at = 0
      inputs.forEach((_, column) => {
        for (const { coefficients } of products) {
          const factor = coefficients[column] ?? 0
          for (let value = 0; value < HALF_VALUES; value++) {
            table[at + value] = multiply(factor, value)
            table[at + HALF_VALUES + value] = multiply(factor, value * HALF_VALUES)
          }
          at += 2 * HALF_VALUES
        }
      })
    },
    combine({ inputs, products, sum }, bytes) {
      exports.combine(inputs.length, products.length, sum?.inputs ?? 0, sum?.products ?? 0, bytes)
    },
  }
}
