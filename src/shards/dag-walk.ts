/**
 * Walks a graph of blocks: depth first, parents before children, each block once. The order of `ipfs dag export` and of the
 * trustless gateways; whoever follows it needs to hold no block but the one it is at.
 */
import { decode } from '@ipld/dag-pb'
import { CID } from 'multiformats/cid'
import { toString } from 'uint8arrays/to-string'
import { decodeCanonical } from '../core/codec.ts'
import { CodedError } from '../core/coded-error.ts'
import { DAG_BLOCKS_MAX, DAG_PENDING_LINKS_MAX } from '../core/limits.ts'
import { DAG_CBOR, DAG_PB, RAW } from '../crypto/hash.ts'

export type DagFault =
  | { code: 'DAG_BLOCK_INVALID'; cid: string; problem: string }
  | { code: 'DAG_TOO_LARGE'; blocksMax: number }
export class DagError extends CodedError<DagFault> {}

const SHA2_256 = 0x12
const DIGEST_BYTES = 32

/**
 * The digest by which a block is stored.
 *
 * @returns SHA-256, 32 bytes.
 * @throws {DagError} `DAG_BLOCK_INVALID`: another hash, or a codec whose links nobody here can follow.
 */
export function storedDigest(cid: CID): Uint8Array {
  const { code, digest } = cid.multihash
  if (code !== SHA2_256 || digest.length !== DIGEST_BYTES) throw invalid(cid, 'its hash is not sha2-256')
  if (cid.code !== RAW && cid.code !== DAG_PB && cid.code !== DAG_CBOR) {
    throw invalid(cid, 'its codec is none of raw, dag-pb and dag-cbor')
  }
  return digest
}

/**
 * The links of one block, in order.
 *
 * @param bytes - what the CID names; the caller has checked it.
 * @throws {DagError} `DAG_BLOCK_INVALID`
 */
export function linksOf(cid: CID, bytes: Uint8Array): CID[] {
  storedDigest(cid)
  if (cid.code === RAW) return []
  try {
    if (cid.code === DAG_PB) return decode(bytes).Links.map((link) => link.Hash)
    const links: CID[] = []
    collectLinks(decodeCanonical(bytes), links)
    return links
  } catch (error) {
    throw invalid(cid, 'its bytes are not what its codec says', error)
  }
}

export class DagWalk {
  readonly #seen = new Set<string>()
  /** What comes next stands last. */
  readonly #pending: CID[]

  constructor(root: CID) {
    this.#pending = [root]
  }

  /** The next block, or undefined at the end. @throws {DagError} `DAG_TOO_LARGE`, `DAG_BLOCK_INVALID` */
  next(): CID | undefined {
    for (let cid = this.#pending.pop(); cid !== undefined; cid = this.#pending.pop()) {
      const key = keyOf(cid)
      if (this.#seen.has(key)) continue
      if (this.#seen.size >= DAG_BLOCKS_MAX) throw new DagError({ code: 'DAG_TOO_LARGE', blocksMax: DAG_BLOCKS_MAX })
      this.#seen.add(key)
      return cid
    }
    return undefined
  }

  /** Goes on below a block that `next` gave. @throws {DagError} `DAG_BLOCK_INVALID`, `DAG_TOO_LARGE` */
  enter(cid: CID, bytes: Uint8Array): void {
    const links = linksOf(cid, bytes)
    if (this.#pending.length + links.length > DAG_PENDING_LINKS_MAX) {
      throw new DagError({ code: 'DAG_TOO_LARGE', blocksMax: DAG_BLOCKS_MAX })
    }
    for (const link of links.reverse()) this.#pending.push(link)
  }

  /** Leaves that come next, as far as that is known already: at most `count`. */
  leavesAhead(count: number): CID[] {
    const leaves: CID[] = []
    for (let at = this.#pending.length - 1; at >= 0 && leaves.length < count; at--) {
      const cid = this.#pending[at]
      if (cid === undefined || cid.code !== RAW) break
      if (!this.#seen.has(keyOf(cid))) leaves.push(cid)
    }
    return leaves
  }
}

/** The same bytes under another codec have other links. */
function keyOf(cid: CID): string {
  return `${cid.code} ${toString(storedDigest(cid), 'latin1')}`
}

function collectLinks(value: unknown, into: CID[]): void {
  const link = CID.asCID(value)
  if (link !== null) into.push(link)
  else if (Array.isArray(value)) for (const item of value) collectLinks(item, into)
  else if (typeof value === 'object' && value !== null && !(value instanceof Uint8Array)) {
    for (const item of Object.values(value)) collectLinks(item, into)
  }
}

function invalid(cid: CID, problem: string, cause?: unknown): DagError {
  return new DagError({ code: 'DAG_BLOCK_INVALID', cid: cid.toString(), problem }, { cause })
}
