/** Questions about what is final: blocks, receipts, state. Code that holds only this can't write. */
import type { CID } from 'multiformats/cid'
import type { TxId } from '../core/ids.ts'
import { DAG_CBOR, digestCid } from '../crypto/hash.ts'
import { type BlockBody, decodeBody } from './block-body.ts'
import { type Certificate, decodeCertificate } from './certificate.ts'
import { type ChainStore, ChainStoreError } from './chain-store.ts'
import { type FinalHeader, decodeHeader, headerId } from './header.ts'
import { type Receipt, decodeReceipts } from './receipt.ts'
import type { PlacedReceipt } from './receipt-waiters.ts'
import type { ListOptions, StateEntry, StateReader, StoredValue } from './state.ts'

export class ChainReader implements StateReader {
  readonly #store: ChainStore

  constructor(store: ChainStore) {
    this.#store = store
  }

  /**
   * @param height - 1 or more: the genesis has no header.
   * @returns `undefined` also where the header was taken over without its block: final by a later one, it has no certificate here.
   */
  async headerAt(height: number): Promise<FinalHeader | undefined> {
    const headerBytes = await this.#store.header(height)
    if (headerBytes === undefined) return undefined
    const certificateBytes = await this.#store.certificate(height)
    if (certificateBytes === undefined) {
      if ((await this.#store.body(height)) === undefined) return undefined
      throw damaged('certificate', height)
    }
    const certificate = decodeCertificate(certificateBytes)
    return { id: headerId(headerBytes), header: decodeHeader(headerBytes), certificate, headerBytes, certificateBytes }
  }

  /** A final header without its certificate, which not all have: see `headerAt`. */
  async plainHeaderAt(height: number): Promise<Pick<FinalHeader, 'header' | 'headerBytes' | 'id'> | undefined> {
    const headerBytes = await this.#store.header(height)
    if (headerBytes === undefined) return undefined
    return { id: headerId(headerBytes), header: decodeHeader(headerBytes), headerBytes }
  }

  async headerById(id: CID): Promise<FinalHeader | undefined> {
    const height = await this.#store.heightOf(id)
    const found = height === undefined ? undefined : await this.headerAt(height)
    // The index is by digest: a CID of another codec with the same digest is another name.
    return found?.id.equals(id) === true ? found : undefined
  }

  /** @param digest - of a header, as in its id. */
  heightOfDigest(digest: Uint8Array): Promise<number | undefined> {
    return this.#store.heightOf(digestCid(DAG_CBOR, digest))
  }

  async certificateAt(height: number): Promise<Certificate | undefined> {
    const bytes = await this.#store.certificate(height)
    return bytes === undefined ? undefined : decodeCertificate(bytes)
  }

  async bodyAt(height: number): Promise<{ readonly body: BlockBody; readonly bytes: Uint8Array } | undefined> {
    const bytes = await this.#store.body(height)
    return bytes === undefined ? undefined : { body: decodeBody(bytes), bytes }
  }

  async receiptsAt(height: number): Promise<readonly Receipt[] | undefined> {
    const bytes = await this.#store.receipts(height)
    return bytes === undefined ? undefined : decodeReceipts(bytes)
  }

  /** The receipt of a transaction in a final block. */
  async receipt(id: TxId): Promise<PlacedReceipt | undefined> {
    const place = await this.#store.txPlace(id)
    if (place === undefined) return undefined
    const receipt = (await this.receiptsAt(place.height))?.[place.index]
    if (receipt === undefined) throw damaged('receipts', place.height)
    return { receipt, ...place }
  }

  /** Final headers in order, both ends included; ends early where the chain does. */
  async *headers(from: number, to: number): AsyncGenerator<FinalHeader> {
    for (let height = Math.max(from, 1); height <= to; height++) {
      const found = await this.headerAt(height)
      if (found === undefined) return
      yield found
    }
  }

  get(namespace: string, key: Uint8Array): Promise<unknown> {
    return this.#store.get(namespace, key)
  }

  /** The value with its version, as preconditions need it. */
  stored(namespace: string, key: Uint8Array): Promise<StoredValue | undefined> {
    return this.#store.stored(namespace, key)
  }

  list(namespace: string, prefix: Uint8Array, options?: ListOptions): AsyncIterable<StateEntry> {
    return this.#store.list(namespace, prefix, options)
  }
}

function damaged(what: string, at: number): ChainStoreError {
  return new ChainStoreError({ code: 'CHAIN_DAMAGED', what, at })
}
