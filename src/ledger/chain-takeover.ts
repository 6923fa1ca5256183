/**
 * Takes over a chain without executing it: what a peer that is far behind does, in a store of its own.
 *
 *   genesis ─validators─► last header of epoch 0 ─validators─► ... ─► last header of the newest epoch: the target
 *   target.stateRoot ◄─range proofs─ chunks of the state          target.parent ◄─hash─ header ◄─hash─ ... ◄─ header 1
 *
 * The last header of each epoch is checked with the validators that the one before it names, so a peer of another chain, or one
 * that lies, is caught at the first. All else hangs on the target by hashes: each chunk proves itself, and each header
 * is the one that its child names, from the target downwards. The history is computed from the headers at the end and
 * held against the target's `historyRoot`. Nothing is kept that wasn't checked.
 *
 * Every step is durable when it settles; a restart goes on behind the last one. Until the last batch the store says that it is not
 * a chain (`TAKEOVER_KEY`).
 *
 * @see docs/spec/snapshot.md; snapshot-builder.ts takes the state
 */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import type { ChainId } from '../core/ids.ts'
import { SNAPSHOT_HEADERS_MAX } from '../core/limits.ts'
import type { KeyChange, KeyValueStore } from '../core/ports.ts'
import { DAG_CBOR, digestCid, sha256 } from '../crypto/hash.ts'
import { EMPTY_RANGE, appendLeaf, leafHash, rangeRoot } from '../crypto/merkle.ts'
import { readFinal, readHeader } from './block-bytes.ts'
import { HeaderError, chainFault, finalityFault } from './block-check.ts'
import {
  ChainStore,
  ChainStoreError,
  TAKEOVER_KEY,
  epochWrite,
  genesisWrites,
  headWrite,
  headerWrites,
  historyWrites,
} from './chain-store.ts'
import { chainIdOf, decodeGenesis } from './genesis.ts'
import { type FinalHeader, decodeHeader, headerId } from './header.ts'
import { SnapshotBuilder } from './snapshot-builder.ts'
import type { ValidatorSet } from './validators.ts'

/** A header with its certificate, as they travel. */
export interface CertifiedHeader {
  readonly header: Uint8Array
  readonly certificate: Uint8Array
}

const NO_BODY = new Uint8Array(0)

export class ChainTakeover {
  readonly chain: ChainId
  readonly #store: KeyValueStore
  readonly #records: ChainStore
  readonly #genesis: Uint8Array
  #set: ValidatorSet
  #target: FinalHeader | undefined

  private constructor(store: KeyValueStore, genesisBytes: Uint8Array, set: ValidatorSet) {
    this.#store = store
    this.#records = new ChainStore(store)
    this.#genesis = genesisBytes
    this.chain = chainIdOf(genesisBytes)
    this.#set = set
  }

  /**
   * Begins, or goes on where the store holds a part.
   *
   * @param store - for this alone: new, or left by an earlier attempt.
   * @throws {ChainStoreError} `CHAIN_OTHER_GENESIS`, `CHAIN_DAMAGED`
   */
  static async open(store: KeyValueStore, genesisBytes: Uint8Array): Promise<ChainTakeover> {
    const genesis = decodeGenesis(genesisBytes)
    const chain = chainIdOf(genesisBytes)
    const found = await store.get(TAKEOVER_KEY)
    if (found !== undefined && !equals(found, sha256(genesisBytes))) {
      throw new ChainStoreError({ code: 'CHAIN_OTHER_GENESIS', found: 'another chain', given: chain })
    }
    const first = { epoch: 0, seed: sha256(genesisBytes), validators: genesis.validators }
    await store.batch([{ key: TAKEOVER_KEY, value: sha256(genesisBytes) }, epochWrite(first)])
    const takeover = new ChainTakeover(store, genesisBytes, first)
    for (let set = await takeover.#records.epoch(1); set !== undefined; ) {
      takeover.#set = set
      set = await takeover.#records.epoch(set.epoch + 1)
    }
    if (takeover.epoch > 0) takeover.#target = await takeover.#lastOfEpochBefore(takeover.#set)
    return takeover
  }

  /** The newest epoch whose validators are known: the next last header must be of this one. */
  get epoch(): number {
    return this.#set.epoch
  }

  /** The last header of the epoch before: the block whose state is to be taken. */
  get target(): FinalHeader | undefined {
    return this.#target
  }

