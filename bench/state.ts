/**
 * `state`: blocks of new keys on a state of a million, on LevelDB with a durable batch for each, and proofs of what is there,
 * beside the hashing alone; the size of proofs; the memory of a process that does nothing else.
 *
 * Filling and measuring are processes of their own, so that the memory measured is that of a state found on the disk.
 */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sha256 } from '../src/crypto/hash.ts'
import { stateWrites } from '../src/ledger/chain-store.ts'
import { type EncodedChange, encodeStateValue, treeChangeOf, uint32Bytes } from '../src/ledger/state.ts'
import { encodeStateProof, treeKey, verifyStateProof } from '../src/ledger/state-proof.ts'
import { StoredStateTree } from '../src/ledger/state-tree.ts'
import { pruneState } from '../src/ledger/state-tree-prune.ts'
import { LevelStore } from '../src/store/level-store.ts'
import { type Figure, beside, median, staysUnder } from './figure.ts'
import { memoryOf } from './machine.ts'

const MIB = 1024 * 1024
const NAMESPACE = 'record'
/** As many as a block at 300 transactions a second has, with one new key each. */
const BLOCK_KEYS = 300
const FILL_KEYS = 16_384
const PRUNE_EVERY = 16
const VALUE_BYTES = 200
const PROOF_BYTES_MAX = 1_024
const RSS_MIB_MAX = 250
/** As the daemon sets them: docs/decisions/0042-garbage-collection.md. */
const V8_FLAGS = ['--heap-growing-percent=10', '--external-memory-accounted-in-global-limit']

interface Measured {
  readonly insertsPerS: number
  /** Hashes that the definition of the tree asks for, for each key. */
  readonly insertHashes: number
  readonly insertCpuMs: number
  readonly proofsPerS: number
  readonly proofHashes: number
  readonly proofBytes: readonly number[]
  readonly hashesPerS: number
  readonly rssBytes: number
}

export async function benchState(options: { quick: boolean }): Promise<Figure[]> {
  const keys = options.quick ? 100_000 : 1_000_000
  const dir = await mkdtemp(join(tmpdir(), 'apotheca-bench-state-'))
  try {
    const height = await inChild('fill', dir, keys)
    const found = JSON.parse(await inChild('measure', dir, keys, Number(height))) as Measured
    const { hashesPerS, proofBytes } = found
    const name = `${keys.toLocaleString('en')} keys`
    return [
      beside('state', `inserts at ${name}`, found.insertsPerS, '1/s', hashesPerS / found.insertHashes),
      beside('state', `a block of ${BLOCK_KEYS} inserts, CPU`, found.insertCpuMs, 'ms', 1_000),
      beside('state', `proofs at ${name}`, found.proofsPerS, '1/s', hashesPerS / found.proofHashes),
      staysUnder('state', `proof at ${name}, median`, median(proofBytes), 'bytes', PROOF_BYTES_MAX),
      staysUnder('state', `proof at ${name}, largest`, Math.max(...proofBytes), 'bytes', PROOF_BYTES_MAX),
      staysUnder('state', `process with ${name}, largest RSS`, found.rssBytes / MIB, 'MiB', RSS_MIB_MAX),
    ]
  } finally {
    await rm(dir, { recursive: true })
  }
}

async function inChild(...given: readonly (string | number)[]): Promise<string> {
  const child = spawn(process.execPath, [...V8_FLAGS, fileURLToPath(import.meta.url), ...given.map(String)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece
  })
  const [status] = (await once(child, 'close')) as [number | null]
  if (status !== 0) throw new Error(`${given[0]} ended with ${status}`)
  return text
}

/** A state that only grows, stored as a chain does it: flat values, values by version, pages. */
class StateRun {
  readonly #store: LevelStore
  tree: StoredStateTree
  keys: number

  constructor(store: LevelStore, tree: StoredStateTree, keys: number) {
    this.#store = store
    this.tree = tree
    this.keys = keys
  }

