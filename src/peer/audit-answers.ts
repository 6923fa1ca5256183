/**
 * The audited side: shows leaves of what lies in this peer's store, to a committee member that asks, or to the ledger as an appeal.
 *
 * Only what is read from the store now, and hashes right, is shown: a damaged shard is "not here", and the store mends it.
 */
import type { CID } from 'multiformats/cid'
import { equals } from 'uint8arrays/equals'
import { CodecError } from '../core/codec.ts'
import { AUDIT_ANSWER_BYTES_MAX, AUDIT_LEAF_BYTES, AUDIT_QUESTION_BYTES_MAX } from '../core/limits.ts'
import type { Log } from '../core/ports.ts'
import { hashedInclusionProof, leafHash } from '../crypto/merkle.ts'
import { type LeafProof, auditLeaves } from '../domain/audit-proof.ts'
import type { NamedLeaf } from '../domain/audit-standing.ts'
import { getExtent } from '../domain/storage-state.ts'
import type { StateView } from '../ledger/state.ts'
import type { P2pHost } from '../p2p/host.ts'
import { AUDIT_PROTOCOL } from '../p2p/protocols.ts'
import { handleRequests } from '../p2p/request.ts'
import { type ExtentMap, ExtentMapError, type Shard, decodeExtentMap } from '../shards/extent-map.ts'
import { StoreError } from '../store/store-error.ts'
import type { Blocks } from '../store/blocks.ts'
import { type ShownLeaf, decodeAuditQuestion, encodeAuditAnswer } from './audit-messages.ts'

export interface AuditAnswersDeps {
  readonly state: () => StateView
  readonly store: Pick<Blocks, 'read'>
  readonly host: Pick<P2pHost, 'handle' | 'unhandle'>
  readonly log: Log
}

export const AUDIT_LIMITS = {
  requestBytesMax: AUDIT_QUESTION_BYTES_MAX,
  answerBytesMax: AUDIT_ANSWER_BYTES_MAX,
} as const

/** A leaf with what stands around it. */
interface FoundLeaf {
  readonly map: ExtentMap
  readonly shard: Shard
  readonly leaf: number
  readonly shown: ShownLeaf
}

export class AuditAnswers {
  readonly #deps: AuditAnswersDeps
  constructor(deps: AuditAnswersDeps) {
    this.#deps = deps
  }

  async start(): Promise<void> {
    const { host, log } = this.#deps
    await handleRequests({ host, log }, AUDIT_PROTOCOL, AUDIT_LIMITS, async (bytes) => {
      const leaves: (ShownLeaf | null)[] = []
      const reading = new ShardReading(this.#deps)
      // One after the other: each may read a shard whole, and so many may ask at once.
      for (const named of decodeAuditQuestion(bytes).leaves) leaves.push((await reading.find(named))?.shown ?? null)
      return encodeAuditAnswer({ leaves })
    })
  }

  async stop(): Promise<void> {
    await this.#deps.host.unhandle(AUDIT_PROTOCOL)
  }

  /** What an appeal shows of a leaf; `undefined`: it isn't here. */
  async proof(named: NamedLeaf): Promise<LeafProof | undefined> {
    const found = await new ShardReading(this.#deps).find(named)
    if (found === undefined) return undefined
    const { leaf, map, shard, shown } = found
    const { audit, bytes: shardBytes, column, number, stripe } = shard
    const shards = map.stripes.reduce((sum, { data, parity }) => sum + data + parity, 0)
    const shardPath = map.proof(number)
    return {
      stripe,
      column,
      shardBytes,
      audit,
      shard: number,
      shards,
      shardPath,
      leaf,
      bytes: shown.bytes,
      leafPath: shown.path,
    }
  }
}

/** Reads for one question: leaves of one shard, and shards of one extent, come together. */
class ShardReading {
  readonly #deps: Pick<AuditAnswersDeps, 'log' | 'state' | 'store'>
  #map: { readonly name: string; readonly map: ExtentMap | undefined } | undefined
  #shard:
    | { readonly digest: Uint8Array; readonly leaves: readonly Uint8Array[]; readonly hashes: readonly Uint8Array[] }
    | undefined

  constructor(deps: Pick<AuditAnswersDeps, 'log' | 'state' | 'store'>) {
    this.#deps = deps
  }

  async find({ column, index, leaf, manifest, stripe }: NamedLeaf): Promise<FoundLeaf | undefined> {
    const map = await this.#mapOf(manifest, index)
    const isThere = map?.stripes[stripe] !== undefined
    const shard = isThere ? map.shardsOfStripe(stripe).find((one) => one.column === column) : undefined
    if (map === undefined || shard === undefined || leaf >= auditLeaves(shard.bytes)) return undefined
    const read = await this.#leavesOf(shard)
    const bytes = read?.leaves[leaf]
    if (read === undefined || bytes === undefined) return undefined
    return { map, shard, leaf, shown: { bytes, path: hashedInclusionProof(read.hashes, leaf) } }
  }

  async #mapOf(manifest: CID, index: number): Promise<ExtentMap | undefined> {
    const name = `${manifest.toString()} ${index}`
    if (this.#map?.name === name) return this.#map.map
    const extent = await getExtent(this.#deps.state(), manifest, index)
    const bytes = extent === undefined ? undefined : await this.#read(extent.map.multihash.digest)
    this.#map = { name, map: bytes === undefined ? undefined : mapOf(bytes) }
    return this.#map.map
  }

  async #leavesOf(shard: Shard): Promise<{ leaves: readonly Uint8Array[]; hashes: readonly Uint8Array[] } | undefined> {
    if (this.#shard !== undefined && equals(this.#shard.digest, shard.digest)) return this.#shard
    const bytes = await this.#read(shard.digest)
    if (bytes === undefined) return undefined
    const leaves = Array.from({ length: auditLeaves(bytes.length) }, (_, at) =>
      bytes.subarray(at * AUDIT_LEAF_BYTES, (at + 1) * AUDIT_LEAF_BYTES),
    )
    this.#shard = { digest: shard.digest, leaves, hashes: leaves.map(leafHash) }
    return this.#shard
  }

  async #read(digest: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return await this.#deps.store.read(digest)
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      this.#deps.log.info({ fault: error.fault.code }, 'a block that an audit asks for could not be read')
      return undefined
    }
  }
}

function mapOf(bytes: Uint8Array): ExtentMap | undefined {
  try {
    return decodeExtentMap(bytes)
  } catch (error) {
    if (error instanceof CodecError || error instanceof ExtentMapError) return undefined
    throw error
  }
}