  /**
   * Follows the chain of epochs.
   *
   * @param ends - untrusted: the last headers of this epoch and the next ones, in order.
   * @throws {HeaderError} any of its codes; those before the bad one are kept
   */
  async follow(ends: readonly CertifiedHeader[]): Promise<void> {
    for (const given of ends) {
      const final = this.checkFinal(given)
      const { epoch, height, nextValidators } = final.header
      if (epoch !== this.epoch || nextValidators === undefined || height <= (this.#target?.header.height ?? 0)) {
        throw new HeaderError({ code: 'HEADER_EPOCH_WRONG', epoch, expected: this.epoch })
      }
      const set = { epoch: epoch + 1, seed: final.id.multihash.digest, validators: nextValidators }
      const header = { height, id: final.id, header: final.headerBytes, certificate: final.certificateBytes }
      await this.#store.batch([...headerWrites(header), epochWrite(set)])
      this.#set = set
      this.#target = final
    }
  }

  /**
   * Whether a header is final, as far as the epochs were followed.
   *
   * @param given - untrusted.
   * @throws {HeaderError} any of its codes; `HEADER_EPOCH_UNKNOWN` where it is of an epoch to be followed to first
   */
  checkFinal(given: CertifiedHeader): FinalHeader {
    return checkFinal(given, this.chain, this.#set)
  }

  /** The state of the target, begun or gone on with. */
  async snapshot(): Promise<SnapshotBuilder> {
    const { height, stateRoot } = this.#theTarget().header
    return SnapshotBuilder.open(this.#store, { height, root: stateRoot })
  }

  /**
   * The header that is needed next.
   *
   * @param below - of this header, which is here.
   * @returns `undefined` where all are here.
   */
  async nextHeader(below: Uint8Array): Promise<{ readonly height: number; readonly id: CID } | undefined> {
    let { height, parent } = decodeHeader(below)
    while (height > 1) {
      height--
      const bytes = await this.#records.header(height)
      if (bytes === undefined || !headerId(bytes).equals(parent)) return { height, id: parent }
      parent = decodeHeader(bytes).parent
    }
    return undefined
  }

  /**
   * Keeps headers, durable when it settles.
   *
   * @param wanted - of the first: see `nextHeader`.
   * @param headers - untrusted, downwards.
   * @returns the last of them.
   * @throws {HeaderError} where one is not what the one above it names; nothing of the list is kept then
   */
  async addHeaders(
    wanted: { readonly height: number; readonly id: CID },
    headers: readonly Uint8Array[],
  ): Promise<Uint8Array> {
    const writes: KeyChange[] = []
    let { height, id: expected } = wanted
    const last = headers.at(-1)
    if (last === undefined) {
      throw new HeaderError({ code: 'HEADER_PARENT_UNKNOWN', parent: String(expected), height })
    }
    for (const bytes of headers) {
      const { header, id } = readHeader(bytes)
      if (!id.equals(expected)) {
        throw new HeaderError({ code: 'HEADER_PARENT_UNKNOWN', parent: String(expected), height })
      }
      if (header.height !== height) {
        throw new HeaderError({ code: 'HEADER_HEIGHT_WRONG', height: header.height, expected: height })
      }
      writes.push(...headerWrites({ height, id, header: bytes }))
      expected = header.parent
      height--
    }
    await this.#store.batch(writes)
    return last
  }

  /**
   * Makes the store the chain with the target as its head.
   *
   * @param snapshot - with all chunks.
   * @throws {SnapshotError} `SNAPSHOT_INCOMPLETE`
   * @throws {ChainStoreError} `CHAIN_DAMAGED` where a header is missing
   * @throws {HeaderError} `HEADER_HISTORY_ROOT_WRONG`
   */
  async finish(snapshot: SnapshotBuilder): Promise<void> {
    const target = this.#theTarget()
    const { height } = target.header
    await this.#writeHistory(target)
    await snapshot.finish([...genesisWrites(this.#genesis), headWrite(height), { key: TAKEOVER_KEY, value: undefined }])
  }

  async #writeHistory(target: FinalHeader): Promise<void> {
    const { height, historyRoot } = target.header
    let range = EMPTY_RANGE
    let writes: KeyChange[] = []
    const append = (digest: Uint8Array): void => {
      const { nodes, range: next } = appendLeaf(range, leafHash(digest))
      writes.push(...historyWrites(nodes))
      range = next
    }
    append(sha256(this.#genesis))
    for await (const { bytes, height: at } of this.#records.headers(1, height)) {
      if (at !== range.size) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: range.size })
      if (at === height && !equals(rangeRoot(range), historyRoot)) {
        throw new HeaderError({ code: 'HEADER_HISTORY_ROOT_WRONG', height })
      }
      append(headerId(bytes).multihash.digest)
      if (writes.length < 2 * SNAPSHOT_HEADERS_MAX) continue
      await this.#store.batch(writes)
      writes = []
    }
    if (range.size !== height + 1) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'header', at: range.size })
    await this.#store.batch(writes)
  }

  #theTarget(): FinalHeader {
    if (this.#target === undefined) throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'epoch', at: this.epoch })
    return this.#target
  }

  async #lastOfEpochBefore(set: ValidatorSet): Promise<FinalHeader> {
    const height = await this.#records.heightOf(digestCid(DAG_CBOR, set.seed))
    const header = height === undefined ? undefined : await this.#records.header(height)
    const certificate = height === undefined ? undefined : await this.#records.certificate(height)
    if (header === undefined || certificate === undefined) {
      throw new ChainStoreError({ code: 'CHAIN_DAMAGED', what: 'last header of the epoch before', at: set.epoch })
    }
    return readFinal({ header, certificate, body: NO_BODY })
  }
}

/**
 * Whether a header is final, by the validators of its epoch.
 *
 * @param given - untrusted.
 * @throws {HeaderError} any of its codes; `HEADER_EPOCH_UNKNOWN` where it is of another epoch
 */
export function checkFinal(given: CertifiedHeader, chain: ChainId, set: ValidatorSet): FinalHeader {
  const final = readFinal({ ...given, body: NO_BODY })
  const { epoch } = final.header
  const other = epoch === set.epoch ? undefined : ({ code: 'HEADER_EPOCH_UNKNOWN', epoch } as const)
  const fault = chainFault(final.header, chain) ?? other ?? finalityFault(final, chain, set)
  if (fault !== undefined) throw new HeaderError(fault)
  return final
}

/** @returns the last headers of an epoch and the following ones, as far as the chain has them, for `ChainTakeover.follow`. */
export async function* epochEnds(
  chain: {
    validators(epoch: number): ValidatorSet | undefined
    readonly reader: { headerById(id: CID): Promise<FinalHeader | undefined> }
  },
  from: number,
): AsyncGenerator<CertifiedHeader> {
  for (let epoch = from + 1; ; epoch++) {
    const set = chain.validators(epoch)
    const final = set === undefined ? undefined : await chain.reader.headerById(digestCid(DAG_CBOR, set.seed))
    if (final === undefined) return
    yield { header: final.headerBytes, certificate: final.certificateBytes }
  }
}
