/**
 * The chain on disk: which key holds what. Everything of one block is written in one durable batch; the head is part of it,
 * so a block is there whole or not at all.
 *
 * @see docs/spec/chain-store.md
 */
import type { CID } from 'multiformats/cid'
import { compare } from 'uint8arrays/compare'
import { decodeCanonical, encodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import { type TxId, idHash } from '../core/ids.ts'
import { STATE_VALUES_CACHED_MAX } from '../core/limits.ts'
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { type Decoder, integer, object } from '../core/schema.ts'
import type { CompleteNode, NodePosition } from '../crypto/merkle.ts'
import { digest } from './fields.ts'
import {
  type EncodedChange,
  type ListOptions,
  type StateEntry,
  type StateReader,
  type StoredValue,
  readOwnStateValue,
  keyOf,
  readUint64,
  stateKeyName,
  uint64Bytes,
} from './state.ts'
import { namespacePrefix } from './state-proof.ts'
import { type ValidatorSet, validatorList } from './validators.ts'

export const CHAIN_STORE_FORMAT = 1

export type ChainStoreFault =
  | { code: 'CHAIN_FORMAT_UNKNOWN'; format: number; expected: number }
  | { code: 'CHAIN_OTHER_GENESIS'; found: string; given: string }
  | { code: 'CHAIN_DAMAGED'; what: string; at: number }
  | { code: 'CHAIN_SNAPSHOT_UNFINISHED'; height: number }
export class ChainStoreError extends CodedError<ChainStoreFault> {}

/** Where a transaction's receipt is. */
export interface TxPlace {
  readonly height: number
  /** Position in the block. */
  readonly index: number
}

const utf8 = new TextEncoder()
const tag = (letter: string): Uint8Array => utf8.encode(letter)

/** A chain is being taken over from other peers: see chain-takeover.ts. */
export const TAKEOVER_KEY: Uint8Array = tag('u')

/** First byte of each key. */
const FORMAT = tag('F')
const GENESIS = tag('G')
const HEAD = tag('H')
const BODY = tag('b')
const CERTIFICATE = tag('c')
const EPOCH = tag('e')
const HEADER = tag('h')
const HEADER_HEIGHT = tag('i')
const NODE = tag('m')
const RECEIPTS = tag('r')
const STATE = tag('s')
const TX_PLACE = tag('t')

const validatorSet: Decoder<ValidatorSet> = object({ epoch: integer(0), seed: digest, validators: validatorList })
const formatNumber: Decoder<number> = integer(0)

/** Reads the chain's records, and makes the changes that a block writes. */
export class ChainStore implements StateReader {
  readonly #store: KeyValueStore
  /** Values that were read, with what was written to them since: accounts that act, turns, quotas. The one used last is last. */
  readonly #read = new Map<string, StoredValue | undefined>()
  /** How often values were written. */
  #writes = 0

  constructor(store: KeyValueStore) {
    this.#store = store
  }

  /** @returns the bytes of the genesis, or `undefined` in a new store. @throws {ChainStoreError} `CHAIN_FORMAT_UNKNOWN` */
  async genesis(): Promise<Uint8Array | undefined> {
    const format = await this.#store.get(FORMAT)
    if (format === undefined) return undefined
    const found = formatNumber(decodeCanonical(format), 'format')
    if (found !== CHAIN_STORE_FORMAT) {
      throw new ChainStoreError({ code: 'CHAIN_FORMAT_UNKNOWN', format: found, expected: CHAIN_STORE_FORMAT })
    }
    return this.#store.get(GENESIS)
  }

  async headHeight(): Promise<number> {
    const bytes = await this.#store.get(HEAD)
    if (bytes?.length !== 8) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'head', at: 0 })
    return readUint64(bytes)
  }

  header(height: number): Promise<Uint8Array | undefined> {
    return this.#store.get(keyOf(HEADER, uint64Bytes(height)))
  }

  /** Headers in order, both ends included, as far as they are there. */
  async *headers(from: number, to: number): AsyncGenerator<{ readonly height: number; readonly bytes: Uint8Array }> {
    const bounds = { from: keyOf(HEADER, uint64Bytes(from)), to: keyOf(HEADER, uint64Bytes(to + 1)) }
    for await (const { key, value } of this.#store.range(bounds)) yield { height: readUint64(key, 1), bytes: value }
  }

  certificate(height: number): Promise<Uint8Array | undefined> {
    return this.#store.get(keyOf(CERTIFICATE, uint64Bytes(height)))
  }

  body(height: number): Promise<Uint8Array | undefined> {
    return this.#store.get(keyOf(BODY, uint64Bytes(height)))
  }

  receipts(height: number): Promise<Uint8Array | undefined> {
    return this.#store.get(keyOf(RECEIPTS, uint64Bytes(height)))
  }

  async heightOf(id: CID): Promise<number | undefined> {
    const bytes = await this.#store.get(keyOf(HEADER_HEIGHT, id.multihash.digest))
    return bytes === undefined ? undefined : readUint64(bytes)
  }

  async txPlace(id: TxId): Promise<TxPlace | undefined> {
    const bytes = await this.#store.get(keyOf(TX_PLACE, idHash(id)))
    return bytes === undefined ? undefined : { height: readUint64(bytes), index: readUint64(bytes, 8) }
  }

  async node(position: NodePosition): Promise<Uint8Array> {
    const hash = await this.#store.get(nodeKey(position))
    if (hash === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'history', at: position.index })
    return hash
  }

  async epoch(epoch: number): Promise<ValidatorSet | undefined> {
    const bytes = await this.#store.get(keyOf(EPOCH, uint64Bytes(epoch)))
    return bytes === undefined ? undefined : validatorSet(decodeCanonical(bytes), 'epoch')
  }

  /** Durable when it settles. */
  write(changes: readonly KeyChange[]): Promise<void> {
    return this.#store.batch(changes)
  }

  async get(namespace: string, key: Uint8Array): Promise<unknown> {
    return (await this.stored(namespace, key))?.value
  }

  async stored(namespace: string, key: Uint8Array): Promise<StoredValue | undefined> {
    const name = stateKeyName(namespace, key)
    const known = this.#read.get(name)
    if (known !== undefined || this.#read.has(name)) {
      this.#read.delete(name)
      this.#read.set(name, known)
      return known
    }
    const writes = this.#writes
    const bytes = await this.storedBytes(namespace, key)
    const stored = bytes === undefined ? undefined : readOwnStateValue(bytes)
    // What was written meanwhile may be newer than what was read.
    if (writes !== this.#writes) return stored
    this.#read.set(name, stored)
    for (const oldest of this.#read.keys()) {
      if (this.#read.size <= STATE_VALUES_CACHED_MAX) break
      this.#read.delete(oldest)
    }
    return stored
  }

  /** These are in the store now. @param values - by `stateKeyName`. */
  written(values: ReadonlyMap<string, StoredValue | undefined>): void {
    this.#writes++
    // Most are written once and not read soon; those that are read again find their way here by that.
    for (const [name, value] of values) if (this.#read.has(name)) this.#read.set(name, value)
  }

  /** The store is another one now. */
  changed(): void {
    this.#writes++
    this.#read.clear()
  }

  /** The value's bytes as they are hashed in the state tree. */
  storedBytes(namespace: string, key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#store.get(stateKey(namespace, key))
  }

  async *list(namespace: string, prefix: Uint8Array, options: ListOptions = {}): AsyncGenerator<StateEntry> {
    const head = stateKey(namespace, new Uint8Array(0))
    let from = keyOf(head, prefix)
    let to = endOfPrefix(from)
    if (options.after !== undefined) {
      const after = keyOf(head, options.after)
      const next = keyOf(after, new Uint8Array([0]))
      // A page never leads outside the prefix, whatever key it is said to follow.
      if (options.reverse === true) to = compare(after, to) < 0 ? after : to
      else from = compare(next, from) > 0 ? next : from
      if (compare(from, to) >= 0) return
    }
    const { limit, reverse } = options
    const bounds = {
      from,
      to,
      ...(limit === undefined ? {} : { limit }),
      ...(reverse === undefined ? {} : { reverse }),
    }
    for await (const { key, value } of this.#store.range(bounds)) {
      yield { key: key.slice(head.length), ...readOwnStateValue(value) }
    }
  }

  /** All of the flat state, for building the tree: namespace, key, and the value's bytes. */
  async *allState(): AsyncGenerator<{ namespace: string; key: Uint8Array; bytes: Uint8Array }> {
    const text = new TextDecoder()
    for await (const { key, value } of this.#store.range({ from: STATE, to: endOfPrefix(STATE) })) {
      const nameLength = key[1] ?? 0
      yield { namespace: text.decode(key.subarray(2, 2 + nameLength)), key: key.slice(2 + nameLength), bytes: value }
    }
  }
}

/** What a new store begins with. */
export function genesisWrites(genesis: Uint8Array): KeyChange[] {
  return [
    { key: FORMAT, value: encodeCanonical(CHAIN_STORE_FORMAT) },
    { key: GENESIS, value: genesis },
    { key: HEAD, value: uint64Bytes(0) },
  ]
}

export function blockWrites(block: {
  readonly height: number
  readonly id: CID
  readonly header: Uint8Array
  readonly certificate: Uint8Array
  readonly body: Uint8Array
  readonly receipts: Uint8Array
  readonly txs: readonly TxId[]
}): KeyChange[] {
  const at = uint64Bytes(block.height)
  return [
    { key: keyOf(HEADER, at), value: block.header },
    { key: keyOf(CERTIFICATE, at), value: block.certificate },
    { key: keyOf(BODY, at), value: block.body },
    { key: keyOf(RECEIPTS, at), value: block.receipts },
    { key: keyOf(HEADER_HEIGHT, block.id.multihash.digest), value: at },
    ...block.txs.map((id, index) => ({ key: keyOf(TX_PLACE, idHash(id)), value: keyOf(at, uint64Bytes(index)) })),
    { key: HEAD, value: at },
  ]
}

/** A final header whose block was not executed here. */
export function headerWrites(header: {
  readonly height: number
  readonly id: CID
  readonly header: Uint8Array
  /** Of the last of an epoch, and of the head. */
  readonly certificate?: Uint8Array
}): KeyChange[] {
  const at = uint64Bytes(header.height)
  return [
    { key: keyOf(HEADER, at), value: header.header },
    { key: keyOf(HEADER_HEIGHT, header.id.multihash.digest), value: at },
    ...(header.certificate === undefined ? [] : [{ key: keyOf(CERTIFICATE, at), value: header.certificate }]),
  ]
}

/** Makes the block of a height the head. */
export function headWrite(height: number): KeyChange {
  return { key: HEAD, value: uint64Bytes(height) }
}

export function historyWrites(nodes: readonly CompleteNode[]): KeyChange[] {
  return nodes.map((node) => ({ key: nodeKey(node), value: node.hash }))
}

export function epochWrite(set: ValidatorSet): KeyChange {
  return { key: keyOf(EPOCH, uint64Bytes(set.epoch)), value: encodeCanonical(set) }
}

export function stateWrites(changes: readonly EncodedChange[]): KeyChange[] {
  return changes.map(({ namespace, key, bytes }) => ({ key: stateKey(namespace, key), value: bytes }))
}

function nodeKey({ index, level }: NodePosition): Uint8Array {
  return keyOf(NODE, new Uint8Array([level]), uint64Bytes(index))
}

function stateKey(namespace: string, key: Uint8Array): Uint8Array {
  const name = namespacePrefix(namespace)
  const stored = new Uint8Array(1 + name.length + key.length)
  stored.set(STATE)
  stored.set(name, 1)
  stored.set(key, 1 + name.length)
  return stored
}

/** The first key after all those that start with `prefix`, whose first byte is below 0xff. */
function endOfPrefix(prefix: Uint8Array): Uint8Array {
  // Copied with the constructor: `slice` of a Buffer would be the same memory.
  const end = new Uint8Array(prefix)
  let last = end.length - 1
  while (last > 0 && end[last] === 0xff) last--
  end[last] = (end[last] ?? 0) + 1
  return end.slice(0, last + 1)
}