  async block(count: number): Promise<void> {
    const height = this.tree.version + 1
    const changes = Array.from({ length: count }, (_one, index) => changeOf(this.keys + index, height))
    const { tree, writes } = await this.tree.with(changes.map(treeChangeOf))
    await this.#store.batch([...stateWrites(changes), ...writes])
    tree.stored()
    this.tree = tree
    this.keys += count
    if (height % PRUNE_EVERY === 0) await pruneState(this.#store, { from: height, snapshots: [] })
  }
}

/** Values are cut out of it, so that LevelDB finds nothing to compress, as with the hashes and signatures of real ones. */
const NOISE = randomBytes(MIB)

const keyOfIndex = (index: number): Uint8Array => sha256(uint32Bytes(index))

function changeOf(index: number, height: number): EncodedChange {
  const at = (index * 61) % (NOISE.length - VALUE_BYTES)
  const value = { index, filler: new Uint8Array(NOISE.subarray(at, at + VALUE_BYTES)) }
  return { namespace: NAMESPACE, key: keyOfIndex(index), bytes: encodeStateValue({ version: height, value }) }
}

/** @returns the height that it came to. */
async function fill(dir: string, keys: number): Promise<string> {
  const store = await LevelStore.open(dir)
  const run = new StateRun(store, StoredStateTree.beforeGenesis(store), 0)
  while (run.keys < keys) await run.block(Math.min(FILL_KEYS, keys - run.keys))
  await store.close()
  return String(run.tree.version)
}

async function measure(dir: string, keys: number, height: number): Promise<string> {
  const isQuick = keys < 1_000_000
  const store = await LevelStore.open(dir)
  const tree = await StoredStateTree.at(store, height)
  if (tree === undefined) throw new Error('the state was not filled')
  const run = new StateRun(store, tree, keys)
  const inserts = await measureInserts(run, isQuick ? 30 : 200)
  const proofs = await measureProofs(run, isQuick ? 3_000 : 20_000)
  const rssBytes = await memoryOf(process.pid, 'VmHWM')
  await store.close()
  return JSON.stringify({ ...inserts, ...proofs, hashesPerS: hashLimit(500_000), rssBytes } satisfies Measured)
}

async function measureInserts(
  run: StateRun,
  blocks: number,
): Promise<Pick<Measured, 'insertsPerS' | 'insertHashes' | 'insertCpuMs'>> {
  const before = run.keys
  const started = performance.now()
  const cpu = process.cpuUsage()
  for (let block = 0; block < blocks; block++) await run.block(BLOCK_KEYS)
  const insertsPerS = (blocks * BLOCK_KEYS) / ((performance.now() - started) / 1000)
  const { system, user } = process.cpuUsage(cpu)
  // The nodes on the ways of one block's keys, each once; and for each key its own hash, its value's and its leaf's.
  const nodes = new Set<string>()
  for (let index = before; index < before + BLOCK_KEYS; index++) {
    const key = treeKey(NAMESPACE, keyOfIndex(index))
    const bits = [...key].map((byte) => byte.toString(2).padStart(8, '0')).join('')
    const { siblings } = await run.tree.prove(key)
    for (let depth = 0; depth < siblings.length; depth++) nodes.add(bits.slice(0, depth))
  }
  const insertHashes = nodes.size / BLOCK_KEYS + 3
  return { insertsPerS, insertHashes, insertCpuMs: (system + user) / 1000 / blocks }
}

async function measureProofs(
  run: StateRun,
  count: number,
): Promise<Pick<Measured, 'proofsPerS' | 'proofHashes' | 'proofBytes'>> {
  const proofBytes: number[] = []
  let hashes = 0
  // Spread over all keys, every fourth absent.
  const asked = Array.from({ length: count }, (_one, n) =>
    keyOfIndex(n % 4 === 0 ? 2 ** 31 + n : Math.floor((n * run.keys) / count)),
  ).map((key) => treeKey(NAMESPACE, key))
  const started = performance.now()
  for (const key of asked) proofBytes.push(encodeStateProof(await run.tree.prove(key)).length)
  const proofsPerS = count / ((performance.now() - started) / 1000)
  for (const [n, key] of asked.entries()) {
    const proof = await run.tree.prove(key)
    hashes += proof.siblings.length + 1
    const isPresent = verifyStateProof(run.tree.root, key, proof) !== undefined
    if (isPresent === (n % 4 === 0)) throw new Error('a proof says the wrong thing')
  }
  return { proofsPerS, proofHashes: hashes / count, proofBytes }
}

/** SHA-256 of inner nodes, 65 bytes, one after the other. @returns hashes a second */
function hashLimit(count: number): number {
  const node = new Uint8Array(65)
  const started = performance.now()
  for (let done = 0; done < count; done++) node.set(sha256(node), 1)
  return count / ((performance.now() - started) / 1000)
}

if (import.meta.main) {
  const [mode, dir = '', keys, height] = process.argv.slice(2)
  const answer = mode === 'fill' ? fill(dir, Number(keys)) : measure(dir, Number(keys), Number(height))
  process.stdout.write(await answer)
}
