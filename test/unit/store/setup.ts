import { createHash } from 'node:crypto'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { Log } from '../../../src/core/ports.ts'
import { BlockStore, type BlockStoreDeps } from '../../../src/store/block-store.ts'
import type { BlockStoreOptions } from '../../../src/store/block-store-options.ts'
import type { NewBlock } from '../../../src/store/blocks.ts'
import { StoreError, type StoreFault } from '../../../src/store/store-error.ts'
import { seededRandom } from './sim-disk.ts'

export const silent: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
export const clock = { nowMs: (): number => Date.now() }

/** A folder on the real disk, removed when the test is over. */
export async function tempFolder(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-store-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  return dir
}

export function openStore(
  dir: string,
  options: Partial<BlockStoreOptions> = {},
  deps: Partial<BlockStoreDeps> = {},
): Promise<BlockStore> {
  return BlockStore.open(
    { clock, log: silent, ...deps },
    { dir, capacityBytes: 2 ** 40, reserveFreeBytes: 0, ballastBytes: 0, ...options },
  )
}

export interface TestBlock extends NewBlock {
  readonly bytes: Uint8Array
}

/** A block of pseudo-random bytes, in one to four parts. */
export function block(length: number, seed = length): TestBlock {
  const random = seededRandom(seed)
  const bytes = new Uint8Array(length)
  for (let i = 0; i < length; i++) bytes[i] = random() * 256
  const cut = Math.floor(random() * length)
  const digest = new Uint8Array(createHash('sha256').update(bytes).digest())
  return { digest, bytes, parts: [bytes.subarray(0, cut), new Uint8Array(0), bytes.subarray(cut)] }
}

/** `count` different blocks of `length` bytes and a few more. */
export function blocks(count: number, length: number): TestBlock[] {
  return Array.from({ length: count }, (_, i) => block(length + (i % 7), length * 1_000 + i))
}

export async function packFiles(dir: string): Promise<string[]> {
  return (await readdir(join(dir, 'packs')))
    .filter((name) => name.endsWith('.pack'))
    .map((name) => join(dir, 'packs', name))
    .sort()
}

export async function dropIndexFiles(dir: string): Promise<void> {
  for (const name of await readdir(join(dir, 'packs'))) {
    if (name.endsWith('.index')) await rm(join(dir, 'packs', name))
  }
}

/** The fault that a promise rejects with; fails where it doesn't. */
export async function faultOf(promise: Promise<unknown>): Promise<StoreFault> {
  try {
    await promise
  } catch (error) {
    if (error instanceof StoreError) return error.fault
    throw error
  }
  throw new Error('it did not fail')
}
