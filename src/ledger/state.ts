/**
 * The state as the machines see it: namespaces of keys with values. A value is any canonical structure; it is stored as
 * `[version, value]`, where `version` is the height of the block that wrote it last. The version is authenticated with the
 * value, since compare-and-set verdicts depend on it.
 *
 * @see docs/spec/state-tree.md
 */
import { concat } from 'uint8arrays/concat'
import { decodeCanonical, encodeCanonical, viewCanonical } from '../core/codec.ts'
import { type Decoder, integer, shapeFault } from '../core/schema.ts'
import { byteText, sha256 } from '../crypto/hash.ts'
import { treeKey } from './state-proof.ts'
import type { TreeChange } from './state-tree-update.ts'

export interface StoredValue {
  /** Height of the block that wrote it last; 0: the genesis. */
  readonly version: number
  readonly value: unknown
}

/** What a machine may read: the state before its transaction. */
export interface StateView {
  /** @returns the value, or `undefined` where the key is absent. */
  get(namespace: string, key: Uint8Array): Promise<unknown>
}

export interface ListOptions {
  /** Keys after this one (before it, with `reverse`), which need not be there: where the last page ended. */
  readonly after?: Uint8Array
  readonly limit?: number
  readonly reverse?: boolean
}

export interface StateEntry extends StoredValue {
  readonly key: Uint8Array
}

/** What a query may read: the state after the newest final block. */
export interface StateReader extends StateView {
  /** Entries whose key starts with `prefix`, in the order of their keys. */
  list(namespace: string, prefix: Uint8Array, options?: ListOptions): AsyncIterable<StateEntry>
}

/** One change of the state; `value: undefined` deletes the key. */
export interface StateChange {
  readonly namespace: string
  readonly key: Uint8Array
  readonly value: unknown
}

/** A change in the form that is stored and hashed. */
export interface EncodedChange {
  readonly namespace: string
  readonly key: Uint8Array
  /** `[version, value]`, canonical; `undefined` deletes. */
  readonly bytes: Uint8Array | undefined
}

const version: Decoder<number> = integer(0)

export function encodeStateValue(stored: StoredValue): Uint8Array {
  return encodeCanonical([stored.version, stored.value])
}

/** @throws {CodecError} */
export function decodeStateValue(bytes: Uint8Array): StoredValue {
  return storedValue(decodeCanonical(bytes))
}

/** Decodes a value from the own database, where a checksum keeps it, or of a block that was executed here. */
export function readOwnStateValue(bytes: Uint8Array): StoredValue {
  return storedValue(viewCanonical(bytes))
}

function storedValue(pair: unknown): StoredValue {
  if (!Array.isArray(pair) || pair.length !== 2) throw shapeFault('state', 'a list of version and value')
  const [first, value] = pair as readonly unknown[]
  return { version: version(first, 'state[0]'), value }
}

export function treeChangeOf(change: EncodedChange): TreeChange {
  const { bytes, key, namespace } = change
  const at = treeKey(namespace, key)
  if (bytes === undefined) return { key: at, valueHash: undefined, entry: undefined }
  return { key: at, valueHash: sha256(bytes), entry: encodeCanonical([namespace, key, bytes]) }
}

/** A number as a part of a key: fixed width, so that keys sort as the numbers do. */
export function uint32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, value)
  return bytes
}

/** @param value - a safe integer, not negative. */
export function uint64Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  setUint64(bytes, 0, value)
  return bytes
}

/** Writes 8 bytes, big-endian. @param value - a safe integer, not negative. */
export function setUint64(bytes: Uint8Array, at: number, value: number): void {
  // Byte by byte: a BigInt, or a view for each key, costs ten times as much, and keys are made by the thousand for each block.
  const [high, low] = [Math.floor(value / 2 ** 32), value % 2 ** 32]
  for (let byte = 0; byte < 4; byte++) {
    bytes[at + byte] = high >>> (24 - 8 * byte)
    bytes[at + 4 + byte] = low >>> (24 - 8 * byte)
  }
}

/** @throws {RangeError} where there are no 8 bytes at `offset`. */
export function readUint64(bytes: Uint8Array, offset = 0): number {
  return Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(offset))
}

export function keyOf(...parts: readonly Uint8Array[]): Uint8Array {
  return concat([...parts])
}

/** The state within a block: what earlier transactions of it wrote lies over the final state. */
export class BlockState implements StateView {
  readonly #base: (namespace: string, key: Uint8Array) => Promise<StoredValue | undefined>
  readonly #height: number
  readonly #read = new Map<string, StoredValue | undefined>()
  readonly #written = new Map<string, StateChange>()

  /**
   * @param base - reads the final state of the block before.
   * @param height - of the block that is executed: the version of whatever it writes.
   */
  constructor(base: (namespace: string, key: Uint8Array) => Promise<StoredValue | undefined>, height: number) {
    this.#base = base
    this.#height = height
  }

  async get(namespace: string, key: Uint8Array): Promise<unknown> {
    return (await this.stored(namespace, key))?.value
  }

  async stored(namespace: string, key: Uint8Array): Promise<StoredValue | undefined> {
    const name = stateKeyName(namespace, key)
    if (this.#read.has(name)) return this.#read.get(name)
    const stored = await this.#base(namespace, key)
    this.#read.set(name, stored)
    return stored
  }

  /** Writes all changes of one transaction. */
  apply(changes: readonly StateChange[]): void {
    for (const change of changes) {
      const name = stateKeyName(change.namespace, change.key)
      this.#written.set(name, change)
      this.#read.set(name, change.value === undefined ? undefined : { version: this.#height, value: change.value })
    }
  }

  /** What the block's changes are read as, by `stateKeyName`. */
  values(): ReadonlyMap<string, StoredValue | undefined> {
    const values = new Map<string, StoredValue | undefined>()
    for (const name of this.#written.keys()) values.set(name, this.#read.get(name))
    return values
  }

  /** What the block changed, each key once. */
  changes(): EncodedChange[] {
    return [...this.#written.values()].map(({ namespace, key, value }) => ({
      namespace,
      key,
      bytes: value === undefined ? undefined : encodeStateValue({ version: this.#height, value }),
    }))
  }
}

/** One string for one key of the state: the namespace has no NUL, and every byte is one character of its own. */
export function stateKeyName(namespace: string, key: Uint8Array): string {
  return `${namespace}\0${byteText(key)}`
}
